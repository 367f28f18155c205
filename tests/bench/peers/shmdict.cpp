// SPDX-License-Identifier: Apache-2.0
// shmdict through its C++ facade, default options; huge pages once it is loaded, as the guide advises for large dicts.
#include <shm/dict.hpp>

#include "harness/measure.hpp"

namespace bench {
namespace {

template <class V>
constexpr bool is_text = std::is_same_v<V, std::string>;

template <class K, class V>
struct dict_of {
  using type = shm::dict<std::conditional_t<std::is_same_v<K, text>, std::string, K>, V>;
};
template <class V>
struct dict_of<path, V> {
  using type = shm::dict<std::string, shm::dict<std::int64_t, V>>;
};

template <class K, class V>
class shmdict {
  using dict = typename dict_of<K, V>::type;

 public:
  static constexpr const char* name = "shmdict";
  static constexpr bool shared = true, threads = true;
  static void remove(const config& c) { shm::unlink(c.object(name)); }

  shmdict(const config& c, role r) : dict_(open(c, r)) {}

  std::optional<V> get(argument_t<K> key) const {
    if constexpr (std::is_same_v<K, path>)
      return dict_[key.group.view()][key.item].get();
    else
      return dict_.get(key);
  }
  void put(argument_t<K> key, const V& value) { at(key) = value; }
  void load(argument_t<K> key, const V& value) { put(key, value); }
  void loaded() {
    try {
      dict_.huge_pages();
    } catch (const shm::error& e) {
      if (e.code() != shm::errc::unsupported) throw;
    }
  }
  bool erase(argument_t<K> key) {
    if constexpr (std::is_same_v<K, path>)
      return dict_[key.group.view()].erase(key.item) != 0;
    else
      return dict_.erase(key) != 0;
  }
  bool view(argument_t<K> key, std::uint64_t& sum) const requires is_text<V> {
    return dict_.with(key, [&](std::string_view bytes) { sum += digest(bytes); });
  }
  void put_locked(argument_t<K> key, const V& value) {
    const shm::guard guard(dict_);
    at(key) = value;
  }
  void transact(const K* keys, std::size_t count, values<V>& v) requires(!std::is_same_v<K, path>) {
    dict_.transact([&](auto& tx) {
      for (std::size_t i = 0; i < count; ++i) tx[pass(keys[i])] = v.next();
    });
  }
  void update(const K* keys, std::size_t count, values<V>& v) requires(!std::is_same_v<K, path>) {
    thread_local std::vector<std::pair<typename dict::key_type, V>> range;
    range.clear();
    for (std::size_t i = 0; i < count; ++i) range.emplace_back(pass(keys[i]), v.next());
    dict_.update(range);
  }
  void add(argument_t<K> key) requires(!is_text<V>) { at(key) += 1; }
  std::uint64_t iterate(std::uint64_t& sum) const requires(!std::is_same_v<K, path>) {
    std::uint64_t count = 0;
    for (const auto& [key, value] : dict_.snapshot()) {
      sum += digest(value);
      ++count;
    }
    return count;
  }
  std::size_t memory() const {
    shmd_stats s;
    if (shmd_stat(dict_.native_handle(), &s) < 0) throw std::runtime_error(shmd_last_error()->message);
    return s.memory;
  }

 private:
  static dict open(const config& c, role r) {
    if (r == role::attach) return dict{shm::open_only, c.object(name)};
    shm::options o;
    if (c.buffer_size != 0) o.buffer_size(c.buffer_size);
    return dict{shm::create_only, c.object(name), o};
  }
  decltype(auto) at(argument_t<K> key) {
    if constexpr (std::is_same_v<K, path>)
      return dict_[key.group.view()][key.item];
    else
      return dict_[key];
  }
  dict dict_;
};

const registration enlisted = enlist<shmdict>();

} // namespace
} // namespace bench
