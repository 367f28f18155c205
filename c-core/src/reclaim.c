/* SPDX-License-Identifier: Apache-2.0 */
#include "reclaim.h"

#include "attach.h"
#include "block.h"
#include "index.h"
#include "log.h"
#include "node.h"
#include "segment.h"

#define STEP_LIMIT UINT64_C(65536) /* bytes looked at in one commit of the cleaner */
#define AT_ONCE 1u                 /* argument of a settling step: no grace for late readers */
#define LOOK_FAR 0x100u            /* argument of a cleaning step: look for a victim behind many that pins keep */

#define SEG(id, field) shmd_tx_get(t, SHMD_S(t, id, field))
#define NODE(id, field) shmd_tx_get(t, SHMD_N(t, id, field))

/* ---- ghosts ---- */

/* Erasing appends at least 40 bytes, which may have left a ghost: a step for `appended` bytes purges more than that. */
static int ghosts_step(shmd_tx* t, uint64_t appended) {
  shmd_attachment* a = t->a;
  const uint64_t most = 64 + appended / 24;
  uint64_t n;
  for (n = 0; n < most; ++n) {
    const uint64_t ghost = SHMD_GET_C(t, ghost_head);
    shmd_record_view v;
    shmd_cursor c;
    uint64_t next;
    if (ghost == 0) break;
    if (SHMD_GET_C(t, ghost_position) >= shmd_pin_oldest(t)) break;
    if (!shmd_record_read(&a->reader, ghost, &v) || v.kind != SHMD_REC_ERASE || v.value_size != 8 ||
        v.node >= a->super->node_capacity)
      return (void)shmd_tx_astray(t, ghost), SHMD_ERR_CORRUPT;
    if (SHMD_LOW(NODE(v.node, identity)) != SHMD_NODE_FREE) {
      if (shmd_index_find(t, v.node, shmd_hash_key(a->reader.hash_seed, v.key, v.key_size), v.key, v.key_size, &c) < 0)
        return SHMD_ERR_CORRUPT;
      if (c.found && c.record.offset == ghost) {
        shmd_segment_dead(t, ghost, v.size);
        if (shmd_index_remove(t, &c)) shmd_index_queue_shrink(t, &c);
      }
    }
    next = shmd_tx_get(t, (uint64_t)(v.value - a->reader.base));
    SHMD_SET_C(t, ghost_head, next);
    if (next == 0) {
      SHMD_SET_C(t, ghost_tail, 0);
    } else {
      shmd_record_view after;
      if (!shmd_record_read(&a->reader, next, &after) || after.position <= v.position)
        return (void)shmd_tx_astray(t, next), SHMD_ERR_CORRUPT;
      SHMD_SET_C(t, ghost_position, after.position);
    }
  }
  return n != 0;
}

/* ---- sweep ---- */

static int sweep_array(shmd_tx* t, uint64_t array) {
  const uint64_t slots = UINT64_C(1) << shmd_ref_log2(array);
  uint64_t i;
  for (i = 0; i < slots; ++i) {
    const uint64_t slot = shmd_tx_get(t, SHMD_REF_OFFSET(array) + 8 * i);
    if (shmd_slot_refers(slot) && (slot & SHMD_OFFSET_MASK) < t->a->reader.limit)
      SHMD_PREFETCH(shmd_at(t->a, slot & SHMD_OFFSET_MASK));
  }
  for (i = 0; i < slots; ++i) {
    const uint64_t slot = shmd_tx_get(t, SHMD_REF_OFFSET(array) + 8 * i);
    shmd_record_view v;
    if (!shmd_slot_refers(slot)) continue;
    if (!shmd_record_read(&t->a->reader, slot & SHMD_OFFSET_MASK, &v))
      return (void)shmd_tx_astray(t, slot), SHMD_ERR_CORRUPT;
    shmd_segment_dead(t, v.offset, v.size);
    if (v.kind == SHMD_REC_NODE && v.value_size == 8) {
      const uint64_t child = shmd_load_acquire((const uint64_t*)(const void*)v.value);
      if (SHMD_LOW(child) < t->a->super->node_capacity &&
          NODE(SHMD_LOW(child), identity) == SHMD_PAIR(SHMD_HIGH(child), SHMD_NODE_LIVE))
        shmd_node_remove(t, SHMD_LOW(child));
    }
  }
  return 0;
}

