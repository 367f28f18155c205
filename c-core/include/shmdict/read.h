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

#define SHMD_READ_SLACK (UINT64_C(8) << 15) /* the longest array that a reference, however corrupt, can claim */
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

SHMD_INLINE const shmd_reader* shmd_reader_of(const shmd_dict* d) {
  return *(const shmd_reader* const*)(const void*)d; /* the handle's first member */
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

/* A record, taken apart: each shared word was read once and the whole lies inside the object. */
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
  uint64_t stamp, sizes, where, header;
  if (SHMD_UNLIKELY(offset < r->data_offset || offset >= r->limit || (offset & 7) != 0)) return 0;
  rec = (const shmd_record*)(const void*)(r->base + offset);
  stamp = shmd_load_acquire(&rec->stamp);
  sizes = shmd_load_acquire(&rec->sizes);
  where = shmd_load_acquire(&rec->where);
  header = sizeof(shmd_record);
  v->offset = offset;
  v->position = (stamp >> 8) << 3;
  v->kind = (uint32_t)stamp & SHMD_REC_KIND;
  v->previous = 0;
  if (stamp & SHMD_REC_PREVIOUS) {
    v->previous = shmd_load_acquire((const uint64_t*)(const void*)(r->base + offset + header));
    header += 8;
  }
  if (stamp & SHMD_REC_EXPIRY) header += 8;
  v->key_size = (uint32_t)sizes & 0xffffu;
  v->value_size = sizes >> 32;
  v->hash = (uint32_t)(where >> 32);
  v->node = (uint32_t)where;
  v->key = r->base + offset + header;
  v->value = v->key + SHMD_PAD8(v->key_size);
  v->size = header + SHMD_PAD8(v->key_size) + SHMD_PAD8(v->value_size);
  return v->size <= r->max_size - offset;
}

/* Finds the entry of a live dict. 0, SHMD_ERR_REMOVED or SHMD_ERR_CORRUPT. A dict lives if no ancestor was removed. */
SHMD_INLINE int shmd_read_node(const shmd_reader* r, shmd_node node, const shmd_node_entry** out) {
  /* SYNC root: observes the id stored by a clear of the root; the fresh node was complete before. */
  const uint64_t root = shmd_load_acquire(&shmd_reader_control(r)->root_node);
  uint64_t id = node.id;
  const shmd_node_entry* e;
  if (SHMD_LIKELY(id == 0)) id = (uint32_t)root;
  if (SHMD_UNLIKELY(id >= r->node_capacity)) return SHMD_ERR_CORRUPT;
  e = r->nodes + id;
  *out = e;
  if (SHMD_UNLIKELY(node.id != 0)) {
    uint64_t self = ((uint64_t)node.generation << 32) | node.id;
    int depth;
    for (depth = 0; depth < SHMD_MAX_NESTING; ++depth) {
      if (self == root) return 0;
      if ((uint32_t)self >= r->node_capacity) return SHMD_ERR_CORRUPT;
      e = r->nodes + (uint32_t)self;
      if (shmd_load_acquire(&e->identity) != ((self & UINT64_C(0xffffffff00000000)) | SHMD_NODE_LIVE))
        return SHMD_ERR_REMOVED;
      self = shmd_load_acquire(&e->parent);
    }
    return SHMD_ERR_CORRUPT;
  }
  return 0;
}

/* Follows directories from `ref` to the array that `hash32` leads to; 0 = empty dict. Returns 0 or SHMD_ERR_CORRUPT.
 * Whatever a reference says, what is followed lies inside the object: below limit, and no longer than the slack. */
SHMD_INLINE int shmd_read_array(const shmd_reader* r, uint64_t ref, uint32_t hash32, uint64_t* array) {
  uint32_t depth;
  for (depth = 0; SHMD_LIKELY(depth < 32) && SHMD_REF_KIND(ref) == SHMD_REF_DIRECTORY;) {
    const uint32_t log2 = SHMD_REF_LOG2(ref) & 15;
    const uint64_t at = ref & SHMD_WORD_MASK;
    if (SHMD_UNLIKELY(at >= r->limit || log2 == 0)) return SHMD_ERR_CORRUPT;
    /* SYNC index: observes a reference; what it refers to was written before it was published. */
    ref =
        shmd_load_acquire((const uint64_t*)(const void*)(r->base + at) + ((uint32_t)(hash32 << depth) >> (32 - log2)));
    depth += log2;
  }
  *array = ref;
  return SHMD_UNLIKELY((ref & SHMD_WORD_MASK) >= r->limit || depth >= 32) ? SHMD_ERR_CORRUPT : 0;
}

