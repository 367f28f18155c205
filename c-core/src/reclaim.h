/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reclaim: bounded steps that later writes take for earlier ones, each a commit of its own.
 *
 *   ghosts  ERASE records that slots still refer to although the pins they were kept for are gone
 *   sweep   a removed dict: one array per step, its records dead, its children queued, its blocks freed
 *   clean   the sparsest closed log segment: live records move to the cold log, then the segment is free
 *   blocks  a sparse index segment: its blocks move to fuller ones
 *   settle  freed segments become warm, or are punched chunk by chunk and joined to extents
 *
 * Pacing. Cleaning runs while log_bytes > 1.375 live_bytes + buffer_size + 4 segments, and then looks at 4 bytes for every
 * byte appended. Let u be the liveness of the victim, the sparsest segment: u <= live_bytes / log_bytes. Looking at x
 * bytes frees (1 - u) x. At log_bytes = 1.5 live_bytes, u <= 2/3, and 4 bytes looked at free at least 4/3 > 1: the log
 * shrinks faster than it is appended to, so log_bytes stays below 1.5 live_bytes + buffer_size + 4 segments. The later
 * it begins, the sparser its victims: from 1.25 on it would move nearly twice as many records for each that is written.
 * Bytes that erasing makes dead count as appended, for they lower the bound.
 * A write calls once its process has appended SHMD_STEP_BYTES since the last step: one commit pays for many writes; a
 * large write takes a step for every SHMD_STEP_MAX of its bytes.
 *
 * What a pin keeps is not reclaimed; all of it may be at once when the pin is gone, and pacing by appended bytes alone would
 * take as long as it took to keep it. So whoever closes a snapshot or view that was the oldest pin catches up
 * (shmd_dict_catch_up): unit by unit, each in a hold of the lock of its own, until nothing is left. Where nobody closes it (the
 * holder was killed, or the pin revoked; it was closed inside a section, or the lock was not to be had), writers find out
 * that reclaim is behind; then each single write takes a step of four chunks of SHMD_CHUNK and some hundred ghosts.
 *
 * Crash points: none of its own; each step is one redo list.
 */
#ifndef SHMD_RECLAIM_H
#define SHMD_RECLAIM_H

#include "redo.h"

#define SHMD_STEP_BYTES 2048u
#define SHMD_STEP_MAX 16384u /* bytes that one step answers for */
/* Reclaim is behind when it could give back more than these, beside what it keeps for pacing: */
#define SHMD_BEHIND_GHOSTS (UINT64_C(1) << 20) /* bytes of the log since the first ghost was left */
#define SHMD_BEHIND_FREED (UINT64_C(1) << 20)  /* bytes of the freed queue, and two segments */

/* After a commit that made work, outside transactions, under the lock. `recent`: at least the bytes of that commit. True if
 * something was done and reclaim is still far behind: the next write is to take a step, too, however few bytes it appends. */
bool shmd_reclaim_step(shmd_attachment* a, uint64_t appended, uint64_t recent);
/* Shrinks the arrays that the last commit made sparse. */
void shmd_reclaim_shrink(shmd_attachment* a);
/* When there is no room: reclaims for as long as that brings something, up to a bound. True if it is worth a retry. `now`:
 * gives memory back that may serve as it is, if the size fits, and that late readers may still look at: for the last tries. */
bool shmd_reclaim_urgent(shmd_attachment* a, bool now);
/* One unit of everything that can be done now, for compact: false when nothing is left to do. */
bool shmd_reclaim_compact(shmd_attachment* a);

/* What removing dicts left to do for the one who removed them: work in proportion to what the sweep found. */
typedef struct shmd_removal {
  uint64_t swept; /* arrays; as many blocks of the index may be moved afterwards */
  uint64_t bytes; /* the cleaner may look at, four for each that the sweep found dead */
  uint64_t units; /* that may follow the sweep: others who write all the time must not keep the caller for ever */
} shmd_removal;
/* One unit: sweeps first, and cleans only behind the sweep, or it would move records that are about to die. Nothing is
 * appended meanwhile, so memory does not grow. False when nothing is left to do. */
bool shmd_reclaim_removed(shmd_attachment* a, shmd_removal* removal);
/* Whether more waits to be given back than writes leave behind each other: what a pin kept that is gone. A guess, from words
 * that may be read without the lock. */
bool shmd_reclaim_behind(const shmd_attachment* a);
/* One unit of all that may wait behind a pin, for whoever dropped it. False when nothing is left to do. */
bool shmd_reclaim_catch_up(shmd_attachment* a);
/* Names the holder of the oldest pin in the calling thread's last error. */
void shmd_reclaim_blame(shmd_attachment* a);
/* Is the holder of the oldest pin dead, or beyond max_pin_bytes? Then the pin counts no more. Looks once for each segment
 * appended, unless `now`. */
void shmd_reclaim_look_at_pins(shmd_attachment* a, bool now);
/* Whether the log has grown beyond what pacing allows (called when a log segment is closed). */
bool shmd_reclaim_due(shmd_tx* t);
/* Whether a class of index blocks is sparse enough to be compacted. */
bool shmd_reclaim_blocks_due(shmd_tx* t, uint32_t class_);

#endif