/* 1 progress, 0 nothing to do or a pin in the way. */
static int sweep_step(shmd_tx* t) {
  const uint64_t id = SHMD_GET_C(t, sweep_head);
  uint64_t prefix, array, next, span, i;
  shmd_cursor c;
  uint32_t depth;
  if (id == SHMD_NONE || NODE(id, freed_at) > shmd_pin_oldest(t)) return 0;
  if (SHMD_LOW(NODE(id, identity)) != SHMD_NODE_SWEEPING)
    return (void)shmd_tx_astray(t, SHMD_N(t, id, identity)), SHMD_ERR_CORRUPT;
  prefix = NODE(id, sweep);
  if (prefix > UINT32_MAX || NODE(id, root) == 0) {
    shmd_node_release(t, (uint32_t)id);
    return 1;
  }
  /* A reader that passed the removal by must not believe the emptiness that the sweep leaves. */
  if (prefix == 0) shmd_recycle(t);
  (void)shmd_index_find_block(t, (uint32_t)id, (uint32_t)prefix, UINT64_MAX, &c);
  array = c.level[c.levels - 1].ref;
  depth = c.level[c.levels - 1].depth;
  if (array != 0) {
    const uint64_t descriptor = shmd_block_descriptor(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array));
    if (descriptor == 0 || sweep_array(t, array) < 0) return SHMD_ERR_CORRUPT;
    depth = SHMD_BLOCK_DEPTH(shmd_tx_get(t, descriptor + 8));
    if (!shmd_index_depth_fits(&c, depth)) return (void)shmd_tx_astray(t, descriptor), SHMD_ERR_CORRUPT;
    shmd_block_free(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array));
  }
  t->references = true;
  span = UINT64_C(1) << (32 - depth);
  next = (prefix & ~(span - 1)) + span;
  if (c.levels == 1) {
    shmd_tx_publish(t, c.level[0].at, 0);
  } else {
    const shmd_path_level* dir = &c.level[c.levels - 2];
    const uint32_t log2 = shmd_ref_log2(dir->ref), top = dir->depth;
    const uint64_t count = depth >= top + log2 ? 1 : UINT64_C(1) << (top + log2 - depth);
    const uint64_t first = (((uint64_t)(uint32_t)prefix << top & UINT32_MAX) >> (32 - log2)) & ~(count - 1);
    uint32_t level;
    for (i = 0; i < count; ++i) shmd_tx_publish(t, SHMD_REF_OFFSET(dir->ref) + 8 * (first + i), 0);
    /* directories that lie wholly behind are done */
    for (level = c.levels - 1; level > 0; --level) {
      dir = &c.level[level - 1];
      if (dir->depth != 0 && next >> (32 - dir->depth) == prefix >> (32 - dir->depth)) break;
      if (dir->depth == 0 && next <= UINT32_MAX) break;
      shmd_tx_publish(t, dir->at, 0);
      shmd_block_free(t, SHMD_REF_OFFSET(dir->ref), shmd_ref_log2(dir->ref));
    }
  }
  shmd_tx_set(t, SHMD_N(t, id, sweep), next);
  return 1;
}

/* ---- clean ---- */

bool shmd_reclaim_due(shmd_tx* t) {
  const uint64_t live = SHMD_GET_C(t, live_bytes);
  return SHMD_GET_C(t, log_bytes) > live + live / 8 * 3 + t->a->super->buffer_size + 4 * t->a->segment_size;
}

/* A pin does not keep its segment from being emptied, but from being reused. While the oldest pin is young, that is worth
 * it: readers who take one snapshot after another must not stop the cleaner. Under an old one the log grows instead.
 * Ghosts cannot be moved: their segments wait. */
