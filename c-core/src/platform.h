/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port's specification: what the core needs from an operating system. One platform_*.c implements all of it.
 *
 * All functions are thread-safe. Errors are negative errno values unless said otherwise. Names are the user's names: the
 * port adds its own prefix ("/dev/shm/shmdict.<name>" on Linux) so that ours are recognisable in a listing.
 * None of the functions used on the way to and from the lock is a cancellation point.
 * Descriptors are never 0, 1 or 2, even where the program has closed those: its next message would go into the object.
 */
#ifndef SHMD_PLATFORM_H
#define SHMD_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct shmd_file_info {
  uint64_t size, device, inode, blocks_bytes; /* blocks_bytes: memory in use */
  uint32_t owner;
  uint32_t links; /* 0 = the name is gone */
  bool regular;   /* a plain file: anything else under one of our names is not ours */
} shmd_file_info;

/* ---- objects ---- */
int shmd_os_create_unnamed(const char* name, uint32_t permissions); /* fd of an object without a name yet */
int shmd_os_publish(int fd, const char* name);                      /* gives it its name; -EEXIST */
void shmd_os_discard(int fd);                                       /* closes an object that was not published */
void shmd_os_stay_unnamed(int fd); /* one that will not be published: only who has a descriptor or mapping has it */
int shmd_os_open(const char* name, bool writable); /* fd; -ENOENT, -EACCES, ... */
int shmd_os_reopen(int fd, bool writable);         /* a new open file description of the same object */
/* The same by what is mapped at `base`, if the system lets us: no descriptor is needed. -ENOSYS, -EPERM, ... */
int shmd_os_reopen_mapping(const unsigned char* base, uint64_t size, bool writable);
int shmd_os_unlink(const char* name);
int shmd_os_info(int fd, shmd_file_info* info);
int shmd_os_name_info(const char* name, shmd_file_info* info);
int shmd_os_resize(int fd, uint64_t size);
int shmd_os_read(int fd, uint64_t offset, void* buffer, size_t size); /* bytes read, for looking before mapping */
void shmd_os_close(int fd);
int shmd_os_duplicate(int fd); /* another descriptor of the same open file description */
/* Calls found(context, name) for each object that has a name, in no order; an answer other than 0 ends it and is returned.
 * -ENOSYS: the system cannot list. */
int shmd_os_list(int (*found)(void* context, const char* name), void* context);
/* For messages: where the object of a name lives ("/dev/shm/shmdict.NAME"). */
void shmd_os_place_of(const char* name, char* buffer, size_t size);
/* Whether there is a place for objects: 0, -ENOENT, ... */
int shmd_os_place_check(void);
/* What somebody can do about an error of the functions on objects, if the system's state accounts for it: that its place is
 * missing, read-only, full, ...: one sentence without a full stop. Else "". */
void shmd_os_advice(int error, char* buffer, size_t size);

/* ---- ordinary files: backups ---- */
/* A new file that takes its place at a path whole or not at all: begin, write through `fd`, finish or abandon. Killed
 * before finish returns: the path leads to what it led to, or to the whole new file. */
typedef struct shmd_os_file {
  int fd;
  int directory;
  char temporary[80]; /* its name in the directory meanwhile, "" if it needs none */
  const char* base;   /* last part of the path: the caller keeps that alive */
  char* resolved;     /* what the path's symbolic links lead to, if it is one */
} shmd_os_file;
/* -EEXIST: something is there that is no regular file. */
int shmd_os_file_begin(const char* path, uint32_t permissions, shmd_os_file* file);
int shmd_os_file_write(int fd, const void* bytes, size_t size); /* all of it; -EFBIG: beyond a limit of file sizes */
int shmd_os_file_finish(shmd_os_file* file);                    /* on the disk, then in its place; closes */
void shmd_os_file_abandon(shmd_os_file* file);
int shmd_os_file_open(const char* path); /* for reading; a descriptor that may be anything but is not waited for */
int shmd_os_file_read(int fd, void* bytes, size_t size); /* what comes next: bytes read, 0 at the end */

/* Maps the whole object once: no swap reservation, not locked even under mlockall(MCL_FUTURE), not in core dumps. */
int shmd_os_map(int fd, uint64_t size, bool writable, unsigned char** base);
void shmd_os_unmap(unsigned char* base, uint64_t size);
/* Puts private memory where an object is mapped, in one step for each of two parts, without a moment in which nothing is
 * mapped: `filled` bytes (whole pages) that can be written, all of them `byte`, then zeros that can be read and take no
 * memory. If it fails, part of the object may still be mapped. */
int shmd_os_replace(unsigned char* base, uint64_t size, int byte, uint64_t filled);

