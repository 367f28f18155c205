/* SPDX-License-Identifier: Apache-2.0 */
#include "dict.h"

#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "call.h"
#include "log.h"
#include "node.h"
#include "overwrite.h"
#include "reclaim.h"
#include "segment.h"
#include "transaction.h"

#define NODE(id, field) shmd_tx_get(t, SHMD_N(t, id, field))

/* ---- one writing call: enter, stage, commit, leave ---- */

void shmd_dict_after(shmd_attachment* a) {
  shmd_tx* t = shmd_tx_of(a);
  if (SHMD_UNLIKELY(t->shrink_count != 0)) shmd_reclaim_shrink(a);
  if (SHMD_UNLIKELY(t->debt >= SHMD_STEP_BYTES)) {
    const uint64_t recent = t->debt;
    uint64_t debt = t->debt; /* a large write or transaction takes many steps: each of its bytes pays */
    bool behind = false;
    while (debt != 0 && (shmd_load_acquire(&shmd_control_of(a)->work) != 0 || shmd_reclaim_due(t))) {
      const uint64_t part = debt < SHMD_STEP_MAX ? debt : SHMD_STEP_MAX;
      behind = shmd_reclaim_step(a, part, recent);
      debt -= part;
    }
    t->debt = behind ? SHMD_STEP_BYTES : 0;
  }
}

/* Ends a call: commits (outside transactions), or forgets what failed. */
static int finish(shmd_attachment* a, int result) {
  shmd_tx* t = shmd_tx_of(a);
  if (t->user) {
    /* what was staged of a failed write cannot be taken back alone: the transaction as a whole fails */
    if (result == SHMD_ERR_NO_SPACE || result == SHMD_ERR_TRANSACTION_TOO_LARGE || result == SHMD_ERR_CORRUPT ||
        result == SHMD_ERR_OUT_OF_MEMORY || result == SHMD_ERR_TOO_MANY_DICTS || result == SHMD_ERR_TOO_MANY_COLLISIONS)
      (void)shmd_tx_fail(t, result);
    if (t->error == SHMD_ERR_ABORTED) return shmd_transaction_spoiled(a);
    return t->error != 0 ? t->error : result;
  }
  if (result < 0 || t->error != 0) {
    if (t->error != 0) result = t->error;
    shmd_tx_abort(t);
    return result;
  }
  {
    const int committed = shmd_tx_commit(t);
    if (SHMD_UNLIKELY(committed < 0)) return committed;
  }
  shmd_dict_after(a);
  return result;
}

/* Whether a write that found no room should be tried again: after reclaiming, three times at most. */
static bool retry(shmd_attachment* a, int result, int* tries) {
  if (SHMD_LIKELY(result != SHMD_ERR_NO_SPACE) || shmd_tx_of(a)->user) return false;
  if (++*tries <= 3 && shmd_reclaim_urgent(a, *tries > 1)) return true;
  if (*tries == 1 && shmd_reclaim_urgent(a, true)) return true;
  shmd_reclaim_blame(a);
  return false;
}

/* ---- staging ---- */

static bool exists(const shmd_cursor* c) { return c->found && c->record.kind != SHMD_REC_ERASE; }

/* Id 0 is the root's only without a generation; with one it is a handle that the application made up. */
static int resolve(shmd_tx* t, shmd_node node, uint32_t* id) {
  if (SHMD_UNLIKELY(node.id == 0 && node.generation != 0))
    return shmd_fail(SHMD_ERR_REMOVED, "dict '%s': there is no such nested dict; look it up", t->a->name);
  if (node.id == 0) {
    *id = SHMD_LOW(SHMD_GET_C(t, root_node));
    if (SHMD_LIKELY(*id < t->a->super->node_capacity)) return 0;
  }
  return shmd_node_resolve(t, node, id);
}

int shmd_dict_resolve(shmd_tx* t, shmd_node node, uint32_t* id) { return resolve(t, node, id); }

