/* SPDX-License-Identifier: Apache-2.0 */
#include "segment.h"

#include "attach.h"
#include "descriptor.h"
#include "error.h"
#include "lock.h"
#include "node.h"
#include "object.h"
#include "platform.h"

/* What one step of shmd_segment_return_memory looks at, and punches, at most. */
#define RETURN_SEGMENTS 4096u
#define RETURN_PIECES 32u
#define LOOK_AT_GRACE 128u
#define LOOK_AT_FREED 8u /* of the freed queue, for a segment or run to use again */

#define GET(id, field) shmd_tx_get(t, SHMD_S(t, id, field))
#define SET(id, field, value) shmd_tx_set(t, SHMD_S(t, id, field), value)

#if defined(SHMD_CRASH_POINTS)
uint64_t shmd_segments_looked;
uint64_t shmd_segment_grace;
#endif

void shmd_recycle(shmd_tx* t) {
  shmd_control* c = shmd_control_of(t->a);
  /* SYNC recycle: publishes that bytes freed by earlier commits will be overwritten; the overwriting stores follow. */
  shmd_store_release(&c->recycle, shmd_load_acquire(&c->recycle) + 1);
}

uint64_t shmd_pin_oldest(shmd_tx* t) {
  shmd_attachment* a = t->a;
  shmd_control* c = shmd_control_of(a);
  /* SYNC pin: observes that a pin was stored before the version moved. */
  const uint64_t version = shmd_load_acquire(&c->pin_version);
  uint64_t oldest = UINT64_MAX, floor;
  uint32_t i;
  if (SHMD_LIKELY(version == shmd_load_acquire(&c->pin_seen))) {
    oldest = shmd_load_acquire(&c->pin_oldest);
    return SHMD_UNLIKELY(t->user) && t->begun_at < oldest ? t->begun_at : oldest;
  }
  floor = shmd_load_acquire(&c->floor);
  for (i = 0; i < a->max_processes; ++i) {
    const uint64_t position = shmd_pin_position(a, i, floor);
    if (position < oldest) oldest = position;
  }
  shmd_store_release(&c->pin_oldest, oldest);
  shmd_store_release(&c->pin_seen, version);
  return t->user && t->begun_at < oldest ? t->begun_at : oldest;
}

uint64_t shmd_reuse_floor(shmd_tx* t) {
  const uint64_t oldest = shmd_pin_oldest(t);
  const uint64_t ghost = SHMD_GET_C(t, ghost_head) == 0 ? UINT64_MAX : SHMD_GET_C(t, ghost_position);
  return ghost < oldest ? ghost : oldest;
}

/* ---- doubly linked lists of segments: `list` is the offset of the word that names the first ---- */

void shmd_segment_link(shmd_tx* t, uint64_t list, uint64_t id) {
  const uint64_t first = shmd_tx_get(t, list);
  SET(id, links, SHMD_PAIR(SHMD_NONE, first));
  if (first != SHMD_NONE) SET(first, links, SHMD_PAIR(id, SHMD_LOW(GET(first, links))));
  shmd_tx_set(t, list, id);
}

void shmd_segment_unlink(shmd_tx* t, uint64_t list, uint64_t id) {
  const uint64_t links = GET(id, links);
  const uint64_t previous = SHMD_HIGH(links), next = SHMD_LOW(links);
  if (previous == SHMD_NONE)
    shmd_tx_set(t, list, next);
  else
    SET(previous, links, SHMD_PAIR(SHMD_HIGH(GET(previous, links)), next));
  if (next != SHMD_NONE) SET(next, links, SHMD_PAIR(previous, SHMD_LOW(GET(next, links))));
}

/* ---- extents ---- */

static uint32_t extent_class(uint64_t length) {
  uint32_t class_ = 0;
  while ((length >>= 1) != 0) ++class_;
  return class_ < SHMD_EXTENT_CLASSES ? class_ : SHMD_EXTENT_CLASSES - 1;
}

static void extent_mark(shmd_tx* t, uint64_t first, uint64_t length) {
  SET(first, kind, SHMD_PAIR(length, SHMD_SEG_EXTENT));
  SET(first + length - 1, kind, SHMD_PAIR(length, SHMD_SEG_EXTENT));
}

