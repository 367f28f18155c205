/* SPDX-License-Identifier: Apache-2.0 */
#include "node.h"

#include "object.h"
#include "segment.h"

#define GET(id, field) shmd_tx_get(t, SHMD_N(t, id, field))
#define SET(id, field, value) shmd_tx_set(t, SHMD_N(t, id, field), value)

static int table_memory(shmd_tx* t, uint64_t nodes) {
  shmd_attachment* a = t->a;
  shmd_control* c = shmd_control_of(a);
  const uint64_t total = a->super->node_capacity * sizeof(shmd_node_entry);
  uint64_t have = shmd_load_acquire(&c->nodes_allocated);
  while (have < nodes * sizeof(shmd_node_entry)) {
    uint64_t step = have < SHMD_CHUNK ? SHMD_PAGE : SHMD_CHUNK;
    int result;
    if (have >= total) return (void)shmd_tx_astray(t, SHMD_C(t, nodes_allocated)), SHMD_ERR_CORRUPT;
    if (step > total - have) step = total - have;
    result = shmd_object_allocate(a, a->super->nodes_offset + have, step);
    if (result < 0) return result;
    have += step;
    shmd_store_release(&c->nodes_allocated, have);
  }
  return 0;
}

static void fill(shmd_tx* t, uint64_t id, uint32_t generation, uint64_t parent, uint64_t self) {
  SET(id, root, 0);
  SET(id, parent, parent);
  SET(id, count, 0);
  SET(id, self, self);
  SET(id, next, SHMD_NONE);
  SET(id, freed_at, 0);
  SET(id, sweep, 0);
  SET(id, identity, SHMD_PAIR(generation, SHMD_NODE_LIVE));
  SHMD_ADD_C(t, node_count, 1);
  t->references = true;
}

int shmd_node_format(shmd_tx* t) {
  int result = table_memory(t, 2);
  if (result < 0) return result;
  SHMD_SET_C(t, node_frontier, 2);
  fill(t, 1, 1, 0, 0);
  shmd_tx_publish(t, SHMD_C(t, root_node), SHMD_PAIR(1, 1));
  return 0;
}

/* No record of its last life is in history: followers tell dicts by their ids alone. */
static bool reusable(shmd_tx* t, uint64_t id) {
  const uint64_t freed_at = GET(id, freed_at), tail = SHMD_GET_C(t, history_tail);
  return freed_at < shmd_reuse_floor(t) && freed_at <= shmd_tx_get(t, SHMD_S(t, tail, position));
}

/* Readers follow parents up to SHMD_MAX_NESTING levels. */
static bool too_deep(shmd_tx* t, uint64_t parent) {
  int depth;
  for (depth = 0; SHMD_HIGH(parent) != 0 && depth < SHMD_MAX_NESTING; ++depth) {
    if (SHMD_LOW(parent) >= t->a->super->node_capacity) return true;
    parent = GET(SHMD_LOW(parent), parent);
  }
  return depth >= SHMD_MAX_NESTING - 1;
}

int shmd_node_new(shmd_tx* t, uint64_t parent, uint64_t self, shmd_node* node) {
  uint64_t id = SHMD_GET_C(t, node_free_head);
  uint32_t generation;
  if (too_deep(t, parent))
    return shmd_fail(SHMD_ERR_TOO_MANY_DICTS, "dict '%s': dicts nest at most %d levels deep", t->a->name,
                     SHMD_MAX_NESTING - 1);
  if (id != SHMD_NONE && t->nodes_freed == 0 && reusable(t, id)) {
    const uint64_t next = GET(id, next);
    SHMD_SET_C(t, node_free_head, next);
    if (next == SHMD_NONE) SHMD_SET_C(t, node_free_tail, SHMD_NONE);
    shmd_recycle(t);
  } else {
    int result;
    id = SHMD_GET_C(t, node_frontier);
    if (id >= t->a->super->node_capacity)
      return shmd_fail(SHMD_ERR_TOO_MANY_DICTS,
                       "dict '%s' has room for %llu nested dicts; make it with a larger max_size", t->a->name,
                       (unsigned long long)t->a->super->node_capacity);
    result = table_memory(t, id + 1);
    if (result < 0) return result;
    SHMD_SET_C(t, node_frontier, id + 1);
  }
  generation = SHMD_HIGH(GET(id, identity)) + 1;
  if (generation == 0) generation = 1;
  fill(t, id, generation, parent, self);
  node->id = (uint32_t)id;
  node->generation = generation;
  return 0;
}

