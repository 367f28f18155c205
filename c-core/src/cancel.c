/* SPDX-License-Identifier: Apache-2.0 */
#include "cancel.h"

#include <pthread.h>

static _Thread_local struct {
  int depth;
  int before; /* the outermost caller's state */
} mine;

void shmd_cancel_off(void) {
  int state;
  (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
  if (mine.depth++ == 0) mine.before = state;
}

void shmd_cancel_back(void) {
  int state;
  if (--mine.depth == 0) (void)pthread_setcancelstate(mine.before, &state);
}

void shmd_cancel_over(const int* unused) {
  (void)unused;
  shmd_cancel_back();
}
