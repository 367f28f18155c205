/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of objects: spelling, who may change what a name leads to, removing.
 *
 * Whoever attaches or unlinks holds SHMD_BYTE_CREATE of the object meanwhile and looks, with the byte in hand, whether the
 * name still leads to that object. So nobody unlinks a successor, and nobody attaches to what was just unlinked.
 * Lock discipline: the callers of all that waits or removes hold the registry's mutex, once.
 */
#ifndef SHMD_NAME_H
#define SHMD_NAME_H

#include "core.h"

#define SHMD_NAME_TRIES 100        /* names that change hands meanwhile */
enum { SHMD_NAME_CHANGED = 1000 }; /* internal outcome: begin again */

int shmd_name_check(const char* name); /* INVALID_NAME, NAME_TOO_LONG */
bool shmd_name_leads_to(const char* name, uint64_t device, uint64_t inode);

/* Waits for SHMD_BYTE_CREATE through `fd`: shared by those who attach, exclusive (fd writable) to one who unlinks. The mutex
 * is let go while it waits, and held again when it returns. BUSY. */
int shmd_name_lock(int fd, const char* name, bool exclusive);
void shmd_name_unlock(int fd);
void shmd_name_close(int fd); /* unlocks and closes */

/* The same through what the attachment locks its bytes with. */
int shmd_name_hold(const shmd_attachment* a, bool exclusive);
void shmd_name_let_go(const shmd_attachment* a);

/* 0 if there is a place where an object could be; else it is not that there is no dict: SYSTEM. */
int shmd_name_place(const char* name);
/* The error that an errno value of shmd_os_open stands for. */
int shmd_name_open_failed(const char* name, int error);

/* REQUIRES: SHMD_BYTE_CREATE exclusive. NO_SUCH_DICT if the name leads elsewhere by now. */
int shmd_name_remove(shmd_attachment* a);
/* One attempt at shmd_unlink(): also SHMD_NAME_CHANGED. */
int shmd_name_unlink(const char* name);

#endif
