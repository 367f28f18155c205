/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port to Linux (3.17 and later: open-file-description locks, O_TMPFILE on tmpfs, hole punching).
 *
 * Objects are files of /dev/shm. What Linux does not promise: a neighbour who truncates the object under us makes us
 * fault (SIGBUS); a fork() that goes round libc (a raw clone) leaves the child with a copy of our liveness descriptor
 * until it calls us, executes a program or ends; without /proc objects are built under a temporary name, which a crash of
 * the creator leaves behind until the next creation (platform_linux_temporary.c).
 */
#define _GNU_SOURCE
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "platform_linux.h"
#include "shmdict/atomics.h"

#define PREFIX "shmdict."

#define NS_PER_S UINT64_C(1000000000)

unsigned shmd_os_forced;

/* ---- objects ---- */

static void object_path(const char* name, char* path) {
  (void)snprintf(path, SHMD_LINUX_PATH, SHMD_LINUX_DIRECTORY "/" PREFIX "%s", name);
}

int shmd_os_create_unnamed(const char* name, uint32_t permissions) {
  int fd = -1;
  (void)name;
  if ((shmd_os_forced & SHMD_OS_NO_UNNAMED) == 0) {
    char path[SHMD_LINUX_PROC];
    fd = shmd_linux_open(SHMD_LINUX_DIRECTORY, O_TMPFILE | O_RDWR, permissions);
    if (fd < 0 && fd != -EOPNOTSUPP && fd != -EISDIR && fd != -ENOENT && fd != -EINVAL) return fd;
    if (fd >= 0 && !shmd_linux_descriptor_path(fd, path)) { /* there would be no way to give it its name */
      shmd_os_close(fd);
      fd = -1;
    }
  }
  if (fd < 0) fd = shmd_linux_temporary_create(permissions);
  if (fd < 0) return fd;
  if (fchmod(fd, (mode_t)permissions) != 0) { /* what was asked for, whatever the umask */
    const int error = -errno;
    shmd_os_discard(fd);
    return error;
  }
  return fd;
}