void shmd_node_remove(shmd_tx* t, uint32_t id) {
  const uint64_t tail = SHMD_GET_C(t, sweep_tail);
  shmd_tx_stage(t, SHMD_N(t, id, identity), SHMD_PAIR(SHMD_HIGH(GET(id, identity)) + 1, SHMD_NODE_SWEEPING),
                SHMD_REDO_RETIRE);
  SET(id, freed_at, SHMD_GET_C(t, head));
  SET(id, next, SHMD_NONE);
  SET(id, sweep, 0);
  if (tail == SHMD_NONE)
    SHMD_SET_C(t, sweep_head, id);
  else
    SET(tail, next, id);
  SHMD_SET_C(t, sweep_tail, id);
  SHMD_ADD_C(t, sweep_count, 1);
  shmd_work(t, SHMD_WORK_SWEEP);
}

void shmd_node_release(shmd_tx* t, uint32_t id) {
  const uint64_t next = GET(id, next), tail = SHMD_GET_C(t, node_free_tail);
  SHMD_SET_C(t, sweep_head, next);
  if (next == SHMD_NONE) SHMD_SET_C(t, sweep_tail, SHMD_NONE);
  SHMD_ADD_C(t, sweep_count, -1);
  SET(id, identity, SHMD_PAIR(SHMD_HIGH(GET(id, identity)), SHMD_NODE_FREE));
  SET(id, root, 0);
  SET(id, freed_at, SHMD_GET_C(t, head));
  SET(id, next, SHMD_NONE);
  if (tail == SHMD_NONE)
    SHMD_SET_C(t, node_free_head, id);
  else
    SET(tail, next, id);
  SHMD_SET_C(t, node_free_tail, id);
  SHMD_ADD_C(t, node_count, -1);
  ++t->nodes_freed;
}

void shmd_node_forget(shmd_attachment* a, const shmd_redo_entry* list, uint64_t count) {
  const uint64_t first = a->super->nodes_offset, end = first + a->super->node_capacity * sizeof(shmd_node_entry);
  uint64_t i;
  for (i = 0; i < count; ++i) {
    const uint64_t at = shmd_load_acquire(&list[i].where) & ~SHMD_REDO_FLAGS, value = shmd_load_acquire(&list[i].value);
    if (at < first || at >= end || (at - first) % sizeof(shmd_node_entry) != offsetof(shmd_node_entry, identity))
      continue;
    /* made by this commit, and perhaps removed again: nobody who took a handle to it may find the next dict under it */
    if (SHMD_LOW(value) != SHMD_NODE_FREE && SHMD_LOW(shmd_load_acquire(shmd_word(a, at))) == SHMD_NODE_FREE)
      shmd_store_release(shmd_word(a, at), SHMD_PAIR(SHMD_HIGH(value), SHMD_NODE_FREE));
  }
}

uint64_t shmd_node_word(shmd_tx* t, uint32_t id) { return SHMD_PAIR(SHMD_HIGH(GET(id, identity)), id); }

int shmd_node_resolve(shmd_tx* t, shmd_node node, uint32_t* id) {
  const uint64_t root = SHMD_GET_C(t, root_node), capacity = t->a->super->node_capacity;
  uint64_t self = SHMD_PAIR(node.generation, node.id);
  uint64_t known; /* only a handle that the application made up leads beyond */
  int depth;
  if (node.id == 0) {
    *id = SHMD_LOW(root);
    if (*id < capacity) return 0;
    return (void)shmd_tx_astray(t, SHMD_C(t, root_node)), SHMD_ERR_CORRUPT;
  }
  *id = node.id;
  known = shmd_known_nodes(t->a);
  for (depth = 0; depth < SHMD_MAX_NESTING; ++depth) {
    if (self == root) return 0;
    if (SHMD_LOW(self) >= known || GET(SHMD_LOW(self), identity) != SHMD_PAIR(SHMD_HIGH(self), SHMD_NODE_LIVE))
      return shmd_fail(SHMD_ERR_REMOVED, "dict '%s': this nested dict was erased or replaced; look it up again",
                       t->a->name);
    self = GET(SHMD_LOW(self), parent);
  }
  return (void)shmd_tx_astray(t, SHMD_N(t, node.id, parent)), SHMD_ERR_CORRUPT;
}
