/* SPDX-License-Identifier: Apache-2.0 */
#include "liveness.h"

#include <errno.h>

#include "descriptor.h"
#include "error.h"
#include "platform.h"
#include "slot.h"

#define RETAKE_TRIES 50 /* ms that somebody who asks for our byte may hold it */
#define ADOPT_TRIES 50  /* ms that one of our threads may stand between taking the lock and saying so */

/* ---- others ---- */

/* Which dead slots' bytes this process holds. The kernel cannot tell: locks of one description never conflict. */
static bool mark_rescuing(shmd_attachment* a, uint32_t slot) {
  const uint64_t bit = UINT64_C(1) << (slot & 63);
  if ((a->rescuing[slot >> 6] & bit) != 0) return false;
  a->rescuing[slot >> 6] |= bit;
  return true;
}
static void unmark_rescuing(shmd_attachment* a, uint32_t slot) {
  a->rescuing[slot >> 6] &= ~(UINT64_C(1) << (slot & 63));
}

/* Steps: (1) the byte is ours (2) the process is not to be seen with the object in its memory, or the byte is given back.
 * Killed after (1): the kernel frees the byte. */
bool shmd_slot_alive(shmd_attachment* a, uint32_t slot, bool* taken) {
  bool alive = true;
  *taken = false;
  if (slot >= a->max_processes || slot == a->slot || shmd_liveness_keep(a) < 0) return true;
  shmd_lock_busy(true);
  (void)pthread_mutex_lock(&a->rescue_mutex);
  if (mark_rescuing(a, slot)) {
    /* SYNC slot-owner: observes all that the owner stored: the kernel grants the byte only when the owner's last
     * descriptor is closed, after its last instruction, or before one that shmd_slot_witness() sees to be still to come. */
    alive = shmd_bytes_try_lock(a, SHMD_BYTE_SLOTS + slot, true) != 0;
    if (!alive && shmd_slot_witness(a, slot)) {
      (void)shmd_bytes_unlock(a, SHMD_BYTE_SLOTS + slot);
      alive = true;
    }
    if (alive) unmark_rescuing(a, slot);
    *taken = !alive;
  }
  (void)pthread_mutex_unlock(&a->rescue_mutex);
  shmd_lock_busy(false);
  return alive;
}

/* Steps: (1) pin gone (2) entry cleared (3) byte free. Killed between: the byte is free, the slot dead as before. */
void shmd_slot_release(shmd_attachment* a, uint32_t slot) {
  shmd_slot_clear(a, slot);
  shmd_lock_busy(true);
  (void)pthread_mutex_lock(&a->rescue_mutex);
  (void)shmd_bytes_unlock(a, SHMD_BYTE_SLOTS + slot);
  unmark_rescuing(a, slot);
  (void)pthread_mutex_unlock(&a->rescue_mutex);
  shmd_lock_busy(false);
}

/* What cannot be told is taken for life. */
bool shmd_slot_lives(const shmd_attachment* a, uint32_t slot) {
  if (slot >= a->max_processes) return false;
  return slot == a->slot || shmd_bytes_held(a, SHMD_BYTE_SLOTS + slot, 1) != 0 || shmd_slot_witness(a, slot);
}

bool shmd_liveness_others(shmd_attachment* a) {
  uint32_t i;
  if (shmd_bytes_held(a, SHMD_BYTE_PRESENT, 1) != 0) return true;
  for (i = 0; i < a->max_processes; ++i) /* not by its byte: an observer, who is never present, has one, too */
    if (i != a->slot && shmd_load_acquire(&shmd_slot_of(a, i)->pid) != 0 &&
        shmd_bytes_held(a, SHMD_BYTE_SLOTS + i, 1) == 0 && shmd_slot_witness(a, i))
      return true;
  return false;
}

/* ---- ourselves ---- */

/* The slot's entry is the one that this process wrote: nobody has declared it dead. */
static bool entry_is_ours(const shmd_attachment* a) {
  const shmd_slot* entry = shmd_slot_of(a, a->slot);
  return shmd_load_acquire(&entry->pid) == a->pid && shmd_load_acquire(&entry->incarnation) == a->incarnation;
}

enum { KEPT, RENEWED, LOST };

