/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the Linux port share. Nobody else includes it.
 */
#ifndef SHMD_PLATFORM_LINUX_H
#define SHMD_PLATFORM_LINUX_H

#include <fcntl.h>
#include <stdint.h>

#define SHMD_LINUX_DIRECTORY "/dev/shm"
#define SHMD_LINUX_PATH 320
#define SHMD_LINUX_OPEN (O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK) /* not through links, never stuck on a pipe */

/* Objects in the making, for systems without O_TMPFILE or /proc: under a name that begins with a dot, so that no dict can
 * be called so. The name stays until the object gets its own, or its maker discards it; after the maker's death until the
 * same user makes the next object in this way. */
int shmd_linux_temporary_create(uint32_t permissions); /* fd, or -errno */
/* The name that belongs to the descriptor `fd`, as long as this process has it. */
void shmd_linux_temporary_path(int fd, char* path); /* of SHMD_LINUX_PATH bytes */

#endif