static bool can_be_cleaned(shmd_tx* t, uint64_t id, uint64_t oldest, bool young) {
  return SEG(id, pinned) <= oldest || (young && (SHMD_GET_C(t, ghost_head) == 0 ||
                                                 SEG(id, position) + SEG(id, used) <= SHMD_GET_C(t, ghost_position)));
}

/* Where the search in bucket `b` goes on: behind the segments that the last ones found kept by a pin, or at the front. */
static uint64_t search_from(shmd_tx* t, uint32_t b) {
  const uint64_t id = t->a->engine->victim_from[b];
  if (id < SHMD_GET_C(t, frontier) && id < t->a->super->segment_count && SHMD_LOW(SEG(id, kind)) == SHMD_SEG_CLOSED &&
      shmd_segment_bucket(t->a, SEG(id, live), SEG(id, used)) == b)
    return id;
  return shmd_tx_get(t, SHMD_CI(t, buckets, b));
}

static bool choose_victim(shmd_tx* t, uint32_t buckets, bool far) {
  const uint64_t oldest = shmd_reuse_floor(t);
  const bool young =
      SHMD_GET_C(t, head) - shmd_pin_oldest(t) <= t->a->super->buffer_size + SHMD_GET_C(t, live_bytes) / 8;
  uint32_t b, looked;
  for (b = 0; b < buckets; ++b) {
    uint64_t id = search_from(t, b);
    const uint32_t most = far                    ? 4096
                          : b < SHMD_BUCKETS - 1 ? 4
                                                 : 64; /* the last list has some without a dead byte, too */
    for (looked = 0; looked < most && id != SHMD_NONE && t->error == 0; ++looked) {
      SHMD_SEGMENT_LOOKED();
      if (SHMD_LOW(SEG(id, kind)) != SHMD_SEG_CLOSED) return (void)shmd_tx_astray(t, SHMD_S(t, id, kind)), false;
      if (SEG(id, live) < SEG(id, used) && can_be_cleaned(t, id, oldest, young)) {
        t->a->engine->victim_from[b] = SHMD_LOW(SEG(id, links));
        shmd_segment_unlink(t, SHMD_CI(t, buckets, b), id);
        shmd_tx_set(t, SHMD_S(t, id, kind), SHMD_PAIR(1, SHMD_SEG_VICTIM));
        SHMD_SET_C(t, victim, id);
        SHMD_SET_C(t, victim_at, shmd_segment_offset(t->a, id));
        return true;
      }
      id = SHMD_LOW(SEG(id, links));
    }
    t->a->engine->victim_from[b] = id; /* at the end: SHMD_NONE, from the front again */
  }
  return false;
}

#define AHEAD 16u /* records whose slots are fetched before they are looked at */

/* A record of the victim: what it takes to find out whether it lives. */
typedef struct candidate {
  uint64_t offset, size;
  uint64_t array; /* of the slot that refers to it, if one does */
  uint32_t hash;
} candidate;

static int read_candidate(shmd_tx* t, uint64_t at, uint64_t end, candidate* c) {
  shmd_record_view v;
  if (!shmd_record_read(&t->a->reader, at, &v) || v.size > end - at)
    return (void)shmd_tx_astray(t, at), SHMD_ERR_CORRUPT;
  c->offset = at;
  c->size = v.size;
  c->hash = v.hash;
  return shmd_index_seek(t, &v, &c->array);
}

/* Moves the record if its slot still refers to it. 1 moved, 0 dead, negative: no room. */
static int clean_record(shmd_tx* t, shmd_cold* cold, const candidate* c) {
  shmd_record_view v;
  uint64_t at, slot, fresh;
  int result;
  if (!shmd_index_slot_of(t, c->array, c->hash, c->offset, &at, &slot)) return 0;
  if (!shmd_record_read(&t->a->reader, c->offset, &v) || v.size != c->size || v.kind == SHMD_REC_ERASE)
    return (void)shmd_tx_astray(t, c->offset), SHMD_ERR_CORRUPT; /* ghosts keep victims away */
  result = shmd_cold_append(t, cold, &v, &fresh);
  if (result < 0) return result;
  shmd_tx_append(t, at, (slot & ~SHMD_OFFSET_MASK) | fresh, SHMD_REDO_PUBLISH);
  if (v.kind == SHMD_REC_NODE && v.value_size == 8) {
    const uint64_t child = shmd_load_acquire((const uint64_t*)(const void*)v.value);
    if (SHMD_LOW(child) < t->a->super->node_capacity) shmd_tx_set(t, SHMD_N(t, SHMD_LOW(child), self), fresh);
  }
  return 1;
}

