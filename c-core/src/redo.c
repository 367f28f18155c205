/* SPDX-License-Identifier: Apache-2.0 */
#include "redo.h"

#include <stdlib.h>
#include <string.h>

#include "attach.h"
#include "block.h"
#include "lock.h"
#include "log.h"
#include "node.h"
#include "object.h"
#include "segment.h"

#if defined(SHMD_CRASH_POINTS)
#include <signal.h>
uint64_t shmd_crash_at;
uint64_t shmd_crash_count;
void (*shmd_crash_trace)(const void* where);
SHMD_NOINLINE void shmd_crash_point(void) {
  const uint64_t n = __atomic_add_fetch(&shmd_crash_count, 1, __ATOMIC_RELAXED);
  if (shmd_crash_trace != NULL) shmd_crash_trace(__builtin_return_address(0));
  if (n == shmd_crash_at) {
    raise(SIGKILL);
  }
}
#endif

#define AHEAD 12u                /* entries whose words are on their way to the cache while a long list is applied */
#define CACHED 2048u             /* entries of a list that is not: what it changes was looked at a moment ago */
#define KEEP_MAP UINT64_C(65536) /* places that stay for the next commit */

static void map_insert(shmd_tx* t, uint64_t index) {
  const uint64_t offset = t->list[index].where & ~SHMD_REDO_FLAGS;
  const uint64_t place = (uint64_t)t->generation << 32 | index;
  uint64_t i = shmd_tx_hash(offset) & t->map_mask;
  while (t->map[i] >> 32 == t->generation) i = (i + 1) & t->map_mask;
  t->map[i] = place;
}

static void map_drop(shmd_tx* t) {
  if (t->map != t->small_map) free(t->map);
  t->map = t->small_map;
  t->map_mask = SHMD_SMALL_MAP - 1;
}

/* Makes the map four times as long. */
static bool map_grow(shmd_tx* t) {
  const uint64_t size = (t->map_mask + 1) * 4;
  uint64_t* map = (uint64_t*)calloc((size_t)size, sizeof *map);
  uint64_t i;
  if (map == NULL) return false;
  map_drop(t);
  t->map = map;
  t->map_mask = size - 1;
  for (i = 0; i < t->count; ++i)
    if ((t->list[i].where & ~SHMD_REDO_FLAGS) - SHMD_CONTROL_OFFSET >= sizeof(shmd_control)) map_insert(t, i);
  return true;
}

/* What was staged is not found any more. */
static void map_forget(shmd_tx* t) {
  if (SHMD_UNLIKELY(t->map_mask >= KEEP_MAP)) map_drop(t);
  if (SHMD_UNLIKELY(++t->generation == 0)) { /* places of 2^32 commits ago */
    memset(t->control, 0, sizeof t->control);
    memset(t->map, 0, (size_t)(t->map_mask + 1) * sizeof *t->map);
    memset(t->small_map, 0, sizeof t->small_map);
    t->generation = 1;
  }
}

uint64_t shmd_tx_lookup(shmd_tx* t, uint64_t offset) {
  const shmd_redo_entry* staged = shmd_tx_find(t, offset);
  return staged != NULL ? staged->value : shmd_load_acquire(shmd_word(t->a, offset));
}

uint64_t shmd_tx_astray(shmd_tx* t, uint64_t offset) {
  if (t->error == 0)
    t->error = shmd_fail(
        SHMD_ERR_CORRUPT,
        "dict '%s' is corrupt: a reference leads to offset %llu; run shmd_check, restore a backup, or unlink it",
        t->a->name, (unsigned long long)offset);
  return 0;
}

/* Makes room for one more entry of the list, and in the map. */
static bool make_room(shmd_tx* t) {
  shmd_control* c = shmd_control_of(t->a);
  uint64_t have = shmd_load_acquire(&c->redo_allocated);
  if (SHMD_UNLIKELY(t->count >= t->capacity)) {
    t->error =
        shmd_fail(SHMD_ERR_TRANSACTION_TOO_LARGE,
                  "dict '%s': a commit may change at most %llu words, about one for each key that was there before; "
                  "split it into several, or make the dict with a larger max_size",
                  t->a->name, (unsigned long long)t->capacity);
    return false;
  }
  if (SHMD_UNLIKELY((t->count + 1) * sizeof(shmd_redo_entry) > have)) {
    const uint64_t step = have < SHMD_CHUNK ? have : SHMD_CHUNK;
    const int result = shmd_object_allocate(t->a, t->a->super->redo_offset + have, step);
    if (result < 0) return shmd_tx_fail(t, result), false;
    have += step;
    shmd_store_release(&c->redo_allocated, have);
  }
  if (SHMD_UNLIKELY(t->count * 2 >= t->map_mask) && !map_grow(t)) {
    t->error = shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a transaction of this size", t->a->name);
    return false;
  }
  t->room = have / sizeof(shmd_redo_entry);
  if (t->room > t->capacity) t->room = t->capacity;
  if (t->room > (t->map_mask + 1) / 2) t->room = (t->map_mask + 1) / 2;
  return true;
}