static int locate(shmd_tx* t, shmd_node node, const shmd_key* key, uint32_t* id, shmd_cursor* c) {
  const int result = resolve(t, node, id);
  return result < 0 ? result : shmd_index_find(t, *id, key->hash, key->data, key->size, c);
}

static shmd_node node_of_record(const shmd_record_view* v) {
  shmd_node node = {0, 0};
  if (v->value_size == 8) {
    const uint64_t word = shmd_load_acquire((const uint64_t*)(const void*)v->value);
    node.id = SHMD_LOW(word);
    node.generation = SHMD_HIGH(word);
  }
  return node;
}

/* The version that the cursor found is superseded. */
static void retire_old(shmd_tx* t, const shmd_cursor* c) {
  shmd_segment_dead(t, c->record.offset, c->record.size);
  if (c->record.kind == SHMD_REC_NODE) {
    const shmd_node child = node_of_record(&c->record);
    if (child.id < t->a->super->node_capacity &&
        NODE(child.id, identity) == SHMD_PAIR(child.generation, SHMD_NODE_LIVE))
      shmd_node_remove(t, child.id);
  }
}

/* Appends a PUT or NODE record for the cursor's key and lets its slot refer to it. */
static int stage_store(shmd_tx* t, uint32_t id, const shmd_key* key, shmd_cursor* c, uint32_t kind, const void* value,
                       size_t size, uint64_t* offset) {
  shmd_new_record r;
  uint64_t bytes;
  int result = shmd_index_room(t, key->data, key->size, c);
  if (result < 0) return result;
  r.kind = kind;
  r.node = id;
  r.hash = key->hash;
  r.key = key->data;
  r.key_size = key->size;
  r.value = value;
  r.value_size = size;
  r.previous = c->found && shmd_pin_oldest(t) != UINT64_MAX ? c->record.offset : 0;
  result = shmd_log_append(t, &r, true, false, offset, &bytes);
  if (result < 0) return result;
  if (!exists(c)) shmd_tx_set(t, SHMD_N(t, id, count), NODE(id, count) + 1);
  if (c->found) retire_old(t, c);
  shmd_index_set(t, c, *offset);
  return t->error;
}

static void queue_ghost(shmd_tx* t, uint64_t offset, uint64_t bytes) {
  const uint64_t tail = SHMD_GET_C(t, ghost_tail), position = SHMD_GET_C(t, head) - bytes;
  shmd_record_view v;
  if (tail == 0) {
    SHMD_SET_C(t, ghost_head, offset);
    SHMD_SET_C(t, ghost_position, position);
  } else if (shmd_record_read(&t->a->reader, tail, &v) && v.value_size == 8) {
    shmd_tx_set(t, (uint64_t)(v.value - t->a->reader.base), offset);
  } else {
    (void)shmd_tx_astray(t, tail);
  }
  SHMD_SET_C(t, ghost_tail, offset);
  shmd_tx_set(t, SHMD_S(t, shmd_segment_of(t->a, offset), pinned), SHMD_GET_C(t, head));
  shmd_work(t, SHMD_WORK_GHOSTS);
}

static int stage_erase(shmd_tx* t, uint32_t id, const shmd_key* key, shmd_cursor* c) {
  const bool pinned = shmd_pin_oldest(t) != UINT64_MAX;
  const uint64_t none = 0;
  shmd_new_record r;
  uint64_t offset, bytes;
  int result;
  memset(&r, 0, sizeof r);
  r.kind = SHMD_REC_ERASE;
  r.node = id;
  r.hash = key->hash;
  r.key = key->data;
  r.key_size = key->size;
  if (pinned) { /* the slot will refer to it, so that snapshots find the versions before: a ghost, queued for its end */
    r.previous = c->record.offset;
    r.value = &none;
    r.value_size = sizeof none;
  }
  result = shmd_log_append(t, &r, pinned, true, &offset, &bytes);
  if (result < 0) return result;
  shmd_tx_set(t, SHMD_N(t, id, count), NODE(id, count) - 1);
  retire_old(t, c);
  t->debt += c->record.size; /* what it makes dead calls for cleaning, not the few bytes that it appends */
  if (pinned) {
    shmd_index_set(t, c, offset);
    queue_ghost(t, offset, bytes);
  } else if (shmd_index_remove(t, c)) {
    shmd_index_queue_shrink(t, c);
  }
  return t->error;
}

