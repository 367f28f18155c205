/* SPDX-License-Identifier: Apache-2.0 */
#include "error.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "platform.h"

typedef struct result_entry {
  int code;
  char name[28];
  const char* message;
} result_entry;

#define SHMD_X(code, name, text) {code, #name, text},
static result_entry results[] = {SHMD_ERR_MAP(SHMD_X) SHMD_OUTCOME_MAP(SHMD_X)};
#undef SHMD_X
static pthread_once_t names_once = PTHREAD_ONCE_INIT;

static _Thread_local shmd_error_info last_error;

/* The map spells names as C constants; people read them in lower case. */
static void lower_names(void) {
  size_t i;
  for (i = 0; i < sizeof results / sizeof results[0]; ++i) {
    char* c;
    for (c = results[i].name; *c != '\0'; ++c)
      if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
  }
}

static const result_entry* find_result(int result) {
  size_t i;
  for (i = 0; i < sizeof results / sizeof results[0]; ++i)
    if (results[i].code == result) return &results[i];
  return NULL;
}

const char* shmd_error_name(int result) {
  const result_entry* entry = find_result(result);
  (void)pthread_once(&names_once, lower_names);
  if (result == SHMD_OK) return "ok";
  return entry != NULL ? entry->name : "unknown";
}

const char* shmd_error_message(int result) {
  const result_entry* entry = find_result(result);
  if (result == SHMD_OK) return "done";
  return entry != NULL ? entry->message : "unknown result";
}

const shmd_error_info* shmd_last_error(void) { return &last_error; }

shmd_error_info* shmd_error_slot(void) { return &last_error; }

static void store(int code, int error, const char* message) {
  size_t length = strlen(message);
  if (length > sizeof last_error.message - 1) length = sizeof last_error.message - 1;
  memset(&last_error, 0, sizeof last_error);
  last_error.code = code;
  last_error.system_error = error;
  memcpy(last_error.message, message, length);
}

/* Cuts a message that was too long at the last whole UTF-8 character. */
static void trim(char* message, size_t capacity, int length) {
  size_t end = capacity - 1;
  if (length < 0 || (size_t)length < capacity) return;
  while (end > 0 && ((unsigned char)message[end - 1] & 0xc0u) == 0x80u) --end;
  if (end > 0 && ((unsigned char)message[end - 1] & 0x80u) != 0) --end;
  message[end] = '\0';
}

int shmd_fail(int code, const char* format, ...) {
  char message[sizeof last_error.message]; /* arguments may point into last_error */
  va_list arguments;
  va_start(arguments, format);
  trim(message, sizeof message, vsnprintf(message, sizeof message, format, arguments));
  va_end(arguments);
  store(code, 0, message);
  return code;
}

static void append(char* message, size_t capacity, const char* before, const char* text, const char* after) {
  const size_t used = strlen(message);
  trim(message + used, capacity - used, snprintf(message + used, capacity - used, "%s%s%s", before, text, after));
}

static int fail_system(int code, int error, bool advised, const char* format, va_list arguments) {
  char message[sizeof last_error.message];
  char text[128], advice[320];
  trim(message, sizeof message, vsnprintf(message, sizeof message, format, arguments));
  if (error < 0) error = -error;
  shmd_os_error_text(error, text, sizeof text);
  append(message, sizeof message, " (", text, ")");
  if (advised) {
    shmd_os_advice(error, advice, sizeof advice);
    if (advice[0] != '\0') append(message, sizeof message, "; ", advice, "");
  }
  store(code, error, message);
  return code;
}

int shmd_fail_errno(int code, int error, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  code = fail_system(code, error, true, format, arguments);
  va_end(arguments);
  return code;
}

int shmd_fail_file(int code, int error, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  code = fail_system(code, error, false, format, arguments);
  va_end(arguments);
  return code;
}

int shmd_fail_plain(int code, const char* message) {
  store(code, 0, message);
  return code;
}

int shmd_fail_timeout(const char* function, int64_t timeout) {
  return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                   "%s: a time of %lld ns is negative; use 0 or more, for ever, or the default", function,
                   (long long)timeout);
}
