/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segment pool: who owns each segment, and how freed ones come back.
 *
 *   frontier ──alloc──▶ in use (LOG, COLD, RUN, INDEX) ──dead──▶ FREED queue ──reusable──▶ in use, or WARM (keeps its memory)
 *      ▲                                                              └─ grace ─▶ punched ─▶ EXTENT lists ──▶ frontier
 *      └───────────────────────────── an extent that ends at the frontier ◀────────────────┘
 *
 * One rule for reuse: a segment freed at position F is reusable when the recycle counter has moved since and every pin is
 * greater than F: a view pinned at F may look at it. (History needs no clause here: a log segment is not freed before it leaves history.)
 * Closed log segments outside history are chained by liveness in eighths, so that the cleaner never searches.
 *
 * Invariants. Extents never touch: neighbours are merged. Segments of an extent have no memory, but for what an aborted
 * commit left (`allocated` says so). log_bytes is the sum of used, in whole pages, over all log segments but the open ones.
 * Lock discipline: the shard's lock; every change is staged, but for `allocated`.
 */
#ifndef SHMD_SEGMENT_H
#define SHMD_SEGMENT_H

#include "attach.h"
#include "redo.h"

#define SHMD_WARM_MAX 2u
/* A reader that was stopped in the middle of a read may look at a segment that was freed meanwhile. If its memory was given
 * back the look takes a page of the file system, and ends the process (SIGBUS) if that has none. So the memory of what was
 * freed stays for a while: until SHMD_GRACE_TIME has passed, but no more than so many bytes of the freed queue, whose oldest
 * goes first. It stays in use: what is freed serves the next segment before any other. */
#define SHMD_GRACE_TIME UINT64_C(250000000)              /* ns, once or twice */
#define SHMD_GRACE_BYTES (UINT64_C(256) << 10)           /* always, and two large records: part of the promise */
#define SHMD_GRACE_BYTES_NEARLY_FULL (UINT64_C(4) << 20) /* and these if the file system is nearly full: */
#define SHMD_NEARLY_FULL (UINT64_C(64) << 20)            /* less than this is free, and less than half */
/* Segments with memory that are kept for erasing and cleaning when everything is full: one for the records of erases, the
 * last one for the cleaner, without which an erase could not go on when the first is full. */
#define SHMD_RESERVE_MAX 2u

SHMD_INLINE uint64_t shmd_segment_offset(const shmd_attachment* a, uint64_t id) {
  return a->super->data_offset + (id << a->segment_shift);
}
SHMD_INLINE uint64_t shmd_segment_of(const shmd_attachment* a, uint64_t offset) {
  return (offset - a->super->data_offset) >> a->segment_shift;
}
SHMD_INLINE uint32_t shmd_segment_kind_of(uint64_t kind) { return SHMD_LOW(kind); }

/* Takes `count` consecutive segments out of the pool and makes them `kind`; bodies of a run become SHMD_SEG_BODY.
 * NO_SPACE. Bumps the recycle counter if they were in use before. */
int shmd_segment_allocate(shmd_tx* t, uint64_t count, uint32_t kind, uint32_t high, uint64_t* id);
/* One segment with memory for its first `bytes`. If there is none, neither in max_size nor in the file system, one of the
 * reserve, of which `keep` must stay. NO_SPACE. */
int shmd_segment_open(shmd_tx* t, uint32_t kind, uint64_t bytes, uint32_t keep, uint64_t* id);
/* Gives memory to the first `bytes` of a segment, in whole chunks. NO_SPACE. */
int shmd_segment_memory(shmd_tx* t, uint64_t id, uint64_t bytes);
/* The same for a run: chunks, but not beyond its last page. */
int shmd_segment_memory_run(shmd_tx* t, uint64_t id, uint64_t bytes);
/* Puts a dead segment (or run) on the freed queue. It must be in no list. */
void shmd_segment_free(shmd_tx* t, uint64_t id);
/* Accounts for a record of `size` bytes at `offset` that nothing refers to any more. */
void shmd_segment_dead(shmd_tx* t, uint64_t offset, uint64_t size);
/* Accounts for a new live record. */
SHMD_INLINE void shmd_segment_alive(shmd_tx* t, uint64_t id, uint64_t size) {
  shmd_tx_add(t, SHMD_S(t, id, live), size);
}
/* A closed log segment (or run) leaves history: freed if dead, else into its bucket. */
void shmd_segment_retire(shmd_tx* t, uint64_t id);
/* Takes a CLOSED segment out of its bucket (the cleaner's next victim). */
void shmd_segment_unlink(shmd_tx* t, uint64_t list, uint64_t id);
void shmd_segment_link(shmd_tx* t, uint64_t list, uint64_t id);
/* One bounded step for the freed queue: its first segment becomes warm, is punched by a chunk, or joins an extent. `now`:
 * whether late readers may still look at it or not. 1 something was done, 0 nothing to do now. */
