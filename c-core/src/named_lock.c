/* SPDX-License-Identifier: Apache-2.0 */
#include "named_lock.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attach.h"
#include "call.h"
#include "dict.h"
#include "error.h"
#include "handle.h"
#include "lock.h"
#include "node.h"
#include "platform.h"
#include "snapshot.h"
#include "transaction.h"

#define SLICE UINT64_C(40000000) /* ns: bounds every sleep here, and so how late a death is noticed */
#define MAX_NAME 65000u
#define SHORT_KEY 512u

/* The key of a lock's record. */
typedef struct lock_key {
  shmd_key key;
  const char* said; /* for messages */
  int said_size;
  unsigned char* memory;
  unsigned char near[SHORT_KEY];
} lock_key;

static int make_key(shmd_dict* d, lock_key* k, unsigned char kind, const shmd_node* node, const void* name,
                    size_t size) {
  const uint64_t seed = d->attachment->reader.hash_seed;
  const size_t head = node != NULL ? 9 : 1;
  uint64_t digest[2];
  unsigned char* to;
  k->said = (const char*)name;
  k->said_size = size > 60 ? 60 : (int)size;
  k->memory = NULL;
  if (node != NULL && size > MAX_NAME) { /* two keys of one digest would only wait for each other */
    digest[0] = shmd_hash_key(seed, name, size);
    digest[1] = shmd_hash_key(~seed, name, size);
    name = digest;
    size = sizeof digest;
    kind = SHMD_LOCK_DIGEST;
  }
  to = k->near;
  if (head + size > sizeof k->near) {
    to = k->memory = (unsigned char*)malloc(head + size);
    if (to == NULL)
      return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a lock's name", d->attachment->name);
  }
  to[0] = kind;
  if (node != NULL) {
    const uint64_t word = SHMD_PAIR(node->generation, node->id);
    memcpy(to + 1, &word, sizeof word);
  }
  if (size != 0) memcpy(to + head, name, size);
  k->key.data = to;
  k->key.size = head + size;
  k->key.hash = shmd_hash_key(seed, to, head + size);
  return 0;
}

/* ---- holders ---- */

static void describe_self(const shmd_dict* d, shmd_named_holder* h) {
  const shmd_attachment* a = d->attachment;
  memset(h, 0, sizeof *h);
  h->slot = a->slot;
  h->incarnation = shmd_load_acquire(&shmd_slot_of(a, a->slot)->incarnation);
  h->pid = a->pid;
  h->handle = d->serial;
  h->thread = shmd_os_thread();
  h->since = shmd_os_now();
  shmd_os_program(h->program, sizeof h->program);
}

/* Whether the slot is still owned by the incarnation that took the lock. */
static bool same_incarnation(const shmd_attachment* a, const shmd_named_holder* h) {
  const shmd_slot* entry;
  if (h->slot >= a->max_processes) return false;
  entry = shmd_slot_of(a, (uint32_t)h->slot);
  /* SYNC slot-entry: observes the pid of a complete entry: while its owner lives, all of it is as when it attached. */
  return shmd_load_acquire(&entry->pid) == h->pid && shmd_load_acquire(&entry->incarnation) == h->incarnation;
}

static bool lives(const shmd_attachment* a, const shmd_named_holder* h) {
  if (!same_incarnation(a, h)) return false;
  return shmd_slot_lives(a, (uint32_t)h->slot);
}

static bool of_this_process(const shmd_attachment* a, const shmd_named_holder* h) {
  return a->slot != SHMD_NO_SLOT && h->slot == a->slot && same_incarnation(a, h);
}

/* ---- the hidden dict. REQUIRES: shmd_call_enter() ---- */

/* The id of the hidden dict as this commit will leave it; 0 = there is none. */
static int hidden(shmd_tx* t, uint32_t* id) {
  const uint64_t word = SHMD_GET_C(t, hidden_node);
  *id = SHMD_LOW(word);
  if (word == 0) return 0;
  if (*id == 0 || *id >= t->a->super->node_capacity ||
      shmd_tx_get(t, SHMD_N(t, *id, identity)) != SHMD_PAIR(SHMD_HIGH(word), SHMD_NODE_LIVE))
    return (void)shmd_tx_astray(t, SHMD_C(t, hidden_node)), SHMD_ERR_CORRUPT;
  return 0;
}

