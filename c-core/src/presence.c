/* SPDX-License-Identifier: Apache-2.0 */
#include "presence.h"

#include <errno.h>

#include "error.h"
#include "name.h"
#include "platform.h"

int shmd_presence_join(shmd_attachment* a) {
  int result = shmd_name_reopen(a, !a->read_only);
  if (result < 0)
    return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot open the object a second time", a->name);
  a->liveness_fd = result;
  return 0;
}

int shmd_presence_say(shmd_attachment* a) {
  const int result = a->observer ? 0 : shmd_os_byte_try_lock(a->liveness_fd, SHMD_BYTE_PRESENT, false);
  if (result < 0)
    return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot lock a byte of the object", a->name);
  return 0;
}

int shmd_presence_unlink(shmd_attachment* a) {
  const int fd = shmd_name_reopen(a, true);
  int result;
  if (fd < 0)
    return shmd_fail_errno(fd == -EACCES || fd == -EPERM ? SHMD_ERR_PERMISSION_DENIED : SHMD_ERR_SYSTEM, fd,
                           "dict '%s': cannot open the object to unlink it", a->name);
  result = shmd_name_lock(fd, a->name, true);
  if (result >= 0) result = shmd_name_remove(a);
  shmd_name_close(fd);
  return result;
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
  if (a->departed || a->liveness_fd < 0) return 0;
  a->departed = true;
  if (a->observer) return 0;
  if (!last && !creator) return shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_PRESENT) < 0 ? SHMD_ERR_SYSTEM : 0;
  fd = shmd_name_reopen(a, true);
  if (fd < 0) { /* a read-only handle of a user who may not write: the next one who leaves removes the name */
    (void)shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_PRESENT);
    return 0;
  }
  result = shmd_name_lock(fd, a->name, true);
  (void)shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_PRESENT);
  if (result >= 0 && (creator || shmd_os_byte_held(fd, SHMD_BYTE_PRESENT, 1) == 0)) result = shmd_name_remove(a);
  shmd_name_close(fd);
  return result == SHMD_ERR_NO_SUCH_DICT ? 0 : result;
}
