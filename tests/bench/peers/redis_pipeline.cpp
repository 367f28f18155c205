// SPDX-License-Identifier: Apache-2.0
// A hundred requests are sent before the first reply is read: what a server can do for who asks for many keys at once.
#include "redis.hpp"

namespace bench {
namespace {

template <class K, class V>
class redis_pipeline : public redis_client<K, V> {
  using base = redis_client<K, V>;

 public:
  static constexpr const char* name = "redis+pipeline";
  static constexpr bool shared = true, threads = false;
  static constexpr std::size_t batch = 100;
  using base::base;

  void get_batch(const K* keys, std::size_t count, std::uint64_t& sum) {
    for (std::size_t i = 0; i < count; ++i) this->append_get(pass(keys[i]));
    for (std::size_t i = 0; i < count; ++i) {
      const auto r = this->next();
      if (r->type == REDIS_REPLY_NIL) throw std::runtime_error("redis: a key was not found");
      sum += digest(value_of<V>(r->str, r->len));
    }
  }
};

const registration enlisted = enlist<redis_pipeline>();

} // namespace
} // namespace bench