/* 1 progress, 0 nothing to do, negative: abort. `how`: how full a victim may be, in eighths; LOOK_FAR. */
static int clean_step(shmd_tx* t, uint64_t budget, uint32_t how) {
  shmd_attachment* a = t->a;
  uint64_t id = SHMD_GET_C(t, victim), at, ahead, end, live, moved = 0;
  candidate ring[AHEAD]; /* the records between `at` and `ahead` */
  uint32_t first = 0, count = 0;
  shmd_cold cold;
  if (id == SHMD_NONE) {
    if (!choose_victim(t, how & ~LOOK_FAR, (how & LOOK_FAR) != 0)) return 0;
    id = SHMD_GET_C(t, victim);
  }
  at = ahead = SHMD_GET_C(t, victim_at);
  if (id >= a->segment_count || SEG(id, used) > a->segment_size)
    return (void)shmd_tx_astray(t, SHMD_S(t, id, used)), SHMD_ERR_CORRUPT;
  end = shmd_segment_offset(a, id) + SEG(id, used);
  live = SEG(id, live);
  shmd_cold_begin(t, &cold);
  while (at < end && moved < live) {
    const candidate* c = &ring[first % AHEAD];
    int result;
    for (; count < AHEAD && ahead < end; ++count) {
      candidate* next = &ring[(first + count) % AHEAD];
      result = read_candidate(t, ahead, end, next);
      if (result < 0) return result;
      ahead += next->size;
    }
    result = clean_record(t, &cold, c);
    if (result < 0) return result;
    if (result > 0) moved += c->size;
    at += c->size;
    ++first;
    --count;
    if (c->size >= budget || t->error != 0) break;
    budget -= c->size;
  }
  shmd_cold_end(t, &cold);
  if (moved != 0) shmd_segment_dead(t, shmd_segment_offset(a, id), moved);
  if (moved >= live) {
    SHMD_ADD_C(t, log_bytes, -(int64_t)shmd_pages(SEG(id, used)));
    shmd_segment_free(t, id);
    SHMD_SET_C(t, victim, SHMD_NONE);
  } else if (at >= end) {
    return (void)shmd_tx_astray(t, at), SHMD_ERR_CORRUPT;
  } else {
    SHMD_SET_C(t, victim_at, at);
  }
  shmd_store_release(&shmd_control_of(a)->cleaned_bytes, shmd_load_acquire(&shmd_control_of(a)->cleaned_bytes) + moved);
  return 1;
}

/* ---- sparse index segments ---- */

bool shmd_reclaim_blocks_due(shmd_tx* t, uint32_t class_) {
  const uint64_t count = t->a->engine->block_count[class_];
  const uint64_t used = SHMD_GET_C(t, blocks_used[class_]);
  const uint64_t capacity = SHMD_GET_C(t, block_segments[class_]) * count;
  return capacity > used + used / 4 + count;
}

