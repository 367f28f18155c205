/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit in preparation, and the redo list that makes it atomic.
 *
 * Every change of shared state outside fresh memory is staged: shmd_tx_set(offset, new value). Staged words stand in the
 * shared redo list, which nobody reads while its length is 0. shmd_tx_commit():
 *   (1) all room was made and all records and index blocks were written, to memory that nothing refers to; whatever else
 *       changes in such a block before the commit is stored at once, too
 *   (2) the list is complete
 *   (3) store redo_length: committed
 *   (4) apply the first pass: words that only writers read, and those of nodes that this commit allocated, to which nothing
 *       leads yet
 *   (5) apply the second pass (shmd_tx_publish): words that readers follow, in blocks and nodes that were there before. Each leads to
 *       something that was there or is complete since (4), so their order does not matter: visible
 *   (6) apply the third pass (SHMD_REDO_RETIRE): removed dicts say so. Nothing leads to them since (5)
 *   (7) store redo_length = 0, then published = head
 * Killed before (3): recovery forgets the list; nothing refers to what was written. After (3): recovery applies the
 * list again, from the start, as often as it is killed itself (absolute values: applying twice is applying once).
 * After the 0 of (7): recovery only stores published = head.
 *
 * Lock discipline: all of it under the shard's lock; one shmd_tx per attachment.
 * Not here: what a change consists of; who waits for it.
 */
#ifndef SHMD_REDO_H
#define SHMD_REDO_H

#include "core.h"
#include "error.h"

typedef struct shmd_block_ref {
  uint64_t offset;
  uint32_t class_;
} shmd_block_ref;

/* An array to shrink after the commit: see shmd_index_shrink. */
typedef struct shmd_shrink {
  uint32_t node, prefix;
} shmd_shrink;

/* Where an array is rebuilt: too large for a small thread's stack. */
#define SHMD_SCRATCH_SLOTS (1u << SHMD_ARRAY_OVERFLOW_LOG2)
struct shmd_scratch {
  uint64_t slots[SHMD_SCRATCH_SLOTS];
  uint64_t words[SHMD_SCRATCH_SLOTS];
  uint32_t hashes[SHMD_SCRATCH_SLOTS];
  uint32_t count;
};

/* What the puts of a commit of many (batch.h) change again and again: entries of the list, which stay where they are. Of
 * the commit of this generation, 0: not known. Forgotten when the head moves to another segment, or a segment is put to
 * another use (shmd_tx_cool). */
#define SHMD_HOT_SEGMENTS 16u
typedef struct shmd_hot_segment {
  uint64_t id;    /* SHMD_NONE: not known */
  uint64_t floor; /* what `live` may not fall below without a change of lists */
  shmd_redo_entry* live;
  shmd_redo_entry* pinned; /* NULL: not staged */
} shmd_hot_segment;
typedef struct shmd_hot {
  uint32_t generation;
  uint32_t node;                 /* whose `count` this is */
  uint64_t segment, bias, limit; /* of the head: up to which position its segment can be used */
  shmd_redo_entry* head;
  shmd_redo_entry* live_bytes;
  shmd_redo_entry* live; /* of its segment */
  shmd_redo_entry* count;
  shmd_hot_segment dying[SHMD_HOT_SEGMENTS]; /* those that old versions are in, by id */
} shmd_hot;

#define SHMD_SMALL_MAP 256u /* places; larger maps are on the heap */