int shmd_os_publish(int fd, const char* name) {
  char from[SHMD_LINUX_PATH], to[SHMD_LINUX_PATH], own[SHMD_LINUX_PROC];
  struct stat s;
  object_path(name, to);
  if (fstat(fd, &s) != 0) return -errno;
  if (s.st_nlink == 0) {
    if (!shmd_linux_descriptor_path(fd, own)) return -ENOENT;
    return linkat(AT_FDCWD, own, AT_FDCWD, to, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
  }
  shmd_linux_temporary_path(fd, from);
  if (link(from, to) != 0) return -errno;
  (void)unlink(from);
  return 0;
}

void shmd_os_stay_unnamed(int fd) {
  struct stat by_fd, by_path;
  char path[SHMD_LINUX_PATH];
  shmd_linux_temporary_path(fd, path);
  if (fstat(fd, &by_fd) == 0 && by_fd.st_nlink != 0 && lstat(path, &by_path) == 0 && by_path.st_ino == by_fd.st_ino &&
      by_path.st_dev == by_fd.st_dev)
    (void)unlink(path);
}

void shmd_os_discard(int fd) {
  if (fd < 0) return;
  shmd_os_stay_unnamed(fd);
  shmd_os_close(fd);
}

int shmd_os_open(const char* name, bool writable) {
  char path[SHMD_LINUX_PATH];
  object_path(name, path);
  return shmd_linux_open(path, (writable ? O_RDWR : O_RDONLY) | SHMD_LINUX_OPEN, 0);
}

static bool same_file(int fd, int other) {
  struct stat a, b;
  return fstat(fd, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Without /proc an object that has no name yet has a temporary one. */
int shmd_os_reopen(int fd, bool writable) {
  const int flags = writable ? O_RDWR : O_RDONLY;
  char own[SHMD_LINUX_PROC], path[SHMD_LINUX_PATH];
  int again;
  if (shmd_linux_descriptor_path(fd, own)) return shmd_linux_open(own, flags, 0);
  shmd_linux_temporary_path(fd, path);
  again = shmd_linux_open(path, flags | SHMD_LINUX_OPEN, 0);
  if (again < 0 || same_file(fd, again)) return again;
  shmd_os_close(again);
  return -ENOENT;
}

/* Only for those with CAP_CHECKPOINT_RESTORE, and while the kernel has not split the mapping. */
int shmd_os_reopen_mapping(const unsigned char* base, uint64_t size, bool writable) {
  char path[SHMD_LINUX_PROC + 32];
  (void)snprintf(path, sizeof path, "/proc/self/map_files/%llx-%llx", (unsigned long long)(uintptr_t)base,
                 (unsigned long long)(uintptr_t)base + (unsigned long long)size);
  return shmd_linux_open(path, writable ? O_RDWR : O_RDONLY, 0);
}

int shmd_os_unlink(const char* name) {
  char path[SHMD_LINUX_PATH];
  object_path(name, path);
  return unlink(path) == 0 ? 0 : -errno;
}

static void convert_info(const struct stat* s, shmd_file_info* info) {
  info->regular = S_ISREG(s->st_mode);
  info->size = (uint64_t)s->st_size;
  info->device = (uint64_t)s->st_dev;
  info->inode = (uint64_t)s->st_ino;
  info->blocks_bytes = (uint64_t)s->st_blocks * 512;
  info->owner = (uint32_t)s->st_uid;
  info->links = (uint32_t)s->st_nlink;
}

int shmd_os_info(int fd, shmd_file_info* info) {
  struct stat s;
  if (fstat(fd, &s) != 0) return -errno;
  convert_info(&s, info);
  return 0;
}

int shmd_os_name_info(const char* name, shmd_file_info* info) {
  char path[SHMD_LINUX_PATH];
  struct stat s;
  object_path(name, path);
  if (lstat(path, &s) != 0) return -errno;
  convert_info(&s, info);
  return 0;
}

int shmd_os_resize(int fd, uint64_t size) {
  struct rlimit limit; /* beyond it the kernel sends SIGXFSZ, which ends who does not expect it */
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur) return -EFBIG;
  while (ftruncate(fd, (off_t)size) != 0)
    if (errno != EINTR) return -errno;
  return 0;
}

int shmd_os_read(int fd, uint64_t offset, void* buffer, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(fd, (char*)buffer + done, size - done, (off_t)(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) break;
    done += (size_t)n;
  }
  return (int)done;
}

/* Through the system call: the library's function is a cancellation point. */
void shmd_os_close(int fd) {
  if (fd >= 0) (void)syscall(SYS_close, fd);
}

#define HUGE_PAGE ((size_t)2 << 20)

int shmd_os_map(int fd, uint64_t size, bool writable, unsigned char** base) {
  /* Address and offset must agree within a huge page, or the kernel cannot use one: the place is reserved first, larger.
   * Under mlockall(MCL_FUTURE) a readable mapping would be filled at once: the whole reserve. So all is mapped without
   * access, unlocked, and only then opened. */
  const size_t length = (size_t)size, reserve = length + HUGE_PAGE;
  char *p, *at;
  int error = 0;
  p = (char*)mmap(NULL, reserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return -errno;
  at = p + (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
  if (mmap(at, length, PROT_NONE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) == MAP_FAILED) error = -errno;
  if (error == 0) {
    (void)munlock(at, length);
    if (mprotect(at, length, writable ? PROT_READ | PROT_WRITE : PROT_READ) != 0) error = -errno;
  }
  if (error != 0) {
    (void)munmap(p, reserve);
    return error;
  }
  if (at != p) (void)munmap(p, (size_t)(at - p));
  if (at + length != p + reserve) (void)munmap(at + length, (size_t)(p + reserve - (at + length)));
  (void)madvise(at, length, MADV_DONTDUMP);
  *base = (unsigned char*)at;
  return 0;
}

uint64_t shmd_os_huge_page(void) { return HUGE_PAGE; }

#if !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25 /* since Linux 6.1; older ones answer EINVAL */
#endif
int shmd_os_make_huge(unsigned char* at, uint64_t size) {
  return madvise(at, (size_t)size, MADV_COLLAPSE) == 0 ? 0 : -errno;
}

void shmd_os_unmap(unsigned char* base, uint64_t size) { (void)munmap(base, (size_t)size); }

/* Through the system call: the library's function is a cancellation point, and these run under the lock. */
static int change_space(int fd, int mode, uint64_t offset, uint64_t size) {
  while (syscall(SYS_fallocate, fd, mode, (off_t)offset, (off_t)size) != 0)
    if (errno != EINTR) return -errno;
  return 0;
}

int shmd_os_allocate(int fd, uint64_t offset, uint64_t size) {
  return change_space(fd, FALLOC_FL_KEEP_SIZE, offset, size);
}

int shmd_os_punch(int fd, uint64_t offset, uint64_t size) {
  return change_space(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, size);
}

int shmd_os_room(int fd, uint64_t* available, uint64_t* total) {
  struct statfs s;
  while (fstatfs(fd, &s) != 0)
    if (errno != EINTR) return -errno;
  *available = s.f_blocks != 0 ? (uint64_t)s.f_bavail * (uint64_t)s.f_bsize : UINT64_MAX; /* tmpfs of size=0 */
  *total = s.f_blocks != 0 ? (uint64_t)s.f_blocks * (uint64_t)s.f_bsize : UINT64_MAX;
  return 0;
}

#if !defined(MADV_POPULATE_WRITE)
#define MADV_POPULATE_WRITE 23 /* since Linux 5.14; older ones answer EINVAL */
#endif
int shmd_os_allocate_mapping(unsigned char* at, uint64_t size) {
  while (madvise(at, (size_t)size, MADV_POPULATE_WRITE) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    return errno == EFAULT ? -ENOSPC : -errno; /* EFAULT: a touch would have been SIGBUS */
  }
  return 0;
}

int shmd_os_punch_mapping(unsigned char* at, uint64_t size) {
  while (madvise(at, (size_t)size, MADV_REMOVE) != 0)
    if (errno != EINTR && errno != EAGAIN) return -errno;
  return 0;
}

/* ---- byte locks ---- */

static int byte_lock(int fd, int command, short type, uint64_t first, uint64_t count, struct flock* lock) {
  memset(lock, 0, sizeof *lock); /* l_pid must be 0 */
  lock->l_type = type;
  lock->l_whence = SEEK_SET;
  lock->l_start = (off_t)first;
  lock->l_len = (off_t)count;
  while (fcntl(fd, command, lock) != 0)
    if (errno != EINTR) return -errno;
  return 0;
}

int shmd_os_byte_try_lock(int fd, uint64_t byte, bool exclusive) {
  struct flock lock;
  const int result = byte_lock(fd, F_OFD_SETLK, exclusive ? F_WRLCK : F_RDLCK, byte, 1, &lock);
  return result == -EACCES ? -EAGAIN : result;
}

int shmd_os_byte_unlock(int fd, uint64_t byte) {
  struct flock lock;
  return byte_lock(fd, F_OFD_SETLK, F_UNLCK, byte, 1, &lock);
}

int shmd_os_byte_held(int fd, uint64_t first, uint64_t count) {
  struct flock lock;
  const int result = byte_lock(fd, F_OFD_GETLK, F_WRLCK, first, count, &lock);
  if (result != 0) return result;
  return lock.l_type != F_UNLCK;
}

int shmd_os_process_try_lock(int fd, uint64_t byte, bool exclusive) {
  struct flock lock;
  const int result = byte_lock(fd, F_SETLK, exclusive ? F_WRLCK : F_RDLCK, byte, 1, &lock);
  return result == -EACCES ? -EAGAIN : result;
}

int shmd_os_process_unlock(int fd, uint64_t byte) {
  struct flock lock;
  return byte_lock(fd, F_SETLK, F_UNLCK, byte, 1, &lock);
}

int shmd_os_process_held(int fd, uint64_t first, uint64_t count) {
  struct flock lock;
  const int result = byte_lock(fd, F_GETLK, F_WRLCK, first, count, &lock);
  if (result != 0) return result;
  return lock.l_type != F_UNLCK;
}

/* ---- marks ---- */

#define MARKS (UINT64_C(1) << 62) /* marks are bytes from here on; attach.h's bytes lie below */

/* A mark is a byte that nobody else locks, held shared through the description. Asked through it, the kernel says that no
 * other description holds the byte; asked for the process, that a description does. Through any other description of the file
 * both answers are "held", or both "free" once ours is closed. So it is all the same what else the number leads to: another
 * open of the same object, or one of the anonymous files, which share one inode. */
int shmd_os_mark(int fd, shmd_mark* mark) {
  static uint64_t count;
  struct flock lock;
  struct stat s;
  int result = -EAGAIN, tries;
  if (fstat(fd, &s) != 0) return -errno;
  if (mark->device != (uint64_t)s.st_dev)
    mark->device = (uint64_t)s.st_dev; /* the same for a description of the same file, */
  if (mark->inode != (uint64_t)s.st_ino) mark->inode = (uint64_t)s.st_ino; /* which other threads may be asking for */
  for (tries = 0; tries < 8 && result == -EAGAIN; ++tries) {
    uint64_t random = 0, byte;
    (void)getrandom(&random, sizeof random, GRND_NONBLOCK);
    random ^= (shmd_os_now() ^ (shmd_os_pid() << 32)) + shmd_local_add(&count, 1);
    byte = MARKS | (random & (MARKS - 2));
    result = shmd_os_byte_held(fd, byte, 1);
    result = result > 0 ? -EAGAIN : byte_lock(fd, F_OFD_SETLK, F_RDLCK, byte, 1, &lock);
    shmd_local_store(&mark->byte, result == 0 ? byte : 0);
  }
  return result;
}

/* The file first: whatever else the number leads to is not even asked for locks. */
bool shmd_os_marked(int fd, const shmd_mark* mark) {
  const uint64_t byte = shmd_load_acquire(&mark->byte);
  struct stat s;
  if (fd < 0 || fstat(fd, &s) != 0 || (uint64_t)s.st_ino != mark->inode || (uint64_t)s.st_dev != mark->device)
    return false;
  return byte == 0 || (shmd_os_byte_held(fd, byte, 1) == 0 && shmd_os_process_held(fd, byte, 1) == 1);
}

/* ---- waiting ---- */

static bool portable_wait(void) {
  static uint64_t environment; /* 0 = not looked at, 1 = no, 2 = yes */
  if (SHMD_UNLIKELY(shmd_load_relaxed(&environment) == 0)) {
    const char* wish = getenv("SHMDICT_PORTABLE_WAIT"); /* NOLINT(concurrency-mt-unsafe): nothing here sets it */
    shmd_local_store(&environment, wish != NULL ? 2 : 1);
  }
  return (shmd_os_forced & SHMD_OS_PORTABLE_WAIT) != 0 || shmd_load_relaxed(&environment) == 2;
}

/* For systems whose wait does not cross processes: spin, then sleep for longer and longer. */
static void spin_then_sleep(const uint64_t* word, uint32_t expected, uint64_t timeout) {
  const uint64_t start = shmd_os_now();
  uint64_t pause = 20000;
  int i;
  for (i = 0; i < 200; ++i) {
    if ((uint32_t)shmd_load_acquire(word) != expected) return;
    shmd_pause();
  }
  while ((uint32_t)shmd_load_acquire(word) == expected) {
    const uint64_t gone = shmd_os_now() - start;
    if (gone >= timeout) return;
    shmd_os_sleep(pause < timeout - gone ? pause : timeout - gone);
    if (pause < 1000000) pause *= 2;
  }
}

static const uint32_t* low_half(const uint64_t* word) {
  const uint32_t* half = (const uint32_t*)(const void*)word;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  ++half;
#endif
  return half;
}

void shmd_os_wait(const uint64_t* word, uint32_t expected, uint64_t timeout) {
  struct timespec t;
  if (SHMD_UNLIKELY(portable_wait())) {
    spin_then_sleep(word, expected, timeout);
    return;
  }
  t.tv_sec = (time_t)(timeout / NS_PER_S);
  t.tv_nsec = (long)(timeout % NS_PER_S);
  (void)syscall(SYS_futex, low_half(word), FUTEX_WAIT, expected, &t, NULL, 0);
}

void shmd_os_wake(const uint64_t* word, int count) {
  (void)syscall(SYS_futex, low_half(word), FUTEX_WAKE, count, NULL, NULL, 0);
}

/* ---- processes, threads, time ---- */

static _Thread_local uint64_t thread_id; /* 0 = not asked yet */
static uint64_t fork_page;               /* address of a page whose first word is 0 in a child that nobody told us of */

uint64_t shmd_os_pid(void) { return (uint64_t)getpid(); }

uint64_t shmd_os_thread(void) {
  const uint64_t page = shmd_load_acquire(&fork_page);
  if (SHMD_UNLIKELY(thread_id == 0 || page == 0 || shmd_load_relaxed((const uint64_t*)(uintptr_t)page) == 0))
    thread_id = (uint64_t)syscall(SYS_gettid);
  return thread_id;
}

bool shmd_os_thread_lives(uint64_t thread) { return syscall(SYS_tgkill, getpid(), (pid_t)thread, 0) == 0; }

void shmd_os_program(char* buffer, size_t size) {
  const char* name = program_invocation_short_name;
  (void)snprintf(buffer, size, "%s", name != NULL ? name : "");
}

uint64_t shmd_os_now(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t shmd_os_now_coarse(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* a few ns, where the other takes 20 and more */
  return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void shmd_os_sleep(uint64_t ns) {
  struct timespec t;
  t.tv_sec = (time_t)(ns / NS_PER_S);
  t.tv_nsec = (long)(ns % NS_PER_S);
  (void)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, NULL); /* the library's function is a cancellation point */
}

int shmd_os_random(void* buffer, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t n = getrandom((char*)buffer + done, size - done, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    done += (size_t)n;
  }
  return 0;
}

uint32_t shmd_os_user(void) { return (uint32_t)geteuid(); }

void shmd_os_error_text(int error, char* buffer, size_t size) {
  char local[128];
  (void)snprintf(buffer, size, "%s", strerror_r(error, local, sizeof local));
}

uint64_t* shmd_os_fork_detector(void) {
  if (fork_page == 0) {
    void* p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    if (madvise(p, 4096, MADV_WIPEONFORK) != 0) {
      (void)munmap(p, 4096);
      return NULL;
    }
    shmd_local_store(&fork_page, (uint64_t)(uintptr_t)p);
  }
  return (uint64_t*)(uintptr_t)fork_page;
}

void shmd_os_forked(void) { thread_id = 0; }

static void (*exit_function)(bool unloaded);
static bool exiting;

static void note_exit(void) { exiting = true; }

/* exit() runs atexit handlers before any library's destructor functions; dlclose() runs those of the library first, and
 * its atexit handlers after them. Where that is not so, unloading passes for an exit: nothing is released too early. */
void shmd_os_at_exit(void (*function)(bool unloaded)) {
  exit_function = function;
  if (atexit(note_exit) != 0) exiting = true;
}

__attribute__((destructor)) static void run_exit_function(void) {
  if (exit_function != NULL) exit_function(!exiting);
}
