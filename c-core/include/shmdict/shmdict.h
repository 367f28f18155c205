/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shmdict: a dictionary in shared memory for every thread of every process on a machine.
 *
 * Promises. Reads take no lock and store nothing. A write that returned is never lost; one that did not return is there
 * whole or not at all. The death of a process or thread, at any instruction, blocks nobody: the next writer repairs and
 * goes on. A dict and all dicts nested in it are one shared object. Bad input gets a named error.
 *
 * Caveats. What cannot be turned into errors: a neighbour with write permission who truncates the object under its users,
 * or makes it lead into its holes while the file system is full (SIGBUS); a cgroup memory limit (SIGKILL); a reader that
 * was stopped within a read while what it looked at was freed and returned, if the file system has not one free page when it
 * goes on (SIGBUS; doc/concurrency.md, "Reclaim"). Everything lives in memory: a reboot ends it.
 *
 * Conventions. Functions return int: 0 done, negative = error (SHMD_ERR_MAP), positive = outcome (SHMD_OUTCOME_MAP).
 * After an error shmd_last_error() tells, for the calling thread, what happened, to which object, and what to do.
 * Keys and values are bytes; sizes are in bytes; times are in nanoseconds.
 *
 * Thread safety. Every function may be called by any thread on one handle at the same time, shmd_close too: calls that other
 * threads are inside of are done or answer CLOSED, and so does every later call on the handle, for ever. But for the
 * functions of one shmd_snapshot, shmd_iter, shmd_view or shmd_follower (one thread at a time each).
 * fork(): a child uses its parent's handles as an attachee of its own; it never holds a lock of the parent's. One that is forked
 * in a callback, or in a transaction, comes back into a call that is its parent's: see shmd_update and shmd_begin.
 * Cancellation (pthread_cancel): a thread is not cancelled within a call, its callbacks included; it is at the next cancellation
 * point after it. The callback of shmd_update alone can be cancelled: nothing changes then, and nothing is held.
 * Asynchronously cancellable threads (PTHREAD_CANCEL_ASYNCHRONOUS) may call shmd_get, shmd_contains, shmd_count and
 * shmd_node_check, and nothing else, as with most functions of the C library.
 * Callbacks may throw, fork and call the library, if not said otherwise: the call that called back then ends, and holds
 * nothing. longjmp out of a callback is noticed by a later call of the thread that comes from further out on its stack, or by
 * the thread's end; until then the call holds what it held.
 * Signal handlers may call shmd_get, shmd_contains, shmd_count, shmd_node_check and shmd_node_open, the calls that write,
 * lock or transact, and shmd_snapshot_open and shmd_view_open with what reads and closes the very thing that they opened.
 * While the interrupted thread is inside a call of its own, those that write, lock or pin get SHMD_ERR_BUSY and change
 * nothing (shmd_snapshot_close and shmd_view_close then leave open what they were given), as do reads that belong to its
 * transaction. Reads of values never wait; all other calls may allocate, so a handler must not interrupt the
 * application's allocator with them. Not in handlers: opening, closing and unlinking dicts, following, and what manage.h
 * declares.
 */
#ifndef SHMDICT_H
#define SHMDICT_H

#include <stddef.h>
#include <stdint.h>

#include "export.h"
#include "version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- results ---------------------------------------------------------------------------------------------------- */

/* Errors: X(code, NAME, "message"). The same list gives the enum, shmd_error_name and shmd_error_message. -10 is not used:
 * sizes and policies are the creator's, and whoever attaches takes them. */
