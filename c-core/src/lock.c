#include "call.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "platform.h"

#define HIGH_HALF (~UINT64_C(0xffffffff))
#define SPINS 100
#define CHECK_AFTER UINT64_C(5000000) /* ns that an owner keeps the lock before a waiter asks whether it lives */
#define SLICE UINT64_C(40000000)      /* ns between such questions; bounds every sleep here */
#define QUIESCE_PAUSE UINT64_C(20000)
#define MS UINT64_C(1000000)

typedef shmd_lock_thread lock_thread;
_Thread_local shmd_lock_thread shmd_lock_self;
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static bool thread_key_made;

/* ---- threads ---- */

static void thread_ends(void* p) {
  lock_thread* me = (lock_thread*)p;
  if (me->holds != 0 || me->busy) shmd_attach_each(shmd_lock_abandon);
  me->busy = 0;
  me->holds = 0;
  me->id = 0; /* a later destructor of this thread that locks again prepares it again */
}

static void make_thread_key(void) { thread_key_made = pthread_key_create(&thread_key, thread_ends) == 0; }

static int prepare_thread(lock_thread* me) {
  if (me->id != 0) return 0;
  (void)pthread_once(&thread_once, make_thread_key);
  if (!thread_key_made || pthread_setspecific(thread_key, me) != 0)
    return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "this process has no room for a thread-exit destructor");
  (void)shmd_error_slot(); /* a signal handler must not be the first to touch thread-local memory */
  me->id = shmd_os_thread();
  return 0;
}

