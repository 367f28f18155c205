/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Backups: all entries of a dict, as one snapshot shows them, written as the stream of archive.h.
 *
 *   root's entries | NEXT entries of a nested dict | NEXT ...
 *
 * A nested dict is named among the entries of the dict that it is in, and its own entries come later: those of the dict named
 * last come first. So neither side keeps more than the dicts that are still to come, 8 bytes each, beside one block and the
 * largest value, and nothing depends on how deep dicts are nested.
 *
 * Into a file, steps: (1) a file without a name, or under a temporary one, in the directory of `path` (2) the stream goes
 * into it (3) it is on the disk (4) it takes the path's place (platform: shmd_os_file_finish). Killed before (4): the path
 * leads where it led.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "archive.h"
#include "error.h"
#include "handle.h"
#include "platform.h"
#include "redo.h"
#include "snapshot.h"
#include "transaction.h"

typedef struct writing {
  shmd_snapshot* from;
  shmd_node* waiting; /* nested dicts whose entries are still to come */
  uint32_t count, capacity;
  shmd_archive_out out;
} writing;

static void store16(unsigned char* to, size_t value) {
  to[0] = (unsigned char)value;
  to[1] = (unsigned char)(value >> 8);
}

static int write_value(writing* w, const shmd_entry* e) {
  unsigned char head[7] = {SHMD_ARCHIVE_VALUE};
  int result;
  store16(head + 1, e->key_size);
  store16(head + 3, e->value_size);
  store16(head + 5, e->value_size >> 16);
  ++w->out.totals.values;
  w->out.totals.bytes += e->key_size + e->value_size;
  result = shmd_archive_put(&w->out, head, sizeof head);
  if (result == 0) result = shmd_archive_put(&w->out, e->key, e->key_size);
  return result == 0 ? shmd_archive_put(&w->out, e->value, e->value_size) : result;
}

static int write_dict(writing* w, const shmd_entry* e) {
  const shmd_attachment* a = w->from->a;
  unsigned char head[3] = {SHMD_ARCHIVE_DICT};
  int result;
  if (w->out.totals.dicts >= a->reader.node_capacity)
    return shmd_fail(SHMD_ERR_CORRUPT, "dict '%s' is corrupt: more nested dicts than there can be; run `shmdict check`",
                     a->name);
  if (!shmd_tx_grow((void**)&w->waiting, w->count, &w->capacity, sizeof *w->waiting))
    return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory to note %u nested dicts", a->name, w->count);
  w->waiting[w->count++] = e->node;
  store16(head + 1, e->key_size);
  ++w->out.totals.dicts;
  w->out.totals.bytes += e->key_size;
  result = shmd_archive_put(&w->out, head, sizeof head);
  return result == 0 ? shmd_archive_put(&w->out, e->key, e->key_size) : result;
}

/* 0, or an error, or what the writer's callback answered, which may be any number. */
static int write_entries(writing* w, shmd_node node) {
  shmd_iter* it SHMD_CLEANUP(shmd_iter_over) = NULL;
  shmd_entry e;
  int step = 0, result = shmd_iter_open(w->from, node, &it);
  if (result < 0) return result;
  while (result == 0 && (step = shmd_iter_next(it, &e)) == 0)
    result = e.is_dict ? write_dict(w, &e) : write_value(w, &e);
  return step < 0 ? step : result;
}

static int write_tree(writing* w) {
  static const unsigned char next = SHMD_ARCHIVE_NEXT;
  int result = write_entries(w, shmd_root());
  while (result == 0 && w->count != 0) {
    result = shmd_archive_put(&w->out, &next, 1);
    if (result == 0) result = write_entries(w, w->waiting[--w->count]);
  }
  return result == 0 ? shmd_archive_end(&w->out) : result;
}

