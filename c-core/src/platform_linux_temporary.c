/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port to Linux: objects in the making that need a name meanwhile. platform_linux.h says when.
 *
 * Whoever makes one holds the byte MAKER of it, through the description that made it: the kernel frees the byte when the
 * maker is gone. A sweeper takes the byte, looks whether the name leads to that object still, and removes the name. A maker
 * that finds its byte taken, or its name gone once it has the byte, was swept in its first moment, and begins anew.
 * Between its look and the removal a sweeper may sleep. So no name ever leads to a second object while a first one is open
 * anywhere: a name ends in the inode's number, which the kernel gives away again when nobody has the inode open; until
 * that number is known, an object has a name that is never made twice.
 * A name may be all that is left of a maker that died after it had linked the object into place: then the object lives on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform.h"
#include "platform_linux.h"
#include "shmdict/atomics.h"

#define PREFIX ".shmdict-"
#define TOKEN 16u                 /* hexadecimal digits */
#define MAKER (UINT64_C(1) << 60) /* a byte that nothing else is locked by: attach.h's begin at 2^61 */
#define TRIES 100

static void compose(uint64_t token, uint64_t number, char* path) {
  (void)snprintf(path, SHMD_LINUX_PATH, SHMD_LINUX_DIRECTORY "/" PREFIX "%016llx-%llu-%llu", (unsigned long long)token,
                 (unsigned long long)shmd_os_pid(), (unsigned long long)number);
}

void shmd_linux_temporary_path(int fd, char* path) {
  static uint64_t token; /* random, once per process */
  uint64_t seen = shmd_load_acquire(&token);
  struct stat s;
  if (seen == 0) {
    uint64_t fresh = 1;
    (void)shmd_os_random(&fresh, sizeof fresh);
    fresh |= 1;
    shmd_local_store(&token, fresh);
    seen = shmd_load_acquire(&token);
  }
  s.st_ino = 0;
  (void)fstat(fd, &s);
  compose(seen, (uint64_t)s.st_ino, path);
}

static bool leads_to(const char* path, int fd) {
  struct stat by_path, by_fd;
  return lstat(path, &by_path) == 0 && fstat(fd, &by_fd) == 0 && by_path.st_dev == by_fd.st_dev &&
         by_path.st_ino == by_fd.st_ino;
}

/* ---- what the dead left ---- */

/* A name of temporary_path(), of whichever process. */
static bool is_temporary(const char* name) {
  const size_t prefix = sizeof PREFIX - 1;
  if (strncmp(name, PREFIX, prefix) != 0) return false;
  name += prefix;
  if (strspn(name, "0123456789abcdef") != TOKEN || name[TOKEN] != '-') return false;
  name += TOKEN + 1;
  name += strspn(name, "0123456789");
  if (name[0] != '-' || name[-1] == '-') return false;
  ++name;
  return name[0] != '\0' && name[strspn(name, "0123456789")] == '\0';
}

static void sweep_one(const char* name) {
  char path[SHMD_LINUX_PATH];
  struct stat s;
  int fd;
  (void)snprintf(path, sizeof path, SHMD_LINUX_DIRECTORY "/%s", name);
  fd = shmd_linux_open(path, O_RDWR | SHMD_LINUX_OPEN, 0);
  if (fd < 0) return;
  if (fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_uid == (uid_t)shmd_os_user() &&
      shmd_os_byte_try_lock(fd, MAKER, true) == 0 && leads_to(path, fd))
    (void)unlink(path);
  shmd_os_close(fd);
}

static int sweep_named(void* context, const char* name) {
  (void)context;
  if (is_temporary(name)) sweep_one(name);
  return 0;
}

static void sweep(void) { (void)shmd_linux_each_name(sweep_named, NULL); }

/* ---- making ---- */

/* Steps: (1) a first name, leading to an empty file (2) its byte is ours (3) the name by its number. Killed anywhere after (1):
 * the next sweep removes whichever name it has. fd, -errno; -EAGAIN: a sweeper came between. */
static int create_once(uint32_t permissions) {
  char first[SHMD_LINUX_PATH], path[SHMD_LINUX_PATH];
  uint64_t token = 0;
  int fd, error = shmd_os_random(&token, sizeof token);
  if (error != 0) return error;
  compose(token, 0, first);
  fd = shmd_linux_open(first, O_RDWR | O_CREAT | O_EXCL | SHMD_LINUX_OPEN, permissions);
  if (fd < 0) return fd;
  shmd_linux_temporary_path(fd, path);
  error = shmd_os_byte_try_lock(fd, MAKER, true);
  if (error == 0 && !leads_to(first, fd)) error = -EAGAIN;
  if (error == 0 && rename(first, path) != 0) error = -errno;
  if (error == 0) return fd;
  if (leads_to(first, fd)) (void)unlink(first);
  shmd_os_close(fd);
  return error;
}

int shmd_linux_temporary_create(uint32_t permissions) {
  int result = -EAGAIN, tries;
  sweep();
  for (tries = 0; tries < TRIES && result == -EAGAIN; ++tries) result = create_once(permissions);
  return result;
}
