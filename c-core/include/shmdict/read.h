/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The read path, inline. Installed, but not an API: shmd_open() refuses callers compiled with another layout version.
 *
 * A read stores nothing and takes no lock: it works on a read-only mapping. It loads the recycle counter, walks node ->
 * directories -> array -> record, copies the value out, and loads the counter again. Freed bytes are reused only after
 * the counter has moved, so an unmoved counter proves that nothing it looked at was overwritten meanwhile.
 * Shared bytes are untrusted: every offset is checked against the mapping before it is followed; every loop is bounded.
 */
#ifndef SHMDICT_READ_H
#define SHMDICT_READ_H

#include "atomics.h"
#include "layout.h"
#include "shmdict.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SHMD_READ_SLACK (UINT64_C(8) << 16) /* the longest array that a reference, however corrupt, can claim */
#define SHMD_READ_SMALL UINT64_C(32767)     /* bytes: a longer value is copied only if its segment has memory for it */
#define SHMD_READ_TRIES 64
#define SHMD_MAX_NESTING 4096

/* What the read path knows of an attachment. Constant while attached, but for `writer`. */
typedef struct shmd_reader {
  unsigned char* base;
  uint64_t limit; /* an offset below it may be followed for SHMD_READ_SLACK bytes */
  shmd_control* control;
  shmd_node_entry* nodes;
  uint64_t node_capacity;
  uint64_t hash_seed;
  uint64_t data_offset;
  uint64_t max_size;
  uint64_t writer; /* thread that has a transaction open in this process, 0 = none: its reads go the long way */
} shmd_reader;

SHMD_INLINE const shmd_control* shmd_reader_control(const shmd_reader* r) {
  return (const shmd_control*)(const void*)(r->base + SHMD_CONTROL_OFFSET);
}

/* The handle's first member. NULL: it is closed. What it leads to stays readable after a close, see doc/concurrency.md,
 * "Closing beside other calls". */
SHMD_INLINE const shmd_reader* shmd_reader_of(const shmd_dict* d) {
  return (const shmd_reader*)(uintptr_t)shmd_load_relaxed((const uint64_t*)(const void*)d);
}

/* XXH3, seeded (xxHash by Yann Collet), for keys that are not 4 or 8 bytes long. */
SHMD_API uint64_t shmd_hash_bytes(uint64_t seed, const void* key, size_t size);

SHMD_INLINE uint64_t shmd_hash_key(uint64_t seed, const void* key, size_t size) {
  if (size == 8) {
    uint64_t k;
    memcpy(&k, key, 8);
    return shmd_hash_u64(seed, k);
  }
  if (size == 4) {
    uint32_t k;
    memcpy(&k, key, 4);
    return shmd_hash_u64(~seed, k);
  }
  return shmd_hash_bytes(seed, key, size);
}

SHMD_INLINE int shmd_in_object(const shmd_reader* r, const void* shared, uint64_t size) {
  const uintptr_t offset = (uintptr_t)shared - (uintptr_t)r->base;
  return offset < r->max_size && SHMD_PAD8(size) <= r->max_size - offset;
}
/* Copies bytes of the object to memory of one's own, or compares them with it; checked by the caller to lie within. */
SHMD_INLINE void shmd_read_bytes(const shmd_reader* r, void* to, const void* shared, size_t size) {
  SHMD_ASSERT(shmd_in_object(r, shared, size));
  shmd_copy_out(to, shared, size);
}
SHMD_INLINE int shmd_read_equal(const shmd_reader* r, const void* shared, const void* own, size_t size) {
  SHMD_ASSERT(shmd_in_object(r, shared, size));
  return shmd_bytes_equal(shared, own, size);
}

/* Whether [offset, offset + size), a record or the beginning of one, has memory, as its segment says: what has none must not
 * be touched, for the system would give it some. Asked for large records only; a small one ends within the slack. It takes
 * no reader, whose constants then stay in registers. The words of the first pages that it goes by may be anything.
 * SYNC recycle: `allocated` of a segment that readers may still be in is lowered only after the counter has moved. */
