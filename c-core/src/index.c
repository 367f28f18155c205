/* SPDX-License-Identifier: Apache-2.0 */
#include "index.h"

#include "block.h"
#include "segment.h"

#define MAX_SLOTS SHMD_SCRATCH_SLOTS

typedef struct shmd_scratch entry_set;

static uint64_t log2_words(uint64_t ref) { return UINT64_C(1) << shmd_ref_log2(ref); }
static uint64_t top_bits(uint32_t hash32, uint32_t depth, uint32_t log2) {
  return (uint32_t)(hash32 << depth) >> (32 - log2);
}
static uint64_t slot_offset(uint64_t array, uint64_t hash, uint64_t i) {
  return SHMD_REF_OFFSET(array) + 8 * ((SHMD_PROBE_START(hash) + i) & (log2_words(array) - 1));
}
static int corrupt(shmd_tx* t, uint64_t where) {
  (void)shmd_tx_astray(t, where);
  return SHMD_ERR_CORRUPT;
}

/* Fills the levels on the way of hash32, down to the array or to the reference that leads to `stop`. */
static int walk(shmd_tx* t, uint32_t node, uint32_t hash32, uint64_t stop, shmd_cursor* c) {
  uint64_t at = SHMD_N(t, node, root);
  uint64_t ref = shmd_tx_get(t, at);
  uint32_t depth = 0;
  const bool staged = t->references;
  c->levels = 0;
  for (;;) {
    shmd_path_level* l = &c->level[c->levels++];
    const uint32_t log2 = shmd_ref_log2(ref);
    l->at = at;
    l->ref = ref;
    l->depth = depth;
    if (ref == 0 || (stop != 0 && SHMD_REF_OFFSET(ref) == stop)) return 0;
    if (SHMD_REF_OFFSET(ref) >= t->a->reader.limit) return corrupt(t, SHMD_REF_OFFSET(ref));
    if (SHMD_REF_KIND(ref) == SHMD_REF_ARRAY) return log2 <= SHMD_ARRAY_OVERFLOW_LOG2 ? 0 : corrupt(t, at);
    if (!shmd_index_directory_fits(ref, depth)) return corrupt(t, at);
    at = SHMD_REF_OFFSET(ref) + 8 * top_bits(hash32, depth, log2);
    ref = staged ? shmd_tx_get(t, at) : shmd_load_acquire(shmd_word(t->a, at));
    depth += log2;
  }
}

/* Whether the slot refers to the key's record: fills the cursor. 1 or 0, or CORRUPT. */
static int refers_to(shmd_tx* t, uint64_t at, uint64_t slot, const void* key, size_t key_size, shmd_cursor* c) {
  if (((slot ^ c->hash) >> 48) != 0 || !shmd_slot_refers(slot)) return 0;
  if (!shmd_record_read(&t->a->reader, slot & SHMD_OFFSET_MASK, &c->record)) return corrupt(t, slot & SHMD_OFFSET_MASK);
  if (c->record.key_size != key_size || c->record.hash != (uint32_t)c->hash) return 0;
  if (!shmd_read_equal(&t->a->reader, c->record.key, key, key_size)) return 0;
  c->at = at;
  c->slot = slot;
  c->found = true;
  return 1;
}

