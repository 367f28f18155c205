// SPDX-License-Identifier: Apache-2.0
// What the tests of followers share: a follower that closes, the tree as a mirror of the stream keeps it, and the tree as a
// snapshot shows it.
#pragma once

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "support/dict.hpp"

namespace support {

struct Change {
  int kind = 0;
  bool first = false, last = false;
  std::vector<std::string> path;
  std::string key, value;
  shmd_node node = {0, 0}, child = {0, 0};
  std::uint64_t position = 0, next = 0;
};

inline std::string text(const void* bytes, std::size_t size) {
  return size != 0 ? std::string(static_cast<const char*>(bytes), size) : std::string();
}

class Follower {
 public:
  explicit Follower(shmd_dict* d, std::uint64_t position = SHMD_NOW) {
    must(shmd_follow_open(d, position, &f_), "follow_open");
  }
  ~Follower() { shmd_follow_close(f_); }
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;
  operator shmd_follower*() const { return f_; }

  // SHMD_OK, SHMD_END or SHMD_RESYNC.
  int next(Change& to) {
    shmd_change c;
    const int result = must(shmd_follow_next(f_, &c), "follow_next");
    if (result != SHMD_OK) return result;
    to.kind = c.kind;
    to.first = c.first != 0;
    to.last = c.last != 0;
    to.path.clear();
    for (std::size_t i = 0; i < c.path_length; ++i) to.path.push_back(text(c.path[i].key, c.path[i].key_size));
    to.key = text(c.key, c.key_size);
    to.value = text(c.value, c.value_size);
    to.node = c.node;
    to.child = c.child;
    to.position = c.position;
    to.next = c.next;
    return result;
  }
  std::vector<Change> all() {
    std::vector<Change> changes;
    for (Change c; next(c) == SHMD_OK;) changes.push_back(c);
    return changes;
  }
  int wait(std::int64_t ns) { return must(shmd_follow_wait(f_, ns), "follow_wait"); }
  void seek(std::uint64_t position) { must(shmd_follow_seek(f_, position), "follow_seek"); }
  std::uint64_t position() const { return shmd_follow_position(f_); }

 private:
  shmd_follower* f_ = nullptr;
};

// A dict with all in it, by value.
struct Plain {
  std::map<std::string, std::string> values;
  std::map<std::string, Plain> dicts;

  bool operator==(const Plain& other) const { return values == other.values && dicts == other.dicts; }
  bool operator!=(const Plain& other) const { return !(*this == other); }
  Plain* at(const std::vector<std::string>& path) {
    Plain* p = this;
    for (const auto& key : path) {
      const auto found = p->dicts.find(key);
      if (found == p->dicts.end()) return nullptr;
      p = &found->second;
    }
    return p;
  }
  // False if the change does not fit: it happened in a dict that is not there.
  bool apply(const Change& c) {
    if (c.kind == SHMD_CHANGE_CLEAR) {
      *this = Plain();
      return c.path.empty();
    }
    Plain* p = at(c.path);
    if (p == nullptr) return false;
    const bool there = p->values.erase(c.key) + p->dicts.erase(c.key) != 0;
    if (c.kind == SHMD_CHANGE_PUT) p->values[c.key] = c.value;
    if (c.kind == SHMD_CHANGE_NODE) p->dicts[c.key];
    return c.kind != SHMD_CHANGE_ERASE || there;
  }
};

inline Plain plain_of(shmd_snapshot* s, shmd_node node = shmd_root()) {
  Plain p;
  shmd_iter* it = nullptr;
  must(shmd_iter_open(s, node, &it), "iter_open");
  const std::unique_ptr<shmd_iter, void (*)(shmd_iter*)> closer(it, shmd_iter_close);
  std::vector<std::pair<std::string, shmd_node>> children;
  shmd_entry e;
  while (must(shmd_iter_next(it, &e), "iter_next") == 0) {
    if (e.is_dict)
      children.emplace_back(text(e.key, e.key_size), e.node);
    else
      p.values[text(e.key, e.key_size)] = text(e.value, e.value_size);
  }
  for (const auto& [key, child] : children) p.dicts[key] = plain_of(s, child);
  return p;
}

// The tree after some commit, and the position behind that commit.
inline std::pair<Plain, std::uint64_t> plain_of(shmd_dict* d) {
  shmd_snapshot* s = nullptr;
  must(shmd_snapshot_open(d, &s), "snapshot_open");
  const std::unique_ptr<shmd_snapshot, void (*)(shmd_snapshot*)> closer(s, shmd_snapshot_close);
  return {plain_of(s), shmd_snapshot_position(s)};
}

// ---- writers whose changes tell whether all of them came --------------------------------------------------------------

// Commit `s` of writer `w`: one put into the root and some changes in its own dict, all of which carry {w, s}.
class Writer {
 public:
  Writer(shmd_dict* d, unsigned number) : d_(d), number_(number), name_("w" + std::to_string(number)) {}

