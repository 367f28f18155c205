/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every byte that is shared is declared here, and only here. doc/format.md gives the grammar, a worked example and the
 * table of who writes what under which lock. A change of anything below is a new SHMD_LAYOUT_VERSION.
 *
 * Glossary
 *   object    the shared memory object: fixed regions first, then segments. Offsets count bytes from its start.
 *   segment   segment_size bytes: part of the log, of the cold log (records the cleaner moved), of the index, or free.
 *   run       consecutive segments that hold one large record.
 *   record    one change: {header, key, value}, immutable once its commit is visible.
 *   position  place in the update stream, in bytes since creation, monotonic for ever. Moved records keep theirs.
 *   node      a dict of the tree: an entry of the node table. Entry 0 is the alias of the root.
 *   array     2^k slots of the index; a slot refers to a record. directory: 2^k references to arrays or directories.
 *   pin       a position that a snapshot reads at: nothing that it can see is reused.
 *
 * Invariants (outside a commit's application)
 *   head == head of the last commit; published == head
 *   sum over log, cold and run segments of live == live_bytes
 *   every slot refers to a record whose node and hash lead to that slot's array
 */
#ifndef SHMDICT_LAYOUT_H
#define SHMDICT_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "version.h"

#define SHMD_MAGIC UINT64_C(0x31746369646d6873) /* "shmdict1" in memory order on little-endian machines */
#define SHMD_ABI \
  UINT32_C(0x40080401) /* cache line 64, word 8, offsets in bytes: read back wrong on another endianness */

#define SHMD_LINE 64u
#define SHMD_PAGE 4096u
#define SHMD_CHUNK 65536u /* space is allocated and punched in steps of this size */

#define SHMD_MAX_NAME 200u
#define SHMD_MAX_KEY 65535u
#define SHMD_MAX_VALUE (UINT64_C(1) << 31)

/* ---- superblock: written by the creator before the object is visible, then constant but for `unlinked` ---- */

typedef struct shmd_superblock {
  uint64_t magic;
  uint32_t layout_version;
  uint32_t abi;
  uint64_t id[2]; /* random: tells this creation from every other */
  uint64_t hash_seed;
  uint64_t max_size; /* apparent size of the object */
  uint64_t segment_size;
  uint64_t segment_count;
  uint64_t buffer_size;
  uint64_t max_pin_bytes;
  uint64_t control_offset; /* first control block */
  uint64_t control_stride;
  uint64_t attach_offset;
  uint64_t pins_offset;
  uint64_t redo_offset;
  uint64_t redo_capacity; /* entries */
  uint64_t nodes_offset;
  uint64_t node_capacity;
  uint64_t segments_offset; /* segment table */
  uint64_t data_offset;     /* first segment; a multiple of segment_size */
  uint32_t shard_count;
  uint32_t max_processes;
  uint32_t unlink_policy;
  uint32_t segment_shift;
  uint64_t creator_pid;
  uint64_t creator_start;
  uint64_t ready;    /* 1 once complete (ports that cannot publish whole objects) */
  uint64_t unlinked; /* 1 once the name was removed */
  char name[SHMD_MAX_NAME + 8];
  char key_type[256];
  char value_type[512];
} shmd_superblock;

/* ---- control block of a shard ---- */

#define SHMD_EXTENT_CLASSES 24u /* free extents by log2 of their length in segments */
#define SHMD_BUCKETS 8u         /* closed log segments by liveness in eighths */
#define SHMD_BLOCK_CLASSES 11u  /* index blocks of 32 << class bytes */
#define SHMD_BLOCK_MIN 32u
#define SHMD_NONE UINT64_C(0xffffffff) /* "no segment" and "no node" in links */

typedef struct shmd_control {
  /* line 0: the lock alone. {acquisitions:32 | waiters:1 | explicit:1 | orphaned:1 | unused:13 | slot + 1:16}; low 16 bits
   * 0 = free, 0xffff = its last owner is dead and could not be repaired after. lock.h says more */
  uint64_t lock;
  uint64_t pad0[7];
  /* line 1: what every write changes, together, so that it moves between cores together. The owner reads and writes it; of
   * others those who ask who owns the lock. head, head_..., live_bytes change only through the redo list */
  uint64_t owner_thread;
  uint64_t redo_length; /* of the committed redo list, 0 = none */
  uint64_t head;        /* position of the next record */
  uint64_t head_bias;   /* head + head_bias = its offset (modulo 2^64) */
  uint64_t head_limit;  /* position up to which the head segment is allocated */
  uint64_t head_segment;
  uint64_t live_bytes; /* of records */
  uint64_t commits;    /* a statistic, as the starred ones below */
  /* line 2: what every read looks at; seldom written */
  uint64_t recycle;    /* moves between any free and the first reuse of the freed bytes */
  uint64_t root_node;  /* {generation:32 | id:32} of the present root */
  uint64_t root_index; /* the present root's index: equals its node's `root` word, a step nearer to readers */
  uint64_t floor;      /* pins below it are revoked */
  uint64_t pad2[4];
  /* line 3 */
  uint64_t published; /* position: all commits below it are applied */
  uint64_t pad3[7];
  /* line 4: written by sleepers and by those who wake them */
  uint64_t sleepers;
  uint64_t pad4[7];
  /* line 5: incremented by everybody who takes or drops a pin */
  uint64_t pin_version;
  uint64_t pad5[7];
  /* line 6: of explicitly locked sections; written by their owner */
  uint64_t owner_since; /* ns of the monotonic clock, 0 = not recorded */
  uint64_t inner;       /* odd while a call writes inside an explicitly locked section */
  uint64_t pad6[6];
  /* lines 7...: only the lock owner reads and writes; all but the starred words change only through the redo list */
  uint64_t log_bytes;   /* allocated for log, cold and run segments in use */
  uint64_t index_bytes; /* index blocks in use */
  uint64_t work;        /* not 0: a write has cleaning, sweeping or punching to do */

  uint64_t cold_at; /* offset of the next moved record, 0 = no cold segment open */
  uint64_t cold_segment;
  uint64_t victim;       /* segment being cleaned, SHMD_NONE */
  uint64_t victim_at;    /* offset of the next record to look at */
  uint64_t history_tail; /* oldest segment of the log chain */
  uint64_t frontier;     /* segments never used start here */
  uint64_t freed_head;   /* queue of freed segments, in order of position */
  uint64_t freed_tail;
  uint64_t freed_count;
  uint64_t warm_head; /* free single segments that keep their memory */
  uint64_t warm_count;
  uint64_t reserve;     /* first of the segments with memory kept for erasing and cleaning, SHMD_NONE */
  uint64_t block_stamp; /* recycle counter when an index block was last freed */
  uint64_t node_frontier;
  uint64_t node_free_head; /* queue of swept nodes */
  uint64_t node_free_tail;
  uint64_t node_count; /* nodes in use, root included */
  uint64_t sweep_head; /* queue of removed nodes */
  uint64_t sweep_tail;
  uint64_t sweep_count;
  uint64_t ghost_head; /* queue of ERASE records that slots refer to because a pin was held, by position; 0 = empty */
  uint64_t ghost_tail;
  uint64_t ghost_position;               /* of the first */
  uint64_t extents[SHMD_EXTENT_CLASSES]; /* doubly linked lists of free extents, first segment */
  uint64_t buckets[SHMD_BUCKETS];
  uint64_t block_lists[SHMD_BLOCK_CLASSES][2]; /* index segments with free blocks: [0] at least half used, [1] less */
  uint64_t block_segments[SHMD_BLOCK_CLASSES]; /* index segments of the class */
  uint64_t blocks_used[SHMD_BLOCK_CLASSES];
  uint64_t compact_segment[SHMD_BLOCK_CLASSES]; /* index segment being emptied, SHMD_NONE */
  /* * direct words: hints and statistics, right or conservative after any crash */
  uint64_t nodes_allocated;    /* * bytes of the node table that have memory */
  uint64_t segments_allocated; /* * bytes of the segment table that have memory */
  uint64_t redo_allocated;     /* * bytes of the redo list that have memory */
  uint64_t pin_seen;           /* * pin_version at the last scan */
  uint64_t pin_oldest;         /* * oldest pin then */
  uint64_t recoveries;         /* * */
  uint64_t replays;            /* * */
  uint64_t cleaned_bytes;      /* * */
  uint64_t splits;             /* * */
  uint64_t merges;             /* * */
  uint64_t punched_bytes;      /* * */
  uint64_t hidden_node;  /* {generation:32 | id:32} of the dict that keeps the named locks, 0 = none was ever taken */
  uint64_t incarnations; /* * counts attachments; incremented by whoever takes a slot. 0: restored, and none since */
  uint64_t pad7[2];
  /* a line of its own: written only by those who give a named lock back, waited on by those who want one */
  uint64_t named_turn; /* counts these */
  uint64_t pad8[7];
} shmd_control;

/* ---- attach table: a slot per attached process. Who holds the slot's byte lock owns the slot ---- */

typedef struct shmd_slot {
  uint64_t pid;        /* as the process sees itself */
  uint64_t start_time; /* clock ticks after boot, from the system; 0 = unknown */
  char program[32];
  uint64_t followers;   /* open in the process, for display */
  uint64_t pid_space;   /* which PID namespace `pid` counts in, 0 = unknown */
  uint64_t incarnation; /* from control.incarnations: which of the slot's owners, never twice the same */
  uint64_t attached_at; /* ns of the monotonic clock, for display */
  uint64_t mapped_at;   /* where the process has the object in its memory; 0 = unknown */
  uint64_t pad[5];
} shmd_slot;

/* Pins stand apart, eight to a line, so that a scan is short: UINT64_MAX = none. The low bit of a pin marks it as not
 * revocable (positions are multiples of 8). */

/* ---- redo list: {offset | flags, new absolute value} ---- */

typedef struct shmd_redo_entry {
  uint64_t where; /* offset of a word, and the pass in which it is applied: SHMD_REDO_... or 0, the first */
  uint64_t value;
} shmd_redo_entry;
#define SHMD_REDO_PUBLISH UINT64_C(1) /* the second: readers may follow it */
#define SHMD_REDO_RETIRE UINT64_C(2)  /* the third: marks of removed dicts */
#define SHMD_REDO_FLAGS UINT64_C(7)

/* ---- node table ---- */

typedef struct shmd_node_entry {
  uint64_t root;     /* index reference, 0 = empty */
  uint64_t identity; /* {generation:32 | state:32} */
  uint64_t parent;   /* {generation:32 | id:32} of the dict that holds it; the root's is 0 */
  uint64_t count;    /* keys */
  uint64_t self;     /* offset of the record that names it in its parent, 0 for the root */
  uint64_t next;     /* in the sweep or the free queue */
  uint64_t freed_at; /* position */
  uint64_t sweep; /* of a removed one: hash prefix (32 bits) of the next array to sweep, beyond them = all is swept */
} shmd_node_entry;
enum { SHMD_NODE_FREE = 0, SHMD_NODE_LIVE = 1, SHMD_NODE_SWEEPING = 2 };

/* ---- segment table ---- */

typedef struct shmd_segment {
  uint64_t kind; /* {run length or block class:32 | enum shmd_segment_kind:32} */
  uint64_t live; /* bytes of live records, or blocks in use */
  uint64_t used; /* bytes holding records once closed; in an index segment: where the search for a free block starts */
  uint64_t position;  /* log: of its first record. freed: where it was freed */
  uint64_t links;     /* {previous:32 | next:32} in a bucket, extent or block list */
  uint64_t next;      /* in log order, or in the freed queue, or the warm list */
  uint64_t pinned;    /* position of the last death in it while a pin was held, 0 = none */
  uint64_t allocated; /* bytes that have memory; stored after giving it, before taking it (not by redo) */
} shmd_segment;
enum shmd_segment_kind {
  SHMD_SEG_VIRGIN = 0, /* beyond the frontier */
  SHMD_SEG_EXTENT = 1, /* in a free extent (kind's high half: its length, at its first and last segment) */
  SHMD_SEG_FREED = 2,  /* in the freed queue */
  SHMD_SEG_WARM = 3,
  SHMD_SEG_RESERVE = 4,
  SHMD_SEG_LOG = 5,    /* in the log chain: within history, or the head */
  SHMD_SEG_CLOSED = 6, /* in a bucket: out of history, some records live */
  SHMD_SEG_COLD = 7,   /* the open cold segment (a full one becomes CLOSED) */
  SHMD_SEG_VICTIM = 8, /* being cleaned, in no list */
  SHMD_SEG_RUN = 9,    /* first of a run, out of history; while within history it is LOG with a length > 1 */
  SHMD_SEG_BODY = 10,  /* others of a run */
  SHMD_SEG_INDEX = 11  /* index blocks of one class */
};

/* Index segment: [block descriptors][free bitmap, 1 = used][blocks]. */
typedef struct shmd_block {
  uint64_t owner; /* {hash prefix:32 | node id:32}: walking the node's index along the prefix leads to the block */
  uint64_t
      state; /* {live:16 | used slots:16 | depth:8 | log2 of its length:8 | kind:8}; a directory's live and used are 0 */
} shmd_block;

/* ---- records ---- */

/* 24 bytes, then [previous version's offset: 8, if PREVIOUS], [expiry: 8, if EXPIRY], key padded to 8, value padded to 8.
 * What a read looks at stands together: shape, key, value. */
typedef struct shmd_record {
  uint64_t stamp; /* {position / 8 : 56 | 0:7 | FIRST:1} */
  uint64_t where; /* {hash32:32 | node id:32} */
  uint64_t shape; /* {value size:32 | 0:8 | flags and kind:8 | key size:16}: what a read expects, in one comparison */
} shmd_record;
enum shmd_record_kind { SHMD_REC_PUT = 1, SHMD_REC_ERASE = 2, SHMD_REC_NODE = 3, SHMD_REC_CLEAR = 4 };
enum shmd_record_flags { SHMD_REC_KIND = 0x0f, SHMD_REC_PREVIOUS = 0x20, SHMD_REC_EXPIRY = 0x40 };
#define SHMD_REC_FIRST UINT64_C(1) /* of the stamp */
#define SHMD_SHAPE(key_size, kind, value_size) \
  (((uint64_t)(value_size) << 32) | ((uint64_t)(kind) << 16) | (uint64_t)(key_size))
#define SHMD_SHAPE_KEY(shape) ((uint32_t)(shape)&0xffffu)
#define SHMD_SHAPE_KIND(shape) ((uint32_t)(shape) >> 16 & 0xffu) /* and flags */
/* An ERASE record that a slot refers to (a ghost) has a value of 8 bytes: the offset of the next ghost; it is the only word
 * of a record that changes after its commit, and only writers read it. */
/* A NODE record's value is {generation:32 | node id:32}; so is a CLEAR record's (root cleared: the new root). */

/* A record of the hidden dict: the key is SHMD_LOCK_NAME and the lock's name, or SHMD_LOCK_KEY, the node ({generation:32 |
 * id:32}) and the key; the value says who holds it. */
enum shmd_named_kind { SHMD_LOCK_NAME = 'n', SHMD_LOCK_KEY = 'k', SHMD_LOCK_DIGEST = 'd' };
typedef struct shmd_named_holder {
  uint64_t slot; /* of the holder's process, and which of its owners: */
  uint64_t incarnation;
  uint64_t pid;    /* for messages */
  uint64_t handle; /* of that process, never 0 */
  uint64_t thread; /* that took it; for messages, and for finding that it waits for itself */
  uint64_t since;  /* ns of the monotonic clock */
  char program[32];
} shmd_named_holder;

/* ---- index references and slots ---- */

/* Reference: {words - 1:16 | offset:43, a multiple of 32 | shift:5}; 0 = none. An array has shift 0: `hash & (words - 1)`,
 * rounded down to a multiple of SHMD_GROUP, is where a probe starts. In a directory `(hash32 >> shift) & (words - 1)` is the
 * way on, so shift is 32 less the hash bits that are used up by then: a reader computes nothing that depends on depth.
 * Slot: {tag:16 | offset of the record:48}. */
enum shmd_ref_kind { SHMD_REF_NONE = 0, SHMD_REF_ARRAY = 1, SHMD_REF_DIRECTORY = 2 };
#define SHMD_OFFSET_MASK ((UINT64_C(1) << 48) - 1)
#define SHMD_WORD_MASK (SHMD_OFFSET_MASK & ~UINT64_C(7)) /* an offset that is a multiple of 8, whatever was stored */
#define SHMD_SLOT_EMPTY UINT64_C(0)
#define SHMD_SLOT_TOMBSTONE UINT64_C(1)
#define SHMD_GROUP 8u /* slots that are looked at together: one cache line */
#define SHMD_ARRAY_MIN_LOG2 3u
#define SHMD_ARRAY_LOG2 9u           /* arrays double up to this, then split */
#define SHMD_ARRAY_OVERFLOW_LOG2 12u /* keys that no more hash bits can part */
#define SHMD_DIRECTORY_LOG2 12u
#define SHMD_MAX_DEPTH 23u /* hash bits that lead to an array: the top ones of hash32; its low ones start the probe */

#define SHMD_PROBE_START(hash) ((hash) & ~(uint64_t)(SHMD_GROUP - 1))

#define SHMD_REF_SHIFT(r) ((uint32_t)(r)&31u)
#define SHMD_REF_MASK(r) ((uint32_t)((r) >> 48))
#define SHMD_REF_OFFSET(r) ((r)&SHMD_OFFSET_MASK & ~UINT64_C(31))
#define SHMD_REF_KIND(r) ((r) == 0 ? SHMD_REF_NONE : SHMD_REF_SHIFT(r) != 0 ? SHMD_REF_DIRECTORY : SHMD_REF_ARRAY)
#define SHMD_REF_OF_ARRAY(log2, offset) ((((UINT64_C(1) << (log2)) - 1) << 48) | (offset))
#define SHMD_REF_OF_DIRECTORY(log2, depth, offset) (SHMD_REF_OF_ARRAY(log2, offset) | (32u - (depth) - (log2)))
#define SHMD_SLOT(hash, offset) (((hash)&UINT64_C(0xffff000000000000)) | (offset))

/* log2 of the words that a reference claims: bits set in its mask, at most 16 whatever was stored. */
static inline uint32_t shmd_ref_log2(uint64_t ref) {
  uint32_t m = SHMD_REF_MASK(ref);
  m -= (m >> 1) & 0x5555u;
  m = (m & 0x3333u) + ((m >> 2) & 0x3333u);
  m = (m + (m >> 4)) & 0x0f0fu;
  return (m + (m >> 8)) & 0x1fu;
}

#define SHMD_PAD8(n) (((uint64_t)(n) + 7u) & ~UINT64_C(7))

/* Integer keys of 8 bytes, and with ~seed those of 4, hash with two multiplications (Knuth, The Art of Computer Programming,
 * 6.4) and their bytes reversed between: the first carries each bit upwards, the second what is then below. A bijection, so
 * distinct keys never share all 64 bits. doc/performance.md says what was measured of it. */
static inline uint64_t shmd_reverse_bytes(uint64_t x) { /* one instruction where the processor has it */
  x = (x & UINT64_C(0x00ff00ff00ff00ff)) << 8 | (x >> 8 & UINT64_C(0x00ff00ff00ff00ff));
  x = (x & UINT64_C(0x0000ffff0000ffff)) << 16 | (x >> 16 & UINT64_C(0x0000ffff0000ffff));
  return x << 32 | x >> 32;
}
static inline uint64_t shmd_hash_u64(uint64_t seed, uint64_t key) {
  return shmd_reverse_bytes((key ^ seed) * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xd6e8feb86659fd93);
}

#define SHMD_CONTROL_OFFSET SHMD_PAGE /* of shard 0's control block */

/* ---- the layout, asserted ---- */
#if defined(__cplusplus)
#define SHMD_ASSERT_LAYOUT(cond) static_assert(cond, "shared layout moved")
#else
#define SHMD_ASSERT_LAYOUT(cond) _Static_assert(cond, "shared layout moved")
#endif
SHMD_ASSERT_LAYOUT(offsetof(shmd_superblock, layout_version) == 8);
SHMD_ASSERT_LAYOUT(offsetof(shmd_superblock, id) == 16);
SHMD_ASSERT_LAYOUT(offsetof(shmd_superblock, hash_seed) == 32);
SHMD_ASSERT_LAYOUT(offsetof(shmd_superblock, max_size) == 40);
SHMD_ASSERT_LAYOUT(offsetof(shmd_superblock, data_offset) == 152);
SHMD_ASSERT_LAYOUT(offsetof(shmd_superblock, shard_count) == 160);
SHMD_ASSERT_LAYOUT(offsetof(shmd_superblock, unlinked) == 200);
SHMD_ASSERT_LAYOUT(offsetof(shmd_superblock, name) == 208);
SHMD_ASSERT_LAYOUT(sizeof(shmd_superblock) == 1184);
SHMD_ASSERT_LAYOUT(sizeof(shmd_superblock) <= SHMD_PAGE);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, owner_thread) == 64);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, redo_length) == 72);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, head) == 80);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, commits) == 120);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, recycle) == 128);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, published) == 192);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, sleepers) == 256);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, pin_version) == 320);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, owner_since) == 384);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, extents) == 656);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, buckets) == 848);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, block_lists) == 912);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, nodes_allocated) == 1352);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, hidden_node) == 1440);
SHMD_ASSERT_LAYOUT(offsetof(shmd_control, named_turn) == 1472);
SHMD_ASSERT_LAYOUT(sizeof(shmd_control) == 1536);
SHMD_ASSERT_LAYOUT(sizeof(shmd_control) <= SHMD_PAGE);
SHMD_ASSERT_LAYOUT(sizeof(shmd_slot) == 128);
SHMD_ASSERT_LAYOUT(sizeof(shmd_redo_entry) == 16);
SHMD_ASSERT_LAYOUT(sizeof(shmd_node_entry) == 64);
SHMD_ASSERT_LAYOUT(sizeof(shmd_segment) == 64);
SHMD_ASSERT_LAYOUT(sizeof(shmd_block) == 16);
SHMD_ASSERT_LAYOUT(sizeof(shmd_record) == 24);
SHMD_ASSERT_LAYOUT(sizeof(shmd_named_holder) == 80);

#endif
