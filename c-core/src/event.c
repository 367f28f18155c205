/* SPDX-License-Identifier: Apache-2.0 */
#include "event.h"

#include <string.h>

#include "attach.h"
#include "cancel.h"
#include "error.h"
#include "handle.h"
#include "registry.h"

#define MAX_NOTES 8u

typedef struct note {
  shmd_attachment* a; /* may be gone when the note is told: another thread closed it */
  uint64_t serial;
  shmd_event event;
} note;

static _Thread_local struct {
  note notes[MAX_NOTES];
  uint32_t count;
  bool telling;
  shmd_attachment* told; /* whose hooks are running, with a reference of this thread's */
} mine;

void shmd_event_prepare(shmd_attachment* a) {
  pthread_mutexattr_t re_entrant;
  (void)pthread_mutexattr_init(&re_entrant);
  (void)pthread_mutexattr_settype(&re_entrant, PTHREAD_MUTEX_RECURSIVE);
  (void)pthread_mutex_init(&a->event_mutex, &re_entrant);
  (void)pthread_mutexattr_destroy(&re_entrant);
}

void shmd_event_note(shmd_attachment* a, const shmd_event* event) {
  if (shmd_load_relaxed(&a->hooked) == 0) return;
  if (mine.count == MAX_NOTES) {
    memmove(mine.notes, mine.notes + 1, (MAX_NOTES - 1) * sizeof mine.notes[0]);
    --mine.count;
  }
  mine.notes[mine.count].a = a;
  mine.notes[mine.count].serial = a->serial;
  mine.notes[mine.count].event = *event;
  ++mine.count;
}

void shmd_event_owner_died(shmd_attachment* a, uint32_t slot, int result, bool finished) {
  shmd_event event;
  memset(&event, 0, sizeof event);
  event.kind = SHMD_EVENT_TOOK_OVER;
  event.position = shmd_load_acquire(&shmd_control_of(a)->published);
  if (slot < a->max_processes) {
    const shmd_slot* entry = shmd_slot_of(a, slot);
    /* SYNC slot-entry: observes the pid of a complete entry. */
    event.pid = (int64_t)shmd_load_acquire(&entry->pid);
    shmd_slot_program(entry, event.program, sizeof event.program);
  }
  shmd_event_note(a, &event);
  if (result < 0) return;
  event.kind = SHMD_EVENT_RECOVERED;
  event.finished = finished;
  shmd_event_note(a, &event);
}

void shmd_event_forget(const shmd_attachment* a) {
  uint32_t i, kept = 0;
  for (i = 0; i < mine.count; ++i)
    if (mine.notes[i].a != a) mine.notes[kept++] = mine.notes[i];
  mine.count = kept;
}

void shmd_event_forked(void) { mine.count = 0; }

void shmd_event_told(void) {
  if (mine.told != NULL) (void)shmd_local_count(&mine.told->references, 1);
}

/* Cleanups: a hook may throw. */
static void told(shmd_attachment** a) {
  (void)pthread_mutex_unlock(&(*a)->event_mutex);
  mine.told = NULL;
  shmd_attachment_let(*a);
}
static void delivered(const shmd_error_info* before) {
  mine.telling = false;
  shmd_cancel_back();
  *shmd_error_slot() = *before; /* of the call that is just returning */
}

static void tell(const note* n) {
  shmd_dict* d;
  if (!shmd_registry_hold(n->a, n->serial)) return;
  {
    shmd_attachment* a SHMD_CLEANUP(told) = n->a;
    mine.told = a;
    (void)pthread_mutex_lock(&a->event_mutex);
    for (d = a->hooks; d != NULL;) {
      shmd_dict* next = d->next_hook; /* a hook may remove itself */
      d->hook(d->hook_context, &n->event);
      d = next;
    }
  }
}

static void deliver_all(void) {
  shmd_error_info before SHMD_CLEANUP(delivered);
  shmd_cancel_off(); /* not in a hook, as in other callbacks */
  before = *shmd_last_error();
  mine.telling = true;
  while (mine.count != 0) {
    const note first = mine.notes[0];
    --mine.count;
    memmove(mine.notes, mine.notes + 1, mine.count * sizeof mine.notes[0]);
    tell(&first);
  }
}

void shmd_event_deliver(void) {
  if (!mine.telling) deliver_all(); /* else a hook's call: the loop goes on with it */
}

void shmd_event_unhook(shmd_dict* d) {
  shmd_attachment* a = d->attachment;
  shmd_dict** link;
  (void)pthread_mutex_lock(&a->event_mutex);
  for (link = &a->hooks; *link != NULL && *link != d; link = &(*link)->next_hook) {
  }
  if (*link == d) *link = d->next_hook;
  d->next_hook = NULL;
  d->hook = NULL;
  (void)pthread_mutex_unlock(&a->event_mutex);
}

int shmd_set_event_hook(shmd_dict* d, shmd_event_fn hook, void* context) {
  shmd_attachment* a;
  int result = shmd_handle_enter(d, "shmd_set_event_hook");
  if (result < 0) return result;
  a = d->attachment;
  (void)pthread_mutex_lock(&a->event_mutex);
  shmd_event_unhook(d);
  if (shmd_attachment_of(d) == NULL) { /* whoever closed it may have taken the hook away already */
    result = shmd_handle_closed("shmd_set_event_hook");
  } else if (hook != NULL) {
    d->hook = hook;
    d->hook_context = context;
    shmd_local_store(&a->hooked, 1);
    d->next_hook = a->hooks;
    a->hooks = d;
  }
  (void)pthread_mutex_unlock(&a->event_mutex);
  shmd_handle_leave(d);
  return result;
}
