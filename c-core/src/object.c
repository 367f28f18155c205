/* SPDX-License-Identifier: Apache-2.0 */
#include "object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "descriptor.h"
#include "error.h"
#include "platform.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)

#define DEFAULT_MAX_SIZE (64 * GIB)
#define DEFAULT_SEGMENT_SIZE (256 * KIB)
#define DEFAULT_BUFFER_SIZE MIB
#define DEFAULT_MAX_PROCESSES 256u
#define MIN_MAX_SIZE (4 * MIB)
#define MAX_MAX_SIZE (UINT64_C(1) << 46) /* a quarter of what references can address, half of the address space */
#define MIN_SEGMENT_SIZE (64 * KIB)
#define MAX_SEGMENT_SIZE (16 * MIB)
#define MAX_MAX_PROCESSES 60000u /* slot + 1 fits the lock word, SHMD_LOCK_BROKEN left over */
#define MIN_SEGMENTS 8u
#define RETIRED_FILLED (SHMD_CONTROL_OFFSET + SHMD_PAGE) /* the superblock's page and the control block's */

static uint64_t align_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }
static uint64_t clamp(uint64_t n, uint64_t low, uint64_t high) { return n < low ? low : n > high ? high : n; }

static int fill_sizes(const shmd_options* o, shmd_superblock* s) {
  s->segment_size = o->segment_size != 0 ? o->segment_size : DEFAULT_SEGMENT_SIZE;
  s->max_size = o->max_size != 0 ? o->max_size : DEFAULT_MAX_SIZE;
  s->buffer_size = o->buffer_size != 0 ? o->buffer_size : DEFAULT_BUFFER_SIZE;
  s->max_processes = o->max_processes != 0 ? o->max_processes : DEFAULT_MAX_PROCESSES;
  if (s->segment_size < MIN_SEGMENT_SIZE || s->segment_size > MAX_SEGMENT_SIZE ||
      (s->segment_size & (s->segment_size - 1)) != 0)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                     "options: segment_size %llu is not a power of two from 64 KiB to 16 MiB",
                     (unsigned long long)s->segment_size);
  if (s->max_size < MIN_MAX_SIZE || s->max_size > MAX_MAX_SIZE)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "options: max_size %llu is not between 4 MiB and 64 TiB",
                     (unsigned long long)s->max_size);
  s->max_size = align_up(s->max_size, s->segment_size);
  if (s->buffer_size > s->max_size / 2)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "options: buffer_size %llu is more than half of max_size %llu",
                     (unsigned long long)s->buffer_size, (unsigned long long)s->max_size);
  if (s->max_processes > MAX_MAX_PROCESSES)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "options: max_processes %u is more than %u", (unsigned)s->max_processes,
                     MAX_MAX_PROCESSES);
  s->max_pin_bytes = o->max_pin_bytes != 0 ? o->max_pin_bytes : s->max_size;
  return 0;
}

