/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "lock_hold.h"
#include "platform.h"

#define SPINS 100
#define LOOKS 11 /* at a lock that is held, before its owner is asked for it: some 2000 pauses in all, 20 us here */
#define ASKS 200 /* after that, before the first sleep: two pauses each, 4 us here */
#define CHECK_AFTER UINT64_C(5000000) /* ns that an owner keeps the lock before a waiter asks whether it lives */
#define SLICE UINT64_C(40000000)      /* ns between such questions; bounds every sleep here */
#define QUIESCE_PAUSE UINT64_C(20000)
#define MS UINT64_C(1000000)

/* ---- a dead owner ---- */

/* Asks whether the owner that `word` names still lives, and takes over if not. Results of take_over; 0 also: it lives. */
static int look_after_owner(shmd_attachment* a, shmd_lock_thread* me, uint64_t word, uint64_t flags) {
  const uint64_t name = word & SHMD_LOCK_SLOT_MASK;
  bool taken = false;
  int result;
  if (name == 0) return 0;
  if (name > a->max_processes) return shmd_hold_take_over(a, me, word, flags);
  if (shmd_slot_alive(a, (uint32_t)(name - 1), &taken) || !taken) return 0;
  result = shmd_hold_take_over(a, me, word, flags);
  shmd_slot_release(a, (uint32_t)(name - 1));
  return result;
}

/* ---- who holds it ---- */

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
    shmd_slot_program(entry, info->program, sizeof info->program);
  }
  info->thread = (int64_t)shmd_load_acquire(&c->owner_thread);
  since = word & SHMD_LOCK_EXPLICIT ? shmd_load_acquire(&c->owner_since) : 0;
  now = shmd_os_now();
  info->held_ns = since != 0 && now > since ? now - since : 0;
  info->since = since;
  if (((shmd_load_acquire(&c->lock) ^ word) & ~SHMD_LOCK_WAITERS) != 0) {
    info->thread = 0;
    info->held_ns = info->since = 0;
  }
}

