/* SPDX-License-Identifier: Apache-2.0 */
#include "call.h"

#include <limits.h>

#include "error.h"
#include "event.h"
#include "lock_hold.h"
#include "platform.h"

#define HIGH_HALF (~UINT64_C(0xffffffff))

_Thread_local shmd_lock_thread shmd_lock_self;
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static bool thread_key_made;

/* ---- threads ---- */

static void thread_ends(void* p) {
  shmd_lock_thread* me = (shmd_lock_thread*)p;
  if (me->holds != 0 || me->busy) {
    shmd_attach_each(shmd_lock_abandon);
    shmd_attachment_end_lingering();
  }
  me->busy = 0;
  me->holds = 0;
  me->id = 0; /* a later destructor of this thread that locks again prepares it again */
  shmd_callbacks_end(me);
}

static void make_thread_key(void) { thread_key_made = pthread_key_create(&thread_key, thread_ends) == 0; }

static int prepare_thread(shmd_lock_thread* me) {
  if (me->id != 0) return 0;
  (void)pthread_once(&thread_once, make_thread_key);
  if (!thread_key_made || pthread_setspecific(thread_key, me) != 0)
    return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "this process has no room for a thread-exit destructor");
  (void)shmd_error_slot(); /* a signal handler must not be the first to touch thread-local memory */
  me->id = shmd_os_thread();
  return 0;
}

void shmd_lock_forked(void) {
  shmd_lock_thread* me = &shmd_lock_self;
  me->parent = me->id;
  me->id = 0;
  me->holds = 0;
  me->events = 0;
  me->orphans = me->within;
  shmd_event_forked();
}

uint64_t shmd_lock_inherited(const shmd_attachment* a) {
  const uint64_t writer = shmd_load_relaxed(&a->reader.writer);
  return writer != 0 && writer == shmd_lock_self.parent ? a->held : shmd_load_acquire(&a->inherited);
}

void shmd_lock_unloaded(void) {
  if (thread_key_made) (void)pthread_key_delete(thread_key);
  thread_key_made = false;
}

int shmd_call_interrupted(void) {
  return shmd_fail_plain(SHMD_ERR_BUSY,
                         "called from a signal handler that interrupted another call of this thread; try again "
                         "from outside the handler");
}

/* On the way to the lock: everything the fast path does not check. */
int shmd_hold_ready(shmd_attachment* a, shmd_lock_thread* me) {
  if (shmd_lock_closed(a)) return shmd_lock_refuse(a);
  if (a->read_only) return shmd_fail(SHMD_ERR_READ_ONLY, "dict '%s' is open read-only; open it for writing", a->name);
  if (shmd_load_relaxed(a->generation) == 0 || shmd_load_acquire(&a->owner) == 0) {
    const int result = shmd_attach_child(a);
    if (result < 0) return result;
    if (shmd_load_acquire(&a->inherited) != 0)
      return shmd_fail(SHMD_ERR_NO_TRANSACTION,
                       "dict '%s': this process was forked inside a transaction, which goes on in its parent; nothing "
                       "changed here: abort the transaction in this process, then write",
                       a->name);
  }
  return prepare_thread(me);
}

static bool mine(const shmd_attachment* a, const shmd_lock_thread* me) {
  const shmd_control* c = shmd_control_of(a);
  uint64_t owner = shmd_load_acquire(&a->owner);
  if (SHMD_UNLIKELY(owner == 0))
    owner = shmd_load_acquire(&a->last_owner); /* who held it when it was closed still does */
  /* SYNC owner-thread: observes the calling thread's own id, or somebody else's, or none; see shmd_hold_end(). */
  return me->id != 0 && owner != 0 && (shmd_load_acquire(&c->lock) & SHMD_LOCK_SLOT_MASK) == owner &&
         shmd_load_acquire(&c->owner_thread) == me->id && shmd_load_relaxed(a->generation) != 0;
}