#define SHMD_ERR_MAP(X) \
  X(-1, INVALID_ARGUMENT, "invalid argument") \
  X(-2, INVALID_NAME, "invalid name: use 1 to 200 bytes of UTF-8 without '/' or NUL") \
  X(-3, NAME_TOO_LONG, "name too long: at most 200 bytes") \
  X(-4, NO_SUCH_DICT, "no dict of this name exists") \
  X(-5, ALREADY_EXISTS, "a dict of this name exists already") \
  X(-6, FOREIGN_OBJECT, "the shared object of this name was not made by shmdict") \
  X(-7, INCOMPLETE_OBJECT, "the shared object is truncated or was never completed; unlink it") \
  X(-8, LAYOUT_MISMATCH, "the object has another layout version; use the library that made it, or unlink it") \
  X(-9, TYPE_MISMATCH, "the dict was made with other key or value types") \
  X(-11, PERMISSION_DENIED, "permission denied") \
  X(-12, OTHER_OWNER, "the object belongs to another user; allow other owners in the options") \
  X(-13, NO_SPACE, "no space: the file system or max_size is full; erase keys or unlink dicts") \
  X(-14, TOO_MANY_PROCESSES, "too many attached processes; raise max_processes at creation") \
  X(-15, TOO_MANY_DICTS, "too many nested dicts for this max_size") \
  X(-16, TOO_MANY_COLLISIONS, "too many keys collide: more than the index can part; use other keys") \
  X(-17, KEY_TOO_LONG, "key too long: at most 65535 bytes") \
  X(-18, VALUE_TOO_LONG, "value too long: at most 2 GiB and half of max_size") \
  X(-19, TRANSACTION_TOO_LARGE, "transaction too large: max_size / 256 keys fit into one; split it into several") \
  X(-20, CLOSED, "the handle is closed") \
  X(-21, REMOVED, "the nested dict was erased or replaced") \
  X(-22, READ_ONLY, "the handle is read-only") \
  X(-23, NOT_ATTACHED, "this process could not attach for writing") \
  X(-24, BUSY, "busy: the data kept changing, or a call was interrupted by this one; try again") \
  X(-25, WOULD_DEADLOCK, "waiting would deadlock: this process holds the lock through another copy of the library") \
  X(-26, LOCK_TIMEOUT, "timed out waiting for the lock") \
  X(-27, NOT_LOCKED, "the calling thread does not hold the lock") \
  X(-28, CORRUPT, "the shared object is corrupt; run a check, restore a backup or unlink it") \
  X(-29, SNAPSHOT_TOO_OLD, "the snapshot held more than max_pin_bytes and was revoked; take a new one") \
  X(-30, IS_A_DICT, "the key holds a nested dict, not a value") \
  X(-31, NOT_A_DICT, "the key holds a value, not a nested dict") \
  X(-32, IN_TRANSACTION, "not allowed inside a transaction") \
  X(-33, NO_TRANSACTION, "no transaction is open in the calling thread") \
  X(-34, OUT_OF_MEMORY, "out of memory in this process") \
  X(-35, UNSUPPORTED, "not supported on this system") \
  X(-36, SYSTEM, "a system call failed") \
  X(-37, ABORTED, "the callback asked to stop, or an earlier call failed by half; nothing changed") \
  X(-38, OWNER_ALIVE, "the lock's owner is alive; nothing was taken from it")

/* Outcomes: positive, not failures. */
#define SHMD_OUTCOME_MAP(X) \
  X(1, NOT_FOUND, "not found") \
  X(2, EXISTS, "the key exists already") \
  X(3, RECOVERED, "done, and a dead owner's interrupted write was repaired first") \
  X(4, TIMED_OUT, "timed out") \
  X(5, TRUNCATED, "the buffer is too small; the full size was stored") \
  X(6, END, "no more entries") \
  X(7, CREATED, "done, and created by this call") \
  X(8, KEPT, "left as it was") \
  X(9, RESYNC, "fell behind the history that buffer_size keeps; take a snapshot and go on from its position") \
  X(10, INTERRUPTED, "interrupted by another thread")

enum shmd_result {
  SHMD_OK = 0,
#define SHMD_X(code, name, text) SHMD_ERR_##name = code,
  SHMD_ERR_MAP(SHMD_X)
#undef SHMD_X
#define SHMD_OUTCOME_X(code, name, text) SHMD_##name = code,
      SHMD_OUTCOME_MAP(SHMD_OUTCOME_X)
#undef SHMD_OUTCOME_X
};

/* Details of the calling thread's last failed call. Strings live until the thread's next failing call. */
typedef struct shmd_error_info {
  int code;           /* enum shmd_result */
  int system_error;   /* errno, or 0 */
  int64_t pid;        /* who holds the lock, the pin or the slot that was in the way; 0 = nobody known */
  int64_t thread;     /* system thread id of that holder, 0 = unknown */
  uint64_t held_ns;   /* how long it has held, 0 = unknown */
  uint64_t waited_ns; /* how long the caller waited */
  char program[32];   /* the holder's program name */
  char message[480];  /* one sentence: object, operation, what to do */
} shmd_error_info;

SHMD_API const char* shmd_error_name(int result);      /* "no_space"; "unknown" for unknown codes; never NULL */
SHMD_API const char* shmd_error_message(int result);   /* the generic sentence of the map; never NULL */
SHMD_API const shmd_error_info* shmd_last_error(void); /* never NULL; code 0 if nothing failed yet */

/* ---- versions ------------------------------------------------------------------------------------------------------- */

/* Of the library that runs, which may be another than the headers': SHMDICT_VERSION as text, and the layout it reads. */
SHMD_API const char* shmd_version(void); /* "0.1.0" */
SHMD_API uint32_t shmd_layout_version(void);

