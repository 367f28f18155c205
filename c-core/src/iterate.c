/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Iteration over one dict as a snapshot sees it.
 *
 * The cursor is a hash value: everything with a smaller hash32 was delivered. Arrays cover ranges of hashes; one that fits
 * into a batch is delivered whole, of a larger one the entries in order of their hash: so the cursor means the same after
 * any split, merge or move. A batch is read from one array, copied out, and believed if the recycle counter did not move
 * meanwhile; overtaken ones are read again, in smaller portions. A batch is packed, so that it stays in the processor's
 * first cache until it is handed out. While one array is copied, the slots of the next are looked through and its records
 * sent for: the processor then waits for memory while it works, not before. What was found so is used only if the recycle
 * counter has not moved since: a slot of then leads a snapshot to the same version as one of now.
 */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "index.h"
#include "redo.h"
#include "snapshot.h"

#define BATCH_BYTES ((size_t)64 * 1024)
#define MAX_TRIES (1 << 20)
#define SMALLEST_RECORD 40
#define PORTION 16u /* entries copied between two looks ahead */
#define AHEAD 64u   /* entries that are on their way meanwhile: their lines fit into the first cache beside the batch */

typedef struct found_entry {
  uint32_t hash;
  shmd_record_view v;
} found_entry;

/* An entry of the batch. Key and value follow, each padded to 8 bytes; a dict's value is its node. */
typedef struct packed {
  uint32_t key_size, value_size;
  uint64_t position; /* | 1: a dict */
} packed;

#define WORDS_BYTES (sizeof(packed) + 16) /* of an entry whose key and value are one word each */

/* Where an array's slots lead. */
typedef struct gathered {
  uint64_t from, end; /* hash32 values that it is for; none if equal */
  uint64_t recycle;   /* the counter before the array was looked for */
  uint64_t array;     /* offset of its first slot */
  uint32_t slots, seen, refs;
  uint64_t offsets[1u << SHMD_ARRAY_OVERFLOW_LOG2];
} gathered;

struct shmd_iter {
  shmd_snapshot* s;
  shmd_node node;
  uint64_t cursor;      /* hash32 values below it are done; 2^32 = all */
  unsigned char* bytes; /* the batch */
  size_t bytes_size;
  size_t at, end; /* in it: what is still to be handed out */
  uint32_t given; /* entries of it that were */
  bool ordered;   /* entries come in order of their hash: whoever asks may stop between any two */
  unsigned now;   /* of the arrays: the one at the cursor; the other is the next one */
  gathered arrays[2];
  found_entry found[1u << SHMD_ARRAY_OVERFLOW_LOG2]; /* only used by take_some() */
};

static void clear(gathered* g) { memset(g, 0, offsetof(gathered, offsets)); }