SHMD_APART int shmd_read_has_memory(const unsigned char* base, uint64_t limit, uint64_t offset, uint64_t size) {
  const shmd_superblock* super = (const shmd_superblock*)(const void*)base;
  const shmd_control* control = (const shmd_control*)(const void*)(base + SHMD_CONTROL_OFFSET);
  const uint64_t data = shmd_load_acquire(&super->data_offset), table = shmd_load_acquire(&super->segments_offset);
  const uint32_t shift = shmd_load32_acquire(&super->segment_shift) & 63;
  uint64_t id, begin, allocated;
  if (offset < data || offset >= limit || size > limit + SHMD_READ_SLACK - offset || table >= limit || (table & 7) != 0)
    return 0;
  id = (offset - data) >> shift;
  begin = offset - data - (id << shift);
  if (id >= (limit - table) / sizeof(shmd_segment) ||
      id >= shmd_load_acquire(&control->segments_allocated) / sizeof(shmd_segment))
    return 0;
  allocated = shmd_load_acquire(&((const shmd_segment*)(const void*)(base + table))[id].allocated);
  return begin <= allocated && size <= allocated - begin;
}

/* A record, taken apart: each shared word was read once, the whole lies inside the object, and what is
 * large of it has memory. */
typedef struct shmd_record_view {
  uint64_t offset;
  uint64_t position;
  uint64_t previous; /* offset of the version before, 0 = none kept */
  const unsigned char* key;
  const unsigned char* value;
  uint64_t value_size;
  uint32_t key_size;
  uint32_t hash; /* hash32 */
  uint32_t node;
  uint32_t kind; /* enum shmd_record_kind */
  uint64_t size; /* of the whole record */
} shmd_record_view;

/* 1 if `offset` leads to something that could be a record, 0 if it leads astray. */
SHMD_INLINE int shmd_record_read(const shmd_reader* r, uint64_t offset, shmd_record_view* v) {
  const shmd_record* rec;
  uint64_t stamp, shape, where, header;
  if (SHMD_UNLIKELY(offset < r->data_offset || offset >= r->limit || (offset & 7) != 0)) return 0;
  rec = (const shmd_record*)(const void*)(r->base + offset);
  stamp = shmd_load_acquire(&rec->stamp);
  shape = shmd_load_acquire(&rec->shape);
  where = shmd_load_acquire(&rec->where);
  header = sizeof(shmd_record);
  v->offset = offset;
  v->position = (stamp >> 8) << 3;
  v->kind = SHMD_SHAPE_KIND(shape) & SHMD_REC_KIND;
  v->previous = 0;
  if (SHMD_SHAPE_KIND(shape) & SHMD_REC_PREVIOUS) {
    v->previous = shmd_load_acquire((const uint64_t*)(const void*)(r->base + offset + header));
    header += 8;
  }
  if (SHMD_SHAPE_KIND(shape) & SHMD_REC_EXPIRY) header += 8;
  v->key_size = SHMD_SHAPE_KEY(shape);
  v->value_size = shape >> 32;
  v->hash = (uint32_t)(where >> 32);
  v->node = (uint32_t)where;
  v->key = r->base + offset + header;
  v->value = v->key + SHMD_PAD8(v->key_size);
  v->size = header + SHMD_PAD8(v->key_size) + SHMD_PAD8(v->value_size);
  return SHMD_LIKELY(v->value_size <= SHMD_READ_SMALL) || shmd_read_has_memory(r->base, r->limit, offset, v->size);
}

/* Id 0 with a generation is no dict at all. One comparison, as `id` alone would be. */
SHMD_INLINE int shmd_is_root(shmd_node node) {
  uint64_t word;
  memcpy(&word, &node, sizeof word);
  return word == 0;
}

/* Whether a nested dict lives: it does if no ancestor was removed. 0, SHMD_ERR_REMOVED or SHMD_ERR_CORRUPT. */
SHMD_INLINE int shmd_read_alive(const shmd_reader* r, shmd_node node) {
  /* SYNC root: observes the id stored by a clear of the root; the fresh node was complete before. */
  const uint64_t root = shmd_load_acquire(&shmd_reader_control(r)->root_node);
  uint64_t self = ((uint64_t)node.generation << 32) | node.id;
  int depth;
  for (depth = 0; depth < SHMD_MAX_NESTING; ++depth) {
    const shmd_node_entry* e;
    if (self == root) return 0;
    if ((uint32_t)self >= r->node_capacity) return depth == 0 ? SHMD_ERR_REMOVED : SHMD_ERR_CORRUPT;
    /* An entry without memory (a handle that the application made up) must not be touched. The watermark only rises,
     * before the entry's first use. */
    if ((uint32_t)self >= shmd_load_acquire(&shmd_reader_control(r)->nodes_allocated) / sizeof(shmd_node_entry))
      return SHMD_ERR_REMOVED;
    e = r->nodes + (uint32_t)self;
    if (shmd_load_acquire(&e->identity) != ((self & UINT64_C(0xffffffff00000000)) | SHMD_NODE_LIVE))
      return SHMD_ERR_REMOVED;
    self = shmd_load_acquire(&e->parent);
  }
  return SHMD_ERR_CORRUPT;
}

