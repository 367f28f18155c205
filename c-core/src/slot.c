/* SPDX-License-Identifier: Apache-2.0 */
#include "slot.h"

#include <errno.h>
#include <string.h>

#include "descriptor.h"
#include "error.h"
#include "mutex.h"
#include "platform.h"

static uint64_t hash_pid(uint64_t pid) { return shmd_hash_u64(UINT64_C(0x5348), pid); }

static void drop_pin(shmd_attachment* a, uint32_t slot) {
  uint64_t* pin = shmd_pin_of(a, slot);
  if (shmd_load_acquire(pin) == UINT64_MAX) return;
  /* SYNC pin: publishes that the pin is gone before the version moves. */
  shmd_store_release(pin, UINT64_MAX);
  (void)shmd_fetch_add(&shmd_control_of(a)->pin_version, 1);
}

void shmd_slot_write(shmd_attachment* a, uint32_t slot) {
  shmd_slot* entry = shmd_slot_of(a, slot);
  char program[sizeof entry->program];
  memset(program, 0, sizeof program);
  shmd_os_program(program, sizeof program);
  shmd_store_release(&entry->pid, 0);
  a->incarnation = shmd_fetch_add(&shmd_control_of(a)->incarnations, 1) + 1;
  shmd_store_release(&entry->incarnation, a->incarnation);
  shmd_store_release(&entry->attached_at, shmd_os_now());
  shmd_copy_in(entry->program, program, sizeof program);
  shmd_store_release(&entry->start_time, a->start_time);
  shmd_store_release(&entry->pid_space, a->pid_space);
  shmd_store_release(&entry->mapped_at, (uint64_t)(uintptr_t)a->reader.base);
  shmd_store_release(&entry->followers, shmd_load_acquire(&a->followers)); /* a forked child has its parent's */
  /* SYNC slot-entry: publishes all of it before the pid they belong to. */
  shmd_store_release(&entry->pid, a->pid);
}

void shmd_slot_clear(shmd_attachment* a, uint32_t slot) {
  drop_pin(a, slot);
  shmd_store_release(&shmd_slot_of(a, slot)->pid, 0);
}

/* ---- the second witness ---- */

bool shmd_slot_witness_of(const shmd_slot* entry, uint64_t space, uint64_t inode) {
  const uint64_t pid = shmd_load_acquire(&entry->pid), start = shmd_load_acquire(&entry->start_time);
  const uint64_t at = shmd_load_acquire(&entry->mapped_at);
  if (pid == 0 || start == 0 || at == 0 || space == 0 || shmd_load_acquire(&entry->pid_space) != space) return false;
  return shmd_os_process_maps(pid, start, at, inode) == 1;
}

/* An entry that this very process wrote for what is mapped where our mapping is now: a program that ran before it executed us,
 * and where addresses are not random. No two mappings have one address. */
static bool of_former_program(const shmd_attachment* a, const shmd_slot* entry) {
  return shmd_load_acquire(&entry->pid) == a->pid && a->start_time != 0 && a->pid_space != 0 &&
         shmd_load_acquire(&entry->start_time) == a->start_time &&
         shmd_load_acquire(&entry->pid_space) == a->pid_space &&
         shmd_load_acquire(&entry->mapped_at) == (uint64_t)(uintptr_t)a->reader.base;
}

bool shmd_slot_witness(const shmd_attachment* a, uint32_t slot) {
  const shmd_slot* entry = shmd_slot_of(a, slot);
  return !of_former_program(a, entry) && shmd_slot_witness_of(entry, a->pid_space, a->inode);
}

/* ---- taking and leaving ---- */

void shmd_slot_program(const shmd_slot* entry, char* to, size_t capacity) {
  size_t i;
  char program[sizeof entry->program];
  shmd_copy_out(program, entry->program, sizeof program);
  for (i = 0; i < sizeof program && i < capacity - 1 && program[i] != '\0'; ++i)
    to[i] = (unsigned char)program[i] < 0x20 || program[i] == 0x7f ? '?' : program[i];
  to[i] = '\0';
}