static int blocks_step(shmd_tx* t, uint32_t class_) {
  shmd_attachment* a = t->a;
  const uint64_t count = a->engine->block_count[class_], size = (uint64_t)SHMD_BLOCK_MIN << class_;
  uint64_t id = SHMD_GET_C(t, compact_segment[class_]), base, w;
  uint32_t moved = 0;
  if (id == SHMD_NONE) {
    uint32_t list = 1;
    if (!shmd_reclaim_blocks_due(t, class_)) return 0;
    id = shmd_tx_get(t, SHMD_CI(t, block_lists[class_], 1));
    if (id == SHMD_NONE) {
      list = 0;
      id = shmd_tx_get(t, SHMD_CI(t, block_lists[class_], 0));
    }
    if (id == SHMD_NONE) return 0;
    shmd_segment_unlink(t, SHMD_CI(t, block_lists[class_], list), id);
    SHMD_SET_C(t, compact_segment[class_], id);
  }
  if (SEG(id, kind) != SHMD_PAIR(class_, SHMD_SEG_INDEX) || shmd_tx_get(t, SHMD_CI(t, block_lists[class_], 0)) == id ||
      shmd_tx_get(t, SHMD_CI(t, block_lists[class_], 1)) == id)
    return (void)shmd_tx_astray(t, SHMD_S(t, id, kind)),
           SHMD_ERR_CORRUPT; /* its blocks would move within it for ever */
  base = shmd_segment_offset(a, id);
  for (w = 0; w < (count + 63) / 64; ++w) {
    const uint64_t bits = shmd_tx_get(t, base + 8 * w);
    uint32_t b;
    if (bits == 0) continue;
    for (b = 0; b < 64; ++b) {
      uint64_t offset, owner;
      shmd_cursor c;
      int result;
      if (!(bits >> b & 1)) continue;
      offset = base + a->engine->block_first[class_] + (w * 64 + b) * size;
      owner = shmd_tx_get(t, base + (count + 63) / 64 * 8 + (w * 64 + b) * sizeof(shmd_block));
      if (!shmd_index_find_block(t, SHMD_LOW(owner), SHMD_HIGH(owner), offset, &c))
        return (void)shmd_tx_astray(t, offset), SHMD_ERR_CORRUPT;
      result = shmd_index_move_block(t, &c);
      if (result < 0) return result;
      if (++moved * size >= 8192 || moved >= 16) return 1;
    }
  }
  return moved != 0;
}

/* ---- steps ---- */

/* Runs one kind of step as a commit of its own. 1 progress, 0 none. */
static int commit_step(shmd_attachment* a, uint64_t kind, uint64_t budget, uint32_t argument) {
  shmd_tx* t = shmd_tx_of(a);
  int result = 0;
  switch (kind) {
    case SHMD_WORK_GHOSTS:
      result = ghosts_step(t, budget);
      break;
    case SHMD_WORK_SWEEP:
      result = sweep_step(t);
      break;
    case SHMD_WORK_CLEAN:
      result = clean_step(t, budget, argument);
      break;
    case SHMD_WORK_BLOCKS:
      result = blocks_step(t, argument);
      break;
    case SHMD_WORK_SETTLE:
      result = shmd_segment_settle(t, argument == AT_ONCE);
      break;
    case SHMD_WORK_HISTORY:
      shmd_log_forget(t, argument != 0);
      result = t->count != 0;
      break;
    case SHMD_WORK_AGE:
      shmd_log_age(t, budget);
      result = t->count != 0;
      break;
    case SHMD_WORK_RESERVE:
      shmd_segment_reserve(t);
      result = t->count != 0;
      break;
    default:
      break;
  }
  if (result <= 0 || t->error != 0) {
    shmd_tx_abort(t);
    return 0;
  }
  return shmd_tx_commit(t) == 0 ? 1 : 0;
}

static int blocks_round(shmd_attachment* a) {
  uint32_t class_;
  int done = 0;
  for (class_ = 0; class_ < SHMD_BLOCK_CLASSES && !done; ++class_) done = commit_step(a, SHMD_WORK_BLOCKS, 0, class_);
  return done;
}

/* Forgets work that is done; what a pin stands in the way of stays. */
static void review(shmd_attachment* a) {
  shmd_tx* t = shmd_tx_of(a);
  uint64_t work = 0;
  uint32_t class_;
  if (SHMD_GET_C(t, victim) != SHMD_NONE || shmd_reclaim_due(t)) work |= SHMD_WORK_CLEAN;
  if (SHMD_GET_C(t, sweep_head) != SHMD_NONE) work |= SHMD_WORK_SWEEP;
  if (SHMD_GET_C(t, ghost_head) != 0) work |= SHMD_WORK_GHOSTS;
  if (SHMD_GET_C(t, freed_count) > 0) work |= SHMD_WORK_SETTLE;
  for (class_ = 0; class_ < SHMD_BLOCK_CLASSES; ++class_)
    if (SHMD_GET_C(t, compact_segment[class_]) != SHMD_NONE || shmd_reclaim_blocks_due(t, class_))
      work |= SHMD_WORK_BLOCKS;
  if (shmd_segment_reserved(t) < SHMD_RESERVE_MAX && SHMD_GET_C(t, log_bytes) >= 2 * a->segment_size)
    work |= SHMD_WORK_RESERVE;
  if (work != SHMD_GET_C(t, work)) {
    SHMD_SET_C(t, work, work);
    (void)shmd_tx_commit(t);
  } else {
    shmd_tx_abort(t);
  }
}