int shmd_iter_open(shmd_snapshot* s, shmd_node node, shmd_iter** out) {
  shmd_iter* it;
  if (s == NULL || out == NULL)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_iter_open: a snapshot and a place for the iterator are needed");
  it = (shmd_iter*)malloc(sizeof *it);
  if (it == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for an iterator", s->a->name);
  memset(it, 0, offsetof(shmd_iter, arrays));
  clear(&it->arrays[0]);
  clear(&it->arrays[1]);
  it->s = s;
  it->node = node;
  *out = it;
  return 0;
}

void shmd_iter_close(shmd_iter* it) {
  if (it == NULL) return;
  free(it->bytes);
  free(it);
}

void shmd_iter_from(shmd_iter* it, uint32_t hash) {
  it->cursor = hash;
  it->ordered = true;
  it->at = it->end = it->given = 0;
}

/* In order, the batch is the beginning of `found`. */
uint32_t shmd_iter_hash(const shmd_iter* it) {
  return it->ordered && it->given != 0 ? it->found[it->given - 1].hash : 0;
}

static int by_hash(const void* x, const void* y) {
  const uint32_t a = ((const found_entry*)x)->hash, b = ((const found_entry*)y)->hash;
  return a < b ? -1 : a > b;
}

/* The array at hash32 `from`, none of whose slots was seen yet. */
static int locate(shmd_iter* it, uint64_t from, gathered* g) {
  const shmd_reader* r = &it->s->a->reader;
  const uint32_t prefix = (uint32_t)from;
  uint64_t ref, end = UINT64_C(1) << 32;
  uint32_t id, depth = 0;
  int result;
  clear(g);
  result = shmd_snapshot_index(it->s, it->node, &ref, &id);
  if (result < 0) return result;
  while (SHMD_REF_KIND(ref) == SHMD_REF_DIRECTORY) {
    const uint32_t log2 = shmd_ref_log2(ref);
    const uint64_t base = SHMD_REF_OFFSET(ref);
    uint64_t i, span;
    if (!shmd_index_directory_fits(ref, depth) || base >= r->limit) return SHMD_ERR_CORRUPT;
    i = (uint32_t)(prefix << depth) >> (32 - log2);
    ref = shmd_snapshot_word(it->s, base + 8 * i);
    depth += log2;
    span = UINT64_C(1) << (32 - depth);
    end = (prefix & ~(span - 1)) + span;
    if (SHMD_REF_KIND(ref) == SHMD_REF_ARRAY)
      for (++i; i < UINT64_C(1) << log2 && shmd_snapshot_word(it->s, base + 8 * i) == ref; ++i) end += span;
  }
  if (ref != 0 && (SHMD_REF_KIND(ref) != SHMD_REF_ARRAY || shmd_ref_log2(ref) > SHMD_ARRAY_OVERFLOW_LOG2 ||
                   SHMD_REF_OFFSET(ref) >= r->limit))
    return SHMD_ERR_CORRUPT;
  g->from = from;
  g->end = end;
  g->array = SHMD_REF_OFFSET(ref);
  g->slots = ref != 0 ? 1u << shmd_ref_log2(ref) : 0;
  return 0;
}

/* Of the batch, for the entry. */
SHMD_INLINE size_t packed_bytes(const shmd_record_view* v) {
  return sizeof(packed) + (size_t)(v->value - v->key) + (size_t)SHMD_PAD8(v->value_size);
}

/* Room for a batch of `size` bytes. */
static bool make_room(shmd_iter* it, size_t size) {
  const size_t twice = it->bytes_size * 2, capacity = size > twice ? size : twice;
  unsigned char* grown;
  if (size <= it->bytes_size) return true;
  grown = (unsigned char*)realloc(it->bytes, capacity);
  if (grown == NULL) return false;
  it->bytes = grown;
  it->bytes_size = capacity;
  return true;
}

static int no_memory(const shmd_iter* it, size_t bytes) {
  return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory to copy an entry of %llu bytes", it->s->a->name,
                   (unsigned long long)bytes);
}

/* The next `slots` slots, at most; their records are on their way to the cache afterwards. Which slots are empty no processor can
 * predict, nor which records lie in two lines: no branches. */
static void gather(const shmd_snapshot* s, gathered* g, uint32_t slots) {
  const unsigned char* const base = s->a->reader.base;
  const uint64_t limit = s->a->reader.limit, array = g->array;
  const uint32_t left = g->slots - g->seen, until = g->seen + (slots < left ? slots : left);
  uint32_t i, refs = g->refs;
  for (i = g->seen; i < until; ++i) {
    const uint64_t slot = shmd_snapshot_word(s, array + 8 * (uint64_t)i);
    const uint64_t offset = slot & SHMD_OFFSET_MASK;
    const unsigned char* record = base + (offset < limit ? offset : 0);
    g->offsets[refs] = offset;
    refs += shmd_slot_refers(slot);
    SHMD_PREFETCH(record);
    SHMD_PREFETCH(record + SMALLEST_RECORD - 1);
  }
  g->refs = refs;
  g->seen = until;
}

/* Whether the cursor is in it, and what was gathered still good. A transaction's own changes move no counter. */
static bool holds(const shmd_iter* it, const gathered* g, uint64_t recycle) {
  return it->cursor - g->from < g->end - g->from && g->recycle == recycle && it->s->kind != SHMD_SNAP_TRANSACTION;
}

/* Makes arrays[now] the array at the cursor. 0, or an error. */
static int gather_now(shmd_iter* it, uint64_t recycle) {
  gathered* g = &it->arrays[it->now];
  if (!holds(it, g, recycle)) g = &it->arrays[it->now ^= 1];
  if (!holds(it, g, recycle)) {
    const int result = locate(it, it->cursor, g);
    if (result < 0) return result;
    g->recycle = recycle;
  }
  return 0;
}

/* The array after it; with no slots if there is none to look at ahead. What is wrong with it is said when it comes. */
static gathered* next_array(shmd_iter* it, uint64_t recycle) {
  const uint64_t from = it->arrays[it->now].end;
  gathered* g = &it->arrays[it->now ^ 1];
  if (from >> 32 || it->s->kind == SHMD_SNAP_TRANSACTION || locate(it, from, g) < 0) clear(g);
  g->recycle = recycle;
  return g;
}