int shmd_segment_settle(shmd_tx* t, bool now);
/* Adds a segment to the reserve, if it is short of one. */
void shmd_segment_reserve(shmd_tx* t);
uint32_t shmd_segment_reserved(shmd_tx* t); /* how many there are */
/* Gives the memory of a closed segment beyond `used` back. REQUIRES: no commit that may fail still writes there. */
void shmd_segment_trim(shmd_attachment* a, uint64_t id, uint64_t used);
/* After a commit that was aborted or cut off: gives back what segments got that it meant to use, and that are unused
 * now. `list`: its entries, or any (only those that stage the kind of an unused segment count). */
void shmd_segment_forget(shmd_attachment* a, const shmd_redo_entry* list, uint64_t count);

/* The same for whatever was left, known of or not (late readers fault pages in that were punched), by looking at every
 * free segment. A bounded step: from segment `from` on; where the next step begins, UINT64_MAX at the end. */
uint64_t shmd_segment_return_memory(shmd_attachment* a, uint64_t from);

/* The oldest pin, UINT64_MAX if none; scans the pins only when one was taken or dropped since. A transaction counts as a
 * pin of its own beginning: what it stages before a snapshot is taken must serve that snapshot if it commits after. */
uint64_t shmd_pin_oldest(shmd_tx* t);
/* Where the pin of a slot counts, UINT64_MAX if it has none. A revoked one counts at the floor: its process may hold
 * younger ones, which that word does not show. */
SHMD_INLINE uint64_t shmd_pin_position(const shmd_attachment* a, uint32_t slot, uint64_t floor) {
  const uint64_t pin = shmd_load_acquire(shmd_pin_of(a, slot)), position = pin & ~UINT64_C(7);
  if (pin == UINT64_MAX) return pin;
  return position < floor && !(pin & 1) ? floor : position;
}
/* What was freed or died below it may be reused: the oldest pin, or the oldest ghost that is not purged yet. */
uint64_t shmd_reuse_floor(shmd_tx* t);
/* Moves the recycle counter: what was freed by earlier commits may be overwritten from here on. */
void shmd_recycle(shmd_tx* t);

#if defined(SHMD_CRASH_POINTS)
extern uint64_t shmd_segment_grace; /* 0 instead of SHMD_GRACE_TIME: what a test counts must not depend on time */
#define SHMD_SEGMENT_GRACE shmd_segment_grace
extern uint64_t shmd_segments_looked; /* at, by all searches so far: what one write looks at is bounded, a test says */
#define SHMD_SEGMENT_LOOKED() ((void)shmd_local_add(&shmd_segments_looked, 1))
#else
#define SHMD_SEGMENT_LOOKED() ((void)0)
#define SHMD_SEGMENT_GRACE SHMD_GRACE_TIME
#endif

/* Which list a closed segment belongs to: its liveness in eighths. One that a large record closed early counts as half
 * full: else small records between large ones would keep a segment each. */
SHMD_INLINE uint64_t shmd_segment_bucket(const shmd_attachment* a, uint64_t live, uint64_t used) {
  const uint64_t full = used < a->segment_size / 2 ? a->segment_size / 2 : used;
  const uint64_t bucket = live * SHMD_BUCKETS / full;
  return bucket < SHMD_BUCKETS ? bucket : SHMD_BUCKETS - 1;
}

SHMD_INLINE uint64_t shmd_pages(uint64_t bytes) { return (bytes + SHMD_PAGE - 1) & ~(uint64_t)(SHMD_PAGE - 1); }

#endif