int shmd_index_find(shmd_tx* t, uint32_t node, uint64_t hash, const void* key, size_t key_size, shmd_cursor* c) {
  const uint64_t* words;
  uint64_t array, i, slots;
  uint32_t likely;
  int result = walk(t, node, (uint32_t)hash, 0, c);
  c->node = node;
  c->hash = hash;
  c->at = 0;
  c->slot = 0;
  c->descriptor = 0;
  c->found = false;
  if (result < 0) return result;
  array = c->level[c->levels - 1].ref;
  if (array == 0) return 0;
  slots = log2_words(array);
  words = shmd_word(t->a, SHMD_REF_OFFSET(array));
  /* most keys that are there stand in the first group */
  likely = shmd_match_high16(words + (SHMD_PROBE_START(hash) & (slots - 1)), hash);
  if (SHMD_LIKELY(likely != 0)) {
    const uint64_t* first = shmd_first_match(words + (SHMD_PROBE_START(hash) & (slots - 1)), likely);
    const uint64_t at = SHMD_REF_OFFSET(array) + 8 * (uint64_t)(first - words);
    result = refers_to(t, at, shmd_tx_get(t, at), key, key_size, c);
    if (SHMD_LIKELY(result != 0)) return result < 0 ? result : 0;
  }
  for (i = 0; i < slots; ++i) {
    const uint64_t at = slot_offset(array, hash, i);
    uint64_t slot = shmd_load_acquire(shmd_word(t->a, at));
    if (((slot ^ hash) >> 48) != 0 && shmd_slot_refers(slot) && !t->emptied)
      continue; /* staged or not: another key's */
    slot = shmd_tx_get(t, at);
    if (slot == SHMD_SLOT_EMPTY) {
      if (c->at == 0) c->at = at;
      return 0;
    }
    if (!shmd_slot_refers(slot)) {
      if (c->at == 0) {
        c->at = at;
        c->slot = slot;
      }
      continue;
    }
    result = refers_to(t, at, slot, key, key_size, c);
    if (result != 0) return result < 0 ? result : 0;
  }
  return 0;
}

int shmd_index_seek(shmd_tx* t, const shmd_record_view* v, uint64_t* array) {
  const shmd_reader* r = &t->a->reader;
  *array = 0;
  if (v->kind == SHMD_REC_CLEAR || v->node >= r->node_capacity ||
      SHMD_LOW(shmd_load_acquire(&r->nodes[v->node].identity)) == SHMD_NODE_FREE)
    return 0;
  if (shmd_read_array(r, shmd_load_acquire(&r->nodes[v->node].root), v->hash, array) != 0)
    return corrupt(t, SHMD_N(t, v->node, root));
  SHMD_PREFETCH(shmd_at(t->a, slot_offset(*array, v->hash, 0)));
  return 0;
}

bool shmd_index_slot_of(shmd_tx* t, uint64_t array, uint32_t hash, uint64_t offset, uint64_t* at, uint64_t* slot) {
  const uint64_t mask = SHMD_REF_MASK(array);
  uint64_t i = SHMD_PROBE_START(hash) & mask, tried;
  /* a probe that leads to it ends at an empty slot */
  for (tried = 0; array != 0 && tried <= mask; tried += SHMD_GROUP) {
    const uint64_t* group = shmd_word(t->a, SHMD_REF_OFFSET(array) + 8 * i);
    uint32_t match;
    for (match = shmd_match_low32(group, offset); match != 0; match = shmd_without_first(match)) {
      const uint64_t* found = shmd_first_match(group, match);
      *slot = shmd_load_acquire(found);
      *at = SHMD_REF_OFFSET(array) + 8 * (i + (uint64_t)(found - group));
      if ((*slot & SHMD_OFFSET_MASK) == offset) return true;
    }
    for (match = shmd_match_low32(group, SHMD_SLOT_EMPTY); match != 0; match = shmd_without_first(match))
      if (shmd_load_acquire(shmd_first_match(group, match)) == SHMD_SLOT_EMPTY) return false;
    i = (i + SHMD_GROUP) & mask;
  }
  return false;
}

/* ---- building arrays ---- */

static bool fresh(shmd_tx* t, uint64_t block) {
  return t->references && shmd_block_fresh(t, SHMD_REF_OFFSET(block), shmd_ref_log2(block));
}

/* A word of a block: at once if this very commit allocated it, for nobody follows it before all of the commit is there. */
static void store_word(shmd_tx* t, bool at_once, uint64_t at, uint64_t value) {
  if (!at_once) {
    shmd_tx_publish(t, at, value);
    return;
  }
  ++t->stages;
  /* SYNC index: a block is written before the reference to it is published. */
  if (shmd_tx_in_bounds(t, at)) shmd_store_release(shmd_word(t->a, at), value);
}

