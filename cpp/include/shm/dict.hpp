// SPDX-License-Identifier: Apache-2.0
// shm::dict<K, V>: a dictionary in shared memory, used like std::unordered_map and like a Python dict.
//
//   shm::dict<std::string, int> d{"hits"};   // every process that opens "hits" has the same dict
//   d["a"] += 1;                             // atomic across processes
//   int n = d["a"];                          // takes no lock; an absent key throws shm::key_not_found
// V is a plain type (see serializer.hpp) or shm::dict<K2, V2>, to any depth; all of a tree is one shared object. A third
// parameter is a serializer of the dict's own for its values, such as shm::json_text<V> of serializers_json.hpp.
// Values are copied in and out: nothing that it returns refers to shared memory, but for with() and proxies (proxy.hpp).
// Thread safety: all threads may use one dict at the same time, but for moving and destruction. A forked child may go on
// using it. Two dicts of one name in one process share the mapping.
// Errors: shm::error and sub-classes (error.hpp); a failed call changed nothing. const: reads only.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "detail/managed.hpp"
#include "detail/nested.hpp"
#include "guard.hpp"
#include "options.hpp"
#include "transaction.hpp"

SHM_NAMESPACE_BEGIN

namespace detail {

template <class K, class V>
struct types {
  static_assert(is_key_v<K>,
                "shm: this type cannot be a key: equal values may have different bytes; unordered containers, JSON and "
                "plain structs with floats cannot, own serializers say `canonical = true` if they can");
  static_assert(type_name<K>::value.size() < sizeof(shmd_stats::key_type), "shm: the key type's name is too long");
  static_assert(type_name<V>::value.size() < sizeof(shmd_stats::value_type), "shm: the value type's name is too long");
  static constexpr bool checked = true;
};
template <class K, class K2, class V2, class S2>
struct types<K, dict<K2, V2, S2>> : types<K2, stored<V2, S2>> {
  static_assert(is_key_v<K>, "shm: this type cannot be a key: equal values may have different bytes");
};

// Opens a dict. `fill` runs on a new one before anybody else can see it; if it fails or throws, there is no new dict.
template <class Fill>
std::shared_ptr<handle> open(int mode, maybe_name name, const shm::options& o, std::string_view key_type,
                             std::string_view value_type, Fill* fill) {
  struct context {
    Fill* fill;
    carried error;
    static int run(shmd_dict* d, void* self) {
      auto* c = static_cast<context*>(self);
      return c->error.catching(SHMD_ERR_ABORTED, [&] { return (*c->fill)(d); });
    }
  };
  const std::string key(key_type), value(value_type);
  context c{fill, {}};
  shmd_options raw = o.native();
  raw.mode = mode;
  raw.key_type = key.c_str();
  raw.value_type = value.c_str();
  if (fill != nullptr) {
    raw.init = context::run;
    raw.init_context = &c;
  }
  shmd_dict* d = nullptr;
  const int result = shmd_open(name.text, &raw, &d);
  try {
    c.error.rethrow();
  } catch (const unplaced& e) {
    throw_placed(e, name.text != nullptr ? name.text : "", {});
  }
  check(result);
  try {
    return std::make_shared<handle>(d);
  } catch (...) {
    static_cast<void>(shmd_close(d));
    throw;
  }
}
using no_fill = int (*)(shmd_dict*);

// Opening, closing, naming: what dict and json_dict have in common. Move-only; default-constructed = closed.
class owner {
 public:
  std::string name() const { return shmd_name(raw()); }
  bool is_open() const noexcept { return raw() != closed_handle(); }
  // Ends it; its name goes as the unlink policy says. Snapshots stay valid, refs throw shm::closed. Twice is fine.
  // Other threads may be using the dict: what they are about is done, or throws shm::closed. Destroying or moving it under
  // them is what a class cannot survive.
  void close() {
    d_.store(closed_handle(), std::memory_order_relaxed);
    if (handle_) check(handle_->close());
  }
  // Removes the name now; everybody attached keeps the nameless dict. False if the name leads elsewhere, or nowhere.
  bool unlink() {
    const int result = shmd_unlink_this(raw());
    if (result == SHMD_ERR_NO_SUCH_DICT) return false;
    check(result);
    return true;
  }
  // Gives back now what can be freed: removed subtrees, sparse segments. In bounded steps; it happens with writes anyway.
  void compact() { check(shmd_compact(raw())); }
  // Puts the memory in use together in huge pages, where the system has them: large dicts are read faster then. Takes a
  // millisecond for 2 MiB; call it once after loading. How many bytes are in huge pages; throws unsupported.
  std::uint64_t huge_pages() {
    std::uint64_t bytes = 0;
    check(shmd_huge_pages(raw(), &bytes));
    return bytes;
  }
  // For the C interface (statistics, compaction, check): lives as long as this. nullptr: closed.
  shmd_dict* native_handle() const noexcept { return is_open() ? raw() : nullptr; }
  const std::shared_ptr<handle>& shared_handle() const noexcept { return handle_; }

