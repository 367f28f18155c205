/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at objects from outside. Nothing is mapped or attached: figures are read from the file, so that one who truncates
 * it gives a short read; every offset used was recomputed by the validation of the superblock; loops are bounded by
 * max_processes. Bytes are asked for, never taken: nobody who attaches or leaves meanwhile is disturbed.
 *
 * Not a snapshot: a writer may be at work. Each word read is one that was stored (8-byte words of a page are not torn on
 * the machines there are; a figure that were would only be displayed).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attach.h"
#include "cancel.h"
#include "error.h"
#include "lock.h"
#include "name.h"
#include "object.h"
#include "platform.h"
#include "redo.h"
#include "slot.h"

#define SLOTS_AT_ONCE 64u

typedef struct listing {
  shmd_list_fn found;
  void* context;
  shmd_object_info* info; /* large: not on a small thread's stack */
  shmd_superblock super;
  uint64_t space, inode; /* of this process's pids, and of the object */
} listing;

static bool read_at(int fd, uint64_t offset, void* to, size_t size) {
  return shmd_os_read(fd, offset, to, size) == (int)size;
}

static void printable(char* to, const char* from, size_t size) {
  size_t i;
  for (i = 0; i + 1 < size && from[i] != '\0'; ++i)
    to[i] = (unsigned char)from[i] < 0x20 || from[i] == 0x7f ? '?' : from[i];
  to[i] = '\0';
}

static bool lives(int fd, const listing* l, uint32_t slot, const shmd_slot* entry) {
  return shmd_os_byte_held(fd, SHMD_BYTE_SLOTS + slot, 1) == 1 || shmd_slot_witness_of(entry, l->space, l->inode);
}

/* The owner that the lock word names, as the lock status of a handle gives it. */
static void look_at_lock(int fd, const listing* l, const shmd_control* c, shmd_lock_info* lock) {
  const uint64_t name = c->lock & SHMD_LOCK_SLOT_MASK, now = shmd_os_now();
  shmd_slot entry;
  memset(lock, 0, sizeof *lock);
  lock->acquisitions = c->lock >> 32;
  lock->waiters = (c->lock & SHMD_LOCK_WAITERS) != 0;
  if (name == 0) return;
  lock->held = 1;
  lock->slot = (uint32_t)name - 1;
  lock->thread = (int64_t)c->owner_thread;
  if ((c->lock & SHMD_LOCK_EXPLICIT) && c->owner_since != 0 && c->owner_since < now) {
    lock->since = c->owner_since;
    lock->held_ns = now - c->owner_since;
  }
  if (name > l->super.max_processes) return;
  if (!read_at(fd, l->super.attach_offset + lock->slot * sizeof entry, &entry, sizeof entry)) return;
  lock->alive = lives(fd, l, lock->slot, &entry);
  lock->pid = (int64_t)entry.pid;
  printable(lock->program, entry.program, sizeof lock->program);
}

static uint32_t count_attached(int fd, const listing* l) {
  shmd_slot entries[SLOTS_AT_ONCE];
  uint32_t first, i, count = 0;
  for (first = 0; first < l->super.max_processes; first += SLOTS_AT_ONCE) {
    const uint32_t n = l->super.max_processes - first < SLOTS_AT_ONCE ? l->super.max_processes - first : SLOTS_AT_ONCE;
    if (!read_at(fd, l->super.attach_offset + first * sizeof entries[0], entries, n * sizeof entries[0])) break;
    for (i = 0; i < n; ++i)
      if (entries[i].pid != 0 && lives(fd, l, first + i, &entries[i])) ++count;
  }
  return count;
}

static uint64_t count_keys(int fd, const listing* l, const shmd_control* c) {
  shmd_node_entry root;
  const uint64_t id = SHMD_LOW(c->root_node);
  if (id == 0 || id >= l->super.node_capacity) return 0;
  return read_at(fd, l->super.nodes_offset + id * sizeof root, &root, sizeof root) ? root.count : 0;
}

