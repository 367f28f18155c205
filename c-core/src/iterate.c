/*
 * Iteration over one dict as a snapshot sees it.
 *
 * The cursor is a hash value: everything with a smaller hash32 was delivered. Arrays cover ranges of hashes; one that fits
 * into a batch is delivered whole, of a larger one the entries in order of their hash: so the cursor means the same after
 * any split, merge or move. A batch is read from one array, copied out, and believed if the recycle counter did not move
 * meanwhile; overtaken ones are read again, in smaller portions.
 */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "index.h"
#include "redo.h"
#include "snapshot.h"

#define BATCH_BYTES ((size_t)64 * 1024)
#define MAX_TRIES (1 << 20)

typedef struct found_entry {
  uint32_t hash;
  shmd_record_view v;
} found_entry;

struct shmd_iter {
  shmd_snapshot* s;
  shmd_node node;
  uint64_t cursor; /* hash32 values below it are done; 2^32 = all */
  bool ordered;    /* entries come in order of their hash: whoever asks may stop between any two */
  unsigned char* bytes;
  size_t bytes_size;
  shmd_entry* batch; /* what was copied: keys and values lie in `bytes` */
  uint32_t batch_capacity, count, at;
  uint64_t offsets[1u << SHMD_ARRAY_OVERFLOW_LOG2];
  found_entry found[1u << SHMD_ARRAY_OVERFLOW_LOG2]; /* only used by take_some() */
};

int shmd_iter_open(shmd_snapshot* s, shmd_node node, shmd_iter** out) {
  shmd_iter* it;
  if (s == NULL || out == NULL)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_iter_open: a snapshot and a place for the iterator are needed");
  it = (shmd_iter*)malloc(sizeof *it);
  if (it == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for an iterator", s->a->name);
  memset(it, 0, offsetof(shmd_iter, offsets));
  it->s = s;
  it->node = node;
  *out = it;
  return 0;
}

void shmd_iter_close(shmd_iter* it) {
  if (it == NULL) return;
  free(it->bytes);
  free(it->batch);
  free(it);
}

void shmd_iter_from(shmd_iter* it, uint32_t hash) {
  it->cursor = hash;
  it->ordered = true;
  it->count = it->at = 0;
}

/* In order, the batch is the beginning of `found`. */
uint32_t shmd_iter_hash(const shmd_iter* it) { return it->ordered && it->at != 0 ? it->found[it->at - 1].hash : 0; }

static int by_hash(const void* x, const void* y) {
  const uint32_t a = ((const found_entry*)x)->hash, b = ((const found_entry*)y)->hash;
  return a < b ? -1 : a > b;
}

/* The array at the cursor and the end of the hash range that its references cover. */
static int locate(shmd_iter* it, uint64_t* array, uint64_t* end) {
  const shmd_reader* r = &it->s->a->reader;
  const uint32_t prefix = (uint32_t)it->cursor;
  uint64_t ref;
  uint32_t id, depth = 0;
  int result = shmd_snapshot_index(it->s, it->node, &ref, &id);
  if (result < 0) return result;
  *end = UINT64_C(1) << 32;
  while (SHMD_REF_KIND(ref) == SHMD_REF_DIRECTORY) {
    const uint32_t log2 = shmd_ref_log2(ref);
    const uint64_t base = SHMD_REF_OFFSET(ref);
    uint64_t i, span;
    if (!shmd_index_directory_fits(ref, depth) || base >= r->limit) return SHMD_ERR_CORRUPT;
    i = (uint32_t)(prefix << depth) >> (32 - log2);
    ref = shmd_snapshot_word(it->s, base + 8 * i);
    depth += log2;
    span = UINT64_C(1) << (32 - depth);
    *end = (prefix & ~(span - 1)) + span;
    if (SHMD_REF_KIND(ref) == SHMD_REF_ARRAY)
      for (++i; i < UINT64_C(1) << log2 && shmd_snapshot_word(it->s, base + 8 * i) == ref; ++i) *end += span;
  }
  if (ref != 0 && (SHMD_REF_KIND(ref) != SHMD_REF_ARRAY || shmd_ref_log2(ref) > SHMD_ARRAY_OVERFLOW_LOG2 ||
                   SHMD_REF_OFFSET(ref) >= r->limit))
    return SHMD_ERR_CORRUPT;
  *array = ref;
  return 0;
}

static size_t entry_bytes(const shmd_record_view* v) { return SHMD_PAD8(v->key_size) + SHMD_PAD8(v->value_size); }

/* A record is 40 bytes or more, and begins anywhere in its line. */
static void prefetch_record(const unsigned char* record) {
  SHMD_PREFETCH(record);
  if (((uintptr_t)record & (SHMD_LINE - 1)) > SHMD_LINE - 40) SHMD_PREFETCH(record + 39);
}

static bool grow(void** p, size_t* capacity, size_t needed, size_t item) {
  size_t larger = *capacity ? *capacity * 2 : 64;
  void* grown;
  if (needed <= *capacity) return true;
  if (larger < needed) larger = needed;
  grown = realloc(*p, larger * item);
  if (grown == NULL) return false;
  *p = grown;
  *capacity = larger;
  return true;
}

static int no_memory(const shmd_iter* it, size_t bytes) {
  return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory to copy an entry of %llu bytes", it->s->a->name,
                   (unsigned long long)bytes);
}