bool shmd_lock_closed(const shmd_attachment* a) { return SHMD_UNLIKELY(shmd_load_acquire(&a->handles) == 0); }
int shmd_lock_refuse(const shmd_attachment* a) {
  return shmd_fail(SHMD_ERR_CLOSED, "dict '%s': the handle is closed", a->name);
}

bool shmd_lock_mine(const shmd_attachment* a) { return mine(a, &shmd_lock_self); }

void shmd_lock_tell(shmd_lock_thread* me) {
  if (me->busy || me->holds != 0) return;
  shmd_event_deliver();
  me->events = 0; /* not if a hook throws: the others are told at the end of the next call */
}

void shmd_lock_raise(shmd_attachment* a, const shmd_event* event) {
  shmd_event_note(a, event);
  shmd_lock_self.events = 1;
  shmd_lock_tell(&shmd_lock_self);
}

/* ---- taking and releasing ---- */

/* The word after `word` is taken. A single write leaves the note for the next explicit section; that one clears it. */
static uint64_t taken_word(uint64_t word, uint64_t owner, uint64_t flags) {
  const uint64_t keep = flags & SHMD_LOCK_EXPLICIT ? SHMD_LOCK_WAITERS : SHMD_LOCK_WAITERS | SHMD_LOCK_ORPHANED;
  return ((word & HIGH_HALF) + SHMD_LOCK_ACQUISITION) | (word & keep) | flags | owner;
}

/* The lock word is ours. Killed before the thread's id is stored: a waiter finds the slot dead all the same. */
static void took(shmd_attachment* a, shmd_lock_thread* me, uint64_t word) {
  shmd_control* c = shmd_control_of(a);
  ++me->holds;
  a->held = word;
  a->depth = 1;
  shmd_local_store(&a->paused, 0);
  a->in_call = 1;
  if (word & SHMD_LOCK_EXPLICIT) shmd_store_release(&c->owner_since, shmd_os_now_coarse());
  /* SYNC owner-thread: publishes that this thread holds the lock; nobody but this thread acts on it. */
  shmd_store_release(&c->owner_thread, me->id);
}

/* The lock was taken, and nothing else was done. */
static void untake(shmd_attachment* a, uint64_t word) {
  shmd_control* c = shmd_control_of(a);
  uint64_t expected = word;
  while (!shmd_cas(&c->lock, &expected, word & (HIGH_HALF | SHMD_LOCK_ORPHANED)))
    if (((expected ^ word) & ~SHMD_LOCK_WAITERS) != 0) return; /* the mapping is another one by now */
  if (expected & SHMD_LOCK_WAITERS) shmd_os_wake(&c->lock, 1);
}

int shmd_call_too_late(shmd_attachment* a) {
  shmd_control* c = shmd_control_of(a);
  const uint64_t word = shmd_load_acquire(&c->lock);
  if (!(word & SHMD_LOCK_EXPLICIT)) {
    untake(a, word);
  } else {
    --a->depth;
    a->in_call = 0;
    /* SYNC quiesce: publishes that there is no write after all. */
    shmd_store_release(&c->inner, shmd_load_acquire(&c->inner) + 1);
  }
  if (!shmd_lock_closed(a)) return shmd_call_enter_slowly(a); /* shmd_lock_resign(): a slot is to be had first */
  shmd_lock_self.busy = 0;
  return shmd_lock_refuse(a);
}

