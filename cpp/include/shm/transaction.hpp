// SPDX-License-Identifier: Apache-2.0
// shm::transaction<K, V>: several changes that become visible together, or not at all, even if the process is killed.
//
//   d.transact([](auto& tx) { tx["a"] = 1; tx.erase("b"); });           // commits at the end; a throw or tx.abort() does not
//   shm::transaction tx{d, 500ms}; tx["a"] = 1; tx.commit();            // the same by hand; without commit() it aborts
// It holds the dict's lock: other writers wait, readers go on and see the state before. Its own thread sees its changes,
// also through the dict itself: d["a"] by the same thread is part of it. Snapshots taken inside end before it.
// tx itself is good for nothing else: after its end, in another thread and in a forked child it throws no_transaction. What
// such a child does through the dict: reads see what is committed, writes throw no_transaction until its tx has ended there.
// Lifetime: it must end in the thread that began it, before its dict is closed.
// Errors: lock_timeout, in_transaction (they do not nest), no_space and transaction_too_large (max_size / 256 values can be
// replaced in one; their size does not count, and new keys hardly do) at a write or at commit: the whole is then forgotten. A single write that throws leaves nothing in the transaction, which may go on. A call of several writes (assign,
// update, a nested dict, a json object) that throws when it has written some spoils the transaction: whatever follows, commit
// included, throws aborted, and nothing of it is stored.
#pragma once

#include <chrono>
#include <string>

#include "detail/writing.hpp"
#include "guard.hpp"

SHM_NAMESPACE_BEGIN

template <class K, class V>
class transaction : public detail::dict_writer<transaction<K, V>, detail::node_place, K, V> {
  template <class V2, class S>
  using of_this = std::enable_if_t<std::is_same_v<stored<V2, S>, V>>;

 public:
  template <class V2, class S, class = of_this<V2, S>>
  explicit transaction(dict<K, V2, S>& d) : transaction(d, SHMD_DEFAULT_TIMEOUT, 0) {}
  explicit transaction(dict_ref<K, V, false>& d) : transaction(d, SHMD_DEFAULT_TIMEOUT, 0) {}
  // Waits at most so long for the lock.
  template <class V2, class S, class Rep, class Period, class = of_this<V2, S>>
  transaction(dict<K, V2, S>& d, std::chrono::duration<Rep, Period> timeout)
      : transaction(d, detail::timeout_ns(timeout), 0) {}
  template <class Rep, class Period>
  transaction(dict_ref<K, V, false>& d, std::chrono::duration<Rep, Period> timeout)
      : transaction(d, detail::timeout_ns(timeout), 0) {}

  transaction(const transaction&) = delete;
  transaction& operator=(const transaction&) = delete;
  ~transaction() {
    if (open_) static_cast<void>(shmd_abort(place_.d));
  }

  // Makes all changes visible. Nothing can be added after it.
  void commit() {
    if (!open_) throw error(errc::no_transaction, "the transaction has ended already");
    open_ = false;
    if (detail::is_closed(place_.owner->get())) abort_closed();
    detail::check(shmd_commit(place_.d));
  }
  // Forgets all changes.
  void abort() {
    if (!open_) return;
    open_ = false;
    detail::check(shmd_abort(place_.d));
  }
  bool is_open() const noexcept { return open_; }
  bool recovered() const noexcept { return recovered_; } // the lock's holder before died holding it

  // What is used after the end, in another thread or in a forked child would not be part of the transaction, and would stay
  // whatever becomes of it.
  const detail::node_place& place() const {
    shmd_dict* d = place_.owner->get();
    if (!open_ || (shmd_in_transaction(d) == 0 && !detail::is_closed(d))) out_of_place(); // closed: the core says so
    return place_;
  }
  void rebind(shmd_node fresh) noexcept { place_.at = fresh; }

 private:
  [[noreturn]] void abort_closed() {
    static_cast<void>(shmd_abort(place_.d));
    detail::throw_last(SHMD_ERR_CLOSED);
  }
  [[noreturn]] SHM_COLD void out_of_place() const {
    throw error(errc::no_transaction,
                open_ ? "a transaction was used in another thread, or in a forked process, than the one that began it"
                      : "the transaction has ended already");
  }

  template <class D>
  transaction(D& d, std::int64_t timeout, int) : handle_(detail::access::of(d)) {
    const auto at = d.place();
    shmd_node node{0, 0};
    static_cast<void>(at.find(&node));
    at.describe(path_);
    place_ = {at.d, at.owner, node, &path_};
    const int result = detail::check(shmd_begin(at.d, timeout));
    if (result == SHMD_TIMED_OUT) detail::throw_last(SHMD_ERR_LOCK_TIMEOUT);
    recovered_ = result == SHMD_RECOVERED;
    open_ = true;
  }

  std::shared_ptr<detail::handle> handle_;
  std::string path_;
  detail::node_place place_{};
  bool recovered_ = false;
  bool open_ = false;
};

template <class K, class V, class S>
explicit transaction(dict<K, V, S>&) -> transaction<K, stored<V, S>>;
template <class K, class V, class S, class Rep, class Period>
transaction(dict<K, V, S>&, std::chrono::duration<Rep, Period>) -> transaction<K, stored<V, S>>;

namespace detail {

// f(tx)'s result. D: a dict or dict_ref of K and V.
template <class K, class V, class D, class F, class... Timeout>
decltype(auto) transact(D& d, F& f, Timeout... timeout) {
  transaction<K, V> tx(d, timeout...);
  if constexpr (std::is_void_v<std::invoke_result_t<F&, transaction<K, V>&>>) {
    f(tx);
    if (tx.is_open()) tx.commit();
  } else {
    auto result = f(tx);
    if (tx.is_open()) tx.commit();
    return result;
  }
}

} // namespace detail

SHM_NAMESPACE_END