/* Finds the entry of a live dict. 0, SHMD_ERR_REMOVED or SHMD_ERR_CORRUPT. */
SHMD_INLINE int shmd_read_node(const shmd_reader* r, shmd_node node, const shmd_node_entry** out) {
  const int of_root = shmd_is_root(node);
  uint64_t id = node.id;
  /* SYNC root: as above. */
  if (SHMD_LIKELY(of_root)) id = (uint32_t)shmd_load_acquire(&shmd_reader_control(r)->root_node);
  if (SHMD_UNLIKELY(id >= r->node_capacity)) return of_root ? SHMD_ERR_CORRUPT : SHMD_ERR_REMOVED;
  *out = r->nodes + id;
  return SHMD_LIKELY(of_root) ? 0 : shmd_read_alive(r, node);
}

/* The reference to a live dict's index. 0, SHMD_ERR_REMOVED or SHMD_ERR_CORRUPT. */
SHMD_INLINE int shmd_read_index(const shmd_reader* r, shmd_node node, uint64_t* ref) {
  if (SHMD_LIKELY(shmd_is_root(node))) {
    /* SYNC index: observes a reference; what it refers to was written before it was published. */
    *ref = shmd_load_acquire(&shmd_reader_control(r)->root_index);
    return 0;
  }
  { /* first whether it lives: an entry that never was has no memory */
    const int alive = shmd_read_alive(r, node);
    if (SHMD_UNLIKELY(alive != 0)) return alive;
  }
  /* SYNC index: as above. */
  *ref = shmd_load_acquire(&r->nodes[node.id].root);
  return 0;
}

/* Follows directories from `ref` to the array that `hash32` leads to; 0 = empty dict. Returns 0 or SHMD_ERR_CORRUPT.
 * Whatever a reference says, what is followed lies inside the object: below limit, and no longer than the slack. */
SHMD_INLINE int shmd_read_array(const shmd_reader* r, uint64_t ref, uint32_t hash32, uint64_t* array) {
  uint32_t level;
  for (level = 0; SHMD_REF_SHIFT(ref) != 0; ++level) {
    const uint64_t at = SHMD_REF_OFFSET(ref);
    if (SHMD_UNLIKELY(at >= r->limit || level >= SHMD_MAX_DEPTH)) return SHMD_ERR_CORRUPT;
    /* SYNC index: observes a reference; what it refers to was written before it was published. */
    ref = shmd_load_acquire((const uint64_t*)(const void*)(r->base + at) +
                            ((hash32 >> SHMD_REF_SHIFT(ref)) & SHMD_REF_MASK(ref)));
  }
  *array = ref;
  return SHMD_UNLIKELY(SHMD_REF_OFFSET(ref) >= r->limit) ? SHMD_ERR_CORRUPT : 0;
}

/* What a look-up found: the slot, and the record as far as a read needs it. */
typedef struct shmd_found {
  const uint64_t* at; /* the slot */
  uint64_t slot;      /* what was in it */
  const unsigned char*
      value; /* in shared memory; to be read, or room made for it, only if shmd_read_within() says so */
  uint64_t value_size;
  uint32_t kind; /* of the record, and flags */
} shmd_found;

/* Whether the value lies within the object and, if it is large, in memory that its segment has. */
SHMD_INLINE int shmd_read_within(const shmd_reader* r, const shmd_found* f) {
  const uint64_t offset = f->slot & SHMD_WORD_MASK; /* of the record */
  return SHMD_LIKELY(f->value_size <= SHMD_READ_SMALL) ||
         shmd_read_has_memory(r->base, r->limit, offset, (uint64_t)(f->value - r->base) - offset + f->value_size);
}

/* Takes a slot whose tag fits. 0 it refers to the key (a PUT or NODE record), SHMD_NOT_FOUND to a ghost of it,
 * SHMD_KEPT to something else, SHMD_ERR_CORRUPT. */