/* For `entries` in the batch. */
static bool make_room(shmd_iter* it, uint32_t entries) {
  size_t capacity = it->batch_capacity;
  if (!grow((void**)&it->batch, &capacity, entries, sizeof *it->batch)) return false;
  it->batch_capacity = (uint32_t)capacity;
  return true;
}

/* Where the array's slots lead, and the records on their way to the cache. */
static uint32_t gather(shmd_iter* it, uint64_t array) {
  const shmd_reader* r = &it->s->a->reader;
  const uint64_t slots = UINT64_C(1) << shmd_ref_log2(array);
  uint64_t i;
  uint32_t refs = 0;
  for (i = 0; i < slots; ++i) {
    const uint64_t slot = shmd_snapshot_word(it->s, SHMD_REF_OFFSET(array) + 8 * i);
    if (!shmd_slot_refers(slot)) continue;
    it->offsets[refs++] = slot & SHMD_OFFSET_MASK;
    if ((slot & SHMD_OFFSET_MASK) < r->limit) prefetch_record(r->base + (slot & SHMD_OFFSET_MASK));
  }
  return refs;
}

/* The record at `offset`, as the snapshot sees it. 1 it is visible and its hash within [cursor, end), 0 not, CORRUPT. */
SHMD_INLINE int look(const shmd_iter* it, uint64_t offset, uint64_t end, shmd_record_view* v) {
  if (!shmd_record_read(&it->s->a->reader, offset, v)) return SHMD_ERR_CORRUPT;
  if (v->hash < it->cursor || v->hash >= end) return 0;
  return shmd_snapshot_version(it->s, v);
}

static void copy_part(unsigned char* to, const unsigned char* from, size_t size) {
  if (size == 8)
    shmd_copy_out(to, from, 8);
  else if (size != 0)
    shmd_copy_out(to, from, size);
}

/* Appends an entry to the batch. REQUIRES: room in both. Returns the bytes used by then. */
SHMD_INLINE size_t append(shmd_iter* it, const shmd_record_view* v, size_t used) {
  shmd_entry* e = &it->batch[it->count++];
  unsigned char* key = it->bytes + used;
  unsigned char* value = key + SHMD_PAD8(v->key_size);
  e->key = key;
  e->value = value;
  e->key_size = v->key_size;
  e->value_size = v->value_size;
  e->is_dict = 0;
  e->node.id = 0;
  e->node.generation = 0;
  e->position = v->position;
  copy_part(key, v->key, v->key_size);
  if (SHMD_LIKELY(v->kind == SHMD_REC_PUT)) {
    copy_part(value, v->value, v->value_size);
  } else {
    e->is_dict = 1;
    e->value_size = 0;
    if (v->value_size == 8) {
      const uint64_t word = shmd_load_acquire((const uint64_t*)(const void*)v->value);
      e->node.id = SHMD_LOW(word);
      e->node.generation = SHMD_HIGH(word);
    }
  }
  return used + entry_bytes(v);
}

