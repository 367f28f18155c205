/*
 * shmd_check: walks everything and compares what is stored twice or follows from something else. Reads only.
 *
 * Every bound is checked before it is used and every loop is bounded by a table's size: a corrupt or hostile object gives
 * findings, not crashes.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "block.h"
#include "call.h"
#include "dict.h"
#include "error.h"
#include "index.h"
#include "node.h"
#include "segment.h"

#define MAX_FINDINGS 100u

typedef struct checker {
  shmd_attachment* a;
  const shmd_control* c;
  const shmd_segment* segments;
  const shmd_node_entry* nodes;
  uint64_t frontier, node_frontier;
  uint64_t* live;   /* per segment: bytes that slots refer to, or blocks reached */
  uint8_t* listed;  /* per segment: in how many lists */
  uint8_t* reached; /* per node: referred to by how many records */
  uint64_t blocks[SHMD_BLOCK_CLASSES];
  uint64_t ghosts;
  shmd_report_fn report;
  void* context;
  uint32_t findings;
} checker;

static void finding(checker* k, const char* format, ...) __attribute__((format(printf, 2, 3)));
static void finding(checker* k, const char* format, ...) {
  char text[256];
  va_list arguments;
  if (++k->findings > MAX_FINDINGS || k->report == NULL) return;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  k->report(k->context, text);
}

typedef unsigned long long ull;

static uint64_t word(const checker* k, uint64_t offset) { return shmd_load_acquire(shmd_word(k->a, offset)); }

static bool block_in_bounds(const checker* k, uint64_t ref) {
  const uint64_t offset = SHMD_REF_OFFSET(ref);
  return shmd_ref_log2(ref) <= SHMD_ARRAY_OVERFLOW_LOG2 && offset >= k->a->super->data_offset &&
         offset < k->a->reader.limit && shmd_segment_of(k->a, offset) < k->frontier;
}

/* The block is in an index segment of its class, its bit is set, its descriptor says what it is. Gives the state. */
static bool check_block(checker* k, uint32_t node, uint64_t ref, uint32_t depth_max, uint64_t* state) {
  const uint32_t log2 = shmd_ref_log2(ref), class_ = shmd_block_class(log2);
  const uint64_t offset = SHMD_REF_OFFSET(ref), id = shmd_segment_of(k->a, offset),
                 base = shmd_segment_offset(k->a, id);
  const uint64_t count = k->a->engine->block_count[class_], first = k->a->engine->block_first[class_];
  const uint64_t size = (uint64_t)SHMD_BLOCK_MIN << class_, in = offset - base - first, index = in / size;
  const uint64_t kind = shmd_load_acquire(&k->segments[id].kind);
  uint64_t owner, descriptor;
  if (SHMD_LOW(kind) != SHMD_SEG_INDEX || SHMD_HIGH(kind) != class_ || offset - base < first || in % size != 0 ||
      index >= count) {
    finding(k, "node %u: the index block at %llu is not in an index segment of its class", node, (ull)offset);
    return false;
  }
  if (!(word(k, base + index / 64 * 8) >> (index & 63) & 1))
    finding(k, "node %u: the index block at %llu is marked free", node, (ull)offset);
  descriptor = base + (count + 63) / 64 * 8 + index * sizeof(shmd_block);
  owner = word(k, descriptor);
  *state = word(k, descriptor + 8);
  if (SHMD_LOW(owner) != node || SHMD_BLOCK_LOG2(*state) != log2 ||
      SHMD_BLOCK_KIND(*state) != (uint32_t)SHMD_REF_KIND(ref) || SHMD_REF_MASK(ref) != (1u << log2) - 1 ||
      SHMD_BLOCK_DEPTH(*state) > depth_max)
    finding(k, "node %u: the descriptor of the index block at %llu does not fit it", node, (ull)offset);
  if (k->live[id] >= count) { /* directories that share blocks would take for ever */
    finding(k, "index segment %llu: more references than blocks", (ull)id);
    return false;
  }
  ++k->live[id];
  ++k->blocks[class_];
  return true;
}

