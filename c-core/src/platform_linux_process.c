/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port to Linux: descriptors that are out of the program's way, and what /proc tells of this process and of others.
 *
 * /proc may be missing, of another PID namespace, or closed to us: then it cannot be told, which is never an error. It is
 * read through /proc/thread-self, for /proc/self shows nothing of a process whose main thread has ended.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform.h"
#include "platform_linux.h"

#define LOW 3 /* standard input, output and error */

/* ---- descriptors ---- */

int shmd_linux_high(int fd) {
  int high;
  if (fd < 0 || fd >= LOW) return fd;
  high = fcntl(fd, F_DUPFD_CLOEXEC, LOW);
  if (high < 0) high = -errno;
  shmd_os_close(fd);
  return high;
}

/* Fills the free ones of 0, 1 and 2, so that not even for a moment something of ours is there that another thread's message
 * could go to. An O_PATH descriptor answers reads and writes as a closed one does. */
static void fill_low(int filled[LOW]) {
  int i;
  for (i = 0; i < LOW; ++i) {
    int fd;
    filled[i] = 0;
    if (fcntl(i, F_GETFD) >= 0) continue;
    fd = (int)syscall(SYS_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
    if (fd == i)
      filled[i] = 1;
    else
      shmd_os_close(fd); /* another thread was faster */
  }
}

static void free_low(const int filled[LOW]) {
  int i;
  for (i = 0; i < LOW; ++i) {
    int flags;
    if (!filled[i]) continue;
    flags = fcntl(i, F_GETFL);
    if (flags >= 0 && (flags & O_PATH) != 0) shmd_os_close(i);
  }
}

int shmd_linux_open_at(int directory, const char* path, int flags, unsigned permissions) {
  int filled[LOW], fd;
  fill_low(filled);
  fd = (int)syscall(SYS_openat, directory, path, flags | O_CLOEXEC, (mode_t)permissions);
  if (fd < 0) fd = -errno;
  free_low(filled);
  return shmd_linux_high(fd);
}

int shmd_linux_open(const char* path, int flags, unsigned permissions) {
  return shmd_linux_open_at(AT_FDCWD, path, flags, permissions);
}

ssize_t shmd_linux_read(int fd, void* buffer, size_t size) {
  const long n = syscall(SYS_read, fd, buffer, size);
  return n >= 0 ? (ssize_t)n : -errno;
}

bool shmd_linux_descriptor_path(int fd, char path[SHMD_LINUX_PROC]) {
  struct stat s;
  (void)snprintf(path, SHMD_LINUX_PROC, "/proc/thread-self/fd/%d", fd);
  if (lstat(path, &s) == 0) return true;
  (void)snprintf(path, SHMD_LINUX_PROC, "/proc/self/fd/%d", fd); /* before Linux 3.17 */
  return lstat(path, &s) == 0;
}

int shmd_os_duplicate(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, LOW);
  return copy >= 0 ? copy : -errno;
}

/* ---- processes ---- */

/* The start time in the `stat` file at `path`, 0 if it cannot be read. */
static uint64_t start_time_in(const char* path) {
  char text[1024];
  const char* at;
  int field;
  ssize_t n;
  const int fd = shmd_linux_open(path, O_RDONLY, 0);
  if (fd < 0) return 0;
  n = shmd_linux_read(fd, text, sizeof text - 1);
  shmd_os_close(fd);
  if (n <= 0) return 0;
  text[n] = '\0';
  at = strrchr(text, ')'); /* the program's name may hold anything, brackets too */
  for (field = 2; at != NULL && field < 22; ++field) {
    at = strchr(at, ' ');
    if (at != NULL) ++at;
  }
  return at != NULL ? (uint64_t)strtoull(at, NULL, 10) : 0;
}

uint64_t shmd_os_start_time(void) { return start_time_in("/proc/self/stat"); }

uint64_t shmd_os_pid_space(void) {
  struct stat s;
  if (stat("/proc/thread-self/ns/pid", &s) == 0 || stat("/proc/self/ns/pid", &s) == 0) return (uint64_t)s.st_ino;
  return 0;
}

/* One line of a `maps` file, as far as it says something: "start-end perms offset device inode". */
typedef struct maps_line {
  char text[128];
  size_t length;
} maps_line;

/* A mapping that begins at `address`: one that only reaches there may be another program's, which has the file elsewhere. */
static bool line_says(maps_line* line, uint64_t address, uint64_t inode) {
  unsigned long long start, found;
  line->text[line->length] = '\0';
  line->length = 0;
  if (sscanf(line->text, "%llx-%*x %*s %*s %*s %llu", &start, &found) != 2) /* NOLINT(cert-err34-c): the kernel's */
    return false;
  return start == address && found == inode;
}

/* 1, 0; -ENODATA: the file is empty; negative: not readable. */
static int maps_say(const char* path, uint64_t address, uint64_t inode) {
  char text[4096];
  maps_line line = {{0}, 0};
  ssize_t n;
  bool empty = true, says = false;
  const int fd = shmd_linux_open(path, O_RDONLY, 0);
  if (fd < 0) return fd;
  while (!says && (n = shmd_linux_read(fd, text, sizeof text)) != 0) {
    ssize_t i;
    if (n == -EINTR) continue;
    if (n < 0) break;
    empty = false;
    for (i = 0; i < n && !says; ++i) {
      if (text[i] == '\n')
        says = line_says(&line, address, inode);
      else if (line.length + 1 < sizeof line.text)
        line.text[line.length++] = text[i];
    }
  }
  shmd_os_close(fd);
  return says ? 1 : empty ? -ENODATA : 0;
}

/* The main thread has ended, and shows no memory: any other thread shows the process's. */
static int threads_say(uint64_t pid, uint64_t address, uint64_t inode) {
  char path[SHMD_LINUX_PROC + NAME_MAX];
  const struct dirent* entry;
  DIR* tasks;
  int fd, result = 0;
  (void)snprintf(path, sizeof path, "/proc/%llu/task", (unsigned long long)pid);
  fd = shmd_linux_open(path, O_RDONLY | O_DIRECTORY, 0);
  if (fd < 0) return fd;
  tasks = fdopendir(fd);
  if (tasks == NULL) {
    shmd_os_close(fd);
    return -ENOMEM;
  }
  while (result != 1 && (entry = readdir(tasks)) != NULL) { /* NOLINT(concurrency-mt-unsafe): a stream of our own */
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    (void)snprintf(path, sizeof path, "/proc/%llu/task/%s/maps", (unsigned long long)pid, entry->d_name);
    result = maps_say(path, address, inode);
  }
  (void)closedir(tasks);
  return result == 1;
}

int shmd_os_process_maps(uint64_t pid, uint64_t start, uint64_t address, uint64_t inode) {
  char path[SHMD_LINUX_PROC], self[32];
  uint64_t began;
  int result;
  const ssize_t n = readlink("/proc/self", self, sizeof self - 1);
  if (n <= 0) return -ENOENT;
  self[n] = '\0';
  if ((uint64_t)strtoull(self, NULL, 10) != shmd_os_pid()) return -ENOENT; /* of another PID namespace */
  (void)snprintf(path, sizeof path, "/proc/%llu/stat", (unsigned long long)pid);
  began = start_time_in(path);
  if (began != start) return 0;
  (void)snprintf(path, sizeof path, "/proc/%llu/maps", (unsigned long long)pid);
  result = maps_say(path, address, inode);
  return result == -ENODATA ? threads_say(pid, address, inode) : result;
}
