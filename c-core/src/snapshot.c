/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"

#include <stdlib.h>

#include "attach.h"
#include "call.h"
#include "dict.h"
#include "error.h"
#include "handle.h"
#include "index.h"
#include "lock.h"
#include "reclaim.h"
#include "redo.h"
#include "segment.h"
#include "transaction.h"

/* ---- pins ---- */

static void store_pin(shmd_attachment* a) {
  const uint64_t floor = shmd_load_acquire(&shmd_control_of(a)->floor);
  const shmd_pin* p;
  uint64_t oldest = UINT64_MAX;
  for (p = a->pins; p != NULL; p = p->next) {
    if (p->position < floor && !(p->position & 1)) continue; /* revoked */
    /* the oldest position, and not revocable if any pin at or above it is not: views must never lose their bytes */
    if ((p->position & ~UINT64_C(7)) < (oldest & ~UINT64_C(7)))
      oldest = p->position | (oldest != UINT64_MAX ? (oldest & 1) : 0);
    else if (p->position & 1)
      oldest |= 1;
  }
  /* SYNC pin: publishes the pin; writers that see the version moved scan the pins. */
  shmd_store_release(shmd_pin_of(a, a->slot), oldest);
  (void)shmd_fetch_add(&shmd_control_of(a)->pin_version, 1);
}

/* A snapshot's or view's own calls: from their first instruction to the last a signal handler of this thread gets BUSY. It
 * must not wait for a mutex of ours, nor take our own half done write for none, nor come into our allocation. */
static int enter(void) {
  if (shmd_lock_self.busy) return shmd_call_interrupted();
  shmd_cancel_off();
  ++shmd_lock_self.busy;
  return 0;
}

static void leave(void) {
  shmd_lock_thread* me = &shmd_lock_self;
  --me->busy;
  if (SHMD_UNLIKELY(me->events != 0)) shmd_lock_tell(me);
  shmd_cancel_back();
}

/* Whether what was reclaimable at no pin below `position` waits for somebody: nobody holds one there any more. */
static bool left_behind(const shmd_attachment* a, uint64_t position) {
  const shmd_control* c = shmd_control_of(a);
  const uint64_t floor = shmd_load_acquire(&c->floor);
  uint32_t i;
  if (shmd_load_acquire(&c->sweep_count) == 0 && !shmd_reclaim_behind(a)) return false;
  for (i = 0; i < a->max_processes; ++i)
    if (shmd_pin_position(a, i, floor) <= position) return false;
  return true;
}

/* True if it was the oldest pin of all, and held much back: the caller, once it has left(), is to catch up. */
static bool drop_pin(shmd_attachment* a, shmd_pin* pin) {
  bool oldest = false;
  shmd_pin** link;
  pthread_mutex_lock(&a->pin_mutex);
  for (link = &a->pins; *link != NULL; link = &(*link)->next) {
    if (*link == pin) {
      *link = pin->next;
      if (a->slot != SHMD_NO_SLOT) {
        store_pin(a);
        oldest = left_behind(a, pin->position & ~UINT64_C(7));
      }
      break;
    }
  }
  pthread_mutex_unlock(&a->pin_mutex);
  return oldest;
}

/* Pins the state after the last commit. */
static int take_pin(shmd_attachment* a, bool revocable, shmd_pin* pin) {
  shmd_control* c = shmd_control_of(a);
  int result;
  if (shmd_load_relaxed(a->generation) == 0 || a->slot == SHMD_NO_SLOT) {
    result = shmd_attach_child(a);
    if (result < 0) return result;
  }
  pthread_mutex_lock(&a->pin_mutex);
  pin->position = shmd_load_acquire(&c->published) | (revocable ? 0u : 1u);
  pin->next = a->pins;
  a->pins = pin;
  store_pin(a);
  pthread_mutex_unlock(&a->pin_mutex);
  result = shmd_lock_quiesce(a);
  if (result < 0) {
    (void)drop_pin(a, pin);
    return result;
  }
  pthread_mutex_lock(&a->pin_mutex);
  /* SYNC published: observes all commits below it, applied. */
  pin->position = shmd_load_acquire(&c->published) | (revocable ? 0u : 1u);
  store_pin(a);
  pthread_mutex_unlock(&a->pin_mutex);
  return 0;
}

