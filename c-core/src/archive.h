/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a backup: a stream of blocks that is written and read from front to back, in doc/backup-format.md.
 *
 *   prelude | head block | entries block ... | end block
 *   block = checksum:8 size:4 kind:4 payload
 *
 * A block's checksum covers its place in the stream and which backup it is of, so that a block which is damaged, missing,
 * doubled, moved, or from another backup is noticed when it is read. The end block has totals, so that a stream which stops
 * early is noticed. This module knows blocks and the head; backup.c and restore.c know entries.
 *
 * Numbers are little-endian on all machines. Nothing depends on the layout of shared memory.
 * Does not seek, and reads nothing behind the end block. Thread safety: one thread at a time on each stream.
 */
#ifndef SHMD_ARCHIVE_H
#define SHMD_ARCHIVE_H

#include "core.h"

#define SHMD_ARCHIVE_VERSION 1u
#define SHMD_ARCHIVE_PAYLOAD 65536u /* bytes of a block's payload, at most */
#define SHMD_ARCHIVE_BLOCK_HEAD 16u

/* Kinds of entries. With 0x80 and the flag 1 of the prelude a deadline is to come before the key; reserved. */
enum shmd_archive_entry {
  SHMD_ARCHIVE_VALUE = 1, /* key size:2 value size:4 key value */
  SHMD_ARCHIVE_DICT = 2,  /* key size:2 key: a nested dict; its entries come later */
  SHMD_ARCHIVE_NEXT = 3   /* what follows is in the dict named last of those whose entries have not come yet */
};

/* What a backup says of its dict before the entries. */
typedef struct shmd_archive_head {
  uint64_t id; /* random, of this backup */
  uint64_t max_size, segment_size, buffer_size, max_pin_bytes;
  uint32_t max_processes, unlink;
  uint64_t created;          /* ns since 1970 by the system's clock */
  uint64_t keys, live_bytes; /* of the root, of all records: as the figures stood when it began */
  char name[208], key_type[256], value_type[512];
} shmd_archive_head;

typedef struct shmd_archive_totals {
  uint64_t values, dicts, bytes; /* nested dicts; bytes of keys and values */
} shmd_archive_totals;

/* ---- writing ---- */

typedef struct shmd_archive_out {
  shmd_write_fn write;
  void* context;
  uint64_t seed; /* of the next block's checksum */
  size_t used;   /* of the payload that is being filled */
  shmd_archive_totals totals;
  unsigned char block[SHMD_ARCHIVE_BLOCK_HEAD + SHMD_ARCHIVE_PAYLOAD];
} shmd_archive_out;

/* 0, or what `write` answered. */
int shmd_archive_begin(shmd_archive_out* out, const shmd_archive_head* head, shmd_write_fn write, void* context);
int shmd_archive_put(shmd_archive_out* out, const void* bytes, size_t size); /* of entries */
int shmd_archive_end(shmd_archive_out* out);                                 /* with out->totals */

/* ---- reading ---- */

typedef struct shmd_archive_in {
  shmd_read_fn read;
  void* context;
  char said[216];    /* "the backup 'path'" without the first word, or "backup" */
  const char* path;  /* NULL if it is not known */
  uint64_t position; /* bytes read */
  uint64_t seed;
  size_t at, size; /* in the payload: what is still to be taken */
  bool ended;
  shmd_archive_totals totals; /* counted by who takes the entries, compared at the end */
  unsigned char block[SHMD_ARCHIVE_BLOCK_HEAD + SHMD_ARCHIVE_PAYLOAD];
} shmd_archive_in;

/* `path`: for messages, and may be NULL. Reads the head. 0; FOREIGN_OBJECT, INCOMPLETE_OBJECT, LAYOUT_MISMATCH, CORRUPT; or
 * what `read` answered below 0. */
int shmd_archive_open(shmd_archive_in* in, const char* path, shmd_read_fn read, void* context, shmd_archive_head* head);
/* Exactly `size` bytes of entries to `to`, which may be NULL to pass over them. */
int shmd_archive_take(shmd_archive_in* in, void* to, size_t size);
/* 1: an entry follows. 0: there are no more, and the totals are as the end says. Or an error as above. */
int shmd_archive_more(shmd_archive_in* in);
/* 0: nothing comes behind the end. REQUIRES: shmd_archive_more() said 0, and more may be read. */
int shmd_archive_nothing_left(shmd_archive_in* in);
/* CORRUPT: what is wrong, of what was taken last. */
int shmd_archive_damaged(const shmd_archive_in* in, const char* what);

#endif
