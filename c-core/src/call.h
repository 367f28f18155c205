/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A single writing call: what every put, erase and commit begins and ends with, inline for the common case, a lock that is
 * free and was taken for this call alone. The rest is lock.c's and lock_wait.c's. Lock discipline and words: lock.h.
 */
#ifndef SHMD_CALL_H
#define SHMD_CALL_H

#include "lock.h"

/* The calling thread. `busy` from the first instruction of a call to its last: a signal handler that finds it set has
 * interrupted this very thread, whatever state the lock is in. */
typedef struct shmd_lock_thread {
  uint64_t id; /* system thread id, 0 = not prepared: no thread-exit destructor yet */
  volatile uint32_t busy;
  uint32_t holds;            /* locks held by this thread */
  uint32_t events;           /* not 0: some were noted, and wait until no lock is held */
  struct shmd_dict* closing; /* handles closed within a callback, to be ended when the call that called back is over */
  /* lock_callback.c: the calls of this thread that have called back, outermost first */
  struct shmd_callback* callbacks;
  uint32_t within;  /* how many */
  uint32_t orphans; /* so many of them are the parent's, from which this process was forked meanwhile */
  uint32_t room;
  uint64_t parent; /* of a forked child: the id that its thread had in the parent */
} shmd_lock_thread;
extern _Thread_local shmd_lock_thread shmd_lock_self;

int shmd_call_interrupted(void);
/* CLOSED: the attachment was closed while the call took its lock, or began within a section. Undoes that. */
SHMD_NOINLINE int shmd_call_too_late(shmd_attachment* a);
/* Tells what was noted, once the thread is outside of every call and lock. */
SHMD_NOINLINE void shmd_lock_tell(shmd_lock_thread* me);
/* The end of a call's inline end, if there may be more to do: wakes those who sleep on the lock by the word just replaced, and
 * followers, then tells events (me->events: set with the waiters' bit of the lock word, or told at the end of a section). */
void shmd_call_left(shmd_attachment* a, uint64_t word);

/* Enters a single writing call: takes the lock, or, inside an explicitly locked section of this thread, marks the call
 * (control.inner odd, with a full barrier). 0, SHMD_RECOVERED; negative: LOCK_TIMEOUT (holder in the error), READ_ONLY,
 * NOT_ATTACHED, BUSY (re-entered from a signal handler), WOULD_DEADLOCK, CORRUPT, CLOSED.
 * Inline: taking a free lock, as took() in lock.c does it, and a call inside a section of this thread. */
SHMD_INLINE int shmd_call_enter(shmd_attachment* a) {
  shmd_lock_thread* me = &shmd_lock_self;
  shmd_control* c;
  uint64_t owner;
  if (SHMD_UNLIKELY(me->busy)) return shmd_call_interrupted();
  me->busy = 1;
  c = shmd_control_of(a);
  owner = shmd_load_acquire(&a->owner);
  if (SHMD_LIKELY(me->id != 0 && owner != 0 && shmd_load_relaxed(a->generation) != 0)) {
    uint64_t word = shmd_load_acquire(&c->lock);
    if (SHMD_LIKELY((word & (SHMD_LOCK_SLOT_MASK | SHMD_LOCK_EXPLICIT)) == 0)) {
      const uint64_t fresh = (word + SHMD_LOCK_ACQUISITION) | owner;
      shmd_prefetch_to_write(&c->owner_thread); /* while the lock's line is on its way, the others come too */
      shmd_prefetch_to_write(&c->published);
      /* SYNC lock: observes everything the last owner stored. */
      if (SHMD_LIKELY(shmd_cas(&c->lock, &word, fresh))) {
        /* SYNC closed: observes a close, or the close observes that the lock is held. */
        if (SHMD_UNLIKELY(shmd_load_seq(&a->owner) != owner)) return shmd_call_too_late(a);
        ++me->holds;
        a->held = fresh;
        a->depth = 1;
        shmd_local_store(&a->paused, 0);
        a->in_call = 1;
        /* SYNC owner-thread: publishes that this thread holds the lock; nobody but this thread acts on it. */
        shmd_store_release(&c->owner_thread, me->id);
        return 0;
      }
    } else if ((word & SHMD_LOCK_SLOT_MASK) == owner && shmd_load_acquire(&c->owner_thread) == me->id &&
               shmd_load_relaxed(&a->paused) == 0) {
      /* SYNC owner-thread: as in lock.c's mine(). */
      ++a->depth;
      a->in_call = 1;
      /* SYNC quiesce: publishes that a write is under way, before it looks at pins. */
      shmd_store_seq(&c->inner, shmd_load_acquire(&c->inner) + 1);
      /* SYNC closed: observes a close, or the close observes the write. */
      return SHMD_LIKELY(shmd_load_seq(&a->owner) == owner) ? 0 : shmd_call_too_late(a);
    }
  }
  return shmd_call_enter_slowly(a);
}

/* Leaves it; wakes lock waiters, then followers whose flag is set in control.sleepers.
 * Inline: the end of a hold that this call began, as shmd_hold_end() in lock.c does it. */
SHMD_INLINE void shmd_call_leave(shmd_attachment* a) {
  shmd_lock_thread* me = &shmd_lock_self;
  shmd_control* c = shmd_control_of(a);
  const uint64_t held = a->held;
  uint64_t word;
  if (SHMD_UNLIKELY(a->depth > 1)) {
    --a->depth;
    a->in_call = 0;
    /* SYNC quiesce: publishes that the write is over. No barrier: a follower that falls asleep in this moment is woken by
     * the end of the section, or looks again by itself. */
    shmd_store_release(&c->inner, shmd_load_acquire(&c->inner) + 1);
    if (SHMD_UNLIKELY(shmd_load_acquire(&c->sleepers) != 0)) shmd_lock_wake(c);
    me->busy = 0;
    return;
  }
  word = shmd_load_acquire(&c->lock);
  if (SHMD_UNLIKELY(a->depth != 1 || ((word ^ held) & ~SHMD_LOCK_WAITERS) != 0 || (held & SHMD_LOCK_EXPLICIT))) {
    shmd_call_leave_slowly(a);
    return;
  }
  if (SHMD_LIKELY(me->holds != 0)) --me->holds;
  /* SYNC owner-thread: publishes that nobody holds it, before the word says so. */
  shmd_store_release(&c->owner_thread, 0);
  a->depth = 0;
  a->held = 0;
  a->in_call = 0;
  /* SYNC lock: publishes everything this owner stored. */
  while (SHMD_UNLIKELY(!shmd_cas(&c->lock, &word, held & (~UINT64_C(0xffffffff) | SHMD_LOCK_ORPHANED)))) {
    if (((word ^ held) & ~SHMD_LOCK_WAITERS) != 0) break;
  }
  /* SYNC sleeper: observes the bit of everybody who slept on the word just replaced.
   * SYNC follower: observes the flag of whoever may not have seen the new position: the unlock was a full barrier. */
  if (SHMD_UNLIKELY((word & SHMD_LOCK_WAITERS) || shmd_load_seq(&c->sleepers) != 0))
    shmd_call_left(a, word);
  else
    me->busy = 0;
}

#endif
