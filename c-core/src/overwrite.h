/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The common writes without the overlay of redo.h: an existing key's value replaced, and (insert.c) a new key in an array with
 * room for it.
 *
 * Same steps, same redo list, same crash points as any write; what is left out is the search for staged words: these commits
 * stage at most six, each once. Anything unusual (pins, a full segment, a list to relink, work to do) is declined.
 */
#ifndef SHMD_OVERWRITE_H
#define SHMD_OVERWRITE_H

#include "dict.h"
#include "log.h"
#include "segment.h"

#define SHMD_OFFSET_IN(base, pointer) ((uint64_t)((const unsigned char*)(pointer) - (base)))

/* Whether a segment with `live` bytes can lose some of them without changing lists. */
SHMD_INLINE bool shmd_overwrite_stays(const shmd_attachment* a, const shmd_segment* s, uint64_t live, uint64_t bytes) {
  const uint32_t kind = SHMD_LOW(shmd_load_acquire(&s->kind));
  uint64_t used;
  if (kind == SHMD_SEG_LOG) return live >= bytes;
  if (live <= bytes) return false;
  if (kind != SHMD_SEG_CLOSED) return kind != SHMD_SEG_RUN;
  used = shmd_load_acquire(&s->used);
  return shmd_segment_bucket(a, live, used) == shmd_segment_bucket(a, live - bytes, used);
}

SHMD_INLINE bool shmd_overwrite_no_pins(const shmd_control* c) {
  /* SYNC pin: as in shmd_pin_oldest, for the case that nothing was pinned at the last scan and nothing since. */
  return shmd_load_acquire(&c->pin_version) == shmd_load_acquire(&c->pin_seen) &&
         shmd_load_acquire(&c->pin_oldest) == UINT64_MAX;
}

/* One more word of the list. */
SHMD_INLINE shmd_redo_entry* shmd_overwrite_stage(shmd_redo_entry* e, uint64_t where, uint64_t value) {
  shmd_store_release(&e->where, where);
  shmd_store_release(&e->value, value);
  return e + 1;
}

/* Whether a record of `bytes` fits at the head of the log, which is at `offset` of segment `id`. */
SHMD_INLINE bool shmd_overwrite_fits(const shmd_attachment* a, uint64_t id, uint64_t offset, uint64_t bytes) {
  return id < a->segment_count && (offset & 7) == 0 && bytes <= a->segment_size / 2 &&
         offset - shmd_segment_offset(a, id) <= a->segment_size - bytes;
}

/* A PUT of this write, to be written at the head. */
SHMD_INLINE shmd_new_record shmd_overwrite_record(const shmd_control* c, shmd_node node, const shmd_key* key,
                                                  const void* value, size_t size) {
  shmd_new_record r;
  r.kind = SHMD_REC_PUT;
  r.node = node.id != 0 ? node.id : (uint32_t)shmd_load_acquire(&c->root_node);
  r.hash = key->hash;
  r.key = key->data;
  r.key_size = key->size;
  r.value = value;
  r.value_size = size;
  r.previous = 0;
  return r;
}

/* Applied, all of it: readers see it. */
SHMD_INLINE void shmd_overwrite_published(shmd_tx* t, shmd_control* c, uint64_t head, uint64_t bytes) {
  shmd_store_release(&c->redo_length, 0);
  /* SYNC published: publishes every record below head and all that refers to it. */
  shmd_store_release(&c->published, head);
  shmd_store_release(&c->commits, shmd_load_acquire(&c->commits) + 1);
  ++t->commit_count;
  t->debt += bytes;
}

/* insert.c: the same as shmd_overwrite() for a key that is not there. */
bool shmd_insert(shmd_attachment* a, shmd_node node, const shmd_key* key, const void* value, size_t size);

/* Under the lock, nothing staged. True: done and visible. False: nothing changed, go the general way. Inline, for callers
 * that know the sizes. */