/* Takes the byte of a slot nobody owns. First those whose entry is cleared: one system call as a rule. */
static int take_byte(shmd_attachment* a, uint32_t* out) {
  const uint32_t n = a->max_processes;
  const uint32_t start = (uint32_t)(hash_pid(a->pid) % n);
  int pass;
  uint32_t i;
  for (pass = 0; pass < 4; ++pass) {
    if (pass == 3) shmd_mutex_sleep(a->liveness_fd, 2000000); /* a rescuer holds a dead slot's byte for a moment */
    for (i = 0; i < n; ++i) {
      const uint32_t slot = (start + i) % n;
      const shmd_slot* entry = shmd_slot_of(a, slot);
      int result;
      if (pass == 0 && shmd_load_acquire(&entry->pid) != 0 && !of_former_program(a, entry)) continue;
      result = shmd_bytes_try_lock(a, SHMD_BYTE_SLOTS + slot, true);
      if (result == 0 && pass != 0 && shmd_slot_witness(a, slot)) {
        (void)shmd_bytes_unlock(a, SHMD_BYTE_SLOTS + slot); /* its owner has lost the byte, and will take it again */
        continue;
      }
      if (result == 0) {
        *out = slot;
        return 0;
      }
      if (result != -EAGAIN)
        return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot lock a slot's byte", a->name);
    }
  }
  return shmd_fail(
      SHMD_ERR_TOO_MANY_PROCESSES,
      "dict '%s': all %u slots are taken; end a process that uses it, or create it with a larger max_processes",
      a->name, (unsigned)n);
}

/*
 * Steps: (1) the slot's byte is ours: the slot is owned (2) the dead predecessor's pin is gone (3) the entry is ours
 * (4) if the lock word names the slot, its last owner died with the lock: repaired and released.
 * Killed after any step: the kernel frees the byte; the next one to take it starts at (2), a waiter for the lock that (4)
 * did not reach takes over as from any dead owner. An entry half written is only displayed.
 */
int shmd_slot_take(shmd_attachment* a) {
  uint32_t slot = SHMD_NO_SLOT;
  int result = take_byte(a, &slot);
  if (result < 0) return result;
  drop_pin(a, slot);
  shmd_slot_write(a, slot);
  a->slot = slot;
  shmd_local_store(&a->owner, (uint64_t)slot + 1);
  result = shmd_lock_adopt(a);
  return result == SHMD_ERR_CORRUPT ? 0 : result; /* a dict that cannot be repaired can still be read */
}

/* Steps: (1) pin gone (2) entry cleared (3) byte free: the slot is nobody's. Killed between: a dead slot like any other. */
uint32_t shmd_slot_resign(shmd_attachment* a) {
  const uint32_t slot = a->slot;
  if (slot == SHMD_NO_SLOT) return slot;
  shmd_local_store(&a->owner, 0);
  a->slot = SHMD_NO_SLOT;
  shmd_slot_clear(a, slot);
  return slot;
}

void shmd_slot_free(const shmd_attachment* a, uint32_t slot) {
  if (slot == SHMD_NO_SLOT) return;
  /* SYNC slot-owner: publishes, with the byte, all that this process stored. */
  (void)shmd_bytes_unlock(a, SHMD_BYTE_SLOTS + slot);
}

void shmd_slot_leave(shmd_attachment* a) { shmd_slot_free(a, shmd_slot_resign(a)); }

uint32_t shmd_attached_count(shmd_attachment* a, uint64_t* followers) {
  uint32_t i, count = 0;
  *followers = 0;
  for (i = 0; i < a->max_processes; ++i) {
    const shmd_slot* entry = shmd_slot_of(a, i);
    /* SYNC slot-entry: observes the pid of a complete entry. */
    if (shmd_load_acquire(&entry->pid) == 0) continue;
    if (!shmd_slot_lives(a, i)) continue;
    ++count;
    *followers += shmd_load_acquire(&entry->followers);
  }
  return count;
}

void shmd_slot_follow(shmd_attachment* a, bool more) {
  shmd_lock_busy(true);
  (void)pthread_mutex_lock(&a->rescue_mutex);
  shmd_local_store(&a->followers, shmd_load_acquire(&a->followers) + (more ? 1u : UINT64_MAX));
  if (a->slot != SHMD_NO_SLOT)
    shmd_store_release(&shmd_slot_of(a, a->slot)->followers, shmd_load_acquire(&a->followers));
  (void)pthread_mutex_unlock(&a->rescue_mutex);
  shmd_lock_busy(false);
}