/* The record at `offset`, as the snapshot sees it. 1 it is visible and its hash within [from, end), 0 not, CORRUPT. */
SHMD_INLINE int look(const shmd_snapshot* s, uint64_t offset, uint64_t from, uint64_t end, shmd_record_view* v) {
  if (SHMD_UNLIKELY(!shmd_record_read(&s->a->reader, offset, v))) return SHMD_ERR_CORRUPT;
  if (SHMD_UNLIKELY(v->hash - from >= end - from)) return 0;
  if (SHMD_UNLIKELY(s->kind == SHMD_SNAP_PINNED && v->position >= s->position)) {
    shmd_record_view older = *v; /* the view itself stays in registers */
    const int result = shmd_snapshot_older(s, &older);
    *v = older;
    return result;
  }
  return v->kind != SHMD_REC_ERASE;
}

/* Packs an entry to `to`. REQUIRES: room for packed_bytes(). */
SHMD_INLINE void pack(const shmd_reader* r, unsigned char* to, const shmd_record_view* v) {
  packed* e = (packed*)(void*)to;
  e->key_size = v->key_size;
  e->value_size = (uint32_t)v->value_size;
  e->position = v->position | (v->kind == SHMD_REC_NODE);
  to += sizeof *e;
  if (v->key_size != 0) shmd_read_bytes(r, to, v->key, v->key_size);
  if (v->value_size != 0) shmd_read_bytes(r, to + (v->value - v->key), v->value, (size_t)v->value_size);
}

/* An entry with a key and a value of 8 bytes, which are one word each, packed to `to`, where there is room for it. False if the
 * record is of another kind, corrupt, or as the snapshot does not see it. Nothing gathers what was just stored: word by word. */
SHMD_INLINE bool take_words(const shmd_snapshot* s, uint64_t offset, uint64_t from, uint64_t end, unsigned char* to) {
  const shmd_reader* r = &s->a->reader;
  const uint64_t* record;
  uint64_t position, key, value;
  packed e;
  if (SHMD_UNLIKELY(offset >= r->limit || (offset & 7) != 0)) return false;
  record = (const uint64_t*)(const void*)(r->base + offset);
  if (SHMD_UNLIKELY(shmd_load_acquire(record + 2) != SHMD_SHAPE(8, SHMD_REC_PUT, 8))) return false;
  if (SHMD_UNLIKELY((shmd_load_acquire(record + 1) >> 32) - from >= end - from)) return false;
  position = shmd_load_acquire(record) >> 8 << 3;
  if (SHMD_UNLIKELY(s->kind == SHMD_SNAP_PINNED && position >= s->position)) return false;
  key = shmd_load_acquire(record + 3);
  value = shmd_load_acquire(record + 4);
  e.key_size = e.value_size = 8;
  e.position = position;
  memcpy(to, &e, sizeof e);
  memcpy(to + sizeof e, &key, 8);
  memcpy(to + sizeof e + 8, &value, 8);
  return true;
}

/* The visible entries of offsets [i, until), packed behind `*used`. 1 they fit into `budget`, 0 not, or an error. */
SHMD_INLINE int take(shmd_iter* it, const gathered* g, uint32_t i, uint32_t until, size_t* used, size_t budget) {
  const shmd_snapshot* s = it->s;
  const uint64_t from = it->cursor, end = g->end;
  unsigned char* const bytes = it->bytes;
  size_t at = *used;
  for (; i < until; ++i) {
    shmd_record_view v;
    int visible;
    size_t need;
    if (SHMD_LIKELY(budget - at >= WORDS_BYTES) && take_words(s, g->offsets[i], from, end, bytes + at)) {
      at += WORDS_BYTES;
      continue;
    }
    visible = look(s, g->offsets[i], from, end, &v);
    if (SHMD_UNLIKELY(visible <= 0)) {
      if (visible < 0) return visible;
      continue;
    }
    need = packed_bytes(&v);
    if (SHMD_UNLIKELY(need > budget - at)) return 0;
    pack(&s->a->reader, bytes + at, &v);
    at += need;
  }
  *used = at;
  return 1;
}