/* All visible entries of the array, as they come, if they fit into `budget`. 1 they do, 0 not, or an error. */
static int take_all(shmd_iter* it, uint32_t refs, uint64_t end, size_t budget) {
  size_t used = 0;
  uint32_t i;
  it->count = 0;
  if (!make_room(it, refs) || !grow((void**)&it->bytes, &it->bytes_size, budget + 8, 1)) return no_memory(it, budget);
  for (i = 0; i < refs; ++i) {
    shmd_record_view v;
    const int visible = look(it, it->offsets[i], end, &v);
    if (SHMD_UNLIKELY(visible <= 0)) {
      if (visible < 0) return visible;
      continue;
    }
    if (entry_bytes(&v) > budget - used) return 0;
    used = append(it, &v, used);
  }
  it->cursor = end;
  return 1;
}

/* In order of their hash, and whole groups of equal hashes, until `budget` bytes are used: at least one group. */
static int take_some(shmd_iter* it, uint32_t refs, uint64_t end, size_t budget) {
  size_t used = 0;
  uint32_t i, taken, count = 0;
  it->count = 0;
  if (!make_room(it, refs)) return no_memory(it, budget);
  for (i = 0; i < refs; ++i) {
    found_entry* f = &it->found[count];
    const int visible = look(it, it->offsets[i], end, &f->v);
    if (visible < 0) return visible;
    f->hash = f->v.hash;
    count += visible != 0;
  }
  qsort(it->found, count, sizeof *it->found, by_hash);
  for (taken = 0; taken < count; ++taken) {
    const size_t need = entry_bytes(&it->found[taken].v);
    if (taken > 0 && used + need > budget && it->found[taken].hash != it->found[taken - 1].hash) break;
    if (need > it->s->a->max_size) return no_memory(it, need);
    used += need;
  }
  if (!grow((void**)&it->bytes, &it->bytes_size, used + 8, 1)) return no_memory(it, used);
  for (i = 0, used = 0; i < taken; ++i) used = append(it, &it->found[i].v, used);
  it->cursor = taken < count ? (uint64_t)it->found[taken - 1].hash + 1 : end;
  return 1;
}

/* The next batch; apart, so that taking an entry out of one costs little. */
static SHMD_NOINLINE int fill(shmd_iter* it) {
  const shmd_control* c = shmd_control_of(it->s->a);
  size_t budget = BATCH_BYTES;
  int tries;
  for (tries = 0; tries < MAX_TRIES; ++tries) {
    /* SYNC recycle: as in shmd_read_get. */
    const uint64_t before = shmd_load_acquire(&c->recycle);
    const uint64_t cursor = it->cursor;
    uint64_t array = 0, end = 0;
    int valid, result = locate(it, &array, &end);
    if (result == 0) {
      const uint32_t refs = array != 0 ? gather(it, array) : 0;
      result = it->ordered ? 0 : take_all(it, refs, end, budget);
      if (result == 0) result = take_some(it, refs, end, budget);
    }
    if (it->s->kind != SHMD_SNAP_TRANSACTION && shmd_load_acquire(&c->recycle) != before) {
      it->cursor = cursor;
      budget /= 2;
      continue;
    }
    it->at = 0;
    valid = shmd_snapshot_valid(it->s);
    if (result < 0 || valid < 0) { /* nothing of it may be delivered */
      it->count = 0;
      it->cursor = cursor;
    }
    if (valid < 0) return valid;
    if (result == SHMD_ERR_CORRUPT)
      return shmd_fail(
          SHMD_ERR_CORRUPT,
          "dict '%s' is corrupt: an index or record leads astray; run shmd_check, restore a backup, or unlink it",
          it->s->a->name);
    return result < 0 ? result : 0;
  }
  it->count = it->at = 0;
  return shmd_fail(SHMD_ERR_BUSY, "dict '%s': the data kept changing; try again", it->s->a->name);
}

int shmd_iter_next(shmd_iter* it, shmd_entry* entry) {
  if (it == NULL || entry == NULL)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_iter_next: an iterator and a place for the entry are needed");
  while (it->at >= it->count) {
    int result;
    if (it->cursor >> 32) return SHMD_END;
    result = fill(it);
    if (result < 0) return result;
  }
  *entry = it->batch[it->at++];
  return 0;
}
