/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backups: a dict copied into an object of its own, entry by entry, as one snapshot shows it; so it holds live data only,
 * and every rule of the layout is kept by the code that always keeps it.
 *
 * Backup, steps: (1) a file without a name, or under a temporary one, in the directory of `path` (2) a dict is made in it,
 * its first entries the copy (attach.c: create_steps) (3) it is closed, and on the disk (4) the file takes the path's
 * place (platform: shmd_os_file_finish). Killed before (4): the path leads where it led.
 * Restore, steps: (1) the file is opened read-only, validated, checked (2) a new object is made, its first entries the
 * copy (3) it gets its name. Killed before (3): there is no such dict.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attach.h"
#include "error.h"
#include "handle.h"
#include "object.h"
#include "platform.h"
#include "redo.h"
#include "snapshot.h"
#include "transaction.h"

#define MIB (UINT64_C(1) << 20)

/* ---- the copy ---- */

typedef struct pair {
  shmd_node from, to;
} pair;

/* Dicts still to copy: a queue, because nesting may be deeper than a stack. */
typedef struct copying {
  shmd_snapshot* from;
  shmd_dict* to;
  pair* queue;
  uint32_t count, capacity, at;
} copying;

static int queue_pair(copying* c, shmd_node from, shmd_node to) {
  if (c->count >= c->from->a->reader.node_capacity)
    return shmd_fail(SHMD_ERR_CORRUPT, "dict '%s' is corrupt: more nested dicts than there can be; run shmd_check",
                     c->from->a->name);
  if (!shmd_tx_grow((void**)&c->queue, c->count, &c->capacity, sizeof *c->queue))
    return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory to copy %u nested dicts", c->from->a->name,
                     c->count);
  c->queue[c->count].from = from;
  c->queue[c->count].to = to;
  ++c->count;
  return 0;
}

static int copy_entry(copying* c, shmd_node to, const shmd_entry* e) {
  shmd_node child;
  int result;
  if (!e->is_dict) return shmd_put(c->to, to, e->key, e->key_size, e->value, e->value_size, 0);
  result = shmd_node_open(c->to, to, e->key, e->key_size, SHMD_NODE_CREATE, &child);
  return result < 0 ? result : queue_pair(c, e->node, child);
}

static int copy_dict(copying* c, pair p) {
  shmd_iter* it;
  shmd_entry e;
  int result = shmd_iter_open(c->from, p.from, &it);
  if (result < 0) return result;
  while ((result = shmd_iter_next(it, &e)) == 0) {
    result = copy_entry(c, p.to, &e);
    if (result < 0) break;
  }
  shmd_iter_close(it);
  return result == SHMD_END ? 0 : result;
}

/* The creator's callback of the new object. */
static int copy_all(shmd_dict* to, void* from) {
  copying c;
  int result;
  memset(&c, 0, sizeof c);
  c.from = (shmd_snapshot*)from;
  c.to = to;
  result = queue_pair(&c, shmd_root(), shmd_root());
  while (result >= 0 && c.at < c.count) result = copy_dict(&c, c.queue[c.at++]);
  free(c.queue);
  return result;
}

/* The same for a dict that its creator does not keep open: as if nobody had ever attached, which tells it from one whose
 * users died (list.c). No name was given out under the number that is taken back: named locks are not copied, and nobody
 * else can attach before the dict has its name. */
static int copy_and_leave(shmd_dict* to, void* from) {
  const int result = copy_all(to, from);
  if (result >= 0) shmd_store_release(&shmd_control_of(to->attachment)->incarnations, 0);
  return result;
}

/* What a new object takes from one that is there, where the options leave it open. */
static void inherit(shmd_options* o, const shmd_superblock* super) {
  if (o->max_size == 0) o->max_size = super->max_size;
  if (o->segment_size == 0) o->segment_size = super->segment_size;
  if (o->buffer_size == 0) o->buffer_size = super->buffer_size;
  if (o->max_pin_bytes == 0) o->max_pin_bytes = super->max_pin_bytes;
  if (o->max_processes == 0) o->max_processes = super->max_processes;
  o->key_type = super->key_type;
  o->value_type = super->value_type;
}

/* ---- backup ---- */