/* One attempt on a free lock. 0 = not taken, else what to return + 1. */
int shmd_hold_try(shmd_attachment* a, shmd_lock_thread* me, uint64_t word, uint64_t flags) {
  const uint64_t owner = shmd_load_acquire(&a->owner), fresh = taken_word(word, owner, flags);
  uint64_t expected = word;
  if (owner == 0 && shmd_lock_closed(a)) return shmd_lock_refuse(a) + 1;
  if (owner == 0) { /* resigned meanwhile */
    const int result = shmd_attach_child(a);
    return result < 0 ? result + 1 : 0;
  }
  /* SYNC lock: observes everything the last owner stored. */
  if (!shmd_cas(&shmd_control_of(a)->lock, &expected, fresh)) return 0;
  /* SYNC closed: as in call.h. */
  if (shmd_load_seq(&a->owner) != owner) {
    untake(a, fresh);
    return shmd_lock_closed(a) ? shmd_lock_refuse(a) + 1 : 0;
  }
  took(a, me, fresh);
  return (flags & SHMD_LOCK_EXPLICIT) && (word & SHMD_LOCK_ORPHANED) ? SHMD_RECOVERED + 1 : SHMD_OK + 1;
}

/*
 * Steps: (1) thread id cleared: the next owner may be another thread under the same slot, and must not seem to be this
 * one (2) the word is free (3) a sleeper is woken. Killed before (2): a dead owner with nothing to repair. Before (3): the
 * sleeper's slice ends. `note`: SHMD_LOCK_ORPHANED or 0.
 */
int shmd_hold_end(shmd_attachment* a, shmd_lock_thread* me, uint64_t note) {
  shmd_control* c = shmd_control_of(a);
  const uint64_t word = a->held;
  uint64_t expected = shmd_load_acquire(&c->lock);
  if (me->holds != 0) --me->holds; /* 0: a child, forked by a handler inside this call */
  if (SHMD_UNLIKELY(((expected ^ word) & ~SHMD_LOCK_WAITERS) != 0))
    return shmd_fail(
        SHMD_ERR_NOT_LOCKED,
        "dict '%s': the lock was taken from this process as if it were dead; do not close descriptors you did not "
        "open",
        a->name);
  if (word & SHMD_LOCK_EXPLICIT) shmd_store_release(&c->owner_since, 0);
  /* SYNC owner-thread: publishes that nobody holds it, before the word says so. */
  shmd_store_release(&c->owner_thread, 0);
  shmd_local_store(&a->paused, 0); /* not 0 if the thread ended within a callback */
  a->depth = 0;
  a->held = 0;
  a->in_call = 0;
  /* SYNC lock: publishes everything this owner stored. */
  while (!shmd_cas(&c->lock, &expected, (word & (HIGH_HALF | SHMD_LOCK_ORPHANED)) | note)) {
    if (((expected ^ word) & ~SHMD_LOCK_WAITERS) != 0) return SHMD_ERR_NOT_LOCKED;
  }
  /* SYNC sleeper: observes the bit of everybody who slept on the word just replaced. */
  if (SHMD_UNLIKELY(expected & SHMD_LOCK_WAITERS)) shmd_os_wake(&c->lock, 1);
  return 0;
}

/* The lock is held, but what its last owner left cannot be repaired: nobody owns it, everybody who comes tries again. */
static void give_up(shmd_attachment* a, shmd_lock_thread* me) {
  shmd_control* c = shmd_control_of(a);
  uint64_t expected = a->held;
  const uint64_t keep = HIGH_HALF | SHMD_LOCK_ORPHANED | SHMD_LOCK_EXPLICIT;
  const uint64_t broken = (a->held & keep) | SHMD_LOCK_BROKEN;
  if (me->holds != 0) --me->holds;
  shmd_store_release(&c->owner_thread, 0);
  a->depth = 0;
  a->held = 0;
  a->in_call = 0;
  while (!shmd_cas(&c->lock, &expected, broken)) {
    if ((expected & SHMD_LOCK_SLOT_MASK) != shmd_load_acquire(&a->owner)) return;
  }
  if (expected & SHMD_LOCK_WAITERS) shmd_os_wake(&c->lock, INT_MAX);
}

/*
 * Takes over from an owner that is gone. REQUIRES: nobody can own the slot that `word` names: its byte is held by us, or
 * the slot is our own and no thread of ours took the lock, or the word names no slot at all.
 * Steps: (1) the dead owner's thread id cleared (2) the word is ours, if it has not moved meanwhile (3) its write is
 * finished or forgotten. Killed after (1): as before. After (2): this process is the dead owner then, with the same
 * repair to do. 0 = moved on, not taken; SHMD_RECOVERED; CORRUPT.
 */