static int stage_node(shmd_tx* t, uint32_t id, const shmd_key* key, shmd_cursor* c, shmd_node* child) {
  uint64_t word, offset;
  int result = shmd_node_new(t, shmd_node_word(t, id), 0, child);
  if (result < 0) return result;
  word = SHMD_PAIR(child->generation, child->id);
  result = stage_store(t, id, key, c, SHMD_REC_NODE, &word, sizeof word, &offset);
  if (result < 0) return shmd_tx_fail(t, result);
  shmd_tx_set(t, SHMD_N(t, child->id, self), offset);
  return SHMD_CREATED;
}

/* ---- put, erase, update ---- */

int shmd_dict_stage_put(shmd_tx* t, uint32_t id, const shmd_key* key, const void* value, size_t size, uint32_t flags) {
  shmd_cursor c;
  uint64_t offset;
  const int result = shmd_index_find(t, id, key->hash, key->data, key->size, &c);
  if (result < 0) return result;
  if (flags > SHMD_REPLACE_ONLY) /* looked at here, which costs the short way nothing */
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_put: flags %#x are unknown, or exclude each other",
                     (unsigned)flags);
  if ((flags & SHMD_INSERT_ONLY) && exists(&c)) return SHMD_EXISTS;
  if ((flags & SHMD_REPLACE_ONLY) && !exists(&c)) return SHMD_NOT_FOUND;
  return stage_store(t, id, key, &c, SHMD_REC_PUT, value, size, &offset);
}

static int put_once(shmd_tx* t, shmd_node node, const shmd_key* key, const void* value, size_t size, uint32_t flags) {
  uint32_t id;
  const int result = resolve(t, node, &id);
  return result < 0 ? result : shmd_dict_stage_put(t, id, key, value, size, flags);
}

int shmd_dict_put_rest(shmd_attachment* a, shmd_node node, const shmd_key* key, const void* value, size_t size,
                       uint32_t flags) {
  const uint64_t before = shmd_load_acquire(&shmd_control_of(a)->sweep_count);
  int result, tries = 0;
  bool removed; /* a subtree, by this very call: it pays for the sweep */
  if (shmd_tx_of(a)->user) {
    uint32_t id;
    result = resolve(shmd_tx_of(a), node, &id);
    if (result >= 0) result = shmd_batch_put(shmd_tx_of(a), id, key, value, size, flags);
    if (SHMD_LIKELY(result != SHMD_BATCH_DECLINED)) {
      if (SHMD_UNLIKELY(result < 0 || shmd_tx_of(a)->error != 0)) result = finish(a, result);
      shmd_call_leave(a);
      return result;
    }
  } else if ((flags == 0 || flags == SHMD_INSERT_ONLY) && shmd_insert(a, node, key, value, size)) {
    if (SHMD_UNLIKELY(shmd_tx_of(a)->debt >= SHMD_STEP_BYTES)) shmd_dict_after(a);
    shmd_call_leave(a);
    return 0;
  }
  do result = finish(a, put_once(shmd_tx_of(a), node, key, value, size, flags));
  while (SHMD_UNLIKELY(retry(a, result, &tries)));
  removed = shmd_load_acquire(&shmd_control_of(a)->sweep_count) > before;
  shmd_call_leave(a);
  if (SHMD_UNLIKELY(removed)) shmd_dict_drain(a);
  return result;
}

static int erase_once(shmd_tx* t, shmd_node node, const shmd_key* key) {
  shmd_cursor c;
  uint32_t id;
  int result = locate(t, node, key, &id, &c);
  if (result < 0) return result;
  if (!exists(&c)) return SHMD_NOT_FOUND;
  return stage_erase(t, id, key, &c);
}

