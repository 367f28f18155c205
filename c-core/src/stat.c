/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "attach.h"
#include "call.h"
#include "descriptor.h"
#include "error.h"
#include "handle.h"
#include "object.h"
#include "platform.h"
#include "redo.h"
#include "snapshot.h"

static uint32_t count_pins(shmd_attachment* a) {
  const struct shmd_pin* p;
  uint32_t count = 0;
  shmd_lock_busy(true);
  (void)pthread_mutex_lock(&a->pin_mutex);
  for (p = a->pins; p != NULL; p = p->next) ++count;
  (void)pthread_mutex_unlock(&a->pin_mutex);
  shmd_lock_busy(false);
  return count;
}

static int fill_stats(shmd_dict* d, shmd_stats* s) {
  const shmd_attachment* a;
  const shmd_control* c;
  const shmd_superblock* super;
  shmd_file_info info;
  uint64_t root;
  uint32_t i;
  if (s == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_stat: a place for the answer is needed");
  if (shmd_lock_self.busy) return shmd_call_interrupted();
  a = d->attachment;
  c = shmd_control_of(a);
  super = a->super;
  memset(s, 0, sizeof *s);
  memcpy(s->name, a->nameless ? "" : a->name, a->nameless ? 1 : sizeof s->name);
  memcpy(s->key_type, super->key_type, sizeof s->key_type);
  memcpy(s->value_type, super->value_type, sizeof s->value_type);
  s->key_type[sizeof s->key_type - 1] = s->value_type[sizeof s->value_type - 1] = '\0';
  memcpy(s->id, super->id, sizeof s->id);
  s->layout_version = super->layout_version;
  s->attached = shmd_attached_count(d->attachment, &s->followers);
  s->max_processes = super->max_processes;
  s->unlink = (int)super->unlink_policy;
  s->unlinked = shmd_load_acquire(&shmd_object_shared(a)->unlinked) != 0;
  s->read_only = a->read_only;
  s->creator_pid = (int64_t)super->creator_pid;
  s->max_size = super->max_size;
  s->segment_size = super->segment_size;
  s->buffer_size = super->buffer_size;
  s->max_pin_bytes = super->max_pin_bytes;
  if (shmd_descriptor_info(a, &info) == 0) {
    s->memory = info.blocks_bytes;
    if (info.links == 0) s->unlinked = 1;
  }
  s->live_bytes = shmd_load_acquire(&c->live_bytes);
  s->index_bytes = shmd_load_acquire(&c->index_bytes);
  s->log_bytes = shmd_load_acquire(&c->log_bytes);
  root = shmd_load_acquire(&c->root_node);
  if (SHMD_LOW(root) < shmd_known_nodes(a)) s->keys = shmd_load_acquire(&a->reader.nodes[SHMD_LOW(root)].count);
  s->nodes = shmd_load_acquire(&c->node_count) - (shmd_load_acquire(&c->hidden_node) != 0 ? 2 : 1);
  s->position = shmd_load_acquire(&c->published);
  s->commits = shmd_load_acquire(&c->commits);
  s->recoveries = shmd_load_acquire(&c->recoveries);
  s->replays = shmd_load_acquire(&c->replays);
  s->cleaned_bytes = shmd_load_acquire(&c->cleaned_bytes);
  s->punched_bytes = shmd_load_acquire(&c->punched_bytes);
  s->recycles = shmd_load_acquire(&c->recycle);
  s->splits = shmd_load_acquire(&c->splits);
  s->merges = shmd_load_acquire(&c->merges);
  s->oldest_pin = UINT64_MAX;
  for (i = 0; i < super->max_processes; ++i) {
    const uint64_t pin = shmd_load_acquire(shmd_pin_of(a, i));
    if (pin != UINT64_MAX) ++s->pinned;
    if (pin != UINT64_MAX && (pin & ~UINT64_C(7)) < s->oldest_pin) {
      s->oldest_pin = pin & ~UINT64_C(7);
      s->oldest_pin_pid = (int64_t)shmd_load_acquire(&shmd_slot_of(a, i)->pid);
    }
  }
  s->followed = shmd_load_acquire(&c->sleepers) != 0;
  s->slot = a->slot;
  s->handles = (uint32_t)shmd_load_acquire(&a->handles);
  s->pins = count_pins(d->attachment);
  s->pid = (int64_t)shmd_os_pid();
  return 0;
}

int shmd_stat(shmd_dict* d, shmd_stats* s) {
  int result = shmd_handle_enter(d, "shmd_stat");
  if (result < 0) return result;
  result = fill_stats(d, s);
  shmd_handle_leave(d);
  return result;
}

static int each_process(shmd_dict* d, shmd_process_fn found, void* context) {
  const shmd_attachment* a;
  const uint64_t now = shmd_os_now();
  uint32_t i;
  if (found == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_processes: the callback is NULL");
  a = d->attachment;
  for (i = 0; i < a->max_processes; ++i) {
    const shmd_slot* entry = shmd_slot_of(a, i);
    shmd_process_info info;
    uint64_t attached_at;
    int answer;
    memset(&info, 0, sizeof info);
    /* SYNC slot-entry: observes the pid of a complete entry. */
    info.pid = (int64_t)shmd_load_acquire(&entry->pid);
    if (info.pid == 0) continue;
    info.this_process = i == a->slot;
    if (!shmd_slot_lives(a, i)) continue;
    info.slot = i;
    info.start_time = shmd_load_acquire(&entry->start_time);
    info.pid_space = shmd_load_acquire(&entry->pid_space);
    attached_at = shmd_load_acquire(&entry->attached_at);
    info.attached_ns = now > attached_at ? now - attached_at : 0;
    info.pin = shmd_load_acquire(shmd_pin_of(a, i));
    if (info.pin != UINT64_MAX) info.pin &= ~UINT64_C(7);
    shmd_slot_program(entry, info.program, sizeof info.program);
    answer = found(context, &info);
    if (answer != 0) return answer;
  }
  return 0;
}

int shmd_processes(shmd_dict* d, shmd_process_fn found, void* context) {
  int result = shmd_handle_enter(d, "shmd_processes");
  if (result < 0) return result;
  {
    shmd_dict* inside SHMD_CLEANUP(shmd_handle_left) = d;
    result = each_process(inside, found, context);
  }
  return result;
}