static int file_failed(int error, const char* name, const char* what, const char* path) {
  const int code = error == -EACCES || error == -EPERM || error == -EROFS    ? SHMD_ERR_PERMISSION_DENIED
                   : error == -ENOSPC || error == -EDQUOT || error == -EFBIG ? SHMD_ERR_NO_SPACE
                                                                             : SHMD_ERR_SYSTEM;
  if (error == -EEXIST)
    return shmd_fail(SHMD_ERR_FOREIGN_OBJECT,
                     "dict '%s': '%.200s' is there and is no regular file, so it stays; name another file", name, path);
  return shmd_fail_errno(code, error, "dict '%s': cannot %s the file '%.200s'", name, what, path);
}

static int write_copy(shmd_dict* d, shmd_snapshot* s, int fd) {
  const shmd_attachment* a = d->attachment;
  shmd_options o;
  shmd_dict* copy;
  int result;
  shmd_options_init(&o);
  inherit(&o, a->super);
  o.mode = SHMD_CREATE_ONLY;
  o.unlink = (int)a->super->unlink_policy;
  o.flags = SHMD_ALLOW_OTHER_OWNER;
  o.fd = fd;
  o.timeout = (uint64_t)a->timeout;
  o.init = copy_all;
  o.init_context = s;
  result = shmd_open(a->nameless ? NULL : a->name, &o, &copy);
  return result < 0 ? result : shmd_close(copy);
}

static int write_backup(shmd_dict* d, const char* path) {
  shmd_os_file file;
  shmd_snapshot* s;
  const char* name;
  int result;
  if (path == NULL || path[0] == '\0') return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_backup: a path is needed");
  name = d->attachment->name;
  if (shmd_transaction_mine(d->attachment))
    return shmd_fail(SHMD_ERR_IN_TRANSACTION, "dict '%s': no backup inside a transaction", name);
  result = shmd_os_file_begin(path, 0600, &file);
  if (result < 0) return file_failed(result, name, "create", path);
  result = shmd_snapshot_open(d, &s);
  if (result >= 0) {
    result = write_copy(d, s, file.fd);
    shmd_snapshot_close(s);
  }
  if (result < 0) {
    shmd_os_file_abandon(&file);
    return result;
  }
  result = shmd_os_file_finish(&file);
  return result < 0 ? file_failed(result, name, "put in place", path) : 0;
}

int shmd_backup(shmd_dict* d, const char* path) {
  int result = shmd_handle_enter(d, "shmd_backup");
  if (result < 0) return result;
  result = write_backup(d, path);
  shmd_handle_leave(d);
  return result;
}

/* ---- restore ---- */

/* Keeps the first finding, which says more than that there are some. */
static void keep_first(void* context, const char* finding) {
  char* text = (char*)context;
  size_t i;
  if (text[0] != '\0') return;
  for (i = 0; i < 199 && finding[i] != '\0'; ++i) text[i] = finding[i];
  text[i] = '\0';
}

/* What opening a file as a dict said, in words about a file. */
static int not_a_backup(int result, const char* path) {
  switch (result) {
    case SHMD_ERR_FOREIGN_OBJECT:
      return shmd_fail(result, "'%.200s' is no backup of a dict; name a file that a backup was written to", path);
    case SHMD_ERR_INCOMPLETE_OBJECT:
      return shmd_fail(result, "the backup '%.200s' is truncated, nothing was restored; copy it again, or take another",
                       path);
    case SHMD_ERR_CORRUPT:
      return shmd_fail(result,
                       "the backup '%.200s' is damaged, nothing was restored: its first page contradicts itself; "
                       "copy it again, or take another",
                       path);
    case SHMD_ERR_LAYOUT_MISMATCH:
      return shmd_fail(result,
                       "the backup '%.200s' is of another layout than %u, which this library reads; use the "
                       "library that made it",
                       path, SHMD_LAYOUT_VERSION);
    default:
      return result;
  }
}

static int open_backup(const char* path, const shmd_options* wanted, shmd_dict** out) {
  char first[200] = "";
  shmd_options o;
  int result;
  const int fd = shmd_os_file_open(path);
  if (fd < 0) return file_failed(fd, path, "open", path);
  shmd_options_init(&o);
  o.mode = SHMD_OPEN_ONLY;
  o.flags = SHMD_READ_ONLY | (wanted->flags & SHMD_ALLOW_OTHER_OWNER);
  o.fd = fd;
  o.key_type = wanted->key_type;
  o.value_type = wanted->value_type;
  result = shmd_open(NULL, &o, out);
  shmd_os_close(fd);
  if (result < 0) return not_a_backup(result, path);
  result = shmd_check(*out, keep_first, first);
  if (result == SHMD_ERR_CORRUPT)
    result = shmd_fail(SHMD_ERR_CORRUPT, "the backup '%.200s' is damaged, nothing was restored: %s", path, first);
  if (result < 0) {
    (void)shmd_close(*out);
    *out = NULL;
  }
  return result;
}