/* Lets the reference of a level of the index lead to `ref`. The root's first level stands in two places. */
static void publish(shmd_tx* t, const shmd_cursor* c, const shmd_path_level* level, uint64_t ref) {
  if (level != c->level) {
    store_word(t, fresh(t, level[-1].ref), level->at, ref);
  } else {
    shmd_tx_publish(t, level->at, ref);
    if (level->at == SHMD_N(t, SHMD_LOW(SHMD_GET_C(t, root_node)), root))
      shmd_tx_publish(t, SHMD_C(t, root_index), ref);
  }
  t->references = true;
}

static entry_set* scratch(shmd_tx* t) {
  entry_set* set = t->a->engine->scratch;
  set->count = 0;
  return set;
}

/* Adds the entries of an array; an ERASE record that no pin needs any more is left out. */
static int gather(shmd_tx* t, uint64_t array, entry_set* set) {
  const uint64_t slots = log2_words(array), oldest = shmd_pin_oldest(t);
  const uint32_t first = set->count;
  const bool stored = fresh(t, array);
  uint64_t i;
  for (i = 0; i < slots; ++i) {
    const uint64_t at = SHMD_REF_OFFSET(array) + 8 * i;
    const uint64_t slot = stored ? shmd_load_acquire(shmd_word(t->a, at)) : shmd_tx_get(t, at);
    if (!shmd_slot_refers(slot)) continue;
    if ((slot & SHMD_OFFSET_MASK) < t->a->reader.limit) SHMD_PREFETCH(shmd_at(t->a, slot & SHMD_OFFSET_MASK));
    if (set->count >= MAX_SLOTS) return corrupt(t, array);
    set->slots[set->count++] = slot;
  }
  {
    uint32_t kept = first, n;
    for (n = first; n < set->count; ++n) {
      shmd_record_view v;
      const uint64_t slot = set->slots[n];
      if (!shmd_record_read(&t->a->reader, slot & SHMD_OFFSET_MASK, &v)) return corrupt(t, slot & SHMD_OFFSET_MASK);
      if (v.kind == SHMD_REC_ERASE && v.position < oldest) {
        shmd_segment_dead(t, v.offset, v.size);
        continue;
      }
      set->slots[kept] = slot;
      set->hashes[kept++] = v.hash;
    }
    set->count = kept;
  }
  return 0;
}

static uint32_t fitting_log2(uint32_t count, uint32_t limit) {
  uint32_t log2 = SHMD_ARRAY_MIN_LOG2;
  while (log2 < limit && (uint64_t)count * 2 > (UINT64_C(1) << log2)) ++log2;
  return log2;
}

/* A new array with those of the set whose bit number `bit` from the top is `value` (bit = 32: all). */
static int build(shmd_tx* t, entry_set* set, uint32_t bit, uint32_t value, uint32_t log2, uint32_t depth,
                 const shmd_cursor* c, uint32_t prefix, uint64_t* ref) {
  uint64_t* words = set->words;
  const uint32_t slots = 1u << log2;
  uint32_t i, live = 0;
  uint64_t offset;
  int result;
  for (i = 0; i < slots; ++i) words[i] = SHMD_SLOT_EMPTY;
  for (i = 0; i < set->count; ++i) {
    uint32_t at = (uint32_t)SHMD_PROBE_START(set->hashes[i]) & (slots - 1);
    if (bit < 32 && (set->hashes[i] >> (31 - bit) & 1) != value) continue;
    if (++live >= slots) return corrupt(t, c->level[c->levels - 1].at);
    while (words[at] != SHMD_SLOT_EMPTY) at = (at + 1) & (slots - 1);
    words[at] = set->slots[i];
  }
  result = shmd_block_allocate(t, SHMD_REF_ARRAY, log2, depth, c->node, prefix, live, live, &offset);
  if (result < 0) return result;
  /* SYNC index: an array is written before the reference to it is published. */
  for (i = 0; i < slots; ++i) shmd_store_release(shmd_word(t->a, offset + 8 * (uint64_t)i), words[i]);
  *ref = SHMD_REF_OF_ARRAY(log2, offset);
  return 0;
}