/* ---- open, close, unlink ------------------------------------------------------------------------------------------ */

typedef struct shmd_dict shmd_dict; /* a handle: local to the process, inherited by forked children */

/* A dict of the tree. Ids are reused, generations never repeat for an id. {0, 0} is the root; what no call gave out is a
 * removed dict. A plain value; no cleanup. */
typedef struct shmd_node {
  uint32_t id;
  uint32_t generation;
} shmd_node;

enum shmd_open_mode { SHMD_OPEN_OR_CREATE = 0, SHMD_CREATE_ONLY = 1, SHMD_OPEN_ONLY = 2 };

/* When closing unlinks the name. Stored at creation (THIS_CLOSES is a property of the handle). */
enum shmd_unlink_policy {
  SHMD_UNLINK_LAST_CLOSES = 0,    /* when the last attached process closes its last handle (or exits normally) */
  SHMD_UNLINK_CREATOR_CLOSES = 1, /* when the creating process closes */
  SHMD_UNLINK_THIS_CLOSES = 2,    /* when this handle closes */
  SHMD_UNLINK_NEVER = 3
};

enum shmd_open_flags {
  SHMD_READ_ONLY = 1,         /* map PROT_READ; needs read permission only; takes no slot, no lock */
  SHMD_ALLOW_OTHER_OWNER = 2, /* attach to an object that another user owns */
  SHMD_ANONYMOUS = 4, /* a new object without a name: for forked children, and whoever is given its descriptor */
  /* For tools: does not count as a user. The name goes with the last of the others although this handle is open, and
   * closing it removes no name. Opens what exists (SHMD_OPEN_ONLY); its handles and others of the same process are to the
   * lock what two processes are. */
  SHMD_OBSERVER = 8
};

typedef struct shmd_options {
  uint32_t struct_size;    /* set by shmd_options_init */
  uint32_t layout_version; /* set by shmd_options_init: what the caller's headers were compiled with */
  int mode;                /* enum shmd_open_mode */
  int unlink;              /* enum shmd_unlink_policy */
  uint32_t flags;          /* enum shmd_open_flags */
  uint32_t permissions;    /* of a new object, default 0600 */
  /* Only a creator's values count; an attacher takes what the object has. 0 = default. */
  /* bytes reserved (sparse), default 64 GiB; at least 4 MiB. A value larger than half a segment takes whole segments of
   * it (of memory only what it needs): with many of those a dict is full before its memory is max_size. */
  uint64_t max_size;
  uint64_t segment_size;  /* power of two, 64 KiB to 16 MiB, default 256 KiB */
  uint64_t buffer_size;   /* bytes of history kept for followers beside the last commit, default 1 MiB */
  uint64_t max_pin_bytes; /* a snapshot that holds back more is revoked; default: max_size */
  uint32_t max_processes; /* default 256 */
  /* A descriptor of the object to open, -1 = none: it stays the caller's, and is checked like anything that is opened by
   * name. With SHMD_CREATE_ONLY: an empty file (a memfd, say) in which to make a new dict. */
  int fd;
  uint64_t timeout;     /* ns: waits of writes for the lock, default 10 s; of a process its first handle's counts */
  const char* key_type; /* NUL-terminated type names, compared at attach; NULL = not compared ("" stored) */
  const char* value_type;
  /* Called on the creator, before anybody else can see the object; a negative result undoes the creation. If it forks, the
   * parent goes on with the creation, and shmd_open in the child answers ABORTED: open it again there. */
  int (*init)(shmd_dict* d, void* context);
  void* init_context;
} shmd_options;

/* Defaults. Says what the caller was compiled with: shmd_open refuses another layout or size. Other languages call the
 * function themselves, with the size of their own declaration and shmd_layout_version(). */
SHMD_API void shmd_options_init_for(shmd_options* options, size_t struct_size, uint32_t layout_version);
static inline void shmd_options_init(shmd_options* options) {
  shmd_options_init_for(options, sizeof *options, SHMD_LAYOUT_VERSION);
}

/*
 * Opens the dict `name` (UTF-8, 1..200 bytes, no '/'), creating it as options->mode says. *out is set on success.
 * name == NULL: with SHMD_ANONYMOUS a new dict without a name; with options->fd the dict behind that descriptor; else a new
 * dict with a random name (shmd_name tells it).
 * Returns 0 (attached) or SHMD_CREATED. A process may open a name any number of times; its handles share one mapping.
 * NULL options: defaults, for callers that use no inline read path (read.h).
 * Errors: INVALID_NAME, NAME_TOO_LONG, NO_SUCH_DICT, ALREADY_EXISTS, FOREIGN_OBJECT, INCOMPLETE_OBJECT, LAYOUT_MISMATCH,
 * TYPE_MISMATCH, PERMISSION_DENIED, OTHER_OWNER, NO_SPACE, TOO_MANY_PROCESSES, OUT_OF_MEMORY, SYSTEM.
 */