/* What a look-up found: the slot, and the record as far as a read needs it. */
typedef struct shmd_found {
  const uint64_t* at;         /* the slot */
  uint64_t slot;              /* what was in it */
  const unsigned char* value; /* in shared memory, `value_size` bytes within the object */
  uint64_t value_size;
  uint32_t stamp; /* kind and flags of the record */
} shmd_found;

/* Looks `key` up in the dict whose index is `ref`. 0 found (a PUT or NODE record), SHMD_NOT_FOUND, SHMD_ERR_CORRUPT.
 * To be believed only if the recycle counter has not moved since before `ref` was loaded. */
SHMD_INLINE int shmd_read_find(const shmd_reader* r, uint64_t ref, uint64_t hash, const void* key, size_t key_size,
                               shmd_found* f) {
  uint64_t array, at, end, tried;
  if (SHMD_UNLIKELY(shmd_read_array(r, ref, (uint32_t)hash, &array) != 0)) return SHMD_ERR_CORRUPT;
  if (SHMD_UNLIKELY(array == 0)) return SHMD_NOT_FOUND;
  end = UINT64_C(8) << (SHMD_REF_LOG2(array) & 15);
  at = (hash << 3) & (end - 8);
  array &= SHMD_WORD_MASK;
  for (tried = 0; tried < end; tried += 8) {
    /* SYNC slot: observes a record's offset; the record was written before its slot. */
    const uint64_t slot = shmd_load_acquire((const uint64_t*)(const void*)(r->base + array + at));
    if (SHMD_LIKELY((slot ^ hash) >> 48 == 0)) {
      const uint64_t offset = slot & SHMD_WORD_MASK;
      const unsigned char* record = r->base + offset;
      uint64_t stamp, sizes, value;
      if (SHMD_UNLIKELY(offset - 1 >= r->limit - 1)) { /* 0: empty or a tombstone */
        if (offset != 0) return SHMD_ERR_CORRUPT;
      } else {
        stamp = shmd_load_acquire((const uint64_t*)(const void*)record);
        sizes = shmd_load_acquire((const uint64_t*)(const void*)record + 1);
        value = sizeof(shmd_record);
        if (SHMD_UNLIKELY(stamp & (SHMD_REC_PREVIOUS | SHMD_REC_EXPIRY)))
          value += (stamp & SHMD_REC_PREVIOUS ? 8u : 0u) + (stamp & SHMD_REC_EXPIRY ? 8u : 0u);
        if (SHMD_LIKELY((sizes & 0xffffu) == key_size)) {
          /* keys longer than the slack may not end beyond the object */
          if (SHMD_UNLIKELY(offset + value + SHMD_PAD8(key_size) + (sizes >> 32) > r->limit + SHMD_READ_SLACK))
            return SHMD_ERR_CORRUPT;
          if (SHMD_LIKELY(shmd_bytes_equal(record + value, key, key_size))) {
            f->at = (const uint64_t*)(const void*)(r->base + array + at);
            f->slot = slot;
            f->value = record + value + SHMD_PAD8(key_size);
            f->value_size = sizes >> 32;
            f->stamp = (uint32_t)stamp & 0xffu;
            return SHMD_UNLIKELY((stamp & SHMD_REC_KIND) == SHMD_REC_ERASE) ? SHMD_NOT_FOUND : 0;
          }
        }
      }
    }
    if (slot == SHMD_SLOT_EMPTY) return SHMD_NOT_FOUND;
    at = (at + 8) & (end - 8);
  }
  return SHMD_NOT_FOUND;
}

/* One attempt at a get; to be believed only if the recycle counter has not moved since before. */
SHMD_INLINE int shmd_read_once(const shmd_reader* r, shmd_node node, uint64_t hash, const void* key, size_t key_size,
                               void* buffer, size_t capacity, size_t* size) {
  const shmd_node_entry* e;
  shmd_found f;
  int result = shmd_read_node(r, node, &e);
  if (SHMD_UNLIKELY(result != 0)) return result;
  result = shmd_read_find(r, shmd_load_acquire(&e->root), hash, key, key_size, &f);
  if (SHMD_UNLIKELY(result != 0)) return result;
  *size = f.value_size;
  if (SHMD_UNLIKELY((f.stamp & SHMD_REC_KIND) != SHMD_REC_PUT))
    return (f.stamp & SHMD_REC_KIND) == SHMD_REC_NODE ? SHMD_ERR_IS_A_DICT : SHMD_ERR_CORRUPT;
  if (SHMD_UNLIKELY(f.value_size > capacity)) return SHMD_TRUNCATED;
  if (f.value_size == 8)
    shmd_copy_out(buffer, f.value, 8);
  else
    shmd_copy_out(buffer, f.value, f.value_size);
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

#ifdef __cplusplus
}
#endif

#endif
