/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the Linux port share. Nobody else includes it.
 */
#ifndef SHMD_PLATFORM_LINUX_H
#define SHMD_PLATFORM_LINUX_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SHMD_LINUX_DIRECTORY "/dev/shm"
#define SHMD_LINUX_PATH 320
#define SHMD_LINUX_OPEN (O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK) /* not through links, never stuck on a pipe */

#define SHMD_LINUX_PROC 64 /* a path in /proc */

/* Every descriptor of the port comes from these. They are never 0, 1 or 2, and no cancellation points. fd, or -errno. */
int shmd_linux_open(const char* path, int flags, unsigned permissions); /* O_CLOEXEC is added */
int shmd_linux_open_at(int directory, const char* path, int flags, unsigned permissions);
int shmd_linux_high(int fd); /* a descriptor just made, or -errno, which it answers too */
ssize_t shmd_linux_read(int fd, void* buffer, size_t size); /* what there is, or -errno */

/* The path that leads to what `fd` leads to, and whether there is one: not where /proc is not mounted. By the calling thread:
 * the process's own entry is gone when its main thread has ended. */
bool shmd_linux_descriptor_path(int fd, char path[SHMD_LINUX_PROC]);

/* Calls found(context, name) for each name in SHMD_LINUX_DIRECTORY; an answer other than 0 ends it and is returned. */
int shmd_linux_each_name(int (*found)(void* context, const char* name), void* context);

/* Objects in the making, for systems without O_TMPFILE or /proc: under a name that begins with a dot, so that no dict can
 * be called so. The name stays until the object gets its own, or its maker discards it; after the maker's death until the
 * same user makes the next object in this way. */
int shmd_linux_temporary_create(uint32_t permissions); /* fd, or -errno */
/* The name that belongs to the descriptor `fd`, as long as this process has it. */
void shmd_linux_temporary_path(int fd, char* path); /* of SHMD_LINUX_PATH bytes */

#endif