SHMD_INLINE int shmd_read_slot(const shmd_reader* r, const uint64_t* at, uint64_t slot, const void* key,
                               size_t key_size, shmd_found* f) {
  const uint64_t offset = slot & SHMD_WORD_MASK;
  const unsigned char* record = r->base + offset;
  uint64_t shape, value;
  if (SHMD_UNLIKELY(offset - 1 >= r->limit - 1)) return offset != 0 ? SHMD_ERR_CORRUPT : SHMD_KEPT;
  shape = shmd_load_acquire(&((const shmd_record*)(const void*)record)->shape);
  value = sizeof(shmd_record);
  f->kind = SHMD_SHAPE_KIND(shape);
  if (SHMD_UNLIKELY(f->kind & (SHMD_REC_PREVIOUS | SHMD_REC_EXPIRY)))
    value += (f->kind & SHMD_REC_PREVIOUS ? 8u : 0u) + (f->kind & SHMD_REC_EXPIRY ? 8u : 0u);
  if (SHMD_UNLIKELY(SHMD_SHAPE_KEY(shape) != key_size)) return SHMD_KEPT;
  if (SHMD_UNLIKELY(!shmd_read_equal(r, record + value, key, key_size))) return SHMD_KEPT;
  f->at = at;
  f->slot = slot;
  f->value = record + value + SHMD_PAD8(key_size);
  f->value_size = shape >> 32;
  return SHMD_UNLIKELY((f->kind & SHMD_REC_KIND) == SHMD_REC_ERASE) ? SHMD_NOT_FOUND : 0;
}

/* Looks `key` up in the dict whose index is `ref`. 0 found (a PUT or NODE record), SHMD_NOT_FOUND, SHMD_ERR_CORRUPT.
 * To be believed only if the recycle counter has not moved since before `ref` was loaded. */
SHMD_INLINE int shmd_read_find(const shmd_reader* r, uint64_t ref, uint64_t hash, const void* key, size_t key_size,
                               shmd_found* f) {
  const uint64_t* words;
  uint64_t array, mask, i, tried;
  uint32_t likely;
  int result;
  if (SHMD_UNLIKELY(shmd_read_array(r, ref, (uint32_t)hash, &array) != 0)) return SHMD_ERR_CORRUPT;
  if (SHMD_UNLIKELY(array == 0)) return SHMD_NOT_FOUND;
  mask = SHMD_REF_MASK(array);
  words = (const uint64_t*)(const void*)(r->base + SHMD_REF_OFFSET(array));
  i = SHMD_PROBE_START(hash) & mask;
  likely = shmd_match_high16(words + i, hash);
  if (SHMD_LIKELY(likely != 0)) {
    const uint64_t* at = shmd_first_match(words + i, likely);
    /* SYNC slot: observes a record's offset; the record was written before its slot. */
    const uint64_t slot = shmd_load_acquire(at);
    if (SHMD_LIKELY((slot ^ hash) >> 48 == 0)) {
      result = shmd_read_slot(r, at, slot, key, key_size, f);
      if (SHMD_LIKELY(result != SHMD_KEPT)) return result;
    }
  }
  for (tried = 0; tried <= mask; ++tried) {
    /* SYNC slot: as above. */
    const uint64_t slot = shmd_load_acquire(words + i);
    if (SHMD_UNLIKELY((slot ^ hash) >> 48 == 0)) {
      result = shmd_read_slot(r, words + i, slot, key, key_size, f);
      if (result != SHMD_KEPT) return result;
    }
    if (slot == SHMD_SLOT_EMPTY) return SHMD_NOT_FOUND;
    i = (i + 1) & mask;
  }
  return SHMD_NOT_FOUND;
}

/* One attempt at a get; to be believed only if the recycle counter has not moved since before. */
SHMD_INLINE int shmd_read_once(const shmd_reader* r, shmd_node node, uint64_t hash, const void* key, size_t key_size,
                               void* buffer, size_t capacity, size_t* size) {
  uint64_t ref;
  shmd_found f;
  int result = shmd_read_index(r, node, &ref);
  if (SHMD_UNLIKELY(result != 0)) return result;
  result = shmd_read_find(r, ref, hash, key, key_size, &f);
  if (SHMD_UNLIKELY(result != 0)) return result;
  if (SHMD_UNLIKELY((f.kind & SHMD_REC_KIND) != SHMD_REC_PUT))
    return (f.kind & SHMD_REC_KIND) == SHMD_REC_NODE ? SHMD_ERR_IS_A_DICT : SHMD_ERR_CORRUPT;
  if (SHMD_UNLIKELY(!shmd_read_within(r, &f))) return SHMD_ERR_CORRUPT;
  *size = f.value_size;
  if (SHMD_UNLIKELY(f.value_size > capacity)) return SHMD_TRUNCATED;
  if (f.value_size == 8)
    shmd_read_bytes(r, buffer, f.value, 8);
  else
    shmd_read_bytes(r, buffer, f.value, f.value_size);
  return 0;
}