static void check_child(checker* k, uint32_t node, const shmd_record_view* v) {
  const uint64_t child = v->value_size == 8 ? shmd_load_acquire((const uint64_t*)(const void*)v->value) : 0;
  const shmd_node_entry* e;
  if (SHMD_LOW(child) == 0 || SHMD_LOW(child) >= k->node_frontier) {
    finding(k, "node %u: the record at %llu names no node", node, (ull)v->offset);
    return;
  }
  e = k->nodes + SHMD_LOW(child);
  if (k->reached[SHMD_LOW(child)] < 2) ++k->reached[SHMD_LOW(child)];
  if (shmd_load_acquire(&e->identity) != SHMD_PAIR(SHMD_HIGH(child), SHMD_NODE_LIVE)) {
    if (SHMD_LOW(shmd_load_acquire(&k->nodes[node].identity)) == SHMD_NODE_LIVE)
      finding(k, "node %u: the record at %llu names node %u, which is not that dict", node, (ull)v->offset,
              SHMD_LOW(child));
    return;
  }
  if (shmd_load_acquire(&e->self) != v->offset)
    finding(k, "node %u: its entry does not point back at the record %llu that names it", SHMD_LOW(child),
            (ull)v->offset);
  if (SHMD_LOW(shmd_load_acquire(&e->parent)) != node)
    finding(k, "node %u: its entry names another parent than %u", SHMD_LOW(child), node);
}

/* A look-up of `hash` comes as far as slot `i`: no empty slot lies before it. */
static bool probe_reaches(const checker* k, uint64_t base, uint64_t slots, uint64_t hash, uint64_t i) {
  uint64_t at = SHMD_PROBE_START(hash) & (slots - 1);
  for (; at != i; at = (at + 1) & (slots - 1))
    if (word(k, base + 8 * at) == SHMD_SLOT_EMPTY) return false;
  return true;
}

/* Counts the keys of an array whose references cover hashes with `depth` bits of `prefix`. */
static uint64_t check_array(checker* k, uint32_t node, uint64_t ref, uint32_t prefix, bool live_node) {
  const uint64_t slots = UINT64_C(1) << shmd_ref_log2(ref), base = SHMD_REF_OFFSET(ref);
  uint64_t state, i, keys = 0;
  uint32_t live = 0, used = 0, depth;
  if (!check_block(k, node, ref, SHMD_MAX_DEPTH, &state)) return 0;
  depth = SHMD_BLOCK_DEPTH(state);
  if (depth > SHMD_MAX_DEPTH) return 0; /* found already */
  for (i = 0; i < slots; ++i) {
    const uint64_t slot = word(k, base + 8 * i), id = shmd_segment_of(k->a, slot & SHMD_OFFSET_MASK);
    shmd_record_view v;
    uint64_t hash;
    if (slot == SHMD_SLOT_EMPTY) continue;
    ++used;
    if (!shmd_slot_refers(slot)) continue;
    ++live;
    if (!shmd_record_read(&k->a->reader, slot & SHMD_OFFSET_MASK, &v) || id >= k->frontier) {
      finding(k, "node %u: a slot leads to %llu, which is no record", node, (ull)(slot & SHMD_OFFSET_MASK));
      continue;
    }
    hash = shmd_hash_key(k->a->reader.hash_seed, v.key, v.key_size);
    if (v.node != node || v.hash != (uint32_t)hash || ((hash ^ slot) >> 48) != 0 ||
        (depth > 0 && ((uint32_t)hash ^ prefix) >> (32 - depth) != 0))
      finding(k, "node %u: the record at %llu does not belong into the slot that leads to it", node, (ull)v.offset);
    else if (live_node && !probe_reaches(k, base, slots, hash, i))
      finding(k, "node %u: a look-up ends before it reaches the record at %llu", node, (ull)v.offset);
    k->live[id] += v.size;
    if (v.kind == SHMD_REC_ERASE)
      ++k->ghosts;
    else if (v.kind == SHMD_REC_PUT || v.kind == SHMD_REC_NODE)
      ++keys;
    else
      finding(k, "node %u: a slot leads to a record of kind %u at %llu", node, v.kind, (ull)v.offset);
    if (v.kind == SHMD_REC_NODE) check_child(k, node, &v);
  }
  if (live != SHMD_BLOCK_LIVE(state) || used != SHMD_BLOCK_USED(state))
    finding(k, "node %u: the array at %llu has %u live and %u used slots, its descriptor says %u and %u", node,
            (ull)base, live, used, SHMD_BLOCK_LIVE(state), SHMD_BLOCK_USED(state));
  if (live_node && used >= slots) finding(k, "node %u: the array at %llu has no empty slot", node, (ull)base);
  return keys;
}

