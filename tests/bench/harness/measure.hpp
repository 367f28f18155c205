// SPDX-License-Identifier: Apache-2.0
// The workloads, written once for all peers.
//
// A peer is a class template over key and value with
//   peer(const config&, role)                     creates, or attaches to what the role `create` made
//   static void remove(const config&)             removes what it leaves outside the process
//   static constexpr const char* name; static constexpr bool shared, threads;
//   std::optional<V> get(argument_t<K>)           a copy of the value
//   void put(argument_t<K>, const V&)             inserts or overwrites
//   bool erase(argument_t<K>)
// and, where it has them,
//   void reserve(std::size_t)                            before it is filled, by who creates it
//   void load(argument_t<K>, const V&), void loaded()    filling, by one worker, as fast as the peer can
//   bool view(argument_t<K>, std::uint64_t& sum)         uses the value where it lies
//   void put_locked(argument_t<K>, const V&)
//   void add(argument_t<K>)                              += 1
//   void transact(const K*, std::size_t, values<V>&)      puts, as one transaction
//   void update(const K*, std::size_t, values<V>&)        puts, by one call
//   std::uint64_t iterate(std::uint64_t& sum)            visits all, returns how many
//   std::size_t memory() const                           bytes in use
//   static constexpr std::size_t batch; void get_batch(const K*, std::size_t, std::uint64_t& sum)
// V is std::int64_t or std::string.
#pragma once

#include <time.h>

#include <chrono>
#include <cmath>
#include <concepts>
#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>
#include <type_traits>

#include "keys.hpp"
#include "system.hpp"