static uint32_t count_bit(const entry_set* set, uint32_t bit) {
  uint32_t i, n = 0;
  for (i = 0; i < set->count; ++i) n += set->hashes[i] >> (31 - bit) & 1;
  return n;
}

/* Lets the references of the last level's array, and its buddies at `depth`, lead to `ref`. */
static void publish_range(shmd_tx* t, const shmd_cursor* c, uint32_t depth, uint32_t prefix, uint64_t ref) {
  const shmd_path_level* array = &c->level[c->levels - 1];
  const shmd_path_level* dir;
  uint64_t span, first, i;
  bool at_once;
  if (c->levels == 1) {
    publish(t, c, array, ref);
    return;
  }
  dir = array - 1;
  span = UINT64_C(1) << (dir->depth + shmd_ref_log2(dir->ref) - depth);
  first = top_bits(prefix, dir->depth, shmd_ref_log2(dir->ref)) & ~(span - 1);
  at_once = fresh(t, dir->ref);
  for (i = 0; i < span; ++i) store_word(t, at_once, SHMD_REF_OFFSET(dir->ref) + 8 * (first + i), ref);
  t->references = true;
}

/* The same array, rebuilt without tombstones in 2^log2 slots. */
static int rebuild(shmd_tx* t, shmd_cursor* c, entry_set* set, uint32_t depth, uint32_t log2) {
  const uint64_t old = c->level[c->levels - 1].ref;
  uint64_t ref;
  int result = build(t, set, 32, 0, log2, depth, c, (uint32_t)c->hash, &ref);
  if (result < 0) return result;
  publish_range(t, c, depth, (uint32_t)c->hash, ref);
  shmd_block_free(t, SHMD_REF_OFFSET(old), shmd_ref_log2(old));
  return 0;
}

/* A directory twice as long, in which the array's range leads to `low` and `high`. */
static int double_directory(shmd_tx* t, shmd_cursor* c, uint64_t low, uint64_t high) {
  const shmd_path_level* dir = &c->level[c->levels - 2];
  const uint32_t log2 = shmd_ref_log2(dir->ref);
  const uint64_t split = top_bits((uint32_t)c->hash, dir->depth, log2);
  uint64_t offset, i;
  int result =
      shmd_block_allocate(t, SHMD_REF_DIRECTORY, log2 + 1, dir->depth, c->node, (uint32_t)c->hash, 0, 0, &offset);
  if (result < 0) return result;
  for (i = 0; i < UINT64_C(1) << log2; ++i) {
    const uint64_t ref = shmd_tx_get(t, SHMD_REF_OFFSET(dir->ref) + 8 * i);
    shmd_store_release(shmd_word(t->a, offset + 16 * i), i == split ? low : ref);
    shmd_store_release(shmd_word(t->a, offset + 16 * i + 8), i == split ? high : ref);
  }
  publish(t, c, dir, SHMD_REF_OF_DIRECTORY(log2 + 1, dir->depth, offset));
  shmd_block_free(t, SHMD_REF_OFFSET(dir->ref), log2);
  return 0;
}

static int child_directory(shmd_tx* t, shmd_cursor* c, uint32_t depth, uint64_t low, uint64_t high) {
  uint64_t offset;
  int result = shmd_block_allocate(t, SHMD_REF_DIRECTORY, 1, depth, c->node, (uint32_t)c->hash, 0, 0, &offset);
  if (result < 0) return result;
  shmd_store_release(shmd_word(t->a, offset), low);
  shmd_store_release(shmd_word(t->a, offset + 8), high);
  publish(t, c, &c->level[c->levels - 1], SHMD_REF_OF_DIRECTORY(1, depth, offset));
  return 0;
}

