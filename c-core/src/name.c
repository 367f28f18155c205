/* SPDX-License-Identifier: Apache-2.0 */
#include "name.h"

#include <errno.h>
#include <string.h>

#include "attach.h"
#include "descriptor.h"
#include "error.h"
#include "mutex.h"
#include "object.h"
#include "platform.h"

#define NAME_WAIT UINT64_C(10000000000) /* ns to wait for those who attach or unlink just now */

/* ---- spelling ---- */

/* Length of the UTF-8 character at `s`, 0 if it is none (overlong, surrogate, beyond U+10FFFF, cut short). */
static size_t utf8_length(const unsigned char* s) {
  uint32_t value, low;
  size_t n, i;
  if (s[0] < 0x80) return 1;
  if (s[0] >= 0xc2 && s[0] <= 0xdf) {
    n = 2;
    value = s[0] & 0x1fu;
    low = 0x80;
  } else if ((s[0] & 0xf0u) == 0xe0) {
    n = 3;
    value = s[0] & 0x0fu;
    low = 0x800;
  } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
    n = 4;
    value = s[0] & 0x07u;
    low = 0x10000;
  } else
    return 0;
  for (i = 1; i < n; ++i) {
    if ((s[i] & 0xc0u) != 0x80) return 0;
    value = (value << 6) | (s[i] & 0x3fu);
  }
  if (value < low || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return 0;
  return n;
}

int shmd_name_check(const char* name) {
  size_t length, i;
  if (name == NULL || name[0] == '\0')
    return shmd_fail(SHMD_ERR_INVALID_NAME, "the name is empty; use 1 to %u bytes of UTF-8 without '/'", SHMD_MAX_NAME);
  length = strlen(name);
  if (length > SHMD_MAX_NAME)
    return shmd_fail(SHMD_ERR_NAME_TOO_LONG, "the name '%.40s...' has %zu bytes; use at most %u", name, length,
                     SHMD_MAX_NAME);
  for (i = 0; i < length;) {
    const size_t n = utf8_length((const unsigned char*)name + i);
    if (name[i] == '/') return shmd_fail(SHMD_ERR_INVALID_NAME, "the name '%s' has a '/'; leave it out", name);
    if (n == 0)
      return shmd_fail(SHMD_ERR_INVALID_NAME, "the name is not valid UTF-8 at byte %zu; encode it as UTF-8", i);
    i += n;
  }
  return 0;
}

