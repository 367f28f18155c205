/* SPDX-License-Identifier: Apache-2.0 */
#include "presence.h"

#include <errno.h>

#include "descriptor.h"
#include "error.h"
#include "liveness.h"
#include "name.h"
#include "platform.h"

int shmd_presence_join(shmd_attachment* a) {
  const int result = shmd_descriptor_join(a);
  if (result < 0)
    return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot open the object a second time", a->name);
  return 0;
}

int shmd_presence_say(shmd_attachment* a) {
  const int result = a->observer ? 0 : shmd_bytes_try_lock(a, SHMD_BYTE_PRESENT, false);
  if (result < 0)
    return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot lock a byte of the object", a->name);
  return 0;
}

/* ---- the byte of names, exclusive ---- */

/* A writer locks it through what it has: a last close needs no descriptor more. A reader's description cannot lock
 * exclusively, so it opens another: *fd, else -1. */
static int hold_name(shmd_attachment* a, int* fd) {
  int result;
  *fd = -1;
  if (!a->read_only) {
    result = shmd_liveness_keep(a);
    return result < 0 ? result : shmd_name_hold(a, true);
  }
  *fd = shmd_descriptor_reopen(a, true);
  if (*fd < 0)
    return shmd_fail_errno(*fd == -EACCES || *fd == -EPERM ? SHMD_ERR_PERMISSION_DENIED : SHMD_ERR_SYSTEM, *fd,
                           "dict '%s': cannot open the object to remove its name", a->name);
  result = shmd_name_lock(*fd, a->name, true);
  if (result < 0) shmd_os_close(*fd);
  return result;
}

static void let_go_of_name(shmd_attachment* a, int fd) {
  if (fd < 0)
    shmd_name_let_go(a);
  else
    shmd_name_close(fd);
}

int shmd_presence_unlink(shmd_attachment* a) {
  int fd, result = hold_name(a, &fd);
  if (result < 0) return result;
  result = shmd_name_remove(a);
  let_go_of_name(a, fd);
  return result;
}

/* ---- leaving ---- */

/* The name was removed already, unless it cannot be seen from here. */
static int gone_or_hidden(const shmd_attachment* a) {
  shmd_file_info info;
  if (a->nameless || shmd_os_name_info(a->name, &info) != -ENOENT || shmd_descriptor_info(a, &info) < 0 ||
      info.links == 0)
    return 0;
  return shmd_fail(
      SHMD_ERR_PERMISSION_DENIED,
      "dict '%s': nobody uses it any more, but its name cannot be removed from here: this process sees another "
      "root directory or file system; remove it where it was made",
      a->name);
}

/*
 * The process leaves. Steps: (1) SHMD_BYTE_CREATE exclusive (2) no longer present (3) nobody else present, or creator and
 * policy says so: the name goes (4) bytes free. As (2) and (3) happen under one byte, of two that leave at once the
 * second sees nobody. Killed before (3): the name stays for the next one who leaves; an orphan if there is none.
 */
int shmd_presence_end(shmd_attachment* a) {
  const uint32_t policy = a->super->unlink_policy;
  const bool last = policy == SHMD_UNLINK_LAST_CLOSES, creator = policy == SHMD_UNLINK_CREATOR_CLOSES && a->creator;
  int fd, result;
  if (a->departed || (a->liveness_fd < 0 && !a->process_bytes)) return 0;
  if (a->observer || (!last && !creator)) {
    a->departed = true;
    if (!a->observer) (void)shmd_bytes_unlock(a, SHMD_BYTE_PRESENT);
    return 0;
  }
  result = hold_name(a, &fd);
  a->departed = true;
  (void)shmd_bytes_unlock(a, SHMD_BYTE_PRESENT);
  if (result < 0) /* a reader who may not write: the next one who leaves removes the name */
    return a->read_only && result == SHMD_ERR_PERMISSION_DENIED ? 0 : result;
  result = creator || !shmd_liveness_others(a) ? shmd_name_remove(a) : 0;
  let_go_of_name(a, fd);
  return result == SHMD_ERR_NO_SUCH_DICT ? gone_or_hidden(a) : result;
}
