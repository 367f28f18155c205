/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts as parts of a commit of many: those of a transaction, and of shmd_put_many().
 *
 * Such a commit changes a few words again and again (the head, the bytes that are live, counts): shmd_hot (redo.h) keeps
 * their entries of the redo list at hand. A put then appends its record, adds to those entries, and stages one word of its
 * own, the slot; the slot of an array that this commit built is stored at once, as index.h says.
 * Anything unusual (a full segment, a full array, a nested dict, a tombstone to use again) is declined before anything was
 * done.
 *
 * Steps and crash points: those of a staged write (dict.h). Lock discipline: the shard's lock.
 */
#ifndef SHMD_BATCH_H
#define SHMD_BATCH_H

#include "dict.h"

#define SHMD_BATCH_DECLINED INT32_MIN /* go the general way */

/* Stages the put of a key into the dict `id`, which is there (shmd_node_resolve). 0, SHMD_EXISTS, SHMD_NOT_FOUND (flags as of shmd_put), DECLINED, or the
 * commit's error. */
int shmd_batch_put(shmd_tx* t, uint32_t id, const shmd_key* key, const void* value, size_t size, uint32_t flags);

/* The same for many, in groups: look-ups first, so that the cache lines that one waits for come while the others are worked
 * on. 0, SHMD_EXISTS or SHMD_NOT_FOUND if the flags left any out, or an error: then what was staged must be forgotten. */
int shmd_batch_put_all(shmd_tx* t, uint32_t id, const shmd_pair* pairs, uint64_t count, uint32_t flags);

#endif
