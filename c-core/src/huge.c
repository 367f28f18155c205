/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Huge pages: large dicts are read at random places, and with 4 KiB pages most of the time goes into finding the pages.
 *
 * Linux can put together the small pages of a shared object, for all who map it, when it is asked to (MADV_COLLAPSE, since
 * 6.1), whatever the system's policy for new ones. It copies 2 MiB each time, about a millisecond: nothing for a writer
 * under the lock to do, so it happens only when somebody asks for it. Memory given later is of small pages again, and a
 * huge one of which a part is punched becomes small ones: memory goes back as ever.
 * Only ranges that have all their memory are asked for: the kernel would fill the holes of others.
 * Lock discipline: none. A range that is punched meanwhile is the kernel's business; it answers that it cannot.
 */
#include "attach.h"
#include "error.h"
#include "handle.h"
#include "platform.h"
#include "segment.h"

/* Whether the object has memory for all of [offset, offset + size), as far as the segment table says. */
static bool has_memory(const shmd_attachment* a, uint64_t offset, uint64_t size) {
  const uint64_t end = offset + size;
  uint64_t id = shmd_segment_of(a, offset);
  for (; id < a->segment_count && shmd_segment_offset(a, id) < end; ++id) {
    const uint64_t first = shmd_segment_offset(a, id),
                   needed = end - first < a->segment_size ? end - first : a->segment_size;
    if (shmd_load_acquire(&a->segments[id].allocated) < needed) return false;
  }
  return id <= a->segment_count;
}

static int make_huge(shmd_dict* d, uint64_t* bytes) {
  const uint64_t huge = shmd_os_huge_page();
  shmd_attachment* a;
  uint64_t offset, end, frontier, done = 0;
  int refused = 0;
  a = d->attachment;
  if (bytes != NULL) *bytes = 0;
  frontier = shmd_load_acquire(&shmd_control_of(a)->frontier);
  if (frontier > a->segment_count) frontier = a->segment_count;
  end = shmd_segment_offset(a, frontier);
  if (huge != 0) {
    for (offset = (a->super->data_offset + huge - 1) / huge * huge; offset + huge <= end; offset += huge) {
      int result;
      if (!has_memory(a, offset, huge)) continue;
      result = shmd_os_make_huge(a->reader.base + offset, huge);
      if (result == 0)
        done += huge;
      else
        refused = result;
    }
  }
  if (bytes != NULL) *bytes = done;
  if (done == 0 && (huge == 0 || refused != 0))
    return shmd_fail_errno(SHMD_ERR_UNSUPPORTED, refused, "dict '%s': this system gives no huge pages to shared memory",
                           a->name);
  return 0;
}

int shmd_huge_pages(shmd_dict* d, uint64_t* bytes) {
  int result = shmd_handle_enter(d, "shmd_huge_pages");
  if (result < 0) return result;
  result = make_huge(d, bytes);
  shmd_handle_leave(d);
  return result;
}
