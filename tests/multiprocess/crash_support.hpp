// SPDX-License-Identifier: Apache-2.0
// What the crash tests share: a model of a tree of dicts, steps that are applied to a dict and to the model alike, a
// comparison of the two that touches everything, and children that die at a chosen store to shared memory.
#pragma once

#include <shmdict/shmdict.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/dict.hpp"

#if defined(SHMD_CRASH_POINTS)
extern "C" {
extern std::uint64_t shmd_crash_at;
extern std::uint64_t shmd_crash_count;
extern void (*shmd_crash_trace)(const void* where);
extern std::uint64_t shmd_segment_grace; // segment.h
}
#endif

namespace crash {

// Sanitizers make forks slow and find nothing new in the same kill repeated: they get fewer.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif
#else
constexpr bool sanitized = false;
#endif

using Path = std::vector<std::string>;

struct Tree {
  std::map<std::string, std::string> values;
  std::map<std::string, Tree> dicts;
  bool operator==(const Tree& other) const { return values == other.values && dicts == other.dicts; }
  std::size_t size() const { return values.size() + dicts.size(); }
};

inline std::string joined(const Path& path) {
  std::string text;
  for (const auto& part : path) text += "/" + part;
  return text;
}

// A value that tells which it is: `seed` decides its bytes.
inline std::string value_of(std::size_t size, std::uint64_t seed) {
  std::string value(size, '\0');
  std::uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
  for (std::size_t i = 0; i < size; ++i) {
    if (i % 8 == 0) x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    value[i] = static_cast<char>(x >> (56 - 8 * (i % 8)));
  }
  return value;
}

// ---- memory shared with children ----------------------------------------------------------------------------------

template <class T>
class Page {
 public:
  Page() : p_(::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    if (p_ == MAP_FAILED) throw std::runtime_error("mmap");
    new (p_) T();
  }
  ~Page() { ::munmap(p_, sizeof(T)); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  T* operator->() const { return static_cast<T*>(p_); }
  T& operator*() const { return *static_cast<T*>(p_); }

 private:
  void* p_;
};

struct Progress {
  std::atomic<std::uint64_t> acknowledged{0}; // steps that returned
  std::atomic<std::uint64_t> points{0};       // stores, once the child has ended by itself
  std::atomic<std::uint64_t> ended{0};
  char message[512] = {};
  std::uint64_t sites = 0; // places in the code of the stores, in order
  static constexpr std::uint64_t max_sites = std::uint64_t{1} << 18;
  const void* site[max_sites] = {};

  void fail(const std::string& text) { std::snprintf(message, sizeof message, "%s", text.c_str()); }
  std::string failure() const { return std::string(message); }
};

// ---- steps --------------------------------------------------------------------------------------------------------

// Applies steps to a dict (unless it is nullptr) and to a model. Each step that returned is acknowledged.
class World {
 public:
  explicit World(shmd_dict* d = nullptr, Progress* progress = nullptr) : d_(d), progress_(progress) {}

  Tree tree;                 // after the last step
  std::vector<Tree> history; // after each step, if recorded
  bool record = false;

  shmd_dict* dict() const { return d_; }