/* All visible entries of the array, as they come, if they fit into `budget`. 1 they do, 0 not, or an error. */
static int take_all(shmd_iter* it, gathered* g, gathered* next, size_t budget) {
  size_t used = 0;
  uint32_t i = 0;
  it->end = 0;
  if (!make_room(it, budget)) return no_memory(it, budget);
  if (g->seen == 0) gather(it->s, g, AHEAD);
  while (i < g->refs || g->seen < g->slots) {
    const uint32_t until = g->refs - i < PORTION ? g->refs : i + PORTION;
    int result;
    if (g->refs - i + next->refs < AHEAD) gather(it->s, g->seen < g->slots ? g : next, 2 * PORTION);
    result = take(it, g, i, until, &used, budget);
    if (result <= 0) return result;
    i = until;
  }
  it->end = used;
  it->cursor = g->end;
  return 1;
}

/* In order of their hash, and whole groups of equal hashes, until `budget` bytes are used: at least one group. */
static int take_some(shmd_iter* it, gathered* g, size_t budget) {
  const uint64_t end = g->end;
  size_t used = 0;
  uint32_t i, taken, count = 0;
  it->end = 0;
  gather(it->s, g, g->slots);
  for (i = 0; i < g->refs; ++i) {
    found_entry* f = &it->found[count];
    const int visible = look(it->s, g->offsets[i], it->cursor, end, &f->v);
    if (visible < 0) return visible;
    f->hash = f->v.hash;
    count += visible != 0;
  }
  qsort(it->found, count, sizeof *it->found, by_hash);
  for (taken = 0; taken < count; ++taken) {
    const size_t need = packed_bytes(&it->found[taken].v);
    if (taken > 0 && used + need > budget && it->found[taken].hash != it->found[taken - 1].hash) break;
    if (need > it->s->a->max_size) return no_memory(it, need);
    used += need;
  }
  if (!make_room(it, used)) return no_memory(it, used);
  for (i = 0; i < taken; ++i) {
    pack(&it->s->a->reader, it->bytes + it->end, &it->found[i].v);
    it->end += packed_bytes(&it->found[i].v);
  }
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
    int valid, result = gather_now(it, before);
    if (result == 0) {
      gathered* g = &it->arrays[it->now];
      result = it->ordered ? 0 : take_all(it, g, next_array(it, before), budget);
      if (result == 0) result = take_some(it, g, budget);
    }
    if (it->s->kind != SHMD_SNAP_TRANSACTION && shmd_load_acquire(&c->recycle) != before) {
      it->cursor = cursor;
      budget /= 2;
      continue;
    }
    it->at = it->given = 0;
    valid = shmd_snapshot_valid(it->s);
    if (result < 0 || valid < 0) { /* nothing of it may be delivered */
      it->end = 0;
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
  it->at = it->end = it->given = 0;
  return shmd_fail(SHMD_ERR_BUSY, "dict '%s': the data kept changing; try again", it->s->a->name);
}

/* The entry at `at`. */
SHMD_INLINE void unpack(shmd_iter* it, shmd_entry* entry) {
  const packed* e = (const packed*)(const void*)(it->bytes + it->at);
  const unsigned char* key = (const unsigned char*)(e + 1);
  const uint32_t key_size = e->key_size, value_size = e->value_size;
  const uint64_t position = e->position;
  it->at += sizeof *e + (size_t)SHMD_PAD8(key_size) + (size_t)SHMD_PAD8((uint64_t)value_size);
  ++it->given;
  entry->key = key;
  entry->value = key + SHMD_PAD8(key_size);
  entry->key_size = key_size;
  entry->value_size = value_size;
  entry->is_dict = 0;
  entry->node.id = 0;
  entry->node.generation = 0;
  entry->position = position & ~UINT64_C(1);
  if (SHMD_UNLIKELY(position & 1)) {
    uint64_t word = 0;
    if (value_size == 8) memcpy(&word, entry->value, 8);
    entry->is_dict = 1;
    entry->node.id = SHMD_LOW(word);
    entry->node.generation = SHMD_HIGH(word);
    entry->value_size = 0;
  }
}

static SHMD_NOINLINE int next_batch(shmd_iter* it, shmd_entry* entry) {
  if (it == NULL || entry == NULL)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_iter_next: an iterator and a place for the entry are needed");
  do {
    int result;
    if (it->cursor >> 32) return SHMD_END;
    result = fill(it);
    if (result < 0) return result;
  } while (it->at == it->end);
  unpack(it, entry);
  return 0;
}

int shmd_iter_next(shmd_iter* it, shmd_entry* entry) {
  if (SHMD_UNLIKELY(it == NULL || entry == NULL || it->at == it->end)) return next_batch(it, entry);
  unpack(it, entry);
  return 0;
}
