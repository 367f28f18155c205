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
#include "platform_linux.h"
#include "shmdict/atomics.h"

#define PREFIX "shmdict."

static void close_directory(DIR** directory) {
  if (*directory != NULL) (void)closedir(*directory);
}

int shmd_linux_each_name(int (*found)(void* context, const char* name), void* context) {
  DIR* directory SHMD_CLEANUP(close_directory) = NULL;
  int result = 0;
  const int fd = shmd_linux_open(SHMD_LINUX_DIRECTORY, O_RDONLY | O_DIRECTORY, 0);
  if (fd < 0) return fd;
  directory = fdopendir(fd);
  if (directory == NULL) {
    result = -errno;
    shmd_os_close(fd);
    return result;
  }
  while (result == 0) {
    const struct dirent* entry;
    errno = 0;
    entry = readdir(directory); /* NOLINT(concurrency-mt-unsafe): a stream of our own */
    if (entry == NULL) {
      result = -errno;
      break;
    }
    result = found(context, entry->d_name);
  }
  return result;
}

typedef struct listing {
  int (*found)(void* context, const char* name);
  void* context;
} listing;

static int list_ours(void* context, const char* name) {
  const listing* l = (const listing*)context;
  return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0 ? l->found(l->context, name + sizeof PREFIX - 1) : 0;
}

int shmd_os_list(int (*found)(void* context, const char* name), void* context) {
  listing l = {found, context};
  return shmd_linux_each_name(list_ours, &l);
}

/* ---- files ---- */

int shmd_os_file_open(const char* path) { return shmd_linux_open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0); }

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
  fd = shmd_linux_open(directory, O_RDONLY | O_DIRECTORY, 0);
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
  char own[SHMD_LINUX_PROC];
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
  if ((shmd_os_forced & SHMD_OS_NO_UNNAMED) == 0 && shmd_linux_descriptor_path(file->directory, own)) {
    file->fd = shmd_linux_open(own, O_TMPFILE | O_RDWR, permissions);
    if (file->fd < 0 && file->fd != -EOPNOTSUPP && file->fd != -EISDIR && file->fd != -ENOENT && file->fd != -EINVAL)
      result = file->fd;
  }
  if (file->fd < 0 && result == 0) {
    result = choose_temporary(file);
    if (result == 0) {
      file->fd = shmd_linux_open_at(file->directory, file->temporary, O_RDWR | O_CREAT | O_EXCL, permissions);
      if (file->fd < 0) result = file->fd;
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
  char own[SHMD_LINUX_PROC];
  int result = fsync(file->fd) == 0 ? 0 : -errno;
  if (result == 0 && file->temporary[0] == '\0') {
    result = choose_temporary(file);
    if (result == 0 && !shmd_linux_descriptor_path(file->fd, own)) result = -ENOENT;
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
