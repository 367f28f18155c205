/* SPDX-License-Identifier: Apache-2.0 */
#include "registry.h"

#include <string.h>

#include "cancel.h"
#include "descriptor.h"
#include "error.h"
#include "mutex.h"
#include "name.h"
#include "object.h"
#include "platform.h"
#include "presence.h"
#include "slot.h"

static shmd_attachment* registry;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;
static uint64_t* process_word; /* 0: a forked child that has not been put in order */
static uint64_t process_word_without_detector;

static void before_fork(void);
static void after_fork_parent(void);
static void after_fork_child(bool in_fork);
static void child_handler(void);
static void at_exit(bool unloaded);

static void prepare_process(void) {
  process_word = shmd_os_fork_detector();
  if (process_word == NULL) process_word = &process_word_without_detector;
  shmd_local_store(process_word, 1);
  (void)pthread_atfork(before_fork, after_fork_parent, child_handler);
  shmd_os_at_exit(at_exit);
}

void shmd_registry_lock(void) {
  (void)pthread_once(&process_once, prepare_process);
  if (SHMD_UNLIKELY(shmd_load_acquire(process_word) == 0)) after_fork_child(false); /* forked round the handlers */
  shmd_cancel_off();
  shmd_lock_busy(true);
  shmd_mutex_take();
}
void shmd_registry_unlock(void) {
  shmd_mutex_give();
  shmd_lock_busy(false);
  shmd_cancel_back();
}

void shmd_registry_add(shmd_attachment* a) {
  a->next = registry;
  registry = a;
}

void shmd_registry_remove(shmd_attachment* a) {
  shmd_attachment** at = &registry;
  while (*at != NULL && *at != a) at = &(*at)->next;
  if (*at == a) *at = a->next;
}

shmd_attachment* shmd_registry_find(const shmd_superblock* super, const shmd_file_info* info, uint32_t flags) {
  const bool read_only = (flags & SHMD_READ_ONLY) != 0, observer = (flags & SHMD_OBSERVER) != 0;
  shmd_attachment* a;
  for (a = registry; a != NULL; a = a->next)
    if ((a->attaching || a->leaving || (!a->hidden && !a->departed && shmd_load_relaxed(&a->handles) != 0)) &&
        a->read_only == read_only && a->observer == observer && a->inode == info->inode && a->device == info->device &&
        a->super->id[0] == super->id[0] && a->super->id[1] == super->id[1])
      return a;
  return NULL;
}

shmd_attachment* shmd_registry_search(bool (*fits)(shmd_attachment* a)) {
  shmd_attachment* a;
  for (a = registry; a != NULL && !fits(a); a = a->next) {
  }
  return a;
}

bool shmd_registry_hold(const shmd_attachment* a, uint64_t serial) {
  shmd_attachment* at;
  shmd_registry_lock();
  for (at = registry; at != NULL && at != a; at = at->next) {
  }
  if (at != NULL && (at->serial != serial || !shmd_attachment_hold(at))) at = NULL;
  shmd_registry_unlock();
  return at != NULL;
}

void shmd_registry_keep(void) {
  shmd_attachment* a;
  for (a = registry; a != NULL; a = a->next)
    if (a->process_bytes) (void)shmd_liveness_keep(a);
}

void shmd_attach_each(void (*function)(shmd_attachment* a)) {
  shmd_attachment* a;
  shmd_registry_lock();
  for (a = registry; a != NULL; a = a->next) function(a);
  shmd_registry_unlock();
}

uint64_t* shmd_registry_generation(void) { return process_word; }

/* ---- fork ---- */

/*
 * The child's description is made before there is a child: it is present from its first instruction, even if the parent
 * leaves while the child still waits for a processor. The parent then closes its copy.
 */
static void before_fork(void) {
  shmd_attachment* a;
  shmd_registry_lock();
  shmd_lock_busy(false); /* fork handlers of others may call us, here and in the child */
  for (a = registry; a != NULL; a = a->next) {
    if (a->hidden || a->departed || a->leaving) continue;
    (void)shmd_liveness_keep(a);
    a->child_fd = shmd_descriptor_reopen(a, !a->read_only);
    if (a->child_fd < 0) continue;
    (void)shmd_os_mark(a->child_fd, &a->child_mark);
    if (!a->observer) (void)shmd_os_byte_try_lock(a->child_fd, SHMD_BYTE_PRESENT, false);
  }
}

