/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors of an attachment. A program may close descriptors that it does not know, as daemons do, and its next file
 * then gets the number of one of ours. So a number is only acted on after a look at what it leads to: each description of ours
 * carries a mark (platform.h). Where one is gone, another way to the object takes its place, if there is any.
 *
 * Invariants: nothing here reads, writes, locks or closes what a number leads to before that look (fstat alone is harmless).
 * Bytes of liveness are locked through the liveness description, which is never mapped; or, where none could be opened
 * (privileges dropped, another root directory, no descriptor free), by the process through the description that is mapped:
 * then they are lost whenever the process closes any descriptor of the object, and shmd_liveness_keep() takes them again.
 * Thread safety: all but shmd_descriptor_join and the functions that close, whose callers exclude others. Nothing is a
 * cancellation point.
 */
#ifndef SHMD_DESCRIPTOR_H
#define SHMD_DESCRIPTOR_H

#include "core.h"

void shmd_descriptor_mark(shmd_attachment* a); /* marks a->object_fd, once */
bool shmd_descriptor_file(
    const shmd_attachment* a); /* a->object_fd leads to the object, be it by another description */
bool shmd_descriptor_object(const shmd_attachment* a);                    /* it still leads to our description */
bool shmd_descriptor_liveness(const shmd_attachment* a);                  /* the same of a->liveness_fd */
int shmd_descriptor_info(const shmd_attachment* a, shmd_file_info* info); /* of the object, by whichever way */

/* A new open file description of the object, to be closed by the caller: never one that is mapped, or inherited. */
int shmd_descriptor_reopen(const shmd_attachment* a, bool writable);
/* Makes the attachment able to lock bytes: a new liveness description, or the process's own locks. An errno value if there
 * is neither. What a->liveness_fd led to before is not closed. */
int shmd_descriptor_join(shmd_attachment* a);
void shmd_descriptor_close_liveness(shmd_attachment* a); /* if it is ours; a->liveness_fd = -1 */
void shmd_descriptor_close_object(shmd_attachment* a);   /* the same. REQUIRES: still mapped, or never */

/* As shmd_os_byte_*; -EBADF: there is nothing to lock through. */
int shmd_bytes_try_lock(const shmd_attachment* a, uint64_t byte, bool exclusive);
int shmd_bytes_unlock(const shmd_attachment* a, uint64_t byte);
int shmd_bytes_held(const shmd_attachment* a, uint64_t first,
                    uint64_t count); /* by others; negative: it cannot be told */

#endif
