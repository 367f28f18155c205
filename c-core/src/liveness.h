/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who lives: asking for others, and keeping what others ask of us. doc/concurrency.md, "Liveness", has the argument.
 *
 * A slot is dead if its byte is free *and* its process cannot be seen to live on with the object in its memory: a program may
 * close the descriptor that held the byte, and stand in the middle of a write. Such a program takes its byte again with the
 * next step of ours that makes a system call anyway (shmd_liveness_keep).
 *
 * What is declared in attach.h: shmd_slot_alive, shmd_slot_lives, shmd_slot_release, shmd_liveness_keep.
 * Lock discipline: the rescue mutex is held for system calls, and some ms at most; only the pin mutex is taken with it in hand.
 */
#ifndef SHMD_LIVENESS_H
#define SHMD_LIVENESS_H

#include "attach.h"

/* Whether anybody else is present: by the byte, or by a slot whose owner lives. REQUIRES: not present ourselves any more. */
bool shmd_liveness_others(shmd_attachment* a);

#endif