/* The attempts after the first, out of the caller's way. */
SHMD_API int shmd_read_again(const shmd_reader* reader, shmd_node node, uint64_t hash, const void* key, size_t key_size,
                             void* buffer, size_t capacity, size_t* size);

/* Results of shmd_get(), but for SHMD_ERR_BUSY: the counter kept moving (the caller then asks under the lock). */
SHMD_INLINE int shmd_read_get(const shmd_reader* reader, shmd_node node, uint64_t hash, const void* key,
                              size_t key_size, void* buffer, size_t capacity, size_t* size) {
  const shmd_reader r = *reader; /* constants, in registers: acquire loads would make the compiler read them again */
  /* SYNC recycle: observes the counter before anything is followed... */
  const uint64_t before = shmd_load_acquire(&shmd_reader_control(&r)->recycle);
  const int result = shmd_read_once(&r, node, hash, key, key_size, buffer, capacity, size);
  /* SYNC recycle: ...and again after all of it was read: unmoved, so nothing of it was reused. */
  if (SHMD_LIKELY(shmd_load_acquire(&shmd_reader_control(&r)->recycle) == before)) return result;
  return shmd_read_again(reader, node, hash, key, key_size, buffer, capacity, size);
}

/* Where a value lies, for readers that make room for it before they copy it: once found, its size is the size that it had.
 * Results as of shmd_read_once(), or SHMD_ERR_BUSY. The copy is to be believed only if shmd_read_still() says so after it. */
SHMD_INLINE int shmd_read_locate(const shmd_reader* reader, shmd_node node, uint64_t hash, const void* key,
                                 size_t key_size, shmd_found* f, uint64_t* before) {
  const shmd_reader r = *reader;
  uint64_t ref;
  int result;
  /* SYNC recycle: as in shmd_read_get. */
  *before = shmd_load_acquire(&shmd_reader_control(&r)->recycle);
  result = shmd_read_index(&r, node, &ref);
  if (SHMD_LIKELY(result == 0)) result = shmd_read_find(&r, ref, hash, key, key_size, f);
  if (SHMD_LIKELY(result == 0) && SHMD_UNLIKELY((f->kind & SHMD_REC_KIND) != SHMD_REC_PUT))
    result = (f->kind & SHMD_REC_KIND) == SHMD_REC_NODE ? SHMD_ERR_IS_A_DICT : SHMD_ERR_CORRUPT;
  if (SHMD_LIKELY(result == 0) && SHMD_UNLIKELY(!shmd_read_within(&r, f))) result = SHMD_ERR_CORRUPT;
  /* SYNC recycle: as in shmd_read_get. */
  return SHMD_LIKELY(shmd_load_acquire(&shmd_reader_control(&r)->recycle) == *before) ? result : SHMD_ERR_BUSY;
}
SHMD_INLINE int shmd_read_still(const shmd_reader* reader, uint64_t before) {
  /* SYNC recycle: as in shmd_read_get. */
  return shmd_load_acquire(&shmd_reader_control(reader)->recycle) == before;
}

/* Not a result of the API: what shmd_read_word() leaves to shmd_get(). */
#define SHMD_READ_NOT_PLAIN INT32_MIN
#define SHMD_READ_WORD_PROBES 64 /* slots */

/* One directory further on the way of `hash32`. False: astray. */
SHMD_INLINE int shmd_read_step(unsigned char* base, uint64_t limit, uint32_t hash32, uint64_t* ref) {
  const uint64_t at = SHMD_REF_OFFSET(*ref);
  if (SHMD_UNLIKELY(at >= limit)) return 0;
  /* SYNC index: as in shmd_read_array. */
  *ref = shmd_load_acquire((const uint64_t*)(const void*)(base + at) +
                           ((hash32 >> SHMD_REF_SHIFT(*ref)) & SHMD_REF_MASK(*ref)));
  return 1;
}

/* The shortest way to a number under a number: `key_size` is 4 or 8, `value_size` 1, 2, 4 or 8, both constants where it is
 * called. 0 (the value was copied), SHMD_NOT_FOUND, or SHMD_READ_NOT_PLAIN: whatever is not as usual (another size, a nested
 * dict, a version kept for a snapshot, over 2^36 keys, something astray, an overtaken read), which shmd_get() sorts out.
 * The checks are those of shmd_read_once(), fewer because sizes are known: a record of that size that begins below `limit`
 * ends within the slack. */
