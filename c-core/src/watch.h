/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Followers: the update stream as the ABI hands it out, commit by commit. doc/concurrency.md, "Followers", has the argument.
 *
 * A batch is filled with whole commits: records are copied, the way to their dicts told, and each believed if its segment
 * is still in history after both. Only then is anything handed out. A commit that could not be copied whole is dropped from the
 * batch and tried again; what was learnt of paths on the way is forgotten with it.
 * Stores nothing shared but the sleepers' flag and, when opened and closed, the count of followers in the process's slot.
 * Thread safety: one thread at a time, but for shmd_follow_interrupt.
 */
#ifndef SHMD_WATCH_H
#define SHMD_WATCH_H

#include "core.h"
#include "paths.h"
#include "ready.h"
#include "stream.h"

typedef struct shmd_item {
  int kind; /* enum shmd_change_kind */
  bool first, last;
  shmd_node node, child;
  uint64_t position, next;
  size_t key_at, key_size, value_at, value_size; /* in `bytes` */
  size_t path_at;                                /* in `parts` */
  uint32_t depth;
} shmd_item;

/* A list that grows. */
typedef struct shmd_growing {
  void* items;
  size_t count, capacity;
} shmd_growing;

struct shmd_follower {
  const shmd_attachment* a;
  shmd_attachment* counted; /* the same, to be counted in */
  shmd_dict* dict;          /* which stays for as long */
  shmd_stream stream;
  shmd_paths paths;
  bool rooted;       /* `paths` stands at `at` */
  uint64_t joined;   /* commits up to this position are handed out as one: something in them cannot be told */
  bool behind;       /* told so, and its event raised, since the last seek */
  uint64_t stalled;  /* `published` when a batch could not be completed for that: nothing new before it moves; or 0 */
  uint64_t at;       /* where the next batch begins: the beginning of a commit */
  uint64_t position; /* behind what was handed out */
  shmd_growing bytes, items, parts;
  size_t given;       /* items handed out */
  uint64_t interrupt; /* set by any thread */
  uint64_t pause;     /* of a read-only follower's next sleep */
  shmd_ready* ready;  /* its descriptor, once asked for */
  struct {
    uint32_t id, depth;
    shmd_node node;
    size_t path_at;
  } last;               /* the dict of the last item: most commits stay in one */
  shmd_path_part* path; /* as handed out */
  size_t path_capacity;
};

/* Sleeps until a commit moves `published` from the value given, *interrupt is set, or for `limit` ns; at times for less.
 * *pause: 0 before the first of several sleeps. From any thread. */
void shmd_follow_sleep(const shmd_attachment* a, uint64_t published, uint64_t limit, const uint64_t* interrupt,
                       uint64_t* pause);

#endif
