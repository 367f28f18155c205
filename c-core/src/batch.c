/* SPDX-License-Identifier: Apache-2.0 */
#include "batch.h"

#include "block.h"
#include "log.h"
#include "overwrite.h"
#include "segment.h"

/* The entry of a word, which is staged as it is if it was not: NULL if the commit fails. */
static shmd_redo_entry* entry_of(shmd_tx* t, uint64_t offset) {
  shmd_redo_entry* staged = shmd_tx_find(t, offset);
  if (staged != NULL) return staged;
  shmd_tx_append(t, offset, shmd_tx_get(t, offset), 0);
  return t->error == 0 ? shmd_tx_find(t, offset) : NULL;
}

static void add(shmd_redo_entry* e, uint64_t delta) { shmd_store_release(&e->value, e->value + delta); }

/* Takes the words at hand. False: the commit fails, or something leads astray, which the general way reports. */
static bool heat(shmd_tx* t) {
  shmd_hot* hot = &t->hot;
  uint64_t end;
  uint32_t i;
  if (t->error != 0 || t->emptied) return false;
  hot->segment = SHMD_GET_C(t, head_segment);
  hot->bias = SHMD_GET_C(t, head_bias);
  hot->limit = SHMD_GET_C(t, head_limit);
  if (hot->segment >= t->a->segment_count || (hot->bias & 7) != 0) return false;
  end = shmd_segment_offset(t->a, hot->segment) + t->a->segment_size - hot->bias; /* a run has no room for others */
  if (end - SHMD_GET_C(t, head) > t->a->segment_size) return false;
  if (hot->limit - SHMD_GET_C(t, head) > end - SHMD_GET_C(t, head)) hot->limit = end;
  hot->head = entry_of(t, SHMD_C(t, head));
  hot->live_bytes = entry_of(t, SHMD_C(t, live_bytes));
  hot->live = entry_of(t, SHMD_S(t, hot->segment, live));
  hot->node = UINT32_MAX;
  for (i = 0; i < SHMD_HOT_SEGMENTS; ++i) hot->dying[i].id = SHMD_NONE;
  if (t->error != 0) return false;
  hot->generation = t->generation;
  return true;
}

/* The array that the key belongs to, as this commit leaves it; 0 = none. */
SHMD_INLINE bool array_of(shmd_tx* t, uint32_t id, uint32_t hash32, uint64_t* array) {
  const shmd_reader* r = &t->a->reader;
  uint64_t ref;
  uint32_t level;
  if (SHMD_LIKELY(!t->references)) return shmd_read_array(r, shmd_load_acquire(&r->nodes[id].root), hash32, array) == 0;
  ref = shmd_tx_get(t, SHMD_N(t, id, root));
  for (level = 0; SHMD_REF_SHIFT(ref) != 0; ++level) {
    if (SHMD_REF_OFFSET(ref) >= r->limit || level >= SHMD_MAX_DEPTH) return false;
    ref = shmd_tx_get(t, SHMD_REF_OFFSET(ref) + 8 * ((hash32 >> SHMD_REF_SHIFT(ref)) & SHMD_REF_MASK(ref)));
  }
  *array = ref;
  return SHMD_REF_OFFSET(ref) < r->limit;
}

/* Where a put of the key goes. */
typedef struct target {
  uint64_t at;             /* offset of the slot */
  shmd_redo_entry* staged; /* the slot's entry, NULL = not staged */
  bool found;              /* the key is there: */
  shmd_found record;
} target;

/* A slot as this commit leaves it. */
SHMD_INLINE uint64_t slot_at(const shmd_tx* t, bool at_once, target* to) {
  to->staged = at_once ? NULL : shmd_tx_find(t, to->at);
  return to->staged != NULL ? to->staged->value : shmd_load_acquire(shmd_word(t->a, to->at));
}

