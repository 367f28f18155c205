/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attachments of this process, and what becomes of them when it forks or exits. doc/concurrency.md, "Fork".
 *
 * One mutex serialises attach, detach, unlink and fork in this process. It is never held while user code runs, nor while
 * anything of another process is waited for: mutex.h lets go of it meanwhile. An attachment that others must
 * not use then says so (`hidden`, `attaching`, `leaving`, `departed`, `ending`).
 */
#ifndef SHMD_REGISTRY_H
#define SHMD_REGISTRY_H

#include "attach.h"
#include "platform.h"

void shmd_registry_lock(void); /* the first call prepares the process: fork and exit handlers */
void shmd_registry_unlock(void);

/* REQUIRES, all of these unless they say otherwise: locked. */
void shmd_registry_add(shmd_attachment* a);
void shmd_registry_remove(shmd_attachment* a); /* no harm if it is not there */
/* The attachment to this very object that handles with these flags share, or NULL. A copy of an object has its id too: the inode
 * tells them apart. It may be `attaching` or `leaving`: then the caller waits, and looks anew. */
shmd_attachment* shmd_registry_find(const shmd_superblock* super, const shmd_file_info* info, uint32_t flags);
shmd_attachment* shmd_registry_search(bool (*fits)(shmd_attachment* a));
/* A reference to an attachment that may be gone, if it is not: shmd_attachment_let() drops it. REQUIRES: not locked. */
bool shmd_registry_hold(const shmd_attachment* a, uint64_t serial);
/* Descriptors of objects were closed: attachments whose bytes the process holds by itself lock them again (descriptor.h). */
void shmd_registry_keep(void);
/* A word that is 0 in a forked child that was not put in order yet. */
uint64_t* shmd_registry_generation(void);

#endif
