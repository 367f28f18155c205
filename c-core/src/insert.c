/* SPDX-License-Identifier: Apache-2.0 */
#include "block.h"
#include "overwrite.h"

/* Where a probe for the key ends, if it meets neither the key nor a tombstone on its way, which the key could use: the offset of
 * that empty slot; else 0. */
static uint64_t empty_slot(const shmd_reader* r, uint64_t array, const shmd_key* key) {
  const uint64_t mask = SHMD_REF_MASK(array);
  uint64_t i = SHMD_PROBE_START(key->hash) & mask, tried;
  for (tried = 0; tried <= mask; ++tried) {
    const uint64_t at = SHMD_REF_OFFSET(array) + 8 * i;
    const uint64_t* word = (const uint64_t*)(const void*)(r->base + at);
    const uint64_t slot = shmd_load_acquire(word);
    shmd_found f;
    if (slot == SHMD_SLOT_EMPTY) return at;
    if (!shmd_slot_refers(slot)) return 0;
    if ((slot ^ key->hash) >> 48 == 0 && shmd_read_slot(r, word, slot, key->data, key->size, &f) != SHMD_KEPT) return 0;
    i = (i + 1) & mask;
  }
  return 0;
}

bool shmd_insert(shmd_attachment* a, shmd_node node, const shmd_key* key, const void* value, size_t size) {
  shmd_tx* t = shmd_tx_of(a);
  const shmd_reader* reader = &a->reader;
  shmd_control* c = shmd_control_of(a);
  const uint64_t bytes = sizeof(shmd_record) + SHMD_PAD8(key->size) + SHMD_PAD8(size);
  const uint64_t head = shmd_load_acquire(&c->head), id = shmd_load_acquire(&c->head_segment);
  const uint64_t offset = head + shmd_load_acquire(&c->head_bias);
  uint64_t ref, array, slot, descriptor, state, live, live_bytes, keys;
  uint64_t* count;
  shmd_redo_entry* e = t->list;
  shmd_new_record r;
  if (t->user || !shmd_overwrite_no_pins(c) || !shmd_overwrite_fits(a, id, offset, bytes) ||
      head + bytes > shmd_load_acquire(&c->head_limit))
    return false;
  if (shmd_read_index(reader, node, &ref) != 0 || shmd_read_array(reader, ref, (uint32_t)key->hash, &array) != 0 ||
      array == 0)
    return false;
  slot = empty_slot(reader, array, key);
  if (slot == 0) return false;
  descriptor = shmd_block_descriptor(t, SHMD_REF_OFFSET(array), shmd_ref_log2(array));
  if (descriptor == 0) return false;
  state = shmd_load_acquire(shmd_word(a, descriptor + 8));
  if (!shmd_index_has_room(SHMD_BLOCK_USED(state), SHMD_REF_MASK(array) + 1)) return false;
  r = shmd_overwrite_record(c, node, key, value, size);
  if (r.node >= reader->node_capacity) return false;

  shmd_log_write(t, offset, head, &r);
  state = SHMD_BLOCK_STATE(SHMD_BLOCK_LIVE(state) + 1, SHMD_BLOCK_USED(state) + 1, SHMD_BLOCK_DEPTH(state),
                           SHMD_BLOCK_LOG2(state), SHMD_BLOCK_KIND(state));
  live = shmd_load_acquire(&a->segments[id].live) + bytes;
  live_bytes = shmd_load_acquire(&c->live_bytes) + bytes;
  count = shmd_word(a, SHMD_N(t, r.node, count));
  keys = shmd_load_acquire(count) + 1;

  /* The order is that of application: the slot last, for readers follow it. */
  e = shmd_overwrite_stage(e, SHMD_CONTROL_OFFSET + offsetof(shmd_control, head), head + bytes);
  e = shmd_overwrite_stage(e, SHMD_CONTROL_OFFSET + offsetof(shmd_control, live_bytes), live_bytes);
  e = shmd_overwrite_stage(e, SHMD_S(t, id, live), live);
  e = shmd_overwrite_stage(e, SHMD_N(t, r.node, count), keys);
  e = shmd_overwrite_stage(e, descriptor + 8, state);
  e = shmd_overwrite_stage(e, slot | SHMD_REDO_PUBLISH, SHMD_SLOT(key->hash, offset));
  /* SYNC redo: publishes the list; recovery observes its length under the lock it takes over. */
  shmd_store_release(&c->redo_length, (uint64_t)(e - t->list));
  shmd_store_release(&c->head, head + bytes);
  shmd_store_release(&c->live_bytes, live_bytes);
  shmd_store_release(&a->segments[id].live, live);
  shmd_store_release(count, keys);
  shmd_store_release(shmd_word(a, descriptor + 8), state);
  /* SYNC slot: publishes a record that was written before. */
  shmd_store_release(shmd_word(a, slot), SHMD_SLOT(key->hash, offset));
  shmd_overwrite_published(t, c, head + bytes, bytes);
  return true;
}