static int make_hidden(shmd_tx* t, uint32_t* id) {
  shmd_node node;
  const int result = shmd_node_new(t, 0, 0, &node);
  if (result < 0) return result;
  SHMD_SET_C(t, hidden_node, SHMD_PAIR(node.generation, node.id));
  *id = node.id;
  return 0;
}

/* The record of a lock: 0 and *h, SHMD_NOT_FOUND, CORRUPT. */
static int find_holder(shmd_tx* t, uint32_t id, const shmd_key* key, shmd_named_holder* h) {
  shmd_cursor c;
  const int result = shmd_index_find(t, id, key->hash, key->data, key->size, &c);
  if (result < 0) return result;
  if (!c.found || c.record.kind == SHMD_REC_ERASE) return SHMD_NOT_FOUND;
  if (c.record.kind != SHMD_REC_PUT || c.record.value_size != sizeof *h)
    return (void)shmd_tx_astray(t, c.record.offset), SHMD_ERR_CORRUPT;
  shmd_read_bytes(&t->a->reader, h, c.record.value, sizeof *h);
  h->program[sizeof h->program - 1] = '\0';
  return 0;
}

/* ---- taking ---- */

/* Stages the taking, if the lock is free or its holder dead. 0, SHMD_RECOVERED; SHMD_EXISTS: *h holds it and lives. */
static int stage_take(shmd_dict* d, const shmd_key* key, shmd_named_holder* h) {
  shmd_tx* t = shmd_tx_of(d->attachment);
  shmd_named_holder self;
  uint32_t id;
  int result = hidden(t, &id), found = SHMD_NOT_FOUND;
  if (result >= 0 && id == 0) result = make_hidden(t, &id);
  if (result >= 0) result = found = find_holder(t, id, key, h);
  if (result < 0) return result;
  if (found == 0 && lives(d->attachment, h)) return SHMD_EXISTS;
  describe_self(d, &self);
  result = shmd_dict_stage_put(t, id, key, &self, sizeof self, 0);
  if (result < 0) return result;
  return found == 0 ? SHMD_RECOVERED : 0;
}

static int try_take(shmd_dict* d, const shmd_key* key, shmd_named_holder* h) {
  shmd_attachment* a = d->attachment;
  int result = shmd_call_enter(a), tries = 0;
  if (result < 0) return result;
  do result = shmd_dict_finish(a, stage_take(d, key, h));
  while (shmd_dict_retry(a, result, &tries));
  if (result == 0 || result == SHMD_RECOVERED) shmd_local_store(&d->locks, 1);
  shmd_call_leave(a);
  return result;
}

static int blame(const shmd_dict* d, const lock_key* k, const shmd_named_holder* h, int code, uint64_t waited,
                 const char* what) {
  const uint64_t now = shmd_os_now();
  const uint64_t held = now > h->since ? now - h->since : 0;
  shmd_error_info* error;
  char program[sizeof h->program];
  size_t i;
  for (i = 0; i < sizeof program - 1 && h->program[i] != '\0'; ++i)
    program[i] = (unsigned char)h->program[i] < 0x20 || h->program[i] == 0x7f ? '?' : h->program[i];
  program[i] = '\0';
  (void)shmd_fail(code, "dict '%s': %s the lock '%.*s', held by pid %lld (%s), thread %lld, for %.1f s%s",
                  d->attachment->name, what, k->said_size, k->said, (long long)h->pid, program, (long long)h->thread,
                  (double)held / 1e9,
                  code == SHMD_ERR_WOULD_DEADLOCK ? "; unlock that first" : "; wait longer, or end that process");
  error = shmd_error_slot();
  error->pid = (int64_t)h->pid;
  error->thread = (int64_t)h->thread;
  error->held_ns = held;
  error->waited_ns = waited;
  memcpy(error->program, program, sizeof error->program);
  return code;
}

static void note_take_over(shmd_attachment* a, const shmd_named_holder* h, const lock_key* k) {
  shmd_event event;
  const int most = k->said_size < (int)sizeof event.name - 1 ? k->said_size : (int)sizeof event.name - 1;
  memset(&event, 0, sizeof event);
  event.kind = SHMD_EVENT_TOOK_OVER;
  event.pid = (int64_t)h->pid;
  event.position = shmd_load_acquire(&shmd_control_of(a)->published);
  memcpy(event.program, h->program, sizeof event.program);
  if (most > 0) memcpy(event.name, k->said, (size_t)most);
  shmd_lock_raise(a, &event);
}