  void put(const Path& path, const std::string& value) {
    if (d_) check(shmd_put(d_, parent(path), key(path), size(path), value.data(), value.size(), 0), "put", path);
    Tree& t = at(path, path.size() - 1);
    t.dicts.erase(path.back());
    t.values[path.back()] = value;
    step();
  }
  // All of them into one dict, as one call.
  void put_all(const Path& dict, const std::vector<std::pair<std::string, std::string>>& entries) {
    std::vector<shmd_pair> pairs;
    for (const auto& [k, v] : entries) pairs.push_back({k.data(), k.size(), v.data(), v.size()});
    if (d_) check(shmd_put_many(d_, node(dict, dict.size()), pairs.data(), pairs.size(), 0), "put_many", dict);
    Tree& t = at(dict, dict.size());
    for (const auto& [k, v] : entries) {
      t.dicts.erase(k);
      t.values[k] = v;
    }
    step();
  }
  void erase(const Path& path) {
    if (d_) check(shmd_erase(d_, parent(path), key(path), size(path)), "erase", path);
    Tree& t = at(path, path.size() - 1);
    t.dicts.erase(path.back());
    t.values.erase(path.back());
    step();
  }
  void create(const Path& path, std::uint32_t flags = SHMD_NODE_CREATE) {
    shmd_node child;
    if (d_) check(shmd_node_open(d_, parent(path), key(path), size(path), flags, &child), "node_open", path);
    Tree& t = at(path, path.size() - 1);
    t.values.erase(path.back());
    if (flags & SHMD_NODE_REPLACE) t.dicts.erase(path.back());
    t.dicts[path.back()];
    step();
  }
  void replace(const Path& path) { create(path, SHMD_NODE_REPLACE); }
  void clear(const Path& path) {
    if (d_) check(shmd_clear(d_, node(path, path.size()), nullptr), "clear", path);
    at(path, path.size()) = Tree();
    step();
  }
  // The value is a decimal number.
  void add(const Path& path, std::int64_t n) {
    Tree& t = at(path, path.size() - 1);
    const auto old = t.values.find(path.back());
    const std::string sum = std::to_string((old == t.values.end() ? 0 : std::stoll(old->second)) + n);
    if (d_) {
      Addition addition{n, {}};
      check(shmd_update(d_, parent(path), key(path), size(path), &Addition::update, &addition), "update", path);
    }
    t.values[path.back()] = sum;
    step();
  }
  // An update whose callback gives up, as that of a serializer that throws. Nothing changes.
  void refuse(const Path& path) {
    const auto give_up = [](void*, const void*, std::size_t, const void**, std::size_t*) -> int {
      return SHMD_ERR_ABORTED;
    };
    if (d_ && shmd_update(d_, parent(path), key(path), size(path), give_up, nullptr) != SHMD_ERR_ABORTED)
      throw std::runtime_error("an update that gave up did not say so");
  }
  void begin() {
    if (d_) check(shmd_begin(d_, SHMD_DEFAULT_TIMEOUT), "begin", {});
    inside_ = true;
    before_ = tree;
  }
  void commit() {
    if (d_) check(shmd_commit(d_), "commit", {});
    inside_ = false;
    step();
  }
  void abort() {
    if (d_) check(shmd_abort(d_), "abort", {});
    inside_ = false;
    tree = before_;
  }
  void lock() {
    if (d_) check(shmd_lock(d_, SHMD_DEFAULT_TIMEOUT), "lock", {});
  }
  void unlock() {
    if (d_) check(shmd_unlock(d_), "unlock", {});
  }
  void compact() {
    if (d_) check(shmd_compact(d_), "compact", {});
  }
  shmd_stats stat() const {
    shmd_stats s;
    support::must(shmd_stat(d_, &s), "stat");
    return s;
  }

 private:
  struct Addition {
    std::int64_t n;
    std::string text;
    static int update(void* context, const void* old, std::size_t old_size, const void** value, std::size_t* size) {
      auto* me = static_cast<Addition*>(context);
      const std::int64_t before = old ? std::stoll(std::string(static_cast<const char*>(old), old_size)) : 0;
      me->text = std::to_string(before + me->n);
      *value = me->text.data();
      *size = me->text.size();
      return SHMD_OK;
    }
  };

  static const void* key(const Path& path) { return path.back().data(); }
  static std::size_t size(const Path& path) { return path.back().size(); }
  shmd_node node(const Path& path, std::size_t levels) const {
    shmd_node n = shmd_root();
    for (std::size_t i = 0; i < levels; ++i)
      if (shmd_node_open(d_, n, path[i].data(), path[i].size(), 0, &n) != 0)
        throw std::runtime_error("no dict " + joined(path) + ": " + shmd_last_error()->message);
    return n;
  }
  shmd_node parent(const Path& path) const { return node(path, path.size() - 1); }
  Tree& at(const Path& path, std::size_t levels) {
    Tree* t = &tree;
    for (std::size_t i = 0; i < levels; ++i) t = &t->dicts.at(path[i]);
    return *t;
  }
  static void check(int result, const char* what, const Path& path) {
    if (result < 0 || result == SHMD_TIMED_OUT)
      throw std::runtime_error(std::string(what) + " " + joined(path) + ": " + shmd_last_error()->message);
  }
  void step() {
    if (inside_) return;
    if (record) history.push_back(tree);
    if (progress_) progress_->acknowledged.fetch_add(1);
  }