SHMD_API int shmd_open(const char* name, const shmd_options* options, shmd_dict** out);

/* Ends the handle; unlocks what the calling thread holds through it; unlinks as the policy says. NULL is ignored; CLOSED if it
 * is closed already. Other threads may be inside calls on the handle: those that wait are told CLOSED, the others go on to
 * their end. A section that another thread holds through it is given back by that thread's shmd_unlock, shmd_commit
 * (nothing is stored) or shmd_abort, which say CLOSED, or with the last handle. Snapshots, views and followers that are open go
 * on, and keep the dict's memory until they are closed.
 * Within a callback of shmd_update on the same dict it takes effect when that call, the outermost one, returns. */
SHMD_API int shmd_close(shmd_dict* d);

/* Removes the name. Attached processes keep working on the nameless object. NO_SUCH_DICT if there is none.
 * An object that is not shmdict's is refused (FOREIGN_OBJECT); a half-created one is removed. */
SHMD_API int shmd_unlink(const char* name);

/* The same for the object behind a handle: never removes a successor of the same name (NO_SUCH_DICT then). */
SHMD_API int shmd_unlink_this(shmd_dict* d);

SHMD_API const char* shmd_name(
    const shmd_dict* d); /* lives as long as the handle is open; "" if it never had one, or is closed */

static inline shmd_node shmd_root(void) {
  shmd_node root = {0, 0};
  return root;
}

/* ---- values --------------------------------------------------------------------------------------------------------
 * Everywhere: REMOVED if `node` was erased or replaced, CORRUPT if the object makes no sense. Reads never wait. Writes
 * wait for the lock up to options.timeout: LOCK_TIMEOUT (holder in shmd_last_error), WOULD_DEADLOCK, READ_ONLY,
 * NOT_ATTACHED, NO_SPACE (nothing changed), BUSY (from a signal handler). In the thread that has a transaction open on
 * the handle, reads and writes are part of it. */

/* One of them or none. */
enum shmd_put_flags {
  SHMD_INSERT_ONLY = 1, /* EXISTS if the key is there */
  SHMD_REPLACE_ONLY = 2 /* NOT_FOUND if it is not */
};

/* Copies up to `capacity` bytes of the value to `buffer` (may be NULL if that is 0) and stores its full size in *size. 0;
 * SHMD_TRUNCATED if it did not fit (the bytes copied are then unspecified); SHMD_NOT_FOUND. Errors: IS_A_DICT, BUSY
 * (read-only handle, data kept changing). */
SHMD_API int shmd_get(shmd_dict* d, shmd_node node, const void* key, size_t key_size, void* buffer, size_t capacity,
                      size_t* size);

/* 0 a value, SHMD_ERR_IS_A_DICT a nested dict, SHMD_NOT_FOUND. */
SHMD_API int shmd_contains(shmd_dict* d, shmd_node node, const void* key, size_t key_size);

/* Stores a value; what was under the key before (a value or a subtree) is replaced. */
SHMD_API int shmd_put(shmd_dict* d, shmd_node node, const void* key, size_t key_size, const void* value,
                      size_t value_size, uint32_t flags);

/* Stores many values as one commit, under one hold of the lock: all of them or, on any error, none. Costs less for each than
 * shmd_put. Of a key that comes twice the last value stays. In a transaction of the calling thread it is part of that.
 * 0; with flags (as of shmd_put) SHMD_EXISTS or SHMD_NOT_FOUND if there were pairs that these left out. INVALID_ARGUMENT,
 * KEY_TOO_LONG and VALUE_TOO_LONG name the pair by its number, from 0. */
typedef struct shmd_pair {
  const void* key;
  size_t key_size;
  const void* value;
  size_t value_size;
} shmd_pair;
SHMD_API int shmd_put_many(shmd_dict* d, shmd_node node, const shmd_pair* pairs, size_t count, uint32_t flags);

/* Removes a value or a whole subtree. SHMD_NOT_FOUND if there is none. */
SHMD_API int shmd_erase(shmd_dict* d, shmd_node node, const void* key, size_t key_size);