static void extent_remove(shmd_tx* t, uint64_t first, uint64_t length) {
  shmd_segment_unlink(t, SHMD_CI(t, extents, extent_class(length)), first);
}

static void extent_add(shmd_tx* t, uint64_t first, uint64_t length) {
  const uint64_t frontier = SHMD_GET_C(t, frontier);
  uint64_t kind;
  SET(first, kind, SHMD_SEG_EXTENT); /* as it stays within a longer one: no kind of a segment in use */
  if (first > 0) {
    kind = GET(first - 1, kind);
    if (shmd_segment_kind_of(kind) == SHMD_SEG_EXTENT && SHMD_HIGH(kind) <= first) {
      extent_remove(t, first - SHMD_HIGH(kind), SHMD_HIGH(kind));
      first -= SHMD_HIGH(kind);
      length += SHMD_HIGH(kind);
    }
  }
  if (first + length < frontier) {
    kind = GET(first + length, kind);
    if (shmd_segment_kind_of(kind) == SHMD_SEG_EXTENT) {
      extent_remove(t, first + length, SHMD_HIGH(kind));
      length += SHMD_HIGH(kind);
    }
  }
  if (first + length == frontier) {
    SET(first, kind, SHMD_SEG_VIRGIN);
    SHMD_SET_C(t, frontier, first);
    return;
  }
  extent_mark(t, first, length);
  shmd_segment_link(t, SHMD_CI(t, extents, extent_class(length)), first);
}

/* Cuts `count` segments off an extent that is long enough. False if none is found in a bounded search. */
static bool extent_take(shmd_tx* t, uint64_t count, uint64_t* id) {
  uint32_t class_;
  for (class_ = extent_class(count); class_ < SHMD_EXTENT_CLASSES; ++class_) {
    uint64_t first = shmd_tx_get(t, SHMD_CI(t, extents, class_));
    int looked;
    for (looked = 0; looked < 8 && first != SHMD_NONE; ++looked) {
      const uint64_t length = SHMD_HIGH(GET(first, kind));
      SHMD_SEGMENT_LOOKED();
      if (length >= count) {
        extent_remove(t, first, length);
        if (length > count) {
          extent_mark(t, first + count, length - count);
          shmd_segment_link(t, SHMD_CI(t, extents, extent_class(length - count)), first + count);
        }
        *id = first;
        return true;
      }
      first = SHMD_LOW(GET(first, links));
    }
  }
  return false;
}

/* ---- the segment table's own memory ---- */

static int table_memory(shmd_tx* t, uint64_t segments) {
  shmd_attachment* a = t->a;
  shmd_control* c = shmd_control_of(a);
  const uint64_t total = a->super->segment_count * sizeof(shmd_segment);
  uint64_t have = shmd_load_acquire(&c->segments_allocated);
  while (have < segments * sizeof(shmd_segment)) {
    uint64_t step = have == 0 ? SHMD_PAGE : SHMD_CHUNK;
    int result;
    if (have >= total) return (void)shmd_tx_astray(t, SHMD_C(t, segments_allocated)), SHMD_ERR_CORRUPT;
    if (step > total - have) step = total - have;
    result = shmd_object_allocate(a, a->super->segments_offset + have, step);
    if (result < 0) return result;
    have += step;
    shmd_store_release(&c->segments_allocated, have);
  }
  return 0;
}

/* ---- the freed queue ---- */

static void freed_pop(shmd_tx* t, uint64_t id) {
  const uint64_t next = GET(id, next);
  SHMD_SET_C(t, freed_head, next);
  if (next == SHMD_NONE) SHMD_SET_C(t, freed_tail, SHMD_NONE);
  SHMD_ADD_C(t, freed_count, -1);
}

