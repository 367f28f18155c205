/* SPDX-License-Identifier: Apache-2.0 */
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
#include "check.h"
#include "error.h"
#include "handle.h"
#include "segment.h"

#define MAX_FINDINGS 100u

void shmd_check_finding(shmd_checker* k, const char* format, ...) {
  va_list arguments;
  if (++k->findings > MAX_FINDINGS || k->texts == NULL) return;
  va_start(arguments, format);
  (void)vsnprintf(k->texts[k->findings - 1], SHMD_FINDING, format, arguments);
  va_end(arguments);
}

static void checker_end(shmd_checker* k) {
  free(k->live);
  free(k->listed);
  free(k->reached);
  free(k->texts);
}

static void tell(const shmd_checker* k, shmd_report_fn report, void* context) {
  uint32_t i;
  for (i = 0; i < k->findings && i < MAX_FINDINGS; ++i) report(context, k->texts[i]);
}

/* ---- segments ---- */

static bool listed(shmd_checker* k, uint64_t id, uint32_t kind, const char* list) {
  if (id >= k->frontier) {
    shmd_check_finding(k, "%s leads to segment %llu, beyond the frontier", list, (ull)id);
    return false;
  }
  if (k->listed[id]++ != 0) {
    shmd_check_finding(k, "segment %llu is in two lists or a loop", (ull)id);
    return false;
  }
  if (SHMD_LOW(shmd_load_acquire(&k->segments[id].kind)) != kind)
    shmd_check_finding(k, "segment %llu in %s is of kind %u", (ull)id, list,
                       SHMD_LOW(shmd_load_acquire(&k->segments[id].kind)));
  return true;
}

static void check_lists(shmd_checker* k) {
  uint64_t id, count, i;
  for (i = 0; i < SHMD_BUCKETS; ++i) {
    for (id = shmd_load_acquire(&k->c->buckets[i]);
         id != SHMD_NONE && listed(k, id, SHMD_SEG_CLOSED, "a liveness list");
         id = SHMD_LOW(shmd_load_acquire(&k->segments[id].links))) {
      const uint64_t live = shmd_load_acquire(&k->segments[id].live), used = shmd_load_acquire(&k->segments[id].used);
      const uint64_t bucket = shmd_segment_bucket(k->a, live, used);
      if (bucket != i)
        shmd_check_finding(k, "segment %llu is in liveness list %llu instead of %llu", (ull)id, (ull)i, (ull)bucket);
    }
  }
  for (i = 0; i < SHMD_EXTENT_CLASSES; ++i) {
    for (id = shmd_load_acquire(&k->c->extents[i]); id != SHMD_NONE && listed(k, id, SHMD_SEG_EXTENT, "an extent list");
         id = SHMD_LOW(shmd_load_acquire(&k->segments[id].links))) {
      const uint64_t length = SHMD_HIGH(shmd_load_acquire(&k->segments[id].kind));
      uint64_t n;
      if (length == 0 || length > k->frontier - id) {
        shmd_check_finding(k, "the extent at segment %llu is too long", (ull)id);
        break;
      }
      for (n = 1; n < length; ++n)
        if (k->listed[id + n]++ != 0) shmd_check_finding(k, "segment %llu is in an extent and in a list", (ull)id + n);
    }
  }
  for (i = 0; i < UINT64_C(2) * SHMD_BLOCK_CLASSES; ++i)
    for (id = shmd_load_acquire(&k->c->block_lists[i / 2][i % 2]);
         id != SHMD_NONE && listed(k, id, SHMD_SEG_INDEX, "a block list");
         id = SHMD_LOW(shmd_load_acquire(&k->segments[id].links)))
      if (SHMD_HIGH(shmd_load_acquire(&k->segments[id].kind)) != i / 2)
        shmd_check_finding(k, "segment %llu is in the block list of another class", (ull)id);
  for (id = shmd_load_acquire(&k->c->freed_head), count = 0;
       id != SHMD_NONE && listed(k, id, SHMD_SEG_FREED, "the freed queue"); ++count) {
    const uint64_t length = SHMD_HIGH(shmd_load_acquire(&k->segments[id].kind));
    uint64_t n;
    for (n = 1; n < length && id + n < k->frontier; ++n) ++k->listed[id + n];
    id = shmd_load_acquire(&k->segments[id].next);
  }
  if (count != shmd_load_acquire(&k->c->freed_count))
    shmd_check_finding(k, "%llu segments are in the freed queue, the count says %llu", (ull)count,
                       (ull)shmd_load_acquire(&k->c->freed_count));
  for (id = shmd_load_acquire(&k->c->warm_head), count = 0;
       id != SHMD_NONE && listed(k, id, SHMD_SEG_WARM, "the warm list"); ++count)
    id = shmd_load_acquire(&k->segments[id].next);
  if (count != shmd_load_acquire(&k->c->warm_count))
    shmd_check_finding(k, "%llu segments are warm, the count says %llu", (ull)count,
                       (ull)shmd_load_acquire(&k->c->warm_count));
  for (id = shmd_load_acquire(&k->c->reserve); id != SHMD_NONE && listed(k, id, SHMD_SEG_RESERVE, "the reserve");)
    id = shmd_load_acquire(&k->segments[id].next);
}