int shmd_object_geometry(const shmd_options* options, shmd_superblock* s) {
  uint64_t at, segments, usable;
  int result;
  memset(s, 0, sizeof *s);
  result = fill_sizes(options, s);
  if (result < 0) return result;
  while ((UINT64_C(1) << s->segment_shift) < s->segment_size) ++s->segment_shift;
  s->magic = SHMD_MAGIC;
  s->layout_version = SHMD_LAYOUT_VERSION;
  s->abi = SHMD_ABI;
  s->shard_count = 1;

  at = SHMD_PAGE;
  s->control_offset = at;
  s->control_stride = SHMD_PAGE;
  at += s->control_stride * s->shard_count;
  s->attach_offset = at;
  at = align_up(at + s->max_processes * sizeof(shmd_slot), SHMD_PAGE);
  s->pins_offset = at;
  at = align_up(at + s->max_processes * sizeof(uint64_t) * s->shard_count, SHMD_PAGE);
  s->redo_offset = at;
  s->redo_capacity = clamp(s->max_size / 16, 64 * KIB, 4 * GIB) / sizeof(shmd_redo_entry);
  at = align_up(at + s->redo_capacity * sizeof(shmd_redo_entry), SHMD_PAGE);
  s->nodes_offset = at;
  s->node_capacity = clamp(s->max_size / 16, 4 * KIB, 4 * GIB) / sizeof(shmd_node_entry);
  at = align_up(at + s->node_capacity * sizeof(shmd_node_entry), SHMD_PAGE);
  s->segments_offset = at;
  /* The table is as long as if all of the object were segments; those that the fixed regions take do not exist. */
  segments = s->max_size >> s->segment_shift;
  at += segments * sizeof(shmd_segment);
  s->data_offset = align_up(at, s->segment_size);
  usable = s->max_size - SHMD_READ_SLACK; /* see read.h: no block or record begins behind its limit */
  if (s->data_offset >= usable || (usable - s->data_offset) >> s->segment_shift < MIN_SEGMENTS)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                     "options: max_size %llu has no room for %u segments of %llu bytes; raise it",
                     (unsigned long long)s->max_size, MIN_SEGMENTS, (unsigned long long)s->segment_size);
  s->segment_count = (usable - s->data_offset) >> s->segment_shift;
  if (segments >= SHMD_NONE)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "options: max_size %llu needs too many segments; raise segment_size",
                     (unsigned long long)s->max_size);
  return 0;
}

/* ---- validation ---- */

static bool terminated(const char* text, size_t capacity) { return memchr(text, '\0', capacity) != NULL; }

static bool same_geometry(const shmd_superblock* a, const shmd_superblock* b) {
  return a->max_size == b->max_size && a->segment_size == b->segment_size && a->segment_count == b->segment_count &&
         a->buffer_size == b->buffer_size && a->max_pin_bytes == b->max_pin_bytes &&
         a->control_offset == b->control_offset && a->control_stride == b->control_stride &&
         a->attach_offset == b->attach_offset && a->pins_offset == b->pins_offset && a->redo_offset == b->redo_offset &&
         a->redo_capacity == b->redo_capacity && a->nodes_offset == b->nodes_offset &&
         a->node_capacity == b->node_capacity && a->segments_offset == b->segments_offset &&
         a->data_offset == b->data_offset && a->shard_count == b->shard_count && a->max_processes == b->max_processes &&
         a->segment_shift == b->segment_shift;
}

int shmd_object_validate(const char* name, const shmd_superblock* super, uint64_t size) {
  shmd_options options;
  shmd_superblock expected;
  if (super->magic != SHMD_MAGIC) {
    static const shmd_superblock nothing;
    if (memcmp(super, &nothing, sizeof nothing) == 0)
      return shmd_fail(SHMD_ERR_INCOMPLETE_OBJECT, "dict '%s' was never completed: its creator died; unlink it", name);
    return shmd_fail(SHMD_ERR_FOREIGN_OBJECT,
                     "'%s' is a shared object that shmdict did not make; choose another name, or remove it by hand",
                     name);
  }
  if (super->layout_version != SHMD_LAYOUT_VERSION || super->abi != SHMD_ABI)
    return shmd_fail(
        SHMD_ERR_LAYOUT_MISMATCH,
        "dict '%s' has layout %u (signature %08x), this library reads layout %u (%08x); use the library that "
        "made it, or unlink it",
        name, (unsigned)super->layout_version, (unsigned)super->abi, SHMD_LAYOUT_VERSION, (unsigned)SHMD_ABI);
  if (super->ready != 1)
    return shmd_fail(SHMD_ERR_INCOMPLETE_OBJECT, "dict '%s' was never completed: its creator died; unlink it", name);
  memset(&options, 0, sizeof options);
  options.max_size = super->max_size;
  options.segment_size = super->segment_size;
  options.buffer_size = super->buffer_size;
  options.max_pin_bytes = super->max_pin_bytes;
  options.max_processes = super->max_processes;
  if (shmd_object_geometry(&options, &expected) < 0 || !same_geometry(super, &expected) ||
      super->unlink_policy > SHMD_UNLINK_NEVER || (super->id[0] == 0 && super->id[1] == 0) ||
      !terminated(super->name, sizeof super->name) || !terminated(super->key_type, sizeof super->key_type) ||
      !terminated(super->value_type, sizeof super->value_type))
    return shmd_fail(SHMD_ERR_CORRUPT, "dict '%s' is corrupt: its superblock contradicts itself; unlink it", name);
  if (size < super->max_size)
    return shmd_fail(SHMD_ERR_INCOMPLETE_OBJECT, "dict '%s' is truncated to %llu of %llu bytes; unlink it", name,
                     (unsigned long long)size, (unsigned long long)super->max_size);
  if (size != super->max_size)
    return shmd_fail(SHMD_ERR_CORRUPT, "dict '%s' is corrupt: it is %llu bytes long and should be %llu; unlink it",
                     name, (unsigned long long)size, (unsigned long long)super->max_size);
  return 0;
}

