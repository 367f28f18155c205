/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the log by position, without the lock: what followers build on. doc/concurrency.md, "Followers", has the argument.
 *
 *   history_tail ─▶ segment ─▶ ... ─▶ head segment: positions are contiguous along `next`
 *
 * A record is read, its bytes are copied by the caller, and then believed if the segment is still in history
 * (shmd_stream_holds): nobody overwrites a segment before it has left. Every word is read once and checked against the
 * bounds of its segment; walks are bounded by the number of segments, whatever the chain says.
 * Not here: commits, paths, waiting.
 */
#ifndef SHMD_STREAM_H
#define SHMD_STREAM_H

#include "core.h"

typedef struct shmd_stream {
  const shmd_attachment* a;
  uint64_t segment;  /* where the last record was, SHMD_NONE */
  uint64_t position; /* of its first record */
} shmd_stream;

typedef struct shmd_stream_record {
  shmd_record_view v;
  bool first; /* of its commit */
} shmd_stream_record;

void shmd_stream_init(shmd_stream* s, const shmd_attachment* a);
/* The record at `at`. REQUIRES: at < published, a value of control.published. 0, SHMD_RESYNC (not in history any more),
 * SHMD_ERR_CORRUPT, SHMD_ERR_BUSY (overtaken too often); no message is stored. */
int shmd_stream_read(shmd_stream* s, uint64_t at, uint64_t published, shmd_stream_record* r);
/* Whether what was copied of the last record read is to be believed; false: SHMD_RESYNC. True if none was read yet. */
bool shmd_stream_holds(const shmd_stream* s);

#endif