static int split(shmd_tx* t, shmd_cursor* c, entry_set* set, uint32_t depth) {
  const uint64_t old = c->level[c->levels - 1].ref;
  const uint32_t hash32 = (uint32_t)c->hash, bit = UINT32_C(1) << (31 - depth);
  const uint32_t ones = count_bit(set, depth);
  uint64_t low, high;
  int result =
      build(t, set, depth, 0, fitting_log2(set->count - ones, SHMD_ARRAY_LOG2), depth + 1, c, hash32 & ~bit, &low);
  if (result < 0) return result;
  result = build(t, set, depth, 1, fitting_log2(ones, SHMD_ARRAY_LOG2), depth + 1, c, hash32 | bit, &high);
  if (result < 0) return result;
  if (c->levels > 1 && depth < c->level[c->levels - 1].depth) { /* its references can be parted */
    publish_range(t, c, depth + 1, hash32 & ~bit, low);
    publish_range(t, c, depth + 1, hash32 | bit, high);
  } else if (c->levels > 1 && shmd_ref_log2(c->level[c->levels - 2].ref) < SHMD_DIRECTORY_LOG2) {
    result = double_directory(t, c, low, high);
  } else {
    result = child_directory(t, c, depth, low, high);
  }
  if (result < 0) return result;
  shmd_block_free(t, SHMD_REF_OFFSET(old), shmd_ref_log2(old));
  shmd_store_release(&shmd_control_of(t->a)->splits, shmd_load_acquire(&shmd_control_of(t->a)->splits) + 1);
  return 0;
}

static int grow(shmd_tx* t, shmd_cursor* c) {
  entry_set* set = scratch(t);
  const uint64_t array = c->level[c->levels - 1].ref;
  uint64_t descriptor, state;
  uint32_t depth, log2;
  int result;
  if (array == 0) {
    uint64_t ref;
    result = build(t, set, 32, 0, SHMD_ARRAY_MIN_LOG2, 0, c, 0, &ref);
    if (result == 0) publish(t, c, &c->level[0], ref);
    return result;
  }
  descriptor = shmd_block_descriptor(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array));
  if (descriptor == 0) return SHMD_ERR_CORRUPT;
  state = shmd_tx_get(t, descriptor + 8);
  depth = SHMD_BLOCK_DEPTH(state);
  if (!shmd_index_depth_fits(c, depth)) return corrupt(t, descriptor);
  result = gather(t, array, set);
  if (result < 0) return result;
  log2 = shmd_ref_log2(array);
  if ((uint64_t)set->count * 2 <= log2_words(array))
    return rebuild(t, c, set, depth, log2); /* only tombstones were in the way */
  if (log2 < SHMD_ARRAY_LOG2) return rebuild(t, c, set, depth, log2 + 1);
  if (depth < SHMD_MAX_DEPTH) return split(t, c, set, depth);
  if (log2 < SHMD_ARRAY_OVERFLOW_LOG2) return rebuild(t, c, set, depth, log2 + 1);
  return shmd_fail(SHMD_ERR_TOO_MANY_COLLISIONS,
                   "dict '%s': over %u keys share the %u bits of their hashes that the index goes by; use other keys",
                   t->a->name, MAX_SLOTS * 3 / 4, SHMD_MAX_DEPTH);
}

int shmd_index_room(shmd_tx* t, const void* key, size_t key_size, shmd_cursor* c) {
  uint32_t tries;
  for (tries = 0; tries < 40; ++tries) {
    const uint64_t array = c->level[c->levels - 1].ref;
    int result;
    if (c->found || (c->at != 0 && c->slot == SHMD_SLOT_TOMBSTONE)) return 0;
    if (array != 0) {
      c->descriptor = shmd_block_descriptor(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array));
      if (c->descriptor == 0) return SHMD_ERR_CORRUPT;
      if (c->at != 0 && shmd_index_has_room(SHMD_BLOCK_USED(shmd_tx_get(t, c->descriptor + 8)), log2_words(array)))
        return 0;
    }
    result = grow(t, c);
    if (result < 0) return result;
    result = shmd_index_find(t, c->node, c->hash, key, key_size, c);
    if (result < 0) return result;
  }
  return corrupt(t, c->level[0].at);
}

