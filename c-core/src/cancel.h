/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cancelling threads. A thread that pthread_cancel() ends in the middle of a call would take a mutex or a descriptor of ours
 * with it. So each call that may meet a cancellation point, or holds something that no destructor gives back, puts
 * cancelling off until it returns, the user's functions that it calls included. Pairs nest.
 *
 * Not reads, single writes and the lock: they meet no cancellation point, and what they hold is the writers' lock, which the
 * thread-exit destructor gives back.
 */
#ifndef SHMD_CANCEL_H
#define SHMD_CANCEL_H

void shmd_cancel_off(void);
void shmd_cancel_back(void);
/* A cleanup: of a variable that is there for that. */
void shmd_cancel_over(const int* unused);

#endif