/* False: a ghost, a tombstone, no room, or something astray. Group by group, in the order of a probe. */
SHMD_INLINE bool aim(const shmd_tx* t, uint64_t array, bool at_once, const shmd_key* key, target* to) {
  const shmd_reader* r = &t->a->reader;
  const uint64_t mask = SHMD_REF_MASK(array), base = SHMD_REF_OFFSET(array);
  uint64_t i = SHMD_PROBE_START(key->hash) & mask, tried;
  for (tried = 0; tried <= mask; tried += SHMD_GROUP) {
    const uint64_t* group = shmd_word(t->a, base + 8 * i);
    uint32_t match;
    int result;
    for (match = shmd_match_high16(group, key->hash); match != 0; match = shmd_without_first(match)) {
      const uint64_t* word = shmd_first_match(group, match);
      to->at = base + 8 * (i + (uint64_t)(word - group));
      result = shmd_read_slot(r, word, slot_at(t, at_once, to), key->data, key->size, &to->record);
      to->found = true;
      if (result != SHMD_KEPT) return result == 0;
    }
    for (match = shmd_match_low32(group, SHMD_SLOT_TOMBSTONE); match != 0; match = shmd_without_first(match))
      if (shmd_load_acquire(shmd_first_match(group, match)) == SHMD_SLOT_TOMBSTONE) return false;
    for (match = shmd_match_low32(group, SHMD_SLOT_EMPTY); match != 0; match = shmd_without_first(match)) {
      const uint64_t* word = shmd_first_match(group, match);
      uint64_t slot = shmd_load_acquire(word);
      if (slot != SHMD_SLOT_EMPTY) continue;
      to->at = base + 8 * (i + (uint64_t)(word - group));
      slot = slot_at(t, at_once, to);
      to->found = slot != SHMD_SLOT_EMPTY;
      if (!to->found) return true;
      if (!shmd_slot_refers(slot)) return false;
      if (((slot ^ key->hash) >> 48) != 0) continue; /* a key that this commit brought */
      result = shmd_read_slot(r, word, slot, key->data, key->size, &to->record);
      if (result != SHMD_KEPT) return result == 0;
    }
    i = (i + SHMD_GROUP) & mask;
  }
  return false;
}

/* What `live` of a segment may not fall below without a change of lists. */
static uint64_t floor_of(shmd_tx* t, uint64_t id, uint64_t live) {
  const uint32_t kind = SHMD_LOW(shmd_tx_get(t, SHMD_S(t, id, kind)));
  uint64_t used, full, least;
  if (kind == SHMD_SEG_LOG) return 0;
  if (kind == SHMD_SEG_RUN) return UINT64_MAX;
  if (kind != SHMD_SEG_CLOSED) return 1;
  used = shmd_tx_get(t, SHMD_S(t, id, used));
  full = used < t->a->segment_size / 2 ? t->a->segment_size / 2 : used; /* as shmd_segment_bucket has it */
  least = (shmd_segment_bucket(t->a, live, used) * full + SHMD_BUCKETS - 1) / SHMD_BUCKETS;
  return least != 0 ? least : 1;
}

static bool learn(shmd_tx* t, shmd_hot_segment* s, uint64_t id, bool pinned) {
  s->id = SHMD_NONE;
  if (id >= t->a->segment_count) return false;
  s->live = entry_of(t, SHMD_S(t, id, live));
  s->pinned = pinned ? entry_of(t, SHMD_S(t, id, pinned)) : NULL;
  if (t->error != 0) return false;
  s->floor = floor_of(t, id, s->live->value);
  s->id = id;
  return true;
}

/* The segment of an old version, if it can lose these bytes without a change of lists; else NULL. */
SHMD_INLINE shmd_hot_segment* losing(shmd_tx* t, uint64_t id, uint64_t bytes, bool pinned) {
  shmd_hot_segment* s = &t->hot.dying[id % SHMD_HOT_SEGMENTS];
  if (SHMD_UNLIKELY(s->id != id || (pinned && s->pinned == NULL)) && !learn(t, s, id, pinned)) return NULL;
  return SHMD_LIKELY(s->live->value >= bytes && s->live->value - bytes >= s->floor) ? s : NULL;
}

/* Writes the record at the head, and accounts for it. */
SHMD_INLINE void append(shmd_tx* t, uint32_t id, const shmd_key* key, const void* value, size_t size, uint64_t previous,
                        uint64_t bytes, uint64_t old_bytes) {
  shmd_hot* hot = &t->hot;
  const uint64_t head = hot->head->value;
  shmd_new_record r;
  r.kind = SHMD_REC_PUT;
  r.node = id;
  r.hash = key->hash;
  r.key = key->data;
  r.key_size = key->size;
  r.value = value;
  r.value_size = size;
  r.previous = previous;
  shmd_log_write(t, head + hot->bias, head, &r);
  t->appended = true;
  t->debt += bytes;
  ++t->stages;
  shmd_store_release(&hot->head->value, head + bytes);
  add(hot->live, bytes);
  if (bytes != old_bytes) add(hot->live_bytes, bytes - old_bytes);
}

