/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restoring: a new dict from what backup.c wrote.
 *
 * Steps: (1) the head is read and checked (2) a new object is made, nameless; its first entries are those of the stream, each put
 * as soon as it has come (3) the end has come, and says that nothing is missing (4) the object gets its name. Killed or failed
 * before (4): there is no such dict, and the system takes the object back.
 *
 * Nothing that is read is believed: sizes are compared with what there can be, memory for a value is taken as its bytes come,
 * and every entry goes the way of any write.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "cancel.h"
#include "error.h"
#include "object.h"
#include "platform.h"
#include "redo.h"

#define MIB (UINT64_C(1) << 20)
#define STEP ((size_t)1 << 20) /* of a value's memory at first */
/* Of the index, for a key and for a nested dict: an upper bound of what a dict takes that is filled from empty. */
#define INDEX_BYTES 32u
#define DICT_BYTES 128u

typedef struct reading {
  shmd_dict* to;      /* NULL: what comes is only counted */
  shmd_node* waiting; /* nested dicts whose entries have not come yet */
  uint32_t count, capacity;
  shmd_node node; /* that entries are of now */
  bool leave;
  unsigned char* value;
  size_t value_capacity;
  /* What all of it needs, by a segment size: records, those that take segments of their own, and the largest value. */
  uint64_t segment_size, records, runs, largest, entries;
  shmd_archive_in in;
  unsigned char key[SHMD_MAX_KEY];
} reading;

static size_t load16(const unsigned char* from) { return (size_t)from[0] | (size_t)from[1] << 8; }

static void count_entry(reading* r, size_t key_size, size_t value_size) {
  const uint64_t bytes = sizeof(shmd_record) + SHMD_PAD8(key_size) + SHMD_PAD8(value_size);
  if (bytes > r->segment_size / 2)
    r->runs += (bytes + r->segment_size - 1) / r->segment_size * r->segment_size;
  else
    r->records += bytes;
  if (value_size > r->largest) r->largest = value_size;
  ++r->entries;
}

/* Takes a value; of memory no more than twice what has come of it. */
static int take_value(reading* r, size_t size) {
  size_t done = 0;
  while (done < size) {
    size_t n = size - done;
    int result;
    if (r->value_capacity - done < n) {
      const size_t larger = r->value_capacity < STEP ? STEP : 2 * r->value_capacity;
      if (r->value_capacity == done) {
        unsigned char* grown = (unsigned char*)realloc(r->value, size < larger ? size : larger);
        if (grown == NULL)
          return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "the %s: no memory for a value of %zu bytes", r->in.said, size);
        r->value = grown;
        r->value_capacity = size < larger ? size : larger;
      }
      if (r->value_capacity - done < n) n = r->value_capacity - done;
    }
    result = shmd_archive_take(&r->in, r->value + done, n);
    if (result < 0) return result;
    done += n;
  }
  return 0;
}

static int restore_value(reading* r) {
  unsigned char head[6];
  size_t key_size, value_size;
  int result = shmd_archive_take(&r->in, head, sizeof head);
  if (result < 0) return result;
  key_size = load16(head);
  value_size = load16(head + 2) | load16(head + 4) << 16;
  if (value_size > SHMD_MAX_VALUE) return shmd_archive_damaged(&r->in, "a value is longer than there can be");
  ++r->in.totals.values;
  r->in.totals.bytes += key_size + value_size;
  count_entry(r, key_size, value_size);
  result = shmd_archive_take(&r->in, r->key, key_size);
  if (result < 0) return result;
  if (r->to == NULL) return shmd_archive_take(&r->in, NULL, value_size);
  if (value_size > r->to->attachment->max_size / 2) {
    result = shmd_archive_take(&r->in, NULL, value_size);
    return result < 0 ? result
                      : shmd_fail(SHMD_ERR_VALUE_TOO_LONG, "dict '%s': a value of %zu bytes is too long",
                                  r->to->attachment->name, value_size);
  }
  result = take_value(r, value_size);
  if (result < 0) return result;
  result = shmd_put(r->to, r->node, r->key, key_size, r->value, value_size, SHMD_INSERT_ONLY);
  return result == SHMD_EXISTS ? shmd_archive_damaged(&r->in, "a key comes twice") : result;
}

static int restore_dict(reading* r) {
  unsigned char head[2];
  size_t key_size;
  shmd_node child;
  int result = shmd_archive_take(&r->in, head, sizeof head);
  if (result < 0) return result;
  key_size = load16(head);
  ++r->in.totals.dicts;
  r->in.totals.bytes += key_size;
  count_entry(r, key_size, 8);
  result = shmd_archive_take(&r->in, r->key, key_size);
  if (result < 0) return result;
  if (r->to == NULL) {
    ++r->count;
    return 0;
  }
  result = shmd_node_open(r->to, r->node, r->key, key_size, SHMD_NODE_CREATE, &child);
  if (result == SHMD_OK || result == SHMD_ERR_NOT_A_DICT) return shmd_archive_damaged(&r->in, "a key comes twice");
  if (result < 0) {
    ++r->count; /* if the rest is only counted, this one is, too */
    return result;
  }
  if (!shmd_tx_grow((void**)&r->waiting, r->count, &r->capacity, sizeof *r->waiting))
    return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "the %s: no memory to note %u nested dicts", r->in.said, r->count);
  r->waiting[r->count++] = child;
  return 0;
}