static void after_fork_parent(void) {
  shmd_attachment* a;
  for (a = registry; a != NULL; a = a->next) {
    /* closed, not unlocked: the child has the description too */
    if (shmd_os_marked(a->child_fd, &a->child_mark)) shmd_os_close(a->child_fd);
    a->child_fd = -1;
  }
  shmd_registry_keep();
  shmd_mutex_give();
  shmd_cancel_back();
}

/*
 * One attachment of the parent's becomes one of the child's own. The inherited description is closed, never unlocked: an
 * unlock would free the parent's bytes, a close only drops a reference.
 */
static void disinherit(shmd_attachment* a) {
  a->departed = a->departed || a->leaving;
  a->attaching = a->leaving = a->ending = false; /* the threads that did so do not exist here */
  shmd_local_store(&a->inherited, shmd_lock_inherited(a));
  shmd_descriptor_close_liveness(a);
  a->process_bytes = false; /* what was the parent's process's */
  a->liveness_fd = a->child_fd;
  a->liveness_mark = a->child_mark;
  a->child_fd = -1;
  a->slot = SHMD_NO_SLOT;
  shmd_local_store(&a->owner, 0);
  shmd_local_store(&a->last_owner, 0);
  a->held = 0;
  a->depth = 0;
  a->paused = 0;
  a->in_call = 0;
  a->creator = 0;
  a->closers = 0;
  a->pid = shmd_os_pid();
  a->start_time = shmd_os_start_time();
  a->pid_space = shmd_os_pid_space();
  (void)pthread_mutex_init(&a->pin_mutex, NULL); /* may have been held by a thread that does not exist here */
  (void)pthread_mutex_init(&a->rescue_mutex, NULL);
  shmd_event_prepare(a);
  if (a->rescuing != NULL) memset(a->rescuing, 0, (a->max_processes / 64 + 1) * sizeof(uint64_t));
  if (a->engine != NULL) shmd_engine_after_fork(a);
}

/* A child that was forked inside a transaction has a slot, but takes no lock by it. */
static void hold_back(shmd_attachment* a) {
  if (shmd_load_acquire(&a->inherited) != 0) shmd_local_store(&a->owner, 0);
}

static void reattach(shmd_attachment* a) {
  if (!a->hidden && !a->departed && (a->liveness_fd >= 0 || shmd_presence_join(a) >= 0) && shmd_presence_say(a) >= 0 &&
      !a->read_only)
    (void)shmd_slot_take(a);
  hold_back(a);
}

/* Being attached by a thread that does not exist here. */
static void forget(shmd_attachment* a) {
  shmd_registry_remove(a);
  shmd_descriptor_close_liveness(a);
  shmd_descriptor_close_object(a);
  shmd_object_unmap(a);
}

static bool of_attachment(int fd) {
  const shmd_attachment* a;
  for (a = registry; a != NULL && a->liveness_fd != fd; a = a->next) {
  }
  return a != NULL;
}

/* Threads that do not exist here had references; this one has those of the calls that it has called fork() in. (A child made
 * round the handlers is within a call now, which has one, too: there the parent's stay.) */
static void forget_references(void) {
  shmd_attachment* a;
  for (a = registry; a != NULL; a = a->next)
    if (!a->hidden) shmd_local_store(&a->references, 0);
  shmd_handle_forked();
  shmd_event_told();
  for (a = registry; a != NULL; a = a->next)
    if (shmd_load_relaxed(&a->references) == 0) shmd_local_store(&a->lingers, 1);
}

/* REQUIRES: the child's only thread, registry mutex held. */
static void put_child_in_order(bool in_fork) {
  shmd_attachment *a, *next;
  shmd_os_forked();
  shmd_local_store(process_word, 1);
  shmd_lock_forked();
  /* All are closed first: a close lets go of what the process locked by itself (descriptor.h). */
  for (a = registry; a != NULL; a = next) {
    next = a->next;
    if (a->hidden && a->attaching)
      forget(a);
    else
      disinherit(a);
  }
  for (a = registry; a != NULL; a = a->next) reattach(a);
  if (in_fork) forget_references();
}