/*
 * Read, modify, write as one step under the lock. `update` gets the present value (old == NULL: absent) and answers:
 *   SHMD_OK store (*value, *value_size);  SHMD_KEPT leave it;  SHMD_NOT_FOUND erase it;  negative: give up, returned as is.
 * Anything else, and a value of some size that is NULL, is INVALID_ARGUMENT: nothing changes.
 * `old` points into shared memory and is valid until the callback returns or makes its first write; *value must stay valid
 * until shmd_update returns. Other calls on the handle are allowed inside. A negative answer of the callback is returned as
 * it is. Returns 0, SHMD_KEPT, SHMD_NOT_FOUND (erase of an absent key), or an error.
 * NOT_LOCKED: the call is not this process's and thread's any more when the callback returns, so nothing changed here: this is a
 * child that was forked in the callback (the call goes on in its parent), or another thread, or the lock was lost.
 */
typedef int (*shmd_update_fn)(void* context, const void* old, size_t old_size, const void** value, size_t* value_size);
SHMD_API int shmd_update(shmd_dict* d, shmd_node node, const void* key, size_t key_size, shmd_update_fn update,
                         void* context);

SHMD_API int shmd_count(shmd_dict* d, shmd_node node, uint64_t* count);

/* Empties a dict. A nested one gets a new id (*fresh, may be NULL); other handles of it get REMOVED. The root stays. */
SHMD_API int shmd_clear(shmd_dict* d, shmd_node node, shmd_node* fresh);

/* ---- nested dicts ------------------------------------------------------------------------------------------------- */

enum shmd_node_flags {
  SHMD_NODE_CREATE = 1, /* create it if the key is absent (SHMD_CREATED) */
  SHMD_NODE_REPLACE = 2 /* put a new empty dict there, whatever was there (SHMD_CREATED) */
};

/* Finds the dict under `key`. flags 0: a read, SHMD_NOT_FOUND or SHMD_ERR_NOT_A_DICT; CREATE fails with NOT_A_DICT on a
 * value. To create several levels and a value in one commit, open a transaction around the calls. */
SHMD_API int shmd_node_open(shmd_dict* d, shmd_node node, const void* key, size_t key_size, uint32_t flags,
                            shmd_node* child);

/* 0 while the dict exists, SHMD_ERR_REMOVED after. */
SHMD_API int shmd_node_check(shmd_dict* d, shmd_node node);

/* ---- lock and transactions ---------------------------------------------------------------------------------------- */

#define SHMD_FOREVER INT64_MAX
#define SHMD_DEFAULT_TIMEOUT (-1) /* options.timeout; any other negative time is INVALID_ARGUMENT */

/* The writers' lock, explicitly, re-entrant per thread. timeout in ns: 0 = try, SHMD_FOREVER, SHMD_DEFAULT_TIMEOUT.
 * 0; SHMD_RECOVERED (taken over from a dead owner); SHMD_TIMED_OUT (holder in shmd_last_error). Readers go on reading. */
SHMD_API int shmd_lock(shmd_dict* d, int64_t timeout);
SHMD_API int shmd_unlock(shmd_dict* d); /* NOT_LOCKED if the calling thread does not hold it */

/* How to wait. */
typedef struct shmd_lock_options {
  uint32_t struct_size; /* set by shmd_lock_options_init */
  int block;            /* default 1; 0 = one try, as with timeout 0 */
  int64_t timeout;      /* ns; default SHMD_DEFAULT_TIMEOUT */
  int64_t sleep_time;   /* ns between tries, more than 40 ms count as 40; default SHMD_UNTIL_WOKEN; 0 = busy wait */
  int steal;            /* default 1: the lock of an owner that died is taken over as soon as that is noticed */
  int steal_after_timeout; /* default 1: at the end of the timeout death is looked for once more. With both 0 a dead owner's
                              lock is left to whoever calls shmd_lock_steal */
} shmd_lock_options;
#define SHMD_UNTIL_WOKEN (-1) /* sleep until the owner unlocks, and look whether it lives every 40 ms */

SHMD_API void shmd_lock_options_init_for(shmd_lock_options* options, size_t struct_size);
static inline void shmd_lock_options_init(shmd_lock_options* options) {
  shmd_lock_options_init_for(options, sizeof *options);
}
/* Results of shmd_lock. options == NULL: defaults. */
SHMD_API int shmd_lock_with(shmd_dict* d, const shmd_lock_options* options);

/*
 * Takes the lock over from its owner if that is process `pid` (0: whichever) and dead, and repairs after it. Then the
 * calling thread holds it: SHMD_RECOVERED. SHMD_NOT_FOUND: nobody holds it, or another process does. Errors:
 * OWNER_ALIVE (named in shmd_last_error; nothing changed), BUSY (another process is taking over just now), CORRUPT.
 */
SHMD_API int shmd_lock_steal(shmd_dict* d, int64_t pid);