void shmd_engine_after_fork(shmd_attachment* a) {
  shmd_tx* t = shmd_tx_of(a);
  shmd_tx_reset(t); /* local state only: what is staged in shared memory is the parent's */
  t->shrink_count = 0;
  t->debt = 0;
  ++a->forks;
  ++a->lives;
  shmd_local_store(&a->reader.writer, 0);
  /* the parent's snapshots are not the child's: they are revoked here, and pinned by the parent still */
  a->pins = NULL;
  (void)pthread_mutex_init(&a->pin_mutex, NULL);
}

void shmd_engine_lost(shmd_attachment* a) {
  (void)pthread_mutex_lock(&a->pin_mutex);
  ++a->lives;
  a->pins = NULL;
  (void)pthread_mutex_unlock(&a->pin_mutex);
}

/* ---- reading at a position ---- */

int shmd_snapshot_valid(const shmd_snapshot* s) {
  const shmd_control* c = shmd_control_of(s->a);
  if (s->lives != s->a->lives)
    return shmd_fail(
        SHMD_ERR_SNAPSHOT_TOO_OLD,
        "dict '%s': the snapshot was taken by the parent process, or before this one lost its slot; take a new one",
        s->a->name);
  if (s->kind == SHMD_SNAP_TRANSACTION) return 0;
  if (s->kind == SHMD_SNAP_OPTIMISTIC) {
    /* SYNC published: observes a commit under way, too: its first pass moves head before its second stores what readers
     * follow, while `published` moves last. */
    if (shmd_load_acquire(&c->head) == s->position) return 0;
    return shmd_fail(
        SHMD_ERR_BUSY,
        "dict '%s': a writer has committed since this snapshot was taken on a read-only handle; take it again",
        s->a->name);
  }
  /* SYNC floor: observes a revocation before what was read is believed. */
  if ((s->pin.position & 1) || shmd_load_acquire(&c->floor) <= s->position) return 0;
  return shmd_fail(SHMD_ERR_SNAPSHOT_TOO_OLD,
                   "dict '%s': the snapshot held back more than max_pin_bytes and was revoked; take a new one",
                   s->a->name);
}

static int corrupt(const shmd_snapshot* s) {
  return shmd_fail(
      SHMD_ERR_CORRUPT,
      "dict '%s' is corrupt: an index or record leads astray; run `shmdict check`, restore a backup, or unlink it",
      s->a->name);
}

/* Whether the handle's dict exists at the snapshot: it and all that hold it do now, or were removed later and so wait for
 * their sweep. Ids are used again: another generation is another dict. The root's parent has no generation. */
static bool lived(const shmd_snapshot* s, shmd_node node) {
  const shmd_attachment* a = s->a;
  const uint64_t known = shmd_known_nodes(a); /* only a handle that the application made up leads beyond */
  uint64_t self = SHMD_PAIR(node.generation, node.id);
  int depth;
  for (depth = 0; depth < SHMD_MAX_NESTING; ++depth) {
    const uint64_t at = a->super->nodes_offset + SHMD_LOW(self) * sizeof(shmd_node_entry);
    uint64_t identity;
    if (SHMD_LOW(self) >= known) return false;
    identity = shmd_snapshot_word(s, at + offsetof(shmd_node_entry, identity));
    if (identity != SHMD_PAIR(SHMD_HIGH(self), SHMD_NODE_LIVE) &&
        (s->kind != SHMD_SNAP_PINNED || identity != SHMD_PAIR(SHMD_HIGH(self) + 1, SHMD_NODE_SWEEPING) ||
         shmd_snapshot_word(s, at + offsetof(shmd_node_entry, freed_at)) <= s->position))
      return false;
    self = shmd_snapshot_word(s, at + offsetof(shmd_node_entry, parent));
    if (SHMD_HIGH(self) == 0) return true;
  }
  return false;
}

