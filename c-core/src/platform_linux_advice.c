/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port to Linux: what to do about errors that the machine's state accounts for. Only that state is looked at: an error that it
 * does not explain gets no advice, whichever call had it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "platform.h"
#include "platform_linux.h"

#define WHERE SHMD_LINUX_DIRECTORY ", where dicts live,"
#define FULL ((uint64_t)1 << 20) /* so little is left that the next piece of an object may not fit */

#define ENLARGE \
  "unlink dicts, or enlarge it with `mount -o remount,size=SIZE " SHMD_LINUX_DIRECTORY \
  "`, a container's with `docker run " \
  "--shm-size=SIZE`"

static unsigned long long mib(uint64_t bytes) { return (unsigned long long)(bytes >> 20); }

int shmd_os_place_check(void) {
  struct stat s;
  if (stat(SHMD_LINUX_DIRECTORY, &s) != 0) return -errno;
  return S_ISDIR(s.st_mode) ? 0 : -ENOTDIR;
}

/* Whether the system has what bytes are locked with, asked with a file of our own. */
static bool has_byte_locks(void) {
  const int fd = shmd_linux_high((int)memfd_create("shmdict", MFD_CLOEXEC));
  bool has;
  if (fd < 0) return true; /* unknown */
  has = shmd_os_byte_held(fd, 0, 1) != -EINVAL;
  shmd_os_close(fd);
  return has;
}

void shmd_os_advice(int error, char* buffer, size_t size) {
  struct statvfs s;
  const bool known = statvfs(SHMD_LINUX_DIRECTORY, &s) == 0;
  buffer[0] = '\0';
  switch (error < 0 ? -error : error) {
    case ENOENT:
    case ENOTDIR:
      if (shmd_os_place_check() < 0)
        (void)snprintf(buffer, size,
                       WHERE " is missing: `mount -t tmpfs -o mode=1777 tmpfs " SHMD_LINUX_DIRECTORY
                             "` makes it, once the directory is there");
      break;
    case EROFS:
      if (known && (s.f_flag & ST_RDONLY) != 0)
        (void)snprintf(buffer, size,
                       WHERE " is mounted read-only: `mount -o remount,rw " SHMD_LINUX_DIRECTORY "` changes that");
      break;
    case ENOSPC:
    case EDQUOT:
      if (known && s.f_bavail * s.f_frsize < FULL)
        (void)snprintf(buffer, size, WHERE " is full, all %llu MiB of it: " ENLARGE, mib(s.f_blocks * s.f_frsize));
      else if (known && s.f_bavail < s.f_blocks / 2)
        (void)snprintf(buffer, size, WHERE " has %llu of %llu MiB left: " ENLARGE, mib(s.f_bavail * s.f_frsize),
                       mib(s.f_blocks * s.f_frsize));
      break;
    case EACCES:
    case EPERM:
      if (known && access(SHMD_LINUX_DIRECTORY, W_OK | X_OK) != 0)
        (void)snprintf(
            buffer, size,
            WHERE " does not let this user in: its owner can change that with `chmod 1777 " SHMD_LINUX_DIRECTORY "`");
      break;
    case EMFILE:
      (void)snprintf(buffer, size, "this process has as many files open as it may: close some, or raise `ulimit -n`");
      break;
    case ENFILE:
      (void)snprintf(buffer, size, "the system has as many files open as it may: raise the sysctl fs.file-max");
      break;
    case EINVAL:
    case ENOSYS:
      if (!has_byte_locks())
        (void)snprintf(buffer, size,
                       "this system has no locks of open file descriptions, by which a dict knows who lives: Linux has "
                       "them since 3.15, some sandboxes such as gVisor do not; run the program outside of it");
      break;
    default:
      break;
  }
}
