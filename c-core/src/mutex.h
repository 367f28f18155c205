/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one mutex of the process, which registry.h takes and explains, for those below who wait with it in hand: they let go
 * of it meanwhile. Nothing of another process is waited for while it is held.
 */
#ifndef SHMD_MUTEX_H
#define SHMD_MUTEX_H

#include <stdbool.h>
#include <stdint.h>

void shmd_mutex_take(void);
void shmd_mutex_give(void);

/* REQUIRES, all of these: taken, once. */
/* Lets go of it for `ns`: every attachment may be another one afterwards. `fd`: a descriptor of the caller's that no
 * attachment has; a child that is forked meanwhile closes its copy. -1: none. */
void shmd_mutex_sleep(int fd, uint64_t ns);
void shmd_mutex_wait(void);    /* until an attachment has come or gone */
void shmd_mutex_changed(void); /* an attachment has come or gone */

/* In a forked child: nobody holds it, nobody waits. Takes it, and closes the copies of descriptors of those who slept, but
 * for those that `kept` says somebody else looks after. */
void shmd_mutex_forked(bool (*kept)(int fd));

#endif
