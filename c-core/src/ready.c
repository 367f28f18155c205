/* SPDX-License-Identifier: Apache-2.0 */
#include "ready.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "attach.h"
#include "error.h"
#include "platform.h"
#include "registry.h"
#include "watch.h"

/* Those with a thread, for the unloading of the library. Under the registry's mutex, which fork() takes. */
static shmd_ready* running;
static uint64_t running_pid; /* whose they are: a forked child has none of them */

static void enlist(shmd_ready* r) {
  shmd_registry_lock();
  if (running_pid != r->pid) running = NULL;
  running_pid = r->pid;
  r->next = running;
  running = r;
  shmd_registry_unlock();
}

static void delist(const shmd_ready* r) {
  shmd_ready** link;
  shmd_registry_lock();
  for (link = &running; *link != NULL && *link != r; link = &(*link)->next) {
  }
  if (*link == r) *link = r->next;
  shmd_registry_unlock();
}

static void set(const shmd_ready* r) {
  if (shmd_os_marked(r->fd, &r->mark)) shmd_os_event_set(r->fd);
}

static void close_descriptor(const shmd_ready* r) {
  if (shmd_os_marked(r->fd, &r->mark)) shmd_os_close(r->fd);
}

/* REQUIRES: mutex. */
static void settle(shmd_ready* r) {
  /* SYNC published: observes a commit. */
  const bool ready =
      shmd_load_acquire(&shmd_control_of(r->a)->published) != r->seen || shmd_load_acquire(r->interrupt) != 0;
  if (ready == r->readable) return;
  r->readable = ready;
  if (ready) {
    set(r);
  } else {
    if (shmd_os_marked(r->fd, &r->mark)) shmd_os_event_clear(r->fd);
    (void)pthread_cond_signal(&r->cleared);
  }
}

static void* watch(void* argument) {
  shmd_ready* r = (shmd_ready*)argument;
  uint64_t pause = 0, seen = 0;
  (void)pthread_mutex_lock(&r->mutex);
  while (!r->ended) {
    if (r->readable) {
      (void)pthread_cond_wait(&r->cleared, &r->mutex);
      continue;
    }
    if (seen != r->seen) pause = 0;
    seen = r->seen;
    (void)pthread_mutex_unlock(&r->mutex);
    shmd_follow_sleep(r->a, seen, UINT64_MAX, r->interrupt, &pause);
    (void)pthread_mutex_lock(&r->mutex);
    /* Only sets: the follower alone knows when there is nothing more. */
    if (!r->readable) settle(r);
  }
  (void)pthread_mutex_unlock(&r->mutex);
  return NULL;
}

/* Signals are the program's affair: none is handled in a thread that it does not know. */
static int start_thread(shmd_ready* r) {
  sigset_t all, before;
  int error;
  (void)sigfillset(&all);
  error = pthread_sigmask(SIG_SETMASK, &all, &before);
  if (error != 0) return -error;
  error = pthread_create(&r->thread, NULL, watch, r);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return -error;
}

static void discard(shmd_ready* r) {
  (void)pthread_cond_destroy(&r->cleared);
  (void)pthread_mutex_destroy(&r->mutex);
  close_descriptor(r);
  free(r);
}

int shmd_ready_start(const shmd_attachment* a, const uint64_t* interrupt, uint64_t seen, shmd_ready** out) {
  shmd_ready* r = (shmd_ready*)calloc(1, sizeof *r);
  int result;
  if (r == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a follower's descriptor", a->name);
  r->a = a;
  r->interrupt = interrupt;
  r->seen = seen;
  r->pid = shmd_os_pid();
  r->forks = a->forks;
  r->fd = shmd_os_event_open();
  if (r->fd < 0) {
    result = r->fd;
    free(r);
    if (result == -ENOSYS)
      return shmd_fail(SHMD_ERR_UNSUPPORTED,
                       "dict '%s': this system has no descriptor for a follower; wait in a thread", a->name);
    return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': no descriptor for a follower", a->name);
  }
  (void)shmd_os_mark(r->fd, &r->mark);
  (void)pthread_mutex_init(&r->mutex, NULL);
  (void)pthread_cond_init(&r->cleared, NULL);
  settle(r);
  result = start_thread(r);
  if (result < 0) {
    discard(r);
    return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': no thread for a follower's descriptor", a->name);
  }
  enlist(r);
  *out = r;
  return 0;
}

bool shmd_ready_ours(const shmd_ready* r) { return r->pid == shmd_os_pid() && r->forks == r->a->forks; }

int shmd_ready_descriptor(shmd_ready* r) {
  int fd;
  (void)pthread_mutex_lock(&r->mutex);
  if (!shmd_os_marked(r->fd, &r->mark)) {
    fd = shmd_os_event_open();
    if (fd >= 0) {
      (void)shmd_os_mark(fd, &r->mark);
      r->fd = fd;
      if (r->readable) shmd_os_event_set(fd);
    }
  } else
    fd = r->fd;
  (void)pthread_mutex_unlock(&r->mutex);
  if (fd >= 0) return fd;
  return shmd_fail_errno(SHMD_ERR_SYSTEM, fd, "dict '%s': no descriptor for a follower", r->a->name);
}

void shmd_ready_look(shmd_ready* r, uint64_t seen) {
  if (!shmd_ready_ours(r)) return;
  (void)pthread_mutex_lock(&r->mutex);
  r->seen = seen;
  settle(r);
  (void)pthread_mutex_unlock(&r->mutex);
}

static void end_thread(shmd_ready* r) {
  if (r->joined) return;
  (void)pthread_mutex_lock(&r->mutex);
  r->ended = true;
  if (!r->readable) set(r); /* who waits with a duplicate, or in another thread, is not left waiting */
  r->readable = true;
  (void)pthread_cond_signal(&r->cleared);
  (void)pthread_mutex_unlock(&r->mutex);
  (void)pthread_join(r->thread, NULL);
  r->joined = true;
}

void shmd_ready_end(shmd_ready* r) {
  if (!shmd_ready_ours(r)) { /* the mutex may be held by a thread that does not exist here */
    close_descriptor(r);
    free(r);
    return;
  }
  delist(r);
  end_thread(r);
  discard(r);
}

/* The thread's code is about to go. It sleeps for 50 ms at most. The descriptors stay, for who has them. */
void shmd_ready_end_all(void) {
  for (;;) {
    shmd_ready* r;
    shmd_registry_lock();
    if (running_pid != shmd_os_pid()) running = NULL;
    r = running;
    if (r != NULL) running = r->next;
    shmd_registry_unlock();
    if (r == NULL) return;
    end_thread(r);
  }
}