void shmd_tx_stage(shmd_tx* t, uint64_t offset, uint64_t value, uint64_t flag) {
  shmd_redo_entry* staged = shmd_tx_find(t, offset);
  if (staged == NULL) {
    shmd_tx_append(t, offset, value, flag);
    return;
  }
  ++t->stages;
  /* in the pass it was staged for: a word of something fresh stays there */
  shmd_store_release(&staged->value, value);
}

void shmd_tx_add(shmd_tx* t, uint64_t offset, uint64_t delta) {
  shmd_redo_entry* staged = shmd_tx_find(t, offset);
  if (staged == NULL) {
    shmd_tx_append(t, offset, shmd_tx_get(t, offset) + delta, 0);
    return;
  }
  ++t->stages;
  shmd_store_release(&staged->value, staged->value + delta);
}

void shmd_tx_append(shmd_tx* t, uint64_t offset, uint64_t value, uint64_t flag) {
  if (SHMD_UNLIKELY(!shmd_tx_in_bounds(t, offset))) {
    (void)shmd_tx_astray(t, offset);
    return;
  }
  ++t->stages;
  if (SHMD_UNLIKELY(t->error != 0) || (SHMD_UNLIKELY(t->count >= t->room) && !make_room(t))) return;
  shmd_store_release(&t->list[t->count].where, offset | flag);
  shmd_store_release(&t->list[t->count].value, value);
  if (offset - SHMD_CONTROL_OFFSET < sizeof(shmd_control))
    t->control[(offset - SHMD_CONTROL_OFFSET) / 8] = (uint64_t)t->generation << 32 | t->count;
  else
    map_insert(t, t->count);
  ++t->count;
}

/* Stays in the list, as what is there already. */
static void unstage(const shmd_tx* t, shmd_redo_entry* staged) {
  const uint64_t offset = staged->where & ~SHMD_REDO_FLAGS;
  shmd_store_release(&staged->value, shmd_load_acquire(shmd_word(t->a, offset)));
}

void shmd_tx_unstage(shmd_tx* t, uint64_t offset, uint64_t size) {
  uint64_t i;
  if (t->count > size / 8) {
    for (i = 0; i < size; i += 8) {
      shmd_redo_entry* staged = shmd_tx_find(t, offset + i);
      if (staged != NULL) unstage(t, staged);
    }
  } else {
    for (i = 0; i < t->count; ++i)
      if ((t->list[i].where & ~SHMD_REDO_FLAGS) - offset < size) unstage(t, t->list + i);
  }
}

/* What a large commit needed goes back. Killed before the punch: the memory stays until the next large one. */
static void list_trim(shmd_attachment* a) {
  shmd_control* c = shmd_control_of(a);
  const uint64_t have = shmd_load_acquire(&c->redo_allocated), keep = UINT64_C(2) * SHMD_CHUNK;
  if (SHMD_LIKELY(have <= keep)) return;
  shmd_store_release(&c->redo_allocated, keep);
  (void)shmd_object_return(a, a->super->redo_offset + keep, have - keep, have - keep);
}

/* One pass over the committed list. The list is shared: bounds again before each store. *passes: a bit for each pass that
 * there are entries for. */
SHMD_INLINE bool apply_pass(shmd_attachment* a, const shmd_redo_entry* list, uint64_t count, uint64_t pass,
                            uint32_t* passes) {
  const uint64_t first = a->super->control_offset, range = a->max_size - 7 - first;
  unsigned char* const base = a->reader.base;
  const uint64_t ahead = count > CACHED ? AHEAD : count;
  uint64_t i;
  bool good = true;
  for (i = 0; i < count; ++i) {
    const uint64_t where = shmd_load_acquire(&list[i].where);
    const uint64_t offset = where - pass;
    if (SHMD_UNLIKELY(i + ahead < count)) {
      const uint64_t later = shmd_load_acquire(&list[i + ahead].where);
      if (SHMD_LIKELY(later - first < range)) shmd_prefetch_to_write(base + later);
    }
    if ((offset & SHMD_REDO_FLAGS) != 0) {
      *passes |= 1u << (where & SHMD_REDO_FLAGS);
      continue;
    }
    if (SHMD_UNLIKELY(offset - first >= range)) {
      good = false;
      continue;
    }
    shmd_store_release((uint64_t*)(void*)(base + offset), shmd_load_acquire(&list[i].value));
  }
  return good;
}