static void after_fork_child(bool in_fork) {
  const bool detected = process_word != &process_word_without_detector;
  if (detected && shmd_load_acquire(process_word) != 0) return; /* another child handler wrote, and put us in order */
  shmd_mutex_forked(of_attachment);
  shmd_fork_handler_begin();
  put_child_in_order(in_fork);
  shmd_fork_handler_end();
  shmd_mutex_give();
}

static void child_handler(void) {
  after_fork_child(true);
  shmd_cancel_back(); /* before_fork() put it off */
}

int shmd_attach_keep(shmd_attachment* a) {
  int result = shmd_liveness_keep(a);
  if (result < 0 && a->slot != SHMD_NO_SLOT) return result;
  if (a->slot != SHMD_NO_SLOT) {
    shmd_local_store(&a->owner, (uint64_t)a->slot + 1); /* shmd_lock_resign() had taken it away */
    hold_back(a);
    return 0;
  }
  a->attaching = true; /* the mutex may be let go */
  result = a->liveness_fd < 0 && !a->process_bytes ? shmd_presence_join(a) : 0;
  if (result >= 0) result = shmd_presence_say(a);
  if (result >= 0 && !a->read_only) result = shmd_slot_take(a);
  a->attaching = false;
  shmd_mutex_changed();
  hold_back(a);
  return result;
}

int shmd_attach_child(shmd_attachment* a) {
  int result;
  shmd_registry_lock();
  while (a->attaching) shmd_mutex_wait(); /* another thread is at it */
  result = shmd_load_relaxed(&a->handles) == 0 ? shmd_fail(SHMD_ERR_CLOSED, "dict '%s': the handle is closed", a->name)
                                               : shmd_attach_keep(a);
  shmd_registry_unlock();
  if (result >= 0) return 0;
  if (result == SHMD_ERR_NOT_ATTACHED || result == SHMD_ERR_CLOSED) return result;
  (void)shmd_fail(
      SHMD_ERR_NOT_ATTACHED,
      "dict '%s': this process could not get a slot to write with (%.200s); reads work, the next write tries again",
      a->name, shmd_last_error()->message);
  return SHMD_ERR_NOT_ATTACHED;
}

void shmd_attach_disown(shmd_attachment* a) {
  shmd_registry_lock();
  shmd_local_store(&a->inherited, 0);
  if (a->slot != SHMD_NO_SLOT) shmd_local_store(&a->owner, (uint64_t)a->slot + 1);
  shmd_registry_unlock();
}

/* ---- exit ---- */

static shmd_attachment* still_present(void) {
  shmd_attachment* a;
  for (a = registry; a != NULL && (a->hidden || a->leaving || (a->departed && a->closers == 0)); a = a->next) {
  }
  return a;
}

/* What is left to the kernel at an exit: slots, mappings, memory. Other threads may still be using them. An unloaded copy
 * gives its slots back: the process that it was part of goes on, and would vouch for them. */
static void at_exit(bool unloaded) {
  shmd_attachment* a;
  if (process_word == NULL || shmd_load_acquire(process_word) == 0) return;
  if (unloaded) shmd_ready_end_all();
  shmd_registry_lock();
  for (a = registry; a != NULL; a = a->next)
    if (!a->hidden) shmd_lock_abandon(a);
  while ((a = still_present()) != NULL) { /* the list may be another one each time: the mutex is let go meanwhile */
    const bool closers = a->closers > 0;
    a->closers = 0;
    if (closers) (void)shmd_presence_unlink(a);
    (void)shmd_presence_end(a);
    a->departed = true;
  }
  for (a = registry; unloaded && a != NULL; a = a->next) {
    if (a->hidden) continue;
    shmd_slot_leave(a);
    shmd_descriptor_close_liveness(a);
  }
  if (unloaded) shmd_handle_unloaded();
  shmd_lock_unloaded();
  shmd_registry_unlock();
}