/* The first of the queue if it may be reused now. */
static bool freed_first(shmd_tx* t, uint64_t* id) {
  const uint64_t count = SHMD_GET_C(t, freed_count);
  if (count <= t->segments_freed) return false;
  *id = SHMD_GET_C(t, freed_head);
  if (*id == SHMD_NONE || GET(*id, position) >= shmd_reuse_floor(t)) return false;
  if (SHMD_UNLIKELY(shmd_segment_kind_of(GET(*id, kind)) != SHMD_SEG_FREED))
    (void)shmd_tx_astray(t, SHMD_S(t, *id, kind)); /* a queue that leads in a circle must not be followed for ever */
  return t->error == 0;
}

/* SYNC stream: the kind is published by the commit, before anybody overwrites the segment; followers observe it after a copy. */
void shmd_segment_free(shmd_tx* t, uint64_t id) {
  const uint64_t tail = SHMD_GET_C(t, freed_tail);
  const uint64_t kind = GET(id, kind);
  const uint64_t length =
      SHMD_LOW(kind) == SHMD_SEG_INDEX ? 1 : SHMD_HIGH(kind); /* an index segment keeps its class there */
  shmd_tx_cool(t);
  SET(id, kind, SHMD_PAIR(length, SHMD_SEG_FREED));
  SET(id, live, 0);
  SET(id, position, SHMD_GET_C(t, head));
  SET(id, next, SHMD_NONE);
  if (tail == SHMD_NONE)
    SHMD_SET_C(t, freed_head, id);
  else
    SET(tail, next, id);
  SHMD_SET_C(t, freed_tail, id);
  SHMD_ADD_C(t, freed_count, 1);
  ++t->segments_freed;
  shmd_work(t, SHMD_WORK_SETTLE);
}

/* Whether all that was freed at `position` or before it was so SHMD_GRACE_TIME ago. False also if nobody knows: this process
 * has not been here for long enough. */
static bool freed_long_ago(shmd_attachment* a, uint64_t position) {
  struct shmd_engine* e = a->engine;
  const uint64_t now = shmd_os_now();
  if (SHMD_SEGMENT_GRACE == 0) return true;
  if (now >= e->grace_time[1] && now - e->grace_time[1] >= SHMD_SEGMENT_GRACE) {
    e->grace_head[0] = e->grace_head[1];
    e->grace_time[0] = e->grace_time[1];
    e->grace_head[1] = shmd_load_acquire(&shmd_control_of(a)->head);
    e->grace_time[1] = now;
  }
  return position <= e->grace_head[0];
}

static bool nearly_full(const shmd_attachment* a) {
  uint64_t available, total;
  return shmd_descriptor_file(a) && shmd_os_room(a->object_fd, &available, &total) == 0 &&
         available < SHMD_NEARLY_FULL && available < total / 2;
}

/* What of a freed segment or run has memory. */
static uint64_t freed_memory(shmd_tx* t, uint64_t id) {
  const uint64_t size = (uint64_t)SHMD_HIGH(GET(id, kind)) << t->a->segment_shift;
  const uint64_t allocated = shmd_load_acquire(shmd_word(t->a, SHMD_S(t, id, allocated)));
  return allocated < size ? allocated : size;
}

/* Whether the first of the freed queue, `id`, keeps its memory for late readers, and to be used again. */
static bool in_grace(shmd_tx* t, uint64_t id) {
  const uint64_t most = SHMD_GRACE_BYTES + 2 * (SHMD_HIGH(GET(id, kind)) > 1 ? freed_memory(t, id) : 0);
  uint64_t waiting = 0, n;
  if (freed_long_ago(t->a, GET(id, position))) return false;
  for (n = 0; id < t->a->segment_count && n < LOOK_AT_GRACE && waiting <= most + SHMD_GRACE_BYTES_NEARLY_FULL; ++n) {
    waiting += freed_memory(t, id);
    id = GET(id, next);
  }
  return waiting <= most || (waiting <= most + SHMD_GRACE_BYTES_NEARLY_FULL && n < LOOK_AT_GRACE && nearly_full(t->a));
}