/* Inline, for callers that know the sizes. */
SHMD_INLINE int put(shmd_tx* t, uint32_t id, const shmd_key* key, const void* value, size_t size, uint32_t flags) {
  shmd_attachment* a = t->a;
  shmd_hot* hot = &t->hot;
  const bool pinned = t->user || shmd_pin_oldest(t) != UINT64_MAX; /* as shmd_pin_oldest() says within a transaction */
  uint64_t array = 0, descriptor = 0, state = 0, bytes, old_bytes = 0, old = 0, slot;
  shmd_hot_segment* dying = NULL;
  target to = {0, NULL, false, {NULL, 0, NULL, 0, 0}};
  shmd_redo_entry* counts = NULL;
  bool at_once = false;
  if (SHMD_UNLIKELY(flags > SHMD_REPLACE_ONLY)) return SHMD_BATCH_DECLINED;
  if (SHMD_UNLIKELY(hot->generation != t->generation) && !heat(t)) return t->error ? t->error : SHMD_BATCH_DECLINED;
  if (SHMD_UNLIKELY(!array_of(t, id, (uint32_t)key->hash, &array) || array == 0)) return SHMD_BATCH_DECLINED;
  if (t->references) {
    descriptor = shmd_block_look_at(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array), &at_once);
    if (SHMD_UNLIKELY(descriptor == 0)) return t->error;
  }
  if (SHMD_UNLIKELY(!aim(t, array, at_once, key, &to))) return SHMD_BATCH_DECLINED;

  bytes = sizeof(shmd_record) + (to.found && pinned ? 8u : 0u) + SHMD_PAD8(key->size) + SHMD_PAD8(size);
  if (SHMD_UNLIKELY(hot->head->value + bytes > hot->limit || bytes > a->segment_size / 2)) return SHMD_BATCH_DECLINED;
  slot = SHMD_SLOT(key->hash, hot->head->value + hot->bias);
  if (to.found) {
    const uint32_t kind = to.record.kind;
    if (SHMD_UNLIKELY((kind & SHMD_REC_KIND) != SHMD_REC_PUT)) return SHMD_BATCH_DECLINED;
    if (SHMD_UNLIKELY(flags & SHMD_INSERT_ONLY)) return SHMD_EXISTS;
    old = to.record.slot & SHMD_WORD_MASK;
    old_bytes = sizeof(shmd_record) + (kind & SHMD_REC_PREVIOUS ? 8u : 0u) + (kind & SHMD_REC_EXPIRY ? 8u : 0u) +
                SHMD_PAD8(key->size) + SHMD_PAD8(to.record.value_size);
    dying = losing(t, shmd_segment_of(a, old), old_bytes, pinned);
    if (SHMD_UNLIKELY(t->error != 0)) return t->error;
    if (SHMD_UNLIKELY(dying == NULL)) return SHMD_BATCH_DECLINED;
  } else {
    if (SHMD_UNLIKELY(flags & SHMD_REPLACE_ONLY)) return SHMD_NOT_FOUND;
    if (descriptor == 0) descriptor = shmd_block_descriptor(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array));
    if (SHMD_UNLIKELY(descriptor == 0)) return t->error;
    if (!at_once) counts = shmd_tx_find(t, descriptor + 8);
    state = counts != NULL ? counts->value : shmd_load_acquire(shmd_word(a, descriptor + 8));
    if (!shmd_index_has_room(SHMD_BLOCK_USED(state), SHMD_REF_MASK(array) + 1)) return SHMD_BATCH_DECLINED;
  }

  append(t, id, key, value, size, pinned ? old : 0, bytes, old_bytes);
  if (dying != NULL) {
    add(dying->live, (uint64_t)0 - old_bytes);
    if (pinned) shmd_store_release(&dying->pinned->value, hot->head->value);
  } else {
    state = SHMD_BLOCK_STATE(SHMD_BLOCK_LIVE(state) + 1, SHMD_BLOCK_USED(state) + 1, SHMD_BLOCK_DEPTH(state),
                             SHMD_BLOCK_LOG2(state), SHMD_BLOCK_KIND(state));
    if (at_once)
      shmd_store_release(shmd_word(a, descriptor + 8), state);
    else if (counts != NULL)
      shmd_store_release(&counts->value, state);
    else
      shmd_tx_append(t, descriptor + 8, state, 0);
    if (SHMD_UNLIKELY(hot->node != id)) {
      hot->count = entry_of(t, SHMD_N(t, id, count));
      if (SHMD_UNLIKELY(hot->count == NULL)) return t->error;
      hot->node = id;
    }
    add(hot->count, 1);
  }
  if (at_once) /* SYNC slot: the record was written before */
    shmd_store_release(shmd_word(a, to.at), slot);
  else if (to.staged != NULL)
    shmd_store_release(&to.staged->value, slot);
  else
    shmd_tx_append(t, to.at, slot, SHMD_REDO_PUBLISH);
  return t->error;
}