bool shmd_reclaim_behind(const shmd_attachment* a) {
  const shmd_control* c = shmd_control_of(a);
  const uint64_t live = shmd_load_acquire(&c->live_bytes), head = shmd_load_acquire(&c->head);
  if (shmd_load_acquire(&c->freed_count) > (SHMD_BEHIND_FREED >> a->segment_shift) + 2) return true;
  if (shmd_load_acquire(&c->ghost_head) != 0 && head - shmd_load_acquire(&c->ghost_position) > SHMD_BEHIND_GHOSTS)
    return true;
  return shmd_load_acquire(&c->log_bytes) > live + live / 2 + a->super->buffer_size + 8 * a->segment_size;
}

bool shmd_reclaim_step(shmd_attachment* a, uint64_t appended, uint64_t recent) {
  shmd_tx* t = shmd_tx_of(a);
  const uint64_t work = shmd_load_acquire(&shmd_control_of(a)->work);
  const bool behind = shmd_reclaim_behind(a);
  int cleaned = 0, done = 0, settled = 0;
  t->debt = 0;
  shmd_reclaim_look_at_pins(a, false);
  if (work & SHMD_WORK_GHOSTS) {
    done += commit_step(a, SHMD_WORK_GHOSTS, appended, 0);
    shmd_reclaim_shrink(a);
  }
  /* what a large commit left in history; cleaning could not free it */
  if (shmd_log_is_old(t, recent)) done += commit_step(a, SHMD_WORK_AGE, recent, 0);
  /* Cleaning before sweeping: the records of a removed dict count as live until they are swept, and no faster than the
   * cleaner keeps up. */
  if (SHMD_GET_C(t, victim) != SHMD_NONE || shmd_reclaim_due(t))
    cleaned = commit_step(a, SHMD_WORK_CLEAN, 4 * appended, SHMD_BUCKETS - 1);
  if ((work & SHMD_WORK_SWEEP) && !cleaned) (void)commit_step(a, SHMD_WORK_SWEEP, 0, 0);
  if (work & SHMD_WORK_SETTLE) do
      settled = commit_step(a, SHMD_WORK_SETTLE, 0, 0);
    while (settled != 0 && behind && ++done < 4);
  if (work & SHMD_WORK_BLOCKS) (void)blocks_round(a);
  if (work & SHMD_WORK_RESERVE) (void)commit_step(a, SHMD_WORK_RESERVE, 0, 0);
  review(a);
  return behind && done + cleaned != 0;
}

bool shmd_reclaim_catch_up(shmd_attachment* a) {
  int done, i;
  shmd_reclaim_look_at_pins(a, true);
  done = commit_step(a, SHMD_WORK_GHOSTS, SHMD_STEP_BYTES, 0);
  shmd_reclaim_shrink(a);
  if (shmd_log_is_old(shmd_tx_of(a), 0)) done += commit_step(a, SHMD_WORK_AGE, 0, 0);
  done += commit_step(a, SHMD_WORK_SWEEP, 0, 0);
  if (SHMD_GET_C(shmd_tx_of(a), victim) != SHMD_NONE || shmd_reclaim_due(shmd_tx_of(a)))
    done += commit_step(a, SHMD_WORK_CLEAN, SHMD_STEP_MAX, SHMD_BUCKETS - 1);
  for (i = 0; i < 4; ++i) done += commit_step(a, SHMD_WORK_SETTLE, 0, 0);
  done += blocks_round(a);
  review(a);
  return done != 0;
}