/* As often as it takes: absolute values make twice the same as once. An entry of no pass leads astray. */
static bool apply(shmd_attachment* a, const shmd_redo_entry* list, uint64_t count) {
  const uint32_t known = 1u << SHMD_REDO_PUBLISH | 1u << SHMD_REDO_RETIRE;
  uint32_t passes = 0, ignored = 0;
  bool good = apply_pass(a, list, count, 0, &passes);
  if (passes & 1u << SHMD_REDO_PUBLISH) good &= apply_pass(a, list, count, SHMD_REDO_PUBLISH, &ignored);
  if (passes & 1u << SHMD_REDO_RETIRE) good &= apply_pass(a, list, count, SHMD_REDO_RETIRE, &ignored);
  return good && (passes & ~known) == 0;
}

void shmd_tx_reset(shmd_tx* t) {
  if (t->count != 0) map_forget(t);
  t->count = 0;
  t->room = 0;
  t->references = false;
  t->emptied = false;
  t->error = 0;
  t->user = false;
  t->appended = false;
  t->segments_freed = 0;
  t->nodes_freed = 0;
  t->freed_count = 0;
  t->trim = SHMD_NONE;
}

/* Forgets the commit in preparation, and gives back what it allocated. */
static void forget(shmd_tx* t) {
  if (SHMD_UNLIKELY(t->count != 0)) {
    shmd_segment_forget(t->a, t->list, t->count);
    shmd_node_forget(t->a, t->list, t->count);
  }
  list_trim(t->a);
  shmd_tx_reset(t);
}

void shmd_tx_abort(shmd_tx* t) { forget(t); }

bool shmd_tx_grow(void** list, uint32_t count, uint32_t* capacity, size_t item) {
  const uint32_t larger = *capacity ? *capacity * 2 : 16;
  void* grown;
  if (count < *capacity) return true;
  grown = realloc(*list, larger * item);
  if (grown == NULL) return false;
  *list = grown;
  *capacity = larger;
  return true;
}

int shmd_tx_commit(shmd_tx* t) {
  shmd_attachment* a = t->a;
  shmd_control* c = shmd_control_of(a);
  uint64_t trim;
  if (SHMD_UNLIKELY(t->freed_count != 0)) shmd_block_free_deferred(t);
  if (SHMD_UNLIKELY(t->error != 0)) {
    const int error = t->error;
    forget(t);
    return error;
  }
  if (t->count == 0) {
    shmd_tx_reset(t);
    return 0;
  }
  /* SYNC redo: publishes the list; recovery observes its length under the lock it takes over. */
  shmd_store_release(&c->redo_length, t->count);
  if (!apply(a, t->list, t->count)) {
    shmd_tx_reset(t);
    return shmd_fail(SHMD_ERR_CORRUPT, "dict '%s' is corrupt: its redo list was overwritten; unlink it", a->name);
  }
  shmd_store_release(&c->redo_length, 0);
  /* SYNC published: publishes every record below head and all that refers to it. */
  shmd_store_release(&c->published, shmd_load_acquire(&c->head));
  shmd_store_release(&c->commits, shmd_load_acquire(&c->commits) + 1);
  ++t->commit_count;
  trim = t->trim;
  shmd_tx_reset(t);
  list_trim(a);
  if (SHMD_UNLIKELY(trim != SHMD_NONE)) {
    const uint64_t used = a->super->segments_offset + trim * sizeof(shmd_segment) + offsetof(shmd_segment, used);
    shmd_segment_trim(a, trim, shmd_load_acquire(shmd_word(a, used)));
  }
  return 0;
}

/* ---- what attach.c and lock.c call ---- */