typedef struct shmd_lock_info {
  int held;  /* 0 = free */
  int alive; /* the owner's process still exists */
  int by_this_thread;
  uint32_t
      waiters; /* 0 = nobody sleeps until it is free, 1 = somebody may. Stays 1 until the owner unlocks, even if all who
                       waited gave up; an owner that slept for it, or took it over from a dead one, begins with 1 */
  uint32_t slot;
  int64_t pid; /* as the owner sees itself */
  int64_t thread;
  uint64_t held_ns;      /* by the system's monotonic clock; 0 = unknown (locks of single writes) */
  uint64_t since;        /* monotonic clock when it was taken; 0 = unknown */
  uint64_t acquisitions; /* how often the lock was taken, modulo 2^32 */
  char program[32];
} shmd_lock_info;

SHMD_API int shmd_lock_status(shmd_dict* d, shmd_lock_info* info);

/* A transaction: takes the lock (results of shmd_lock; after SHMD_TIMED_OUT none is open); changes of the calling thread
 * stay private until commit makes them visible all at once (to snapshots and followers; single reads may see keys of one
 * commit one after the other, and what it stores in a nested dict before it erases that) or abort forgets them.
 * Size: a commit may change max_size / 256 words of shared state (at least 4096, at most 2^28): one for each value that is
 * replaced, two for each key that is erased, whatever the size of the values; keys that are new hardly count. Beyond,
 * TRANSACTION_TOO_LARGE.
 * Not nestable (IN_TRANSACTION). A failed write inside leaves the transaction open and that write undone, but for want of
 * room or memory (NO_SPACE, TRANSACTION_TOO_LARGE, TOO_MANY_DICTS, TOO_MANY_COLLISIONS, OUT_OF_MEMORY) or CORRUPT: then
 * commit fails with the same error and nothing changed.
 * A child forked inside is not part of it, and its writes and locks of this dict are refused (NO_TRANSACTION) until it has ended
 * the transaction for itself: with shmd_abort (0), shmd_commit (NO_TRANSACTION: nothing was stored), or shmd_close of the handle
 * that began it. Its reads show what is committed. */
SHMD_API int shmd_begin(shmd_dict* d, int64_t timeout);
SHMD_API int shmd_commit(shmd_dict* d);
SHMD_API int shmd_abort(shmd_dict* d);
SHMD_API int shmd_in_transaction(shmd_dict* d); /* 1 if the calling thread has one open, else 0 */

/* For operations made of several writes, which join a transaction that may be open and must not be committed by half: the mark
 * before the first of them (0 outside of transactions), and, if one failed, the mark again. If anything was written since,
 * the transaction can only be aborted: writes and commit answer ABORTED. NO_TRANSACTION. */
SHMD_API uint64_t shmd_transaction_mark(shmd_dict* d);
SHMD_API int shmd_transaction_spoil(shmd_dict* d, uint64_t mark);

/* ---- snapshots, iteration, views ---------------------------------------------------------------------------------- */

typedef struct shmd_snapshot shmd_snapshot;
typedef struct shmd_iter shmd_iter;

/* The whole tree as it was after one commit, blocking nobody. Holds old versions back until closed. On a read-only
 * handle nothing is held back: calls answer BUSY once a writer has committed since. Inside the calling thread's own
 * transaction it shows that transaction's state and must be closed before it ends. Closing the oldest one of all gives back
 * what it alone kept: many short holds of the lock if that is much. What it cannot (inside a section of the calling thread's,
 * or if another one's keeps the lock for over 100 ms) later writes give back. */
SHMD_API int shmd_snapshot_open(shmd_dict* d, shmd_snapshot** out);
SHMD_API void shmd_snapshot_close(shmd_snapshot* s);
SHMD_API uint64_t shmd_snapshot_position(const shmd_snapshot* s); /* log position it shows; 0 of NULL */
SHMD_API int shmd_snapshot_get(shmd_snapshot* s, shmd_node node, const void* key, size_t key_size, void* buffer,
                               size_t capacity, size_t* size);
SHMD_API int shmd_snapshot_node(shmd_snapshot* s, shmd_node node, const void* key, size_t key_size, shmd_node* child);

typedef struct shmd_entry {
  const void* key; /* valid until the next call on the iterator */
  const void* value;
  size_t key_size;
  size_t value_size;
  int is_dict; /* value is then empty and node names the nested dict */
  shmd_node node;
  uint64_t position; /* log position of the write that stored it */
} shmd_entry;

/* Iterates one dict (not into nested ones) in an unspecified order. 0 an entry, SHMD_END. Close iterators before their
 * snapshot. Errors: SNAPSHOT_TOO_OLD, BUSY, CORRUPT, OUT_OF_MEMORY. */
