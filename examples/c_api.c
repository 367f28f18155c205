/* SPDX-License-Identifier: Apache-2.0 */
/* The C interface: a dict that every process on the machine shares by name. Run it twice at the same time, if you like. */
#include <inttypes.h>
#include <shmdict/shmdict.h>
#include <stdio.h>
#include <string.h>

/* Errors are negative; the thread's last one says in a sentence what happened and what to do. */
static int failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, shmd_last_error()->message);
  return 1;
}

/* Read, modify, write as one step, whoever else counts: `old` is NULL if the key is absent. */
static int add_one(void* context, const void* old, size_t old_size, const void** value, size_t* size) {
  int64_t* count = context;
  *count = 0;
  if (old != NULL && old_size == sizeof *count) memcpy(count, old, sizeof *count);
  ++*count;
  *value = count;
  *size = sizeof *count;
  return SHMD_OK;
}

int main(int argc, char** argv) {
  const shmd_node root = shmd_root();
  shmd_options options;
  shmd_dict* d;
  shmd_node cities;
  shmd_snapshot* snapshot;
  shmd_iter* it;
  shmd_entry entry;
  int64_t visits;
  char text[64];
  size_t size;

  /* Created by whoever comes first, removed when the last process closes it. */
  shmd_options_init(&options);
  options.max_size = UINT64_C(64) << 20; /* address space: only what is used takes memory */
  if (shmd_open(argc > 1 ? argv[1] : "example.c_api", &options, &d) < 0) return failed("open");

  if (shmd_update(d, root, "visits", 6, add_one, &visits) < 0) return failed("update");
  printf("visit %" PRId64 "\n", visits);

  /* Keys and values are bytes. Reading takes no lock. */
  if (shmd_put(d, root, "greeting", 8, "hello", 5, 0) < 0) return failed("put");
  if (shmd_get(d, root, "greeting", 8, text, sizeof text, &size) != SHMD_OK) return failed("get");
  printf("%.*s\n", (int)size, text);

  /* A dict in the dict, and two keys of it that nobody ever sees one without the other. */
  if (shmd_begin(d, SHMD_DEFAULT_TIMEOUT) < 0) return failed("begin");
  if (shmd_node_open(d, root, "cities", 6, SHMD_NODE_CREATE, &cities) < 0 ||
      shmd_put(d, cities, "berlin", 6, "3.7 million", 11, 0) < 0 ||
      shmd_put(d, cities, "bonn", 4, "0.3 million", 11, 0) < 0) {
    shmd_abort(d);
    return failed("transaction");
  }
  if (shmd_commit(d) < 0) return failed("commit");

  /* A snapshot shows the whole tree at one moment, while others go on writing. */
  if (shmd_snapshot_open(d, &snapshot) < 0) return failed("snapshot");
  if (shmd_iter_open(snapshot, cities, &it) < 0) return failed("iterate");
  while (shmd_iter_next(it, &entry) == SHMD_OK)
    printf("%.*s: %.*s\n", (int)entry.key_size, (const char*)entry.key, (int)entry.value_size,
           (const char*)entry.value);
  shmd_iter_close(it);
  shmd_snapshot_close(snapshot);

  return shmd_close(d) < 0 ? failed("close") : 0;
}