int shmd_dict_erase(shmd_attachment* a, shmd_node node, const shmd_key* key) {
  int result = shmd_call_enter(a), tries = 0;
  uint64_t before;
  bool removed; /* a subtree, by this very call: it pays for the sweep */
  if (SHMD_UNLIKELY(result < 0)) return result;
  before = shmd_load_acquire(&shmd_control_of(a)->sweep_count);
  do result = finish(a, erase_once(shmd_tx_of(a), node, key));
  while (SHMD_UNLIKELY(retry(a, result, &tries)));
  removed = shmd_load_acquire(&shmd_control_of(a)->sweep_count) > before;
  shmd_call_leave(a);
  if (SHMD_UNLIKELY(removed)) shmd_dict_drain(a);
  return result;
}

#define NONSENSE SHMD_TRUNCATED /* for an answer that says nothing, or bytes that are not there */

/* What is to become of the present value, and the answer: END = not asked yet. */
typedef struct question {
  shmd_update_fn update;
  void* context;
  const void* value;
  size_t size;
  int answer;
  bool lost; /* the call is not this process's and thread's any more: nothing of it may be touched */
} question;

/* Other calls of this thread are allowed meanwhile. An exception of the callback's ends the call on its way. */
static void ask(shmd_attachment* a, question* q, const void* old, size_t old_size) {
  shmd_callback_place place SHMD_CLEANUP(shmd_callback_unwound);
  int answer = shmd_callback_begin(a, &place), held;
  if (answer >= 0) {
    answer = q->update(q->context, old, old_size, &q->value, &q->size);
    held = shmd_callback_end(&place);
    q->lost = held < 0;
    if (SHMD_UNLIKELY(q->lost) && answer >= 0) answer = held;
  }
  if (answer == SHMD_OK)
    q->answer = SHMD_LIKELY(q->value != NULL || q->size == 0) ? SHMD_OK : NONSENSE;
  else
    q->answer = answer < 0 || answer == SHMD_KEPT || answer == SHMD_NOT_FOUND ? answer : NONSENSE;
}

static int update_once(shmd_attachment* a, shmd_node node, const shmd_key* key, question* q) {
  shmd_tx* t = shmd_tx_of(a);
  shmd_cursor c;
  uint64_t offset;
  uint32_t id;
  int result = locate(t, node, key, &id, &c);
  if (result < 0) return result;
  if (q->answer == SHMD_END && exists(&c) && c.record.kind != SHMD_REC_PUT)
    return shmd_fail(SHMD_ERR_IS_A_DICT, "dict '%s': the key holds a nested dict, not a value", a->name);
  if (q->answer == SHMD_END) { /* asked once: a retry for want of room uses the same answer */
    const uint64_t commits = t->commit_count, staged = t->stages;
    ask(a, q, exists(&c) ? c.record.value : NULL, exists(&c) ? c.record.value_size : 0);
    if (q->lost) return q->answer;
    if (t->commit_count != commits || t->stages != staged) {
      result = locate(t, node, key, &id, &c);
      if (result < 0) return result;
    }
  }
  if (q->answer < 0) return SHMD_ERR_ABORTED;
  if (q->answer == NONSENSE)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                     "dict '%s': the update's callback gave no bytes for its value, or an answer that it has not; "
                     "nothing changed",
                     a->name);
  if (q->answer == SHMD_KEPT) return SHMD_KEPT;
  if (q->answer == SHMD_NOT_FOUND) return exists(&c) ? stage_erase(t, id, key, &c) : SHMD_NOT_FOUND;
  if (q->size > SHMD_MAX_VALUE || q->size > a->max_size / 2)
    return shmd_fail(SHMD_ERR_VALUE_TOO_LONG, "dict '%s': a value of %zu bytes is too long", a->name, q->size);
  return stage_store(t, id, key, &c, SHMD_REC_PUT, q->value, q->size, &offset);
}

/* Asks what is to become of a value that is there, and overwrites it, as most updates do. False: the general way; it does
 * not ask again if the answer is no longer END. */
