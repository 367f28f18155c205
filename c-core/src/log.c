/* SPDX-License-Identifier: Apache-2.0 */
#include "log.h"

#include "node.h"
#include "object.h"
#include "reclaim.h"
#include "segment.h"

#define GET(id, field) shmd_tx_get(t, SHMD_S(t, id, field))
#define SET(id, field, value) shmd_tx_set(t, SHMD_S(t, id, field), value)

#define FIRST_POSITION 4096u /* so that 0 can mean "none" */

/* Makes segment `id` the head, its first record at `position`. */
static void open_head(shmd_tx* t, uint64_t id, uint64_t position, uint64_t limit) {
  SET(id, position, position);
  SHMD_SET_C(t, head_segment, id);
  SHMD_SET_C(t, head_bias, shmd_segment_offset(t->a, id) - position);
  SHMD_SET_C(t, head_limit, position + limit);
  shmd_tx_cool(t);
}

int shmd_log_format(shmd_tx* t) {
  uint64_t id;
  int result = shmd_segment_allocate(t, 1, SHMD_SEG_LOG, 1, &id);
  if (result < 0) return result;
  result = shmd_segment_memory(t, id, 1);
  if (result < 0) return result;
  SHMD_SET_C(t, head, FIRST_POSITION);
  SHMD_SET_C(t, history_tail, id);
  open_head(t, id, FIRST_POSITION, SHMD_CHUNK);
  return 0;
}

bool shmd_log_is_old(shmd_tx* t, uint64_t recent) {
  const uint64_t keep = t->a->super->buffer_size + recent, tail = SHMD_GET_C(t, history_tail);
  /* SYNC published: the owner's own store, or its predecessor's (SYNC lock). */
  const uint64_t published = shmd_load_acquire(&shmd_control_of(t->a)->published);
  return published > keep && tail != SHMD_GET_C(t, head_segment) &&
         GET(tail, position) + GET(tail, used) <= published - keep;
}

void shmd_log_age(shmd_tx* t, uint64_t recent) {
  int i;
  for (i = 0; i < 4 && shmd_log_is_old(t, recent); ++i) {
    const uint64_t tail = SHMD_GET_C(t, history_tail);
    SHMD_SET_C(t, history_tail, GET(tail, next));
    shmd_segment_retire(t, tail);
  }
}

void shmd_log_forget(shmd_tx* t, bool all) {
  int i;
  for (i = 0; i < 4; ++i) {
    const uint64_t tail = SHMD_GET_C(t, history_tail);
    if (tail == SHMD_GET_C(t, head_segment) || (!all && GET(tail, live) != 0) || t->error != 0) return;
    SHMD_SET_C(t, history_tail, GET(tail, next));
    shmd_segment_retire(t, tail);
  }
}

/* The unused tail of a closed segment goes back: after the commit if the last one left it open, else at once. */
static void trim_closed(shmd_tx* t, uint64_t id, uint64_t used) {
  if (t->trim == SHMD_NONE)
    t->trim = id;
  else
    shmd_segment_trim(t->a, id, used);
}

/* Ends the head segment at `position` and makes `id` its successor in the chain. */
static void close_head(shmd_tx* t, uint64_t position, uint64_t id) {
  const uint64_t old = SHMD_GET_C(t, head_segment);
  const uint64_t used = position - GET(old, position);
  SET(old, used, used);
  SET(old, next, id);
  SHMD_ADD_C(t, log_bytes, shmd_pages(used));
  trim_closed(t, old, used);
  if (shmd_reclaim_due(t)) shmd_work(t, SHMD_WORK_CLEAN);
  if (shmd_segment_reserved(t) < SHMD_RESERVE_MAX) shmd_work(t, SHMD_WORK_RESERVE);
}

/* Makes room for `size` bytes at the head, in its segment or in a new one. */
static int make_room(shmd_tx* t, uint64_t size, bool reserve) {
  const uint64_t position = SHMD_GET_C(t, head), old = SHMD_GET_C(t, head_segment);
  const uint64_t used = position - GET(old, position), segment_size = t->a->segment_size;
  uint64_t id, limit;
  int result = 0;
  if (used + size <= segment_size) { /* never in a run of several segments */
    result = shmd_segment_memory(t, old, used + size);
    if (result < 0 && (!reserve || result != SHMD_ERR_NO_SPACE)) return result;
  }
  if (used + size <= segment_size && result == 0) {
    limit = shmd_load_acquire(shmd_word(t->a, SHMD_S(t, old, allocated)));
    SHMD_SET_C(t, head_limit, position - used + (limit < segment_size ? limit : segment_size));
    shmd_tx_cool(t);
    return 0;
  }
  /* the last of the reserve only if the segment closed for it is dead: shmd_reclaim_urgent gets that one back at once */
  result = shmd_segment_open(t, SHMD_SEG_LOG, size, !reserve ? SHMD_RESERVE_MAX : GET(old, live) != 0, &id);
  if (result < 0) return result;
  close_head(t, position, id);
  limit = shmd_load_acquire(shmd_word(t->a, SHMD_S(t, id, allocated)));
  open_head(t, id, position, limit < segment_size ? limit : segment_size);
  shmd_log_age(t, 0);
  return 0;
}

