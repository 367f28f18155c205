/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calling thread's last error. shmd_fail() formats one sentence that names object, operation and what to do, stores
 * it in thread-local memory, and returns the code, so that callers write `return shmd_fail(...)`.
 */
#ifndef SHMD_ERROR_H
#define SHMD_ERROR_H

#include "shmdict/shmdict.h"

/* Stores code and message ("<object>: <what happened>; <what to do>"); clears holder fields. Returns code. */
int shmd_fail(int code, const char* format, ...) __attribute__((format(printf, 2, 3)));
/* The same with errno's text appended and kept in system_error; and with what the port advises if the place of objects or the
 * system is the cause. */
int shmd_fail_errno(int code, int error, const char* format, ...) __attribute__((format(printf, 3, 4)));
/* Without advice: about a file of the user's. */
int shmd_fail_file(int code, int error, const char* format, ...) __attribute__((format(printf, 3, 4)));
/* Without formatting: safe in a signal handler. */
int shmd_fail_plain(int code, const char* message);
/* For a timeout below SHMD_DEFAULT_TIMEOUT, a difference of times as a rule: INVALID_ARGUMENT. */
int shmd_fail_timeout(const char* function, int64_t timeout);
/* For filling in holder fields (pid, thread, program, held, waited) after shmd_fail. */
shmd_error_info* shmd_error_slot(void);

#endif