int shmd_batch_put(shmd_tx* t, uint32_t id, const shmd_key* key, const void* value, size_t size, uint32_t flags) {
  shmd_key k = *key;
  if (k.size == 8 && size == 8) {
    k.size = 8; /* constants for the compiler */
    return put(t, id, &k, value, 8, flags);
  }
  return put(t, id, &k, value, size, flags);
}

/* ---- many ---- */

#define GROUP 32u

typedef struct aimed {
  uint64_t hash;
  uint64_t at; /* offset of a slot that seems to refer to the key's record, 0 = not known */
} aimed;

/* Looks where the key may be, and brings its record into the cache. */
SHMD_INLINE void aim_at(shmd_tx* t, uint32_t id, const shmd_pair* p, aimed* to) {
  const shmd_reader* r = &t->a->reader;
  const uint64_t hash = shmd_hash_key(r->hash_seed, p->key, p->key_size);
  const uint64_t* words;
  uint64_t array = 0, slot;
  uint32_t match;
  to->hash = hash;
  to->at = 0;
  if (t->references || !array_of(t, id, (uint32_t)hash, &array)) return;
  words = shmd_word(t->a, SHMD_REF_OFFSET(array)) + (SHMD_PROBE_START(hash) & SHMD_REF_MASK(array));
  match = shmd_match_high16(words, hash);
  if (match == 0) return;
  words = shmd_first_match(words, match);
  to->at = (uint64_t)((const unsigned char*)words - r->base);
  slot = shmd_load_acquire(words) & SHMD_WORD_MASK;
  if (SHMD_LIKELY(slot < r->limit)) SHMD_PREFETCH(r->base + slot);
}

/* The most common case in few steps: values of keys that are there are replaced, one after the other, in arrays that this
 * commit did not build; no pin is held. Returns the first that it left, of which nothing was done. What the steps look at is
 * in variables of their own meanwhile: stores to shared memory would make the compiler load it again. */
SHMD_INLINE uint32_t replace(shmd_tx* t, uint32_t id, const shmd_pair* pairs, const aimed* aims, uint32_t from,
                             uint32_t until, size_t key_size, size_t size) {
  const shmd_reader r = t->a->reader;
  const shmd_hot* const hot = &t->hot;
  const uint64_t bias = hot->bias, limit = hot->limit;
  shmd_redo_entry* const list = t->list;
  uint64_t* const map = t->map;
  const uint64_t mask = t->map_mask, generation = (uint64_t)t->generation << 32, room = t->room;
  const uint64_t data = r.data_offset, range = r.limit - data, segments = t->a->super->data_offset;
  const uint32_t shift = t->a->segment_shift;
  const uint64_t bytes = sizeof(shmd_record) + SHMD_PAD8(key_size) + SHMD_PAD8(size);
  const uint64_t begun = hot->head->value;
  uint64_t head = begun, replaced = 0, count = t->count;
  uint32_t n;
  if (bytes > t->a->segment_size / 2) return from;
  for (n = from; n < until; ++n) {
    const uint64_t at = aims[n].at, hash = aims[n].hash;
    const shmd_pair* p = pairs + n;
    shmd_redo_entry* staged = NULL;
    uint64_t i, slot, old, shape, old_bytes, live;
    const shmd_hot_segment* dying;
    const unsigned char* record;
    shmd_new_record fresh;
    if (SHMD_UNLIKELY(at == 0 || p->key_size != key_size || p->value_size != size)) break;
    for (i = shmd_tx_hash(at) & mask; SHMD_UNLIKELY((map[i] ^ generation) >> 32 == 0); i = (i + 1) & mask) {
      staged = list + (uint32_t)map[i];
      if ((staged->where & ~SHMD_REDO_FLAGS) == at) break;
      staged = NULL;
    }
    /* SYNC slot: as in shmd_read_find. */
    slot = staged != NULL ? staged->value : shmd_load_acquire((const uint64_t*)(const void*)(r.base + at));
    old = slot & SHMD_WORD_MASK;
    if (SHMD_UNLIKELY((slot ^ hash) >> 48 != 0 || old - data >= range)) break;
    record = r.base + old;
    shape = shmd_load_acquire(&((const shmd_record*)(const void*)record)->shape);
    if (SHMD_UNLIKELY((uint32_t)shape != SHMD_SHAPE(key_size, SHMD_REC_PUT, 0))) break;
    old_bytes = sizeof(shmd_record) + SHMD_PAD8(key_size) + SHMD_PAD8(shape >> 32);
    if (SHMD_UNLIKELY(old_bytes > SHMD_READ_SLACK)) break; /* shmd_read_slot looks closer */
    if (SHMD_UNLIKELY(!shmd_read_equal(&r, record + sizeof(shmd_record), p->key, key_size))) break;
    if (SHMD_UNLIKELY(head + bytes > limit || count >= room)) break;
    dying = &hot->dying[((old - segments) >> shift) % SHMD_HOT_SEGMENTS];
    if (SHMD_UNLIKELY(dying->id != (old - segments) >> shift)) break;
    live = dying->live == hot->live ? dying->live->value + (head - begun) : dying->live->value;
    if (SHMD_UNLIKELY(live < old_bytes || live - old_bytes < dying->floor)) break;

    fresh.kind = SHMD_REC_PUT;
    fresh.node = id;
    fresh.hash = hash;
    fresh.key = p->key;
    fresh.key_size = key_size;
    fresh.value = p->value;
    fresh.value_size = size;
    fresh.previous = 0;
    shmd_log_write_at((uint64_t*)(void*)(r.base + head + bias),
                      SHMD_UNLIKELY(head == begun) && !t->appended ? SHMD_REC_FIRST : 0, head, &fresh);
    shmd_store_release(&dying->live->value, dying->live->value - old_bytes);
    slot = SHMD_SLOT(hash, head + bias);
    head += bytes;
    replaced += old_bytes;
    if (SHMD_UNLIKELY(staged != NULL)) {
      shmd_store_release(&staged->value, slot);
      continue;
    }
    map[i] = generation | count;
    shmd_store_release(&list[count].where, at | SHMD_REDO_PUBLISH);
    shmd_store_release(&list[count].value, slot);
    ++count;
  }
  if (n == from) return n;
  t->count = count;
  t->appended = true;
  t->debt += head - begun;
  t->stages += n - from;
  shmd_store_release(&hot->head->value, head);
  add(hot->live, head - begun);
  if (head - begun != replaced) add(hot->live_bytes, head - begun - replaced);
  return n;
}

