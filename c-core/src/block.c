/* SPDX-License-Identifier: Apache-2.0 */
#include "block.h"

#include <stdlib.h>

#include "node.h"
#include "reclaim.h"
#include "segment.h"

#define GET(id, field) shmd_tx_get(t, SHMD_S(t, id, field))
#define SET(id, field, value) shmd_tx_set(t, SHMD_S(t, id, field), value)

#define BLOCK_MIN_LOG2 5u
SHMD_ASSERT_LAYOUT(SHMD_BLOCK_MIN == 1u << BLOCK_MIN_LOG2);

static uint64_t bitmap_bytes(uint64_t count) { return (count + 63) / 64 * 8; }

static uint64_t header_bytes(uint64_t count) {
  return (bitmap_bytes(count) + count * sizeof(shmd_block) + SHMD_LINE - 1) & ~(uint64_t)(SHMD_LINE - 1);
}

void shmd_block_geometry(uint64_t segment_size, uint32_t* counts, uint32_t* firsts) {
  uint32_t class_;
  for (class_ = 0; class_ < SHMD_BLOCK_CLASSES; ++class_) {
    const uint64_t size = (uint64_t)SHMD_BLOCK_MIN << class_;
    uint64_t count = segment_size / (size + sizeof(shmd_block));
    while (count > 0 && header_bytes(count) + count * size > segment_size) --count;
    counts[class_] = (uint32_t)count;
    firsts[class_] = (uint32_t)header_bytes(count);
  }
}

/* Which of the class's lists a segment belongs to: 0, 1, or 2 = none (full). */
static uint32_t list_of(uint64_t live, uint64_t count) { return live >= count ? 2 : live * 2 >= count ? 0 : 1; }

static void relink(shmd_tx* t, uint64_t id, uint32_t class_, uint64_t before, uint64_t after, uint64_t count) {
  const uint32_t from = list_of(before, count), to = list_of(after, count);
  if (from == to || SHMD_GET_C(t, compact_segment[class_]) == id) return;
  if (from < 2) shmd_segment_unlink(t, SHMD_CI(t, block_lists[class_], from), id);
  if (to < 2) shmd_segment_link(t, SHMD_CI(t, block_lists[class_], to), id);
}

static int fresh_segment(shmd_tx* t, uint32_t class_, uint64_t* id) {
  struct shmd_engine* e = t->a->engine;
  uint64_t i;
  int result = shmd_segment_allocate(t, 1, SHMD_SEG_INDEX, class_, id);
  if (result < 0) return result;
  result = shmd_segment_memory(t, *id, e->block_first[class_]);
  if (result < 0) return shmd_tx_fail(t, result);
  if (t->error != 0) return t->error;
  for (i = 0; i < bitmap_bytes(e->block_count[class_]); i += 8)
    shmd_store_release(shmd_word(t->a, shmd_segment_offset(t->a, *id) + i), 0);
  shmd_segment_link(t, SHMD_CI(t, block_lists[class_], 1), *id);
  SHMD_SET_C(t, block_segments[class_], SHMD_GET_C(t, block_segments[class_]) + 1);
  return 0;
}

/* Index of the first free block from the segment's hint on. */
static bool find_free(shmd_tx* t, uint64_t base, uint64_t count, uint64_t* hint, uint64_t* index) {
  const uint64_t words = bitmap_bytes(count) / 8;
  uint64_t w;
  for (w = *hint; w < words; ++w) {
    const uint64_t bits = shmd_tx_get(t, base + 8 * w);
    uint32_t b;
    if (bits == UINT64_MAX) continue;
    for (b = 0; b < 64 && w * 64 + b < count; ++b) {
      if (!(bits >> b & 1)) {
        shmd_tx_set(t, base + 8 * w, bits | UINT64_C(1) << b);
        *hint = w;
        *index = w * 64 + b;
        return true;
      }
    }
  }
  return false;
}

int shmd_block_allocate(shmd_tx* t, uint32_t kind, uint32_t log2, uint32_t depth, uint32_t node, uint32_t prefix,
                        uint32_t live, uint32_t used, uint64_t* offset) {
  shmd_attachment* a = t->a;
  shmd_control* c = shmd_control_of(a);
  const uint32_t class_ = shmd_block_class(log2);
  const uint64_t count = a->engine->block_count[class_], size = (uint64_t)SHMD_BLOCK_MIN << class_;
  uint64_t id = SHMD_GET_C(t, block_lists[class_][0]), base, hint, index, blocks, descriptor;
  int result;
  if (id == SHMD_NONE) id = SHMD_GET_C(t, block_lists[class_][1]);
  if (count == 0)
    return shmd_fail(SHMD_ERR_NO_SPACE, "dict '%s': segment_size is too small for an index block of %llu bytes",
                     a->name, (unsigned long long)size);
  if (id == SHMD_NONE) {
    result = fresh_segment(t, class_, &id);
    if (result < 0) return result;
  }
  if (id >= a->super->segment_count) return (void)shmd_tx_astray(t, SHMD_S(t, id, kind)), SHMD_ERR_CORRUPT;
  base = shmd_segment_offset(a, id);
  hint = GET(id, used);
  if (!find_free(t, base, count, &hint, &index)) {
    hint = 0;
    if (!find_free(t, base, count, &hint, &index)) return (void)shmd_tx_astray(t, base), SHMD_ERR_CORRUPT;
  }
  if (hint != GET(id, used)) SET(id, used, hint);
  *offset = base + a->engine->block_first[class_] + index * size;
  result = shmd_segment_memory(t, id, *offset + size - base);
  if (result < 0) return shmd_tx_fail(t, result);
  blocks = GET(id, live);
  SET(id, live, blocks + 1);
  relink(t, id, class_, blocks, blocks + 1, count);
  SHMD_SET_C(t, blocks_used[class_], SHMD_GET_C(t, blocks_used[class_]) + 1);
  SHMD_ADD_C(t, index_bytes, size);
  if (shmd_load_acquire(&c->block_stamp) == shmd_load_acquire(&c->recycle)) shmd_recycle(t);
  descriptor = base + bitmap_bytes(count) + index * sizeof(shmd_block);
  shmd_store_release(shmd_word(a, descriptor), SHMD_PAIR(prefix, node));
  shmd_store_release(shmd_word(a, descriptor + 8), SHMD_BLOCK_STATE(live, used, depth, log2, kind));
  return t->error;
}

