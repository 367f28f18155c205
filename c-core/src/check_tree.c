/* SPDX-License-Identifier: Apache-2.0 */
#include "block.h"
#include "check.h"
#include "index.h"
#include "node.h"
#include "segment.h"

static bool block_in_bounds(const shmd_checker* k, uint64_t ref) {
  const uint64_t offset = SHMD_REF_OFFSET(ref);
  return shmd_ref_log2(ref) <= SHMD_ARRAY_OVERFLOW_LOG2 && offset >= k->a->super->data_offset &&
         offset < k->a->reader.limit && shmd_segment_of(k->a, offset) < k->frontier;
}

/* The block is in an index segment of its class, its bit is set, its descriptor says what it is. Gives the state. */
static bool check_block(shmd_checker* k, uint32_t node, uint64_t ref, uint32_t depth_max, uint64_t* state) {
  const uint32_t log2 = shmd_ref_log2(ref), class_ = shmd_block_class(log2);
  const uint64_t offset = SHMD_REF_OFFSET(ref), id = shmd_segment_of(k->a, offset),
                 base = shmd_segment_offset(k->a, id);
  const uint64_t count = k->a->engine->block_count[class_], first = k->a->engine->block_first[class_];
  const uint64_t size = (uint64_t)SHMD_BLOCK_MIN << class_, in = offset - base - first, index = in / size;
  const uint64_t kind = shmd_load_acquire(&k->segments[id].kind);
  uint64_t owner, descriptor;
  if (SHMD_LOW(kind) != SHMD_SEG_INDEX || SHMD_HIGH(kind) != class_ || offset - base < first || in % size != 0 ||
      index >= count) {
    shmd_check_finding(k, "node %u: the index block at %llu is not in an index segment of its class", node,
                       (ull)offset);
    return false;
  }
  if (!(shmd_check_word(k, base + index / 64 * 8) >> (index & 63) & 1))
    shmd_check_finding(k, "node %u: the index block at %llu is marked free", node, (ull)offset);
  descriptor = base + (count + 63) / 64 * 8 + index * sizeof(shmd_block);
  owner = shmd_check_word(k, descriptor);
  *state = shmd_check_word(k, descriptor + 8);
  if (SHMD_LOW(owner) != node || SHMD_BLOCK_LOG2(*state) != log2 ||
      SHMD_BLOCK_KIND(*state) != (uint32_t)SHMD_REF_KIND(ref) || SHMD_REF_MASK(ref) != (1u << log2) - 1 ||
      SHMD_BLOCK_DEPTH(*state) > depth_max)
    shmd_check_finding(k, "node %u: the descriptor of the index block at %llu does not fit it", node, (ull)offset);
  if (k->live[id] >= count) { /* directories that share blocks would take for ever */
    shmd_check_finding(k, "index segment %llu: more references than blocks", (ull)id);
    return false;
  }
  ++k->live[id];
  ++k->blocks[class_];
  return true;
}

static void check_child(shmd_checker* k, uint32_t node, const shmd_record_view* v) {
  const uint64_t child = v->value_size == 8 ? shmd_load_acquire((const uint64_t*)(const void*)v->value) : 0;
  const shmd_node_entry* e;
  if (SHMD_LOW(child) == 0 || SHMD_LOW(child) >= k->node_frontier) {
    shmd_check_finding(k, "node %u: the record at %llu names no node", node, (ull)v->offset);
    return;
  }
  e = k->nodes + SHMD_LOW(child);
  if (k->reached[SHMD_LOW(child)] < 2) ++k->reached[SHMD_LOW(child)];
  if (shmd_load_acquire(&e->identity) != SHMD_PAIR(SHMD_HIGH(child), SHMD_NODE_LIVE)) {
    if (SHMD_LOW(shmd_load_acquire(&k->nodes[node].identity)) == SHMD_NODE_LIVE)
      shmd_check_finding(k, "node %u: the record at %llu names node %u, which is not that dict", node, (ull)v->offset,
                         SHMD_LOW(child));
    return;
  }
  if (shmd_load_acquire(&e->self) != v->offset)
    shmd_check_finding(k, "node %u: its entry does not point back at the record %llu that names it", SHMD_LOW(child),
                       (ull)v->offset);
  if (SHMD_LOW(shmd_load_acquire(&e->parent)) != node)
    shmd_check_finding(k, "node %u: its entry names another parent than %u", SHMD_LOW(child), node);
}

/* A look-up of `hash` comes as far as slot `i`: no empty slot lies before it. */
static bool probe_reaches(const shmd_checker* k, uint64_t base, uint64_t slots, uint64_t hash, uint64_t i) {
  uint64_t at = SHMD_PROBE_START(hash) & (slots - 1);
  for (; at != i; at = (at + 1) & (slots - 1))
    if (shmd_check_word(k, base + 8 * at) == SHMD_SLOT_EMPTY) return false;
  return true;
}