/* The counts of an array are writers' alone, but if it is this commit's own they stand where all of it does. */
static void store_state(shmd_tx* t, bool at_once, uint64_t descriptor, uint64_t state) {
  if (at_once)
    store_word(t, true, descriptor + 8, state);
  else
    shmd_tx_set(t, descriptor + 8, state);
}

void shmd_index_set(shmd_tx* t, shmd_cursor* c, uint64_t offset) {
  const uint64_t array = c->level[c->levels - 1].ref;
  const bool at_once = fresh(t, array);
  if (!c->found) {
    uint64_t state;
    if (c->descriptor == 0) c->descriptor = shmd_block_descriptor(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array));
    state = shmd_tx_get(t, c->descriptor + 8);
    store_state(t, at_once, c->descriptor,
                SHMD_BLOCK_STATE(SHMD_BLOCK_LIVE(state) + 1, SHMD_BLOCK_USED(state) + (c->slot == SHMD_SLOT_EMPTY),
                                 SHMD_BLOCK_DEPTH(state), SHMD_BLOCK_LOG2(state), SHMD_BLOCK_KIND(state)));
  }
  store_word(t, at_once, c->at, SHMD_SLOT(c->hash, offset));
}

/* ---- shrinking ---- */

/* After a merge: a directory whose references come in equal pairs becomes half as long, and of length one goes away. */
static int shrink_directory(shmd_tx* t, shmd_cursor* c) {
  shmd_path_level* dir = &c->level[c->levels - 2];
  while (SHMD_REF_KIND(dir->ref) == SHMD_REF_DIRECTORY) {
    const uint32_t log2 = shmd_ref_log2(dir->ref);
    const uint64_t half = UINT64_C(1) << (log2 - 1), base = SHMD_REF_OFFSET(dir->ref);
    uint64_t i, offset;
    for (i = 0; i < half; ++i) {
      const uint64_t ref = shmd_tx_get(t, base + 16 * i);
      if (ref != shmd_tx_get(t, base + 16 * i + 8) || SHMD_REF_KIND(ref) != SHMD_REF_ARRAY) return 0;
    }
    if (log2 == 1) {
      const uint64_t ref = shmd_tx_get(t, base);
      publish(t, c, dir, ref);
      dir->ref = ref;
    } else {
      const int result =
          shmd_block_allocate(t, SHMD_REF_DIRECTORY, log2 - 1, dir->depth, c->node, (uint32_t)c->hash, 0, 0, &offset);
      if (result < 0) return result;
      for (i = 0; i < half; ++i) shmd_store_release(shmd_word(t->a, offset + 8 * i), shmd_tx_get(t, base + 16 * i));
      dir->ref = SHMD_REF_OF_DIRECTORY(log2 - 1, dir->depth, offset);
      publish(t, c, dir, dir->ref);
    }
    shmd_block_free(t, base, log2);
  }
  return 0;
}

