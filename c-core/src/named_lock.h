/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named locks: records {name: holder} of a dict that no handle and no key leads to, changed by ordinary commits.
 *
 * Taking, under the writers' lock:  (1) the hidden dict is there, staged if it is the first time (2) the name has no record,
 * or its holder is dead (3) a record that names this holder is staged (4) commit: held.
 * Giving back: (1) the record names this holder (2) its slot of the index is staged to be empty (3) commit: free
 * (4) named_turn moves, and those who wait are woken. (2) appends no record, unlike an erase: it needs no room, so that a lock is
 * given back in a full dict, too. Nobody misses the record: followers pass over the hidden dict, and who lists the locks by
 * a snapshot may miss one that is given back meanwhile.
 * Killed before a commit: nothing happened. After (4) of taking: a dead holder, whose lock the next one takes over by the
 * same steps. Before (4) of giving back: waiters look again when their slice ends.
 *
 * A holder is an incarnation of a slot, and a handle of it. It is dead if the slot's byte is free, or the slot's entry is
 * another incarnation's; doc/concurrency.md argues why that is never said of a living one.
 * Lock discipline: records change under the writers' lock. Nothing is held while waiting.
 */
#ifndef SHMD_NAMED_LOCK_H
#define SHMD_NAMED_LOCK_H

#include "core.h"

/* Whether records of the node `id` are named locks: followers pass over these. The word is set by the commit that appends
 * the first of them: whoever sees that commit published sees it. */
SHMD_INLINE bool shmd_named_hidden(const shmd_attachment* a, uint32_t id) {
  return id != 0 && (uint32_t)shmd_load_acquire(&shmd_control_of(a)->hidden_node) == id;
}

/* Gives back what the handle holds. For shmd_close. 0, or the first error: then some stays held until the process leaves. */
int shmd_named_abandon(shmd_dict* d);

#endif