static int give(shmd_dict* d, const lock_key* k);

static int take(shmd_dict* d, const lock_key* k, int64_t timeout) {
  shmd_attachment* a = d->attachment;
  const uint64_t* turn = &shmd_control_of(a)->named_turn;
  const uint64_t limit = timeout < 0 ? (uint64_t)a->timeout : (uint64_t)timeout, start = shmd_os_now();
  int kept;
  if (timeout < SHMD_DEFAULT_TIMEOUT) return shmd_fail_timeout("taking a named lock", timeout);
  if (shmd_transaction_mine(a))
    return shmd_fail(SHMD_ERR_IN_TRANSACTION, "dict '%s': a named lock cannot be taken inside a transaction", a->name);
  kept = shmd_liveness_keep(a); /* it may be held for long, and this is where its holder's life is looked after */
  if (kept < 0) return kept;
  for (;;) {
    /* SYNC named-turn: observes the last giving back; a later one moves the word, and the sleep below ends at once. */
    const uint64_t seen = shmd_load_acquire(turn);
    shmd_named_holder h;
    const int result = try_take(d, &k->key, &h);
    uint64_t waited;
    if (result == SHMD_RECOVERED) note_take_over(a, &h, k);
    if (shmd_attachment_of(d) == NULL) { /* whoever closed it gave back what it held then */
      if (result == 0 || result == SHMD_RECOVERED) (void)give(d, k);
      return shmd_handle_closed("taking a named lock");
    }
    if (result != SHMD_EXISTS) return result;
    waited = shmd_os_now() - start;
    if (waited >= limit) return blame(d, k, &h, SHMD_TIMED_OUT, waited, "timed out waiting for");
    if (of_this_process(a, &h) && h.handle == d->serial && h.thread == shmd_os_thread())
      return blame(d, k, &h, SHMD_ERR_WOULD_DEADLOCK, waited, "this thread waits for itself at");
    if (shmd_lock_mine(a))
      return blame(d, k, &h, SHMD_ERR_WOULD_DEADLOCK, waited,
                   "this thread holds the dict's lock, without which nobody can give back");
    shmd_os_wait(turn, (uint32_t)seen, limit - waited < SLICE ? limit - waited : SLICE);
  }
}

/* ---- giving back ---- */

static int stage_give(shmd_dict* d, const shmd_key* key) {
  shmd_attachment* a = d->attachment;
  shmd_tx* t = shmd_tx_of(a);
  shmd_named_holder h;
  uint32_t id;
  int result = hidden(t, &id);
  if (result < 0) return result;
  result = id != 0 ? find_holder(t, id, key, &h) : SHMD_NOT_FOUND;
  if (result < 0) return result;
  if (result != 0 || !of_this_process(a, &h) || h.handle != d->serial) return SHMD_KEPT;
  return shmd_dict_stage_drop(t, id, key);
}

static void wake_waiters(shmd_attachment* a) {
  shmd_control* c = shmd_control_of(a);
  /* SYNC named-turn: publishes that a lock was given back, after the commit that did it. */
  (void)shmd_fetch_add(&c->named_turn, 1);
  shmd_os_wake(&c->named_turn, INT_MAX);
}

static int give(shmd_dict* d, const lock_key* k) {
  shmd_attachment* a = d->attachment;
  int result;
  if (shmd_transaction_mine(a))
    return shmd_fail(SHMD_ERR_IN_TRANSACTION, "dict '%s': a named lock cannot be given back inside a transaction",
                     a->name);
  result = shmd_call_enter(a);
  if (result < 0) return result;
  result = shmd_dict_finish(a, stage_give(d, &k->key));
  shmd_call_leave(a);
  if (result == SHMD_KEPT)
    return shmd_fail(SHMD_ERR_NOT_LOCKED, "dict '%s': this handle does not hold the lock '%.*s'", a->name, k->said_size,
                     k->said);
  if (result == 0) wake_waiters(a);
  return result;
}

/* ---- all of them ---- */

typedef int (*holder_fn)(void* context, const shmd_entry* entry, const shmd_named_holder* holder);

