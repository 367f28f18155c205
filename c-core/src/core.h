/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all modules of the core share: the attachment (one per process and object) and the handle.
 *
 * Order of modules, each including only what stands below it:
 *   api > backup, restore, list, many, scan, watch > archive, named_lock, check, stat > iterate > snapshot, transaction
 *       > paths, stream > batch, insert, overwrite, dict > reclaim > node, index > block, log > segment > redo > call, lock
 *       > event > handle > attach > registry > liveness > presence > name, slot > mutex, object > descriptor
 *       > platform, error, cancel, layout.h, atomics.h
 */
#ifndef SHMD_CORE_H
#define SHMD_CORE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform.h"
#include "shmdict/atomics.h"
#include "shmdict/layout.h"
#include "shmdict/read.h"
#include "shmdict/shmdict.h"

#define SHMD_NO_SLOT UINT32_MAX

struct shmd_engine; /* redo.h: the overlay of the commit in preparation, and what else the engine keeps locally */

/*
 * One per (process, object): its handles share the mapping and the slot. Found through the registry (registry.c) by
 * creation id. `reader` comes first: the inline read path of read.h knows only it.
 */
typedef struct shmd_attachment {
  shmd_reader reader;
  shmd_superblock* super;
  shmd_segment* segments; /* the segment table */
  uint64_t segment_count;
  uint64_t segment_size;
  uint32_t segment_shift;
  uint32_t max_processes;
  uint64_t max_size;
  uint64_t largest_value; /* bytes */
  bool read_only;
  bool observer; /* not present: keeps no name, removes none */

  /* attach.c */
  uint32_t slot;        /* SHMD_NO_SLOT: none (read-only, or a forked child that found no free slot) */
  uint64_t incarnation; /* of the slot, as this process wrote it into its entry */
  int liveness_fd;      /* holds the slot's byte lock; an open of its own, never mapped */
  int object_fd;        /* the descriptor the object was opened by: for allocating, and for opening it again */
  shmd_mark liveness_mark, object_mark; /* descriptor.h: whether the numbers still lead there */
  bool process_bytes;   /* no liveness description: the bytes are locked by the process, through object_fd */
  uint64_t* generation; /* a word that fork() wipes: 0 = this is a child that has not re-attached yet */
  uint64_t handles;     /* that are open; 0: closed for good, whatever `references` says */
  uint64_t references;  /* handles that are not over yet, calls that wait for the lock, hooks being told */
  uint64_t lingers;     /* nobody refers to it, but another thread was inside a write: who leaves that ends it */
  bool ending;          /* a thread looks whether it can be ended */
  uint64_t retired;     /* bytes of addresses that are kept after its end */
  uint64_t serial;      /* tells attachments apart whose memory was the same */
  uint64_t device, inode;
  struct shmd_attachment* next; /* registry */
  char name[SHMD_MAX_NAME + 8];
  int64_t timeout; /* ns, of single writes */
  int creator;     /* this process created the object */
  int child_fd;    /* while forking: the liveness description of the child to be, else -1 */
  shmd_mark child_mark;
  uint32_t closers;                    /* handles whose closing unlinks */
  bool nameless;                       /* never had a name: `name` is for messages only */
  bool hidden;                         /* in the registry, but not yet visible to shmd_attach */
  bool attaching;                      /* hidden, and will be visible soon: others who open the dict wait for it */
  bool leaving;                        /* its last handle is being closed: others who open the dict wait for that */
  bool departed;                       /* not present any more */
  uint64_t pid, start_time, pid_space; /* as written to the slot */
  uint64_t followers;                  /* open in this process */
  pthread_mutex_t rescue_mutex;        /* guards `rescuing` and `followers` */
  uint64_t* rescuing;                  /* a bit per slot: this process holds the byte of that dead slot */

  /* lock.c */
  uint64_t owner;      /* low 16 bits of the lock word when held by this process: slot + 1; 0 = no slot, or closed */
  uint64_t last_owner; /* closed: what `owner` was */
  /* only meaningful to the thread that holds the lock */
  uint64_t held;    /* the lock word as this thread took it */
  uint32_t depth;   /* nested explicit holds and calls */
  uint64_t paused;  /* depth at which a callback of the user's runs: it cannot unlock below. Others read it: closing */
  uint32_t in_call; /* this thread is inside a writing call (a signal handler must not enter) */
  /* of a forked child: the hold in which its thread, in the parent, had a transaction open; 0 = none, or the child has ended it.
   * `owner` is 0 meanwhile, so that no write comes in by the short way */
  uint64_t inherited;

  /* snapshot.c */
  uint64_t forks; /* how often this attachment was inherited */
  uint64_t lives; /* the same, and how often its slot was lost: pins of a former life hold nothing */
  pthread_mutex_t pin_mutex;
  struct shmd_pin* pins; /* pins of this process's threads */

  /* event.c */
  pthread_mutex_t event_mutex; /* guards `hooks`; held while one runs */
  struct shmd_dict* hooks;     /* handles that have one */
  uint64_t hooked;             /* 0 = there never was one: nothing is noted for nobody */

  struct shmd_engine* engine;
} shmd_attachment;