 protected:
  owner() noexcept = default;
  explicit owner(std::shared_ptr<handle> h) noexcept : handle_(std::move(h)), d_(handle_->get()) {}
  owner(owner&& other) noexcept : handle_(std::move(other.handle_)), d_(other.d_.exchange(closed_handle())) {}
  owner& operator=(owner&& other) noexcept {
    if (this == &other) return *this;
    finish();
    handle_ = std::move(other.handle_);
    d_.store(other.d_.exchange(closed_handle()), std::memory_order_relaxed);
    return *this;
  }
  ~owner() { finish(); }

  friend struct access;
  std::shared_ptr<handle> handle_;
  std::atomic<shmd_dict*> d_{closed_handle()};

  shmd_dict* raw() const noexcept { return d_.load(std::memory_order_relaxed); }

 private:
  void finish() noexcept {
    d_.store(closed_handle(), std::memory_order_relaxed);
    if (handle_) static_cast<void>(handle_->close());
    handle_.reset();
  }
};

// Lockable and TimedLockable, for std::scoped_lock and friends. One lock for the whole tree, re-entrant per thread.
// lock() waits as long as options::timeout says and throws lock_timeout then.
template <class Derived>
class lockable {
 public:
  void lock() { static_cast<void>(detail::lock(native(), SHMD_DEFAULT_TIMEOUT)); }
  // True if it was taken over from an owner that died. Throws lock_timeout, or lock_busy if it may not wait.
  bool lock(const lock_options& how) { return detail::lock(native(), how); }
  bool try_lock() { return check(shmd_lock(native(), 0)) != SHMD_TIMED_OUT; }
  template <class Rep, class Period>
  bool try_lock_for(std::chrono::duration<Rep, Period> timeout) {
    return check(shmd_lock(native(), timeout_ns(timeout))) != SHMD_TIMED_OUT;
  }
  template <class Clock, class Duration>
  bool try_lock_until(std::chrono::time_point<Clock, Duration> until) {
    return try_lock_for(until - Clock::now());
  }
  void unlock() noexcept { static_cast<void>(shmd_unlock(native())); }

 protected:
  ~lockable() = default;

 private:
  shmd_dict* native() {
    const auto& h = access::of(*static_cast<Derived*>(this));
    return h ? h->get() : closed_handle();
  }
};

} // namespace detail

// A dict by name: owns the handle. For its members see detail/reading.hpp and detail/writing.hpp.
template <class K, class V, class S>
class dict : public detail::owner,
             public detail::dict_writer<dict<K, V, S>, detail::root_place, K, stored<V, S>>,
             public detail::lockable<dict<K, V, S>>,
             public detail::managed<dict<K, V, S>> {
  using as_stored = stored<V, S>;
  using writer = detail::dict_writer<dict<K, V, S>, detail::root_place, K, as_stored>;
  template <class Range>
  using if_entries = std::enable_if_t<detail::is_entries<Range, typename writer::local_type>>;
  template <class It>
  using if_iterator = std::enable_if_t<detail::is_input_iterator<It>>;

 public:
  using typename writer::local_type;

  dict() noexcept = default; // closed: every use throws shm::closed
  explicit dict(const std::string& name, const options& o = {}) : dict(open_or_create, name, o) {}
  explicit dict(open_or_create_t, const std::string& name, const options& o = {})
      : dict(SHMD_OPEN_OR_CREATE, name, o) {}
  explicit dict(create_only_t, const std::string& name, const options& o = {}) : dict(SHMD_CREATE_ONLY, name, o) {}
  explicit dict(open_only_t, const std::string& name, const options& o = {}) : dict(SHMD_OPEN_ONLY, name, o) {}
  // With first entries: the creator stores them before anybody can see the dict, all or none; ignored if it exists.
  // An initializer list or unordered_map; any other range of pairs (std::map, another dict, ...); two iterators.
  explicit dict(const std::string& name, const local_type& first, const options& o = {})
      : dict(open_or_create, name, first, o) {}
  explicit dict(open_or_create_t, const std::string& name, const local_type& first, const options& o = {})
      : dict(SHMD_OPEN_OR_CREATE, name, first, o) {}
  explicit dict(create_only_t, const std::string& name, const local_type& first, const options& o = {})
      : dict(SHMD_CREATE_ONLY, name, first, o) {}
  template <class Range, class = if_entries<Range>>
  explicit dict(const std::string& name, const Range& first, const options& o = {})
      : dict(SHMD_OPEN_OR_CREATE, name, first, o) {}
  template <class Range, class = if_entries<Range>>
  explicit dict(open_or_create_t, const std::string& name, const Range& first, const options& o = {})
      : dict(SHMD_OPEN_OR_CREATE, name, first, o) {}
  template <class Range, class = if_entries<Range>>
  explicit dict(create_only_t, const std::string& name, const Range& first, const options& o = {})
      : dict(SHMD_CREATE_ONLY, name, first, o) {}
  template <class It, class = if_iterator<It>>
  explicit dict(const std::string& name, It first, It last, const options& o = {})
      : dict(SHMD_OPEN_OR_CREATE, name, detail::iterator_pair<It>{first, last}, o) {}
  template <class It, class = if_iterator<It>>
  explicit dict(create_only_t, const std::string& name, It first, It last, const options& o = {})
      : dict(SHMD_CREATE_ONLY, name, detail::iterator_pair<It>{first, last}, o) {}

  // A new one with a random name, or without any; the one behind options::fd.
  explicit dict(create_only_t, const options& o = {}) : dict(SHMD_CREATE_ONLY, nullptr, o) {}
  explicit dict(anonymous_t, options o = {}) : dict(SHMD_OPEN_OR_CREATE, nullptr, o.nameless()) {}
  explicit dict(const options& o) : dict(SHMD_OPEN_OR_CREATE, nullptr, o) {}

  dict(dict&&) noexcept = default;
  dict& operator=(dict&&) noexcept = default;

  // f(tx) with all of it committed at the end; a throw aborts and is thrown on. Returns f's result. See transaction.hpp.
  template <class F>
  auto transact(F&& f) {
    return detail::transact<K, as_stored>(*this, f);
  }
  template <class F, class Rep, class Period>
  auto transact(F&& f, std::chrono::duration<Rep, Period> timeout) {
    return detail::transact<K, as_stored>(*this, f, timeout);
  }

  detail::root_place place() const noexcept { return {this->raw(), this->handle_.get()}; }
  void rebind(shmd_node) noexcept {}

 private:
  dict(shmd_open_mode mode, detail::maybe_name name, const options& o)
      : owner(detail::open<detail::no_fill>(mode, name, o, detail::type_name<K>::value,
                                            detail::type_name<as_stored>::value, nullptr)) {
    static_assert(detail::types<K, as_stored>::checked, "");
  }
  template <class Range>
  dict(shmd_open_mode mode, const std::string& name, const Range& first, const options& o)
      : owner(fill(mode, name, first, o)) {
    static_assert(detail::types<K, as_stored>::checked, "");
  }
  template <class Range>
  static std::shared_ptr<detail::handle> fill(shmd_open_mode mode, const std::string& name, const Range& first,
                                              const options& o) {
    auto store = [&](shmd_dict* d) { return detail::store_range<K, as_stored>(d, shmd_root(), first); };
    return detail::open(mode, name, o, detail::type_name<K>::value, detail::type_name<as_stored>::value, &store);
  }
};

