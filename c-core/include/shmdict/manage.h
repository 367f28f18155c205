/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Round the dict: which objects there are and who uses them, named locks, scans, events, backups. Part of shmdict.h,
 * which says conventions and thread safety; include that.
 */
#ifndef SHMDICT_MANAGE_H
#define SHMDICT_MANAGE_H

#include "shmdict.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- names -------------------------------------------------------------------------------------------------------- */

#define SHMD_RANDOM_NAME \
  21u /* bytes of a random name with its NUL; with the port's prefix within macOS's 31 characters */

/* Stores a name that nobody can guess (100 random bits, letters and digits). SYSTEM if there are no random numbers. */
SHMD_API int shmd_random_name(char buffer[SHMD_RANDOM_NAME]);

/* The descriptor behind a handle, for handing the object to another process (SCM_RIGHTS, or dup() and exec: it closes on
 * exec itself); options.fd opens it there. It belongs to the handle: do not close it. -1 if d is NULL, or if the program has
 * closed it. */
SHMD_API int shmd_native_fd(const shmd_dict* d);

/* ---- all objects -------------------------------------------------------------------------------------------------- */

typedef struct shmd_object_info {
  char name[208];
  int result; /* 0; else why only name, user, and memory are known: PERMISSION_DENIED, FOREIGN_OBJECT, INCOMPLETE_OBJECT,
                 LAYOUT_MISMATCH (layout_version is known), CORRUPT, SYSTEM */
  int orphaned;  /* 1: its unlink policy asks for removal, and nobody who has it open lives; 0 also of one that
                              shmd_restore made and nobody has attached to for writing since */
  int present;   /* 1: somebody has it open, read-only handles included */
  int unlink;    /* enum shmd_unlink_policy as stored */
  uint32_t user; /* numeric id of its owner, UINT32_MAX = unknown */
  uint32_t layout_version; /* 0 = unknown */
  uint32_t attached;       /* processes attached for writing */
  uint32_t max_processes;
  int64_t creator_pid;
  uint64_t memory;   /* bytes in use, as the file system counts them */
  uint64_t max_size; /* bytes reserved */
  uint64_t keys;     /* of the root */
  uint8_t id[16];    /* random id of this creation */
  shmd_lock_info lock;
  char key_type[256];
  char value_type[512];
} shmd_object_info;

/*
 * Calls `found` for each object on this system that has a name of ours, in no order. A look from outside: it attaches to
 * nothing, takes no slot or lock, keeps nothing alive, and reads figures without waiting for writers, so that they may
 * belong to neighbouring moments. What `found` answers other than 0 ends the list and is returned. It may call the library.
 * Errors: UNSUPPORTED (the system cannot list), SYSTEM, OUT_OF_MEMORY.
 */
typedef int (*shmd_list_fn)(void* context, const shmd_object_info* object);
SHMD_API int shmd_list(shmd_list_fn found, void* context);

typedef struct shmd_process_info {
  uint32_t slot;
  int this_process;
  int64_t pid;          /* as it sees itself */
  uint64_t start_time;  /* clock ticks after boot, 0 = unknown */
  uint64_t pid_space;   /* which PID namespace the pid counts in, 0 = unknown */
  uint64_t attached_ns; /* how long ago it attached */
  uint64_t pin;         /* oldest position that its snapshots and views hold, UINT64_MAX = none */
  char program[32];
} shmd_process_info;

/* The processes that are attached for writing. Results as of shmd_list. */
typedef int (*shmd_process_fn)(void* context, const shmd_process_info* process);
SHMD_API int shmd_processes(shmd_dict* d, shmd_process_fn found, void* context);

/* ---- named locks ---------------------------------------------------------------------------------------------------
 * Locks of the application, kept in the dict but apart from its keys: no get, count, iteration, snapshot, clear or follower
 * sees them. Dicts and their lock stay usable by all while one is held.
 *
 * The holder is the handle that locked, whichever thread; two handles of one process exclude each other, and a second
 * lock through the same handle waits, too. Any thread may unlock through the handle; closing it unlocks. A thread that ends
 * unlocks nothing. When the holder's process dies, the next one to lock is told (SHMD_RECOVERED), within 50 ms and the
 * time that the kernel takes to end it. A forked child holds nothing of its parent's.
 * Names: 1 to 65000 bytes. Not inside a transaction (IN_TRANSACTION); not on read-only handles (READ_ONLY). */

/* timeout in ns: 0 = try, SHMD_FOREVER, SHMD_DEFAULT_TIMEOUT. 0; SHMD_RECOVERED: its last holder died with it;
 * SHMD_TIMED_OUT (holder in shmd_last_error). Errors: WOULD_DEADLOCK (this thread locked it through this handle, or waits
 * for it while it holds the dict's lock), NO_SPACE, KEY_TOO_LONG, and those of a write. */
SHMD_API int shmd_named_lock(shmd_dict* d, const char* name, int64_t timeout);
/* Never NO_SPACE: giving back needs no room. NOT_LOCKED if this handle does not hold it. Errors: those of the writers' lock
 * (LOCK_TIMEOUT: still held). */
SHMD_API int shmd_named_unlock(shmd_dict* d, const char* name);

