/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node table: one entry per dict of the tree.
 *
 *   free ─new▶ LIVE ─remove▶ SWEEPING (generation + 1: handles and descendants' handles get REMOVED) ─swept▶ free queue ─▶
 *
 * A removed node keeps its index until the sweep has been through it, so that snapshots older than the removal read on.
 * An id is reused when the sweep is done, every pin is younger than its removal and it has left history.
 * The root has no record that names it: its entry keeps in `self` the position at which it became the root, in `parent`
 * the id of the root before it, so that snapshots find the root of their time.
 * Lock discipline: the shard's lock; every change is staged.
 */
#ifndef SHMD_NODE_H
#define SHMD_NODE_H

#include "redo.h"

enum {
  SHMD_WORK_CLEAN = 1,
  SHMD_WORK_SWEEP = 2,
  SHMD_WORK_SETTLE = 4,
  SHMD_WORK_BLOCKS = 8,
  SHMD_WORK_RESERVE = 16,
  SHMD_WORK_GHOSTS = 32,
  SHMD_WORK_HISTORY = 64, /* a step of shmd_reclaim_urgent only */
  SHMD_WORK_AGE = 128     /* a step that is taken when it is due: not a bit of `work` */
};
SHMD_INLINE void shmd_work(shmd_tx* t, uint64_t bit) {
  const uint64_t work = SHMD_GET_C(t, work);
  if (!(work & bit)) SHMD_SET_C(t, work, work | bit);
}

int shmd_node_format(shmd_tx* t);
/* A new, empty dict. NO_SPACE, TOO_MANY_DICTS. */
int shmd_node_new(shmd_tx* t, uint64_t parent, uint64_t self, shmd_node* node);
/* Takes a dict and all below it out of use; the sweep frees what it held. */
void shmd_node_remove(shmd_tx* t, uint32_t id);
/* Swept: the id goes to the free queue. */
void shmd_node_release(shmd_tx* t, uint32_t id);
/* Follows a handle as this commit will leave the tree: 0 and the id; REMOVED, CORRUPT. */
int shmd_node_resolve(shmd_tx* t, shmd_node node, uint32_t* id);
/* After a commit that was aborted: no later dict gets the generation that its handles carry. */
void shmd_node_forget(shmd_attachment* a, const shmd_redo_entry* list, uint64_t count);
/* What children of `id` store as their parent. */
uint64_t shmd_node_word(shmd_tx* t, uint32_t id);

#endif