/* Counts the keys of an array whose references cover hashes with `depth` bits of `prefix`. */
static uint64_t check_array(shmd_checker* k, uint32_t node, uint64_t ref, uint32_t prefix, bool live_node) {
  const uint64_t slots = UINT64_C(1) << shmd_ref_log2(ref), base = SHMD_REF_OFFSET(ref);
  uint64_t state, i, keys = 0;
  uint32_t live = 0, used = 0, depth;
  if (!check_block(k, node, ref, SHMD_MAX_DEPTH, &state)) return 0;
  depth = SHMD_BLOCK_DEPTH(state);
  if (depth > SHMD_MAX_DEPTH) return 0; /* found already */
  for (i = 0; i < slots; ++i) {
    const uint64_t slot = shmd_check_word(k, base + 8 * i), id = shmd_segment_of(k->a, slot & SHMD_OFFSET_MASK);
    shmd_record_view v;
    uint64_t hash;
    if (slot == SHMD_SLOT_EMPTY) continue;
    ++used;
    if (!shmd_slot_refers(slot)) continue;
    ++live;
    if (!shmd_record_read(&k->a->reader, slot & SHMD_OFFSET_MASK, &v) || id >= k->frontier) {
      shmd_check_finding(k, "node %u: a slot leads to %llu, which is no record", node, (ull)(slot & SHMD_OFFSET_MASK));
      continue;
    }
    hash = shmd_hash_key(k->a->reader.hash_seed, v.key, v.key_size);
    if (v.node != node || v.hash != (uint32_t)hash || ((hash ^ slot) >> 48) != 0 ||
        (depth > 0 && ((uint32_t)hash ^ prefix) >> (32 - depth) != 0))
      shmd_check_finding(k, "node %u: the record at %llu does not belong into the slot that leads to it", node,
                         (ull)v.offset);
    else if (live_node && !probe_reaches(k, base, slots, hash, i))
      shmd_check_finding(k, "node %u: a look-up ends before it reaches the record at %llu", node, (ull)v.offset);
    k->live[id] += v.size;
    if (v.kind == SHMD_REC_ERASE)
      ++k->ghosts;
    else if (v.kind == SHMD_REC_PUT || v.kind == SHMD_REC_NODE)
      ++keys;
    else
      shmd_check_finding(k, "node %u: a slot leads to a record of kind %u at %llu", node, v.kind, (ull)v.offset);
    if (v.kind == SHMD_REC_NODE) check_child(k, node, &v);
  }
  if (live != SHMD_BLOCK_LIVE(state) || used != SHMD_BLOCK_USED(state))
    shmd_check_finding(k, "node %u: the array at %llu has %u live and %u used slots, its descriptor says %u and %u",
                       node, (ull)base, live, used, SHMD_BLOCK_LIVE(state), SHMD_BLOCK_USED(state));
  if (live_node && used >= slots)
    shmd_check_finding(k, "node %u: the array at %llu has no empty slot", node, (ull)base);
  return keys;
}

/* The references to an array fill exactly the range that its depth says. */
static void check_span(shmd_checker* k, uint32_t node, uint64_t dir, uint32_t dir_depth, uint64_t first,
                       uint64_t array) {
  const uint32_t log2 = shmd_ref_log2(dir);
  uint64_t n = first, state;
  if (!check_block(k, node, array, SHMD_MAX_DEPTH, &state)) return;
  --k->live[shmd_segment_of(k->a, SHMD_REF_OFFSET(array))]; /* counted when the array itself is checked */
  --k->blocks[shmd_block_class(shmd_ref_log2(array))];
  while (n < UINT64_C(1) << log2 && shmd_check_word(k, SHMD_REF_OFFSET(dir) + 8 * n) == array) ++n;
  if (SHMD_BLOCK_DEPTH(state) < dir_depth || SHMD_BLOCK_DEPTH(state) > dir_depth + log2 ||
      n - first != UINT64_C(1) << (dir_depth + log2 - SHMD_BLOCK_DEPTH(state)) || (first & (n - first - 1)) != 0)
    shmd_check_finding(k, "node %u: the references to the array at %llu do not fill its range", node,
                       (ull)SHMD_REF_OFFSET(array));
}