static bool update_quickly(shmd_attachment* a, shmd_node node, const shmd_key* key, question* q) {
  shmd_found f;
  uint64_t ref;
  if (shmd_tx_of(a)->user || shmd_read_index(&a->reader, node, &ref) != 0 ||
      shmd_read_find(&a->reader, ref, key->hash, key->data, key->size, &f) != 0 ||
      (f.kind & SHMD_REC_KIND) != SHMD_REC_PUT || !shmd_read_within(&a->reader, &f))
    return false;
  ask(a, q, f.value, f.value_size);
  return q->answer == SHMD_OK && !q->lost && q->size <= a->max_size / 2 &&
         shmd_overwrite(a, node, key, q->value, q->size);
}

int shmd_dict_update(shmd_attachment* a, shmd_node node, const shmd_key* key, shmd_update_fn update, void* context) {
  question q = {update, context, NULL, 0, SHMD_END, false};
  int tries = 0;
  int result = shmd_call_enter(a);
  if (SHMD_UNLIKELY(result < 0)) return result;
  if (SHMD_LIKELY(update_quickly(a, node, key, &q))) {
    shmd_dict_after(a);
    shmd_call_leave(a);
    return SHMD_OK;
  }
  while (SHMD_LIKELY(!q.lost)) {
    result = update_once(a, node, key, &q);
    if (SHMD_UNLIKELY(q.lost)) break;
    result = finish(a, result);
    if (SHMD_LIKELY(!retry(a, result, &tries))) break;
  }
  if (SHMD_UNLIKELY(q.lost)) return q.answer; /* a forked child's: the call is its parent's */
  shmd_call_leave(a);
  return q.answer < 0 && result == SHMD_ERR_ABORTED ? q.answer : result; /* the callback's own code, whatever it is */
}

/* ---- the dict of named locks ---- */

int shmd_dict_stage_drop(shmd_tx* t, uint32_t id, const shmd_key* key) {
  shmd_cursor c;
  const int result = shmd_index_find(t, id, key->hash, key->data, key->size, &c);
  if (result < 0) return result;
  if (!exists(&c)) return SHMD_NOT_FOUND;
  shmd_tx_set(t, SHMD_N(t, id, count), NODE(id, count) - 1);
  retire_old(t, &c);
  t->debt += c.record.size; /* as of an erase */
  if (shmd_index_remove(t, &c)) shmd_index_queue_shrink(t, &c);
  return t->error;
}

int shmd_dict_finish(shmd_attachment* a, int result) { return finish(a, result); }
bool shmd_dict_retry(shmd_attachment* a, int result, int* tries) { return retry(a, result, tries); }

/* ---- nested dicts ---- */

static int node_open_once(shmd_tx* t, shmd_node node, const shmd_key* key, uint32_t flags, shmd_node* child) {
  shmd_cursor c;
  uint32_t id;
  int result = locate(t, node, key, &id, &c);
  if (result < 0) return result;
  if (exists(&c) && !(flags & SHMD_NODE_REPLACE)) {
    if (c.record.kind != SHMD_REC_NODE)
      return shmd_fail(SHMD_ERR_NOT_A_DICT, "dict '%s': the key holds a value, not a nested dict", t->a->name);
    *child = node_of_record(&c.record);
    return 0;
  }
  return stage_node(t, id, key, &c, child);
}

int shmd_dict_node_open(shmd_attachment* a, shmd_node node, const shmd_key* key, uint32_t flags, shmd_node* child) {
  int result = shmd_call_enter(a), tries = 0;
  uint64_t before;
  bool removed;
  if (result < 0) return result;
  before = shmd_load_acquire(&shmd_control_of(a)->sweep_count);
  do result = finish(a, node_open_once(shmd_tx_of(a), node, key, flags, child));
  while (retry(a, result, &tries));
  removed = shmd_load_acquire(&shmd_control_of(a)->sweep_count) > before;
  shmd_call_leave(a);
  if (removed) shmd_dict_drain(a);
  return result;
}