SHMD_INLINE int shmd_read_word(const shmd_reader* reader, shmd_node node, const void* key, size_t key_size, void* value,
                               size_t value_size) {
  unsigned char* const base =
      reader->base; /* constants, in registers: acquire loads would make the compiler read again */
  const uint64_t limit = reader->limit;
  const uint64_t hash = shmd_hash_key(reader->hash_seed, key, key_size);
  const shmd_control* const control = (const shmd_control*)(const void*)(base + SHMD_CONTROL_OFFSET);
  /* SYNC recycle: as in shmd_read_get. */
  const uint64_t before = shmd_load_acquire(&control->recycle);
  const uint64_t *words, *slot, *record;
  uint64_t ref, at;
  uint32_t likely;
  if (shmd_is_root(node)) {
    /* SYNC index: as in shmd_read_index. */
    ref = shmd_load_acquire(&control->root_index);
  } else if (SHMD_UNLIKELY(shmd_read_index(reader, node, &ref) != 0)) {
    return SHMD_READ_NOT_PLAIN;
  }
  if (SHMD_REF_SHIFT(ref) != 0) { /* three levels lead to over 2^36 keys */
    if (SHMD_UNLIKELY(!shmd_read_step(base, limit, (uint32_t)hash, &ref))) return SHMD_READ_NOT_PLAIN;
    if (SHMD_REF_SHIFT(ref) != 0) {
      if (SHMD_UNLIKELY(!shmd_read_step(base, limit, (uint32_t)hash, &ref))) return SHMD_READ_NOT_PLAIN;
      if (SHMD_UNLIKELY(SHMD_REF_SHIFT(ref) != 0)) {
        if (!shmd_read_step(base, limit, (uint32_t)hash, &ref) || SHMD_REF_SHIFT(ref) != 0) return SHMD_READ_NOT_PLAIN;
      }
    }
  }
  at = SHMD_REF_OFFSET(ref);
  if (SHMD_UNLIKELY(at >= limit)) return SHMD_READ_NOT_PLAIN;
  words = (const uint64_t*)(const void*)(base + at);
  slot = words + (SHMD_PROBE_START(hash) & SHMD_REF_MASK(ref));
  likely = shmd_match_high16(slot, hash);
  if (SHMD_LIKELY(likely != 0)) {
    slot = shmd_first_match(slot, likely);
  } else { /* in a later group, or absent */
    uint64_t i = (uint64_t)(slot - words);
    uint32_t tried;
    if (ref == 0) /* what matched by accident above leads to no record of this key */
      return SHMD_LIKELY(shmd_load_acquire(&control->recycle) == before) ? SHMD_NOT_FOUND : SHMD_READ_NOT_PLAIN;
    for (tried = 0; tried < SHMD_READ_WORD_PROBES; ++tried) {
      /* SYNC slot: as in shmd_read_find. */
      const uint64_t word = shmd_load_acquire(words + i);
      if ((word ^ hash) >> 48 == 0 && word > SHMD_SLOT_TOMBSTONE) break;
      if (word == SHMD_SLOT_EMPTY)
        return SHMD_LIKELY(shmd_load_acquire(&control->recycle) == before) ? SHMD_NOT_FOUND : SHMD_READ_NOT_PLAIN;
      i = (i + 1) & SHMD_REF_MASK(ref);
    }
    slot = words + i;
  }
  /* SYNC slot: as in shmd_read_find. Whatever stands there by now: the record behind it is this key's, or it is not. */
  at = shmd_load_acquire(slot) & SHMD_WORD_MASK;
  if (SHMD_UNLIKELY(at >= limit)) return SHMD_READ_NOT_PLAIN;
  record = (const uint64_t*)(const void*)(base + at);
  if (SHMD_UNLIKELY(shmd_load_acquire(record + 2) != SHMD_SHAPE(key_size, SHMD_REC_PUT, value_size) ||
                    !shmd_read_equal(reader, record + 3, key, key_size)))
    return SHMD_READ_NOT_PLAIN; /* a tag in common, or a record of another shape */
  shmd_read_bytes(reader, value, record + 4, value_size);
  /* SYNC recycle: as in shmd_read_get. */
  return SHMD_LIKELY(shmd_load_acquire(&control->recycle) == before) ? 0 : SHMD_READ_NOT_PLAIN;
}

#ifdef __cplusplus
}
#endif

#endif