// A nested dict, by identity: copyable, cheap to keep, used like a dict. Made by at() and ref().
// Once its dict is erased or replaced (also if a new one has the same key) every use throws shm::removed; a clear() or
// assign() through this very ref keeps it. It does not keep the owner open: after its close() uses throw shm::closed.
template <class K, class V, bool ReadOnly>
class dict_ref
    : public std::conditional_t<ReadOnly, detail::dict_reader<dict_ref<K, V, ReadOnly>, detail::node_place, K, V>,
                                detail::dict_writer<dict_ref<K, V, ReadOnly>, detail::node_place, K, V>>,
      public detail::lockable<dict_ref<K, V, ReadOnly>> {
 public:
  dict_ref() noexcept = default; // closed
  dict_ref(std::shared_ptr<detail::handle> h, shmd_node node, std::string path)
      : handle_(std::move(h)), node_(node), path_(std::move(path)) {}
  template <bool Other, class = std::enable_if_t<ReadOnly && !Other>>
  dict_ref(const dict_ref<K, V, Other>& other) : handle_(other.handle_), node_(other.node_), path_(other.path_) {}

  std::string name() const { return shmd_name(place().d); }  // of the whole dict
  const std::string& path() const noexcept { return path_; } // ["de"]["berlin"]
  // Whether the dict still exists: false once it was erased or replaced.
  bool exists() const {
    const int result = place().check();
    if (result < 0 && result != SHMD_ERR_REMOVED) detail::throw_at(result, place());
    return result == 0;
  }

  template <class F>
  auto transact(F&& f) {
    static_assert(!ReadOnly, "shm: a read-only dict_ref cannot be written");
    return detail::transact<K, V>(*this, f);
  }
  template <class F, class Rep, class Period>
  auto transact(F&& f, std::chrono::duration<Rep, Period> timeout) {
    static_assert(!ReadOnly, "shm: a read-only dict_ref cannot be written");
    return detail::transact<K, V>(*this, f, timeout);
  }

  detail::node_place place() const noexcept {
    return {handle_ ? handle_->get() : detail::closed_handle(), handle_.get(), node_, &path_};
  }
  void rebind(shmd_node fresh) noexcept { node_ = fresh; }

 private:
  template <class, class, bool>
  friend class dict_ref;
  friend struct detail::access;

  std::shared_ptr<detail::handle> handle_;
  shmd_node node_{0, 0};
  std::string path_;
};
template <class K, class V>
using const_dict_ref = dict_ref<K, V, true>;

SHM_NAMESPACE_END