static int clear_root(shmd_tx* t, uint32_t id, shmd_node* fresh) {
  shmd_new_record r;
  shmd_node root;
  uint64_t word, offset, bytes;
  int result = shmd_node_new(t, id, 0, &root);
  if (result < 0) return result;
  word = SHMD_PAIR(root.generation, root.id);
  memset(&r, 0, sizeof r);
  r.kind = SHMD_REC_CLEAR;
  r.node = id;
  r.value = &word;
  r.value_size = sizeof word;
  result = shmd_log_append(t, &r, false, true, &offset, &bytes);
  if (result < 0) return shmd_tx_fail(t, result);
  shmd_tx_set(t, SHMD_N(t, root.id, self), SHMD_GET_C(t, head)); /* snapshots from here on see the new root */
  shmd_node_remove(t, id);
  /* SYNC root: the fresh root's entry is applied in the pass before this word. */
  shmd_tx_publish(t, SHMD_C(t, root_node), word);
  shmd_tx_publish(t, SHMD_C(t, root_index), 0);
  fresh->id = 0;
  fresh->generation = 0;
  return t->error;
}

static int clear_once(shmd_tx* t, shmd_node node, shmd_node* fresh) {
  shmd_attachment* a = t->a;
  shmd_record_view v;
  shmd_cursor c;
  shmd_key key;
  uint64_t parent;
  uint32_t id;
  int result = resolve(t, node, &id);
  if (result < 0) return result;
  if (NODE(id, root) == 0) { /* empty already */
    *fresh = node;
    return 0;
  }
  if (id == SHMD_LOW(SHMD_GET_C(t, root_node))) return clear_root(t, id, fresh);
  parent = NODE(id, parent);
  if (!shmd_record_read(&a->reader, NODE(id, self), &v) || v.kind != SHMD_REC_NODE ||
      SHMD_LOW(parent) >= a->super->node_capacity)
    return (void)shmd_tx_astray(t, NODE(id, self)), SHMD_ERR_CORRUPT;
  key.data = v.key; /* in shared memory, and not overwritten before the commit */
  key.size = v.key_size;
  key.hash = shmd_hash_key(a->reader.hash_seed, v.key, v.key_size);
  result = shmd_index_find(t, SHMD_LOW(parent), key.hash, key.data, key.size, &c);
  if (result < 0) return result;
  if (!exists(&c)) return (void)shmd_tx_astray(t, v.offset), SHMD_ERR_CORRUPT;
  result = stage_node(t, SHMD_LOW(parent), &key, &c, fresh);
  return result < 0 ? result : 0;
}

int shmd_dict_clear(shmd_attachment* a, shmd_node node, shmd_node* fresh) {
  int result = shmd_call_enter(a), tries = 0;
  if (result < 0) return result;
  do result = finish(a, clear_once(shmd_tx_of(a), node, fresh));
  while (retry(a, result, &tries));
  shmd_call_leave(a);
  if (result >= 0) shmd_dict_drain(a);
  return result;
}

/* ---- reads under the lock ---- */

int shmd_dict_get(shmd_attachment* a, shmd_node node, const shmd_key* key, void* buffer, size_t capacity,
                  size_t* size) {
  shmd_cursor c;
  uint32_t id;
  int result = shmd_call_enter(a);
  if (result < 0) return result;
  result = locate(shmd_tx_of(a), node, key, &id, &c);
  if (result >= 0) {
    result = 0;
    if (!exists(&c)) {
      result = SHMD_NOT_FOUND;
    } else if (c.record.kind != SHMD_REC_PUT) {
      result = SHMD_ERR_IS_A_DICT;
    } else {
      *size = c.record.value_size;
      if (c.record.value_size <= capacity)
        shmd_read_bytes(&a->reader, buffer, c.record.value, c.record.value_size);
      else
        result = SHMD_TRUNCATED;
    }
  }
  if (!shmd_tx_of(a)->user) shmd_tx_abort(shmd_tx_of(a));
  shmd_call_leave(a);
  return result;
}

