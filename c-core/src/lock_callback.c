/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that call back. The user's function may do anything: fork, throw, be cancelled, jump out, come back in another
 * thread. So each thread keeps a list of its calls that have called back, and a call goes on only if the lock is still held by
 * this process and thread, in the very acquisition in which it called.
 */
#include <stdlib.h>

#include "error.h"
#include "lock_hold.h"
#include "platform.h"
#include "registry.h"

typedef struct shmd_callback {
  shmd_attachment* a;
  uint64_t serial;   /* of the attachment: after a longjmp it may be gone */
  uint64_t held;     /* the lock word */
  uint32_t floor;    /* a->paused before */
  const char* frame; /* everything that the callback calls stands below it on the stack */
} shmd_callback;

static bool grow(shmd_lock_thread* me) {
  const uint32_t room = me->room != 0 ? me->room * 2 : 4;
  shmd_callback* list;
  if (me->within < me->room) return true;
  list = (shmd_callback*)realloc(me->callbacks, room * sizeof *list);
  if (list == NULL) return false;
  me->callbacks = list;
  me->room = room;
  return true;
}

void shmd_callbacks_end(shmd_lock_thread* me) {
  free(me->callbacks);
  me->callbacks = NULL;
  me->within = me->orphans = me->room = 0;
}

/* What shmd_call_enter() marks is taken back: the lock becomes a section, within which no write is under way. */
static void pause_call(shmd_attachment* a, shmd_lock_thread* me) {
  shmd_control* c = shmd_control_of(a);
  a->in_call = 0;
  shmd_local_store(&a->paused, a->depth); /* the callback may unlock what it locks, not what holds the call */
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
  me->busy = 0;
}

static void resume_call(shmd_attachment* a, shmd_lock_thread* me, uint32_t floor) {
  shmd_control* c = shmd_control_of(a);
  me->busy = 1;
  /* SYNC quiesce: publishes that a write is under way, before it looks at pins. */
  shmd_store_seq(&c->inner, shmd_load_acquire(&c->inner) + 1);
  shmd_local_store(&a->paused, floor); /* after it: between, shmd_lock_inside() finds one or the other */
  a->in_call = 1;
}

/* The frame of this function stands where that of the callback will: its caller calls both. */
SHMD_NOINLINE int shmd_callback_begin(shmd_attachment* a, shmd_callback_place* place) {
  shmd_lock_thread* me = &shmd_lock_self;
  shmd_callback* entry;
  place->level = 0;
  if (!grow(me)) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a call that calls back", a->name);
  entry = &me->callbacks[me->within];
  entry->a = a;
  entry->serial = a->serial;
  entry->floor = (uint32_t)shmd_load_relaxed(&a->paused);
  entry->frame = SHMD_FRAME();
  pause_call(a, me);
  entry->held = a->held;
  place->a = a;
  place->thread = me;
  place->level = ++me->within;
  return 0;
}

static int lost(const shmd_attachment* a, const char* why) {
  return shmd_fail(SHMD_ERR_NOT_LOCKED, "dict '%s': %s", a->name, why);
}

/* Takes the innermost call from the list. 0: it goes on, as after shmd_call_enter(). Else it is over already. */
static int take_up(shmd_lock_thread* me) {
  const shmd_callback entry = me->callbacks[me->within - 1];
  shmd_attachment* a = entry.a;
  /* forked round the handlers of fork(): put in order now, which counts the orphans */
  if (shmd_load_relaxed(a->generation) == 0) (void)shmd_attach_child(a);
  --me->within;
  if (me->orphans > me->within) {
    me->orphans = me->within;
    return lost(a,
                "this process was forked inside the callback of an update, which goes on in its parent; nothing "
                "changed here");
  }
  /* The same acquisition is this process's and thread's: nobody took the lock since. */
  if (((shmd_load_acquire(&shmd_control_of(a)->lock) ^ entry.held) & ~SHMD_LOCK_WAITERS) != 0) {
    if (me->holds != 0) --me->holds;
    return lost(a,
                "the lock was lost while the callback of an update ran, so nothing changed; do not close descriptors "
                "you did not open, nor jump out of a callback");
  }
  resume_call(a, me, entry.floor);
  return 0;
}

/* Ends a call whose callback will not return, as if it had answered that nothing is to change. After a longjmp its attachment
 * may be gone: it is looked for first. */
static void drop_innermost(shmd_lock_thread* me) {
  const shmd_callback entry = me->callbacks[me->within - 1];
  if (!shmd_registry_hold(entry.a, entry.serial)) {
    --me->within;
    if (me->orphans > me->within) me->orphans = me->within;
    if (me->holds != 0) --me->holds;
    return;
  }
  if (take_up(me) == 0) {
    shmd_engine_forget(entry.a);
    shmd_call_leave(entry.a);
  }
  shmd_attachment_let(entry.a);
}

int shmd_callback_end(shmd_callback_place* place) {
  shmd_lock_thread* me = &shmd_lock_self;
  const uint32_t level = place->level;
  place->level = 0;
  if (place->thread != me)
    return lost(place->a,
                "the callback of an update returned in another thread than it was called in, so nothing changed; "
                "the lock is free when that thread ends");
  while (me->within > level) drop_innermost(me); /* left by longjmp into this callback */
  if (me->within < level)
    return lost(place->a,
                "the callback of an update returned after it seemed to have been left by longjmp; nothing changed");
  return take_up(me);
}

void shmd_callback_unwound(shmd_callback_place* place) {
  if (SHMD_LIKELY(place->level == 0)) return;
  if (shmd_callback_end(place) < 0) return;
  shmd_engine_forget(place->a);
  shmd_call_leave(place->a);
}

/*
 * The stack is further out now than where the callback was called from, so that callback is no longer running. Only said of the
 * thread's own stack: a signal handler or a coroutine may run elsewhere while the callback waits. Were it wrong all the same,
 * the call would find that the lock is not held in its acquisition any more, and change nothing.
 */
SHMD_NOINLINE void shmd_callbacks_left_behind(shmd_lock_thread* me) {
  const char* here = SHMD_FRAME();
  while (me->within != 0 && here > me->callbacks[me->within - 1].frame &&
         shmd_os_own_stack(here, me->callbacks[me->within - 1].frame))
    drop_innermost(me);
}

bool shmd_callback_within(const shmd_attachment* a) {
  shmd_lock_thread* me = &shmd_lock_self;
  uint32_t i;
  if (SHMD_LIKELY(me->within == 0)) return false;
  if (!me->busy) shmd_callbacks_left_behind(me);
  for (i = 0; i < me->within; ++i)
    if (me->callbacks[i].a == a && me->callbacks[i].serial == a->serial) return true;
  return false;
}