int shmd_random_name(char buffer[SHMD_RANDOM_NAME]) {
  static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567"; /* no two differ by case alone */
  unsigned char random[SHMD_RANDOM_NAME - 1];
  size_t i;
  int result;
  if (buffer == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_random_name: a place for the name is needed");
  result = shmd_os_random(random, sizeof random);
  if (result < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "a random name: no random numbers");
  for (i = 0; i < sizeof random; ++i) buffer[i] = digits[random[i] & 31u];
  buffer[i] = '\0';
  return 0;
}

/* ---- the byte that serialises names ---- */

/* Through the attachment `a`, or, if there is none, through `fd`. */
static int try_create(const shmd_attachment* a, int fd, bool exclusive) {
  return a != NULL ? shmd_bytes_try_lock(a, SHMD_BYTE_CREATE, exclusive)
                   : shmd_os_byte_try_lock(fd, SHMD_BYTE_CREATE, exclusive);
}

static int wait_for(const shmd_attachment* a, int fd, const char* name, bool exclusive) {
  const uint64_t start = shmd_os_now();
  uint64_t pause = 20000;
  int result;
  /* SYNC name: observes what attachers and unlinkers before us did to the name and to SHMD_BYTE_PRESENT. */
  while ((result = try_create(a, fd, exclusive)) == -EAGAIN) {
    if (shmd_os_now() - start > NAME_WAIT)
      return shmd_fail(
          SHMD_ERR_BUSY,
          "dict '%s': another process has been opening or removing it for 10 s; continue or end that process", name);
    shmd_mutex_sleep(fd, pause);
    if (pause < 1000000) pause *= 2;
  }
  if (result < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot lock a byte of the object", name);
  return 0;
}

int shmd_name_lock(int fd, const char* name, bool exclusive) { return wait_for(NULL, fd, name, exclusive); }
int shmd_name_hold(const shmd_attachment* a, bool exclusive) { return wait_for(a, -1, a->name, exclusive); }

void shmd_name_unlock(int fd) {
  /* SYNC name: publishes what was done to the name and to SHMD_BYTE_PRESENT. */
  (void)shmd_os_byte_unlock(fd, SHMD_BYTE_CREATE);
}

void shmd_name_let_go(const shmd_attachment* a) {
  /* SYNC name: as in shmd_name_unlock(). */
  (void)shmd_bytes_unlock(a, SHMD_BYTE_CREATE);
}

/* Unlocks first: a child that is between vfork and exec still has a copy of the descriptor. */
void shmd_name_close(int fd) {
  shmd_name_unlock(fd);
  shmd_os_close(fd);
}

bool shmd_name_leads_to(const char* name, uint64_t device, uint64_t inode) {
  shmd_file_info info;
  return shmd_os_name_info(name, &info) == 0 && info.device == device && info.inode == inode;
}

int shmd_name_place(const char* name) {
  const int result = shmd_os_place_check();
  if (result >= 0) return 0;
  return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': the place of shared objects cannot be looked at", name);
}

int shmd_name_open_failed(const char* name, int error) {
  shmd_file_info info;
  if (error == -EACCES || error == -EPERM || error == -EROFS) {
    if (shmd_os_name_info(name, &info) == 0 && info.owner != shmd_os_user())
      return shmd_fail_errno(
          SHMD_ERR_PERMISSION_DENIED, error,
          "dict '%s' belongs to user %u, who does not let you open it; ask for other permissions, or open "
          "it read-only",
          name, (unsigned)info.owner);
    return shmd_fail_errno(SHMD_ERR_PERMISSION_DENIED, error,
                           "dict '%s': its permissions do not let you open it; change them, or open it read-only",
                           name);
  }
  if (error == -ELOOP || error == -EISDIR || error == -ENXIO || error == -ENODEV)
    return shmd_fail_errno(SHMD_ERR_FOREIGN_OBJECT, error,
                           "'%s' is not a shared object; choose another name, or remove it by hand", name);
  return shmd_fail_errno(SHMD_ERR_SYSTEM, error, "dict '%s': cannot open the object", name);
}

/* ---- removing ---- */

static int remove_failed(const char* name, int error) {
  if (error == -EACCES || error == -EPERM)
    return shmd_fail_errno(SHMD_ERR_PERMISSION_DENIED, error,
                           "dict '%s': not allowed to remove its name; its owner or root can", name);
  return shmd_fail_errno(SHMD_ERR_SYSTEM, error, "dict '%s': cannot remove its name", name);
}

/* REQUIRES: SHMD_BYTE_CREATE exclusive. Steps: (1) the name is gone (2) the object says so (display only). */
int shmd_name_remove(shmd_attachment* a) {
  int result;
  if (!shmd_name_leads_to(a->name, a->device, a->inode))
    return shmd_fail(SHMD_ERR_NO_SUCH_DICT, "dict '%s' was unlinked already", a->name);
  result = shmd_os_unlink(a->name);
  if (result == -ENOENT) return shmd_fail(SHMD_ERR_NO_SUCH_DICT, "dict '%s' was unlinked already", a->name);
  if (result < 0) return remove_failed(a->name, result);
  if (!a->read_only) shmd_store_release(&shmd_object_shared(a)->unlinked, 1);
  return 0;
}

/* Whether the object behind `fd` may be removed: ours, whole or half made or of any layout, but nothing foreign. */
static int check_removable(int fd, const char* name, shmd_superblock* super) {
  const int result = shmd_object_inspect(fd, name, super);
  return result == SHMD_ERR_FOREIGN_OBJECT || result == SHMD_ERR_SYSTEM ? result : 0;
}

static void mark_unlinked(int fd, const shmd_superblock* super) {
  unsigned char* base;
  shmd_file_info info;
  if (super->magic != SHMD_MAGIC || super->layout_version != SHMD_LAYOUT_VERSION || super->abi != SHMD_ABI) return;
  if (shmd_os_info(fd, &info) < 0 || info.size < SHMD_PAGE || shmd_os_map(fd, SHMD_PAGE, true, &base) < 0) return;
  shmd_store_release(&((shmd_superblock*)(void*)base)->unlinked, 1);
  shmd_os_unmap(base, SHMD_PAGE);
}

static int unlink_found(int fd, const char* name) {
  shmd_superblock super;
  shmd_file_info info;
  int result = check_removable(fd, name, &super);
  if (result >= 0) result = shmd_name_lock(fd, name, true);
  if (result < 0) return result;
  if (shmd_os_info(fd, &info) < 0 || !shmd_name_leads_to(name, info.device, info.inode)) return SHMD_NAME_CHANGED;
  result = shmd_os_unlink(name);
  if (result == -ENOENT) return SHMD_NAME_CHANGED;
  if (result < 0) return remove_failed(name, result);
  mark_unlinked(fd, &super);
  return 0;
}

int shmd_name_unlink(const char* name) {
  const int fd = shmd_os_open(name, true);
  int result;
  if (fd == -ENOENT) {
    result = shmd_name_place(name);
    return result < 0 ? result : shmd_fail(SHMD_ERR_NO_SUCH_DICT, "no dict '%s' exists", name);
  }
  if (fd < 0) return shmd_name_open_failed(name, fd);
  result = unlink_found(fd, name);
  shmd_name_close(fd);
  return result;
}