int shmd_dict_node_get(shmd_attachment* a, shmd_node node, const shmd_key* key, shmd_node* child) {
  shmd_cursor c;
  uint32_t id;
  int result = shmd_call_enter(a);
  if (result < 0) return result;
  result = locate(shmd_tx_of(a), node, key, &id, &c);
  if (result >= 0) {
    result = !exists(&c) ? SHMD_NOT_FOUND : c.record.kind != SHMD_REC_NODE ? SHMD_ERR_NOT_A_DICT : 0;
    if (result == 0) *child = node_of_record(&c.record);
  }
  if (!shmd_tx_of(a)->user) shmd_tx_abort(shmd_tx_of(a));
  shmd_call_leave(a);
  return result;
}

int shmd_dict_count(shmd_attachment* a, shmd_node node, uint64_t* count) {
  shmd_tx* t = shmd_tx_of(a);
  uint32_t id;
  int result = shmd_call_enter(a);
  if (result < 0) return result;
  result = resolve(t, node, &id);
  if (result >= 0) *count = NODE(id, count);
  if (!t->user) shmd_tx_abort(t);
  shmd_call_leave(a);
  return result;
}

/* ---- whole-dict work, in bounded lock holds ---- */

void shmd_dict_drain(shmd_attachment* a) {
  uint64_t rounds = a->max_size / 64; /* more than there can be arrays: a corrupt object must not keep us for ever */
  shmd_removal removal = {0, 0, 64};
  bool more = true;
  if (shmd_lock_mine(a)) return; /* inside a section or transaction: later writes do it */
  while (more && rounds-- != 0) {
    if (shmd_call_enter(a) < 0) return;
    more = shmd_reclaim_removed(a, &removal);
    shmd_call_leave(a);
  }
}

/* What is left after it is no longer behind, if others go on writing: a few units, not all that they leave. */
#define UNITS_AFTER 64u
#define WAIT_FOR_UNIT UINT64_C(100000000) /* ns */

void shmd_dict_catch_up(shmd_attachment* a) {
  const shmd_error_info before = *shmd_last_error();
  const shmd_control* c = shmd_control_of(a);
  /* An array to sweep has 64 bytes at least, a ghost 40, and each unit takes one or many. A corrupt object may claim more. */
  const uint64_t content = shmd_load_acquire(&c->index_bytes) / 64 + shmd_load_acquire(&c->log_bytes) / 40;
  uint64_t rounds = content < a->max_size / 64 ? 1024 + content : a->max_size / 64, after = UNITS_AFTER;
  bool more = true;
  if (shmd_lock_mine(a)) return; /* inside a section or transaction: later writes do it */
  while (more && rounds-- != 0 && after != 0) {
    if (shmd_call_enter_within(a, WAIT_FOR_UNIT) < 0) break;
    more = shmd_reclaim_catch_up(a);
    shmd_call_leave(a);
    if (!shmd_reclaim_behind(a) && shmd_load_acquire(&c->sweep_count) == 0) --after;
  }
  *shmd_error_slot() = before; /* closing is no call that fails */
}

int shmd_dict_compact(shmd_attachment* a) {
  uint64_t rounds, at = 0;
  bool more = true;
  if (shmd_lock_mine(a) && shmd_tx_of(a)->user)
    return shmd_fail(SHMD_ERR_IN_TRANSACTION, "dict '%s': compact is not allowed inside a transaction", a->name);
  for (rounds = 0; more && rounds < a->super->segment_count * 64; ++rounds) {
    const int result = shmd_call_enter(a);
    if (result < 0) return result;
    more = shmd_reclaim_compact(a);
    shmd_call_leave(a);
  }
  for (rounds = 0; at != UINT64_MAX && rounds < a->super->segment_count; ++rounds) {
    const int result = shmd_call_enter(a);
    if (result < 0) return result;
    at = shmd_segment_return_memory(a, at);
    shmd_call_leave(a);
  }
  return 0;
}