typedef struct shmd_tx {
  shmd_attachment* a;
  shmd_redo_entry* list; /* in shared memory */
  uint64_t capacity;     /* entries */
  uint64_t count;
  int error; /* sticky: the commit will fail with it */
  bool user; /* opened by shmd_begin: calls join it */
  uint64_t begun_debt;
  uint64_t begun_at;       /* of a user transaction: published then. It stages as if a snapshot was held there */
  bool appended;           /* a record of this commit exists already */
  uint32_t segments_freed; /* pushed to the freed queue by this commit: not to be taken from it yet */
  uint32_t nodes_freed;
  uint64_t trim;         /* log segment closed by this commit: its unused tail goes back after it */
  uint64_t debt;         /* bytes appended since the last reclaim step of this process */
  uint64_t stages;       /* words staged so far, ever: tells whether a callback staged something */
  uint64_t commit_count; /* of this process: tells an update callback's caller that something was written inside */
  uint64_t room;         /* entries that list and map have room for without a look at either; 0 at the beginning */
  bool references; /* an index's references were staged or a dict was made: the way to a key is not the shared one */
  bool emptied;    /* a slot was emptied: it may get another key's tag */
  /* Where staged words are found again: {generation:32 | index in the list:32}, valid in the generation of this commit, so
   * that a new one begins with nothing to clear. The words of the control block by their number, all others by open
   * addressing, at most half full. */
  uint32_t generation;
  uint64_t control[sizeof(shmd_control) / 8];
  uint64_t* map;
  uint64_t map_mask;
  uint64_t small_map[SHMD_SMALL_MAP];
  shmd_hot hot;
  /* index blocks to free at commit: no commit reuses what it frees itself */
  shmd_block_ref* freed;
  uint32_t freed_count, freed_capacity;
  shmd_shrink* shrinks;
  uint32_t shrink_count, shrink_capacity;
} shmd_tx;

struct shmd_engine {
  shmd_tx tx;
  uint32_t block_count[SHMD_BLOCK_CLASSES]; /* blocks in an index segment of the class */
  uint32_t block_first[SHMD_BLOCK_CLASSES]; /* offset of the first one in the segment */
  struct shmd_scratch* scratch;
  /* the end of the log, and when it was there: [0] at least SHMD_GRACE_TIME before [1] (segment.c) */
  uint64_t grace_head[2], grace_time[2];
  uint64_t pin_checked; /* position at which the holder of the oldest pin was last looked at */
  /* per bucket, where the search for a segment to clean goes on (reclaim.c): a hint, checked before it is followed */
  uint64_t victim_from[SHMD_BUCKETS];
};

SHMD_INLINE shmd_tx* shmd_tx_of(shmd_attachment* a) { return &a->engine->tx; }

void shmd_tx_stage(shmd_tx* t, uint64_t offset, uint64_t value, uint64_t flag);
/* The same for a word that this commit has not staged, which the caller knows: no search for it. */
void shmd_tx_append(shmd_tx* t, uint64_t offset, uint64_t value, uint64_t flag);
/* Adds to a word, modulo 2^64. */
void shmd_tx_add(shmd_tx* t, uint64_t offset, uint64_t delta);
uint64_t shmd_tx_lookup(shmd_tx* t, uint64_t offset);
uint64_t shmd_tx_astray(shmd_tx* t, uint64_t offset); /* an offset out of bounds: the commit fails as CORRUPT */

SHMD_INLINE bool shmd_tx_in_bounds(const shmd_tx* t, uint64_t offset) {
  return SHMD_LIKELY(offset < t->a->max_size && (offset & 7) == 0);
}
/* What was staged for these bytes is not applied. */
void shmd_tx_unstage(shmd_tx* t, uint64_t offset, uint64_t size);