static uint64_t check_directory(shmd_checker* k, uint32_t node, uint64_t ref, uint32_t prefix, uint32_t depth,
                                bool live_node) {
  const uint32_t log2 = shmd_ref_log2(ref);
  uint64_t i, state, previous = 0, keys = 0;
  if (!shmd_index_directory_fits(ref, depth)) {
    shmd_check_finding(k, "node %u: a directory at %llu does not fit where it stands", node, (ull)SHMD_REF_OFFSET(ref));
    return 0;
  }
  if (!check_block(k, node, ref, SHMD_MAX_DEPTH, &state)) return 0;
  for (i = 0; i < UINT64_C(1) << log2; ++i) {
    const uint64_t child = shmd_check_word(k, SHMD_REF_OFFSET(ref) + 8 * i);
    const uint32_t below = prefix | (uint32_t)(i << (32 - depth - log2));
    if (child == previous && child != 0) continue;
    previous = child;
    if (child == 0) {
      if (live_node) shmd_check_finding(k, "node %u: a directory leads nowhere", node);
    } else if (!block_in_bounds(k, child)) {
      shmd_check_finding(k, "node %u: a directory at %llu leads astray", node, (ull)SHMD_REF_OFFSET(ref));
    } else if (SHMD_REF_KIND(child) == SHMD_REF_ARRAY) {
      check_span(k, node, ref, depth, i, child);
      keys += check_array(k, node, child, below, live_node);
    } else if (SHMD_REF_KIND(child) == SHMD_REF_DIRECTORY) {
      keys += check_directory(k, node, child, below, depth + log2, live_node);
    } else {
      shmd_check_finding(k, "node %u: a directory at %llu holds something unknown", node, (ull)SHMD_REF_OFFSET(ref));
    }
  }
  return keys;
}

void shmd_check_tree(shmd_checker* k) {
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
      shmd_check_finding(k, "node %llu: it is the root, but root_index is another reference than its own", (ull)id);
    if (ref != 0 && !block_in_bounds(k, ref))
      shmd_check_finding(k, "node %llu: its index leads astray", (ull)id);
    else if (SHMD_REF_KIND(ref) == SHMD_REF_ARRAY)
      keys = check_array(k, (uint32_t)id, ref, 0, live);
    else if (SHMD_REF_KIND(ref) == SHMD_REF_DIRECTORY)
      keys = check_directory(k, (uint32_t)id, ref, 0, 0, live);
    else if (ref != 0)
      shmd_check_finding(k, "node %llu: its index is neither array nor directory", (ull)id);
    if (live && keys != shmd_load_acquire(&e->count))
      shmd_check_finding(k, "node %llu: it has %llu keys, its entry says %llu", (ull)id, (ull)keys,
                         (ull)shmd_load_acquire(&e->count));
  }
  if (SHMD_LOW(root) == 0 || SHMD_LOW(root) >= k->node_frontier ||
      shmd_load_acquire(&k->nodes[SHMD_LOW(root)].identity) != SHMD_PAIR(SHMD_HIGH(root), SHMD_NODE_LIVE))
    shmd_check_finding(k, "the root is not a live node");
  if (hidden != 0 &&
      (SHMD_LOW(hidden) == 0 || SHMD_LOW(hidden) >= k->node_frontier ||
       shmd_load_acquire(&k->nodes[SHMD_LOW(hidden)].identity) != SHMD_PAIR(SHMD_HIGH(hidden), SHMD_NODE_LIVE) ||
       shmd_load_acquire(&k->nodes[SHMD_LOW(hidden)].parent) != 0 || k->reached[SHMD_LOW(hidden)] != 0))
    shmd_check_finding(k, "the dict of named locks is no live node apart from the tree");
  for (id = 1; id < k->node_frontier; ++id)
    if (SHMD_LOW(shmd_load_acquire(&k->nodes[id].identity)) == SHMD_NODE_LIVE && id != SHMD_LOW(root) &&
        id != SHMD_LOW(hidden) && k->reached[id] != 1)
      shmd_check_finding(k, "node %llu: %s", (ull)id,
                         k->reached[id] ? "several records name it" : "no record names it");
  if (in_use != shmd_load_acquire(&k->c->node_count))
    shmd_check_finding(k, "%llu nodes are in use, the count says %llu", (ull)in_use,
                       (ull)shmd_load_acquire(&k->c->node_count));
  for (id = shmd_load_acquire(&k->c->sweep_head), steps = 0;
       id != SHMD_NONE && id < k->node_frontier && steps <= k->node_frontier; ++steps) {
    if (SHMD_LOW(shmd_load_acquire(&k->nodes[id].identity)) != SHMD_NODE_SWEEPING)
      shmd_check_finding(k, "node %llu waits for its sweep and is in use", (ull)id);
    ++queued;
    id = shmd_load_acquire(&k->nodes[id].next);
  }
  if (queued != sweeping || queued != shmd_load_acquire(&k->c->sweep_count))
    shmd_check_finding(k, "%llu nodes wait for their sweep, %llu are queued", (ull)sweeping, (ull)queued);
  for (id = shmd_load_acquire(&k->c->node_free_head), steps = 0; id != SHMD_NONE && steps <= k->node_frontier;
       ++steps) {
    if (id >= k->node_frontier || SHMD_LOW(shmd_load_acquire(&k->nodes[id].identity)) != SHMD_NODE_FREE) {
      shmd_check_finding(k, "the queue of free nodes leads to node %llu, which is not free", (ull)id);
      break;
    }
    id = shmd_load_acquire(&k->nodes[id].next);
  }
}