struct shmd_dict {
  uint64_t reader; /* address of attachment->reader, read.h's view of the handle, and so the first member; 0 = closed */
  shmd_attachment* attachment; /* while `uses` is not 0; and after a close while a section of another thread lasts */
  uint64_t attached;           /* the attachment's serial number */
  uint64_t uses;               /* handle.c: 1 for being open, 1 for each call, snapshot, view and follower of it */
  uint64_t kept;               /* a section that was entered through it lasts: its memory stays */
  int unlink_on_close;         /* SHMD_UNLINK_THIS_CLOSES */
  int keep_on_close;           /* closing removes no name, whatever the policy: what shmd_restore leaves to others */
  uint64_t serial;             /* tells the handles of a process apart, never 0 */
  uint64_t locks;              /* named locks taken through it: not 0 if there may be some to give back */
  uint64_t section; /* which hold of the lock it took part in: its acquisition number, and so many levels of it */
  uint64_t levels;
  uint64_t holder;    /* and the thread that does */
  uint64_t begun;     /* the hold in which it began a transaction */
  shmd_event_fn hook; /* event.c */
  void* hook_context;
  struct shmd_dict* next_hook;
  struct shmd_dict* next_closing; /* call.h: `closing` */
};

/* NULL: the handle is NULL or closed. What it leads to may be used as handle.h says. */
SHMD_INLINE shmd_attachment* shmd_attachment_of(const shmd_dict* d) {
  /* SYNC handle: observes a handle that is open, and so its attachment as it was made. */
  return d != NULL ? (shmd_attachment*)(uintptr_t)shmd_load_acquire(&d->reader) : NULL;
}

SHMD_INLINE shmd_control* shmd_control_of(const shmd_attachment* a) { return a->reader.control; }
SHMD_INLINE unsigned char* shmd_at(const shmd_attachment* a, uint64_t offset) { return a->reader.base + offset; }
SHMD_INLINE uint64_t* shmd_word(const shmd_attachment* a, uint64_t offset) {
  return (uint64_t*)(void*)(a->reader.base + offset);
}

/* Entries of the tables that have memory. Those beyond are not to be touched: the system would give them some. The words that
 * say so only rise, before an entry's first use; whatever a neighbour stored there, the answer is within the table. */
SHMD_INLINE uint64_t shmd_known_nodes(const shmd_attachment* a) {
  const uint64_t known = shmd_load_acquire(&shmd_control_of(a)->nodes_allocated) / sizeof(shmd_node_entry);
  return known < a->reader.node_capacity ? known : a->reader.node_capacity;
}
SHMD_INLINE uint64_t shmd_known_segments(const shmd_attachment* a) {
  const uint64_t known = shmd_load_acquire(&shmd_control_of(a)->segments_allocated) / sizeof(shmd_segment);
  return known < a->segment_count ? known : a->segment_count;
}

#endif
