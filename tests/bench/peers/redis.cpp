// SPDX-License-Identifier: Apache-2.0
// One request, one reply.
#include "redis.hpp"

namespace bench {
namespace {

template <class K, class V>
class redis : public redis_client<K, V> {
  using base = redis_client<K, V>;

 public:
  static constexpr const char* name = "redis";
  static constexpr bool shared = true, threads = false;
  using base::base;

  std::optional<V> get(argument_t<K> key) {
    this->append_get(key);
    const auto r = this->next();
    return r->type == REDIS_REPLY_NIL ? std::nullopt : std::optional<V>(value_of<V>(r->str, r->len));
  }
  void put(argument_t<K> key, const V& value) {
    this->append_put(key, value);
    this->next();
  }
  bool erase(argument_t<K> key) {
    if constexpr (base::nested) {
      const auto group = key.group.view();
      redisAppendCommand(this->context_.get(), "HDEL %b %b", group.data(), group.size(), &key.item, sizeof key.item);
    } else {
      const key_bytes bytes(key);
      redisAppendCommand(this->context_.get(), "DEL %b", bytes.data(), bytes.size());
    }
    return this->next()->integer == 1;
  }
  void add(argument_t<K> key) requires(std::is_same_v<V, std::int64_t> && !base::nested) {
    const key_bytes bytes(key);
    redisAppendCommand(this->context_.get(), "INCR counter:%b", bytes.data(), bytes.size());
    this->next();
  }
};

const registration enlisted = enlist<redis>();

} // namespace
} // namespace bench
