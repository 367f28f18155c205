/* SPDX-License-Identifier: Apache-2.0 */
#include "many.h"

#include "batch.h"
#include "call.h"
#include "reclaim.h"
#include "transaction.h"

static int stage_all(shmd_tx* t, shmd_node node, const shmd_pair* pairs, uint64_t count, uint32_t flags) {
  uint32_t id;
  const int result = shmd_dict_resolve(t, node, &id);
  return result < 0 ? result : shmd_batch_put_all(t, id, pairs, count, flags);
}

/* As one call: a commit, or a part of the transaction that this thread has open. */
static int call(shmd_attachment* a, shmd_node node, const shmd_pair* pairs, uint64_t count, uint32_t flags) {
  int result = shmd_call_enter(a), tries = 0;
  uint64_t before;
  bool removed; /* subtrees, by this very call: it pays for the sweep */
  if (SHMD_UNLIKELY(result < 0)) return result;
  before = shmd_load_acquire(&shmd_control_of(a)->sweep_count);
  do result = shmd_dict_finish(a, stage_all(shmd_tx_of(a), node, pairs, count, flags));
  while (SHMD_UNLIKELY(shmd_dict_retry(a, result, &tries)));
  removed = shmd_load_acquire(&shmd_control_of(a)->sweep_count) > before;
  shmd_call_leave(a);
  if (SHMD_UNLIKELY(removed)) shmd_dict_drain(a);
  return result;
}

static int pieces(shmd_attachment* a, shmd_node node, const shmd_pair* pairs, uint64_t count, uint32_t flags) {
  uint64_t first;
  int outcome = 0, result = 0;
  for (first = 0; first < count && result >= 0; first += SHMD_MANY_PIECE) {
    const uint64_t left = count - first;
    result = call(a, node, pairs + first, left < SHMD_MANY_PIECE ? left : SHMD_MANY_PIECE, flags);
    if (result != 0) outcome = result;
  }
  return outcome;
}

int shmd_many_put(shmd_attachment* a, shmd_node node, const shmd_pair* pairs, uint64_t count, uint32_t flags) {
  int outcome = 0, result, tries = 0;
  if (count <= SHMD_MANY_PIECE || shmd_callback_within(a)) return call(a, node, pairs, count, flags);
  if (shmd_transaction_mine(a)) return pieces(a, node, pairs, count, flags);
  do {
    result = shmd_transaction_begin(a, SHMD_DEFAULT_TIMEOUT);
    if (result == SHMD_TIMED_OUT) return SHMD_ERR_LOCK_TIMEOUT;
    if (result < 0) return result;
    outcome = pieces(a, node, pairs, count, flags);
    result = shmd_transaction_end(a, outcome >= 0); /* one that fails for want of room looks for some before it ends */
    if (outcome < 0 || result >= 0) result = outcome;
  } while (result == SHMD_ERR_NO_SPACE && ++tries <= 3);
  return result;
}
