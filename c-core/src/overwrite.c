#include "overwrite.h"

#include "log.h"
#include "segment.h"

static uint64_t* segment_live(const shmd_attachment* a, uint64_t id) {
  return &((shmd_segment*)(void*)shmd_at(a, a->super->segments_offset))[id].live;
}

/* Whether `id` can lose `bytes` without changing lists. */
static bool stays(const shmd_attachment* a, uint64_t id, uint64_t live, uint64_t bytes) {
  const shmd_segment* s = (const shmd_segment*)(const void*)shmd_at(a, a->super->segments_offset) + id;
  const uint32_t kind = SHMD_LOW(shmd_load_acquire(&s->kind));
  uint64_t used;
  if (bytes >= live) return kind == SHMD_SEG_LOG && bytes == live;
  if (kind != SHMD_SEG_CLOSED) return kind != SHMD_SEG_RUN;
  used = shmd_load_acquire(&s->used);
  return shmd_segment_bucket(a, live, used) == shmd_segment_bucket(a, live - bytes, used);
}

bool shmd_overwrite(shmd_tx* t, shmd_node node, const shmd_key* key, const void* value, size_t size) {
  shmd_attachment* a = t->a;
  shmd_control* c = shmd_control_of(a);
  const shmd_reader reader = a->reader;
  const shmd_node_entry* e;
  shmd_new_record r;
  shmd_found f;
  uint64_t old_bytes, bytes, head, offset, old_segment, new_segment, old_live, new_live, old_offset;
  shmd_redo_entry list[5];
  uint32_t n = 0, i;
  if (t->user || shmd_read_node(&reader, node, &e) != 0) return false;
  if (shmd_read_find(&reader, shmd_load_acquire(&e->root), key->hash, key->data, key->size, &f) != 0) return false;
  if ((f.stamp & ~(uint32_t)SHMD_REC_FIRST) != SHMD_REC_PUT || shmd_pin_oldest(t) != UINT64_MAX) return false;
  bytes = sizeof(shmd_record) + SHMD_PAD8(key->size) + SHMD_PAD8(size);
  old_bytes = sizeof(shmd_record) + SHMD_PAD8(key->size) + SHMD_PAD8(f.value_size);
  head = shmd_load_acquire(&c->head);
  if (bytes > a->segment_size / 2 || head + bytes > shmd_load_acquire(&c->head_limit)) return false;
  offset = head + shmd_load_acquire(&c->head_bias);
  old_offset = f.slot & SHMD_WORD_MASK;
  new_segment = shmd_load_acquire(&c->head_segment);
  old_segment = shmd_segment_of(a, old_offset);
  if (old_offset < a->super->data_offset || new_segment >= a->super->segment_count ||
      old_segment >= a->super->segment_count || shmd_segment_of(a, offset) != new_segment ||
      offset + bytes > shmd_segment_offset(a, new_segment) + a->segment_size)
    return false;
  old_live = shmd_load_acquire(segment_live(a, old_segment));
  new_live = shmd_load_acquire(segment_live(a, new_segment));
  if (!stays(a, old_segment, old_live, old_bytes)) return false;

  r.kind = SHMD_REC_PUT;
  r.node = (uint32_t)(e - reader.nodes);
  r.hash = key->hash;
  r.key = key->data;
  r.key_size = key->size;
  r.value = value;
  r.value_size = size;
  r.previous = 0;
  shmd_log_write(t, offset, head, &r);

  /* the order is that of application: the slot last, for readers follow it */
  list[n].where = SHMD_C(t, head);
  list[n++].value = head + bytes;
  if (old_segment == new_segment) {
    if (bytes != old_bytes) {
      list[n].where = SHMD_S(t, new_segment, live);
      list[n++].value = new_live + bytes - old_bytes;
    }
  } else {
    list[n].where = SHMD_S(t, new_segment, live);
    list[n++].value = new_live + bytes;
    list[n].where = SHMD_S(t, old_segment, live);
    list[n++].value = old_live - old_bytes;
  }
  if (bytes != old_bytes) {
    list[n].where = SHMD_C(t, live_bytes);
    list[n++].value = shmd_load_acquire(&c->live_bytes) + bytes - old_bytes;
  }
  list[n].where = (uint64_t)((const unsigned char*)f.at - reader.base) | SHMD_REDO_PUBLISH;
  list[n++].value = SHMD_SLOT(key->hash, offset);
  for (i = 0; i < n; ++i) {
    shmd_store_release(&t->list[i].where, list[i].where);
    shmd_store_release(&t->list[i].value, list[i].value);
  }
  /* SYNC redo: publishes the list; recovery observes its length under the lock it takes over. */
  shmd_store_release(&c->redo_length, n);
  for (i = 0; i < n; ++i) shmd_store_release(shmd_word(a, list[i].where & ~SHMD_REDO_PUBLISH), list[i].value);
  shmd_store_release(&c->redo_length, 0);
  /* SYNC published: publishes every record below head and all that refers to it. */
  shmd_store_release(&c->published, head + bytes);
  shmd_store_release(&c->commits, shmd_load_acquire(&c->commits) + 1);
  ++t->commit_count;
  t->debt += bytes;
  return true;
}