SHMD_INLINE bool shmd_overwrite(shmd_attachment* a, shmd_node node, const shmd_key* key, const void* value,
                                size_t size) {
  shmd_tx* t = shmd_tx_of(a);
  const shmd_reader reader = a->reader; /* constants, in registers: barriers would make the compiler read them again */
  unsigned char* const base = reader.base;
  shmd_control* const c = (shmd_control*)(void*)(base + SHMD_CONTROL_OFFSET);
  shmd_segment* const segments = a->segments;
  const uint64_t count = a->segment_count;
  const uint64_t bytes = sizeof(shmd_record) + SHMD_PAD8(key->size) + SHMD_PAD8(size);
  const uint64_t head = shmd_load_acquire(&c->head), new_id = shmd_load_acquire(&c->head_segment);
  const uint64_t offset = head + shmd_load_acquire(&c->head_bias);
  uint64_t ref, old_bytes, old_id, old_live, new_live, live_bytes = 0;
  shmd_redo_entry* e = t->list;
  shmd_new_record r;
  shmd_found f;
  if (SHMD_UNLIKELY(t->user)) return false; /* batch.h */
  shmd_prefetch_to_write(t->list);
  shmd_prefetch_to_write(t->list + 4);
  if (SHMD_UNLIKELY(!shmd_overwrite_fits(a, new_id, offset, bytes))) return false;
  shmd_prefetch_to_write(base + offset);
  shmd_prefetch_to_write(base + offset + bytes + 512); /* who writes often finds the lines of its next records there */
  shmd_prefetch_to_write(&segments[new_id].live);
  if (SHMD_UNLIKELY(!shmd_overwrite_no_pins(c) || shmd_read_index(&reader, node, &ref) != 0)) return false;
  if (SHMD_UNLIKELY(shmd_read_find(&reader, ref, key->hash, key->data, key->size, &f) != 0)) return false;
  if (SHMD_UNLIKELY(f.kind != SHMD_REC_PUT)) return false;
  if (SHMD_UNLIKELY(head + bytes > shmd_load_acquire(&c->head_limit))) return false;
  old_bytes = sizeof(shmd_record) + SHMD_PAD8(key->size) + SHMD_PAD8(f.value_size);
  old_id = shmd_segment_of(a, f.slot & SHMD_WORD_MASK);
  if (SHMD_UNLIKELY(old_id >= count)) return false;
  new_live = shmd_load_acquire(&segments[new_id].live);
  old_live = shmd_load_acquire(&segments[old_id].live);
  if (SHMD_UNLIKELY(!shmd_overwrite_stays(a, segments + old_id, old_live, old_bytes))) return false;

  r = shmd_overwrite_record(c, node, key, value, size);
  shmd_log_write(t, offset, head, &r);

  /* The order is that of application: the slot last, for readers follow it. */
  e = shmd_overwrite_stage(e, SHMD_CONTROL_OFFSET + offsetof(shmd_control, head), head + bytes);
  if (old_id != new_id) {
    e = shmd_overwrite_stage(e, SHMD_OFFSET_IN(base, &segments[new_id].live), new_live + bytes);
    e = shmd_overwrite_stage(e, SHMD_OFFSET_IN(base, &segments[old_id].live), old_live - old_bytes);
  } else if (bytes != old_bytes) {
    e = shmd_overwrite_stage(e, SHMD_OFFSET_IN(base, &segments[new_id].live), new_live + bytes - old_bytes);
  }
  if (bytes != old_bytes) {
    live_bytes = shmd_load_acquire(&c->live_bytes) + bytes - old_bytes;
    e = shmd_overwrite_stage(e, SHMD_CONTROL_OFFSET + offsetof(shmd_control, live_bytes), live_bytes);
  }
  e = shmd_overwrite_stage(e, SHMD_OFFSET_IN(base, f.at) | SHMD_REDO_PUBLISH, SHMD_SLOT(key->hash, offset));
  /* SYNC redo: publishes the list; recovery observes its length under the lock it takes over. */
  shmd_store_release(&c->redo_length, (uint64_t)(e - t->list));
  shmd_store_release(&c->head, head + bytes);
  if (old_id != new_id) {
    shmd_store_release(&segments[new_id].live, new_live + bytes);
    shmd_store_release(&segments[old_id].live, old_live - old_bytes);
  } else if (bytes != old_bytes) {
    shmd_store_release(&segments[new_id].live, new_live + bytes - old_bytes);
  }
  if (bytes != old_bytes) shmd_store_release(&c->live_bytes, live_bytes);
  shmd_store_release(shmd_word(a, SHMD_OFFSET_IN(base, f.at)), SHMD_SLOT(key->hash, offset));
  shmd_overwrite_published(t, c, head + bytes, bytes);
  return true;
}

#endif