static void check_chain(shmd_checker* k) {
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
      shmd_check_finding(k, "segment %llu of the log begins at another position than the one before ends", (ull)id);
    if (id == last) {
      if (head < shmd_load_acquire(&s->position) || head - shmd_load_acquire(&s->position) > length
                                                                                                 << k->a->segment_shift)
        shmd_check_finding(k, "head is not in the head segment");
      return;
    }
    expected = shmd_load_acquire(&s->position) + shmd_load_acquire(&s->used);
    id = shmd_load_acquire(&s->next);
  }
  shmd_check_finding(k, "the log chain does not end");
}

/* Records follow each other without a gap; bytes in use are accounted for. */
static void check_records(shmd_checker* k, uint64_t id, uint64_t used) {
  uint64_t at = shmd_segment_offset(k->a, id);
  const uint64_t end = at + used;
  if (used > k->a->segment_size && SHMD_HIGH(shmd_load_acquire(&k->segments[id].kind)) < 2) {
    shmd_check_finding(k, "segment %llu uses more than its size", (ull)id);
    return;
  }
  while (at < end) {
    shmd_record_view v;
    if (!shmd_record_read(&k->a->reader, at, &v) || v.size > end - at || v.kind == 0 || v.kind > SHMD_REC_CLEAR) {
      shmd_check_finding(k, "segment %llu: no record at %llu", (ull)id, (ull)at);
      return;
    }
    at += v.size;
  }
}

static void check_segments(shmd_checker* k) {
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
        if (id != cold) shmd_check_finding(k, "segment %llu is cold and not the open one", (ull)id);
        used = cold_at - shmd_segment_offset(k->a, id);
        ++k->listed[id];
        break;
      case SHMD_SEG_VICTIM:
        log = true;
        if (id != victim) shmd_check_finding(k, "segment %llu is a victim and not the one being cleaned", (ull)id);
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
          shmd_check_finding(k, "segment %llu is of an unknown class", (ull)id);
          break;
        }
        ++segments[SHMD_HIGH(kind)];
        if (live != k->live[id])
          shmd_check_finding(k, "index segment %llu has %llu blocks in use, its entry says %llu", (ull)id,
                             (ull)k->live[id], (ull)live);
        if (shmd_load_acquire(&k->c->compact_segment[SHMD_HIGH(kind)]) == id ||
            live >= k->a->engine->block_count[SHMD_HIGH(kind)])
          ++k->listed[id];
        {
          const uint64_t count = k->a->engine->block_count[SHMD_HIGH(kind)], base = shmd_segment_offset(k->a, id);
          uint64_t w, bits = 0;
          for (w = 0; w < (count + 63) / 64; ++w) {
            uint64_t b = shmd_check_word(k, base + 8 * w);
            for (; b != 0; b &= b - 1) ++bits;
          }
          if (bits != live)
            shmd_check_finding(k, "index segment %llu: %llu bits are set for %llu blocks", (ull)id, (ull)bits,
                               (ull)live);
        }
        break;
      default:
        break;
    }
    if (log) {
      live_bytes += live;
      if (!open) log_bytes += shmd_pages(used);
      if (live != k->live[id])
        shmd_check_finding(k, "segment %llu has %llu live bytes, its entry says %llu", (ull)id, (ull)k->live[id],
                           (ull)live);
      if (live > used) shmd_check_finding(k, "segment %llu has more live bytes than records", (ull)id);
      check_records(k, id, used);
    } else if (SHMD_LOW(kind) != SHMD_SEG_INDEX && k->live[id] != 0) {
      shmd_check_finding(k, "segment %llu of kind %u is referred to", (ull)id, SHMD_LOW(kind));
    }
    if (k->listed[id] != 1)
      shmd_check_finding(k, "segment %llu of kind %u is in %u lists", (ull)id, SHMD_LOW(kind), k->listed[id]);
  }
  if (live_bytes != shmd_load_acquire(&k->c->live_bytes))
    shmd_check_finding(k, "%llu bytes are live, the count says %llu", (ull)live_bytes,
                       (ull)shmd_load_acquire(&k->c->live_bytes));
  if (log_bytes != shmd_load_acquire(&k->c->log_bytes))
    shmd_check_finding(k, "%llu bytes are in the log, the count says %llu", (ull)log_bytes,
                       (ull)shmd_load_acquire(&k->c->log_bytes));
  for (class_ = 0; class_ < SHMD_BLOCK_CLASSES; ++class_) {
    index_bytes += k->blocks[class_] * ((uint64_t)SHMD_BLOCK_MIN << class_);
    if (segments[class_] != shmd_load_acquire(&k->c->block_segments[class_]) ||
        k->blocks[class_] != shmd_load_acquire(&k->c->blocks_used[class_]))
      shmd_check_finding(k, "index blocks of class %u: %llu in %llu segments, the counts say %llu in %llu", class_,
                         (ull)k->blocks[class_], (ull)segments[class_],
                         (ull)shmd_load_acquire(&k->c->blocks_used[class_]),
                         (ull)shmd_load_acquire(&k->c->block_segments[class_]));
  }
  if (index_bytes != shmd_load_acquire(&k->c->index_bytes))
    shmd_check_finding(k, "%llu bytes are index, the count says %llu", (ull)index_bytes,
                       (ull)shmd_load_acquire(&k->c->index_bytes));
}