/* The references to an array fill exactly the range that its depth says. */
static void check_span(checker* k, uint32_t node, uint64_t dir, uint32_t dir_depth, uint64_t first, uint64_t array) {
  const uint32_t log2 = shmd_ref_log2(dir);
  uint64_t n = first, state;
  if (!check_block(k, node, array, SHMD_MAX_DEPTH, &state)) return;
  --k->live[shmd_segment_of(k->a, SHMD_REF_OFFSET(array))]; /* counted when the array itself is checked */
  --k->blocks[shmd_block_class(shmd_ref_log2(array))];
  while (n < UINT64_C(1) << log2 && word(k, SHMD_REF_OFFSET(dir) + 8 * n) == array) ++n;
  if (SHMD_BLOCK_DEPTH(state) < dir_depth || SHMD_BLOCK_DEPTH(state) > dir_depth + log2 ||
      n - first != UINT64_C(1) << (dir_depth + log2 - SHMD_BLOCK_DEPTH(state)) || (first & (n - first - 1)) != 0)
    finding(k, "node %u: the references to the array at %llu do not fill its range", node, (ull)SHMD_REF_OFFSET(array));
}

static uint64_t check_directory(checker* k, uint32_t node, uint64_t ref, uint32_t prefix, uint32_t depth,
                                bool live_node) {
  const uint32_t log2 = shmd_ref_log2(ref);
  uint64_t i, state, previous = 0, keys = 0;
  if (!shmd_index_directory_fits(ref, depth)) {
    finding(k, "node %u: a directory at %llu does not fit where it stands", node, (ull)SHMD_REF_OFFSET(ref));
    return 0;
  }
  if (!check_block(k, node, ref, SHMD_MAX_DEPTH, &state)) return 0;
  for (i = 0; i < UINT64_C(1) << log2; ++i) {
    const uint64_t child = word(k, SHMD_REF_OFFSET(ref) + 8 * i);
    const uint32_t below = prefix | (uint32_t)(i << (32 - depth - log2));
    if (child == previous && child != 0) continue;
    previous = child;
    if (child == 0) {
      if (live_node) finding(k, "node %u: a directory leads nowhere", node);
    } else if (!block_in_bounds(k, child)) {
      finding(k, "node %u: a directory at %llu leads astray", node, (ull)SHMD_REF_OFFSET(ref));
    } else if (SHMD_REF_KIND(child) == SHMD_REF_ARRAY) {
      check_span(k, node, ref, depth, i, child);
      keys += check_array(k, node, child, below, live_node);
    } else if (SHMD_REF_KIND(child) == SHMD_REF_DIRECTORY) {
      keys += check_directory(k, node, child, below, depth + log2, live_node);
    } else {
      finding(k, "node %u: a directory at %llu holds something unknown", node, (ull)SHMD_REF_OFFSET(ref));
    }
  }
  return keys;
}