int shmd_segment_settle(shmd_tx* t, bool now) {
  shmd_attachment* a = t->a;
  uint64_t id, allocated, length;
  if (!freed_first(t, &id)) return 0;
  length = SHMD_HIGH(GET(id, kind));
  if (length == 1 && SHMD_GET_C(t, warm_count) < SHMD_WARM_MAX) {
    freed_pop(t, id);
    SET(id, kind, SHMD_PAIR(1, SHMD_SEG_WARM));
    SET(id, next, SHMD_GET_C(t, warm_head));
    SHMD_SET_C(t, warm_head, id);
    SHMD_ADD_C(t, warm_count, 1);
    return 1;
  }
  if (!now && in_grace(t, id)) return 0;
  allocated = shmd_load_acquire(shmd_word(a, SHMD_S(t, id, allocated)));
  /* never beyond its own end, whatever a longer run that began here left behind */
  if (allocated > length << a->segment_shift) allocated = length << a->segment_shift;
  if (length > 1 && allocated <= (length - 1) << a->segment_shift) {
    /* A run goes from its end, one by one: so every segment of an extent is marked as free, which is what
     * shmd_segment_forget goes by. */
    const uint64_t last = id + length - 1;
    shmd_recycle(t);
    if (shmd_object_return(a, shmd_segment_offset(a, last), a->segment_size, 0) < 0) return 0;
    SET(id, kind, SHMD_PAIR(length - 1, SHMD_SEG_FREED));
    extent_add(t, last, 1);
    return 1;
  }
  if (allocated != 0) {
    const uint64_t from = allocated > SHMD_CHUNK ? (allocated - 1) & ~(uint64_t)(SHMD_CHUNK - 1) : 0;
    shmd_recycle(t); /* punching overwrites with zeros */
    shmd_store_release(shmd_word(a, SHMD_S(t, id, allocated)), from);
    /* in the end all of it: what a killed process gave it and `allocated` does not know of goes, too */
    if (shmd_object_return(a, shmd_segment_offset(a, id) + from,
                           from != 0 ? shmd_pages(allocated - from) : length << a->segment_shift, allocated - from) < 0)
      return 0;
    if (from != 0) return 1;
  }
  freed_pop(t, id);
  extent_add(t, id, length == 0 ? 1 : length);
  return 1;
}

/* ---- allocation ---- */

static bool warm_take(shmd_tx* t, uint64_t* id) {
  *id = SHMD_GET_C(t, warm_head);
  if (*id == SHMD_NONE) return false;
  SHMD_SET_C(t, warm_head, GET(*id, next));
  SHMD_ADD_C(t, warm_count, -1);
  return true;
}

/* One of just that length among the first of the queue. It keeps its memory, all or a part. */
static bool freed_take(shmd_tx* t, uint64_t count, uint64_t* id) {
  uint64_t left = SHMD_GET_C(t, freed_count) - t->segments_freed, before = SHMD_NONE, n;
  if (!freed_first(t, id)) return false;
  for (n = 0; n < LOOK_AT_FREED && n < left; ++n) {
    const uint64_t kind = GET(*id, kind), next = GET(*id, next);
    SHMD_SEGMENT_LOOKED();
    if (shmd_segment_kind_of(kind) != SHMD_SEG_FREED || GET(*id, position) >= shmd_reuse_floor(t)) return false;
    if (SHMD_HIGH(kind) == count) {
      if (before == SHMD_NONE) {
        freed_pop(t, *id);
      } else {
        SET(before, next, next);
        if (next == SHMD_NONE) SHMD_SET_C(t, freed_tail, before);
        SHMD_ADD_C(t, freed_count, -1);
      }
      return t->error == 0;
    }
    if (next == SHMD_NONE) return false;
    before = *id;
    *id = next;
  }
  return false;
}

static bool frontier_take(shmd_tx* t, uint64_t count, uint64_t* id) {
  const uint64_t frontier = SHMD_GET_C(t, frontier), end = t->a->super->segment_count;
  if (frontier > end || count > end - frontier) return false;
  if (table_memory(t, frontier + count) < 0) return false;
  *id = frontier;
  SHMD_SET_C(t, frontier, frontier + count);
  return true;
}