/* A record too large to share a segment: a run of its own, which is the head until the next record needs room. */
static int make_run(shmd_tx* t, uint64_t size, uint64_t* offset) {
  const uint64_t position = SHMD_GET_C(t, head), segment_size = t->a->segment_size;
  const uint64_t count = (size + segment_size - 1) >> t->a->segment_shift;
  uint64_t run, limit;
  int result = shmd_segment_allocate(t, count, SHMD_SEG_LOG, (uint32_t)count, &run);
  if (result < 0) return result;
  result = shmd_segment_memory_run(t, run, size);
  if (result < 0) return shmd_tx_fail(t, result);
  close_head(t, position, run);
  limit = shmd_load_acquire(shmd_word(t->a, SHMD_S(t, run, allocated)));
  if (limit > segment_size) limit = size > segment_size ? size : segment_size;
  open_head(t, run, position, limit);
  SHMD_SET_C(t, head, position + size);
  *offset = shmd_segment_offset(t->a, run);
  shmd_log_age(t, 0);
  return 0;
}

int shmd_log_append(shmd_tx* t, const shmd_new_record* record, bool live, bool reserve, uint64_t* offset,
                    uint64_t* size) {
  const uint64_t bytes =
      sizeof(shmd_record) + (record->previous ? 8u : 0u) + SHMD_PAD8(record->key_size) + SHMD_PAD8(record->value_size);
  uint64_t position = SHMD_GET_C(t, head);
  int result;
  *size = bytes;
  if (SHMD_UNLIKELY(bytes > t->a->segment_size / 2)) {
    result = make_run(t, bytes, offset);
    if (result < 0) return result;
  } else {
    if (SHMD_UNLIKELY(position + bytes > SHMD_GET_C(t, head_limit))) {
      result = make_room(t, bytes, reserve);
      if (result < 0) return result;
    }
    *offset = position + SHMD_GET_C(t, head_bias);
    SHMD_SET_C(t, head, position + bytes);
  }
  if (SHMD_UNLIKELY(*offset < t->a->super->data_offset || *offset > t->a->max_size - bytes || (*offset & 7) != 0 ||
                    t->error != 0)) {
    (void)shmd_tx_astray(t, *offset);
    return t->error;
  }
  shmd_log_write(t, *offset, position, record);
  t->appended = true;
  t->debt += bytes;
  if (live) {
    shmd_segment_alive(t, shmd_segment_of(t->a, *offset), bytes);
    SHMD_ADD_C(t, live_bytes, bytes);
  }
  return 0;
}

void shmd_cold_begin(shmd_tx* t, shmd_cold* cold) {
  cold->segment = SHMD_GET_C(t, cold_segment);
  cold->at = SHMD_GET_C(t, cold_at);
  cold->bytes = 0;
}

void shmd_cold_end(shmd_tx* t, shmd_cold* cold) {
  if (cold->bytes == 0) return;
  SHMD_SET_C(t, cold_at, cold->at);
  shmd_segment_alive(t, cold->segment, cold->bytes);
  SHMD_ADD_C(t, live_bytes, cold->bytes);
  cold->bytes = 0;
}

/* A full cold segment is closed, and another opened. */
static int open_cold(shmd_tx* t, shmd_cold* cold, uint64_t size) {
  const uint64_t full = cold->segment;
  uint64_t fresh;
  int result = shmd_segment_open(t, SHMD_SEG_COLD, size, 0, &fresh);
  if (result < 0) return result;
  if (cold->at != 0) {
    const uint64_t used = cold->at - shmd_segment_offset(t->a, full);
    shmd_cold_end(t, cold);
    SET(full, used, used);
    SHMD_ADD_C(t, log_bytes, shmd_pages(used));
    shmd_segment_retire(t, full);
    trim_closed(t, full, used);
  }
  cold->segment = fresh;
  cold->at = shmd_segment_offset(t->a, fresh);
  SET(fresh, position, 0); /* no ghost is ever in it: see choose_victim */
  SHMD_SET_C(t, cold_segment, fresh);
  return 0;
}

int shmd_cold_append(shmd_tx* t, shmd_cold* cold, const shmd_record_view* record, uint64_t* offset) {
  shmd_attachment* a = t->a;
  const uint64_t used = cold->at == 0 ? 0 : cold->at - shmd_segment_offset(a, cold->segment);
  const bool full = cold->at == 0 || used > a->segment_size || record->size > a->segment_size - used;
  int result;
  if (record->size > a->segment_size) return (void)shmd_tx_astray(t, record->offset), SHMD_ERR_CORRUPT;
  result = full ? open_cold(t, cold, record->size) : shmd_segment_memory(t, cold->segment, used + record->size);
  if (result < 0) return result;
  if (cold->at < a->super->data_offset || cold->at > a->max_size - record->size || (cold->at & 7) != 0)
    return (void)shmd_tx_astray(t, cold->at), SHMD_ERR_CORRUPT;
  shmd_copy_in(shmd_at(a, cold->at), shmd_at(a, record->offset), record->size);
  *offset = cold->at;
  cold->at += record->size;
  cold->bytes += record->size;
  return 0;
}
