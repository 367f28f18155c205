/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins that stand in the way of reclaim: whose the oldest one is, and whether it still counts.
 */
#include "attach.h"
#include "error.h"
#include "reclaim.h"
#include "segment.h"

/* The slot that holds the oldest pin, or SHMD_NO_SLOT. */
static uint32_t oldest_holder(shmd_attachment* a, uint64_t oldest) {
  const uint64_t floor = shmd_load_acquire(&shmd_control_of(a)->floor);
  uint32_t i;
  for (i = 0; i < a->max_processes; ++i)
    if (shmd_pin_position(a, i, floor) == oldest) return i;
  return SHMD_NO_SLOT;
}

void shmd_reclaim_blame(shmd_attachment* a) {
  shmd_error_info* error = shmd_error_slot();
  const uint64_t oldest = shmd_pin_oldest(shmd_tx_of(a));
  const uint32_t slot = oldest == UINT64_MAX ? SHMD_NO_SLOT : oldest_holder(a, oldest);
  const int code = error->code;
  shmd_slot* s;
  char program[32];
  int64_t pid;
  if (slot == SHMD_NO_SLOT) return;
  s = shmd_slot_of(a, slot);
  pid = (int64_t)shmd_load_acquire(&s->pid);
  shmd_copy_out(program, s->program, sizeof program);
  program[sizeof program - 1] = '\0';
  (void)shmd_fail(
      code,
      "dict '%s' is full: a snapshot or view of process %lld (%s) holds old data back; close it or end that process",
      a->name, (long long)pid, program);
  error = shmd_error_slot();
  error->pid = pid;
  for (pid = 0; pid < 31 && program[pid]; ++pid) error->program[pid] = program[pid];
  error->program[pid] = '\0';
}

void shmd_reclaim_look_at_pins(shmd_attachment* a, bool now) {
  shmd_tx* t = shmd_tx_of(a);
  shmd_control* c = shmd_control_of(a);
  const uint64_t oldest = shmd_pin_oldest(t), head = shmd_load_acquire(&c->head);
  uint32_t slot;
  bool taken = false;
  if (oldest == UINT64_MAX) return;
  if (!now && head - a->engine->pin_checked < a->segment_size) return;
  a->engine->pin_checked = head;
  slot = oldest_holder(a, oldest);
  if (slot == SHMD_NO_SLOT) return;
  if (slot != a->slot && !shmd_slot_alive(a, slot, &taken) && taken) {
    shmd_slot_release(a, slot);
    (void)shmd_fetch_add(&c->pin_version, 1);
  } else if (head - oldest > a->super->max_pin_bytes && !(shmd_load_acquire(shmd_pin_of(a, slot)) & 1)) {
    /* SYNC floor: publishes that pins below are not honoured; a snapshot looks at it after each read. */
    shmd_store_seq(&c->floor, head - a->super->max_pin_bytes);
    (void)shmd_fetch_add(&c->pin_version, 1);
  }
}