static void check_nodes(checker* k) {
  const uint64_t root = shmd_load_acquire(&k->c->root_node), hidden = shmd_load_acquire(&k->c->hidden_node);
  uint64_t id, in_use = 0, sweeping = 0, queued = 0, steps;
  for (id = 1; id < k->node_frontier; ++id) {
    const shmd_node_entry* e = k->nodes + id;
    const uint64_t identity = shmd_load_acquire(&e->identity), ref = shmd_load_acquire(&e->root);
    const bool live = SHMD_LOW(identity) == SHMD_NODE_LIVE;
    uint64_t keys = 0;
    if (SHMD_LOW(identity) == SHMD_NODE_FREE) continue;
    ++in_use;
    sweeping += SHMD_LOW(identity) == SHMD_NODE_SWEEPING;
    if (id == SHMD_LOW(root) && ref != shmd_load_acquire(&k->c->root_index))
      finding(k, "node %llu: it is the root, but root_index is another reference than its own", (ull)id);
    if (ref != 0 && !block_in_bounds(k, ref))
      finding(k, "node %llu: its index leads astray", (ull)id);
    else if (SHMD_REF_KIND(ref) == SHMD_REF_ARRAY)
      keys = check_array(k, (uint32_t)id, ref, 0, live);
    else if (SHMD_REF_KIND(ref) == SHMD_REF_DIRECTORY)
      keys = check_directory(k, (uint32_t)id, ref, 0, 0, live);
    else if (ref != 0)
      finding(k, "node %llu: its index is neither array nor directory", (ull)id);
    if (live && keys != shmd_load_acquire(&e->count))
      finding(k, "node %llu: it has %llu keys, its entry says %llu", (ull)id, (ull)keys,
              (ull)shmd_load_acquire(&e->count));
  }
  if (SHMD_LOW(root) == 0 || SHMD_LOW(root) >= k->node_frontier ||
      shmd_load_acquire(&k->nodes[SHMD_LOW(root)].identity) != SHMD_PAIR(SHMD_HIGH(root), SHMD_NODE_LIVE))
    finding(k, "the root is not a live node");
  if (hidden != 0 &&
      (SHMD_LOW(hidden) == 0 || SHMD_LOW(hidden) >= k->node_frontier ||
       shmd_load_acquire(&k->nodes[SHMD_LOW(hidden)].identity) != SHMD_PAIR(SHMD_HIGH(hidden), SHMD_NODE_LIVE) ||
       shmd_load_acquire(&k->nodes[SHMD_LOW(hidden)].parent) != 0 || k->reached[SHMD_LOW(hidden)] != 0))
    finding(k, "the dict of named locks is no live node apart from the tree");
  for (id = 1; id < k->node_frontier; ++id)
    if (SHMD_LOW(shmd_load_acquire(&k->nodes[id].identity)) == SHMD_NODE_LIVE && id != SHMD_LOW(root) &&
        id != SHMD_LOW(hidden) && k->reached[id] != 1)
      finding(k, "node %llu: %s", (ull)id, k->reached[id] ? "several records name it" : "no record names it");
  if (in_use != shmd_load_acquire(&k->c->node_count))
    finding(k, "%llu nodes are in use, the count says %llu", (ull)in_use, (ull)shmd_load_acquire(&k->c->node_count));
  for (id = shmd_load_acquire(&k->c->sweep_head), steps = 0;
       id != SHMD_NONE && id < k->node_frontier && steps <= k->node_frontier; ++steps) {
    if (SHMD_LOW(shmd_load_acquire(&k->nodes[id].identity)) != SHMD_NODE_SWEEPING)
      finding(k, "node %llu waits for its sweep and is in use", (ull)id);
    ++queued;
    id = shmd_load_acquire(&k->nodes[id].next);
  }
  if (queued != sweeping || queued != shmd_load_acquire(&k->c->sweep_count))
    finding(k, "%llu nodes wait for their sweep, %llu are queued", (ull)sweeping, (ull)queued);
  for (id = shmd_load_acquire(&k->c->node_free_head), steps = 0; id != SHMD_NONE && steps <= k->node_frontier;
       ++steps) {
    if (id >= k->node_frontier || SHMD_LOW(shmd_load_acquire(&k->nodes[id].identity)) != SHMD_NODE_FREE) {
      finding(k, "the queue of free nodes leads to node %llu, which is not free", (ull)id);
      break;
    }
    id = shmd_load_acquire(&k->nodes[id].next);
  }
}

