/* SPDX-License-Identifier: Apache-2.0 */
#include "paths.h"

#include <stdlib.h>
#include <string.h>

#include "redo.h"

#define MOST_KNOWN 65536u
#define MOST_BYTES ((size_t)4 << 20)
#define TRIES 4096

void shmd_paths_init(shmd_paths* p, const shmd_attachment* a) {
  memset(p, 0, offsetof(shmd_paths, way));
  p->a = a;
}

void shmd_paths_free(shmd_paths* p) {
  free(p->known);
  free(p->map);
  free(p->bytes);
}

static void forget(shmd_paths* p) {
  p->count = 0;
  p->used = 0;
  if (p->map_size != 0) memset(p->map, 0, (size_t)p->map_size * sizeof *p->map);
}

static void keep_within_bounds(shmd_paths* p) {
  if (p->count >= MOST_KNOWN || p->used >= MOST_BYTES) forget(p);
}

static uint32_t slot_of(const shmd_paths* p, uint32_t id) {
  uint32_t i = id * UINT32_C(0x9e3779b1) & (p->map_size - 1);
  while (p->map[i] != 0 && p->known[p->map[i] - 1].id != id) i = (i + 1) & (p->map_size - 1);
  return i;
}

static bool grow(shmd_paths* p, size_t key_size) {
  uint32_t i;
  if (p->used + key_size > p->bytes_size) {
    const size_t larger = p->bytes_size * 2 > p->used + key_size ? p->bytes_size * 2 : p->used + key_size + 256;
    unsigned char* bytes = (unsigned char*)realloc(p->bytes, larger);
    if (bytes == NULL) return false;
    p->bytes = bytes;
    p->bytes_size = larger;
  }
  if (p->count >= p->capacity) {
    const uint32_t capacity = p->capacity != 0 ? p->capacity * 2 : 32;
    shmd_known* known = (shmd_known*)realloc(p->known, capacity * sizeof *known);
    uint32_t* map;
    if (known == NULL) return false;
    p->known = known;
    map = (uint32_t*)calloc((size_t)capacity * 2, sizeof *map);
    if (map == NULL) return false;
    free(p->map);
    p->map = map;
    p->map_size = capacity * 2;
    p->capacity = capacity;
    for (i = 0; i < p->count; ++i) p->map[slot_of(p, known[i].id)] = i + 1;
  }
  return true;
}

/* Room for one more, its key copied by the caller to p->bytes + p->used; then it is entered. */
static void enter(shmd_paths* p, shmd_node node, uint32_t parent, size_t key_size) {
  const uint32_t at = slot_of(p, node.id);
  shmd_known* k;
  if (p->map[at] == 0) p->map[at] = ++p->count;
  k = &p->known[p->map[at] - 1];
  k->id = node.id;
  k->generation = node.generation;
  k->parent = parent;
  k->key_size = (uint32_t)key_size;
  k->key_at = p->used;
  p->used += key_size;
}

int shmd_paths_add(shmd_paths* p, shmd_node node, uint32_t parent, const void* key, size_t key_size) {
  keep_within_bounds(p);
  if (!grow(p, key_size)) return SHMD_ERR_OUT_OF_MEMORY;
  if (key_size != 0) memcpy(p->bytes + p->used, key, key_size);
  enter(p, node, parent, key_size);
  return 0;
}

void shmd_paths_root(shmd_paths* p, uint32_t id) {
  forget(p); /* nothing of before is reached from it */
  p->root = id;
}

int shmd_paths_begin(shmd_paths* p, uint64_t position) {
  const shmd_attachment* a = p->a;
  /* SYNC root: observes the id that a clear of the root stored; the entry was complete before. */
  uint64_t id = SHMD_LOW(shmd_load_acquire(&shmd_control_of(a)->root_node)), steps;
  const uint64_t known = shmd_known_nodes(a);
  forget(p);
  for (steps = 0; steps <= known && id != 0 && id < known; ++steps) {
    const shmd_node_entry* e = a->reader.nodes + id;
    if (shmd_load_acquire(&e->self) <= position) {
      p->root = (uint32_t)id;
      return 0;
    }
    id = SHMD_LOW(shmd_load_acquire(&e->parent));
  }
  return SHMD_ERR_CORRUPT;
}

/* Enters a dict that lives, as the node table has it. 1; 0: removed (*gone says when), or not part of the tree; an error. */
static int look_up(shmd_paths* p, uint32_t id, uint64_t* gone) {
  const shmd_reader* r = &p->a->reader;
  const shmd_node_entry* e = r->nodes + id;
  int tries;
  if (id >= shmd_known_nodes(p->a)) return SHMD_ERR_CORRUPT;
  for (tries = 0; tries < TRIES; ++tries) {
    /* SYNC recycle: as in shmd_read_get. */
    const uint64_t before = shmd_load_acquire(&r->control->recycle);
    const uint64_t identity = shmd_load_acquire(&e->identity), parent = shmd_load_acquire(&e->parent);
    uint64_t word = 0;
    shmd_record_view v;
    shmd_node node;
    bool good;
    if (SHMD_LOW(identity) != SHMD_NODE_LIVE) *gone = shmd_load_acquire(&e->freed_at);
    if (SHMD_LOW(identity) != SHMD_NODE_LIVE || SHMD_HIGH(parent) == 0) return 0;
    good = shmd_record_read(r, shmd_load_acquire(&e->self), &v) && v.kind == SHMD_REC_NODE && v.value_size == 8 &&
           v.node == SHMD_LOW(parent);
    node.id = id;
    node.generation = SHMD_HIGH(identity);
    if (good) {
      if (!grow(p, v.key_size)) return SHMD_ERR_OUT_OF_MEMORY;
      shmd_read_bytes(r, p->bytes + p->used, v.key, v.key_size);
      word = shmd_load_acquire((const uint64_t*)(const void*)v.value);
    }
    if (shmd_load_acquire(&r->control->recycle) != before || shmd_load_acquire(&e->identity) != identity) continue;
    if (!good || word != SHMD_PAIR(node.generation, id)) return SHMD_ERR_CORRUPT;
    enter(p, node, v.node, v.key_size);
    return 1;
  }
  return SHMD_ERR_BUSY;
}

int shmd_paths_find(shmd_paths* p, uint32_t id, shmd_node* node, uint32_t* depth, uint64_t* gone) {
  uint32_t at = id;
  keep_within_bounds(p); /* not on the way: all of it is needed */
  node->id = 0;
  node->generation = 0;
  *depth = 0;
  *gone = 0;
  while (at != p->root) {
    uint32_t found = p->map_size != 0 ? p->map[slot_of(p, at)] : 0;
    if (*depth >= SHMD_MAX_NESTING) return SHMD_ERR_CORRUPT;
    if (found == 0) {
      const int result = look_up(p, at, gone);
      if (result != 1) return result;
      found = p->map[slot_of(p, at)];
    }
    if (*depth == 0) {
      node->id = id;
      node->generation = p->known[found - 1].generation;
    }
    p->way[(*depth)++] = found - 1;
    at = p->known[found - 1].parent;
  }
  return 1;
}