/* A max_size that the copy fits into: the backup is such a copy, so what it has in use, and an eighth. 0: unknown. */
static uint64_t size_needed(const shmd_attachment* backup, shmd_options o, bool large_value) {
  const shmd_control* c = shmd_control_of(backup);
  const uint64_t used = shmd_load_acquire(&c->frontier) << backup->segment_shift;
  const uint64_t nodes = shmd_load_acquire(&c->node_frontier) + 16;
  const uint64_t content = used + used / 8 + 16 * o.segment_size;
  shmd_superblock s;
  for (o.max_size = large_value ? 2 * content : content; o.max_size < INT64_MAX / 2; o.max_size += o.max_size / 16) {
    o.max_size = (o.max_size | (MIB - 1)) + 1;
    if (shmd_object_geometry(&o, &s) >= 0 && s.segment_count << s.segment_shift >= content && s.node_capacity >= nodes)
      return o.max_size;
  }
  return 0;
}

/* Says of a failure that is max_size's what would do instead. */
static int explain(int result, const char* path, const char* name, const shmd_attachment* backup,
                   const shmd_options* o) {
  const shmd_error_info before = *shmd_last_error();
  shmd_superblock s;
  uint64_t needed;
  if (result != SHMD_ERR_TOO_MANY_DICTS && result != SHMD_ERR_VALUE_TOO_LONG &&
      !(result == SHMD_ERR_NO_SPACE && before.system_error == 0) &&
      !(result == SHMD_ERR_INVALID_ARGUMENT && shmd_object_geometry(o, &s) < 0))
    return result;
  needed = size_needed(backup, *o, result == SHMD_ERR_VALUE_TOO_LONG);
  if (needed > o->max_size)
    return shmd_fail(result,
                     "dict '%s' cannot be restored with a max_size of %llu bytes: it needs %llu; say so, or leave "
                     "max_size to the backup '%.100s', which has %llu",
                     name != NULL ? name : "(random name)", (unsigned long long)o->max_size, (unsigned long long)needed,
                     path, (unsigned long long)backup->super->max_size);
  *shmd_error_slot() = before;
  return result;
}

static int restore(const char* path, const char* name, const shmd_options* options, shmd_dict** out) {
  shmd_options o;
  shmd_dict *backup, *fresh;
  shmd_snapshot* s = NULL;
  shmd_error_info failure;
  int result;
  if (out != NULL) *out = NULL;
  if (path == NULL || path[0] == '\0') return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_restore: a path is needed");
  shmd_options_init(&o);
  if (options != NULL && options->struct_size != sizeof o)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_restore: initialise the options with shmd_options_init");
  if (options != NULL) o = *options;
  result = open_backup(path, &o, &backup);
  if (result < 0) return result;
  result = shmd_snapshot_open(backup, &s);
  if (result >= 0) {
    inherit(&o, backup->attachment->super);
    o.mode = SHMD_CREATE_ONLY;
    o.flags &= ~(uint32_t)SHMD_READ_ONLY;
    o.fd = -1;
    o.init = out != NULL ? copy_all : copy_and_leave;
    o.init_context = s;
    result = shmd_open(name, &o, &fresh);
    if (result < 0) result = explain(result, path, name, backup->attachment, &o);
    failure = *shmd_last_error();
    shmd_snapshot_close(s);
    (void)shmd_close(backup);
    *shmd_error_slot() = failure;
  } else {
    (void)shmd_close(backup);
  }
  if (result < 0) return result;
  if (out != NULL) {
    *out = fresh;
  } else {
    fresh->keep_on_close = 1;
    (void)shmd_close(fresh);
  }
  return result;
}

int shmd_restore(const char* path, const char* name, const shmd_options* options, shmd_dict** out) {
  int result;
  shmd_cancel_off();
  {
    const int off SHMD_CLEANUP(shmd_cancel_over) = 0;
    (void)off;
    result = restore(path, name, options, out);
  }
  return result;
}
