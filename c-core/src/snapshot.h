/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots: a pinned position, and reads that see the tree as of it.
 *
 * Taking one. (1) store a pin at the last published position in this process's pin word (2) add to pin_version, a full
 * barrier (3) wait until no write that began before is in progress (shmd_lock_quiesce) (4) the published position is now P:
 * every write after P saw the pin, so it keeps what it supersedes; raise the pin to P.
 * Killed at any step: the pin stands until somebody whom it hinders finds the slot dead.
 *
 * Reading at P: the index as it is now, and from each record back along `previous` to the newest version below P. What was
 * erased since has left a ghost; what was inserted since has no version below P. The root of P is found along the chain
 * of roots. Reads validate by the recycle counter as all reads do, and by the floor: a revoked snapshot says so.
 *
 * A process stores the minimum of its threads' pins. Views are pins that are never revoked.
 */
#ifndef SHMD_SNAPSHOT_H
#define SHMD_SNAPSHOT_H

#include "core.h"
#include "redo.h"

typedef struct shmd_pin {
  uint64_t position; /* | 1: never revoked */
  struct shmd_pin* next;
} shmd_pin;

enum shmd_snapshot_kind { SHMD_SNAP_PINNED, SHMD_SNAP_OPTIMISTIC, SHMD_SNAP_TRANSACTION };

struct shmd_snapshot {
  shmd_attachment* a;
  shmd_dict* dict;
  uint64_t position; /* versions below it are visible */
  uint64_t lives;    /* of the attachment then: a child does not share its parent's pins */
  int kind;
  shmd_pin pin;
};

/* A snapshot for who is just closing the handle, and so has a use of it. Errors of shmd_snapshot_open. */
int shmd_snapshot_of_closing(shmd_dict* d, shmd_snapshot** out);
/* Still good after a read? 0, SNAPSHOT_TOO_OLD, BUSY (an optimistic snapshot was overtaken). */
int shmd_snapshot_valid(const shmd_snapshot* s);
/* The index reference of a dict as this snapshot sees it. 0, REMOVED, CORRUPT. */
int shmd_snapshot_index(shmd_snapshot* s, shmd_node node, uint64_t* ref, uint32_t* id);
/* A shared word, through the transaction's overlay if the snapshot is of one. */
SHMD_INLINE uint64_t shmd_snapshot_word(const shmd_snapshot* s, uint64_t offset) {
  if (SHMD_UNLIKELY(s->kind == SHMD_SNAP_TRANSACTION)) return shmd_tx_get(shmd_tx_of(s->a), offset);
  return shmd_load_acquire(shmd_word(s->a, offset));
}

int shmd_snapshot_older(const shmd_snapshot* s, shmd_record_view* v);
/* Replaces *v by its newest version visible at the snapshot. 1 visible (a PUT or NODE), 0 absent then, negative: corrupt. */
SHMD_INLINE int shmd_snapshot_version(const shmd_snapshot* s, shmd_record_view* v) {
  if (SHMD_UNLIKELY(s->kind == SHMD_SNAP_PINNED && v->position >= s->position)) return shmd_snapshot_older(s, v);
  return v->kind != SHMD_REC_ERASE;
}

/* Cleanups of variables. */
SHMD_INLINE void shmd_snapshot_over(shmd_snapshot** s) { shmd_snapshot_close(*s); }
SHMD_INLINE void shmd_iter_over(shmd_iter** it) { shmd_iter_close(*it); }

/* iterate.c: begins at the first entry whose hash32 is not below `hash`, and delivers in order of it; and the hash32 of the entry
 * delivered last. Those of one value stand in one batch. */
void shmd_iter_from(shmd_iter* it, uint32_t hash);
uint32_t shmd_iter_hash(const shmd_iter* it);

#endif
