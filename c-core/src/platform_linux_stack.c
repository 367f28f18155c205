/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* pthread_getattr_np */
#include <pthread.h>
#include <signal.h>

#include "platform.h"

bool shmd_os_own_stack(const char* here, const char* there) {
  pthread_attr_t attributes;
  stack_t other;
  void* low = NULL;
  size_t size = 0;
  bool known;
  if (sigaltstack(NULL, &other) != 0 || (other.ss_flags & SS_ONSTACK) != 0) return false;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return false;
  known = pthread_attr_getstack(&attributes, &low, &size) == 0;
  (void)pthread_attr_destroy(&attributes);
  return known && (uintptr_t)here - (uintptr_t)low < size && (uintptr_t)there - (uintptr_t)low < size;
}
