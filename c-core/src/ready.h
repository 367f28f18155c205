/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor of a follower for poll(2) and epoll, and the thread that makes it readable. doc/concurrency.md, "A
 * follower's descriptor", has the argument.
 *
 * `seen` is the position up to which the follower knows that there is nothing for it. The descriptor is readable from the
 * first commit beyond it, or an interruption, until the follower looks again and finds neither.
 * All under `mutex`, which is held for a few instructions and a system call; the thread sleeps without it. Nothing shared is
 * stored but the sleepers' flag.
 * In a forked child there is no thread, and the descriptor is the parent's: it is never read or written there.
 */
#ifndef SHMD_READY_H
#define SHMD_READY_H

#include "core.h"

typedef struct shmd_ready {
  const shmd_attachment* a;
  const uint64_t* interrupt; /* the follower's */
  int fd;
  shmd_mark mark;      /* a program may have closed it, and use the number for something else */
  uint64_t pid, forks; /* of the process that has the thread */
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t cleared; /* or ended */
  uint64_t seen;
  bool readable; /* and then the thread sleeps on `cleared`: writers need not wake it */
  bool ended;
  bool joined;             /* by the unloading of the library */
  struct shmd_ready* next; /* of all that this process has */
} shmd_ready;

/* UNSUPPORTED, OUT_OF_MEMORY, SYSTEM. `seen`: as in shmd_ready_look. */
int shmd_ready_start(const shmd_attachment* a, const uint64_t* interrupt, uint64_t seen, shmd_ready** out);
/* Whether it belongs to this process: not in a forked child. */
bool shmd_ready_ours(const shmd_ready* r);
/* The follower knows that there is nothing for it up to `seen`. Does nothing in a forked child. */
void shmd_ready_look(shmd_ready* r, uint64_t seen);
/* The descriptor; a new one if the program has closed it. SYSTEM. REQUIRES: shmd_ready_ours() */
int shmd_ready_descriptor(shmd_ready* r);
/* Makes the descriptor readable for the last time, ends the thread, closes. REQUIRES: *interrupt is set, sleepers woken. */
void shmd_ready_end(shmd_ready* r);

#endif