static void describe(int fd, listing* l) {
  shmd_object_info* info = l->info;
  shmd_control c;
  info->result = shmd_object_inspect(fd, info->name, &l->super);
  if (l->super.magic == SHMD_MAGIC) info->layout_version = l->super.layout_version;
  if (info->result < 0) return;
  if (!read_at(fd, l->super.control_offset, &c, sizeof c)) {
    info->result = SHMD_ERR_INCOMPLETE_OBJECT;
    return;
  }
  info->unlink = (int)l->super.unlink_policy;
  info->max_processes = l->super.max_processes;
  info->max_size = l->super.max_size;
  info->creator_pid = (int64_t)l->super.creator_pid;
  memcpy(info->id, l->super.id, sizeof info->id);
  memcpy(info->key_type, l->super.key_type, sizeof info->key_type);
  memcpy(info->value_type, l->super.value_type, sizeof info->value_type);
  info->attached = count_attached(fd, l);
  info->present = shmd_os_byte_held(fd, SHMD_BYTE_PRESENT, 1) == 1;
  /* whoever attaches just now holds the byte of names; what was restored waits for its first user */
  info->orphaned = info->unlink != SHMD_UNLINK_NEVER && !info->present && info->attached == 0 && c.incarnations != 0 &&
                   shmd_os_byte_held(fd, SHMD_BYTE_CREATE, 1) == 0;
  info->keys = count_keys(fd, l, &c);
  look_at_lock(fd, l, &c, &info->lock);
}

static int look(void* context, const char* name) {
  listing* l = (listing*)context;
  shmd_object_info* info = l->info;
  shmd_file_info file;
  int fd;
  if (shmd_name_check(name) < 0 || shmd_os_name_info(name, &file) < 0) return 0; /* no name of ours, or gone */
  memset(info, 0, sizeof *info);
  memcpy(info->name, name, strlen(name) + 1);
  l->inode = file.inode;
  info->user = file.owner;
  info->memory = file.blocks_bytes;
  if (!file.regular) {
    info->result = SHMD_ERR_FOREIGN_OBJECT;
    return l->found(l->context, info);
  }
  fd = shmd_os_open(name, false);
  if (fd == -ENOENT) return 0;
  if (fd < 0)
    info->result = shmd_name_open_failed(name, fd);
  else
    describe(fd, l);
  shmd_os_close(fd);
  return l->found(l->context, info);
}

/* Callbacks of the user's answer what they like: theirs are told apart from the system's. */
typedef struct answer {
  listing* l;
  int given;
} answer;

static int look_and_note(void* context, const char* name) {
  answer* a = (answer*)context;
  a->given = look(a->l, name);
  return a->given != 0;
}

static void forget_info(shmd_object_info** info) { free(*info); }
static void keep(shmd_attachment* a) { (void)shmd_liveness_keep(a); }

static int list(shmd_list_fn found, void* context) {
  const shmd_error_info before = *shmd_last_error();
  shmd_object_info* info SHMD_CLEANUP(forget_info) = NULL;
  listing l;
  answer a;
  int result;
  if (found == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_list: the callback is NULL");
  memset(&l, 0, sizeof l);
  l.found = found;
  l.context = context;
  info = l.info = (shmd_object_info*)calloc(1, sizeof *l.info);
  l.space = shmd_os_pid_space();
  if (l.info == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "shmd_list: no memory to describe objects");
  a.l = &l;
  a.given = 0;
  result = shmd_os_list(look_and_note, &a);
  shmd_attach_each(keep); /* descriptors of our own objects were closed: descriptor.h */
  if (a.given != 0) return a.given;
  if (result == -ENOSYS) return shmd_fail(SHMD_ERR_UNSUPPORTED, "shared objects cannot be listed on this system");
  if (result < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "shared objects could not be listed");
  *shmd_error_slot() = before; /* objects that cannot be read are no failure of this call */
  return 0;
}

int shmd_list(shmd_list_fn found, void* context) {
  int result;
  shmd_cancel_off();
  {
    const int off SHMD_CLEANUP(shmd_cancel_over) = 0;
    (void)off;
    result = list(found, context);
  }
  return result;
}
