/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of one dict: a trie of extendible hash directories (Fagin et al., 1979) over arrays of slots.
 *
 *   node.root ─▶ directory (2..4096 references) ─▶ directory ... ─▶ array (8..512 slots) ─▶ records
 *
 * The top bits of hash32 lead to an array, its low bits start a linear probe there, at a group of eight. Arrays double up to 512 slots, then
 * split by the next bit. A directory doubles up to 4096 references; beyond it an entry leads to a directory of its own, so
 * no step takes work that grows with the dict: at most two arrays and one directory are written.
 * Slots never move within an array. Growing, splitting, merging build new arrays and publish references to them.
 *
 * Invariants. An array at depth d (hash bits that lead to it) fills 2^(base+log2-d) neighbouring references of its directory
 * (base: bits that lead to the directory). A child directory is referred to by exactly one reference. An array always has
 * an empty slot. Descriptor: live = slots that refer to a record, used = live + tombstones.
 * Lock discipline: the shard's lock; all words of published blocks are staged. Words of a block that this commit allocated
 * are stored at once: nothing leads to it before the commit, and if that does not come nobody ever looks at them.
 * A slot that refers to a record keeps its key, and so its tag, throughout a commit (but for those that shmd_index_remove
 * empties, tx.emptied): look-ups pass over slots of other tags without asking what is staged for them.
 */
#ifndef SHMD_INDEX_H
#define SHMD_INDEX_H

#include "redo.h"

typedef struct shmd_path_level {
  uint64_t at; /* offset of the word that holds the reference */
  uint64_t ref;
  uint32_t depth; /* hash bits consumed before it */
} shmd_path_level;

typedef struct shmd_cursor {
  uint32_t node;
  uint64_t hash;
  shmd_path_level level[SHMD_MAX_DEPTH + 2];
  uint32_t levels;     /* the last one refers to the array; its ref is 0 in an empty dict */
  uint64_t at;         /* offset of the slot that refers to the key's record, or of the one to use for it; 0 = none */
  uint64_t slot;       /* what is in it */
  uint64_t descriptor; /* of the array: offset, 0 = not looked up yet */
  bool found;          /* `record` is the key's: a PUT or NODE, or an ERASE kept for pins */
  shmd_record_view record;
} shmd_cursor;

/* Looks the key up as this commit will leave it. 0 or CORRUPT. */
int shmd_index_find(shmd_tx* t, uint32_t node, uint64_t hash, const void* key, size_t key_size, shmd_cursor* c);
/* The array in which a slot would refer to this very record, 0 = it cannot be referred to; the line where a search for that
 * slot begins is on its way to the cache. 0 or CORRUPT. REQUIRES: this commit changed no directory and no array. */
int shmd_index_seek(shmd_tx* t, const shmd_record_view* v, uint64_t* array);
/* Whether a slot of the array that shmd_index_seek found refers to the record at `offset`, whose hash32 this is: then *at is
 * the slot's offset, *slot what is in it. REQUIRES: as above, and nothing is staged for that slot. */
bool shmd_index_slot_of(shmd_tx* t, uint64_t array, uint32_t hash, uint64_t offset, uint64_t* at, uint64_t* slot);
/* Makes sure that the key can be inserted at c->at; may grow the array and search again. NO_SPACE, TOO_MANY_COLLISIONS. */
int shmd_index_room(shmd_tx* t, const void* key, size_t key_size, shmd_cursor* c);
/* Lets the cursor's slot refer to the record at `offset`. */
void shmd_index_set(shmd_tx* t, shmd_cursor* c, uint64_t offset);
/* Empties the cursor's slot. True if the array has become so sparse that shmd_index_shrink is worth a commit. */
bool shmd_index_remove(shmd_tx* t, shmd_cursor* c);
/* In a commit of its own (it needs room, and an erase must not fail for want of it): shrinks the array on the way of
 * `prefix`, or merges it with its buddy, as often as that goes. */
int shmd_index_shrink(shmd_tx* t, uint32_t node, uint32_t prefix);
/* Notes the cursor's array for that. */
void shmd_index_queue_shrink(shmd_tx* t, const shmd_cursor* c);
/* Finds the reference to the block at `offset` on the way of `prefix`: fills c's levels up to it. False if none. */
bool shmd_index_find_block(shmd_tx* t, uint32_t node, uint32_t prefix, uint64_t offset, shmd_cursor* c);
/* Whether an array at the cursor's end can have this depth: it is read from shared memory, and loops depend on it. */
SHMD_INLINE bool shmd_index_depth_fits(const shmd_cursor* c, uint32_t depth) {
  const shmd_path_level* dir = &c->level[c->levels >= 2 ? c->levels - 2 : 0];
  if (c->levels < 2) return depth == 0;
  return depth >= dir->depth && depth <= dir->depth + shmd_ref_log2(dir->ref);
}
/* Whether a reference is to a directory that can stand where `depth` hash bits are used up. */
SHMD_INLINE bool shmd_index_directory_fits(uint64_t ref, uint32_t depth) {
  const uint32_t log2 = shmd_ref_log2(ref);
  return SHMD_REF_KIND(ref) == SHMD_REF_DIRECTORY && log2 != 0 && log2 <= SHMD_DIRECTORY_LOG2 &&
         depth + log2 <= SHMD_MAX_DEPTH && ref == SHMD_REF_OF_DIRECTORY(log2, depth, SHMD_REF_OFFSET(ref));
}
/* Moves the block that the cursor's last level refers to into a new block (compaction). NO_SPACE. */
int shmd_index_move_block(shmd_tx* t, shmd_cursor* c);

/* At most three quarters of an array are used. */
SHMD_INLINE bool shmd_index_has_room(uint64_t used, uint64_t slots) { return (used + 1) * 4 <= slots * 3; }

SHMD_INLINE bool shmd_slot_refers(uint64_t slot) { return (slot & SHMD_OFFSET_MASK) > SHMD_SLOT_TOMBSTONE; }

#endif
