/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attachments: attaching and detaching (attach.c), this process's list of them, fork and exit (registry.c), who is present
 * (presence.c), slots (slot.c), liveness (liveness.c), descriptors (descriptor.c). doc/concurrency.md has the argument.
 *
 * A process that writes owns a slot: it holds an exclusive lock on the slot's byte (beyond the end of the object) through
 * an open file description that it never maps. The kernel releases it when the process is gone, or has closed it: liveness.h.
 * Bytes: SHMD_BYTE_CREATE serialises attach with unlink (attach: shared, unlink: exclusive); SHMD_BYTE_PRESENT is held
 * shared by everybody attached but observers, read-only handles too; SHMD_BYTE_SLOTS + i belongs to slot i.
 */
#ifndef SHMD_ATTACH_H
#define SHMD_ATTACH_H

#include "core.h"

#define SHMD_BYTE_CREATE (UINT64_C(1) << 61)
#define SHMD_BYTE_PRESENT (SHMD_BYTE_CREATE + 1)
#define SHMD_BYTE_SLOTS (SHMD_BYTE_CREATE + 4096)

/* Finds or makes the process's attachment to `name`; adds a reference. Result and errors of shmd_open. */
int shmd_attach(const char* name, const shmd_options* options, shmd_attachment** out);
/* One of its handles is closed. With the last one the process is not present any more, the name goes as the policy says
 * (`keep`: never), and no thread can write through the attachment. The reference stays. */
int shmd_detach(shmd_attachment* a, bool unlink_this, bool keep);
/* A reference; false: nobody has one any more, and the attachment is over. */
bool shmd_attachment_hold(shmd_attachment* a);
/* Drops it; the last one ends the attachment: slot and pin cleared, memory given back, descriptors closed. If another thread
 * is inside a write, that thread does so. */
void shmd_attachment_let(shmd_attachment* a);
/* Ends those that another thread was inside of, if it has left. */
void shmd_attachment_end_lingering(void);
int shmd_unlink_name(const char* name);
int shmd_unlink_object(shmd_attachment* a);

/* A forked child that has no slot yet tries to get one. 0 or NOT_ATTACHED. Called on the way to the lock. */
int shmd_attach_child(shmd_attachment* a);
/* The same with the registry locked, for any process whose slot or descriptors may be lost. */
int shmd_attach_keep(shmd_attachment* a);

/* It ends the transaction that its parent had open (`inherited`): from here on it may write. */
void shmd_attach_disown(shmd_attachment* a);

/* Whether the owner of `slot` still lives. If not, *taken becomes true and this process now holds the slot's byte: nobody
 * else can declare it dead, or reuse the slot, until shmd_slot_release(). One's own slot always counts as alive. */
bool shmd_slot_alive(shmd_attachment* a, uint32_t slot, bool* taken);
/* Clears the dead slot's pin and entry, then lets its byte go. */
void shmd_slot_release(shmd_attachment* a, uint32_t slot);
/* The same question, without taking anything: the answer may be old. */
bool shmd_slot_lives(const shmd_attachment* a, uint32_t slot);
/* The program may have closed the descriptor that says that we live: it is opened again, and the slot's byte taken again. For
 * all steps that make a system call anyway. 0; NOT_ATTACHED: the slot is lost, or there is no way to the object. */
int shmd_liveness_keep(shmd_attachment* a);

SHMD_INLINE shmd_slot* shmd_slot_of(const shmd_attachment* a, uint32_t slot) {
  return (shmd_slot*)(void*)shmd_at(a, a->super->attach_offset) + slot;
}
SHMD_INLINE uint64_t* shmd_pin_of(const shmd_attachment* a, uint32_t slot) {
  return shmd_word(a, a->super->pins_offset) + slot;
}
/* Attached processes, and the followers that they have open. */
uint32_t shmd_attached_count(shmd_attachment* a, uint64_t* followers);
void shmd_slot_follow(shmd_attachment* a, bool more); /* one follower more, or less, is open in this process */
/* The program's name that a slot's entry holds, made printable and NUL-terminated. */
void shmd_slot_program(const shmd_slot* entry, char* to, size_t capacity);

/* Calls `function` for each attachment of this process, under the registry's mutex. */
void shmd_attach_each(void (*function)(shmd_attachment* a));

/* Provided by handle.c and event.c for the registry: in a forked child, each adds the references that are still held. */
void shmd_handle_forked(void);
void shmd_handle_unloaded(void); /* the library goes: nothing of its own memory stays */
void shmd_event_told(void);      /* of the event that the thread is just telling */
/* Provided by ready.c for the registry. */
void shmd_ready_end_all(void); /* the library is being unloaded: none of its threads is left */

/* Provided by event.c for attach. */
void shmd_event_prepare(shmd_attachment* a); /* a new attachment, or one that a forked child inherited */

/* Provided by lock.c for attach. */
int shmd_lock_adopt(shmd_attachment* a);    /* repairs and releases the lock if the word names the slot just taken */
void shmd_lock_abandon(shmd_attachment* a); /* the calling thread ends: repairs and releases the lock if it holds it */
/* Whether another thread of this process is inside a write; if so, it is told to call shmd_attachment_end_lingering() when it
 * leaves. False: and none will be, for a->owner is 0. */
bool shmd_lock_mine(const shmd_attachment* a); /* held by the calling thread */
bool shmd_lock_inside(shmd_attachment* a);
/* Its last handle is closed: whoever waits for the lock through it, or comes for it, is refused (CLOSED). */
void shmd_lock_close(shmd_attachment* a);
void shmd_lock_busy(bool begin); /* around a mutex: a signal handler that interrupts this thread gets BUSY meanwhile */
void shmd_lock_forked(void);     /* in a forked child: the calling thread is another one, and holds nothing */
/* After it: the hold in which the child's thread had a transaction open as a thread of the parent; 0 = none. */
uint64_t shmd_lock_inherited(const shmd_attachment* a);
void shmd_lock_unloaded(void); /* no thread-exit destructor may run any more */

/* Provided by the engine (redo.c) for attach and lock. */
int shmd_engine_attach(shmd_attachment* a); /* local state of a new attachment */
void shmd_engine_detach(shmd_attachment* a);
void shmd_engine_after_fork(shmd_attachment* a); /* in the child: forget the parent's transaction and pins */
void shmd_engine_lost(shmd_attachment* a);       /* the slot was declared dead: its pins are gone */
int shmd_engine_format(shmd_attachment* a);      /* control block, root node, first tables of a new object */
int shmd_engine_recover(shmd_attachment* a); /* the lock was just taken from a dead owner: finish or forget its write */
void shmd_engine_forget(shmd_attachment* a); /* a call of this thread ends by half: forget its write, no transaction */

#endif
