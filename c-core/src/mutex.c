/* SPDX-License-Identifier: Apache-2.0 */
#include "mutex.h"

#include <pthread.h>
#include <stddef.h>

#include "platform.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;

/* On the stack of a thread that sleeps without the mutex. */
typedef struct sleeper {
  int fd;
  shmd_mark mark;
  struct sleeper* next;
} sleeper;
static sleeper* sleepers;

void shmd_mutex_take(void) { (void)pthread_mutex_lock(&mutex); }
void shmd_mutex_give(void) { (void)pthread_mutex_unlock(&mutex); }

void shmd_mutex_sleep(int fd, uint64_t ns) {
  sleeper here;
  sleeper** link;
  here.fd = fd;
  if (fd >= 0) (void)shmd_os_mark(fd, &here.mark);
  here.next = sleepers;
  sleepers = &here;
  (void)pthread_mutex_unlock(&mutex);
  shmd_os_sleep(ns);
  (void)pthread_mutex_lock(&mutex);
  for (link = &sleepers; *link != &here; link = &(*link)->next) {
  }
  *link = here.next;
}

void shmd_mutex_wait(void) { (void)pthread_cond_wait(&moved, &mutex); }
void shmd_mutex_changed(void) { (void)pthread_cond_broadcast(&moved); }

/* Closed, never unlocked: the byte locks of an inherited descriptor are the parent's. */
void shmd_mutex_forked(bool (*kept)(int fd)) {
  const sleeper* s;
  (void)pthread_mutex_init(&mutex, NULL);
  (void)pthread_cond_init(&moved, NULL);
  shmd_mutex_take();
  for (s = sleepers; s != NULL; s = s->next)
    if (s->fd >= 0 && !kept(s->fd) && shmd_os_marked(s->fd, &s->mark)) shmd_os_close(s->fd);
  sleepers = NULL;
}
