/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions: the lock, held, and a commit in preparation that calls of the same thread join (redo.h).
 *
 * What is staged stays invisible until shmd_transaction_end commits it as one redo list. Killed before the list is
 * committed: nothing happened.
 */
#ifndef SHMD_TRANSACTION_H
#define SHMD_TRANSACTION_H

#include "core.h"

int shmd_transaction_begin(shmd_attachment* a, int64_t timeout);
int shmd_transaction_end(shmd_attachment* a, bool commit);
int shmd_transaction_fail(shmd_attachment* a, uint64_t mark); /* shmd_transaction_spoil() */
int shmd_transaction_spoiled(const shmd_attachment* a);       /* ABORTED, with its text */
bool shmd_transaction_mine(const shmd_attachment* a);
/* In a child that was forked inside a transaction: ends it there, so that the child may write. False: there is none. */
bool shmd_transaction_disown(shmd_attachment* a);

#endif