void shmd_reclaim_shrink(shmd_attachment* a) {
  shmd_tx* t = shmd_tx_of(a);
  const uint32_t count = t->shrink_count;
  uint32_t i;
  t->shrink_count = 0;
  for (i = 0; i < count; ++i) {
    const uint64_t identity = NODE(t->shrinks[i].node, identity);
    if (SHMD_LOW(identity) == SHMD_NODE_LIVE && shmd_index_shrink(t, t->shrinks[i].node, t->shrinks[i].prefix) == 0)
      (void)shmd_tx_commit(t);
    else
      shmd_tx_abort(t);
  }
}

bool shmd_reclaim_urgent(shmd_attachment* a, bool now) {
  int rounds, useful = 0;
  shmd_reclaim_look_at_pins(a, true);
  for (rounds = 0; rounds < 512; ++rounds) {
    int done = commit_step(a, SHMD_WORK_GHOSTS, 0, 0);
    done += commit_step(a, SHMD_WORK_SWEEP, 0, 0);
    done += commit_step(a, SHMD_WORK_HISTORY, 0, 0);
    done += commit_step(a, SHMD_WORK_CLEAN, STEP_LIMIT, SHMD_BUCKETS | LOOK_FAR);
    done += commit_step(a, SHMD_WORK_SETTLE, 0, now ? AT_ONCE : 0);
    if (!done) done = commit_step(a, SHMD_WORK_HISTORY, 0, 1);
    if (!done) break;
    ++useful;
    (void)commit_step(a, SHMD_WORK_RESERVE, 0, 0); /* before those who only want to store get it */
    if (rounds >= 16 && shmd_load_acquire(&shmd_control_of(a)->warm_count) != 0) break;
  }
  return useful != 0;
}

bool shmd_reclaim_compact(shmd_attachment* a) {
  int done, i;
  shmd_reclaim_look_at_pins(a, true);
  done = commit_step(a, SHMD_WORK_GHOSTS, 0, 0);
  if (shmd_log_is_old(shmd_tx_of(a), 0)) done += commit_step(a, SHMD_WORK_AGE, 0, 0);
  shmd_reclaim_shrink(a);
  done += commit_step(a, SHMD_WORK_SWEEP, 0, 0);
  if (!done) done = commit_step(a, SHMD_WORK_CLEAN, STEP_LIMIT, (SHMD_BUCKETS - 1) | LOOK_FAR);
  for (i = 0; i < 4; ++i) done += commit_step(a, SHMD_WORK_SETTLE, 0, AT_ONCE);
  done += blocks_round(a);
  review(a);
  return done != 0;
}

bool shmd_reclaim_removed(shmd_attachment* a, shmd_removal* r) {
  shmd_tx* t = shmd_tx_of(a);
  const uint64_t live = SHMD_GET_C(t, live_bytes);
  int done, i;
  shmd_reclaim_look_at_pins(a, r->swept == 0);
  done = commit_step(a, SHMD_WORK_SWEEP, 0, 0);
  if (done) {
    const uint64_t dead = live - SHMD_GET_C(t, live_bytes);
    ++r->swept;
    r->bytes += 4 * dead;
    r->units += 1 + dead / (SHMD_CHUNK / 2);
    (void)commit_step(a, SHMD_WORK_SETTLE, 0, 0);
    return true;
  }
  if (r->units-- == 0) return false;
  if (r->bytes != 0 && (SHMD_GET_C(t, victim) != SHMD_NONE || shmd_reclaim_due(t))) {
    const uint64_t part = r->bytes < STEP_LIMIT ? r->bytes : STEP_LIMIT;
    r->bytes -= part;
    done = commit_step(a, SHMD_WORK_CLEAN, part, SHMD_BUCKETS - 1);
  }
  for (i = 0; i < 4; ++i) done += commit_step(a, SHMD_WORK_SETTLE, 0, 0);
  if (r->swept != 0) {
    const int moved = blocks_round(a);
    if (moved) --r->swept;
    done += moved;
  }
  review(a);
  return done != 0;
}
