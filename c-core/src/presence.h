/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is present: everybody attached but observers, readers too, holds SHMD_BYTE_PRESENT shared through the liveness
 * description. The last one to leave removes the name, if the policy says so.
 *
 * Lock discipline: the callers hold the registry's mutex.
 */
#ifndef SHMD_PRESENCE_H
#define SHMD_PRESENCE_H

#include "attach.h"

int shmd_presence_join(shmd_attachment* a);   /* opens the liveness description. SYSTEM */
int shmd_presence_say(shmd_attachment* a);    /* takes the byte through it, unless an observer. SYSTEM */
int shmd_presence_end(shmd_attachment* a);    /* leaves, and unlinks as the policy says; once */
int shmd_presence_unlink(shmd_attachment* a); /* removes the name if it still leads here. NO_SUCH_DICT */

#endif
