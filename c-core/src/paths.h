/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where in the tree a dict is, told from its id as a record of the stream names it: the keys from the root down to it.
 *
 * Known are the dicts whose NODE records were passed, and those that were asked for and found in the node table while they
 * were alive. Invariant: an id names one dict as long as a record of it is in history (node.c), and each new life begins with a
 * NODE or CLEAR record (but that of the dict of named locks, which is never asked for); so what is known stays right until then. Bounded memory: beyond it everything is forgotten.
 * Thread safety: none.
 */
#ifndef SHMD_PATHS_H
#define SHMD_PATHS_H

#include "core.h"

typedef struct shmd_known {
  uint32_t id, generation, parent;
  uint32_t key_size;
  size_t key_at; /* in `bytes` */
} shmd_known;

typedef struct shmd_paths {
  const shmd_attachment* a;
  uint32_t root;
  shmd_known* known;
  uint32_t count, capacity;
  uint32_t* map; /* by id: open addressing, 0 = free, else index + 1 */
  uint32_t map_size;
  unsigned char* bytes;
  size_t used, bytes_size;
  uint32_t way[SHMD_MAX_NESTING]; /* of the last shmd_paths_find: indices of `known`, from the dict up */
} shmd_paths;

void shmd_paths_init(shmd_paths* p, const shmd_attachment* a);
void shmd_paths_free(shmd_paths* p);
/* Forgets everything and finds the root of a position. 0, CORRUPT. To be believed once a record at or before the position was
 * found in history afterwards. */
int shmd_paths_begin(shmd_paths* p, uint64_t position);
void shmd_paths_root(shmd_paths* p, uint32_t id); /* a CLEAR record was passed */
/* A NODE record was passed. 0, OUT_OF_MEMORY. */
int shmd_paths_add(shmd_paths* p, shmd_node node, uint32_t parent, const void* key, size_t key_size);
/* 1: *depth keys lead to the dict, p->way says which, and *node names it. 0: no way can be told; *gone is 0 if the root does not
 * lead to it, else a position: the commit that took it out of the tree ends there or before. OUT_OF_MEMORY, BUSY, CORRUPT. */
int shmd_paths_find(shmd_paths* p, uint32_t id, shmd_node* node, uint32_t* depth, uint64_t* gone);

#endif