/*
 * The slot's byte again. KEPT: nobody had it meanwhile. RENEWED: somebody had declared the slot dead, nobody has it now: it is
 * ours in a new life. LOST: it is another process's. REQUIRES: rescue mutex.
 */
static int retake(shmd_attachment* a) {
  int result = -EAGAIN, tries;
  for (tries = 0; tries < RETAKE_TRIES; ++tries) {
    result = shmd_bytes_try_lock(a, SHMD_BYTE_SLOTS + a->slot, true);
    if (result != -EAGAIN || !entry_is_ours(a)) break;
    shmd_os_sleep(1000000); /* whoever asks holds it for a moment */
  }
  if (result == -EAGAIN && entry_is_ours(a))
    return shmd_fail(SHMD_ERR_NOT_ATTACHED,
                     "dict '%s': this program closed a descriptor of the dict, and another process is just asking "
                     "whether it lives; try again, and do not close descriptors that you did not open",
                     a->name);
  if (result < 0 && result != -EAGAIN)
    return shmd_fail_errno(SHMD_ERR_NOT_ATTACHED, result, "dict '%s': cannot lock the slot's byte again", a->name);
  if (result == 0 && entry_is_ours(a)) return KEPT;
  shmd_engine_lost(a); /* its pins are gone, and so are its named locks, which name the former life */
  if (result == 0) {
    shmd_slot_write(a, a->slot);
    return RENEWED;
  }
  shmd_local_store(&a->owner, 0);
  a->slot = SHMD_NO_SLOT;
  return LOST;
}

/* REQUIRES: rescue mutex. 0 or what retake() says, or NOT_ATTACHED. */
static int restore(shmd_attachment* a) {
  int result;
  if (a->departed || shmd_descriptor_liveness(a)) return 0; /* or another thread was faster */
  if (!a->process_bytes || !shmd_descriptor_object(a)) {
    result = shmd_descriptor_join(a);
    if (result < 0)
      return shmd_fail_errno(
          SHMD_ERR_NOT_ATTACHED, result,
          "dict '%s': this program closed the dict's descriptors, and it cannot be opened again: close "
          "the handle and open it anew, and do not close descriptors that you did not open",
          a->name);
  }
  if (!a->observer) (void)shmd_bytes_try_lock(a, SHMD_BYTE_PRESENT, false);
  return a->slot != SHMD_NO_SLOT ? retake(a) : 0;
}

/* The slot is ours in a new life, and the lock word may name it: one of our threads that nobody took it from, or one who had
 * the slot meanwhile and died. Ours says so within an instant of taking it. */
static int adopt(shmd_attachment* a) {
  const shmd_control* c = shmd_control_of(a);
  int tries;
  for (tries = 0; tries < ADOPT_TRIES; ++tries) {
    uint64_t thread;
    if ((shmd_load_acquire(&c->lock) & 0xffff) != shmd_load_acquire(&a->owner)) return 0;
    /* SYNC owner-thread: observes a thread of ours that holds the lock, or another's. */
    thread = shmd_load_acquire(&c->owner_thread);
    if (thread != 0 && shmd_os_thread_lives(thread)) return 0;
    if (thread != 0) break;
    shmd_os_sleep(1000000);
  }
  return shmd_lock_adopt(a);
}

/* Steps: (1) a new description (2) present (3) the slot's byte (4) if the slot had been declared dead: a new entry. Killed at
 * any of them: the kernel frees the bytes; an entry half written is only displayed. */
int shmd_liveness_keep(shmd_attachment* a) {
  int result;
  if (shmd_descriptor_liveness(a)) return 0;
  if (a->liveness_fd < 0 && !a->process_bytes) return 0; /* not there yet: shmd_attach_child() */
  shmd_lock_busy(true);
  (void)pthread_mutex_lock(&a->rescue_mutex);
  result = restore(a);
  (void)pthread_mutex_unlock(&a->rescue_mutex);
  if (result == RENEWED) result = adopt(a);
  shmd_lock_busy(false);
  if (result == LOST)
    return shmd_fail(
        SHMD_ERR_NOT_ATTACHED,
        "dict '%s': this program closed a descriptor of the dict, and was taken for dead: locks that it held are "
        "lost; try again, and do not close descriptors that you did not open",
        a->name);
  return result;
}
