/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: records appended at the head, in commit order. It is the update stream, the storage and the old versions.
 *
 *   history_tail ─▶ segment ─▶ ... ─▶ head segment        cold segment (records the cleaner moved; not in the stream)
 *   positions are contiguous along the chain; offset = position + head_bias within the head segment
 *
 * A record never spans segments; one larger than half a segment gets a run of its own, memory by the page.
 * A segment leaves history when buffer_size bytes were published beyond its end: then it is freed, or cleaned some day.
 * Lock discipline: the shard's lock. Records beyond head are invisible until the commit that moves head.
 */
#ifndef SHMD_LOG_H
#define SHMD_LOG_H

#include "redo.h"

typedef struct shmd_new_record {
  uint32_t kind; /* enum shmd_record_kind */
  uint32_t node;
  uint64_t hash; /* its low half is kept */
  const void* key;
  size_t key_size;
  const void* value;
  size_t value_size;
  uint64_t previous; /* offset of the version before it, 0 = do not keep */
} shmd_new_record;

int shmd_log_format(shmd_tx* t);
/* Appends; *offset is where it will be, *size its length. `live`: something will refer to it. NO_SPACE.
 * `reserve`: segments kept back may be used (operations that free space). */
int shmd_log_append(shmd_tx* t, const shmd_new_record* record, bool live, bool reserve, uint64_t* offset,
                    uint64_t* size);
/* Writes a record's bytes at `at`, beyond head. `first`: SHMD_REC_FIRST of a commit's first record, else 0. REQUIRES: room. */
SHMD_INLINE void shmd_log_write_at(uint64_t* at, uint64_t first, uint64_t position, const shmd_new_record* r) {
  const uint32_t kind = r->previous ? r->kind | SHMD_REC_PREVIOUS : r->kind;
  /* SYNC slot: the record is written before the slot that leads to it is published. */
  shmd_store_release(at, ((position >> 3) << 8) | first);
  shmd_store_release(at + 1, SHMD_PAIR(r->hash & 0xffffffffu, r->node));
  shmd_store_release(at + 2, SHMD_SHAPE(r->key_size, kind, r->value_size));
  at += 3;
  if (r->previous) shmd_store_release(at++, r->previous);
  if (r->key_size == 8)
    shmd_copy_in(at, r->key, 8);
  else if (r->key_size)
    shmd_copy_in(at, r->key, r->key_size);
  at += SHMD_PAD8(r->key_size) / 8;
  if (r->value_size == 8)
    shmd_copy_in(at, r->value, 8);
  else if (r->value_size)
    shmd_copy_in(at, r->value, r->value_size);
}
SHMD_INLINE void shmd_log_write(const shmd_tx* t, uint64_t offset, uint64_t position, const shmd_new_record* r) {
  shmd_log_write_at(shmd_word(t->a, offset), t->appended ? 0u : SHMD_REC_FIRST, position, r);
}

/* The end of the cold log, while one commit moves records to it: accounted for when it ends, not one by one. */
typedef struct shmd_cold {
  uint64_t segment;
  uint64_t at;    /* offset of the next record, 0 = no segment open */
  uint64_t bytes; /* moved and not accounted for */
} shmd_cold;
void shmd_cold_begin(shmd_tx* t, shmd_cold* cold);
void shmd_cold_end(shmd_tx* t, shmd_cold* cold);
/* Appends a copy of a live record. Between begin and end. NO_SPACE. */
int shmd_cold_append(shmd_tx* t, shmd_cold* cold, const shmd_record_view* record, uint64_t* offset);

/* Whether the oldest segment has left history: buffer_size bytes were published after its end, beside the last commit: it must not
 * push what a follower needs before it, or itself, out of history. A commit in preparation does not count anyway; who asks
 * after one passes its size in `recent`. */
bool shmd_log_is_old(shmd_tx* t, uint64_t recent);
/* Such segments leave the chain; at most a few per call. */
void shmd_log_age(shmd_tx* t, uint64_t recent);
/* When everything is full: history shorter than buffer_size, before a write fails for it. Followers behind it are told to
 * begin anew. At most a few segments per call, and only dead ones unless `all`. */
void shmd_log_forget(shmd_tx* t, bool all);

#endif