uint32_t shmd_segment_reserved(shmd_tx* t) {
  uint64_t id = SHMD_GET_C(t, reserve);
  uint32_t n = 0;
  for (; id != SHMD_NONE && n < SHMD_RESERVE_MAX; ++n) id = GET(id, next);
  return n;
}

static bool reserve_take(shmd_tx* t, uint32_t keep, uint64_t* id) {
  if (shmd_segment_reserved(t) <= keep) return false;
  *id = SHMD_GET_C(t, reserve);
  SHMD_SET_C(t, reserve, GET(*id, next));
  shmd_recycle(t);
  return true;
}

static void take_into_use(shmd_tx* t, uint64_t id, uint32_t kind, uint32_t high) {
  shmd_tx_cool(t);
  SET(id, kind, SHMD_PAIR(high, kind));
  SET(id, live, 0);
  SET(id, used, 0);
  SET(id, pinned, 0);
  SET(id, next, SHMD_NONE);
  SET(id, links, SHMD_PAIR(SHMD_NONE, SHMD_NONE));
}

int shmd_segment_allocate(shmd_tx* t, uint64_t count, uint32_t kind, uint32_t high, uint64_t* id) {
  bool found, used = false;
  uint64_t i;
  if (count == 1) {
    found = used = warm_take(t, id) || freed_take(t, 1, id);
    if (!found) found = extent_take(t, 1, id) || frontier_take(t, 1, id);
  } else {
    found = used = freed_take(t, count, id);
    if (!found) found = extent_take(t, count, id) || frontier_take(t, count, id);
  }
  if (t->error != 0) return t->error;
  if (found && (*id >= t->a->super->segment_count || count > t->a->super->segment_count - *id))
    return (void)shmd_tx_astray(t, SHMD_S(t, *id, kind)), SHMD_ERR_CORRUPT;
  if (!found)
    return shmd_fail(SHMD_ERR_NO_SPACE,
                     "dict '%s' is full: all of max_size (%llu bytes) is in use or held by pins; erase keys, close "
                     "snapshots, or make it larger",
                     t->a->name, (unsigned long long)t->a->max_size);
  if (used) shmd_recycle(t);
  take_into_use(t, *id, kind, high);
  for (i = 1; i < count; ++i) SET(*id + i, kind, SHMD_SEG_BODY);
  return 0;
}

int shmd_segment_open(shmd_tx* t, uint32_t kind, uint64_t bytes, uint32_t keep, uint64_t* id) {
  uint64_t without = SHMD_NONE;
  int result = shmd_segment_allocate(t, 1, kind, 1, id);
  if (result == 0) {
    result = shmd_segment_memory(t, *id, bytes);
    if (result == 0) return 0;
    without = *id;
  }
  if (result != SHMD_ERR_NO_SPACE || !reserve_take(t, keep, id))
    return without != SHMD_NONE ? shmd_tx_fail(t, result) : result;
  if (without != SHMD_NONE) { /* a place, but no memory for it: back to where it came from */
    if (shmd_load_acquire(shmd_word(t->a, SHMD_S(t, without, allocated))) == 0)
      extent_add(t, without, 1);
    else
      shmd_segment_free(t, without);
  }
  take_into_use(t, *id, kind, 1);
  shmd_work(t, SHMD_WORK_RESERVE);
  return t->error;
}

/* The program may have closed the descriptor that says that we live: this is a good moment to notice, for what follows makes
 * system calls anyway. NOT_ATTACHED: nobody can tell any more that we live, or the lock was taken from us. */
static int still_inside(shmd_attachment* a) {
  const int result = shmd_liveness_keep(a);
  if (result < 0) {
    shmd_lock_resign(a);
    return result;
  }
  if (((shmd_load_acquire(&shmd_control_of(a)->lock) ^ a->held) & ~SHMD_LOCK_WAITERS) == 0) return 0;
  return shmd_fail(
      SHMD_ERR_NOT_ATTACHED,
      "dict '%s': the lock was taken from this process as if it were dead; do not close descriptors that you did "
      "not open",
      a->name);
}