int shmd_engine_recover(shmd_attachment* a) {
  shmd_control* c = shmd_control_of(a);
  shmd_tx* t = shmd_tx_of(a);
  const shmd_redo_entry* list = (const shmd_redo_entry*)(const void*)shmd_at(a, a->super->redo_offset);
  /* SYNC redo: observes a committed list of the dead owner. */
  const uint64_t length = shmd_load_acquire(&c->redo_length);
  const uint64_t inner = shmd_load_acquire(&c->inner);
  shmd_tx_reset(t);
  shmd_local_store(&a->reader.writer, 0);
  if (length > a->super->redo_capacity)
    return shmd_fail(SHMD_ERR_CORRUPT, "dict '%s' is corrupt: a redo list of impossible length; unlink it", a->name);
  if (length != 0) {
    if (!apply(a, list, length))
      return shmd_fail(SHMD_ERR_CORRUPT, "dict '%s' is corrupt: a redo list that leads out of it; unlink it", a->name);
    shmd_store_release(&c->redo_length, 0);
    shmd_store_release(&c->replays, shmd_load_acquire(&c->replays) + 1);
  } else { /* what it had allocated and not committed: stale entries of earlier commits do no harm */
    uint64_t entries = shmd_load_acquire(&c->redo_allocated) / sizeof(shmd_redo_entry);
    if (entries > a->super->redo_capacity) entries = a->super->redo_capacity;
    shmd_segment_forget(a, list, entries);
  }
  shmd_store_release(&c->published, shmd_load_acquire(&c->head));
  shmd_store_release(&c->recoveries, shmd_load_acquire(&c->recoveries) + 1);
  if (inner & 1) shmd_store_release(&c->inner, inner + 1);
  shmd_full_barrier();
  shmd_lock_wake_followers(c); /* of a commit that its writer did not live to announce */
  return 0;
}

void shmd_engine_forget(shmd_attachment* a) {
  shmd_tx* t = shmd_tx_of(a);
  if (!t->user) shmd_tx_abort(t); /* a transaction is ended by who began it */
}

int shmd_engine_attach(shmd_attachment* a) {
  struct shmd_engine* e = (struct shmd_engine*)calloc(1, sizeof *e);
  if (e != NULL) e->scratch = (struct shmd_scratch*)malloc(sizeof *e->scratch);
  if (e == NULL || e->scratch == NULL) {
    free(e);
    return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory to attach", a->name);
  }
  e->tx.a = a;
  e->tx.list = (shmd_redo_entry*)(void*)shmd_at(a, a->super->redo_offset);
  e->tx.capacity = a->super->redo_capacity;
  e->tx.generation = 1;
  e->tx.map = e->tx.small_map;
  e->tx.map_mask = SHMD_SMALL_MAP - 1;
  shmd_tx_reset(&e->tx);
  shmd_block_geometry(a->segment_size, e->block_count, e->block_first);
  a->engine = e;
  return 0;
}

void shmd_engine_detach(shmd_attachment* a) {
  if (a->engine == NULL) return;
  map_drop(&a->engine->tx);
  free(a->engine->tx.freed);
  free(a->engine->tx.shrinks);
  free(a->engine->scratch);
  free(a->engine);
  a->engine = NULL;
}

int shmd_engine_format(shmd_attachment* a) {
  shmd_control* c = shmd_control_of(a);
  const uint64_t redo_first = 16384;
  shmd_tx* t = shmd_tx_of(a);
  uint32_t i;
  int result = shmd_object_allocate(a, a->super->redo_offset, redo_first);
  if (result < 0) return result;
  shmd_store_release(&c->redo_allocated, redo_first);
  shmd_store_release(&c->victim, SHMD_NONE);
  shmd_store_release(&c->cold_segment, SHMD_NONE);
  shmd_store_release(&c->freed_head, SHMD_NONE);
  shmd_store_release(&c->freed_tail, SHMD_NONE);
  shmd_store_release(&c->warm_head, SHMD_NONE);
  shmd_store_release(&c->reserve, SHMD_NONE);
  shmd_store_release(&c->node_free_head, SHMD_NONE);
  shmd_store_release(&c->node_free_tail, SHMD_NONE);
  shmd_store_release(&c->sweep_head, SHMD_NONE);
  shmd_store_release(&c->sweep_tail, SHMD_NONE);
  shmd_store_release(&c->block_stamp, UINT64_MAX);
  shmd_store_release(&c->pin_oldest, UINT64_MAX);
  shmd_store_release(&c->pin_seen, 0);
  for (i = 0; i < SHMD_EXTENT_CLASSES; ++i) shmd_store_release(&c->extents[i], SHMD_NONE);
  for (i = 0; i < SHMD_BUCKETS; ++i) shmd_store_release(&c->buckets[i], SHMD_NONE);
  for (i = 0; i < SHMD_BLOCK_CLASSES; ++i) {
    shmd_store_release(&c->block_lists[i][0], SHMD_NONE);
    shmd_store_release(&c->block_lists[i][1], SHMD_NONE);
    shmd_store_release(&c->compact_segment[i], SHMD_NONE);
  }
  result = shmd_log_format(t);
  if (result >= 0) result = shmd_node_format(t);
  if (result < 0) {
    shmd_tx_abort(t);
    return result;
  }
  return shmd_tx_commit(t);
}