int shmd_object_inspect(int fd, const char* name, shmd_superblock* super) {
  shmd_file_info info;
  int n = shmd_os_info(fd, &info);
  memset(super, 0, sizeof *super);
  if (n < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, n, "dict '%s': cannot look at the object", name);
  if (!info.regular)
    return shmd_fail(SHMD_ERR_FOREIGN_OBJECT, "'%s' is not a shared object; choose another name, or remove it by hand",
                     name);
  if (info.size == 0)
    return shmd_fail(SHMD_ERR_INCOMPLETE_OBJECT,
                     "dict '%s' is empty (0 bytes): it was truncated or never completed; unlink it", name);
  n = shmd_os_read(fd, 0, super, sizeof *super);
  if (n < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, n, "dict '%s': cannot read the object", name);
  if ((size_t)n < sizeof *super && super->magic == SHMD_MAGIC)
    return shmd_fail(SHMD_ERR_INCOMPLETE_OBJECT, "dict '%s' is truncated to %llu bytes; unlink it", name,
                     (unsigned long long)info.size);
  return shmd_object_validate(name, super, info.size);
}

/* ---- mapping ---- */

int shmd_object_map(shmd_attachment* a, const shmd_superblock* super) {
  shmd_file_info info;
  unsigned char* base = NULL;
  int result = shmd_os_info(a->object_fd, &info);
  if (result < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot look at the object", a->name);
  shmd_descriptor_mark(a);
  a->super = (shmd_superblock*)malloc(sizeof *a->super);
  if (a->super == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory to attach", a->name);
  memcpy(a->super, super, sizeof *super);
  result = shmd_os_map(a->object_fd, super->max_size, !a->read_only, &base);
  if (result < 0) { /* perhaps for want of addresses */
    shmd_attachment_drop_retired();
    result = shmd_os_map(a->object_fd, super->max_size, !a->read_only, &base);
  }
  if (result < 0) {
    free(a->super);
    a->super = NULL;
    if (result == -EAGAIN)
      return shmd_fail_errno(
          SHMD_ERR_OUT_OF_MEMORY, result,
          "dict '%s': cannot map %llu bytes: this process locks its memory (mlockall), and may not lock "
          "as much; create the dict with a smaller max_size, or raise `ulimit -l`",
          a->name, (unsigned long long)super->max_size);
    return shmd_fail_errno(result == -ENOMEM ? SHMD_ERR_OUT_OF_MEMORY : SHMD_ERR_SYSTEM, result,
                           "dict '%s': cannot map %llu bytes; create it with a smaller max_size, or raise the limit on "
                           "address space (`ulimit -v`)",
                           a->name, (unsigned long long)super->max_size);
  }
  a->segments = (shmd_segment*)(void*)(base + super->segments_offset);
  a->segment_count = super->segment_count;
  a->segment_size = super->segment_size;
  a->segment_shift = super->segment_shift;
  a->max_processes = super->max_processes;
  a->max_size = super->max_size;
  a->largest_value = super->max_size / 2 < SHMD_MAX_VALUE ? super->max_size / 2 : SHMD_MAX_VALUE;
  a->device = info.device;
  a->inode = info.inode;
  a->reader.base = base;
  a->reader.limit = super->max_size - SHMD_READ_SLACK;
  a->reader.control = (shmd_control*)(void*)(base + super->control_offset);
  a->reader.nodes = (shmd_node_entry*)(void*)(base + super->nodes_offset);
  a->reader.node_capacity = super->node_capacity;
  a->reader.hash_seed = super->hash_seed;
  a->reader.data_offset = super->data_offset;
  a->reader.max_size = super->max_size;
  return 0;
}

void shmd_object_unmap(shmd_attachment* a) {
  if (a->reader.base != NULL) shmd_os_unmap(a->reader.base, a->max_size);
  a->reader.base = NULL;
  free(a->super);
  a->super = NULL;
}

uint64_t shmd_object_retire(shmd_attachment* a) {
  /* All ones: `recycle`, which was never so high, so that no read believes what it saw partly before and partly after;
   * `root_index` and `root_node`, which lie beyond everything; the slot of `lock`, which is nobody's. */
  const int result = shmd_os_replace(a->reader.base, a->max_size, 0xff, RETIRED_FILLED);
  free(a->super);
  a->super = NULL;
  if (result >= 0) return a->max_size;
  shmd_os_unmap(a->reader.base, a->max_size); /* no addresses left, even for this moment */
  return 0;
}

/* ---- creation ---- */

/*
 * Steps: (1) an object without a name (2) its size (3) memory for superblock, control, attach table and pins (4) pins =
 * none (5) the superblock. The caller then lets the engine format the rest, and publishes. Killed at any step before that:
 * the system removes the nameless object; nobody ever sees it.
 */
int shmd_object_build(shmd_attachment* a, const shmd_superblock* super) {
  uint32_t i;
  int result;
  shmd_descriptor_mark(a);
  result = shmd_os_resize(a->object_fd, super->max_size);
  if (result < 0)
    return shmd_fail_errno(result == -EFBIG ? SHMD_ERR_INVALID_ARGUMENT : SHMD_ERR_SYSTEM, result,
                           "dict '%s': cannot make an object of %llu bytes; lower max_size, or raise `ulimit -f`",
                           a->name, (unsigned long long)super->max_size);
  result = shmd_object_allocate(a, 0, super->redo_offset);
  if (result < 0) return result;
  result = shmd_object_map(a, super);
  if (result < 0) return result;
  for (i = 0; i < super->max_processes; ++i) shmd_store_release(shmd_word(a, super->pins_offset) + i, UINT64_MAX);
  shmd_copy_in(shmd_object_shared(a), super, sizeof *super);
  return 0;
}

int shmd_object_create(shmd_attachment* a, const shmd_superblock* super, uint32_t permissions) {
  const int fd = shmd_os_create_unnamed(a->name, permissions);
  int result;
  if (fd == -EACCES || fd == -EPERM || fd == -EROFS)
    return shmd_fail_errno(SHMD_ERR_PERMISSION_DENIED, fd, "dict '%s': not allowed to create shared objects", a->name);
  if (fd == -ENOSPC || fd == -EDQUOT)
    return shmd_fail_errno(SHMD_ERR_NO_SPACE, fd, "dict '%s': no space for a new shared object; unlink dicts", a->name);
  if (fd < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, fd, "dict '%s': cannot create a shared object", a->name);
  a->object_fd = fd;
  result = shmd_object_build(a, super);
  if (result < 0) {
    shmd_object_unmap(a);
    shmd_os_discard(fd);
    a->object_fd = -1;
  }
  return result;
}

static int store_type(const char* name, const char* which, const char* type, char* to, size_t capacity) {
  const size_t length = type != NULL ? strlen(type) : 0;
  if (length >= capacity)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "dict '%s': the name of the %s type has %zu bytes; at most %zu", name,
                     which, length, capacity - 1);
  if (length != 0) memcpy(to, type, length); /* NOLINT(bugprone-not-null-terminated-result): `to` is all zero */
  return 0;
}

int shmd_object_describe(const char* name, const shmd_options* o, shmd_superblock* s) {
  uint64_t random[3];
  int result = shmd_object_geometry(o, s);
  if (result < 0) return result;
  result = shmd_os_random(random, sizeof random);
  if (result < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "a new dict: no random numbers");
  s->id[0] = random[0] | 1;
  s->id[1] = random[1];
  s->hash_seed = random[2];
  s->unlink_policy = (uint32_t)o->unlink;
  s->creator_pid = shmd_os_pid();
  s->creator_start = shmd_os_start_time();
  s->ready = 1;
  if (name != NULL) memcpy(s->name, name, strlen(name));
  name = s->name;
  result = store_type(name, "key", o->key_type, s->key_type, sizeof s->key_type);
  return result < 0 ? result : store_type(name, "value", o->value_type, s->value_type, sizeof s->value_type);
}

/* ---- memory ---- */

/* The program has closed the object's descriptor: by the mapping, or by another way to the object. */
static int allocate_otherwise(shmd_attachment* a, uint64_t first, uint64_t size) {
  int result = shmd_os_allocate_mapping(shmd_at(a, first), size), fd;
  if (result == 0 || result == -ENOSPC || result == -ENOMEM) return result;
  fd = shmd_descriptor_reopen(a, true);
  if (fd < 0) return result;
  result = shmd_os_allocate(fd, first, size);
  shmd_os_close(fd);
  return result;
}

int shmd_object_allocate(shmd_attachment* a, uint64_t offset, uint64_t size) {
  const uint64_t first = offset & ~(uint64_t)(SHMD_PAGE - 1), length = align_up(offset + size, SHMD_PAGE) - first;
  const int result =
      shmd_descriptor_file(a) ? shmd_os_allocate(a->object_fd, first, length) : allocate_otherwise(a, first, length);
  if (result >= 0) return 0;
  if (result == -ENOSPC || result == -EDQUOT || result == -EFBIG || result == -ENOMEM)
    return shmd_fail_errno(
        SHMD_ERR_NO_SPACE, result,
        "dict '%s': no memory for %llu more bytes; erase keys, unlink dicts, or enlarge the file system", a->name,
        (unsigned long long)size);
  return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot allocate %llu bytes", a->name,
                         (unsigned long long)size);
}

int shmd_object_punch(shmd_attachment* a, uint64_t offset, uint64_t size) {
  const uint64_t first = align_up(offset, SHMD_PAGE), end = (offset + size) & ~(uint64_t)(SHMD_PAGE - 1);
  int result;
  if (first >= end) return 0;
  /* By the mapping, which is ours whatever becomes of descriptors. Not while the memory is locked: then by a descriptor. */
  result = shmd_os_punch_mapping(shmd_at(a, first), end - first);
  if (result < 0 && shmd_descriptor_object(a)) result = shmd_os_punch(a->object_fd, first, end - first);
  if (result >= 0) return 0;
  return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot return %llu bytes to the system", a->name,
                         (unsigned long long)(end - first));
}

int shmd_object_return(shmd_attachment* a, uint64_t offset, uint64_t size, uint64_t known) {
  uint64_t* count = &shmd_control_of(a)->punched_bytes;
  const int result = shmd_object_punch(a, offset, size);
  if (result >= 0) shmd_store_release(count, shmd_load_acquire(count) + (known < size ? known : size));
  return result;
}