static int stage(shmd_tx* t, uint32_t id, const shmd_key* key, const shmd_pair* p, uint32_t flags) {
  const int result = shmd_batch_put(t, id, key, p->value, p->value_size, flags);
  if (result != SHMD_BATCH_DECLINED) return result;
  return shmd_dict_stage_put(t, id, key, p->value, p->value_size, flags);
}

/* The same for the sizes of the pair at `from`; those of numbers are constants for the compiler. */
static uint32_t replace_from(shmd_tx* t, uint32_t id, const shmd_pair* pairs, const aimed* aims, uint32_t from,
                             uint32_t until) {
  const size_t key_size = pairs[from].key_size, size = pairs[from].value_size;
  if (key_size == 8 && size == 8) return replace(t, id, pairs, aims, from, until, 8, 8);
  return replace(t, id, pairs, aims, from, until, key_size, size);
}

int shmd_batch_put_all(shmd_tx* t, uint32_t id, const shmd_pair* pairs, uint64_t count, uint32_t flags) {
  const bool plain = !t->user && shmd_pin_oldest(t) == UINT64_MAX && !(flags & SHMD_INSERT_ONLY);
  aimed aims[GROUP];
  uint64_t first;
  uint32_t i;
  int outcome = 0;
  for (first = 0; first < count; first += GROUP) {
    const uint32_t n = count - first < GROUP ? (uint32_t)(count - first) : GROUP;
    const shmd_pair* group = pairs + first;
    for (i = 0; i < n; ++i) aim_at(t, id, group + i, aims + i);
    for (i = 0; i < n; ++i) {
      shmd_key key;
      int result;
      if (SHMD_LIKELY(plain && !t->references && aims[i].at != 0 && t->hot.generation == t->generation)) {
        i = replace_from(t, id, group, aims, i, n);
        if (SHMD_LIKELY(i == n)) break;
      }
      key.data = group[i].key;
      key.size = group[i].key_size;
      key.hash = aims[i].hash;
      result = stage(t, id, &key, group + i, flags);
      if (SHMD_UNLIKELY(result < 0 || t->error != 0)) return t->error != 0 ? t->error : result;
      if (SHMD_UNLIKELY(result != 0)) outcome = result;
    }
  }
  return outcome;
}