  shmd_dict* d_;
  Progress* progress_;
  bool inside_ = false;
  Tree before_; // the transaction that is open
};

// ---- comparison ---------------------------------------------------------------------------------------------------

// The tree as a snapshot shows it. Throws.
inline Tree dump(shmd_snapshot* s, shmd_node node = shmd_root()) {
  Tree t;
  shmd_iter* it = nullptr;
  support::must(shmd_iter_open(s, node, &it), "iter_open");
  shmd_entry e;
  std::vector<std::pair<std::string, shmd_node>> children;
  int result;
  while ((result = shmd_iter_next(it, &e)) == 0) {
    const std::string key(static_cast<const char*>(e.key), e.key_size);
    if (t.values.count(key) || t.dicts.count(key)) throw std::runtime_error("iteration: " + key + " comes twice");
    if (e.is_dict) {
      t.dicts[key];
      children.emplace_back(key, e.node);
    } else {
      t.values[key] = std::string(static_cast<const char*>(e.value), e.value_size);
    }
  }
  const std::string error = result < 0 ? shmd_last_error()->message : "";
  shmd_iter_close(it);
  if (result < 0) throw std::runtime_error("iteration: " + error);
  for (const auto& [key, child] : children) t.dicts[key] = dump(s, child);
  return t;
}

inline Tree dump(shmd_dict* d) {
  shmd_snapshot* s = nullptr;
  support::must(shmd_snapshot_open(d, &s), "snapshot_open");
  try {
    Tree t = dump(s);
    shmd_snapshot_close(s);
    return t;
  } catch (...) {
    shmd_snapshot_close(s);
    throw;
  }
}

// The first difference, for messages.
inline std::string difference(const Tree& seen, const Tree& expected, const std::string& where = "") {
  const auto says = [&where](const std::string& key, const char* what) {
    std::string text = where;
    text.append("/").append(key).append(what);
    return text;
  };
  for (const auto& [key, value] : expected.values) {
    const auto found = seen.values.find(key);
    if (found == seen.values.end()) return says(key, " is missing");
    if (found->second != value) return says(key, " has another value");
  }
  for (const auto& [key, value] : seen.values)
    if (!expected.values.count(key)) return says(key, " should not be there");
  for (const auto& [key, child] : expected.dicts) {
    const auto found = seen.dicts.find(key);
    if (found == seen.dicts.end()) return says(key, " (a dict) is missing");
    std::string below = difference(found->second, child, says(key, ""));
    if (!below.empty()) return below;
  }
  for (const auto& [key, child] : seen.dicts)
    if (!expected.dicts.count(key)) return says(key, " (a dict) should not be there");
  return "";
}

inline const std::string nothing; // what a check should find

inline std::string findings(shmd_dict* d) {
  std::string text;
  const int result = shmd_check(
      d, [](void* context, const char* finding) { *static_cast<std::string*>(context) += std::string(finding) + "; "; },
      &text);
  if (result < 0 && text.empty()) text = shmd_last_error()->message;
  return text;
}

// One key after the other, without a snapshot, and counts (unless there may be more).
inline void compare_reads(shmd_dict* d, const Tree& t, shmd_node node = shmd_root(), bool more = false) {
  std::uint64_t count = 0;
  support::must(shmd_count(d, node, &count), "count");
  if (count != t.size() && !more)
    throw std::runtime_error("count says " + std::to_string(count) + " instead of " + std::to_string(t.size()));
  std::string buffer;
  for (const auto& [key, value] : t.values) {
    std::size_t size = 0;
    buffer.resize(value.size() + 1);
    if (support::must(shmd_get(d, node, key.data(), key.size(), &buffer[0], buffer.size(), &size), "get") != 0 ||
        size != value.size() || buffer.compare(0, size, value) != 0)
      throw std::runtime_error("get of " + key + " gives something else than its value");
  }
  for (const auto& [key, child] : t.dicts) {
    shmd_node n;
    if (support::must(shmd_node_open(d, node, key.data(), key.size(), 0, &n), "node_open") != 0)
      throw std::runtime_error("the dict " + key + " is not found");
    compare_reads(d, child, n);
  }
}

// What is the same in all of them.
inline Tree common(const Tree& a, const Tree& b) {
  Tree t;
  for (const auto& [key, value] : a.values) {
    const auto found = b.values.find(key);
    if (found != b.values.end() && found->second == value) t.values[key] = value;
  }
  for (const auto& [key, child] : a.dicts)
    if (b.dicts.count(key)) t.dicts[key] = common(child, b.dicts.at(key));
  return t;
}

inline void read_through(shmd_dict* d, const Tree& t, shmd_node node, bool replaced_dicts_are_fine) {
  std::string buffer;
  for (const auto& [key, value] : t.values) {
    std::size_t size = 0;
    buffer.resize(value.size() + 1);
    const int result = shmd_get(d, node, key.data(), key.size(), &buffer[0], buffer.size(), &size);
    if (result == SHMD_ERR_REMOVED && replaced_dicts_are_fine) return;
    if (result != 0 || size != value.size() || buffer.compare(0, size, value) != 0)
      throw std::runtime_error("before the repair, get of " + key + " gives " + std::to_string(result));
  }
  for (const auto& [key, child] : t.dicts) {
    shmd_node n;
    const int result = shmd_node_open(d, node, key.data(), key.size(), 0, &n);
    if (result != 0) throw std::runtime_error("before the repair, the dict " + key + " is not found");
    read_through(d, child, n, replaced_dicts_are_fine);
  }
}

// The dict can be written: a value, a nested dict, and both away again.
inline void write_on(shmd_dict* d) {
  const std::string key = "\x01probe", nest = "\x01nest", first = value_of(40, 1), second = value_of(300, 2);
  std::string got(512, '\0');
  std::size_t size = 0;
  shmd_node n;
  for (const auto& value : {first, second}) {
    support::must(shmd_put(d, shmd_root(), key.data(), key.size(), value.data(), value.size(), 0), "put");
    if (support::must(shmd_get(d, shmd_root(), key.data(), key.size(), &got[0], got.size(), &size), "get") != 0 ||
        got.compare(0, size, value) != 0)
      throw std::runtime_error("a value just stored is not there");
  }
  support::must(shmd_node_open(d, shmd_root(), nest.data(), nest.size(), SHMD_NODE_CREATE, &n), "node_open");
  support::must(shmd_put(d, n, key.data(), key.size(), first.data(), first.size(), 0), "put");
  support::must(shmd_erase(d, shmd_root(), nest.data(), nest.size()), "erase");
  support::must(shmd_erase(d, shmd_root(), key.data(), key.size()), "erase");
  if (shmd_contains(d, shmd_root(), key.data(), key.size()) != SHMD_NOT_FOUND)
    throw std::runtime_error("a value just erased is still there");
}

enum class Repair { try_lock, write, snapshot };

inline void repair(shmd_dict* d, Repair how) {
  const char absent[] =
      "\x01"
      "absent";
  switch (how) {
    case Repair::try_lock: {
      const int result = support::must(shmd_lock(d, 0), "lock");
      if (result == SHMD_TIMED_OUT) throw std::runtime_error("the dead owner keeps the lock");
      support::must(shmd_unlock(d), "unlock");
      break;
    }
    case Repair::write:
      support::must(shmd_erase(d, shmd_root(), absent, sizeof absent), "erase");
      break;
    case Repair::snapshot: {
      shmd_snapshot* s = nullptr;
      support::must(shmd_snapshot_open(d, &s), "snapshot_open");
      shmd_snapshot_close(s);
      break;
    }
  }
}

// Whether all of `d` is one of history[first..last]: through reads, a snapshot, counts and a check; and whether it can be
// written. Narrows first..last to what was found. "" or what is wrong.
inline std::string inspect(shmd_dict* d, const std::vector<Tree>& history, std::size_t& first, std::size_t& last,
                           Repair how) {
  try {
    Tree certain = history[first];
    for (std::size_t i = first + 1; i <= last; ++i) certain = common(certain, history[i]);
    read_through(d, certain, shmd_root(), first != last);
    repair(d, how);
    std::string wrong = findings(d);
    if (!wrong.empty()) return "check after the repair: " + wrong;
    const Tree seen = dump(d);
    std::size_t match = first;
    while (match <= last && !(seen == history[match])) ++match;
    if (match > last) {
      for (std::size_t i = first; i <= last; ++i)
        wrong += (i == first ? "neither before: " : "; nor after: ") + difference(seen, history[i]);
      return "the operation is " + wrong;
    }
    first = match;
    while (last > match && !(history[last] == seen)) --last;
    compare_reads(d, history[match]);
    write_on(d);
    wrong = findings(d);
    if (!wrong.empty()) return "check after writing on: " + wrong;
    compare_reads(d, history[match]);
    return "";
  } catch (const std::exception& e) {
    return e.what();
  }
}

// Snapshots hold back what is overwritten: while one is kept from going on, who writes all the time waits here, or it would
// fill all the space.
inline void wait_for_snapshots(shmd_dict* d, const std::atomic<bool>& stop) {
  constexpr std::uint64_t much = std::uint64_t{32} << 20;
  for (shmd_stats s; !stop; ::usleep(2000)) {
    support::must(shmd_stat(d, &s), "stat");
    if (s.oldest_pin == UINT64_MAX || s.position < s.oldest_pin + much) return;
    support::must(shmd_compact(d), "compact"); // forgets those of the dead
  }
}

// ---- children -----------------------------------------------------------------------------------------------------

// Forks a child that runs `body` and leaves without any clean-up. Its death is awaited by the caller.
inline pid_t spawn(const std::function<void()>& body) {
  std::cout.flush(); // or the child has it to print, too
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork");
  if (pid == 0) {
    ::alarm(300); // a child that hangs is a failure, not a hanging test
    int code = 0;
    try {
      body();
    } catch (...) {
      code = 9;
    }
    ::_exit(code);
  }
  return pid;
}

inline int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) throw std::runtime_error("waitpid");
  return status;
}

inline std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return std::string("signal ") + std::to_string(WTERMSIG(status));
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

} // namespace crash
