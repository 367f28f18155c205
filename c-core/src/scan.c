/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A resumable scan: a snapshot per portion, and a cursor that is nothing but the order of iteration (iterate.c): a hash32
 * below which everything was given. It depends on no array, process, or snapshot. 0 begins; as any progress leaves 0
 * behind, 0 can also say that all of it is done.
 */
#include <string.h>

#include "error.h"
#include "handle.h"
#include "snapshot.h"

typedef struct portion {
  shmd_snapshot* s;
  const unsigned char* prefix;
  size_t prefix_size;
  size_t limit;
  shmd_scan_fn found;
  void* context;
} portion;

static bool matches(const portion* p, const shmd_entry* e) {
  return e->key_size >= p->prefix_size && (p->prefix_size == 0 || memcmp(e->key, p->prefix, p->prefix_size) == 0);
}

/* Entries of one hash are given together: a cursor cannot stand between them. */
static int run(const portion* p, shmd_iter* it, uint64_t* cursor) {
  size_t looked = 0;
  uint32_t group = 0;
  for (;;) {
    shmd_entry e;
    int result = shmd_iter_next(it, &e);
    if (result < 0) return result;
    if (result == SHMD_END) {
      *cursor = 0;
      return SHMD_END;
    }
    if (looked != 0 && shmd_iter_hash(it) != group && looked >= p->limit) {
      *cursor = shmd_iter_hash(it);
      return 0;
    }
    group = shmd_iter_hash(it);
    ++looked;
    if (!matches(p, &e)) continue;
    result = p->found(p->context, p->s, &e);
    if (result == 0) continue;
    *cursor = group;
    return result;
  }
}

static int scan_portion(shmd_dict* d, shmd_node node, uint64_t* cursor, const void* prefix, size_t prefix_size,
                        size_t limit, shmd_scan_fn found, void* context) {
  portion p;
  shmd_snapshot* s SHMD_CLEANUP(shmd_snapshot_over) = NULL;
  shmd_iter* it SHMD_CLEANUP(shmd_iter_over) = NULL;
  int result;
  if (cursor == NULL || found == NULL || limit == 0 || (prefix == NULL && prefix_size != 0))
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                     "shmd_scan: a cursor, a callback, a limit and the announced prefix are needed");
  if (*cursor > UINT32_MAX)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                     "dict '%s': the cursor of the scan is none that a scan gave; begin at 0", d->attachment->name);
  p.prefix = (const unsigned char*)prefix;
  p.prefix_size = prefix_size;
  p.limit = limit;
  p.found = found;
  p.context = context;
  result = shmd_snapshot_open(d, &s);
  if (result < 0) return result;
  p.s = s;
  result = shmd_iter_open(s, node, &it);
  if (result >= 0) {
    shmd_iter_from(it, (uint32_t)*cursor);
    result = run(&p, it, cursor);
  }
  return result;
}

int shmd_scan(shmd_dict* d, shmd_node node, uint64_t* cursor, const void* prefix, size_t prefix_size, size_t limit,
              shmd_scan_fn found, void* context) {
  int result = shmd_handle_enter(d, "shmd_scan");
  if (result < 0) return result;
  {
    shmd_dict* inside SHMD_CLEANUP(shmd_handle_left) = d;
    result = scan_portion(inside, node, cursor, prefix, prefix_size, limit, found, context);
  }
  return result;
}