int shmd_hold_take_over(shmd_attachment* a, shmd_lock_thread* me, uint64_t word, uint64_t flags) {
  shmd_control* c = shmd_control_of(a);
  uint64_t expected = shmd_load_acquire(&c->lock), fresh, note;
  const uint64_t owner =
      shmd_load_acquire(&a->owner); /* not 0 again here: whoever closes it waits for this thread's reference */
  const uint64_t replays = shmd_load_acquire(&c->replays);
  int result;
  if (((expected ^ word) & ~SHMD_LOCK_WAITERS) != 0 || owner == 0) return 0;
  if ((word & SHMD_LOCK_SLOT_MASK) != SHMD_LOCK_BROKEN) shmd_store_release(&c->owner_thread, 0);
  do {
    if (((expected ^ word) & ~SHMD_LOCK_WAITERS) != 0) return 0;
    note = !(flags & SHMD_LOCK_EXPLICIT) && (expected & SHMD_LOCK_EXPLICIT) ? SHMD_LOCK_ORPHANED : 0;
    /* The waiters' bit makes the end of this hold look up: for events, which the inline end does not test for. */
    fresh = taken_word(expected, owner, flags) | note | SHMD_LOCK_WAITERS;
    /* SYNC lock: observes what the dead owner stored; with its byte in hand nothing of it is still to come. */
  } while (!shmd_cas(&c->lock, &expected, fresh));
  took(a, me, fresh);
  result = shmd_engine_recover(a);
  me->events = 1;
  shmd_event_owner_died(a, (uint32_t)(word & SHMD_LOCK_SLOT_MASK) - 1, result,
                        shmd_load_acquire(&c->replays) != replays);
  if (result < 0) {
    give_up(a, me);
    return result;
  }
  return SHMD_RECOVERED;
}

void shmd_lock_resign(shmd_attachment* a) {
  if (a->depth == 1 && !(a->held & SHMD_LOCK_EXPLICIT)) shmd_local_store(&a->owner, 0);
}

/* ---- followers ---- */

SHMD_NOINLINE void shmd_lock_wake(shmd_control* c) {
  (void)shmd_exchange(&c->sleepers, 0);
  shmd_os_wake(&c->sleepers, INT_MAX);
}

/* ---- single writes ---- */

static int enter_slowly(shmd_attachment* a, uint64_t limit) {
  shmd_lock_thread* me = &shmd_lock_self;
  shmd_control* c = shmd_control_of(a);
  int result = 0;
  me->busy = 0;
  shmd_callbacks_left(me);
  me->busy = 1;
  if (mine(a, me)) {
    ++a->depth;
    /* SYNC quiesce: publishes that a write is under way, before it looks at pins. */
    shmd_store_seq(&c->inner, shmd_load_acquire(&c->inner) + 1);
    /* SYNC closed: as in call.h. */
    if (shmd_load_seq(&a->owner) == 0) return shmd_call_too_late(a);
  } else if (!shmd_attachment_hold(a)) {
    result = shmd_lock_refuse(a);
  } else {
    const shmd_lock_wait how = {limit, SHMD_UNTIL_WOKEN, true, true};
    result = shmd_hold_ready(a, me);
    if (result >= 0) result = shmd_lock_wait_for(a, me, 0, &how);
    if (result == SHMD_TIMED_OUT) result = shmd_error_slot()->code = SHMD_ERR_LOCK_TIMEOUT;
    if (result >= 0 && shmd_lock_closed(a)) { /* while it came: nobody waits for this write */
      (void)shmd_hold_end(a, me, 0);
      result = shmd_lock_refuse(a);
    }
    shmd_attachment_let(a); /* a write that goes on is waited for by whoever closes: shmd_lock_inside() */
  }
  if (result < 0) {
    me->busy = 0;
    if (SHMD_UNLIKELY(me->events != 0)) shmd_lock_tell(me);
    return result;
  }
  a->in_call = 1;
  return result;
}

