/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of shmd_check share: check.c walks the log and the segments, check_tree.c nodes and indexes. Nobody else
 * includes it.
 */
#ifndef SHMD_CHECK_H
#define SHMD_CHECK_H

#include "core.h"

#define SHMD_FINDING 256u

typedef struct shmd_checker {
  shmd_attachment* a;
  const shmd_control* c;
  const shmd_segment* segments;
  const shmd_node_entry* nodes;
  uint64_t frontier, node_frontier;
  uint64_t* live;   /* per segment: bytes that slots refer to, or blocks reached */
  uint8_t* listed;  /* per segment: in how many lists */
  uint8_t* reached; /* per node: referred to by how many records */
  uint64_t blocks[SHMD_BLOCK_CLASSES];
  uint64_t ghosts;
  uint32_t findings;
  char (*texts)[SHMD_FINDING]; /* of the first of them: told when the lock is free, for a callback may do anything */
} shmd_checker;

typedef unsigned long long ull;

SHMD_INLINE uint64_t shmd_check_word(const shmd_checker* k, uint64_t offset) {
  return shmd_load_acquire(shmd_word(k->a, offset));
}

void shmd_check_finding(shmd_checker* k, const char* format, ...) __attribute__((format(printf, 2, 3)));

/* Nodes, their indexes, and what slots lead to; fills in `live`, `reached`, `blocks` and `ghosts`. */
void shmd_check_tree(shmd_checker* k);

#endif
