/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps that lock.c and lock_wait.c share: what becomes of the lock word (lock.c), and how long to wait for it
 * (lock_wait.c). Nobody else includes it. `me` is always the calling thread.
 */
#ifndef SHMD_LOCK_HOLD_H
#define SHMD_LOCK_HOLD_H

#include "call.h"

/* On the way to the lock: everything the fast path does not check. READ_ONLY, NOT_ATTACHED, OUT_OF_MEMORY. */
int shmd_hold_ready(shmd_attachment* a, shmd_lock_thread* me);
bool shmd_lock_closed(const shmd_attachment* a); /* its last handle is closed */
int shmd_lock_refuse(const shmd_attachment* a);  /* CLOSED */
/* One attempt on the free lock that `word` shows. 0 = not taken, else what to return + 1. */
int shmd_hold_try(shmd_attachment* a, shmd_lock_thread* me, uint64_t word, uint64_t flags);
int shmd_hold_end(shmd_attachment* a, shmd_lock_thread* me, uint64_t note); /* `note`: SHMD_LOCK_ORPHANED or 0 */
/* Takes over from an owner that is gone; see there. 0 = moved on, not taken; SHMD_RECOVERED; CORRUPT. */
int shmd_hold_take_over(shmd_attachment* a, shmd_lock_thread* me, uint64_t word, uint64_t flags);

/* lock_callback.c. Ends the calls whose callbacks were left by longjmp. REQUIRES: not busy. */
void shmd_callbacks_left_behind(shmd_lock_thread* me);
SHMD_INLINE void shmd_callbacks_left(shmd_lock_thread* me) {
  if (SHMD_UNLIKELY(me->within != 0)) shmd_callbacks_left_behind(me);
}
void shmd_callbacks_end(shmd_lock_thread* me); /* the thread ends */

/* How to wait. */
typedef struct shmd_lock_wait {
  uint64_t limit;  /* ns */
  int64_t sleep;   /* ns between looks at the word; negative: until woken */
  bool steal;      /* look after a dead owner as soon as it is noticed */
  bool steal_last; /* and at the end of the limit */
} shmd_lock_wait;

/* REQUIRES: not held by this thread; shmd_hold_ready(). Results of shmd_lock_acquire. */
int shmd_lock_wait_for(shmd_attachment* a, shmd_lock_thread* me, uint64_t flags, const shmd_lock_wait* how);

#endif