int shmd_call_enter_slowly(shmd_attachment* a) { return enter_slowly(a, (uint64_t)a->timeout); }

int shmd_call_enter_within(shmd_attachment* a, uint64_t limit) {
  if (shmd_lock_self.busy) return shmd_call_interrupted();
  return enter_slowly(a, limit < (uint64_t)a->timeout ? limit : (uint64_t)a->timeout);
}

void shmd_call_left(shmd_attachment* a, uint64_t word) {
  shmd_lock_thread* me = &shmd_lock_self;
  if (word & SHMD_LOCK_WAITERS) shmd_os_wake(&shmd_control_of(a)->lock, 1);
  shmd_lock_wake_followers(shmd_control_of(a));
  me->busy = 0;
  if (SHMD_UNLIKELY(me->events != 0)) shmd_lock_tell(me);
  if (SHMD_UNLIKELY(shmd_load_seq(&a->lingers) != 0)) shmd_attachment_end_lingering();
}

void shmd_call_leave_slowly(shmd_attachment* a) {
  shmd_control* c = shmd_control_of(a);
  shmd_lock_thread* me = &shmd_lock_self;
  if (((shmd_load_acquire(&c->lock) ^ a->held) & ~SHMD_LOCK_WAITERS) != 0) {
    if (me->holds != 0) --me->holds; /* taken from us as from the dead: whoever holds it now keeps it */
  } else if (a->depth > 1) {
    --a->depth;
    a->in_call = 0;
    /* SYNC quiesce: publishes that the write is over. */
    shmd_store_release(&c->inner, shmd_load_acquire(&c->inner) + 1);
  } else {
    /* SYNC quiesce: publishes the end of a write that had called back, and so had become a section. */
    if (shmd_load_acquire(&c->inner) & 1) shmd_store_seq(&c->inner, shmd_load_acquire(&c->inner) + 1);
    (void)shmd_hold_end(a, me, 0);
  }
  shmd_call_left(a, 0);
}

/* ---- explicit sections ---- */

static int acquire_section(shmd_attachment* a, const shmd_lock_wait* how) {
  shmd_lock_thread* me = &shmd_lock_self;
  int result;
  if (me->busy) return shmd_call_interrupted();
  shmd_callbacks_left(me);
  if (!shmd_attachment_hold(a)) return shmd_lock_refuse(a);
  ++me->busy;
  result = shmd_hold_ready(a, me);
  if (result >= 0) {
    if (mine(a, me))
      ++a->depth;
    else
      result = shmd_lock_wait_for(a, me, SHMD_LOCK_EXPLICIT, how);
    if (result >= 0 && result != SHMD_TIMED_OUT) a->in_call = 0;
  }
  --me->busy;
  shmd_attachment_let(a);
  return result;
}

static uint64_t limit_of(const shmd_attachment* a, int64_t timeout) {
  return timeout < 0 ? (uint64_t)a->timeout : (uint64_t)timeout;
}

int shmd_lock_acquire(shmd_attachment* a, int64_t timeout) {
  const shmd_lock_wait how = {limit_of(a, timeout), SHMD_UNTIL_WOKEN, true, true};
  return acquire_section(a, &how);
}

int shmd_lock_acquire_as(shmd_attachment* a, const shmd_lock_options* o) {
  const shmd_lock_wait how = {o->block ? limit_of(a, o->timeout) : 0, o->sleep_time, o->steal != 0,
                              o->steal_after_timeout != 0};
  return acquire_section(a, &how);
}