void shmd_lock_forked(void) {
  shmd_lock_self.id = 0;
  shmd_lock_self.holds = 0;
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
static int ready(shmd_attachment* a, lock_thread* me) {
  if (a->read_only) return shmd_fail(SHMD_ERR_READ_ONLY, "dict '%s' is open read-only; open it for writing", a->name);
  if (shmd_load_relaxed(a->generation) == 0 || shmd_load_acquire(&a->owner) == 0) {
    const int result = shmd_attach_child(a);
    if (result < 0) return result;
  }
  return prepare_thread(me);
}

static bool mine(const shmd_attachment* a, const lock_thread* me) {
  const shmd_control* c = shmd_control_of(a);
  const uint64_t owner = shmd_load_acquire(&a->owner);
  /* SYNC owner-thread: observes the calling thread's own id, or somebody else's, or none; see lock.c's unlock. */
  return me->id != 0 && owner != 0 && (shmd_load_acquire(&c->lock) & SHMD_LOCK_SLOT_MASK) == owner &&
         shmd_load_acquire(&c->owner_thread) == me->id && shmd_load_relaxed(a->generation) != 0;
}

bool shmd_lock_mine(const shmd_attachment* a) { return mine(a, &shmd_lock_self); }

/* ---- taking and releasing ---- */

/* The word after `word` is taken. A single write leaves the note for the next explicit section; that one clears it. */
static uint64_t taken_word(uint64_t word, uint64_t owner, uint64_t flags) {
  const uint64_t keep = flags & SHMD_LOCK_EXPLICIT ? SHMD_LOCK_WAITERS : SHMD_LOCK_WAITERS | SHMD_LOCK_ORPHANED;
  return ((word & HIGH_HALF) + SHMD_LOCK_ACQUISITION) | (word & keep) | flags | owner;
}

/* The lock word is ours. Killed before the thread's id is stored: a waiter finds the slot dead all the same. */
static void took(shmd_attachment* a, lock_thread* me, uint64_t word) {
  shmd_control* c = shmd_control_of(a);
  ++me->holds;
  a->held = word;
  a->depth = 1;
  a->paused = 0;
  a->in_call = 1;
  if (word & SHMD_LOCK_EXPLICIT) shmd_store_release(&c->owner_since, shmd_os_now());
  /* SYNC owner-thread: publishes that this thread holds the lock; nobody but this thread acts on it. */
  shmd_store_release(&c->owner_thread, me->id);
}

/* One attempt on a free lock. 0 = not taken, else what to return + 1. */
static int try_take(shmd_attachment* a, lock_thread* me, uint64_t word, uint64_t flags) {
  const uint64_t fresh = taken_word(word, shmd_load_acquire(&a->owner), flags);
  uint64_t expected = word;
  /* SYNC lock: observes everything the last owner stored. */
  if (!shmd_cas(&shmd_control_of(a)->lock, &expected, fresh)) return 0;
  took(a, me, fresh);
  return (flags & SHMD_LOCK_EXPLICIT) && (word & SHMD_LOCK_ORPHANED) ? SHMD_RECOVERED + 1 : SHMD_OK + 1;
}

/*
 * Steps: (1) thread id cleared: the next owner may be another thread under the same slot, and must not seem to be this
 * one (2) the word is free (3) a sleeper is woken. Killed before (2): a dead owner with nothing to repair. Before (3): the
 * sleeper's slice ends. `note`: SHMD_LOCK_ORPHANED or 0.
 */
static int unlock(shmd_attachment* a, lock_thread* me, uint64_t note) {
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
static void give_up(shmd_attachment* a, lock_thread* me) {
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
static int take_over(shmd_attachment* a, lock_thread* me, uint64_t word, uint64_t flags) {
  shmd_control* c = shmd_control_of(a);
  uint64_t expected = shmd_load_acquire(&c->lock), fresh, note;
  int result;
  if (((expected ^ word) & ~SHMD_LOCK_WAITERS) != 0) return 0;
  if ((word & SHMD_LOCK_SLOT_MASK) != SHMD_LOCK_BROKEN) shmd_store_release(&c->owner_thread, 0);
  do {
    if (((expected ^ word) & ~SHMD_LOCK_WAITERS) != 0) return 0;
    note = !(flags & SHMD_LOCK_EXPLICIT) && (expected & SHMD_LOCK_EXPLICIT) ? SHMD_LOCK_ORPHANED : 0;
    fresh = taken_word(expected, shmd_load_acquire(&a->owner), flags) | note;
    /* SYNC lock: observes what the dead owner stored; with its byte in hand nothing of it is still to come. */
  } while (!shmd_cas(&c->lock, &expected, fresh));
  took(a, me, fresh);
  result = shmd_engine_recover(a);
  if (result < 0) {
    give_up(a, me);
    return result;
  }
  return SHMD_RECOVERED;
}

/* Asks whether the owner that `word` names still lives, and takes over if not. Results of take_over; 0 also: it lives. */
static int look_after_owner(shmd_attachment* a, lock_thread* me, uint64_t word, uint64_t flags) {
  const uint64_t name = word & SHMD_LOCK_SLOT_MASK;
  bool taken = false;
  int result;
  if (name == 0) return 0;
  if (name > a->max_processes) return take_over(a, me, word, flags);
  if (shmd_slot_alive(a, (uint32_t)(name - 1), &taken) || !taken) return 0;
  result = take_over(a, me, word, flags);
  shmd_slot_release(a, (uint32_t)(name - 1));
  return result;
}

/* ---- who holds it ---- */

static void copy_program(char* to, const shmd_slot* entry, size_t capacity) {
  size_t i;
  char program[sizeof entry->program];
  shmd_copy_out(program, entry->program, sizeof program);
  for (i = 0; i < sizeof program && i < capacity - 1 && program[i] != '\0'; ++i)
    to[i] = (unsigned char)program[i] < 0x20 || program[i] == 0x7f ? '?' : program[i];
  to[i] = '\0';
}

/* What is known of the owner that `word` names. The thread and the time belong to it only if the word has not moved. */
static void describe(shmd_attachment* a, uint64_t word, shmd_lock_info* info) {
  const shmd_control* c = shmd_control_of(a);
  const uint64_t name = word & SHMD_LOCK_SLOT_MASK;
  uint64_t since, now;
  memset(info, 0, sizeof *info);
  info->acquisitions = word >> 32;
  info->waiters = (word & SHMD_LOCK_WAITERS) != 0;
  if (name == 0) return;
  info->held = 1;
  info->slot = (uint32_t)name - 1;
  if (name <= a->max_processes) {
    const shmd_slot* entry = shmd_slot_of(a, info->slot);
    /* SYNC slot-entry: observes the pid of a complete entry. */
    info->pid = (int64_t)shmd_load_acquire(&entry->pid);
    copy_program(info->program, entry, sizeof info->program);
  }
  info->thread = (int64_t)shmd_load_acquire(&c->owner_thread);
  since = word & SHMD_LOCK_EXPLICIT ? shmd_load_acquire(&c->owner_since) : 0;
  now = shmd_os_now();
  info->held_ns = since != 0 && now > since ? now - since : 0;
  if (((shmd_load_acquire(&c->lock) ^ word) & ~SHMD_LOCK_WAITERS) != 0) {
    info->thread = 0;
    info->held_ns = 0;
  }
}

int shmd_lock_info_of(shmd_attachment* a, shmd_lock_info* info) {
  const uint64_t word = shmd_load_acquire(&shmd_control_of(a)->lock);
  describe(a, word, info);
  if (!info->held) return 0;
  info->by_this_thread = mine(a, &shmd_lock_self);
  info->alive = info->slot == a->slot || (info->slot < a->max_processes &&
                                          shmd_os_byte_held(a->liveness_fd, SHMD_BYTE_SLOTS + info->slot, 1) == 1);
  return 0;
}

static int timed_out(shmd_attachment* a, uint64_t word, uint64_t waited, uint64_t seen_for, int code) {
  shmd_lock_info info;
  shmd_error_info* error;
  char holder[160] = "nobody (it was just released)";
  describe(a, word, &info);
  if (info.held_ns == 0) info.held_ns = seen_for;
  if (info.held)
    (void)snprintf(holder, sizeof holder, "pid %lld (%s), thread %lld, for %.1f s", (long long)info.pid, info.program,
                   (long long)info.thread, (double)info.held_ns / 1e9);
  (void)shmd_fail(
      code,
      "dict '%s': timed out after %.1f s waiting for the lock, held by %s; it may be stopped or in a long section: "
      "continue or end it, or wait longer",
      a->name, (double)waited / 1e9, holder);
  error = shmd_error_slot();
  error->pid = info.pid;
  error->thread = info.thread;
  error->held_ns = info.held_ns;
  error->waited_ns = waited;
  memcpy(error->program, info.program, sizeof error->program);
  return code;
}

/* Another copy of the library in this process holds the lock, for this very thread. */
static bool would_deadlock(const shmd_attachment* a, const lock_thread* me, uint64_t word) {
  const shmd_control* c = shmd_control_of(a);
  const uint64_t name = word & SHMD_LOCK_SLOT_MASK;
  const shmd_slot* entry;
  if (name == 0 || name > a->max_processes || name == shmd_load_acquire(&a->owner)) return false;
  entry = shmd_slot_of(a, (uint32_t)name - 1);
  return shmd_load_acquire(&c->owner_thread) == me->id && shmd_load_acquire(&entry->pid) == a->pid &&
         shmd_load_acquire(&entry->start_time) == a->start_time &&
         shmd_load_acquire(&entry->pid_space) == a->pid_space &&
         ((shmd_load_acquire(&c->lock) ^ word) & ~SHMD_LOCK_WAITERS) == 0;
}

/* ---- waiting ---- */

/* Sets the waiters' bit of `word` and sleeps until the word's low half changes, somebody wakes us, or `slice` is over. */
static void sleep_on(shmd_attachment* a, uint64_t word, uint64_t slice) {
  shmd_control* c = shmd_control_of(a);
  /* SYNC sleeper: publishes that somebody sleeps; the owner's unlock observes it, for both change the same word. */
  if (!(word & SHMD_LOCK_WAITERS) && !shmd_cas(&c->lock, &word, word | SHMD_LOCK_WAITERS)) return;
  shmd_os_wait(&c->lock, (uint32_t)(word | SHMD_LOCK_WAITERS), slice);
}

/* REQUIRES: not held by this thread; ready(). Results of shmd_lock_acquire. */
static int acquire(shmd_attachment* a, lock_thread* me, uint64_t flags, int64_t timeout) {
  shmd_control* c = shmd_control_of(a);
  const uint64_t limit = timeout < 0 ? (uint64_t)a->timeout : (uint64_t)timeout;
  uint64_t word, seen = 0, start, seen_at, now, slice, asleep = 0;
  int i, result;
  for (i = 0; i < SPINS; ++i) {
    word = shmd_load_acquire(&c->lock);
    if ((word & SHMD_LOCK_SLOT_MASK) == 0 && (result = try_take(a, me, word, flags)) != 0) return result - 1;
    if (limit == 0) break;
    shmd_pause();
  }
  seen_at = start = shmd_os_now();
  for (;;) {
    word = shmd_load_acquire(&c->lock);
    if ((word & SHMD_LOCK_SLOT_MASK) == 0) {
      /* Others may sleep still: whoever has slept takes the lock with the waiters' bit set. */
      result = try_take(a, me, word, flags | asleep);
      if (result != 0) return result - 1;
      continue;
    }
    now = shmd_os_now();
    if (((word ^ seen) & ~SHMD_LOCK_WAITERS) != 0) {
      seen = word;
      seen_at = now;
    }
    if (now - seen_at >= CHECK_AFTER || now - start >= limit || (word & SHMD_LOCK_SLOT_MASK) > a->max_processes) {
      result = look_after_owner(a, me, word, flags);
      if (result != 0) return result;
      if (now - start >= limit) {
        if (asleep) shmd_os_wake(&c->lock, 1); /* the wake-up may have been meant for us */
        return timed_out(a, word, now - start, now - seen_at, SHMD_TIMED_OUT);
      }
    }
    if (would_deadlock(a, me, word))
      return shmd_fail(
          SHMD_ERR_WOULD_DEADLOCK,
          "dict '%s': this thread holds the lock through another copy of the library; unlock it there first", a->name);
    slice = now - seen_at < CHECK_AFTER ? CHECK_AFTER : SLICE;
    sleep_on(a, word, limit - (now - start) < slice ? limit - (now - start) : slice);
    asleep = SHMD_LOCK_WAITERS;
  }
}

/* ---- followers ---- */

SHMD_NOINLINE void shmd_lock_wake(shmd_control* c) {
  (void)shmd_exchange(&c->sleepers, 0);
  shmd_os_wake(&c->sleepers, INT_MAX);
}

/* ---- single writes ---- */

int shmd_call_enter_slowly(shmd_attachment* a) {
  lock_thread* me = &shmd_lock_self;
  shmd_control* c = shmd_control_of(a);
  int result = 0;
  me->busy = 1;
  if (mine(a, me)) {
    ++a->depth;
    /* SYNC quiesce: publishes that a write is under way, before it looks at pins. */
    shmd_store_seq(&c->inner, shmd_load_acquire(&c->inner) + 1);
  } else {
    result = ready(a, me);
    if (result >= 0) result = acquire(a, me, 0, SHMD_DEFAULT_TIMEOUT);
    if (result == SHMD_TIMED_OUT) result = shmd_error_slot()->code = SHMD_ERR_LOCK_TIMEOUT;
  }
  if (result < 0) {
    me->busy = 0;
    return result;
  }
  a->in_call = 1;
  return result;
}

void shmd_lock_wake_sleepers(shmd_attachment* a, uint64_t word) {
  shmd_control* c = shmd_control_of(a);
  if (word & SHMD_LOCK_WAITERS) shmd_os_wake(&c->lock, 1);
  shmd_lock_wake_followers(c);
}

void shmd_call_leave_slowly(shmd_attachment* a) {
  shmd_control* c = shmd_control_of(a);
  lock_thread* me = &shmd_lock_self;
  if (a->depth > 1) {
    --a->depth;
    a->in_call = 0;
    /* SYNC quiesce: publishes that the write is over. */
    shmd_store_release(&c->inner, shmd_load_acquire(&c->inner) + 1);
  } else {
    /* SYNC quiesce: publishes the end of a write that had called back, and so had become a section. */
    if (shmd_load_acquire(&c->inner) & 1) shmd_store_seq(&c->inner, shmd_load_acquire(&c->inner) + 1);
    (void)unlock(a, me, 0);
  }
  shmd_lock_wake_sleepers(a, 0);
  me->busy = 0;
}

uint32_t shmd_call_pause(shmd_attachment* a) {
  shmd_control* c = shmd_control_of(a);
  const uint32_t floor = a->paused;
  a->in_call = 0;
  a->paused = a->depth; /* the callback may unlock what it locks, not what holds the call */
  if (a->held & SHMD_LOCK_EXPLICIT) {
    /* SYNC quiesce: publishes that no write is under way. */
    if (shmd_load_acquire(&c->inner) & 1) shmd_store_seq(&c->inner, shmd_load_acquire(&c->inner) + 1);
  } else {
    /* a single write's hold becomes a section: whoever quiesces need not wait for the callback */
    uint64_t word = shmd_load_acquire(&c->lock);
    while (((word ^ a->held) & ~SHMD_LOCK_WAITERS) == 0 && !shmd_cas(&c->lock, &word, word | SHMD_LOCK_EXPLICIT)) {
    }
    a->held |= SHMD_LOCK_EXPLICIT;
  }
  shmd_lock_self.busy = 0;
  return floor;
}

void shmd_call_resume(shmd_attachment* a, uint32_t floor) {
  shmd_control* c = shmd_control_of(a);
  shmd_lock_self.busy = 1;
  a->paused = floor;
  /* SYNC quiesce: publishes that a write is under way, before it looks at pins. */
  shmd_store_seq(&c->inner, shmd_load_acquire(&c->inner) + 1);
  a->in_call = 1;
}

/* ---- explicit sections ---- */

int shmd_lock_acquire(shmd_attachment* a, int64_t timeout) {
  lock_thread* me = &shmd_lock_self;
  int result;
  if (me->busy) return shmd_call_interrupted();
  ++me->busy;
  result = ready(a, me);
  if (result >= 0) {
    if (mine(a, me))
      ++a->depth;
    else
      result = acquire(a, me, SHMD_LOCK_EXPLICIT, timeout);
    if (result >= 0 && result != SHMD_TIMED_OUT) a->in_call = 0;
  }
  --me->busy;
  return result;
}

int shmd_lock_release(shmd_attachment* a) {
  lock_thread* me = &shmd_lock_self;
  int result = 0;
  if (me->busy) return shmd_call_interrupted();
  if (!mine(a, me) || a->depth <= a->paused)
    return shmd_fail(SHMD_ERR_NOT_LOCKED, "dict '%s': the calling thread does not hold the lock; lock it first",
                     a->name);
  ++me->busy;
  if (a->depth > 1) {
    --a->depth;
  } else {
    result = unlock(a, me, 0);
    shmd_lock_wake_sleepers(a, 0);
  }
  --me->busy;
  return result;
}

/* ---- for attach.c ---- */

int shmd_lock_adopt(shmd_attachment* a) {
  lock_thread* me = &shmd_lock_self;
  const uint64_t word = shmd_load_acquire(&shmd_control_of(a)->lock);
  int result;
  if ((word & SHMD_LOCK_SLOT_MASK) != shmd_load_acquire(&a->owner)) return 0;
  result = prepare_thread(me);
  if (result < 0) return result;
  ++me->busy;
  result = take_over(a, me, word, 0);
  if (result == SHMD_RECOVERED) result = unlock(a, me, 0);
  --me->busy;
  return result;
}

void shmd_lock_abandon(shmd_attachment* a) {
  lock_thread* me = &shmd_lock_self;
  if (!mine(a, me)) return;
  a->in_call = 1;
  if (shmd_engine_recover(a) < 0)
    give_up(a, me);
  else
    (void)unlock(a, me, a->held & SHMD_LOCK_EXPLICIT ? SHMD_LOCK_ORPHANED : 0);
}

/* ---- quiesce ---- */

/* Whether the write that `word` and `inner` showed under way is over. */
static bool moved_on(const shmd_control* c, uint64_t word, uint64_t inner) {
  /* SYNC quiesce: observes the end of that write, by the word or by `inner`. */
  return ((shmd_load_acquire(&c->lock) ^ word) & ~SHMD_LOCK_WAITERS) != 0 ||
         ((word & SHMD_LOCK_EXPLICIT) && shmd_load_acquire(&c->inner) != inner);
}

static int quiesce_slowly(shmd_attachment* a, lock_thread* me, uint64_t word, uint64_t inner) {
  const shmd_control* c = shmd_control_of(a);
  const uint64_t start = shmd_os_now();
  uint64_t now, checked = start, pause = QUIESCE_PAUSE;
  for (;;) {
    if (moved_on(c, word, inner)) return 0;
    now = shmd_os_now();
    if (now - checked >= CHECK_AFTER || now - start >= (uint64_t)a->timeout) {
      int result = look_after_owner(a, me, word, 0);
      if (result == SHMD_RECOVERED) return unlock(a, me, 0);
      if (result < 0) return result;
      checked = now;
    }
    if (now - start >= (uint64_t)a->timeout) return timed_out(a, word, now - start, now - start, SHMD_ERR_LOCK_TIMEOUT);
    shmd_os_sleep(pause);
    if (pause < MS) pause *= 2;
  }
}

int shmd_lock_quiesce(shmd_attachment* a) {
  shmd_control* c = shmd_control_of(a);
  lock_thread* me = &shmd_lock_self;
  uint64_t word, inner;
  int result, i;
  shmd_full_barrier();
  /* SYNC quiesce: observes whether a write is under way; one that begins later sees what the caller stored before. */
  word = shmd_load_acquire(&c->lock);
  if ((word & SHMD_LOCK_SLOT_MASK) == 0) return 0;
  inner = shmd_load_acquire(&c->inner);
  if ((word & SHMD_LOCK_EXPLICIT) && (inner & 1) == 0) return 0;
  if (mine(a, me)) return 0;
  for (i = 0; i < SPINS; ++i) {
    if (moved_on(c, word, inner)) return 0;
    shmd_pause();
  }
  if (me->busy) return shmd_call_interrupted();
  ++me->busy;
  result = ready(a, me);
  if (result >= 0) result = quiesce_slowly(a, me, word, inner);
  --me->busy;
  return result;
}
