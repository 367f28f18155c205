/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port to Linux, third part: descriptors that one thread makes readable and another waits for.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform.h"
#include "platform_linux.h"

int shmd_os_event_open(void) {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return shmd_linux_high(fd >= 0 ? fd : -errno);
}

void shmd_os_event_set(int fd) {
  const uint64_t one = 1;
  while (syscall(SYS_write, fd, &one, sizeof one) < 0 && errno == EINTR) { /* no cancellation point: under a mutex */
  }
}

void shmd_os_event_clear(int fd) {
  uint64_t count;
  while (shmd_linux_read(fd, &count, sizeof count) == -EINTR) {
  }
}