int shmd_lock_release(shmd_attachment* a) {
  shmd_lock_thread* me = &shmd_lock_self;
  int result = 0;
  if (me->busy) return shmd_call_interrupted();
  shmd_callbacks_left(me);
  if (!mine(a, me) || a->depth <= shmd_load_relaxed(&a->paused))
    return shmd_fail(SHMD_ERR_NOT_LOCKED, "dict '%s': the calling thread does not hold the lock; lock it first",
                     a->name);
  ++me->busy;
  if (a->depth > 1) {
    --a->depth;
  } else {
    result = shmd_hold_end(a, me, 0);
    shmd_lock_wake_followers(shmd_control_of(a));
  }
  --me->busy;
  if (SHMD_UNLIKELY(me->events != 0)) shmd_lock_tell(me);
  if (SHMD_UNLIKELY(shmd_load_seq(&a->lingers) != 0)) shmd_attachment_end_lingering();
  return result;
}

/* ---- for attach.c ---- */

void shmd_lock_close(shmd_attachment* a) {
  const uint64_t owner = shmd_load_acquire(&a->owner);
  shmd_local_store(&a->handles, 0);
  shmd_local_store(&a->last_owner, owner);
  /* SYNC closed: publishes that nobody may begin a write, before shmd_lock_inside() looks whether somebody has. */
  (void)shmd_local_exchange(&a->owner, 0);
  if (shmd_load_acquire(&a->references) > 1)
    shmd_os_wake(&shmd_control_of(a)->lock, INT_MAX); /* those who wait for it */
}

/* Who holds the lock here is inside a write, inside a callback, or in a section between two calls. In the last case it comes
 * to nothing any more. `inner` is odd before `paused` is 0 again, and even only after it is set: so both unmoved, `inner`
 * even, and `paused` 0 between, are the section. */
bool shmd_lock_inside(shmd_attachment* a) {
  shmd_control* c = shmd_control_of(a);
  const uint64_t owner = shmd_load_acquire(&a->last_owner);
  uint64_t word, inner;
  /* SYNC closed: observes who began a write before the close. */
  word = shmd_load_seq(&c->lock);
  inner = shmd_load_seq(&c->inner);
  if (owner == 0 || (word & SHMD_LOCK_SLOT_MASK) != owner) return false;
  if ((word & SHMD_LOCK_EXPLICIT) && (inner & 1) == 0 && shmd_load_acquire(&a->paused) == 0 &&
      shmd_load_seq(&c->inner) == inner && ((shmd_load_seq(&c->lock) ^ word) & ~SHMD_LOCK_WAITERS) == 0)
    return false;
  /* The waiters' bit makes the end of the hold look up: shmd_call_left(). */
  if (!(word & SHMD_LOCK_WAITERS)) (void)shmd_cas(&c->lock, &word, word | SHMD_LOCK_WAITERS);
  return true;
}

void shmd_lock_busy(bool begin) {
  if (begin)
    ++shmd_lock_self.busy;
  else
    --shmd_lock_self.busy;
}

int shmd_lock_adopt(shmd_attachment* a) {
  shmd_lock_thread* me = &shmd_lock_self;
  const uint64_t word = shmd_load_acquire(&shmd_control_of(a)->lock);
  int result;
  if ((word & SHMD_LOCK_SLOT_MASK) != shmd_load_acquire(&a->owner)) return 0;
  result = prepare_thread(me);
  if (result < 0) return result;
  ++me->busy;
  result = shmd_hold_take_over(a, me, word, 0);
  if (result == SHMD_RECOVERED) result = shmd_hold_end(a, me, 0);
  --me->busy;
  shmd_event_forget(a); /* there is no handle yet that could have a hook */
  return result;
}

void shmd_lock_abandon(shmd_attachment* a) {
  shmd_lock_thread* me = &shmd_lock_self;
  if (!mine(a, me)) return;
  a->in_call = 1;
  if (shmd_engine_recover(a) < 0)
    give_up(a, me);
  else
    (void)shmd_hold_end(a, me, a->held & SHMD_LOCK_EXPLICIT ? SHMD_LOCK_ORPHANED : 0);
}