static int describe(shmd_dict* d, shmd_archive_head* head) {
  const shmd_superblock* super = d->attachment->super;
  shmd_stats stats;
  struct timespec now;
  int result = shmd_stat(d, &stats);
  if (result < 0) return result;
  memset(head, 0, sizeof *head);
  result = shmd_os_random(&head->id, sizeof head->id);
  if (result < 0)
    return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': no random number for a backup", d->attachment->name);
  head->max_size = super->max_size;
  head->segment_size = super->segment_size;
  head->buffer_size = super->buffer_size;
  head->max_pin_bytes = super->max_pin_bytes;
  head->max_processes = super->max_processes;
  head->unlink = super->unlink_policy;
  head->keys = stats.keys;
  head->live_bytes = stats.live_bytes;
  if (timespec_get(&now, TIME_UTC) == TIME_UTC)
    head->created = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
  if (!d->attachment->nameless) memcpy(head->name, d->attachment->name, strlen(d->attachment->name) + 1);
  memcpy(head->key_type, super->key_type, sizeof head->key_type);
  memcpy(head->value_type, super->value_type, sizeof head->value_type);
  return 0;
}

static void end_writing(writing** w) {
  if (*w == NULL) return;
  shmd_snapshot_over(&(*w)->from);
  free((*w)->waiting);
  free(*w);
}

/* The callback may throw. */
static int write_backup(shmd_dict* d, shmd_write_fn write, void* context) {
  shmd_archive_head head;
  writing* w SHMD_CLEANUP(end_writing) = (writing*)calloc(1, sizeof *w); /* with the block: not on a small stack */
  int result;
  if (w == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a backup", d->attachment->name);
  result = shmd_snapshot_open(d, &w->from);
  if (result < 0) return result;
  result = describe(d, &head);
  if (result >= 0) result = shmd_archive_begin(&w->out, &head, write, context);
  return result == 0 ? write_tree(w) : result;
}

static int in_transaction(const shmd_dict* d) {
  if (!shmd_transaction_mine(d->attachment)) return 0;
  return shmd_fail(SHMD_ERR_IN_TRANSACTION, "dict '%s': no backup inside a transaction", d->attachment->name);
}

int shmd_backup_to(shmd_dict* d, shmd_write_fn write, void* context) {
  int result = shmd_handle_enter(d, "shmd_backup_to");
  if (result < 0) return result;
  {
    shmd_dict* inside SHMD_CLEANUP(shmd_handle_left) = d;
    result = in_transaction(inside);
    if (result >= 0 && write == NULL)
      result = shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_backup_to: the callback is NULL");
    if (result >= 0) result = write_backup(inside, write, context);
  }
  return result;
}

/* ---- into a file ---- */

typedef struct destination {
  shmd_os_file file;
  const char *name, *path;
} destination;

static int file_failed(int error, const destination* to, const char* what) {
  const int code = error == -EACCES || error == -EPERM || error == -EROFS    ? SHMD_ERR_PERMISSION_DENIED
                   : error == -ENOSPC || error == -EDQUOT || error == -EFBIG ? SHMD_ERR_NO_SPACE
                                                                             : SHMD_ERR_SYSTEM;
  if (error == -EEXIST)
    return shmd_fail(SHMD_ERR_FOREIGN_OBJECT,
                     "dict '%s': '%.200s' is there and is no regular file, so it stays; name another file", to->name,
                     to->path);
  return shmd_fail_file(code, error, "dict '%s': cannot %s the backup '%.200s'%s", to->name, what, to->path,
                        error == -EFBIG    ? "; raise `ulimit -f`"
                        : error == -ENOSPC ? "; its file system is full"
                                           : "");
}

static int write_file(void* context, const void* bytes, size_t size) {
  destination* to = (destination*)context;
  const int result = shmd_os_file_write(to->file.fd, bytes, size);
  return result < 0 ? file_failed(result, to, "write") : 0;
}

static int backup_to_file(shmd_dict* d, const char* path) {
  destination to;
  int result = in_transaction(d);
  if (result < 0) return result;
  if (path == NULL || path[0] == '\0') return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_backup: a path is needed");
  to.name = d->attachment->name;
  to.path = path;
  result = shmd_os_file_begin(path, 0600, &to.file);
  if (result < 0) return file_failed(result, &to, "create");
  result = write_backup(d, write_file, &to);
  if (result < 0) {
    shmd_os_file_abandon(&to.file);
    return result;
  }
  result = shmd_os_file_finish(&to.file);
  return result < 0 ? file_failed(result, &to, "put in place") : 0;
}

int shmd_backup(shmd_dict* d, const char* path) {
  int result = shmd_handle_enter(d, "shmd_backup");
  if (result < 0) return result;
  result = backup_to_file(d, path);
  shmd_handle_leave(d);
  return result;
}