/* ---- segments ---- */

static bool listed(checker* k, uint64_t id, uint32_t kind, const char* list) {
  if (id >= k->frontier) {
    finding(k, "%s leads to segment %llu, beyond the frontier", list, (ull)id);
    return false;
  }
  if (k->listed[id]++ != 0) {
    finding(k, "segment %llu is in two lists or a loop", (ull)id);
    return false;
  }
  if (SHMD_LOW(shmd_load_acquire(&k->segments[id].kind)) != kind)
    finding(k, "segment %llu in %s is of kind %u", (ull)id, list, SHMD_LOW(shmd_load_acquire(&k->segments[id].kind)));
  return true;
}

static void check_lists(checker* k) {
  uint64_t id, count, i;
  for (i = 0; i < SHMD_BUCKETS; ++i) {
    for (id = shmd_load_acquire(&k->c->buckets[i]);
         id != SHMD_NONE && listed(k, id, SHMD_SEG_CLOSED, "a liveness list");
         id = SHMD_LOW(shmd_load_acquire(&k->segments[id].links))) {
      const uint64_t live = shmd_load_acquire(&k->segments[id].live), used = shmd_load_acquire(&k->segments[id].used);
      const uint64_t bucket = shmd_segment_bucket(k->a, live, used);
      if (bucket != i)
        finding(k, "segment %llu is in liveness list %llu instead of %llu", (ull)id, (ull)i, (ull)bucket);
    }
  }
  for (i = 0; i < SHMD_EXTENT_CLASSES; ++i) {
    for (id = shmd_load_acquire(&k->c->extents[i]); id != SHMD_NONE && listed(k, id, SHMD_SEG_EXTENT, "an extent list");
         id = SHMD_LOW(shmd_load_acquire(&k->segments[id].links))) {
      const uint64_t length = SHMD_HIGH(shmd_load_acquire(&k->segments[id].kind));
      uint64_t n;
      if (length == 0 || length > k->frontier - id) {
        finding(k, "the extent at segment %llu is too long", (ull)id);
        break;
      }
      for (n = 1; n < length; ++n)
        if (k->listed[id + n]++ != 0) finding(k, "segment %llu is in an extent and in a list", (ull)id + n);
    }
  }
  for (i = 0; i < UINT64_C(2) * SHMD_BLOCK_CLASSES; ++i)
    for (id = shmd_load_acquire(&k->c->block_lists[i / 2][i % 2]);
         id != SHMD_NONE && listed(k, id, SHMD_SEG_INDEX, "a block list");
         id = SHMD_LOW(shmd_load_acquire(&k->segments[id].links)))
      if (SHMD_HIGH(shmd_load_acquire(&k->segments[id].kind)) != i / 2)
        finding(k, "segment %llu is in the block list of another class", (ull)id);
  for (id = shmd_load_acquire(&k->c->freed_head), count = 0;
       id != SHMD_NONE && listed(k, id, SHMD_SEG_FREED, "the freed queue"); ++count) {
    const uint64_t length = SHMD_HIGH(shmd_load_acquire(&k->segments[id].kind));
    uint64_t n;
    for (n = 1; n < length && id + n < k->frontier; ++n) ++k->listed[id + n];
    id = shmd_load_acquire(&k->segments[id].next);
  }
  if (count != shmd_load_acquire(&k->c->freed_count))
    finding(k, "%llu segments are in the freed queue, the count says %llu", (ull)count,
            (ull)shmd_load_acquire(&k->c->freed_count));
  for (id = shmd_load_acquire(&k->c->warm_head), count = 0;
       id != SHMD_NONE && listed(k, id, SHMD_SEG_WARM, "the warm list"); ++count)
    id = shmd_load_acquire(&k->segments[id].next);
  if (count != shmd_load_acquire(&k->c->warm_count))
    finding(k, "%llu segments are warm, the count says %llu", (ull)count, (ull)shmd_load_acquire(&k->c->warm_count));
  for (id = shmd_load_acquire(&k->c->reserve); id != SHMD_NONE && listed(k, id, SHMD_SEG_RESERVE, "the reserve");)
    id = shmd_load_acquire(&k->segments[id].next);
}

