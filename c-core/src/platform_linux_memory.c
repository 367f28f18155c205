/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port to Linux: private memory by the page, and what takes the place of an object's mapping.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform.h"

/* Leak checkers look for pointers in the heap and in static memory; what pages of ours lead to would seem to be lost. */
__attribute__((weak)) void __lsan_register_root_region(const void* begin,
                                                       size_t size); /* NOLINT(bugprone-reserved-identifier) */
__attribute__((weak)) void __lsan_unregister_root_region(const void* begin,
                                                         size_t size); /* NOLINT(bugprone-reserved-identifier) */

/* Address space for `size` bytes without access. Under mlockall(MCL_FUTURE) memory with access would be filled at once. */
static void* reserve(size_t size) {
  /* By the system call, here and below: ThreadSanitizer takes the library's functions for writes to all of the range. */
  void* p = (void*)syscall(SYS_mmap, NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
  if (p == MAP_FAILED) return NULL;
  (void)munlock(p, size);
  return p;
}

void* shmd_os_pages(size_t size) {
  void* p = reserve(size);
  if (p == NULL) return NULL;
  if (mprotect(p, size, PROT_READ | PROT_WRITE) != 0) {
    (void)munmap(p, size);
    return NULL;
  }
  if (__lsan_register_root_region != NULL) __lsan_register_root_region(p, size);
  return p;
}

void shmd_os_pages_empty(void* pages, size_t size) { (void)madvise(pages, size, MADV_DONTNEED); }

void shmd_os_pages_free(void* pages, size_t size) {
  if (__lsan_unregister_root_region != NULL) __lsan_unregister_root_region(pages, size);
  (void)munmap(pages, size);
}

/* Moves a mapping of our own to where another one is: that one is gone in the same step. */
static bool move_to(void* from, size_t size, unsigned char* to) {
  return syscall(SYS_mremap, from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == (long)(intptr_t)to;
}

int shmd_os_replace(unsigned char* base, uint64_t size, int byte, uint64_t filled) {
  const size_t first = (size_t)filled, rest = (size_t)(size - filled);
  unsigned char *head = (unsigned char*)reserve(first), *tail = (unsigned char*)reserve(rest);
  int error = 0;
  if (head == NULL || tail == NULL || mprotect(head, first, PROT_READ | PROT_WRITE) != 0 ||
      mprotect(tail, rest, PROT_READ) != 0)
    error = -ENOMEM;
  if (error == 0) {
    memset(head, byte, first);
    if (move_to(head, first, base)) {
      head = NULL;
      if (move_to(tail, rest, base + first))
        tail = NULL;
      else
        error = -ENOMEM;
    } else {
      error = -ENOMEM;
    }
  }
  if (head != NULL) (void)munmap(head, first);
  if (tail != NULL) (void)munmap(tail, rest);
  return error;
}

uint64_t shmd_os_address_space(void) {
  struct rlimit limit;
  return getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)limit.rlim_cur;
}