/* ---- private memory, in whole pages ---- */
void* shmd_os_pages(size_t size);                   /* zeros; takes memory where it is touched. NULL: there is none */
void shmd_os_pages_empty(void* pages, size_t size); /* zeros again, and takes no memory */
void shmd_os_pages_free(void* pages, size_t size);
uint64_t shmd_os_address_space(void); /* how many bytes of addresses this process may have; UINT64_MAX = no limit */
uint64_t shmd_os_huge_page(void);     /* bytes; 0 = the system has none for shared memory */
int shmd_os_make_huge(unsigned char* at, uint64_t size);      /* REQUIRES: both multiples of it, all of it has memory */
int shmd_os_allocate(int fd, uint64_t offset, uint64_t size); /* -ENOSPC instead of a SIGBUS later */
int shmd_os_punch(int fd, uint64_t offset, uint64_t size);
/* Bytes of the object's file system: of those that this user may have, how many are free. Both UINT64_MAX: no limit. */
int shmd_os_room(int fd, uint64_t* available, uint64_t* total);
/* The same for what is mapped at `at`, without a descriptor. -ENOSYS or -EINVAL: not here, or not while it is locked. */
int shmd_os_allocate_mapping(unsigned char* at, uint64_t size);
int shmd_os_punch_mapping(unsigned char* at, uint64_t size);

/* ---- byte locks on an open file description: released by the kernel when its last descriptor closes ---- */
int shmd_os_byte_try_lock(int fd, uint64_t byte, bool exclusive); /* 0, -EAGAIN */
int shmd_os_byte_unlock(int fd, uint64_t byte);
int shmd_os_byte_held(int fd, uint64_t first, uint64_t count); /* 1 if another description holds any, 0, or error */
/* The same with locks that belong to this process, whatever description it asks through; they conflict with those above.
 * They are lost when the process closes any descriptor of the file, and are not inherited by forked children. */
int shmd_os_process_try_lock(int fd, uint64_t byte, bool exclusive);
int shmd_os_process_unlock(int fd, uint64_t byte);
int shmd_os_process_held(int fd, uint64_t first, uint64_t count); /* by a description, ours too, or another process */

/* A mark tells a description that we made from whatever else its number may lead to by now: a program may close
 * descriptors that it does not know, and get the numbers for its own files. It lasts as long as the description. */
typedef struct shmd_mark {
  uint64_t device, inode;
  uint64_t byte; /* 0: the system has no such locks, and device and inode have to do */
} shmd_mark;
int shmd_os_mark(int fd, shmd_mark* mark);
bool shmd_os_marked(int fd, const shmd_mark* mark); /* whether the number leads to the description so marked */

/* ---- waiting on the low half of a shared 64-bit word, across processes ---- */
/* Returns when woken, when the low 32 bits are not `expected`, or after `timeout` ns. Spurious returns are allowed. */
void shmd_os_wait(const uint64_t* word, uint32_t expected, uint64_t timeout);
void shmd_os_wake(const uint64_t* word, int count);

/* ---- a descriptor that poll(2) waits for; readable while it is set, however often it was ---- */
int shmd_os_event_open(void); /* never blocks, closed by exec; -ENOSYS: the system has none */
void shmd_os_event_set(int fd);
void shmd_os_event_clear(int fd);

/* ---- processes, threads, time ---- */
uint64_t shmd_os_pid(void);
uint64_t shmd_os_thread(void);     /* system thread id, cached per thread, right after fork() too */
uint64_t shmd_os_start_time(void); /* of this process; 0 = unknown, and then equal to no other */
uint64_t shmd_os_pid_space(void);  /* which pid namespace its pid belongs to; 0 = unknown, equal to no other */
/* Whether the process `pid` of this process's pid namespace, begun at `start`, has a mapping of the file `inode` that
 * begins at `address`: what a program executed in its place has not. 1, 0; negative: it cannot be told. */
int shmd_os_process_maps(uint64_t pid, uint64_t start, uint64_t address, uint64_t inode);
bool shmd_os_thread_lives(uint64_t thread); /* a thread of this process */
void shmd_os_program(char* buffer, size_t size);
/* Whether both places are on the stack that the system gave the calling thread, and this is not a signal handler on another
 * one. False if that cannot be told. */
bool shmd_os_own_stack(const char* here, const char* there);
uint64_t shmd_os_now(void);        /* monotonic ns */
uint64_t shmd_os_now_coarse(void); /* the same clock, behind by some milliseconds at most, and cheap: for display */
void shmd_os_sleep(uint64_t ns);
int shmd_os_random(void* buffer, size_t size);
uint32_t shmd_os_user(void);
void shmd_os_error_text(int error, char* buffer, size_t size); /* of an errno value */

/* A private page that reads as zero in a child after fork(), whoever called it. NULL if the system has none. */
uint64_t* shmd_os_fork_detector(void); /* one per process; the caller stores something else than zero */
void shmd_os_forked(void);             /* in a forked child: forget what was cached of the parent */
/* One function, called with false when the process exits normally, after its atexit handlers and static destructors; with
 * true when the library is unloaded (part of a plugin): no other thread is in it, destructors of the plugin may follow. */
void shmd_os_at_exit(void (*function)(bool unloaded));

/* For tests: take the ways that are meant for systems that lack something. SHMD_OS_PORTABLE_WAIT is also set by the
 * environment variable SHMDICT_PORTABLE_WAIT. */
enum shmd_os_force { SHMD_OS_NO_UNNAMED = 1, SHMD_OS_PORTABLE_WAIT = 2 };
extern unsigned shmd_os_forced;

#endif