/* Where a block is: the base of its segment and its number there. */
typedef struct block_place {
  uint64_t base, index, count;
} block_place;

static bool locate(const shmd_tx* t, uint64_t offset, uint32_t class_, block_place* p) {
  const shmd_attachment* a = t->a;
  uint64_t in, size;
  if (offset < a->super->data_offset || offset >= a->max_size || class_ >= SHMD_BLOCK_CLASSES) return false;
  size = (uint64_t)SHMD_BLOCK_MIN << class_;
  p->count = a->engine->block_count[class_];
  p->base = shmd_segment_offset(a, shmd_segment_of(a, offset));
  in = offset - p->base - a->engine->block_first[class_];
  p->index = in >> (BLOCK_MIN_LOG2 + class_);
  return offset - p->base >= a->engine->block_first[class_] && (in & (size - 1)) == 0 && p->index < p->count;
}

uint64_t shmd_block_descriptor(shmd_tx* t, uint64_t offset, uint32_t log2) {
  block_place p;
  if (!locate(t, offset, shmd_block_class(log2), &p)) return shmd_tx_astray(t, offset);
  return p.base + bitmap_bytes(p.count) + p.index * sizeof(shmd_block);
}

/* Its bit is staged, not stored. */
static bool is_fresh(const shmd_tx* t, const block_place* p) {
  return (shmd_load_acquire(shmd_word(t->a, p->base + p->index / 64 * 8)) >> (p->index & 63) & 1) == 0;
}

bool shmd_block_fresh(shmd_tx* t, uint64_t offset, uint32_t log2) {
  block_place p;
  return locate(t, offset, shmd_block_class(log2), &p) && is_fresh(t, &p);
}

uint64_t shmd_block_look_at(shmd_tx* t, uint64_t offset, uint32_t log2, bool* fresh) {
  block_place p;
  *fresh = false;
  if (!locate(t, offset, shmd_block_class(log2), &p)) return shmd_tx_astray(t, offset);
  *fresh = is_fresh(t, &p);
  return p.base + bitmap_bytes(p.count) + p.index * sizeof(shmd_block);
}

void shmd_block_free(shmd_tx* t, uint64_t offset, uint32_t log2) {
  if (t->freed_count == t->freed_capacity) {
    const uint32_t capacity = t->freed_capacity ? t->freed_capacity * 2 : 64;
    shmd_block_ref* grown = (shmd_block_ref*)realloc(t->freed, capacity * sizeof *grown);
    if (grown == NULL) {
      (void)shmd_tx_fail(
          t, shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a transaction of this size", t->a->name));
      return;
    }
    t->freed = grown;
    t->freed_capacity = capacity;
  }
  t->freed[t->freed_count].offset = offset;
  t->freed[t->freed_count++].class_ = shmd_block_class(log2);
  if (!shmd_block_fresh(t, offset, log2)) shmd_tx_unstage(t, offset, (uint64_t)8 << log2);
}

void shmd_block_free_deferred(shmd_tx* t) {
  shmd_attachment* a = t->a;
  uint32_t i;
  for (i = 0; i < t->freed_count; ++i) {
    const uint32_t class_ = t->freed[i].class_;
    const uint64_t count = a->engine->block_count[class_], size = (uint64_t)SHMD_BLOCK_MIN << class_;
    const uint64_t id = shmd_segment_of(a, t->freed[i].offset), base = shmd_segment_offset(a, id);
    const uint64_t index = (t->freed[i].offset - base - a->engine->block_first[class_]) / size;
    const uint64_t word = base + index / 64 * 8, live = GET(id, live);
    shmd_tx_set(t, word, shmd_tx_get(t, word) & ~(UINT64_C(1) << (index & 63)));
    if (index / 64 < GET(id, used)) SET(id, used, index / 64);
    SET(id, live, live - 1);
    relink(t, id, class_, live, live - 1, count);
    SHMD_SET_C(t, blocks_used[class_], SHMD_GET_C(t, blocks_used[class_]) - 1);
    SHMD_ADD_C(t, index_bytes, -(int64_t)size);
    if (live == 1) {
      if (SHMD_GET_C(t, compact_segment[class_]) == id)
        SHMD_SET_C(t, compact_segment[class_], SHMD_NONE);
      else
        shmd_segment_unlink(t, SHMD_CI(t, block_lists[class_], list_of(0, count)), id);
      SHMD_SET_C(t, block_segments[class_], SHMD_GET_C(t, block_segments[class_]) - 1);
      shmd_segment_free(t, id);
    }
  }
  for (i = 0; i < t->freed_count; ++i)
    if (shmd_reclaim_blocks_due(t, t->freed[i].class_)) shmd_work(t, SHMD_WORK_BLOCKS);
  if (t->freed_count != 0) SHMD_SET_C(t, block_stamp, shmd_load_acquire(&shmd_control_of(a)->recycle));
  t->freed_count = 0;
}