/* The same for a key of a dict, as a namespace of their own: what get_or_compute uses. The key need not exist. */
SHMD_API int shmd_key_lock(shmd_dict* d, shmd_node node, const void* key, size_t key_size, int64_t timeout);
SHMD_API int shmd_key_unlock(shmd_dict* d, shmd_node node, const void* key, size_t key_size);

typedef struct shmd_named_lock_info {
  const void* name; /* of a named lock: its bytes; of a key's lock: the key (or a digest of a very long one) */
  size_t name_size; /* valid during the call */
  int is_key;
  shmd_node node;  /* of a key's lock */
  int alive;       /* its holder lives; else the next one takes it over */
  int this_handle; /* held through the handle asked */
  int64_t pid;
  int64_t thread; /* that locked it */
  uint64_t held_ns;
  char program[32];
} shmd_named_lock_info;

/* All named locks that are held, or were by the dead. Results as of shmd_list. */
typedef int (*shmd_named_lock_fn)(void* context, const shmd_named_lock_info* lock);
SHMD_API int shmd_named_locks(shmd_dict* d, shmd_named_lock_fn found, void* context);

/* ---- scan ---------------------------------------------------------------------------------------------------------- */

/*
 * Goes through a dict's entries whose keys begin with a prefix, a bounded portion at a time. *cursor is 0 to begin with and
 * again after the last portion; in between it may be kept, handed to another process, and used after any change of the
 * dict. A key that is there from the first portion to the last is given once; one that comes or goes meanwhile, at most once.
 * `limit`: how many entries to look at, at least 1 (a few more, if their hashes are equal), whether they match or not.
 * The entries of a portion are of one snapshot, which `found` gets for going into nested dicts; it may call the library.
 * Another answer than 0 ends the portion and is returned; *cursor is then where that entry comes again.
 * 0: there may be more; SHMD_END: done. Errors: those of snapshots, INVALID_ARGUMENT (no cursor of ours).
 */
typedef int (*shmd_scan_fn)(void* context, shmd_snapshot* snapshot, const shmd_entry* entry);
SHMD_API int shmd_scan(shmd_dict* d, shmd_node node, uint64_t* cursor, const void* prefix, size_t prefix_size,
                       size_t limit, shmd_scan_fn found, void* context);

/* ---- events -------------------------------------------------------------------------------------------------------- */

enum shmd_event_kind {
  SHMD_EVENT_TOOK_OVER = 1, /* a lock was taken over from a holder that died: pid, program; name: of a named lock */
  SHMD_EVENT_RECOVERED = 2, /* after the death of a lock owner its write was looked after; see `finished` */
  SHMD_EVENT_RESYNC = 3     /* a follower of this process fell behind buffer_size and must begin from a snapshot */
};
typedef struct shmd_event {
  int kind;
  int finished;      /* RECOVERED: 1 = a write had been committed and was completed, 0 = nothing was left half done */
  int64_t pid;       /* of the dead, as it saw itself; 0 = unknown */
  uint64_t position; /* log position when it happened */
  char program[32];
  char name[64]; /* of a named lock, its first bytes; else "" */
} shmd_event;

/*
 * Calls `hook` for what happens to this process's use of the dict. It is called by the thread that it happened to, before
 * that thread's call returns, without any lock held: it may call the library, but not close handles. If it throws, so does
 * that call, which is done all the same. One hook per handle, NULL for none; on return the old one is not running in another thread, and will not be called again.
 */
typedef void (*shmd_event_fn)(void* context, const shmd_event* event);
SHMD_API int shmd_set_event_hook(shmd_dict* d, shmd_event_fn hook, void* context);

/* ---- backup -------------------------------------------------------------------------------------------------------- */

/*
 * Writes all of the dict, as one snapshot shows it, to a file at `path`: an object of its own with the same types and
 * sizes, holding live data only (sparse: its length is max_size). Writers are not blocked. The file takes its place whole
 * or not at all, whoever dies, and is on the disk when the call returns; a regular file that was there is replaced (the one
 * that a symbolic link leads to), anything else stays. A backup can be opened by descriptor (options.fd), read-only, and
 * checked. Named locks are not part of it.
 * Errors: SNAPSHOT_TOO_OLD (writers overtook it by max_pin_bytes), NO_SPACE, FOREIGN_OBJECT (no regular file is there),
 * PERMISSION_DENIED, SYSTEM (also file systems without fallocate), IN_TRANSACTION.
 */
SHMD_API int shmd_backup(shmd_dict* d, const char* path);

/*
 * Makes a new dict `name` (NULL: a random one) from the backup at `path`: visible whole or not at all. The file is checked
 * first. options (NULL: defaults): sizes that are 0 and types come from the file, types that are given must be equal; mode,
 * init and fd are not used. *out may be NULL: then the dict stays, open nowhere, until somebody opens and closes it,
 * or unlinks it. Returns SHMD_CREATED.
 * Errors: ALREADY_EXISTS, FOREIGN_OBJECT, INCOMPLETE_OBJECT (truncated), LAYOUT_MISMATCH, CORRUPT, TYPE_MISMATCH, NO_SPACE,
 * PERMISSION_DENIED, SYSTEM (no such file).
 */
SHMD_API int shmd_restore(const char* path, const char* name, const shmd_options* options, shmd_dict** out);

#ifdef __cplusplus
}
#endif

#endif