static void check_chain(checker* k) {
  uint64_t id = shmd_load_acquire(&k->c->history_tail), steps, expected = 0;
  const uint64_t head = shmd_load_acquire(&k->c->head), last = shmd_load_acquire(&k->c->head_segment);
  for (steps = 0; steps <= k->frontier; ++steps) {
    const shmd_segment* s;
    uint64_t length, n;
    if (!listed(k, id, SHMD_SEG_LOG, "the log chain")) return;
    s = k->segments + id;
    length = SHMD_HIGH(shmd_load_acquire(&s->kind));
    for (n = 1; n < length && id + n < k->frontier; ++n) ++k->listed[id + n];
    if (expected != 0 && shmd_load_acquire(&s->position) != expected)
      finding(k, "segment %llu of the log begins at another position than the one before ends", (ull)id);
    if (id == last) {
      if (head < shmd_load_acquire(&s->position) || head - shmd_load_acquire(&s->position) > length
                                                                                                 << k->a->segment_shift)
        finding(k, "head is not in the head segment");
      return;
    }
    expected = shmd_load_acquire(&s->position) + shmd_load_acquire(&s->used);
    id = shmd_load_acquire(&s->next);
  }
  finding(k, "the log chain does not end");
}

/* Records follow each other without a gap; bytes in use are accounted for. */
static void check_records(checker* k, uint64_t id, uint64_t used) {
  uint64_t at = shmd_segment_offset(k->a, id);
  const uint64_t end = at + used;
  if (used > k->a->segment_size && SHMD_HIGH(shmd_load_acquire(&k->segments[id].kind)) < 2) {
    finding(k, "segment %llu uses more than its size", (ull)id);
    return;
  }
  while (at < end) {
    shmd_record_view v;
    if (!shmd_record_read(&k->a->reader, at, &v) || v.size > end - at || v.kind == 0 || v.kind > SHMD_REC_CLEAR) {
      finding(k, "segment %llu: no record at %llu", (ull)id, (ull)at);
      return;
    }
    at += v.size;
  }
}

