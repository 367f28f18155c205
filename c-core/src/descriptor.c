/* SPDX-License-Identifier: Apache-2.0 */
#include "descriptor.h"

#include <errno.h>

#include "platform.h"

void shmd_descriptor_mark(shmd_attachment* a) {
  if (a->object_mark.inode == 0) (void)shmd_os_mark(a->object_fd, &a->object_mark);
}

/* The mapping keeps that description, and its mark, alive: the answer is exact. */
bool shmd_descriptor_object(const shmd_attachment* a) { return shmd_os_marked(a->object_fd, &a->object_mark); }

bool shmd_descriptor_liveness(const shmd_attachment* a) {
  return !a->process_bytes && shmd_os_marked(shmd_load_int_acquire(&a->liveness_fd), &a->liveness_mark);
}

/* ---- other ways to the object ---- */

static bool is_the_object(const shmd_attachment* a, const shmd_file_info* info) {
  return info->device == a->object_mark.device && info->inode == a->object_mark.inode;
}

static bool leads_here(const shmd_attachment* a, int fd) {
  shmd_file_info info;
  return fd >= 0 && shmd_os_info(fd, &info) == 0 && is_the_object(a, &info);
}

/* `fd` if it leads to the object, else an error: that of an earlier attempt, if there was one. */
static int checked(const shmd_attachment* a, int fd, int earlier) {
  if (fd >= 0 && leads_here(a, fd)) return fd;
  shmd_os_close(fd);
  return earlier != 0 ? earlier : fd < 0 ? fd : -ENOENT;
}

bool shmd_descriptor_file(const shmd_attachment* a) { return leads_here(a, a->object_fd); }

/* Any descriptor that leads to the object will do, ours or not: opening it anew acts on nothing. */
int shmd_descriptor_reopen(const shmd_attachment* a, bool writable) {
  const int liveness = shmd_load_int_acquire(&a->liveness_fd);
  int fd = 0, error = 0;
  if (leads_here(a, a->object_fd))
    fd = checked(a, shmd_os_reopen(a->object_fd, writable), 0);
  else if (leads_here(a, liveness))
    fd = checked(a, shmd_os_reopen(liveness, writable), 0);
  if (fd > 0) return fd;
  error = fd;
  if (!a->nameless) {
    fd = checked(a, shmd_os_open(a->name, writable), error);
    if (fd > 0) return fd;
    error = fd;
  }
  if (a->reader.base != NULL) fd = checked(a, shmd_os_reopen_mapping(a->reader.base, a->max_size, writable), error);
  return fd != 0 ? fd : -EBADF;
}

int shmd_descriptor_info(const shmd_attachment* a, shmd_file_info* info) {
  int result;
  if (shmd_os_info(a->object_fd, info) == 0 && is_the_object(a, info)) return 0;
  if (shmd_os_info(shmd_load_int_acquire(&a->liveness_fd), info) == 0 && is_the_object(a, info)) return 0;
  result = a->nameless ? -EBADF : shmd_os_name_info(a->name, info);
  return result < 0 || is_the_object(a, info) ? result : -ENOENT;
}

int shmd_descriptor_join(shmd_attachment* a) {
  const int fd = shmd_descriptor_reopen(a, !a->read_only);
  a->process_bytes = fd < 0 && shmd_descriptor_object(a);
  if (a->process_bytes) {
    shmd_store_int_release(&a->liveness_fd, -1);
    return 0;
  }
  if (fd < 0) return fd;
  (void)shmd_os_mark(fd, &a->liveness_mark);
  shmd_store_int_release(&a->liveness_fd, fd);
  return 0;
}

void shmd_descriptor_close_liveness(shmd_attachment* a) {
  if (shmd_descriptor_liveness(a)) shmd_os_close(a->liveness_fd);
  shmd_store_int_release(&a->liveness_fd, -1);
}

void shmd_descriptor_close_object(shmd_attachment* a) {
  if (a->object_mark.inode == 0 || shmd_descriptor_object(a)) shmd_os_close(a->object_fd);
  a->object_fd = -1;
}

/* ---- bytes ---- */

int shmd_bytes_try_lock(const shmd_attachment* a, uint64_t byte, bool exclusive) {
  if (a->process_bytes)
    return shmd_descriptor_object(a) ? shmd_os_process_try_lock(a->object_fd, byte, exclusive) : -EBADF;
  return shmd_descriptor_liveness(a) ? shmd_os_byte_try_lock(a->liveness_fd, byte, exclusive) : -EBADF;
}

int shmd_bytes_unlock(const shmd_attachment* a, uint64_t byte) {
  if (a->process_bytes) return shmd_descriptor_object(a) ? shmd_os_process_unlock(a->object_fd, byte) : -EBADF;
  return shmd_descriptor_liveness(a) ? shmd_os_byte_unlock(a->liveness_fd, byte) : -EBADF;
}

int shmd_bytes_held(const shmd_attachment* a, uint64_t first, uint64_t count) {
  int fd, result;
  if (shmd_descriptor_liveness(a)) return shmd_os_byte_held(shmd_load_int_acquire(&a->liveness_fd), first, count);
  if (shmd_descriptor_object(a)) return shmd_os_process_held(a->object_fd, first, count);
  fd = shmd_descriptor_reopen(a, false);
  if (fd < 0) return fd;
  result = shmd_os_process_held(fd, first, count);
  shmd_os_close(fd);
  return result;
}
