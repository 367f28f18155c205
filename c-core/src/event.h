/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: noted by the thread that they happen to, wherever it is; told to the hooks once it is outside of every call and
 * lock, so that a hook may call the library.
 *
 * Lock discipline: notes are the thread's own; `hooks` stands under event_mutex, which is held (re-entrantly) while they
 * run. What a hook's own calls note is told when it has returned.
 */
#ifndef SHMD_EVENT_H
#define SHMD_EVENT_H

#include "core.h"

/* Keeps it for the calling thread; the oldest give way. Cheap, no memory, no lock. */
void shmd_event_note(shmd_attachment* a, const shmd_event* event);
/* The dead owner's slot, and what shmd_engine_recover() answered. */
void shmd_event_owner_died(shmd_attachment* a, uint32_t slot, int result, bool finished);
void shmd_event_deliver(void);
void shmd_event_forked(void); /* in a forked child: what its thread noted before happened to its parent */
void shmd_event_unhook(
    shmd_dict* d); /* on return its hook is not running in another thread, and will not be called again */
void shmd_event_forget(const shmd_attachment* a);

#endif