/* Calls `found` for each record, as one snapshot shows them. */
static int each(shmd_dict* d, int (*show)(shmd_dict* d, shmd_snapshot** out), holder_fn found, void* context) {
  shmd_snapshot* s SHMD_CLEANUP(shmd_snapshot_over) = NULL;
  shmd_iter* it SHMD_CLEANUP(shmd_iter_over) = NULL;
  shmd_entry e;
  shmd_node node;
  uint64_t word;
  int result = show(d, &s);
  if (result < 0) return result;
  word = shmd_load_acquire(&shmd_control_of(d->attachment)->hidden_node);
  node.id = SHMD_LOW(word);
  node.generation = SHMD_HIGH(word);
  if (word != 0) result = shmd_iter_open(s, node, &it);
  while (it != NULL && result == 0) {
    shmd_named_holder h;
    result = shmd_iter_next(it, &e);
    if (result != 0 || e.is_dict || e.value_size != sizeof h || e.key_size == 0) continue;
    memcpy(&h, e.value, sizeof h);
    h.program[sizeof h.program - 1] = '\0';
    result = found(context, &e, &h);
  }
  return result == SHMD_END ? 0 : result;
}

typedef struct listing {
  shmd_dict* d;
  shmd_named_lock_fn found;
  void* context;
} listing;

static int list_one(void* context, const shmd_entry* e, const shmd_named_holder* h) {
  const listing* l = (const listing*)context;
  const shmd_attachment* a = l->d->attachment;
  const unsigned char* key = (const unsigned char*)e->key;
  const size_t head = key[0] == SHMD_LOCK_NAME ? 1 : 9;
  const uint64_t now = shmd_os_now();
  shmd_named_lock_info info;
  size_t i;
  if (e->key_size < head) return 0;
  memset(&info, 0, sizeof info);
  info.is_key = head != 1;
  info.name = key + head;
  info.name_size = e->key_size - head;
  if (info.is_key) {
    uint64_t word;
    memcpy(&word, key + 1, sizeof word);
    info.node.id = SHMD_LOW(word);
    info.node.generation = SHMD_HIGH(word);
  }
  info.alive = lives(a, h);
  info.this_handle = of_this_process(a, h) && h->handle == l->d->serial;
  info.pid = (int64_t)h->pid;
  info.thread = (int64_t)h->thread;
  info.held_ns = now > h->since ? now - h->since : 0;
  for (i = 0; i < sizeof info.program - 1 && h->program[i] != '\0'; ++i)
    info.program[i] = (unsigned char)h->program[i] < 0x20 || h->program[i] == 0x7f ? '?' : h->program[i];
  return l->found(l->context, &info);
}

/* Keys of one handle's locks: they cannot be erased while the snapshot that shows them is open, nor need they. */
typedef struct held_list {
  shmd_dict* d;
  lock_key* keys;
  uint32_t count, capacity;
} held_list;

static int collect(void* context, const shmd_entry* e, const shmd_named_holder* h) {
  held_list* l = (held_list*)context;
  lock_key* k;
  if (!of_this_process(l->d->attachment, h) || h->handle != l->d->serial) return 0;
  if (!shmd_tx_grow((void**)&l->keys, l->count, &l->capacity, sizeof *l->keys)) return SHMD_ERR_OUT_OF_MEMORY;
  k = &l->keys[l->count];
  k->memory = (unsigned char*)malloc(e->key_size);
  if (k->memory == NULL) return SHMD_ERR_OUT_OF_MEMORY;
  memcpy(k->memory, e->key, e->key_size);
  k->key.data = k->memory;
  k->key.size = e->key_size;
  k->key.hash = shmd_hash_key(l->d->attachment->reader.hash_seed, k->memory, e->key_size);
  k->said = (const char*)k->memory + 1;
  k->said_size = 0;
  ++l->count;
  return 0;
}

static void held_list_end(held_list* l) {
  while (l->count != 0) free(l->keys[--l->count].memory);
  free(l->keys);
}

int shmd_named_abandon(shmd_dict* d) {
  held_list l SHMD_CLEANUP(held_list_end) = {d, NULL, 0, 0};
  uint32_t i;
  int result;
  if (shmd_load_acquire(&d->locks) == 0) return 0;
  result = each(d, shmd_snapshot_of_closing, collect, &l);
  for (i = 0; i < l.count; ++i) {
    const int given = give(d, &l.keys[i]);
    if (given == SHMD_ERR_NOT_LOCKED) continue; /* another thread gave it back meanwhile */
    if (given < 0 && result >= 0) result = given;
  }
  return result < 0 ? result : 0;
}

