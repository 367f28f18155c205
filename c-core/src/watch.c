/* SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

#include <stdlib.h>
#include <string.h>

#include "attach.h"
#include "error.h"
#include "handle.h"
#include "lock.h"
#include "named_lock.h"
#include "platform.h"
#include "redo.h"

#define BATCH_BYTES ((size_t)64 << 10) /* enough for one batch, if a commit ends there */
#define KEEP_BYTES ((size_t)1 << 20)   /* more is given back when it was handed out */
#define EMPTY_BATCHES 1024             /* of changes that nobody may see, before the caller is asked */
#define SLICE UINT64_C(50000000)       /* ns: the longest sleep */
#define POLL_LONGEST UINT64_C(5000000) /* ns: on a read-only handle, which nobody can wake */
#define POLL_SHORTEST UINT64_C(50000)

typedef struct part {
  size_t key_at, key_size;
  shmd_node node;
} part;

/* ---- lists ---- */

/* Room for `more` items behind the last; NULL: out of memory. */
static void* reserve(shmd_growing* l, size_t more, size_t item) {
  if (l->count + more > l->capacity) {
    const size_t needed = l->count + more, twice = l->capacity * 2;
    const size_t capacity = needed > twice ? needed + 16 : twice;
    void* items;
    if (capacity < needed || capacity > SIZE_MAX / item) return NULL;
    items = realloc(l->items, capacity * item);
    if (items == NULL) return NULL;
    l->items = items;
    l->capacity = capacity;
  }
  return (char*)l->items + l->count * item;
}

static void shrink(shmd_growing* l, size_t item) {
  l->count = 0;
  if (l->capacity <= KEEP_BYTES / item) return;
  free(l->items);
  l->items = NULL;
  l->capacity = 0;
}

/* Room for `size` bytes at the end of `bytes`; NULL: out of memory. */
static unsigned char* append(shmd_follower* f, size_t size, size_t* at) {
  unsigned char* to = (unsigned char*)reserve(&f->bytes, (size_t)SHMD_PAD8(size) + 8, 1);
  if (to == NULL) return NULL;
  *at = f->bytes.count;
  f->bytes.count += (size_t)SHMD_PAD8(size);
  return to;
}

/* Copies bytes of a record there. */
static bool copy_shared(shmd_follower* f, const void* from, size_t size, size_t* at) {
  unsigned char* to = append(f, size, at);
  if (to == NULL) return false;
  if (size != 0) shmd_read_bytes(&f->a->reader, to, from, size);
  return true;
}

/* Copies bytes of this process there: they are not aligned, and what lies behind them is somebody else's. */
static bool copy_own(shmd_follower* f, const void* from, size_t size, size_t* at) {
  unsigned char* to = append(f, size, at);
  if (to == NULL) return false;
  if (size != 0) memcpy(to, from, size);
  return true;
}

/* ---- one record ---- */

/* Where the record's dict is: 1 and the item's path, 0 nowhere, negative errors without a message. */
static int place(shmd_follower* f, uint32_t id, shmd_item* item) {
  uint32_t depth, i;
  part* parts;
  int result;
  item->depth = 0;
  item->path_at = 0;
  item->node.id = 0;
  item->node.generation = 0;
  if (id == f->paths.root) return 1;
  if (id != f->last.id) {
    uint64_t gone;
    f->last.id = 0;
    result = shmd_paths_find(&f->paths, id, &f->last.node, &depth, &gone);
    if (result == 0 && gone > f->joined) f->joined = gone;
    if (result != 1) return result;
    parts = (part*)reserve(&f->parts, depth, sizeof *parts);
    if (parts == NULL) return SHMD_ERR_OUT_OF_MEMORY;
    for (i = 0; i < depth; ++i) {
      const shmd_known* k = &f->paths.known[f->paths.way[depth - 1 - i]];
      parts[i].key_size = k->key_size;
      parts[i].node.id = k->id;
      parts[i].node.generation = k->generation;
      if (!copy_own(f, f->paths.bytes + k->key_at, k->key_size, &parts[i].key_at)) return SHMD_ERR_OUT_OF_MEMORY;
    }
    f->last.path_at = f->parts.count;
    f->last.depth = depth;
    f->last.id = id;
    f->parts.count += depth;
  }
  item->depth = f->last.depth;
  item->path_at = f->last.path_at;
  item->node = f->last.node;
  return 1;
}

