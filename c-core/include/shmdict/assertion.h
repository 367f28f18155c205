/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHMD_ASSERT(condition): what our own code owes. A build for tests (CMake's option SHMDICT_ASSERTIONS, which the presets
 * dev, asan and tsan set) ends the process where it does not hold; any other evaluates nothing.
 *
 * Never for bytes that another process may have written: those are checked in every build, and a wrong one is an error of
 * the call.
 */
#ifndef SHMDICT_ASSERTION_H
#define SHMDICT_ASSERTION_H

#if defined(SHMD_ASSERTIONS)
#include <stdio.h>
#include <stdlib.h>

static inline void shmd_assertion_failed(const char* condition, const char* file, int line) {
  (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
  abort();
}
#define SHMD_ASSERT(condition) ((condition) ? (void)0 : shmd_assertion_failed(#condition, __FILE__, __LINE__))
#else
#define SHMD_ASSERT(condition) ((void)sizeof((condition) ? 1 : 0))
#endif

#endif