SHMD_API int shmd_iter_open(shmd_snapshot* s, shmd_node node, shmd_iter** out);
SHMD_API int shmd_iter_next(shmd_iter* it, shmd_entry* entry);
SHMD_API void shmd_iter_close(shmd_iter* it);

/* The value in place: pinned, never revoked, until shmd_view_close. Keep it short: it holds memory back, which closing gives
 * back as shmd_snapshot_close does. Not on
 * read-only handles (READ_ONLY), not inside a transaction (IN_TRANSACTION). */
typedef struct shmd_view {
  const void* data;
  size_t size;
  void* pin; /* private */
} shmd_view;
SHMD_API int shmd_view_open(shmd_dict* d, shmd_node node, const void* key, size_t key_size, shmd_view* view);
SHMD_API void shmd_view_close(shmd_dict* d, shmd_view* view);

/* ---- following -----------------------------------------------------------------------------------------------------
 * A follower reads the stream of changes: every change of every dict of the tree, once, in the order of their commits, from a
 * position on. It takes no lock and holds nothing back. The stream reaches back by at least `buffer_size` bytes (an option
 * of the dict's creation) before the last commit; a follower that fell behind gets SHMD_RESYNC: it takes a snapshot and goes
 * on from the snapshot's position, so that nothing is lost or seen twice. Commits are delivered whole or not at all.
 *
 * Thread safety: one thread at a time on a follower, but for shmd_follow_interrupt. A follower may outlive its handle.
 * On a read-only handle nobody can be woken: shmd_follow_wait looks again every 5 ms. */

typedef struct shmd_follower shmd_follower;

enum shmd_change_kind {
  SHMD_CHANGE_PUT = 1,   /* a value was stored; it replaces whatever was under the key, a subtree too */
  SHMD_CHANGE_ERASE = 2, /* a value or a whole subtree was removed */
  SHMD_CHANGE_NODE = 3,  /* an empty nested dict now stands under the key, whatever was there before */
  SHMD_CHANGE_CLEAR = 4  /* the root was emptied: no key */
};

typedef struct shmd_path_part {
  const void* key;
  size_t key_size;
  shmd_node node; /* the dict that the key leads to */
} shmd_path_part;

typedef struct shmd_change {
  int kind;       /* enum shmd_change_kind */
  int first;      /* 1: the first change of its commit */
  int last;       /* 1: the last one; at `next` the next commit begins */
  shmd_node node; /* the dict it happened in; {0, 0}: the root */
  /* Copies, valid until the next call on the follower. */
  const void* key;
  size_t key_size;
  const void* value; /* PUT only */
  size_t value_size;
  shmd_node child;            /* NODE: the new dict */
  uint64_t position;          /* of this change in the stream */
  uint64_t next;              /* where the next one begins; to go on from there later, take that of a `last` change */
  const shmd_path_part* path; /* keys from the root down to `node` */
  size_t path_length;
} shmd_change;

#define SHMD_NOW UINT64_MAX

/* A follower of the changes from `position` on: SHMD_NOW, a snapshot's position, or a change's `next`, of this very dict
 * (positions of another creation of the name mean nothing here). INVALID_ARGUMENT if nothing begins at the position as far as
 * that can be seen; a position that is not in the stream any more is found out by shmd_follow_next. OUT_OF_MEMORY. */
SHMD_API int shmd_follow_open(shmd_dict* d, uint64_t position, shmd_follower** out);
SHMD_API void shmd_follow_close(shmd_follower* f); /* NULL is ignored */

/* 0 and the next change; SHMD_END: nothing new; SHMD_RESYNC: fell behind, until shmd_follow_seek. Changes inside a dict that
 * was removed before the follower came to them may be left out if the follower has not met that dict before: its removal
 * follows in the stream, and all commits from there to the removal come as one. Errors: CORRUPT, OUT_OF_MEMORY, BUSY (try again). After an error the call can be repeated. */
SHMD_API int shmd_follow_next(shmd_follower* f, shmd_change* change);

/* Waits until there is something for shmd_follow_next (which may still say SHMD_END). timeout in ns: 0 = look,
 * SHMD_FOREVER, SHMD_DEFAULT_TIMEOUT. 0, SHMD_TIMED_OUT, SHMD_INTERRUPTED. A commit wakes it within microseconds. */
SHMD_API int shmd_follow_wait(shmd_follower* f, int64_t timeout);
/* From any thread: the present or the next shmd_follow_wait returns SHMD_INTERRUPTED, within 50 ms. */
SHMD_API void shmd_follow_interrupt(shmd_follower* f);

