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
uint32_t shmd_slot_clear(shmd_attachment* a);
void shmd_slot_free(const shmd_attachment* a, uint32_t slot);

#endif