static void check_ghosts(shmd_checker* k) {
  uint64_t at = shmd_load_acquire(&k->c->ghost_head), last = 0, position = 0, queued = 0;
  while (at != 0) {
    shmd_record_view v;
    if (!shmd_record_read(&k->a->reader, at, &v) || v.kind != SHMD_REC_ERASE || v.value_size != 8 ||
        v.position <= position) {
      shmd_check_finding(k, "the queue of ghosts leads to %llu, which is none", (ull)at);
      return;
    }
    if (queued == 0 && v.position != shmd_load_acquire(&k->c->ghost_position))
      shmd_check_finding(k, "the first ghost has another position than is stored");
    position = v.position;
    last = at;
    ++queued;
    at = shmd_load_acquire((const uint64_t*)(const void*)v.value);
  }
  if (last != shmd_load_acquire(&k->c->ghost_tail)) shmd_check_finding(k, "the queue of ghosts ends elsewhere");
  if (k->ghosts > queued)
    shmd_check_finding(k, "%llu ghosts are in slots, %llu are queued", (ull)k->ghosts, (ull)queued);
}

static void check_all(shmd_checker* k) {
  if (shmd_load_acquire(&k->c->redo_length) != 0) shmd_check_finding(k, "a committed write was not finished");
  if (shmd_load_acquire(&k->c->published) != shmd_load_acquire(&k->c->head))
    shmd_check_finding(k, "published is not at head");
  shmd_check_tree(k);
  check_lists(k);
  check_chain(k);
  check_segments(k);
  check_ghosts(k);
}

static int check_dict(shmd_dict* d, shmd_report_fn report, void* context) {
  shmd_checker k SHMD_CLEANUP(checker_end) = {0};
  int result = 0;
  k.a = d->attachment;
  k.c = shmd_control_of(k.a);
  k.segments = (const shmd_segment*)(const void*)shmd_at(k.a, k.a->super->segments_offset);
  k.nodes = k.a->reader.nodes;
  if (report != NULL) {
    k.texts = (char(*)[SHMD_FINDING])calloc(MAX_FINDINGS, SHMD_FINDING);
    if (k.texts == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a check", k.a->name);
  }
  if (!k.a->read_only) {
    if (shmd_lock_mine(k.a) && shmd_tx_of(k.a)->user)
      return shmd_fail(SHMD_ERR_IN_TRANSACTION, "dict '%s': check is not allowed inside a transaction", k.a->name);
    result = shmd_call_enter(k.a);
    if (result < 0) return result;
  }
  k.frontier = shmd_load_acquire(&k.c->frontier);
  k.node_frontier = shmd_load_acquire(&k.c->node_frontier);
  if (k.frontier > shmd_known_segments(k.a) || k.node_frontier > shmd_known_nodes(k.a) || k.frontier == 0) {
    shmd_check_finding(&k, "the frontiers lie outside the tables");
  } else {
    k.live = (uint64_t*)calloc(k.frontier, sizeof *k.live);
    k.listed = (uint8_t*)calloc(k.frontier, 1);
    k.reached = (uint8_t*)calloc(k.node_frontier + 1, 1);
    if (k.live == NULL || k.listed == NULL || k.reached == NULL)
      result = shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a check", k.a->name);
    else
      check_all(&k);
  }
  if (!k.a->read_only) shmd_call_leave(k.a);
  if (result < 0) return result;
  if (report != NULL) tell(&k, report, context);
  if (k.findings == 0) return 0;
  return shmd_fail(SHMD_ERR_CORRUPT, "dict '%s' is corrupt: %u findings; restore a backup or unlink it", k.a->name,
                   k.findings);
}

int shmd_check(shmd_dict* d, shmd_report_fn report, void* context) {
  int result = shmd_handle_enter(d, "shmd_check");
  if (result < 0) return result;
  {
    shmd_dict* inside SHMD_CLEANUP(shmd_handle_left) = d;
    result = check_dict(inside, report, context);
  }
  return result;
}