  void commit(std::size_t padding) {
    ++sequence_;
    const std::string value =
        std::to_string(number_) + ":" + std::to_string(sequence_) + ":" + std::string(padding, '.');
    const std::string dict = "d" + std::to_string(number_), key = "k" + std::to_string(sequence_ % 10);
    shmd_node node;
    must(shmd_begin(d_, SHMD_FOREVER), "begin");
    must(shmd_put(d_, shmd_root(), name_.data(), name_.size(), value.data(), value.size(), 0), "put");
    must(shmd_node_open(d_, shmd_root(), dict.data(), dict.size(),
                        sequence_ % 50 == 0 ? SHMD_NODE_REPLACE : SHMD_NODE_CREATE, &node),
         "node_open");
    if (sequence_ % 7 == 0) must(shmd_erase(d_, node, key.data(), key.size()), "erase");
    must(shmd_put(d_, node, "last", 4, value.data(), value.size(), 0), "put");
    if (sequence_ % 3 == 0) must(shmd_put(d_, node, key.data(), key.size(), value.data(), value.size(), 0), "put");
    must(shmd_commit(d_), "commit");
  }

 private:
  shmd_dict* d_;
  unsigned number_;
  std::string name_;
  std::uint64_t sequence_ = 0;
};

// Follows such writers. Throws if a change is missing, comes twice, out of order, or outside its commit.
class Auditor {
 public:
  explicit Auditor(shmd_dict* d) : d_(d), f_(d) { resync(); }

  // Until nothing is new.
  void catch_up() {
    Change c;
    for (;;) {
      const int result = f_.next(c);
      if (result == SHMD_END) return;
      if (result == SHMD_RESYNC) {
        if (inside_) throw std::runtime_error("a commit was cut");
        ++resyncs_;
        resync();
        continue;
      }
      audit(c);
    }
  }
  Follower& follower() { return f_; }
  const Plain& mirror() const { return mirror_; }
  std::uint64_t resyncs() const { return resyncs_; }
  std::uint64_t commits() const { return commits_; }
  std::uint64_t changes() const { return changes_; }
  std::uint64_t joined() const { return joined_; }

 private:
  static std::pair<std::string, std::uint64_t> parse(const std::string& value) {
    const auto colon = value.find(':');
    return {value.substr(0, colon), std::stoull(value.substr(colon + 1))};
  }
  // A read-only handle's snapshot is overtaken by every commit.
  void resync() {
    for (;;) {
      shmd_snapshot* s = nullptr;
      must(shmd_snapshot_open(d_, &s), "snapshot_open");
      const std::unique_ptr<shmd_snapshot, void (*)(shmd_snapshot*)> closer(s, shmd_snapshot_close);
      try {
        mirror_ = plain_of(s);
      } catch (const std::runtime_error&) {
        if (shmd_last_error()->code == SHMD_ERR_BUSY) continue;
        throw;
      }
      f_.seek(shmd_snapshot_position(s));
      break;
    }
    seen_.clear();
    for (const auto& [key, value] : mirror_.values)
      if (key[0] == 'w') seen_[parse(value).first] = parse(value).second;
  }
  void audit(const Change& c) {
    if (c.first == inside_) throw std::runtime_error("commits are framed wrongly");
    inside_ = !c.last;
    ++changes_;
    if (!mirror_.apply(c)) throw std::runtime_error("a change does not fit: " + c.key);
    if (c.first && (c.key[0] != 'w' || !c.path.empty())) throw std::runtime_error("a commit begins with " + c.key);
    if (c.path.empty() && c.key[0] == 'w') { // commits in which something could not be told are joined
      if (!c.first) ++joined_;
      std::tie(writer_, sequence_) = parse(c.value);
      if (sequence_ != ++seen_[writer_])
        throw std::runtime_error("writer " + writer_ + ": " + std::to_string(sequence_) + " instead of " +
                                 std::to_string(seen_[writer_]));
      ++commits_;
    } else if (c.kind == SHMD_CHANGE_PUT) {
      if (parse(c.value) != std::make_pair(writer_, sequence_) || c.path != std::vector<std::string>{"d" + writer_})
        throw std::runtime_error("a change stands in another's commit: " + c.key);
    }
    if (!c.last) return;
    for (const auto& [writer, sequence] : seen_)
      if (mirror_.dicts["d" + writer].values["last"] != mirror_.values["w" + writer])
        throw std::runtime_error("half a commit shows of writer " + writer);
  }

  shmd_dict* d_;
  Follower f_;
  Plain mirror_;
  std::map<std::string, std::uint64_t> seen_;
  std::string writer_;
  std::uint64_t sequence_ = 0, resyncs_ = 0, commits_ = 0, changes_ = 0, joined_ = 0;
  bool inside_ = false;
};

} // namespace support
