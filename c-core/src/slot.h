/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots of the attach table: taking and leaving one's own. Asking for others' is declared in attach.h.
 *
 * Invariant: whoever holds the lock on a slot's byte owns the slot; its entry is for display. The lock word may name a slot
 * whose owner is dead, or already another process: the new one repairs before it does anything else (shmd_lock_adopt).
 */
#ifndef SHMD_SLOT_H
#define SHMD_SLOT_H

#include "attach.h"

int shmd_slot_take(shmd_attachment* a); /* TOO_MANY_PROCESSES, SYSTEM */
void shmd_slot_leave(shmd_attachment* a);
/* The same in two parts: the slot, or SHMD_NO_SLOT, is nobody's for readers; and its byte is free. */
uint32_t shmd_slot_resign(shmd_attachment* a);
void shmd_slot_free(const shmd_attachment* a, uint32_t slot);
/* REQUIRES, both: the slot's byte. */
void shmd_slot_write(shmd_attachment* a, uint32_t slot); /* our entry, a new incarnation */
void shmd_slot_clear(shmd_attachment* a, uint32_t slot); /* pin and entry gone */

/* The second witness, asked when a slot's byte is free: the process that its entry names is seen to live, with the object where
 * it was mapped when the entry was written. So the program that wrote it still runs: a program executed in its place has not
 * mapped it there, and the dead have no memory. false if it cannot be told: another PID namespace, /proc not mounted or not
 * readable (the process of another user, or one that changed its user). */
bool shmd_slot_witness(const shmd_attachment* a, uint32_t slot);
/* The same for an entry as read from an object that is not mapped. `space`: shmd_os_pid_space() */
bool shmd_slot_witness_of(const shmd_slot* entry, uint64_t space, uint64_t inode);

#endif