/* A descriptor for poll(2), select and epoll, beside others that a program waits for: the same one each time, open until
 * shmd_follow_close, not to be read, written or closed. Readable (POLLIN, level-triggered) from a commit that the follower
 * has not passed, or an interruption, until shmd_follow_next says SHMD_END or shmd_follow_wait SHMD_TIMED_OUT (with a timeout
 * of 0 it only looks); then not before the next commit. A commit makes it so within microseconds, on a read-only handle within
 * 5 ms, as does shmd_follow_interrupt, and shmd_follow_close before it closes.
 * The first call starts a thread for this follower, which sleeps, with all signals blocked, until shmd_follow_close joins it.
 * A forked child has no such thread: the parent's descriptor says there what it says to the parent, whatever the child does
 * with its follower; calling shmd_follow_fd in the child closes the child's copy and gives a descriptor of its own.
 * A descriptor (0 or greater), or errors: UNSUPPORTED (the system has no such thing), OUT_OF_MEMORY, SYSTEM. */
SHMD_API int shmd_follow_fd(shmd_follower* f);

/* Goes on from another position, as shmd_follow_open. */
SHMD_API int shmd_follow_seek(shmd_follower* f, uint64_t position);
/* Behind the change that shmd_follow_next gave last. */
SHMD_API uint64_t shmd_follow_position(const shmd_follower* f);

/* ---- maintenance -------------------------------------------------------------------------------------------------- */

typedef struct shmd_stats {
  char name[208];
  char key_type[256];
  char value_type[512];
  uint8_t id[16]; /* random id of this creation */
  uint32_t layout_version;
  uint32_t attached; /* processes attached for writing, this one included */
  uint32_t max_processes;
  int unlink;    /* enum shmd_unlink_policy as stored */
  int unlinked;  /* the name no longer leads here */
  int read_only; /* this handle */
  int64_t creator_pid;
  uint64_t max_size, segment_size, buffer_size, max_pin_bytes;
  uint64_t memory;      /* bytes of the object in use, as the file system counts them */
  uint64_t live_bytes;  /* bytes of live records */
  uint64_t index_bytes; /* bytes of index blocks in use */
  uint64_t log_bytes;   /* bytes allocated for log segments in use */
  uint64_t keys;        /* of the root */
  uint64_t nodes;       /* nested dicts, removed ones that wait for their sweep included */
  uint64_t position;    /* log position of the last commit */
  uint64_t commits;
  uint64_t recoveries;     /* dead owners taken over from */
  uint64_t replays;        /* of those, with a committed write to finish */
  uint64_t cleaned_bytes;  /* moved by the cleaner */
  uint64_t punched_bytes;  /* returned to the system */
  uint64_t recycles;       /* reader epochs */
  uint64_t oldest_pin;     /* UINT64_MAX = no pins */
  int64_t oldest_pin_pid;  /* 0 = none */
  uint64_t splits, merges; /* of index arrays */
  uint64_t followers;      /* open in processes attached for writing; read-only handles leave no trace to count */
  uint32_t pinned;         /* processes that hold snapshots or views */
  int followed;            /* somebody sleeps until the next commit */
  /* of this process */
  uint32_t slot;    /* UINT32_MAX = none (read-only) */
  uint32_t handles; /* open on this object */
  uint32_t pins;    /* snapshots and views */
  uint32_t reserved;
  int64_t pid;
} shmd_stats;

SHMD_API int shmd_stat(shmd_dict* d, shmd_stats* stats);

/* Frees what can be freed now: sweeps removed subtrees, cleans sparse segments, returns memory, also that of pages that
 * readers touched after they were returned. Takes the lock in bounded steps. */
SHMD_API int shmd_compact(shmd_dict* d);

/* Asks the system to put the dict's memory, as much of it as is in use now, together in huge pages, for all who have it
 * open: random reads of a large dict become faster by a third and more. Takes about a millisecond for 2 MiB and no lock; call it once after
 * loading. *bytes (may be NULL): how much is in huge pages now, 0 for a dict too small for one.
 * UNSUPPORTED: the system gives none (Linux before 6.1, or `deny` in its settings for shared memory). */
SHMD_API int shmd_huge_pages(shmd_dict* d, uint64_t* bytes);

/* Walks every byte under the lock (a read-only handle: without) and compares index, log, counts, live bytes, free
 * lists and node table. `report` (may be NULL) gets one sentence per finding, when the lock is free again. 0 clean,
 * SHMD_ERR_CORRUPT. */
typedef void (*shmd_report_fn)(void* context, const char* finding);
SHMD_API int shmd_check(shmd_dict* d, shmd_report_fn report, void* context);

#ifdef __cplusplus
}
#endif

#include "manage.h" /* which objects there are, named locks, scans, events, backups */

#endif
