/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Index blocks: 32 << class bytes each, in index segments of one class: [free bitmap][descriptors][blocks].
 *
 * A descriptor says whose block it is, so that a sparse index segment can be emptied: shmd_block_owner leads the way back.
 * Blocks freed by a commit are reused by later ones only, and only after the recycle counter moved: until then a reader
 * may still be in them, so nothing of a free block is ever written (its free bit stands apart).
 * Lock discipline: the shard's lock. Bits and counts are staged; a fresh block and its descriptor are written directly.
 */
#ifndef SHMD_BLOCK_H
#define SHMD_BLOCK_H

#include "redo.h"

void shmd_block_geometry(uint64_t segment_size, uint32_t* counts, uint32_t* firsts);
SHMD_INLINE uint32_t shmd_block_class(uint32_t log2) { /* of an array or directory of 2^log2 words */
  return log2 <= 2 ? 0 : log2 - 2;
}
/* A block for 2^log2 words. The caller fills it, then publishes a reference to it. NO_SPACE. */
int shmd_block_allocate(shmd_tx* t, uint32_t kind, uint32_t log2, uint32_t depth, uint32_t node, uint32_t prefix,
                        uint32_t live, uint32_t used, uint64_t* offset);
/* Whether this very commit allocated it. */
bool shmd_block_fresh(shmd_tx* t, uint64_t offset, uint32_t log2);
/* Both answers at once: the descriptor (below), and whether the block is fresh. */
uint64_t shmd_block_look_at(shmd_tx* t, uint64_t offset, uint32_t log2, bool* fresh);
/* Notes a block to be freed when the commit is made. What was staged for its words is not applied: a reader that is still in it
 * sees what was there before the commit. */
void shmd_block_free(shmd_tx* t, uint64_t offset, uint32_t log2);
void shmd_block_free_deferred(shmd_tx* t);
/* Offset of the descriptor of a block. 0 if `offset` is no block of this length. */
uint64_t shmd_block_descriptor(shmd_tx* t, uint64_t offset, uint32_t log2);

#define SHMD_BLOCK_STATE(live, used, depth, log2, kind) \
  (((uint64_t)(live) << 48) | ((uint64_t)(used) << 32) | ((uint64_t)(depth) << 16) | ((uint64_t)(log2) << 8) | \
   (uint64_t)(kind))
#define SHMD_BLOCK_LIVE(s) ((uint32_t)((s) >> 48))
#define SHMD_BLOCK_USED(s) ((uint32_t)((s) >> 32) & 0xffffu)
#define SHMD_BLOCK_DEPTH(s) ((uint32_t)((s) >> 16) & 0xffu)
#define SHMD_BLOCK_LOG2(s) ((uint32_t)((s) >> 8) & 0xffu)
#define SHMD_BLOCK_KIND(s) ((uint32_t)(s)&0xffu)

#endif
