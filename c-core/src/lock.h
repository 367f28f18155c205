/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writers' lock of a shard: one 64-bit word {acquisitions:32 | waiters:1 | explicit:1 | orphaned:1 | 13 unused |
 * slot + 1:16}. The low 16 bits are 0 when it is free.
 *
 * Re-entrant per thread. Bounded waits; a dead owner is noticed, its slot taken, its write finished or forgotten by
 * shmd_engine_recover(), all before the new owner's call goes on.
 * A thread that ends while it holds the lock has it repaired and released by a thread-exit destructor.
 */
#ifndef SHMD_LOCK_H
#define SHMD_LOCK_H

#include "attach.h"
#include "core.h"

#define SHMD_LOCK_SLOT_MASK UINT64_C(0xffff)
#define SHMD_LOCK_EXPLICIT (UINT64_C(1) << 30)
#define SHMD_LOCK_WAITERS (UINT64_C(1) << 31)
/* The owner of an explicitly locked section died; whoever locks explicitly next is told (SHMD_RECOVERED), however many
 * single writes come first. */
#define SHMD_LOCK_ORPHANED (UINT64_C(1) << 29)
/* In place of a slot: the owner is gone and its write could not be repaired. Everybody who takes the lock tries again. */
#define SHMD_LOCK_BROKEN UINT64_C(0xffff)
#define SHMD_LOCK_ACQUISITION (UINT64_C(1) << 32)

/* Single writing calls begin and end inline, see call.h, or here: the same, whatever the case. */
int shmd_call_enter_slowly(shmd_attachment* a);
void shmd_call_leave_slowly(shmd_attachment* a);
/* Enters a call as shmd_call_enter() does, but waits for `limit` ns at most: for work that can be left to others. */
int shmd_call_enter_within(shmd_attachment* a, uint64_t limit);

/* The process cannot prove any more that it lives: after this call, if it holds the lock for itself alone, the next one has to
 * attach anew, whichever way it comes. REQUIRES: the lock is held by the calling thread. */
void shmd_lock_resign(shmd_attachment* a);

void shmd_lock_wake(shmd_control* c);
/* Wakes sleeping followers. REQUIRES: a full barrier since the store to `published`. Steps: (1) the flag exchanged to 0
 * (2) all who slept on it woken. Killed before or between: they look again within 50 ms. */
SHMD_INLINE void shmd_lock_wake_followers(shmd_control* c) {
  /* SYNC follower: observes the flag of whoever may not have seen the new position. */
  if (SHMD_UNLIKELY(shmd_load_seq(&c->sleepers) != 0)) shmd_lock_wake(c);
}

/*
 * Around a callback of the user's within a call that was entered: the lock stays, no write is under way, and the thread may call
 * in. `begin` notes the call in a list of the thread; 0, OUT_OF_MEMORY. `end` says whether the call may go on: 0; NOT_LOCKED
 * if it is not this thread's any more (the callback forked, and this is the child; it came back in another thread; the lock
 * was taken from this process as from the dead). Then nothing of the call may be touched, and it is not to be left: it was.
 * `unwound`, the cleanup of the variable, ends the call if an exception or a cancellation passes through it. A callback left
 * by longjmp is noticed by a later call of the thread, if it comes from further out on the thread's stack.
 */
typedef struct shmd_callback_place {
  shmd_attachment* a;
  struct shmd_lock_thread* thread;
  uint32_t level; /* in the thread's list, from 1; 0 = not begun, or over */
} shmd_callback_place;
int shmd_callback_begin(shmd_attachment* a, shmd_callback_place* place);
int shmd_callback_end(shmd_callback_place* place);
void shmd_callback_unwound(shmd_callback_place* place);
/* Whether the calling thread is in a callback of a call on `a`, be it one that this forked process inherited. */
bool shmd_callback_within(const shmd_attachment* a);

/* Explicit lock. timeout as in shmd_lock(). 0, SHMD_RECOVERED, SHMD_TIMED_OUT, or the errors above. */
int shmd_lock_acquire(shmd_attachment* a, int64_t timeout);
int shmd_lock_acquire_as(shmd_attachment* a, const shmd_lock_options* options);
/* shmd_lock_steal(): RECOVERED (held now), NOT_FOUND, OWNER_ALIVE. */
int shmd_lock_steal_from(shmd_attachment* a, int64_t pid);
int shmd_lock_release(shmd_attachment* a); /* NOT_LOCKED */
/* Something happened to the calling thread: its hooks are told now, or when it is outside of every call and lock. */
void shmd_lock_raise(shmd_attachment* a, const shmd_event* event);
int shmd_lock_info_of(shmd_attachment* a, shmd_lock_info* info);

/* Waits until no write that began before this call is in progress: on return each later write sees what the caller
 * stored before. 0; LOCK_TIMEOUT (a stopped owner, named); takes over from a dead owner. doc/concurrency.md: SYNC pin.
 * REQUIRES: `busy` set by the caller, who tells events after it. */
int shmd_lock_quiesce(shmd_attachment* a);

/* Takes over from an owner that is dead, and lets go: for who needs what that one had committed, not the lock. Never waits.
 * RECOVERED; 0: there was none, it is alive, or this thread cannot (read-only, within a call); CORRUPT, NOT_ATTACHED. */
int shmd_lock_rescue(shmd_attachment* a);

#endif