static int restore_entries(reading* r) {
  int result;
  while ((result = shmd_archive_more(&r->in)) == 1) {
    unsigned char kind;
    result = shmd_archive_take(&r->in, &kind, 1);
    if (result < 0) return result;
    if (kind == SHMD_ARCHIVE_VALUE) {
      result = restore_value(r);
    } else if (kind == SHMD_ARCHIVE_DICT) {
      result = restore_dict(r);
    } else if (kind == SHMD_ARCHIVE_NEXT && r->count != 0) {
      --r->count;
      if (r->to != NULL) r->node = r->waiting[r->count];
    } else {
      result = shmd_archive_damaged(&r->in, "an entry is of a kind that there is not");
    }
    if (result < 0) return result;
  }
  if (result == 0 && r->count != 0) return shmd_archive_damaged(&r->in, "entries of a nested dict are missing");
  return result;
}

/*
 * The creator's callback of the new object. A dict that its creator does not keep open is left as if nobody had ever attached,
 * which tells it from one whose users died (list.c). No name was given out under the number that is taken back: named locks
 * are not restored, and nobody else can attach before the dict has its name.
 */
static int restore_all(shmd_dict* to, void* context) {
  reading* r = (reading*)context;
  int result;
  r->to = to;
  r->segment_size = to->attachment->segment_size;
  result = restore_entries(r);
  if (result >= 0 && r->in.path != NULL) result = shmd_archive_nothing_left(&r->in);
  r->to = NULL; /* it does not outlive the call */
  if (result >= 0 && r->leave) shmd_store_release(&shmd_control_of(to->attachment)->incarnations, 0);
  return result;
}

/* ---- a max_size that is too small ---- */

/* A max_size that all of it fits into, and an eighth. 0: none is known. */
static uint64_t size_needed(const reading* r, shmd_options o) {
  const uint64_t index = r->entries * INDEX_BYTES + r->in.totals.dicts * DICT_BYTES;
  const uint64_t content = r->records + r->records / 8 + r->runs + r->runs / 8 + index + 16 * o.segment_size;
  const uint64_t least = 2 * r->largest > content ? 2 * r->largest : content;
  shmd_superblock s;
  for (o.max_size = least; o.max_size < INT64_MAX / 2; o.max_size += o.max_size / 16) {
    o.max_size = (o.max_size | (MIB - 1)) + 1;
    if (shmd_object_geometry(&o, &s) >= 0 && s.segment_count << s.segment_shift >= content &&
        s.node_capacity >= r->in.totals.dicts + 16)
      return o.max_size;
  }
  return 0;
}

/* Says of a failure that is max_size's what would do instead; reads the rest of the stream for that. */
static int explain(int result, reading* r, const char* name, const shmd_options* o, uint64_t backup_has) {
  const shmd_error_info before = *shmd_last_error();
  shmd_superblock s;
  uint64_t needed;
  int rest;
  if (result != SHMD_ERR_TOO_MANY_DICTS && result != SHMD_ERR_VALUE_TOO_LONG &&
      !(result == SHMD_ERR_NO_SPACE && before.system_error == 0) &&
      !(result == SHMD_ERR_INVALID_ARGUMENT && shmd_object_geometry(o, &s) < 0))
    return result;
  r->segment_size = o->segment_size;
  rest = restore_entries(r);
  if (rest < 0) return rest; /* it is no good whatever the size */
  needed = size_needed(r, *o);
  if (needed > o->max_size)
    return shmd_fail(result,
                     "dict '%s' cannot be restored with a max_size of %llu bytes: it needs %llu; say so, or leave "
                     "max_size to the %.120s, which has %llu",
                     name != NULL ? name : "(random name)", (unsigned long long)o->max_size, (unsigned long long)needed,
                     r->in.said, (unsigned long long)backup_has);
  *shmd_error_slot() = before;
  return result;
}

/* ---- restore ---- */

/* What a new object takes from the backup, where the options leave it open. CORRUPT: no dict can be so. */
static int inherit(const reading* r, const shmd_archive_head* head, shmd_options* o) {
  shmd_options as_it_was = *o;
  shmd_superblock s;
  as_it_was.max_size = head->max_size;
  as_it_was.segment_size = head->segment_size;
  as_it_was.buffer_size = head->buffer_size;
  as_it_was.max_pin_bytes = head->max_pin_bytes;
  as_it_was.max_processes = head->max_processes;
  if (shmd_object_geometry(&as_it_was, &s) < 0)
    return shmd_archive_damaged(&r->in, "what it says of the dict's sizes makes no sense");
  if (o->max_size == 0) o->max_size = head->max_size;
  if (o->segment_size == 0) o->segment_size = head->segment_size;
  if (o->buffer_size == 0) o->buffer_size = head->buffer_size;
  if (o->max_pin_bytes == 0) o->max_pin_bytes = head->max_pin_bytes;
  if (o->max_processes == 0) o->max_processes = head->max_processes;
  return 0;
}

