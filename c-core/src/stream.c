/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include "redo.h"
#include "segment.h"

#define RESTARTS 1024
#define AGAIN SHMD_KEPT /* the chain moved while it was walked */

void shmd_stream_init(shmd_stream* s, const shmd_attachment* a) {
  s->a = a;
  s->segment = SHMD_NONE;
  s->position = 0;
}

typedef struct segment_view {
  uint64_t position, next, used, length;
} segment_view;

/* What a segment of the chain says. False: it is not in history. The order of the loads is argued for in concurrency.md. */
static bool look(const shmd_attachment* a, uint64_t id, segment_view* s) {
  const shmd_segment* e = (const shmd_segment*)(const void*)shmd_at(a, a->super->segments_offset) + id;
  uint64_t kind;
  s->position = shmd_load_acquire(&e->position);
  s->next = shmd_load_acquire(&e->next);
  s->used = shmd_load_acquire(&e->used);
  /* SYNC stream: observes whether the segment has left history. */
  kind = shmd_load_acquire(&e->kind);
  s->length = SHMD_HIGH(kind);
  return SHMD_LOW(kind) == SHMD_SEG_LOG && shmd_load_acquire(&e->position) == s->position;
}

bool shmd_stream_holds(const shmd_stream* s) {
  segment_view now;
  if (s->segment == SHMD_NONE) return true; /* no record was found, so nothing was copied that could be wrong */
  return look(s->a, s->segment, &now) && now.position == s->position;
}

/* Walks from segment `id` to the one that holds `at`. `position`: where it must begin, UINT64_MAX = it is the tail.
 * 0 and *end: where its records end; AGAIN, SHMD_RESYNC, CORRUPT. */
static int walk(shmd_stream* s, uint64_t id, uint64_t position, uint64_t at, uint64_t published, uint64_t* end) {
  const shmd_attachment* a = s->a;
  const uint64_t count = shmd_known_segments(a);
  uint64_t steps;
  for (steps = 0; steps <= count; ++steps) {
    segment_view seg;
    uint64_t room;
    if (id >= count) return SHMD_ERR_CORRUPT;
    if (!look(a, id, &seg) || (position != UINT64_MAX && seg.position != position)) return AGAIN;
    if (at < seg.position) return position == UINT64_MAX ? SHMD_RESYNC : SHMD_ERR_CORRUPT;
    if (seg.length == 0 || seg.length > count - id || (seg.position & 7) != 0) return SHMD_ERR_CORRUPT;
    room = seg.length << a->segment_shift;
    *end = published;
    if (seg.next != SHMD_NONE) {
      if (seg.used > room) return SHMD_ERR_CORRUPT;
      *end = seg.position + seg.used;
    }
    if (at < *end) {
      if (*end - seg.position > room) return SHMD_ERR_CORRUPT;
      s->segment = id;
      s->position = seg.position;
      return 0;
    }
    if (seg.next == SHMD_NONE) return SHMD_ERR_CORRUPT;
    position = *end;
    id = seg.next;
  }
  return SHMD_ERR_CORRUPT;
}

static int locate(shmd_stream* s, uint64_t at, uint64_t published, uint64_t* end) {
  const shmd_control* c = shmd_control_of(s->a);
  uint64_t last = SHMD_NONE;
  int result, tries, unmoved = 0;
  if (s->segment != SHMD_NONE && at >= s->position) {
    result = walk(s, s->segment, s->position, at, published, end);
    if (result != AGAIN) return result;
  }
  for (tries = 0; tries < RESTARTS; ++tries) {
    const uint64_t tail = shmd_load_acquire(&c->history_tail);
    result = walk(s, tail, UINT64_MAX, at, published, end);
    if (result == SHMD_RESYNC && shmd_load_acquire(&c->history_tail) != tail) result = AGAIN;
    if (result != AGAIN) return result;
    /* A segment is left behind by a store to history_tail before its own words change. */
    unmoved = tail == last ? unmoved + 1 : 0;
    if (unmoved > 8) return SHMD_ERR_CORRUPT;
    last = tail;
  }
  return SHMD_ERR_BUSY;
}

int shmd_stream_read(shmd_stream* s, uint64_t at, uint64_t published, shmd_stream_record* r) {
  const shmd_attachment* a = s->a;
  uint64_t end, offset, stamp;
  int result;
  if ((at & 7) != 0) return SHMD_ERR_CORRUPT;
  result = locate(s, at, published, &end);
  if (result != 0) return result;
  offset = shmd_segment_offset(a, s->segment) + (at - s->position);
  if (shmd_record_read(&a->reader, offset, &r->v) && r->v.position == at && r->v.size <= end - at &&
      r->v.value_size <= SHMD_MAX_VALUE && r->v.kind >= SHMD_REC_PUT && r->v.kind <= SHMD_REC_CLEAR) {
    stamp = shmd_load_acquire(&((const shmd_record*)(const void*)shmd_at(a, offset))->stamp);
    r->first = (stamp & SHMD_REC_FIRST) != 0;
    return 0;
  }
  return shmd_stream_holds(s) ? SHMD_ERR_CORRUPT : SHMD_RESYNC;
}