/* What the record says of the tree. */
static int learn(shmd_follower* f, const shmd_stream_record* r, shmd_item* item) {
  const uint64_t word = r->v.value_size == 8 ? shmd_load_acquire((const uint64_t*)(const void*)r->v.value) : 0;
  item->child.id = SHMD_LOW(word);
  item->child.generation = SHMD_HIGH(word);
  if (word == 0) return SHMD_ERR_CORRUPT;
  f->last.id = 0;
  if (r->v.kind == SHMD_REC_NODE)
    return shmd_paths_add(&f->paths, item->child, r->v.node, (const unsigned char*)f->bytes.items + item->key_at,
                          item->key_size);
  shmd_paths_root(&f->paths, item->child.id);
  item->child.id = 0;
  item->child.generation = 0;
  return 0;
}

/* Copies a record into the batch, if anybody may see it. Those of named locks nobody may. */
static int take(shmd_follower* f, const shmd_stream_record* r) {
  shmd_item* item;
  int result;
  if (shmd_named_hidden(f->a, r->v.node)) return 0;
  item = (shmd_item*)reserve(&f->items, 1, sizeof *item);
  if (item == NULL) return SHMD_ERR_OUT_OF_MEMORY;
  memset(item, 0, sizeof *item);
  item->kind = (int)r->v.kind;
  item->position = r->v.position;
  item->next = r->v.position + r->v.size;
  result = place(f, r->v.node, item);
  if (result < 0) return result;
  if (result == 0 && r->v.kind != SHMD_REC_NODE) return 0;
  if (!copy_shared(f, r->v.key, r->v.key_size, &item->key_at)) return SHMD_ERR_OUT_OF_MEMORY;
  item->key_size = r->v.key_size;
  if (r->v.kind == SHMD_REC_PUT) {
    if (!copy_shared(f, r->v.value, (size_t)r->v.value_size, &item->value_at)) return SHMD_ERR_OUT_OF_MEMORY;
    item->value_size = (size_t)r->v.value_size;
  }
  if (r->v.kind == SHMD_REC_NODE || r->v.kind == SHMD_REC_CLEAR) {
    const int learnt = learn(f, r, item);
    if (learnt != 0) return learnt;
  }
  if (result != 0) ++f->items.count;
  return 0;
}

/* ---- whole commits ---- */

static int overtaken(const shmd_follower* f, int result) {
  switch (result) {
    case SHMD_ERR_BUSY:
      return shmd_fail(result, "dict '%s': the data kept changing; try again", f->a->name);
    case SHMD_ERR_OUT_OF_MEMORY:
      return shmd_fail(result, "dict '%s': no memory to copy a commit of the update stream", f->a->name);
    case SHMD_ERR_CORRUPT:
      return shmd_fail(
          result,
          "dict '%s' is corrupt: its update stream leads astray at position %llu; run `shmdict check`, restore a "
          "backup, or unlink it",
          f->a->name, (unsigned long long)f->at);
    default:
      return result;
  }
}

/* The items from `from` on are a whole commit, which ends at `end`. */
static void complete(shmd_follower* f, size_t from, uint64_t end) {
  shmd_item* items = (shmd_item*)f->items.items;
  if (f->items.count > from) {
    items[from].first = true;
    items[f->items.count - 1].last = true;
    items[f->items.count - 1].next = end;
  }
  f->at = end;
}

static void reset_batch(shmd_follower* f) {
  f->given = 0;
  f->last.id = 0;
  shrink(&f->items, sizeof(shmd_item));
  shrink(&f->parts, sizeof(part));
  shrink(&f->bytes, 1);
}

/* Copies commits from `at` on: at least one, as many as make a batch. 0 (there may be no item), SHMD_END, SHMD_RESYNC,
 * errors. */
static int fetch(shmd_follower* f) {
  /* SYNC published: observes all records below it, the segments that hold them, and what is known of their dicts. */
  const uint64_t published = shmd_load_acquire(&shmd_control_of(f->a)->published), begin = f->at;
  uint64_t at = begin;
  size_t commit = 0;
  int result = 0;
  reset_batch(f);
  f->joined = 0;
  f->stalled = 0;
  if (at == published) return SHMD_END;
  if (at > published) return overtaken(f, SHMD_ERR_CORRUPT);
  if (!f->rooted) {
    shmd_stream_record r;
    result = shmd_paths_begin(&f->paths, at);
    if (result != 0 && shmd_stream_read(&f->stream, at, published, &r) == SHMD_RESYNC) result = SHMD_RESYNC;
    f->rooted = true;
  }
  while (result == 0 && at < published) {
    shmd_stream_record r;
    result = shmd_stream_read(&f->stream, at, published, &r);
    if (result == 0 && r.first && at != f->at && at >= f->joined) {
      complete(f, commit, at);
      commit = f->items.count;
      if (f->bytes.count + commit * sizeof(shmd_item) >= BATCH_BYTES) return 0;
    }
    if (result == 0) result = take(f, &r);
    if ((result == 0 || result == SHMD_ERR_CORRUPT) && !shmd_stream_holds(&f->stream)) result = SHMD_RESYNC;
    if (result == 0) at += r.v.size;
  }
  if (result == 0 && at >= f->joined) {
    complete(f, commit, at);
    return 0;
  }
  f->items.count = commit;
  f->rooted = false; /* what the dropped commit taught is not to be believed */
  if (f->at != begin) return 0;
  if (result == 0) f->stalled = published;
  return result == 0 ? SHMD_END : overtaken(f, result);
}