int shmd_lock_info_of(shmd_attachment* a, shmd_lock_info* info) {
  const uint64_t word = shmd_load_acquire(&shmd_control_of(a)->lock);
  describe(a, word, info);
  if (!info->held) return 0;
  info->by_this_thread = shmd_lock_mine(a);
  info->alive = shmd_slot_lives(a, info->slot);
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

/* Another copy of the library in this process holds the lock, for this very thread; and not a program that ran before it executed
 * this one, which has the same pid and start time. What is unknown of the owner, or of us, is
 * equal to nothing: in two containers without /proc both may be process 1. */
static bool would_deadlock(const shmd_attachment* a, const shmd_lock_thread* me, uint64_t word) {
  const shmd_control* c = shmd_control_of(a);
  const uint64_t name = word & SHMD_LOCK_SLOT_MASK;
  const shmd_slot* entry;
  if (name == 0 || name > a->max_processes || name == shmd_load_acquire(&a->owner)) return false;
  if (a->start_time == 0 || a->pid_space == 0) return false;
  entry = shmd_slot_of(a, (uint32_t)name - 1);
  return shmd_load_acquire(&c->owner_thread) == me->id && shmd_load_acquire(&entry->pid) == a->pid &&
         shmd_load_acquire(&entry->start_time) == a->start_time &&
         shmd_load_acquire(&entry->pid_space) == a->pid_space &&
         ((shmd_load_acquire(&c->lock) ^ word) & ~SHMD_LOCK_WAITERS) == 0 && shmd_slot_lives(a, (uint32_t)name - 1);
}

/* ---- waiting ---- */

/* Sets the waiters' bit of `word` and sleeps until the word's low half changes, somebody wakes us, or `slice` is over. */
static void sleep_on(shmd_attachment* a, uint64_t word, uint64_t slice) {
  shmd_control* c = shmd_control_of(a);
  /* SYNC sleeper: publishes that somebody sleeps; the owner's unlock observes it, for both change the same word. */
  if (!(word & SHMD_LOCK_WAITERS) && !shmd_cas(&c->lock, &word, word | SHMD_LOCK_WAITERS)) return;
  shmd_os_wait(&c->lock, (uint32_t)(word | SHMD_LOCK_WAITERS), slice);
}

/* One pause of a waiter, at most `slice` and `most` ns, however long it would like to sleep: an owner may die meanwhile.
 * What is or'ed to the flags of taking from then on. */
static uint64_t wait_once(shmd_attachment* a, const shmd_lock_wait* how, uint64_t word, uint64_t slice, uint64_t most) {
  if (slice < most) most = slice;
  if (how->sleep < 0) {
    sleep_on(a, word, most);
    return SHMD_LOCK_WAITERS;
  }
  if (how->sleep == 0)
    shmd_pause();
  else
    shmd_os_sleep((uint64_t)how->sleep < most ? (uint64_t)how->sleep : most);
  return 0;
}

/*
 * Spins for a lock that is held for a moment at a time. What to return + 1, or 0: not taken.
 * First with ever longer pauses: an owner that nobody looks at keeps the lines that it writes, and makes many writes meanwhile.
 * But a writer that goes from one write to the next lets go for a few nanoseconds only, less than the word takes to another
 * core, and would keep the rest of us away for as long as it likes. So then the waiters' bit is set: whoever unlocks such a
 * word makes a system call, and meanwhile the lock is free.
 */
static int spin(shmd_attachment* a, shmd_lock_thread* me, uint64_t flags, const shmd_lock_wait* how) {
  shmd_control* c = shmd_control_of(a);
  const int looks = how->sleep < 0 ? LOOKS + ASKS : LOOKS; /* who looks by itself is not to be woken */
  uint64_t word;
  int i, pauses, result;
  for (i = 0; i < looks; ++i) {
    word = shmd_load_acquire(&c->lock);
    if ((word & SHMD_LOCK_SLOT_MASK) == 0 && (result = shmd_hold_try(a, me, word, flags)) != 0) return result;
    /* SYNC sleeper: as in sleep_on(). */
    if (i >= LOOKS && (word & SHMD_LOCK_SLOT_MASK) != 0 && !(word & SHMD_LOCK_WAITERS))
      (void)shmd_cas(&c->lock, &word, word | SHMD_LOCK_WAITERS);
    for (pauses = i < LOOKS ? 1 << i : 2; pauses > 0; --pauses) shmd_pause();
  }
  return 0;
}

/* REQUIRES: not held by this thread; shmd_hold_ready(). Results of shmd_lock_acquire. */
int shmd_lock_wait_for(shmd_attachment* a, shmd_lock_thread* me, uint64_t flags, const shmd_lock_wait* how) {
  shmd_control* c = shmd_control_of(a);
  const uint64_t limit = how->limit;
  uint64_t word, seen = 0, start, seen_at, now, slice, asleep = 0;
  int result;
  word = shmd_load_acquire(&c->lock);
  if ((word & SHMD_LOCK_SLOT_MASK) == 0 && (result = shmd_hold_try(a, me, word, flags)) != 0) return result - 1;
  if (limit != 0 && (result = spin(a, me, flags, how)) != 0) return result - 1;
  result = shmd_liveness_keep(a); /* who sleeps may as well look after its own byte */
  if (result < 0) return result;
  seen_at = start = shmd_os_now();
  for (;;) {
    if (shmd_lock_closed(a)) return shmd_lock_refuse(a);
    word = shmd_load_acquire(&c->lock);
    if ((word & SHMD_LOCK_SLOT_MASK) == 0) {
      /* Others may sleep still: whoever has slept takes the lock with the waiters' bit set. */
      result = shmd_hold_try(a, me, word, flags | asleep);
      if (result != 0) return result - 1;
      continue;
    }
    now = shmd_os_now();
    if (((word ^ seen) & ~SHMD_LOCK_WAITERS) != 0) {
      seen = word;
      seen_at = now;
    }
    if (now - seen_at >= CHECK_AFTER || now - start >= limit || (word & SHMD_LOCK_SLOT_MASK) > a->max_processes) {
      if (how->steal || (how->steal_last && now - start >= limit)) {
        result = look_after_owner(a, me, word, flags);
        if (result != 0) return result;
      }
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
    asleep |= wait_once(a, how, word, slice, limit - (now - start));
  }
}

/* ---- stealing ---- */

static int owner_lives(shmd_attachment* a, uint64_t word) {
  shmd_lock_info info;
  shmd_error_info* error;
  describe(a, word, &info);
  (void)shmd_fail(
      SHMD_ERR_OWNER_ALIVE,
      "dict '%s': pid %lld (%s), thread %lld, holds the lock and is alive: nothing was taken from it; end that "
      "process, or wait",
      a->name, (long long)info.pid, info.program, (long long)info.thread);
  error = shmd_error_slot();
  error->pid = info.pid;
  error->thread = info.thread;
  error->held_ns = info.held_ns;
  memcpy(error->program, info.program, sizeof error->program);
  return SHMD_ERR_OWNER_ALIVE;
}

/* The steps are shmd_hold_take_over()'s; this only asks for one owner, and refuses a living one instead of waiting. */
static int steal(shmd_attachment* a, shmd_lock_thread* me, int64_t pid) {
  const uint64_t word = shmd_load_acquire(&shmd_control_of(a)->lock);
  const uint64_t name = word & SHMD_LOCK_SLOT_MASK;
  int result;
  if (name == 0) return SHMD_NOT_FOUND;
  if (pid != 0 && (name > a->max_processes ||
                   /* SYNC slot-entry: observes the pid of a complete entry. */
                   (int64_t)shmd_load_acquire(&shmd_slot_of(a, (uint32_t)name - 1)->pid) != pid))
    return SHMD_NOT_FOUND;
  result = look_after_owner(a, me, word, SHMD_LOCK_EXPLICIT);
  if (result != 0) return result;
  /* alive, or the lock moved on: to another owner or to nobody */
  return ((shmd_load_acquire(&shmd_control_of(a)->lock) ^ word) & ~SHMD_LOCK_WAITERS) != 0 ? SHMD_NOT_FOUND
                                                                                           : owner_lives(a, word);
}

int shmd_lock_steal_from(shmd_attachment* a, int64_t pid) {
  shmd_lock_thread* me = &shmd_lock_self;
  int result;
  if (me->busy) return shmd_call_interrupted();
  ++me->busy;
  result = shmd_hold_ready(a, me);
  if (result >= 0) result = steal(a, me, pid);
  if (result == SHMD_RECOVERED) a->in_call = 0;
  --me->busy;
  return result;
}

/* ---- rescue ---- */

int shmd_lock_rescue(shmd_attachment* a) {
  shmd_lock_thread* me = &shmd_lock_self;
  const uint64_t word = shmd_load_acquire(&shmd_control_of(a)->lock);
  int result;
  if ((word & SHMD_LOCK_SLOT_MASK) == 0 || a->read_only || me->busy || shmd_lock_mine(a)) return 0;
  ++me->busy;
  result = shmd_hold_ready(a, me);
  if (result == SHMD_ERR_NO_TRANSACTION)
    result = 0; /* a child forked in a transaction takes no lock */
  else if (result >= 0)
    result = look_after_owner(a, me, word, 0);
  if (result == SHMD_RECOVERED) {
    (void)shmd_hold_end(a, me, 0);
    shmd_lock_wake_followers(shmd_control_of(a));
  }
  --me->busy;
  if (SHMD_UNLIKELY(me->events != 0)) shmd_lock_tell(me);
  return result;
}

/* ---- quiesce ---- */

/* Whether the write that `word` and `inner` showed under way is over. */
static bool moved_on(const shmd_control* c, uint64_t word, uint64_t inner) {
  /* SYNC quiesce: observes the end of that write, by the word or by `inner`. */
  return ((shmd_load_acquire(&c->lock) ^ word) & ~SHMD_LOCK_WAITERS) != 0 ||
         ((word & SHMD_LOCK_EXPLICIT) && shmd_load_acquire(&c->inner) != inner);
}

/* Whether no write of a dead owner waits to be finished. A take-over moves the word first and repairs then, so a word that has
 * moved does not say it: the dead owner may have committed a list that is not applied, or not published. Later writes, which
 * know the pin, make this false for moments. */
static bool repaired(const shmd_control* c) {
  /* SYNC quiesce: observes that a list was applied, then that it was published. */
  return shmd_load_acquire(&c->redo_length) == 0 && shmd_load_acquire(&c->head) == shmd_load_acquire(&c->published);
}

static int quiesce_slowly(shmd_attachment* a, shmd_lock_thread* me, uint64_t word, uint64_t inner, bool moved) {
  const shmd_control* c = shmd_control_of(a);
  const uint64_t start = shmd_os_now();
  uint64_t now, checked = start, pause = QUIESCE_PAUSE;
  for (;;) {
    if (shmd_lock_closed(a)) return shmd_lock_refuse(a);
    moved = moved || moved_on(c, word, inner);
    if (moved && repaired(c)) return 0;
    if (moved) word = shmd_load_acquire(&c->lock); /* of the one who repairs */
    now = shmd_os_now();
    if ((now - checked >= CHECK_AFTER || now - start >= (uint64_t)a->timeout) && shmd_load_acquire(&a->owner) != 0) {
      int result = look_after_owner(a, me, word, 0);
      if (result == SHMD_RECOVERED) return shmd_hold_end(a, me, 0);
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
  shmd_lock_thread* me = &shmd_lock_self;
  uint64_t word, inner;
  bool moved;
  int result, i;
  shmd_full_barrier();
  /* SYNC quiesce: observes whether a write is under way; one that begins later sees what the caller stored before. */
  word = shmd_load_acquire(&c->lock);
  if ((word & SHMD_LOCK_SLOT_MASK) == 0) return 0;
  inner = shmd_load_acquire(&c->inner);
  moved = (word & SHMD_LOCK_EXPLICIT) && (inner & 1) == 0;
  if (shmd_lock_mine(a)) return 0;
  for (i = 0; i < SPINS; ++i) {
    moved = moved || moved_on(c, word, inner);
    if (moved && repaired(c)) return 0;
    shmd_pause();
  }
  result = shmd_hold_ready(a, me);
  /* A child forked in a transaction waits like others, but takes no lock, not even from the dead: `owner` is 0. */
  return result < 0 && result != SHMD_ERR_NO_TRANSACTION ? result : quiesce_slowly(a, me, word, inner, moved);
}