namespace bench {

using steady = std::chrono::steady_clock;

inline double seconds_between(steady::time_point from, steady::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// Seconds of a measurement: by the clock on the wall, or of processor time that the thread got.
class stopwatch {
 public:
  explicit stopwatch(bool cpu_time) : cpu_time_(cpu_time), start_(now()) {}
  double seconds() const { return now() - start_; }

 private:
  double now() const {
    timespec t;
    clock_gettime(cpu_time_ ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  }
  bool cpu_time_;
  double start_;
};

// Each value differs from the one before.
template <class V>
class values {
 public:
  explicit values(std::size_t bytes) {
    if constexpr (std::is_same_v<V, std::string>) value_.assign(bytes, 'v');
  }
  const V& next() {
    ++counter_;
    if constexpr (std::is_same_v<V, std::string>)
      std::memcpy(value_.data(), &counter_, sizeof counter_);
    else
      value_ = counter_;
    return value_;
  }

 private:
  V value_{};
  std::int64_t counter_ = 0;
};

inline std::uint64_t digest(std::int64_t value) { return static_cast<std::uint64_t>(value); }
inline std::uint64_t digest(std::string_view value) {
  return value.size() + static_cast<unsigned char>(value[value.size() / 2]);
}

template <template <class, class> class Peer, class K, class V>
class measured final : public system {
  using P = Peer<K, V>;
  static constexpr bool batched = requires { P::batch; };

 public:
  measured(const config& c, role r) : config_(c), peer_(c, r), states_(c.workers(), state(c)) {}

  bool supports(workload w) const override {
    switch (w) {
      case workload::get_view:
        return requires(P p, argument_t<K> k, std::uint64_t s) { p.view(k, s); };
      case workload::put_locked:
        return requires(P p, argument_t<K> k, V v) { p.put_locked(k, v); };
      case workload::counter:
        return requires(P p, argument_t<K> k) { p.add(k); };
      case workload::transact:
        return requires(P p, const K* k, values<V> v) { p.transact(k, std::size_t{1}, v); };
      case workload::update:
        return requires(P p, const K* k, values<V> v) { p.update(k, std::size_t{1}, v); };
      case workload::iterate:
        return requires(P p, std::uint64_t s) { p.iterate(s); };
      case workload::get:
        return true;
      default:
        return !batched;
    }
  }

  double fill() override {
    const auto before = memory();
    if constexpr (requires(P p) { p.reserve(config_.keys); })
      peer_.reserve(std::is_same_v<K, path> ? config_.keys / group_size + 1 : config_.keys);
    values<V> v(config_.value_bytes);
    for (const auto& key : uniform<K>(0, config_.keys, 7)) {
      if constexpr (requires(P p, argument_t<K> k) { p.load(k, v.next()); })
        peer_.load(pass(key), v.next());
      else
        peer_.put(pass(key), v.next());
    }
    if constexpr (requires(P p) { p.loaded(); }) peer_.loaded();
    const auto after = memory();
    return after > before ? static_cast<double>(after - before) / static_cast<double>(config_.keys) : 0;
  }

  void prepare(std::size_t worker) override { static_cast<void>(keys_of<K>(config_, worker)); }

  outcome run(workload w, std::size_t worker, double seconds, histogram* latencies) override {
    state& s = states_[worker];
    const worker_keys<K>& k = keys_of<K>(config_, worker);
    if constexpr (batched)
      return batches(s, k.keys, seconds);
    else
      return one_by_one(w, s, k, seconds, latencies);
  }

 private:
  // What a worker keeps between measurements.
  struct alignas(128) state { // no line shared with another thread's, nor its neighbour
    explicit state(const config& c) : value(c.value_bytes) {}
    std::size_t inserted = 0;
    values<V> value;
    std::uint64_t sum = 0, random = 0x9E3779B97F4A7C15U;
  };

  outcome one_by_one(workload w, state& s, const worker_keys<K>& k, double seconds, histogram* latencies) {
    switch (w) {
      case workload::get:
        return loop(k.keys, seconds, latencies, [&](const K& key) { read(s, key); });
      case workload::get_view:
        if constexpr (requires(P p, argument_t<K> k, std::uint64_t x) { p.view(k, x); })
          return loop(k.keys, seconds, latencies, [&](const K& key) {
            if (!peer_.view(pass(key), s.sum)) lost();
          });
        break;
      case workload::mix95:
        return mix(s, k.keys, seconds, latencies, 5);
      case workload::mix50:
        return mix(s, k.keys, seconds, latencies, 50);
      case workload::put:
        return loop(k.keys, seconds, latencies, [&](const K& key) { peer_.put(pass(key), s.value.next()); });
      case workload::put_locked:
        if constexpr (requires(P p, argument_t<K> k, V v) { p.put_locked(k, v); })
          return loop(k.keys, seconds, latencies, [&](const K& key) { peer_.put_locked(pass(key), s.value.next()); });
        break;
      case workload::counter:
        if constexpr (requires(P p, argument_t<K> k) { p.add(k); })
          return loop(k.keys, seconds, latencies, [&](const K& key) { peer_.add(pass(key)); });
        break;
      case workload::insert:
        return once(s, k.fresh, k.fresh.size(), seconds, latencies,
                    [&](const K& key) { peer_.put(pass(key), s.value.next()); });
      case workload::erase:
        return once(s, k.fresh, s.inserted, 1e9, latencies, [&](const K& key) {
          if (!peer_.erase(pass(key))) lost();
        });
      case workload::transact:
        if constexpr (requires(P p, const K* k, values<V> v) { p.transact(k, std::size_t{1}, v); })
          return together(k.keys, seconds, [&](const K* keys, std::size_t n) { peer_.transact(keys, n, s.value); });
        break;
      case workload::update:
        if constexpr (requires(P p, const K* k, values<V> v) { p.update(k, std::size_t{1}, v); })
          return together(k.keys, seconds, [&](const K* keys, std::size_t n) { peer_.update(keys, n, s.value); });
        break;
      case workload::iterate:
        if constexpr (requires(P p, std::uint64_t x) { p.iterate(x); }) return iterate(s, seconds);
        break;
    }
    throw std::logic_error("a workload that the peer does not support");
  }

  [[noreturn]] static void lost() { throw std::runtime_error(std::string(P::name) + ": a key was not found"); }

  std::size_t memory() const {
    if constexpr (requires(const P p) { p.memory(); })
      return peer_.memory();
    else
      return 0;
  }

  void read(state& s, const K& key) {
    const auto value = peer_.get(pass(key));
    if (!value) lost();
    s.sum += digest(*value);
  }

  template <class Op>
  outcome loop(const std::vector<K>& keys, double seconds, histogram* latencies, Op op) {
    std::size_t at = 0;
    const auto next = [&]() -> const K& {
      const K& key = keys[at];
      if (++at == keys.size()) at = 0;
      return key;
    };
    outcome o;
    if (latencies != nullptr) {
      const auto start = steady::now();
      auto before = start;
      while (seconds_between(start, before) < seconds) {
        const K& key = next();
        before = steady::now();
        op(key);
        const auto after = steady::now();
        latencies->add(seconds_between(before, after) * 1e9);
        ++o.operations;
      }
      o.seconds = seconds_between(start, steady::now());
      return o;
    }
    run_for(seconds / 5, [&] { op(next()); }); // caches, page tables and branch predictors are this peer's now
    return run_for(seconds, [&] { op(next()); });
  }

  // The clock is read once per chunk; a chunk lasts far less than the measurement.
  template <class Op>
  outcome run_for(double seconds, Op op) {
    outcome o;
    std::size_t chunk = 16;
    const stopwatch watch(config_.cpu_time);
    do {
      for (std::size_t i = 0; i < chunk; ++i) op();
      o.operations += chunk;
      o.seconds = watch.seconds();
      if (chunk < 512 && o.seconds < seconds / 50) chunk *= 2;
    } while (o.seconds < seconds);
    return o;
  }

  outcome mix(state& s, const std::vector<K>& keys, double seconds, histogram* latencies, unsigned percent) {
    return loop(keys, seconds, latencies, [&](const K& key) {
      s.random ^= s.random << 13U;
      s.random ^= s.random >> 7U;
      s.random ^= s.random << 17U;
      if ((s.random & 0xFFFFU) * 100 >> 16U < percent)
        peer_.put(pass(key), s.value.next());
      else
        read(s, key);
    });
  }

  // Each of the fresh keys once. What insert put in, erase takes out.
  template <class Op>
  outcome once(state& s, const std::vector<K>& keys, std::size_t count, double seconds, histogram* latencies, Op op) {
    outcome o;
    const stopwatch watch(config_.cpu_time);
    while (o.operations < count && o.seconds < seconds) {
      const std::size_t end = std::min<std::size_t>(count, o.operations + 32);
      for (; o.operations < end; ++o.operations) {
        if (latencies == nullptr) {
          op(keys[o.operations]);
          continue;
        }
        const auto before = steady::now();
        op(keys[o.operations]);
        latencies->add(seconds_between(before, steady::now()) * 1e9);
      }
      o.seconds = watch.seconds();
    }
    s.inserted = o.operations;
    return o;
  }

  outcome iterate(state& s, double seconds) {
    outcome o;
    const stopwatch watch(config_.cpu_time);
    do {
      const auto visited = peer_.iterate(s.sum);
      if (visited < config_.keys) lost();
      o.operations += visited;
      o.seconds = watch.seconds();
    } while (o.seconds < seconds);
    return o;
  }

  outcome batches(state& s, const std::vector<K>& keys, double seconds) requires batched {
    return in_parts_of(P::batch, keys, seconds,
                       [&](const K* first, std::size_t count) { peer_.get_batch(first, count, s.sum); });
  }

  template <class Op>
  outcome together(const std::vector<K>& keys, double seconds, Op op) {
    static_cast<void>(in_parts_of(1000, keys, seconds / 5, op)); // as loop() does
    return in_parts_of(1000, keys, seconds, op);
  }

  template <class Op>
  outcome in_parts_of(std::size_t most, const std::vector<K>& keys, double seconds, Op op) {
    outcome o;
    const stopwatch watch(config_.cpu_time);
    std::size_t at = 0;
    do {
      const std::size_t count = std::min(most, keys.size() - at);
      op(keys.data() + at, count);
      at = at + count == keys.size() ? 0 : at + count;
      o.operations += count;
      o.seconds = watch.seconds();
    } while (o.seconds < seconds);
    return o;
  }

  config config_;
  P peer_;
  std::vector<state> states_;
};

template <template <class, class> class Peer, class K, class V>
std::unique_ptr<system> make(const config& c, role r) {
  if constexpr (std::is_constructible_v<Peer<K, V>, const config&, role>)
    return std::make_unique<measured<Peer, K, V>>(c, r);
  else
    return nullptr;
}

// Null if the peer has no such key.
template <template <class, class> class Peer>
std::unique_ptr<system> open(const config& c, role r) {
  const bool number = c.value_bytes == 8;
  switch (c.key_type) {
    case key_kind::int64:
      return number ? make<Peer, std::int64_t, std::int64_t>(c, r) : make<Peer, std::int64_t, std::string>(c, r);
    case key_kind::string24:
      return number ? make<Peer, text, std::int64_t>(c, r) : make<Peer, text, std::string>(c, r);
    case key_kind::path:
      return number ? make<Peer, path, std::int64_t>(c, r) : nullptr;
  }
  return nullptr;
}

template <template <class, class> class Peer>
registration enlist() {
  using P = Peer<std::int64_t, std::int64_t>;
  return registration(peer{P::name, P::shared, P::threads, open<Peer>, P::remove});
}

} // namespace bench