int shmd_snapshot_index(shmd_snapshot* s, shmd_node node, uint64_t* ref, uint32_t* id) {
  const shmd_attachment* a = s->a;
  const bool root = shmd_is_root(node);
  uint64_t steps, known = 0;
  *id = node.id;
  if (root) {
    *id = (uint32_t)shmd_snapshot_word(s, a->super->control_offset + offsetof(shmd_control, root_node));
    known = shmd_known_nodes(a); /* after the root's id: the root may be a new one */
    for (steps = 0; *id < known; ++steps) {
      const uint64_t at = a->super->nodes_offset + *id * sizeof(shmd_node_entry);
      const uint64_t born = shmd_snapshot_word(s, at + offsetof(shmd_node_entry, self));
      if (s->kind != SHMD_SNAP_PINNED || born <= s->position) break;
      if (steps > known) return corrupt(s);
      *id = (uint32_t)shmd_snapshot_word(s, at + offsetof(shmd_node_entry, parent));
    }
  }
  if (root && (*id == 0 || *id >= known)) return corrupt(s);
  if (!root && !lived(s, node))
    return shmd_fail(SHMD_ERR_REMOVED, "dict '%s': this nested dict was erased or replaced; look it up again", a->name);
  *ref =
      shmd_snapshot_word(s, a->super->nodes_offset + *id * sizeof(shmd_node_entry) + offsetof(shmd_node_entry, root));
  return 0;
}

int shmd_snapshot_older(const shmd_snapshot* s, shmd_record_view* v) {
  const uint64_t most =
      s->a->max_size / sizeof(shmd_record); /* positions fall along the chain, and it has no more records */
  const shmd_record_view newest = *v;
  uint64_t steps;
  for (steps = 0; v->position >= s->position; ++steps) {
    const uint64_t newer = v->position;
    if (v->previous == 0) return 0;
    if (!shmd_record_read(&s->a->reader, v->previous, v) || v->position >= newer || steps > most ||
        v->hash != newest.hash || v->node != newest.node || v->key_size != newest.key_size)
      return SHMD_ERR_CORRUPT;
  }
  return v->kind != SHMD_REC_ERASE;
}

/* Finds the version of a key that the snapshot sees. To be believed if the recycle counter did not move. */
static int find(shmd_snapshot* s, shmd_node node, const shmd_key* key, shmd_record_view* v) {
  const shmd_reader* r = &s->a->reader;
  uint64_t ref, array, i, mask;
  uint32_t id, depth = 0;
  int result = shmd_snapshot_index(s, node, &ref, &id);
  if (result < 0) return result;
  while (SHMD_REF_KIND(ref) == SHMD_REF_DIRECTORY) {
    const uint32_t log2 = shmd_ref_log2(ref);
    if (!shmd_index_directory_fits(ref, depth) || SHMD_REF_OFFSET(ref) >= r->limit) return corrupt(s);
    ref = shmd_snapshot_word(
        s, SHMD_REF_OFFSET(ref) + 8 * (uint64_t)((uint32_t)((uint32_t)key->hash << depth) >> (32 - log2)));
    depth += log2;
  }
  if (ref == 0) return SHMD_NOT_FOUND;
  if (SHMD_REF_KIND(ref) != SHMD_REF_ARRAY || shmd_ref_log2(ref) > SHMD_ARRAY_OVERFLOW_LOG2 ||
      SHMD_REF_OFFSET(ref) >= r->limit)
    return corrupt(s);
  array = ref;
  mask = (UINT64_C(1) << shmd_ref_log2(array)) - 1;
  for (i = 0; i <= mask; ++i) {
    const uint64_t slot =
        shmd_snapshot_word(s, SHMD_REF_OFFSET(array) + 8 * ((SHMD_PROBE_START(key->hash) + i) & mask));
    if (slot == SHMD_SLOT_EMPTY) return SHMD_NOT_FOUND;
    if (((slot ^ key->hash) >> 48) != 0 || !shmd_slot_refers(slot)) continue;
    if (!shmd_record_read(r, slot & SHMD_OFFSET_MASK, v)) return corrupt(s);
    if (v->key_size != key->size || v->hash != (uint32_t)key->hash || !shmd_read_equal(r, v->key, key->data, key->size))
      continue;
    result = shmd_snapshot_version(s, v);
    return result < 0 ? corrupt(s) : result ? 0 : SHMD_NOT_FOUND;
  }
  return SHMD_NOT_FOUND;
}

/* ---- the ABI's part ---- */