/* The buddy of the cursor's array, if it is an array of the same depth and both are sparse; else 0. */
static uint64_t sparse_buddy(shmd_tx* t, const shmd_cursor* c, uint32_t depth, uint32_t live) {
  const shmd_path_level* dir;
  uint64_t span, first, buddy, descriptor, state;
  if (c->levels < 2) return 0;
  dir = &c->level[c->levels - 2];
  if (depth <= dir->depth) return 0;
  span = UINT64_C(1) << (dir->depth + shmd_ref_log2(dir->ref) - depth);
  first = top_bits((uint32_t)c->hash, dir->depth, shmd_ref_log2(dir->ref)) & ~(span - 1);
  buddy = shmd_tx_get(t, SHMD_REF_OFFSET(dir->ref) + 8 * (first ^ span));
  if (SHMD_REF_KIND(buddy) != SHMD_REF_ARRAY || buddy == c->level[c->levels - 1].ref) return 0;
  descriptor = shmd_block_descriptor(t, SHMD_REF_OFFSET(buddy), shmd_ref_log2(buddy));
  if (descriptor == 0) return 0;
  state = shmd_tx_get(t, descriptor + 8);
  if (SHMD_BLOCK_DEPTH(state) != depth || SHMD_BLOCK_LIVE(state) + live > (1u << SHMD_ARRAY_LOG2) / 8) return 0;
  return buddy;
}

static int merge(shmd_tx* t, shmd_cursor* c, uint32_t depth, uint64_t buddy) {
  const uint64_t array = c->level[c->levels - 1].ref;
  entry_set* set = scratch(t);
  uint64_t ref;
  int result = gather(t, array, set);
  if (result == 0) result = gather(t, buddy, set);
  if (result == 0)
    result = build(t, set, 32, 0, fitting_log2(set->count, SHMD_ARRAY_LOG2), depth - 1, c, (uint32_t)c->hash, &ref);
  if (result < 0) return result;
  publish_range(t, c, depth - 1, (uint32_t)c->hash, ref);
  shmd_block_free(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array));
  shmd_block_free(t, SHMD_REF_OFFSET(buddy), shmd_ref_log2(buddy));
  shmd_store_release(&shmd_control_of(t->a)->merges, shmd_load_acquire(&shmd_control_of(t->a)->merges) + 1);
  return shrink_directory(t, c);
}

bool shmd_index_remove(shmd_tx* t, shmd_cursor* c) {
  const uint64_t array = c->level[c->levels - 1].ref;
  const uint64_t descriptor = shmd_block_descriptor(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array));
  const uint64_t state = shmd_tx_get(t, descriptor + 8), slots = log2_words(array);
  const uint64_t behind = SHMD_REF_OFFSET(array) + ((c->at - SHMD_REF_OFFSET(array) + 8) & (8 * slots - 1));
  const bool emptied = shmd_tx_get(t, behind) == SHMD_SLOT_EMPTY; /* no probe goes on from here */
  const uint32_t live = SHMD_BLOCK_LIVE(state) - 1;
  bool at_once;
  if (t->error != 0) return false;
  if (live == 0 && c->levels == 1) {
    publish(t, c, &c->level[0], 0);
    shmd_block_free(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array));
    return false;
  }
  at_once = fresh(t, array);
  t->emptied = true;
  shmd_tx_cool(t);
  store_word(t, at_once, c->at, emptied ? SHMD_SLOT_EMPTY : SHMD_SLOT_TOMBSTONE);
  store_state(t, at_once, descriptor,
              SHMD_BLOCK_STATE(live, SHMD_BLOCK_USED(state) - emptied, SHMD_BLOCK_DEPTH(state), SHMD_BLOCK_LOG2(state),
                               SHMD_BLOCK_KIND(state)));
  return (uint64_t)live * 8 <= slots;
}