static int memory(shmd_tx* t, uint64_t id, uint64_t bytes, uint64_t limit) {
  shmd_attachment* a = t->a;
  uint64_t* allocated;
  uint64_t have;
  if (!shmd_tx_in_bounds(t, SHMD_S(t, id, allocated)))
    return (void)shmd_tx_astray(t, SHMD_S(t, id, allocated)), SHMD_ERR_CORRUPT;
  allocated = shmd_word(a, SHMD_S(t, id, allocated));
  have = shmd_load_acquire(allocated);
  if (have < bytes) {
    const int result = still_inside(a);
    if (result < 0) return result;
  }
  while (have < bytes) {
    uint64_t next = (have + SHMD_CHUNK) & ~(uint64_t)(SHMD_CHUNK - 1);
    int result;
    if (next > limit) next = limit;
    result = shmd_object_allocate(a, shmd_segment_offset(a, id) + have, next - have);
    if (result < 0) return result;
    SHMD_CRASH_POINT(); /* `allocated` never claims memory that is not there; what it does not know of is given back later */
    shmd_store_release(allocated, next);
    have = next;
  }
  return 0;
}

int shmd_segment_memory(shmd_tx* t, uint64_t id, uint64_t bytes) { return memory(t, id, bytes, UINT64_MAX); }
int shmd_segment_memory_run(shmd_tx* t, uint64_t id, uint64_t bytes) { return memory(t, id, bytes, shmd_pages(bytes)); }

void shmd_segment_trim(shmd_attachment* a, uint64_t id, uint64_t used) {
  shmd_segment* s = (shmd_segment*)(void*)shmd_at(a, a->super->segments_offset) + id;
  const uint64_t keep = shmd_pages(used), have = shmd_load_acquire(&s->allocated);
  if (have <= keep) return;
  shmd_store_release(&s->allocated, keep);
  (void)shmd_object_return(a, shmd_segment_offset(a, id) + keep, have - keep, have - keep);
}

/* Gives all memory of a free segment (or run that nobody got) back, a chunk more than is known of included. */
static void give_back(shmd_attachment* a, uint64_t id) {
  shmd_segment* s = (shmd_segment*)(void*)shmd_at(a, a->super->segments_offset) + id;
  const uint64_t have = shmd_load_acquire(&s->allocated), size = a->segment_size;
  const uint64_t whole = have == 0 ? size : (have + size - 1) & ~(size - 1);
  if (have > a->max_size) return;
  shmd_store_release(&s->allocated, 0);
  (void)shmd_object_return(a, shmd_segment_offset(a, id), have + SHMD_CHUNK < whole ? have + SHMD_CHUNK : whole, have);
}

void shmd_segment_forget(shmd_attachment* a, const shmd_redo_entry* list, uint64_t count) {
  const uint64_t first = a->super->segments_offset, end = first + a->super->segment_count * sizeof(shmd_segment);
  const uint64_t frontier = shmd_load_acquire(&shmd_control_of(a)->frontier);
  uint64_t i;
  for (i = 0; i < count; ++i) {
    const uint64_t at = shmd_load_acquire(&list[i].where);
    uint64_t id;
    uint32_t kind;
    if (at < first || at >= end || (at - first) % sizeof(shmd_segment) != offsetof(shmd_segment, kind)) continue;
    id = (at - first) / sizeof(shmd_segment);
    kind = shmd_segment_kind_of(shmd_load_acquire(shmd_word(a, at)));
    if (id >= frontier || kind == SHMD_SEG_VIRGIN || kind == SHMD_SEG_EXTENT) give_back(a, id);
  }
}

/* Segments `id` and up to `end` that are free, in one piece: their number. */
static uint64_t free_piece(const shmd_segment* table, uint64_t id, uint64_t frontier, uint64_t end) {
  uint64_t n = 0;
  while (id + n < end && (id + n >= frontier || SHMD_LOW(shmd_load_acquire(&table[id + n].kind)) == SHMD_SEG_EXTENT))
    ++n;
  return n;
}

