/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One shared object: geometry, creation, validation at attach, mapping, memory.
 *
 * Creation builds the object without a name and links it into place when complete: no half-made object exists.
 */
#ifndef SHMD_OBJECT_H
#define SHMD_OBJECT_H

#include "core.h"

/* Fills a superblock with the geometry for these options (defaults applied); everything else in it becomes 0.
 * INVALID_ARGUMENT if they make no sense. */
int shmd_object_geometry(const shmd_options* options, shmd_superblock* super);

/* The whole superblock of a new object called `name` (NULL: nameless): geometry, random id, types, policy. */
int shmd_object_describe(const char* name, const shmd_options* options, shmd_superblock* super);

/* Checks a superblock read from an untrusted object of `size` bytes against every rule of the geometry, recomputing what
 * can be recomputed. FOREIGN_OBJECT, INCOMPLETE_OBJECT, LAYOUT_MISMATCH, CORRUPT. */
int shmd_object_validate(const char* name, const shmd_superblock* super, uint64_t size);

/* Makes an object that has no name yet, its fixed regions ready but for what the engine formats: fills in a->object_fd,
 * the mapping, a->super and a->reader. NO_SPACE, PERMISSION_DENIED, OUT_OF_MEMORY, SYSTEM. */
int shmd_object_create(shmd_attachment* a, const shmd_superblock* super, uint32_t permissions);
/* The same in the empty file a->object_fd, which stays open if it fails. */
int shmd_object_build(shmd_attachment* a, const shmd_superblock* super);
/* Reads the superblock of the open object a->object_fd (a->name is its name) without mapping it, and validates it. */
int shmd_object_inspect(int fd, const char* name, shmd_superblock* super);
/* Provided by attach.c: gives all addresses back that are kept for reads which had begun. Under the registry's mutex. */
void shmd_attachment_drop_retired(void);

/* Maps an object that was inspected. a->super is a private copy: nobody can change the geometry under us. */
int shmd_object_map(shmd_attachment* a, const shmd_superblock* super);
void shmd_object_unmap(shmd_attachment* a);
/* The mapping is replaced by one that leads nowhere: a read that is late finds every reference astray and its counter moved,
 * a write that is late finds a lock that it cannot take. Takes two pages of memory. The addresses stay the attachment's:
 * how many, 0 if that could not be done and they were given back. */
uint64_t shmd_object_retire(shmd_attachment* a);
/* The superblock in shared memory; only `unlinked` of it ever changes. */
SHMD_INLINE shmd_superblock* shmd_object_shared(const shmd_attachment* a) {
  return (shmd_superblock*)(void*)a->reader.base;
}

/* Gives memory to [offset, offset + size) before it is touched: NO_SPACE instead of SIGBUS. Takes whole pages. */
int shmd_object_allocate(shmd_attachment* a, uint64_t offset, uint64_t size);
/* Returns whole pages inside the range to the system. */
int shmd_object_punch(shmd_attachment* a, uint64_t offset, uint64_t size);
/* The same by the lock's owner, counted: `known` bytes of the range had memory, as far as is known. */
int shmd_object_return(shmd_attachment* a, uint64_t offset, uint64_t size, uint64_t known);

#endif