static void check_segments(checker* k) {
  uint64_t id, live_bytes = 0, log_bytes = 0, segments[SHMD_BLOCK_CLASSES] = {0}, index_bytes = 0;
  uint32_t class_;
  const uint64_t head = shmd_load_acquire(&k->c->head), head_segment = shmd_load_acquire(&k->c->head_segment);
  const uint64_t cold = shmd_load_acquire(&k->c->cold_segment), cold_at = shmd_load_acquire(&k->c->cold_at);
  const uint64_t victim = shmd_load_acquire(&k->c->victim);
  for (id = 0; id < k->frontier; ++id) {
    const shmd_segment* s = k->segments + id;
    const uint64_t kind = shmd_load_acquire(&s->kind), live = shmd_load_acquire(&s->live);
    uint64_t used = shmd_load_acquire(&s->used);
    bool log = false, open = false;
    switch (SHMD_LOW(kind)) {
      case SHMD_SEG_LOG:
        log = true;
        open = id == head_segment;
        if (open) used = head - shmd_load_acquire(&s->position);
        break;
      case SHMD_SEG_COLD:
        log = open = true;
        if (id != cold) finding(k, "segment %llu is cold and not the open one", (ull)id);
        used = cold_at - shmd_segment_offset(k->a, id);
        ++k->listed[id];
        break;
      case SHMD_SEG_VICTIM:
        log = true;
        if (id != victim) finding(k, "segment %llu is a victim and not the one being cleaned", (ull)id);
        ++k->listed[id];
        break;
      case SHMD_SEG_RUN:
        log = true;
        ++k->listed[id];
        {
          uint64_t n;
          for (n = 1; n < SHMD_HIGH(kind) && id + n < k->frontier; ++n) ++k->listed[id + n];
        }
        break;
      case SHMD_SEG_CLOSED:
        log = true;
        break;
      case SHMD_SEG_INDEX:
        if (SHMD_HIGH(kind) >= SHMD_BLOCK_CLASSES) {
          finding(k, "segment %llu is of an unknown class", (ull)id);
          break;
        }
        ++segments[SHMD_HIGH(kind)];
        if (live != k->live[id])
          finding(k, "index segment %llu has %llu blocks in use, its entry says %llu", (ull)id, (ull)k->live[id],
                  (ull)live);
        if (shmd_load_acquire(&k->c->compact_segment[SHMD_HIGH(kind)]) == id ||
            live >= k->a->engine->block_count[SHMD_HIGH(kind)])
          ++k->listed[id];
        {
          const uint64_t count = k->a->engine->block_count[SHMD_HIGH(kind)], base = shmd_segment_offset(k->a, id);
          uint64_t w, bits = 0;
          for (w = 0; w < (count + 63) / 64; ++w) {
            uint64_t b = word(k, base + 8 * w);
            for (; b != 0; b &= b - 1) ++bits;
          }
          if (bits != live)
            finding(k, "index segment %llu: %llu bits are set for %llu blocks", (ull)id, (ull)bits, (ull)live);
        }
        break;
      default:
        break;
    }
    if (log) {
      live_bytes += live;
      if (!open) log_bytes += shmd_pages(used);
      if (live != k->live[id])
        finding(k, "segment %llu has %llu live bytes, its entry says %llu", (ull)id, (ull)k->live[id], (ull)live);
      if (live > used) finding(k, "segment %llu has more live bytes than records", (ull)id);
      check_records(k, id, used);
    } else if (SHMD_LOW(kind) != SHMD_SEG_INDEX && k->live[id] != 0) {
      finding(k, "segment %llu of kind %u is referred to", (ull)id, SHMD_LOW(kind));
    }
    if (k->listed[id] != 1)
      finding(k, "segment %llu of kind %u is in %u lists", (ull)id, SHMD_LOW(kind), k->listed[id]);
  }
  if (live_bytes != shmd_load_acquire(&k->c->live_bytes))
    finding(k, "%llu bytes are live, the count says %llu", (ull)live_bytes, (ull)shmd_load_acquire(&k->c->live_bytes));
  if (log_bytes != shmd_load_acquire(&k->c->log_bytes))
    finding(k, "%llu bytes are in the log, the count says %llu", (ull)log_bytes,
            (ull)shmd_load_acquire(&k->c->log_bytes));
  for (class_ = 0; class_ < SHMD_BLOCK_CLASSES; ++class_) {
    index_bytes += k->blocks[class_] * ((uint64_t)SHMD_BLOCK_MIN << class_);
    if (segments[class_] != shmd_load_acquire(&k->c->block_segments[class_]) ||
        k->blocks[class_] != shmd_load_acquire(&k->c->blocks_used[class_]))
      finding(k, "index blocks of class %u: %llu in %llu segments, the counts say %llu in %llu", class_,
              (ull)k->blocks[class_], (ull)segments[class_], (ull)shmd_load_acquire(&k->c->blocks_used[class_]),
              (ull)shmd_load_acquire(&k->c->block_segments[class_]));
  }
  if (index_bytes != shmd_load_acquire(&k->c->index_bytes))
    finding(k, "%llu bytes are index, the count says %llu", (ull)index_bytes,
            (ull)shmd_load_acquire(&k->c->index_bytes));
}

