/* SPDX-License-Identifier: Apache-2.0 */
#include <shmdict/shmdict.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
  char name[64];
  shmd_dict* d = NULL;
  snprintf(name, sizeof name, "shmdict-conan-c-%ld", (long)getpid());
  if (shmd_open(name, NULL, &d) < 0 || shmd_put(d, shmd_root(), "key", 3, "value", 5, 0) < 0) {
    fprintf(stderr, "%s\n", shmd_last_error()->message);
    return 1;
  }
  printf("shmdict %s, layout %u\n", shmd_version(), (unsigned)shmd_layout_version());
  return shmd_close(d) < 0;
}