/* ---- the ABI's part ---- */

static void lock_key_end(lock_key* k) { free(k->memory); }

static int name_key(shmd_dict* d, const char* function, const char* name, lock_key* k) {
  size_t size;
  k->memory = NULL;
  if (name == NULL || name[0] == '\0')
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "%s: the lock needs a name", function);
  size = strlen(name);
  if (size > MAX_NAME)
    return shmd_fail(SHMD_ERR_KEY_TOO_LONG, "%s: a lock's name has at most %u bytes", function, MAX_NAME);
  return make_key(d, k, SHMD_LOCK_NAME, NULL, name, size);
}

static int key_key(shmd_dict* d, const char* function, const shmd_node* node, const void* key, size_t size,
                   lock_key* k) {
  k->memory = NULL;
  if (key == NULL && size != 0) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "%s: the key is NULL", function);
  if (size > SHMD_MAX_KEY)
    return shmd_fail(SHMD_ERR_KEY_TOO_LONG, "%s: a key has at most %u bytes", function, SHMD_MAX_KEY);
  return make_key(d, k, SHMD_LOCK_KEY, node, key, size);
}

static int lock_name(shmd_dict* d, const char* name, int64_t timeout) {
  lock_key k SHMD_CLEANUP(lock_key_end);
  int result = name_key(d, "shmd_named_lock", name, &k);
  if (result < 0) return result;
  result = take(d, &k, timeout);
  return result;
}

int shmd_named_lock(shmd_dict* d, const char* name, int64_t timeout) {
  int result = shmd_handle_enter(d, "shmd_named_lock");
  if (result < 0) return result;
  result = lock_name(d, name, timeout);
  shmd_handle_leave(d);
  return result;
}

static int unlock_name(shmd_dict* d, const char* name) {
  lock_key k SHMD_CLEANUP(lock_key_end);
  int result = name_key(d, "shmd_named_unlock", name, &k);
  if (result < 0) return result;
  result = give(d, &k);
  return result;
}

int shmd_named_unlock(shmd_dict* d, const char* name) {
  int result = shmd_handle_enter(d, "shmd_named_unlock");
  if (result < 0) return result;
  result = unlock_name(d, name);
  shmd_handle_leave(d);
  return result;
}

static int lock_key_of(shmd_dict* d, shmd_node node, const void* key, size_t key_size, int64_t timeout) {
  lock_key k SHMD_CLEANUP(lock_key_end);
  int result = key_key(d, "shmd_key_lock", &node, key, key_size, &k);
  if (result < 0) return result;
  result = take(d, &k, timeout);
  return result;
}

int shmd_key_lock(shmd_dict* d, shmd_node node, const void* key, size_t key_size, int64_t timeout) {
  int result = shmd_handle_enter(d, "shmd_key_lock");
  if (result < 0) return result;
  result = lock_key_of(d, node, key, key_size, timeout);
  shmd_handle_leave(d);
  return result;
}

static int unlock_key_of(shmd_dict* d, shmd_node node, const void* key, size_t key_size) {
  lock_key k SHMD_CLEANUP(lock_key_end);
  int result = key_key(d, "shmd_key_unlock", &node, key, key_size, &k);
  if (result < 0) return result;
  result = give(d, &k);
  return result;
}

int shmd_key_unlock(shmd_dict* d, shmd_node node, const void* key, size_t key_size) {
  int result = shmd_handle_enter(d, "shmd_key_unlock");
  if (result < 0) return result;
  result = unlock_key_of(d, node, key, key_size);
  shmd_handle_leave(d);
  return result;
}

static int list_locks(shmd_dict* d, shmd_named_lock_fn found, void* context) {
  listing l;
  if (found == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_named_locks: the callback is NULL");
  l.d = d;
  l.found = found;
  l.context = context;
  return each(d, shmd_snapshot_open, list_one, &l);
}

int shmd_named_locks(shmd_dict* d, shmd_named_lock_fn found, void* context) {
  int result = shmd_handle_enter(d, "shmd_named_locks");
  if (result < 0) return result;
  {
    shmd_dict* inside SHMD_CLEANUP(shmd_handle_left) = d;
    result = list_locks(inside, found, context);
  }
  return result;
}