static void check_ghosts(checker* k) {
  uint64_t at = shmd_load_acquire(&k->c->ghost_head), last = 0, position = 0, queued = 0;
  while (at != 0) {
    shmd_record_view v;
    if (!shmd_record_read(&k->a->reader, at, &v) || v.kind != SHMD_REC_ERASE || v.value_size != 8 ||
        v.position <= position) {
      finding(k, "the queue of ghosts leads to %llu, which is none", (ull)at);
      return;
    }
    if (queued == 0 && v.position != shmd_load_acquire(&k->c->ghost_position))
      finding(k, "the first ghost has another position than is stored");
    position = v.position;
    last = at;
    ++queued;
    at = shmd_load_acquire((const uint64_t*)(const void*)v.value);
  }
  if (last != shmd_load_acquire(&k->c->ghost_tail)) finding(k, "the queue of ghosts ends elsewhere");
  if (k->ghosts > queued) finding(k, "%llu ghosts are in slots, %llu are queued", (ull)k->ghosts, (ull)queued);
}

static void check_all(checker* k) {
  if (shmd_load_acquire(&k->c->redo_length) != 0) finding(k, "a committed write was not finished");
  if (shmd_load_acquire(&k->c->published) != shmd_load_acquire(&k->c->head)) finding(k, "published is not at head");
  check_nodes(k);
  check_lists(k);
  check_chain(k);
  check_segments(k);
  check_ghosts(k);
}

int shmd_check(shmd_dict* d, shmd_report_fn report, void* context) {
  checker k = {0};
  int result = 0;
  if (d == NULL) return shmd_fail(SHMD_ERR_CLOSED, "shmd_check: the handle is closed");
  k.a = d->attachment;
  k.c = shmd_control_of(k.a);
  k.segments = (const shmd_segment*)(const void*)shmd_at(k.a, k.a->super->segments_offset);
  k.nodes = k.a->reader.nodes;
  k.report = report;
  k.context = context;
  if (!k.a->read_only) {
    if (shmd_lock_mine(k.a) && shmd_tx_of(k.a)->user)
      return shmd_fail(SHMD_ERR_IN_TRANSACTION, "dict '%s': check is not allowed inside a transaction", k.a->name);
    result = shmd_call_enter(k.a);
    if (result < 0) return result;
  }
  k.frontier = shmd_load_acquire(&k.c->frontier);
  k.node_frontier = shmd_load_acquire(&k.c->node_frontier);
  if (k.frontier > k.a->super->segment_count || k.node_frontier > k.a->super->node_capacity || k.frontier == 0) {
    finding(&k, "the frontiers lie outside the object");
  } else {
    k.live = (uint64_t*)calloc(k.frontier, sizeof *k.live);
    k.listed = (uint8_t*)calloc(k.frontier, 1);
    k.reached = (uint8_t*)calloc(k.node_frontier + 1, 1);
    if (k.live == NULL || k.listed == NULL || k.reached == NULL)
      result = shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a check", k.a->name);
    else
      check_all(&k);
    free(k.live);
    free(k.listed);
    free(k.reached);
  }
  if (!k.a->read_only) shmd_call_leave(k.a);
  if (result < 0) return result;
  if (k.findings == 0) return 0;
  return shmd_fail(SHMD_ERR_CORRUPT, "dict '%s' is corrupt: %u findings; restore a backup or unlink it", k.a->name,
                   k.findings);
}