SHMD_INLINE uint64_t shmd_tx_hash(uint64_t offset) { return offset * UINT64_C(0x9e3779b97f4a7c15) >> 24; }
/* The entry of a staged word, NULL if it is not staged. */
SHMD_INLINE shmd_redo_entry* shmd_tx_find(const shmd_tx* t, uint64_t offset) {
  uint64_t i, place;
  if (offset - SHMD_CONTROL_OFFSET < sizeof(shmd_control)) {
    place = t->control[(offset - SHMD_CONTROL_OFFSET) / 8];
    return place >> 32 == t->generation ? t->list + (uint32_t)place : NULL;
  }
  for (i = shmd_tx_hash(offset) & t->map_mask;; i = (i + 1) & t->map_mask) {
    place = t->map[i];
    if (place >> 32 != t->generation) return NULL;
    if ((t->list[(uint32_t)place].where & ~SHMD_REDO_FLAGS) == offset) return t->list + (uint32_t)place;
  }
}
/* A shared word as this commit will leave it. */
SHMD_INLINE uint64_t shmd_tx_get(shmd_tx* t, uint64_t offset) {
  if (SHMD_UNLIKELY(!shmd_tx_in_bounds(t, offset))) return shmd_tx_astray(t, offset);
  return t->count != 0 ? shmd_tx_lookup(t, offset) : shmd_load_acquire(shmd_word(t->a, offset));
}
SHMD_INLINE void shmd_tx_set(shmd_tx* t, uint64_t offset, uint64_t value) { shmd_tx_stage(t, offset, value, 0); }
SHMD_INLINE void shmd_tx_publish(shmd_tx* t, uint64_t offset, uint64_t value) {
  shmd_tx_stage(t, offset, value, SHMD_REDO_PUBLISH);
}
/* The same for words of the control block, whose numbers the compiler knows. */
SHMD_INLINE uint64_t shmd_tx_get_control(const shmd_tx* t, uint64_t offset) {
  const uint64_t place = t->control[(offset - SHMD_CONTROL_OFFSET) / 8];
  if (place >> 32 == t->generation) return t->list[(uint32_t)place].value;
  return shmd_load_acquire(shmd_word(t->a, offset));
}
SHMD_INLINE void shmd_tx_set_control(shmd_tx* t, uint64_t offset, uint64_t value) {
  const uint64_t place = t->control[(offset - SHMD_CONTROL_OFFSET) / 8];
  if (place >> 32 == t->generation) {
    ++t->stages;
    shmd_store_release(&t->list[(uint32_t)place].value, value);
  } else {
    shmd_tx_append(t, offset, value, 0);
  }
}
SHMD_INLINE void shmd_tx_cool(shmd_tx* t) { t->hot.generation = 0; }
SHMD_INLINE int shmd_tx_fail(shmd_tx* t, int code) {
  if (t->error == 0) t->error = code;
  return code;
}

/* Grows a local list so that one more item fits. False: out of memory. */
bool shmd_tx_grow(void** list, uint32_t count, uint32_t* capacity, size_t item);

/* 0, or the sticky error (then everything was forgotten). */
int shmd_tx_commit(shmd_tx* t);
void shmd_tx_abort(shmd_tx* t);
void shmd_tx_reset(shmd_tx* t); /* forgets local state only */

/* Offsets of words, for staging. */
#define SHMD_C(t, field) (SHMD_CONTROL_OFFSET + offsetof(shmd_control, field))
#define SHMD_CI(t, field, i) (SHMD_C(t, field) + 8 * (uint64_t)(i))
#define SHMD_S(t, id, field) \
  ((t)->a->super->segments_offset + (uint64_t)(id) * sizeof(shmd_segment) + offsetof(shmd_segment, field))
#define SHMD_N(t, id, field) \
  ((t)->a->super->nodes_offset + (uint64_t)(id) * sizeof(shmd_node_entry) + offsetof(shmd_node_entry, field))
#define SHMD_GET_C(t, field) shmd_tx_get_control(t, SHMD_C(t, field))
#define SHMD_SET_C(t, field, value) shmd_tx_set_control(t, SHMD_C(t, field), value)
#define SHMD_ADD_C(t, field, delta) SHMD_SET_C(t, field, SHMD_GET_C(t, field) + (uint64_t)(delta))

#define SHMD_HIGH(w) ((uint32_t)((w) >> 32))
#define SHMD_LOW(w) ((uint32_t)(w))
#define SHMD_PAIR(high, low) (((uint64_t)(high) << 32) | (uint32_t)(low))

#if defined(SHMD_CRASH_POINTS)
extern uint64_t shmd_crash_at;                      /* 0 = never; n = the n-th store from now kills the process */
extern uint64_t shmd_crash_count;                   /* stores so far */
extern void (*shmd_crash_trace)(const void* where); /* if set: told the place in the code of each store */
#endif

#endif
