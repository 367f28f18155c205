/* SPDX-License-Identifier: Apache-2.0 */
#include <shmdict/shmdict.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(int result) {
  if (result >= 0) return;
  fprintf(stderr, "%s\n", shmd_last_error()->message);
  exit(1);
}

int main(void) {
  char name[64];
  char value[8];
  size_t size = 0;
  shmd_options options;
  shmd_dict* d = NULL;
  snprintf(name, sizeof name, "shmdict-consumer-c-%ld", (long)getpid());
  shmd_options_init(&options);
  options.mode = SHMD_CREATE_ONLY;
  check(shmd_open(name, &options, &d));
  check(shmd_put(d, shmd_root(), "key", 3, "value", 5, 0));
  check(shmd_get(d, shmd_root(), "key", 3, value, sizeof value, &size));
  check(shmd_close(d));
  return size == 5 && memcmp(value, "value", 5) == 0 ? 0 : 1;
}