int shmd_index_shrink(shmd_tx* t, uint32_t node, uint32_t prefix) {
  shmd_cursor c;
  uint32_t steps;
  for (steps = 0; steps < SHMD_MAX_DEPTH; ++steps) {
    uint64_t array, descriptor, state, buddy;
    uint32_t live, log2;
    int result = walk(t, node, prefix, 0, &c);
    c.node = node;
    c.hash = prefix;
    if (result < 0) return result;
    array = c.level[c.levels - 1].ref;
    if (array == 0) return 0;
    log2 = shmd_ref_log2(array);
    descriptor = shmd_block_descriptor(t, SHMD_REF_OFFSET(array), log2);
    if (descriptor == 0) return SHMD_ERR_CORRUPT;
    state = shmd_tx_get(t, descriptor + 8);
    live = SHMD_BLOCK_LIVE(state);
    if (!shmd_index_depth_fits(&c, SHMD_BLOCK_DEPTH(state))) return corrupt(t, descriptor);
    if ((uint64_t)live * 8 > log2_words(array)) return 0;
    buddy = sparse_buddy(t, &c, SHMD_BLOCK_DEPTH(state), live);
    if (buddy != 0) {
      result = merge(t, &c, SHMD_BLOCK_DEPTH(state), buddy);
      if (result < 0) return result;
      continue;
    }
    if (log2 > SHMD_ARRAY_MIN_LOG2) {
      entry_set* set = scratch(t);
      result = gather(t, array, set);
      if (result < 0) return result;
      return rebuild(t, &c, set, SHMD_BLOCK_DEPTH(state), fitting_log2(set->count, log2 - 1));
    }
    if (live == 0 && c.levels == 1) {
      publish(t, &c, &c.level[0], 0);
      shmd_block_free(t, SHMD_REF_OFFSET(array), log2);
    }
    return 0;
  }
  return 0;
}

void shmd_index_queue_shrink(shmd_tx* t, const shmd_cursor* c) {
  const uint32_t prefix = (uint32_t)c->hash;
  if (t->shrink_count > 0 && t->shrinks[t->shrink_count - 1].node == c->node &&
      t->shrinks[t->shrink_count - 1].prefix == prefix)
    return;
  /* if there is no memory for it, the array stays sparse until its next erase */
  if (!shmd_tx_grow((void**)&t->shrinks, t->shrink_count, &t->shrink_capacity, sizeof *t->shrinks)) return;
  t->shrinks[t->shrink_count].node = c->node;
  t->shrinks[t->shrink_count++].prefix = prefix;
}

/* ---- emptying sparse index segments ---- */

bool shmd_index_find_block(shmd_tx* t, uint32_t node, uint32_t prefix, uint64_t offset, shmd_cursor* c) {
  c->node = node;
  c->hash = prefix;
  if (node >= t->a->super->node_capacity || walk(t, node, prefix, offset, c) < 0) return false;
  return SHMD_REF_OFFSET(c->level[c->levels - 1].ref) == offset && c->level[c->levels - 1].ref != 0;
}

int shmd_index_move_block(shmd_tx* t, shmd_cursor* c) {
  const uint64_t old = c->level[c->levels - 1].ref;
  const uint32_t log2 = shmd_ref_log2(old);
  const uint64_t descriptor = shmd_block_descriptor(t, SHMD_REF_OFFSET(old), log2);
  uint64_t state, offset, i;
  int result;
  if (descriptor == 0) return SHMD_ERR_CORRUPT;
  state = shmd_tx_get(t, descriptor + 8);
  if (SHMD_REF_KIND(old) == SHMD_REF_ARRAY && !shmd_index_depth_fits(c, SHMD_BLOCK_DEPTH(state)))
    return corrupt(t, descriptor);
  result = shmd_block_allocate(t, SHMD_REF_KIND(old), log2, SHMD_BLOCK_DEPTH(state), c->node, (uint32_t)c->hash,
                               SHMD_BLOCK_LIVE(state), SHMD_BLOCK_USED(state), &offset);
  if (result < 0) return result;
  for (i = 0; i < UINT64_C(1) << log2; ++i)
    shmd_store_release(shmd_word(t->a, offset + 8 * i), shmd_tx_get(t, SHMD_REF_OFFSET(old) + 8 * i));
  if (SHMD_REF_KIND(old) == SHMD_REF_ARRAY)
    publish_range(t, c, SHMD_BLOCK_DEPTH(state), (uint32_t)c->hash, SHMD_REF_OF_ARRAY(log2, offset));
  else
    publish(t, c, &c->level[c->levels - 1], old - SHMD_REF_OFFSET(old) + offset);
  shmd_block_free(t, SHMD_REF_OFFSET(old), log2);
  return t->error;
}