static int same_type(const reading* r, const char* which, const char* stored, const char* asked) {
  if (asked == NULL || asked[0] == '\0' || stored[0] == '\0' || strcmp(stored, asked) == 0) return 0;
  return shmd_fail(SHMD_ERR_TYPE_MISMATCH, "the %s has %s type '%.100s', not '%.100s'; restore it with its type",
                   r->in.said, which, stored, asked);
}

static int restore(reading* r, const char* path, shmd_read_fn read, void* context, const char* name,
                   const shmd_options* options, shmd_dict** out) {
  shmd_archive_head head;
  shmd_options o = *options;
  shmd_dict* fresh;
  int result = shmd_archive_open(&r->in, path, read, context, &head);
  if (result >= 0) result = inherit(r, &head, &o);
  if (result >= 0) result = same_type(r, "key", head.key_type, o.key_type);
  if (result >= 0) result = same_type(r, "value", head.value_type, o.value_type);
  if (result < 0) return result;
  o.key_type = head.key_type;
  o.value_type = head.value_type;
  o.mode = SHMD_CREATE_ONLY;
  o.flags &= ~(uint32_t)SHMD_READ_ONLY;
  o.fd = -1;
  o.init = restore_all;
  o.init_context = r;
  r->leave = out == NULL;
  result = shmd_open(name, &o, &fresh);
  if (result < 0) return explain(result, r, name, &o, head.max_size);
  if (out != NULL) {
    *out = fresh;
  } else {
    fresh->keep_on_close = 1;
    (void)shmd_close(fresh);
  }
  return result;
}

static void end_reading(reading** r) {
  const shmd_error_info failure = *shmd_last_error();
  if (*r == NULL) return;
  free((*r)->waiting);
  free((*r)->value);
  free(*r);
  *shmd_error_slot() = failure;
}

/* The callback may throw. */
static int restore_with(const char* function, const char* path, shmd_read_fn read, void* context, const char* name,
                        const shmd_options* options, shmd_dict** out) {
  reading* r SHMD_CLEANUP(end_reading) = NULL;
  shmd_options o;
  if (out != NULL) *out = NULL;
  shmd_options_init(&o);
  if (options != NULL && options->struct_size != sizeof o)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "%s: initialise the options with shmd_options_init", function);
  if (options != NULL) o = *options;
  r = (reading*)calloc(1, sizeof *r);
  if (r == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "no memory to read a backup");
  return restore(r, path, read, context, name, &o, out);
}

int shmd_restore_from(shmd_read_fn read, void* context, const char* name, const shmd_options* options,
                      shmd_dict** out) {
  int result;
  if (out != NULL) *out = NULL;
  if (read == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_restore_from: the callback is NULL");
  shmd_cancel_off();
  {
    const int off SHMD_CLEANUP(shmd_cancel_over) = 0;
    (void)off;
    result = restore_with("shmd_restore_from", NULL, read, context, name, options, out);
  }
  return result;
}

typedef struct source {
  int fd;
  const char* path;
} source;

static int read_failed(int error, const char* path) {
  const int code = error == -EACCES || error == -EPERM ? SHMD_ERR_PERMISSION_DENIED : SHMD_ERR_SYSTEM;
  return shmd_fail_file(code, error, "cannot read the backup '%.200s'", path);
}

static int read_file(void* context, void* bytes, size_t size) {
  const source* from = (const source*)context;
  const int result = shmd_os_file_read(from->fd, bytes, size);
  return result < 0 ? read_failed(result, from->path) : result;
}

static int restore_file(const char* path, const char* name, const shmd_options* options, shmd_dict** out) {
  shmd_file_info info;
  source from;
  int result;
  if (out != NULL) *out = NULL;
  if (path == NULL || path[0] == '\0') return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_restore: a path is needed");
  from.path = path;
  from.fd = shmd_os_file_open(path);
  if (from.fd < 0) return read_failed(from.fd, path);
  result = shmd_os_info(from.fd, &info);
  if (result < 0)
    result = read_failed(result, path);
  else if (!info.regular)
    result = shmd_fail(SHMD_ERR_FOREIGN_OBJECT,
                       "'%.200s' is no backup of a dict: it is no regular file; read it as a stream", path);
  else
    result = restore_with("shmd_restore", path, read_file, &from, name, options, out);
  shmd_os_close(from.fd);
  return result;
}

int shmd_restore(const char* path, const char* name, const shmd_options* options, shmd_dict** out) {
  int result;
  shmd_cancel_off();
  result = restore_file(path, name, options, out);
  shmd_cancel_back();
  return result;
}