uint64_t shmd_segment_return_memory(shmd_attachment* a, uint64_t from) {
  const shmd_control* c = shmd_control_of(a);
  shmd_segment* table = (shmd_segment*)(void*)shmd_at(a, a->super->segments_offset);
  const uint64_t frontier = shmd_load_acquire(&c->frontier);
  uint64_t known = shmd_load_acquire(&c->segments_allocated) / sizeof(shmd_segment), id, end, pieces = 0;
  if (known > a->super->segment_count) known = a->super->segment_count;
  end = known - from > RETURN_SEGMENTS ? from + RETURN_SEGMENTS : known;
  if (from >= known) return UINT64_MAX;
  for (id = from; id < end && pieces < RETURN_PIECES;) {
    const uint64_t n = free_piece(table, id, frontier, end);
    uint64_t i, memory = 0;
    for (i = 0; i < n; ++i) {
      const uint64_t allocated = shmd_load_acquire(&table[id + i].allocated);
      if (allocated == 0) continue;
      memory += allocated < a->segment_size ? allocated : a->segment_size;
      shmd_store_release(&table[id + i].allocated, 0);
    }
    if (n != 0) {
      (void)shmd_object_return(a, shmd_segment_offset(a, id), n << a->segment_shift, memory);
      ++pieces;
    }
    id += n + 1;
  }
  return id < known ? id : UINT64_MAX;
}

void shmd_segment_reserve(shmd_tx* t) {
  uint64_t id;
  if (shmd_segment_reserved(t) >= SHMD_RESERVE_MAX) return;
  if (shmd_segment_allocate(t, 1, SHMD_SEG_RESERVE, 1, &id) < 0) return;
  if (shmd_segment_memory(t, id, t->a->segment_size) < 0) {
    (void)shmd_tx_fail(t, SHMD_ERR_NO_SPACE);
    return;
  }
  SET(id, next, SHMD_GET_C(t, reserve));
  SHMD_SET_C(t, reserve, id);
}

/* ---- liveness ---- */

static void free_log_segment(shmd_tx* t, uint64_t id) {
  SHMD_ADD_C(t, log_bytes, -(int64_t)shmd_pages(GET(id, used)));
  shmd_segment_free(t, id);
}

void shmd_segment_dead(shmd_tx* t, uint64_t offset, uint64_t size) {
  shmd_attachment* a = t->a;
  const uint64_t id = shmd_segment_of(a, offset);
  const uint64_t kind = GET(id, kind), live = GET(id, live);
  uint64_t now;
  if (SHMD_UNLIKELY(size > live)) {
    (void)shmd_tx_astray(t, offset);
    return;
  }
  now = live - size;
  SET(id, live, now);
  SHMD_ADD_C(t, live_bytes, -(int64_t)size);
  if (SHMD_UNLIKELY(shmd_pin_oldest(t) != UINT64_MAX)) SET(id, pinned, SHMD_GET_C(t, head));
  if (shmd_segment_kind_of(kind) == SHMD_SEG_CLOSED) {
    const uint64_t used = GET(id, used);
    const uint64_t before = shmd_segment_bucket(a, live, used), after = shmd_segment_bucket(a, now, used);
    if (now == 0) {
      shmd_segment_unlink(t, SHMD_CI(t, buckets, before), id);
      free_log_segment(t, id);
    } else if (before != after) {
      shmd_tx_cool(t);
      shmd_segment_unlink(t, SHMD_CI(t, buckets, before), id);
      shmd_segment_link(t, SHMD_CI(t, buckets, after), id);
    }
  } else if (shmd_segment_kind_of(kind) == SHMD_SEG_RUN && now == 0) {
    free_log_segment(t, id);
  }
}

void shmd_segment_retire(shmd_tx* t, uint64_t id) {
  const uint64_t live = GET(id, live);
  const uint64_t length = SHMD_HIGH(GET(id, kind));
  shmd_tx_cool(t);
  if (live == 0) {
    free_log_segment(t, id);
  } else if (length > 1) {
    SET(id, kind, SHMD_PAIR(length, SHMD_SEG_RUN));
  } else {
    SET(id, kind, SHMD_PAIR(1, SHMD_SEG_CLOSED));
    shmd_segment_link(t, SHMD_CI(t, buckets, shmd_segment_bucket(t->a, live, GET(id, used))), id);
  }
}
