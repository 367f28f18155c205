/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles, and what keeps one usable while calls are inside that another thread closes. doc/concurrency.md, "Closing beside
 * other calls", has the argument.
 *
 * The address of a handle is never given out twice. A handle is closed when its `reader` is 0; the memory of closed
 * handles goes back to the system, page by page, and reads as zero then: closed. So a pointer to a handle that was closed,
 * however long ago, says CLOSED.
 *
 *   shmd_open                  shmd_close             the last call out
 *   uses = 1, reader = a  ──▶  reader = 0, uses - 1 ──▶  uses == 0: over, its reference to the attachment dropped
 *
 * Which calls do what:
 *   get, contains, count, node_open, node_check: take the attachment from the handle, once, and read. Nothing else.
 *   put, erase, update, clear, lock, unlock: the same, and then the writers' lock, which a closed attachment refuses.
 *   all others: enter and leave, which count in `uses`. Snapshots, views and followers count for as long as they are open.
 */
#ifndef SHMD_HANDLE_H
#define SHMD_HANDLE_H

#include "attach.h"
#include "cancel.h"

shmd_dict* shmd_handle_new(void);                        /* closed, and all zero; NULL: no memory */
void shmd_handle_open(shmd_dict* d, shmd_attachment* a); /* one of the attachment's handles from now on */
void shmd_handle_discard(shmd_dict* d);                  /* one that was never opened */
bool shmd_handle_hold(shmd_dict* d);                     /* false: it is NULL or closed; nothing to let go then */
void shmd_handle_let(shmd_dict* d);                      /* may end the handle, and with it the attachment */
int shmd_handle_closed(const char* function);            /* CLOSED, and its message */
void shmd_handle_keep_memory(shmd_dict* d);              /* its memory stays when it is over */

/* Round a call: it cannot be cancelled, and a close in another thread waits for it with all that it needs. 0, CLOSED. */
int shmd_handle_enter(shmd_dict* d, const char* function);
void shmd_handle_leave(shmd_dict* d);
/* The cleanup of a call whose callback may throw. */
SHMD_INLINE void shmd_handle_left(shmd_dict** d) { shmd_handle_leave(*d); }

#endif
