/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port to Linux, second part: directories and ordinary files. Nothing here runs under a lock.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform.h"
#include "shmdict/atomics.h"

#define DIRECTORY "/dev/shm"
#define PREFIX "shmdict."
#define DESCRIPTOR_PATH 32

int shmd_os_duplicate(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return copy >= 0 ? copy : -errno;
}

static void close_directory(DIR** directory) {
  if (*directory != NULL) (void)closedir(*directory);
}

int shmd_os_list(int (*found)(void* context, const char* name), void* context) {
  DIR* directory SHMD_CLEANUP(close_directory) = opendir(DIRECTORY);
  int result = 0;
  if (directory == NULL) return -errno;
  while (result == 0) {
    const struct dirent* entry;
    errno = 0;
    entry = readdir(directory); /* NOLINT(concurrency-mt-unsafe): a stream of our own */
    if (entry == NULL) {
      result = -errno;
      break;
    }
    if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) == 0)
      result = found(context, entry->d_name + sizeof PREFIX - 1);
  }
  return result;
}

/* ---- files ---- */

int shmd_os_file_open(const char* path) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  return fd >= 0 ? fd : -errno;
}

/* Opens the directory that `path` lies in, and finds its last part. */
static int open_directory(const char* path, const char** base) {
  const char* slash = strrchr(path, '/');
  char* directory;
  int fd;
  *base = slash != NULL ? slash + 1 : path;
  if ((*base)[0] == '\0') return -EISDIR;
  if (slash == NULL)
    directory = strdup(".");
  else
    directory = strndup(path, slash == path ? 1 : (size_t)(slash - path));
  if (directory == NULL) return -ENOMEM;
  fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fd = -errno;
  free(directory);
  return fd;
}

static int choose_temporary(shmd_os_file* file) {
  uint64_t token[2];
  const int result = shmd_os_random(token, sizeof token);
  if (result < 0) return result;
  (void)snprintf(file->temporary, sizeof file->temporary, ".shmdict-%016llx%016llx", (unsigned long long)token[0],
                 (unsigned long long)token[1]);
  return 0;
}

/*
 * Whether a file may take its place at `path`: nothing is there, or a regular file, which a symbolic link may lead to. It
 * is replaced where it lies and the link stays. Anything else stays, too: a rename would take a device away from everybody.
 */
static int find_place(const char* path, char** resolved) {
  struct stat there;
  if (lstat(path, &there) != 0) return errno == ENOENT ? 0 : -errno;
  if (S_ISLNK(there.st_mode)) {
    *resolved = realpath(path, NULL);
    if (*resolved == NULL || stat(*resolved, &there) != 0) return -errno;
  }
  return S_ISREG(there.st_mode) ? 0 : S_ISDIR(there.st_mode) ? -EISDIR : -EEXIST;
}

/* Without a name if the file system can; else under one that begins with a dot, which a crash leaves behind. */
int shmd_os_file_begin(const char* path, uint32_t permissions, shmd_os_file* file) {
  char own[DESCRIPTOR_PATH];
  int result;
  memset(file, 0, sizeof *file);
  file->fd = file->directory = -1;
  result = find_place(path, &file->resolved);
  if (result >= 0)
    result = file->directory = open_directory(file->resolved != NULL ? file->resolved : path, &file->base);
  if (result < 0) {
    shmd_os_file_abandon(file);
    return result;
  }
  result = 0;
  if ((shmd_os_forced & SHMD_OS_NO_UNNAMED) == 0 && access("/proc/self/fd", X_OK) == 0) {
    (void)snprintf(own, sizeof own, "/proc/self/fd/%d", file->directory);
    file->fd = open(own, O_TMPFILE | O_RDWR | O_CLOEXEC, (mode_t)permissions);
    if (file->fd < 0 && errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL) result = -errno;
  }
  if (file->fd < 0 && result == 0) {
    result = choose_temporary(file);
    if (result == 0) {
      file->fd = openat(file->directory, file->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)permissions);
      if (file->fd < 0) result = -errno;
    }
    if (result < 0) file->temporary[0] = '\0';
  }
  if (result < 0) shmd_os_file_abandon(file);
  return result;
}

/*
 * Steps: (1) the bytes are on the disk (2) the file has a temporary name (3) that name becomes the path's, whatever was
 * there (4) the directory is on the disk. Killed before (3): the path leads where it led; after (2) a temporary name stays.
 */
int shmd_os_file_finish(shmd_os_file* file) {
  char own[DESCRIPTOR_PATH];
  int result = fsync(file->fd) == 0 ? 0 : -errno;
  if (result == 0 && file->temporary[0] == '\0') {
    result = choose_temporary(file);
    (void)snprintf(own, sizeof own, "/proc/self/fd/%d", file->fd);
    if (result == 0 && linkat(AT_FDCWD, own, file->directory, file->temporary, AT_SYMLINK_FOLLOW) != 0) {
      result = -errno;
      file->temporary[0] = '\0';
    }
  }
  if (result == 0 && renameat(file->directory, file->temporary, file->directory, file->base) != 0) result = -errno;
  if (result == 0) {
    file->temporary[0] = '\0';
    if (fsync(file->directory) != 0 && errno != EINVAL) result = -errno;
  }
  shmd_os_file_abandon(file);
  return result;
}

void shmd_os_file_abandon(shmd_os_file* file) {
  if (file->temporary[0] != '\0') (void)unlinkat(file->directory, file->temporary, 0);
  file->temporary[0] = '\0';
  shmd_os_close(file->fd);
  shmd_os_close(file->directory);
  file->fd = file->directory = -1;
  free(file->resolved);
  file->resolved = NULL;
}