/* ---- the ABI's part ---- */

static int check_position(const shmd_attachment* a, uint64_t* position) {
  const uint64_t published = shmd_load_acquire(&shmd_control_of(a)->published);
  shmd_stream s;
  shmd_stream_record r;
  shmd_stream_init(&s, a);
  if (*position == SHMD_NOW) *position = published;
  if (*position == published) return 0;
  if (*position < published && shmd_stream_read(&s, *position, published, &r) != SHMD_ERR_CORRUPT) return 0;
  return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                   "dict '%s': nothing begins at position %llu, the stream ends at %llu; is it another dict's?",
                   a->name, (unsigned long long)*position, (unsigned long long)published);
}

/* Where the follower knows that nothing is for it: wait's own condition. */
static void look(shmd_follower* f) {
  if (f->ready != NULL) shmd_ready_look(f->ready, f->stalled != 0 ? f->stalled : f->at);
}

static int follow(shmd_dict* d, uint64_t position, shmd_follower** out) {
  shmd_follower* f;
  const int result = check_position(d->attachment, &position);
  if (result < 0) return result;
  f = (shmd_follower*)calloc(1, sizeof *f);
  if (f == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a follower", d->attachment->name);
  f->dict = d;
  f->a = d->attachment;
  f->counted = d->attachment;
  f->at = position;
  f->position = position;
  shmd_stream_init(&f->stream, f->a);
  shmd_paths_init(&f->paths, f->a);
  shmd_slot_follow(f->counted, true);
  *out = f;
  return 0;
}

int shmd_follow_open(shmd_dict* d, uint64_t position, shmd_follower** out) {
  int result;
  if (out == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_follow_open: a place for the follower is needed");
  *out = NULL;
  shmd_cancel_off();
  result = shmd_handle_hold(d) ? 0 : shmd_handle_closed("shmd_follow_open");
  if (result >= 0) {
    result = follow(d, position, out);
    if (result < 0) shmd_handle_let(d);
  }
  shmd_cancel_back();
  return result;
}

void shmd_follow_close(shmd_follower* f) {
  if (f == NULL) return;
  shmd_cancel_off();
  if (f->ready != NULL) {
    shmd_follow_interrupt(f);
    shmd_ready_end(f->ready);
  }
  shmd_slot_follow(f->counted, false);
  shmd_handle_let(f->dict);
  shmd_paths_free(&f->paths);
  free(f->bytes.items);
  free(f->items.items);
  free(f->parts.items);
  free(f->path);
  free(f);
  shmd_cancel_back();
}

int shmd_follow_seek(shmd_follower* f, uint64_t position) {
  int result;
  if (f == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_follow_seek: the follower is NULL");
  result = check_position(f->a, &position);
  if (result < 0) return result;
  reset_batch(f);
  shmd_stream_init(&f->stream, f->a);
  f->rooted = false;
  f->behind = false;
  f->stalled = 0;
  f->at = position;
  f->position = position;
  look(f);
  return 0;
}

uint64_t shmd_follow_position(const shmd_follower* f) { return f != NULL ? f->position : 0; }

/* Turns the item's offsets into pointers: nothing moves until the next batch. */
static int hand_out(shmd_follower* f, const shmd_item* item, shmd_change* c) {
  const unsigned char* bytes = (const unsigned char*)f->bytes.items;
  uint32_t i;
  if (item->depth > f->path_capacity) {
    shmd_path_part* path = (shmd_path_part*)realloc(f->path, (item->depth + (size_t)8) * sizeof *path);
    if (path == NULL) return overtaken(f, SHMD_ERR_OUT_OF_MEMORY);
    f->path = path;
    f->path_capacity = item->depth + (size_t)8;
  }
  for (i = 0; i < item->depth; ++i) {
    const part* p = (const part*)f->parts.items + item->path_at + i;
    f->path[i].key = bytes + p->key_at;
    f->path[i].key_size = p->key_size;
    f->path[i].node = p->node;
  }
  memset(c, 0, sizeof *c);
  c->kind = item->kind;
  c->first = item->first;
  c->last = item->last;
  c->node = item->node;
  c->key = bytes + item->key_at;
  c->key_size = item->key_size;
  c->value = bytes + item->value_at;
  c->value_size = item->value_size;
  c->child = item->child;
  c->position = item->position;
  c->next = item->next;
  c->path = f->path;
  c->path_length = item->depth;
  return 0;
}

static void tell_resync(shmd_follower* f) {
  shmd_event event;
  if (f->behind) return;
  f->behind = true;
  memset(&event, 0, sizeof event);
  event.kind = SHMD_EVENT_RESYNC;
  event.position = f->at;
  shmd_lock_raise(f->counted, &event);
}

int shmd_follow_next(shmd_follower* f, shmd_change* change) {
  int result, batches;
  if (f == NULL || change == NULL)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_follow_next: a follower and a place for the change are needed");
  for (batches = 0; f->given == f->items.count; ++batches) {
    result = batches < EMPTY_BATCHES ? fetch(f) : SHMD_END;
    if (SHMD_UNLIKELY(result == SHMD_END && f->stalled != 0)) {
      const int rescued = shmd_lock_rescue(f->counted);
      if (rescued == SHMD_RECOVERED) continue;
      if (rescued == SHMD_ERR_CORRUPT) result = rescued;
    }
    if (result == SHMD_END) {
      f->position = f->at;
      look(f);
    }
    if (result == SHMD_RESYNC) tell_resync(f);
    if (result != 0) return result;
  }
  result = hand_out(f, (const shmd_item*)f->items.items + f->given, change);
  if (result != 0) return result;
  ++f->given;
  f->position = change->next;
  return 0;
}

void shmd_follow_interrupt(shmd_follower* f) {
  if (f == NULL) return;
  shmd_local_store(&f->interrupt, 1);
  /* SYNC follower: publishes the interruption by an exchange of the word that sleepers exchange before their last look. */
  if (f->a->read_only)
    shmd_os_wake(&shmd_control_of(f->a)->sleepers, INT32_MAX);
  else
    shmd_lock_wake(shmd_control_of(f->a));
}

/* A slice at most. Steps: (1) the flag is set, a full barrier (2) `published` again (3) asleep while the flag is 1. Killed
 * at any step: the next write clears the flag. */
void shmd_follow_sleep(const shmd_attachment* a, uint64_t published, uint64_t limit, const uint64_t* interrupt,
                       uint64_t* pause) {
  shmd_control* c = shmd_control_of(a);
  if (a->read_only) {
    *pause = *pause < POLL_SHORTEST ? POLL_SHORTEST : *pause * 2 < POLL_LONGEST ? *pause * 2 : POLL_LONGEST;
    shmd_os_sleep(*pause < limit ? *pause : limit);
    return;
  }
  /* SYNC follower: publishes that somebody is about to sleep, before the last look. */
  shmd_store_seq(&c->sleepers, 1);
  if (shmd_load_seq(&c->published) != published || shmd_load_acquire(interrupt) != 0) return;
  shmd_os_wait(&c->sleepers, 1, limit < SLICE ? limit : SLICE);
}

int shmd_follow_fd(shmd_follower* f) {
  int result = 0;
  uint64_t seen;
  if (f == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_follow_fd: the follower is NULL");
  shmd_cancel_off();
  if (f->ready != NULL && !shmd_ready_ours(f->ready)) {
    shmd_ready_end(f->ready);
    f->ready = NULL;
  }
  if (f->ready == NULL) {
    seen = f->given < f->items.count ? f->position : f->stalled != 0 ? f->stalled : f->at;
    result = shmd_ready_start(f->a, &f->interrupt, seen, &f->ready);
  }
  if (result >= 0) result = shmd_ready_descriptor(f->ready);
  shmd_cancel_back();
  return result;
}

int shmd_follow_wait(shmd_follower* f, int64_t timeout) {
  uint64_t limit, published, start = 0, gone = 0;
  if (f == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_follow_wait: the follower is NULL");
  if (timeout < SHMD_DEFAULT_TIMEOUT) return shmd_fail_timeout("shmd_follow_wait", timeout);
  limit = timeout < 0 ? (uint64_t)f->a->timeout : (uint64_t)timeout;
  f->pause = 0;
  for (;;) {
    if (f->given < f->items.count) return 0;
    if (SHMD_UNLIKELY(shmd_load_acquire(&f->interrupt) != 0)) {
      shmd_local_store(&f->interrupt, 0);
      return SHMD_INTERRUPTED;
    }
    /* SYNC published: observes a commit. */
    published = shmd_load_acquire(&shmd_control_of(f->a)->published);
    if (published != f->at && published != f->stalled) return 0;
    if (start == 0)
      start = shmd_os_now();
    else
      gone = shmd_os_now() - start;
    if (gone >= limit) {
      look(f);
      return SHMD_TIMED_OUT;
    }
    shmd_follow_sleep(f->a, published, limit - gone, &f->interrupt, &f->pause);
    if (SHMD_UNLIKELY(f->stalled != 0)) (void)shmd_lock_rescue(f->counted); /* what moves `published` may be dead */
  }
}
