/* SPDX-License-Identifier: Apache-2.0 */
#include "transaction.h"
#include "call.h"
#include "dict.h"
#include "log.h"
#include "platform.h"
#include "reclaim.h"

int shmd_transaction_begin(shmd_attachment* a, int64_t timeout) {
  shmd_tx* t = shmd_tx_of(a);
  const bool nested = shmd_lock_mine(a) && t->user;
  int result;
  if (nested)
    return shmd_fail(SHMD_ERR_IN_TRANSACTION,
                     "dict '%s': a transaction is open in this thread; commit or abort it first", a->name);
  if (shmd_lock_mine(a) && a->in_call)
    return shmd_fail(SHMD_ERR_BUSY, "dict '%s': a transaction cannot begin inside another call", a->name);
  result = shmd_lock_acquire(a, timeout);
  if (result < 0 || result == SHMD_TIMED_OUT) return result;
  shmd_lock_busy(true);
  t->user = true;
  t->begun_debt = t->debt;
  t->begun_at = shmd_load_acquire(&shmd_control_of(a)->published);
  shmd_local_store(&a->reader.writer, shmd_os_thread());
  shmd_lock_busy(false);
  return result;
}

bool shmd_transaction_mine(const shmd_attachment* a) {
  const uint64_t writer = shmd_load_relaxed(&a->reader.writer); /* one's own store is all that matters */
  return writer != 0 && writer == shmd_os_thread() && shmd_load_relaxed(a->generation) != 0;
}

bool shmd_transaction_disown(shmd_attachment* a) {
  if (shmd_load_relaxed(a->generation) == 0) (void)shmd_attach_child(a);
  if (shmd_load_acquire(&a->inherited) == 0) return false;
  shmd_attach_disown(a);
  return true;
}

int shmd_transaction_spoiled(const shmd_attachment* a) {
  return shmd_fail(SHMD_ERR_ABORTED,
                   "dict '%s': a call within this transaction failed by half, so nothing of the transaction can be "
                   "stored; abort it and do it again",
                   a->name);
}

static int not_open(const shmd_attachment* a) {
  return shmd_fail(SHMD_ERR_NO_TRANSACTION, "dict '%s': no transaction is open in this thread", a->name);
}

int shmd_transaction_fail(shmd_attachment* a, uint64_t mark) {
  shmd_tx* t = shmd_tx_of(a);
  if (!shmd_transaction_mine(a)) return not_open(a);
  if (t->stages != mark) (void)shmd_tx_fail(t, SHMD_ERR_ABORTED);
  return 0;
}

int shmd_transaction_end(shmd_attachment* a, bool commit) {
  shmd_tx* t = shmd_tx_of(a);
  uint64_t before;
  int result, released;
  bool full;
  bool removed;
  if (shmd_transaction_disown(a)) {
    if (!commit) return 0;
    return shmd_fail(
        SHMD_ERR_NO_TRANSACTION,
        "dict '%s': this process was forked inside the transaction, which goes on in its parent: nothing of "
        "it can be stored here, and it is over for this process",
        a->name);
  }
  if (!shmd_transaction_mine(a)) return not_open(a);
  result = shmd_call_enter(a);
  if (result < 0) return result;
  shmd_local_store(&a->reader.writer, 0);
  before = shmd_load_acquire(&shmd_control_of(a)->sweep_count);
  full = t->error == SHMD_ERR_NO_SPACE;
  if (commit) {
    const bool spoiled = t->error == SHMD_ERR_ABORTED;
    result = shmd_tx_commit(t);
    if (spoiled) result = shmd_transaction_spoiled(a);
  } else {
    shmd_tx_abort(t);
    result = 0;
  }
  t->user = false;
  if (result >= 0 && commit) {
    shmd_dict_after(a);
  } else {
    t->shrink_count = 0;
    t->debt = t->begun_debt;
    if (full) { /* a transaction cannot be tried again from here, but the caller's next one shall find room */
      (void)shmd_reclaim_urgent(a, true);
      (void)shmd_fail(
          SHMD_ERR_NO_SPACE,
          "dict '%s': no room for this transaction, nothing changed; try it again, or erase keys, close snapshots, "
          "or make the dict larger",
          a->name);
      shmd_reclaim_blame(a);
    }
  }
  removed = shmd_load_acquire(&shmd_control_of(a)->sweep_count) > before;
  shmd_call_leave(a);
  released = shmd_lock_release(a);
  if (result == 0) result = released;
  if (removed) shmd_dict_drain(a);
  return result;
}
