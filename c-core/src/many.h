/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many puts as one call and one commit (shmd_put_many).
 *
 * One hold of the lock, and the keys are staged together (batch.h).
 *
 * A long batch is a transaction of pieces: who wants a snapshot waits until no call is under way, and so for a piece at most.
 * Crash points: none of its own, all is one redo list.
 */
#ifndef SHMD_MANY_H
#define SHMD_MANY_H

#include "dict.h"

#define SHMD_MANY_PIECE UINT64_C(65536) /* keys */

int shmd_many_put(shmd_attachment* a, shmd_node node, const shmd_pair* pairs, uint64_t count, uint32_t flags);

#endif