static int open_snapshot(shmd_dict* d, shmd_snapshot** out) {
  shmd_attachment* a = d->attachment;
  shmd_snapshot* s = (shmd_snapshot*)calloc(1, sizeof *s);
  int result = 0;
  if (s == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a snapshot", a->name);
  s->a = a;
  s->dict = d;
  s->lives = a->lives;
  if (a->read_only) {
    s->kind = SHMD_SNAP_OPTIMISTIC;
    s->position = shmd_load_acquire(&shmd_control_of(a)->published);
  } else if (shmd_transaction_mine(a)) {
    s->kind = SHMD_SNAP_TRANSACTION;
    s->position = UINT64_MAX;
  } else {
    s->kind = SHMD_SNAP_PINNED;
    result = take_pin(a, true, &s->pin);
    s->position = s->pin.position & ~UINT64_C(7);
  }
  if (result < 0) {
    free(s);
    return result;
  }
  *out = s;
  return 0;
}

/* A handle stays for as long as snapshots and views of it are open. */
int shmd_snapshot_open(shmd_dict* d, shmd_snapshot** out) {
  int result;
  if (d == NULL) return shmd_handle_closed("shmd_snapshot_open");
  if (out == NULL)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_snapshot_open: a dict and a place for the snapshot are needed");
  result = enter();
  if (result < 0) return result;
  result = shmd_handle_hold(d) ? 0 : shmd_handle_closed("shmd_snapshot_open");
  if (result >= 0) {
    result = open_snapshot(d, out);
    if (result < 0) shmd_handle_let(d);
  }
  leave();
  return result;
}

int shmd_snapshot_of_closing(shmd_dict* d, shmd_snapshot** out) {
  int result = enter();
  if (result < 0) return result;
  (void)shmd_local_count(&d->uses, 1); /* the caller has one, too */
  result = open_snapshot(d, out);
  if (result < 0) shmd_handle_let(d);
  leave();
  return result;
}

void shmd_snapshot_close(shmd_snapshot* s) {
  shmd_attachment* a;
  shmd_dict* d;
  bool oldest;
  if (s == NULL || enter() < 0) return;
  a = s->a;
  d = s->dict;
  oldest = s->kind == SHMD_SNAP_PINNED && drop_pin(a, &s->pin);
  free(s);
  leave();
  if (SHMD_UNLIKELY(oldest)) shmd_dict_catch_up(a);
  shmd_handle_let(d);
}

uint64_t shmd_snapshot_position(const shmd_snapshot* s) { return s != NULL ? s->position : 0; }

static int snapshot_find(shmd_snapshot* s, shmd_node node, const void* key, size_t key_size, void* buffer,
                         size_t capacity, size_t* size, shmd_node* child) {
  shmd_control* c = shmd_control_of(s->a);
  shmd_record_view v;
  shmd_key k;
  int tries;
  k.data = key;
  k.size = key_size;
  k.hash = shmd_hash_key(s->a->reader.hash_seed, key, key_size);
  for (tries = 0; tries < 1 << 20; ++tries) {
    /* SYNC recycle: as in shmd_read_get. */
    const uint64_t before = shmd_load_acquire(&c->recycle);
    int result = find(s, node, &k, &v), valid;
    uint64_t word = 0;
    if (result == 0 && v.kind == SHMD_REC_PUT && buffer != NULL) {
      if (v.value_size <= capacity)
        shmd_read_bytes(&s->a->reader, buffer, v.value, v.value_size);
      else
        result = SHMD_TRUNCATED;
      *size = v.value_size;
    } else if (result == 0 && v.kind == SHMD_REC_NODE && v.value_size == 8) {
      word = shmd_load_acquire((const uint64_t*)(const void*)v.value);
    }
    if (s->kind != SHMD_SNAP_TRANSACTION && shmd_load_acquire(&c->recycle) != before) continue;
    valid = shmd_snapshot_valid(s);
    if (valid < 0) return valid;
    if (result != 0) return result;
    if (child != NULL) {
      if (v.kind != SHMD_REC_NODE) return SHMD_ERR_NOT_A_DICT;
      child->id = (uint32_t)word;
      child->generation = (uint32_t)(word >> 32);
      return 0;
    }
    return v.kind == SHMD_REC_PUT ? 0 : SHMD_ERR_IS_A_DICT;
  }
  return shmd_fail(SHMD_ERR_BUSY, "dict '%s': the data kept changing; try again", s->a->name);
}

int shmd_snapshot_get(shmd_snapshot* s, shmd_node node, const void* key, size_t key_size, void* buffer, size_t capacity,
                      size_t* size) {
  unsigned char nothing;
  size_t ignored;
  if (s == NULL || (key == NULL && key_size != 0) || (buffer == NULL && capacity != 0))
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_snapshot_get: NULL where bytes were promised");
  if (buffer == NULL) buffer = &nothing;
  return snapshot_find(s, node, key, key_size, buffer, capacity, size != NULL ? size : &ignored, NULL);
}

int shmd_snapshot_node(shmd_snapshot* s, shmd_node node, const void* key, size_t key_size, shmd_node* child) {
  if (s == NULL || child == NULL || (key == NULL && key_size != 0))
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_snapshot_node: NULL where a value was promised");
  return snapshot_find(s, node, key, key_size, NULL, 0, NULL, child);
}

/* What a view holds. */
typedef struct view_pin {
  shmd_pin pin;
  shmd_dict* dict;
} view_pin;

static int open_view(shmd_dict* d, shmd_node node, const void* key, size_t key_size, shmd_pin* pin, shmd_view* view) {
  shmd_attachment* a = d->attachment;
  shmd_snapshot s;
  shmd_record_view v;
  shmd_key k;
  int result = SHMD_ERR_BUSY, tries;
  s.a = a;
  s.dict = d;
  s.lives = a->lives;
  s.kind = SHMD_SNAP_PINNED;
  s.position = pin->position & ~UINT64_C(7);
  s.pin.position = pin->position; /* but for `next`, which other threads change */
  s.pin.next = NULL;
  k.data = key;
  k.size = key_size;
  k.hash = shmd_hash_key(a->reader.hash_seed, key, key_size);
  if (!shmd_is_root(node)) {
    const shmd_node_entry* e;
    const int alive = shmd_read_node(&a->reader, node, &e);
    if (alive < 0) return alive;
  }
  for (tries = 0; tries < 1 << 20; ++tries) {
    const uint64_t before = shmd_load_acquire(&shmd_control_of(a)->recycle);
    result = find(&s, node, &k, &v);
    if (shmd_load_acquire(&shmd_control_of(a)->recycle) == before) break;
    result = SHMD_ERR_BUSY;
  }
  if (result == 0 && v.kind != SHMD_REC_PUT) result = SHMD_ERR_IS_A_DICT;
  if (result != 0) return result;
  view->data = v.value;
  view->size = v.value_size;
  return 0;
}

int shmd_view_open(shmd_dict* d, shmd_node node, const void* key, size_t key_size, shmd_view* view) {
  shmd_attachment* a = shmd_attachment_of(d);
  view_pin* held;
  int result;
  if (a == NULL) return shmd_handle_closed("shmd_view_open");
  if (view == NULL || (key == NULL && key_size != 0))
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_view_open: NULL where a value was promised");
  if (a->read_only)
    return shmd_fail(SHMD_ERR_READ_ONLY, "dict '%s': a read-only handle cannot hold bytes in place; use get", a->name);
  if (shmd_transaction_mine(a))
    return shmd_fail(SHMD_ERR_IN_TRANSACTION, "dict '%s': no views inside a transaction; use get", a->name);
  result = enter();
  if (result < 0) return result;
  if (!shmd_handle_hold(d)) {
    leave();
    return shmd_handle_closed("shmd_view_open");
  }
  held = (view_pin*)calloc(1, sizeof *held);
  if (held == NULL) {
    result = shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a view", a->name);
  } else {
    held->dict = d;
    result = take_pin(a, false, &held->pin);
  }
  if (result >= 0) {
    result = open_view(d, node, key, key_size, &held->pin, view);
    if (result != 0) (void)drop_pin(a, &held->pin);
  }
  if (result == 0) {
    view->pin = held;
  } else {
    free(held);
    shmd_handle_let(d);
  }
  leave();
  return result;
}

void shmd_view_close(shmd_dict* d, shmd_view* view) {
  view_pin* held;
  shmd_dict* of;
  bool oldest;
  (void)d; /* may be closed by now */
  if (view == NULL || view->pin == NULL || enter() < 0) return;
  held = (view_pin*)view->pin;
  of = held->dict;
  view->pin = NULL;
  view->data = NULL;
  oldest = drop_pin(of->attachment, &held->pin);
  free(held);
  leave();
  if (SHMD_UNLIKELY(oldest)) shmd_dict_catch_up(of->attachment);
  shmd_handle_let(of);
}
