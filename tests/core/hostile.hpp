// SPDX-License-Identifier: Apache-2.0
// A small valid object that a test may spoil word by word, and every read call on what became of it.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <random>

#include "core.h"
#include "support/dict.hpp"
#include "support/process.hpp"

namespace hostile {

constexpr std::uint64_t object_size = std::uint64_t{4} << 20;

inline shmd_options options_of(std::uint32_t flags = 0) {
  auto o = support::small_options(object_size);
  o.segment_size = 65536;
  o.buffer_size = 65536;
  o.max_processes = 8;
  o.unlink = SHMD_UNLINK_NEVER;
  o.flags = flags;
  o.timeout = 20000000; // a lock word that names a holder must not make the test wait
  return o;
}

inline std::string key_of(int i) { return "key" + std::to_string(i); }

inline std::uint64_t oldest = 0; // where the pristine object's history begins

// Everything that an object can have in it: values of all sizes, nested dicts, split arrays, removed subtrees that wait,
// ghosts that a killed snapshot left, a committed redo list of a dead owner would be put there by an edit.
inline void fill(shmd_dict* d, int keys) {
  const auto put = [d](shmd_node node, const std::string& key, const std::string& value) {
    support::must(shmd_put(d, node, key.data(), key.size(), value.data(), value.size(), 0), "put");
  };
  for (int turn = 0; turn < 3; ++turn)
    for (int i = 0; i < keys; ++i) put(shmd_root(), key_of(i), std::string(static_cast<std::size_t>(i % 60), 'v'));
  put(shmd_root(), "large", std::string(100000, 'L'));
  put(shmd_root(), "page", std::string(5000, 'P'));
  shmd_node node = shmd_root(), other;
  for (const char* level : {"a", "b", "c"}) {
    support::must(shmd_node_open(d, node, level, 1, SHMD_NODE_CREATE, &node), "node");
    for (int i = 0; i < 5; ++i) put(node, key_of(i), level);
  }
  support::must(shmd_node_open(d, shmd_root(), "removed", 7, SHMD_NODE_CREATE, &other), "node");
  for (int i = 0; i < 50; ++i) put(other, key_of(i), "removed");
  shmd_snapshot* s = nullptr;
  support::must(shmd_snapshot_open(d, &s), "snapshot");
  support::must(shmd_erase(d, shmd_root(), "removed", 7), "erase"); // its sweep waits for the snapshot
  for (int i = 0; i < 40; ++i) support::must(shmd_erase(d, shmd_root(), key_of(i).data(), key_of(i).size()), "erase");
  for (int i = 40; i < 60; ++i) put(shmd_root(), key_of(i), "newer");
  shmd_snapshot_close(s);
}

// Named locks and a key's lock that a dead process holds.
inline void leave_locks(const std::string& name) {
  support::Child holder([&] {
    auto o = options_of();
    o.mode = SHMD_OPEN_ONLY;
    shmd_dict* d = nullptr;
    support::must(shmd_open(name.c_str(), &o, &d), "open");
    for (const char* lock : {"held", "job"}) support::must(shmd_named_lock(d, lock, 0), "named_lock");
    support::must(shmd_key_lock(d, shmd_root(), "key3", 4, 0), "key_lock");
    return 0;
  });
  if (holder.join() != 0) throw std::runtime_error("no locks were left");
}

// The object, open for writing by the test alone (not by the library), and its pristine content.
class Object {
 public:
  explicit Object(const std::string& name, int keys = 400) : name_(name) {
    {
      auto o = options_of();
      shmd_dict* d = nullptr;
      support::must(shmd_open(name.c_str(), &o, &d), "open");
      fill(d, keys);
      leave_locks(name);
      super_ = *d->attachment->super;
      oldest = oldest_position(d);
      const auto clean = shmd_check(d, nullptr, nullptr);
      shmd_close(d);
      support::must(clean, "check of the pristine object");
    }
    fd_ = open(path().c_str(), O_RDWR | O_CLOEXEC);
    if (fd_ < 0) throw std::runtime_error("open");
    bytes_ = static_cast<unsigned char*>(mmap(nullptr, object_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
    if (bytes_ == MAP_FAILED) throw std::runtime_error("mmap");
    pristine_.assign(bytes_, bytes_ + object_size);
    for (std::uint64_t at = 0; at < object_size; at += 8) {
      std::uint64_t word;
      std::memcpy(&word, &pristine_[at], 8);
      const bool table = at < super_.redo_offset || (at >= super_.nodes_offset && at < super_.nodes_offset + 64 * 8) ||
                         (at >= super_.segments_offset && at < super_.segments_offset + 64 * 24);
      if (word != 0 || table) words_.push_back(at);
      // records' values and the superblock's texts are many words and of little interest: one in eight
      if (word == 0x7676767676767676u || word == 0x4c4c4c4c4c4c4c4cu || word == 0x5050505050505050u ||
          (word == 0 && at > 256 && at < 4096))
        if (at % 64 != 0) words_.pop_back();
    }
    reset();
  }
  ~Object() {
    munmap(bytes_, object_size);
    close(fd_);
    unlink(path().c_str());
  }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;

  const std::string& name() const { return name_; }
  std::string path() const { return "/dev/shm/shmdict." + name_; }
  const shmd_superblock& super() const { return super_; }
  const std::vector<std::uint64_t>& words() const { return words_; } // offsets worth spoiling

  std::uint64_t load(std::uint64_t at) const {
    std::uint64_t word;
    std::memcpy(&word, bytes_ + at, 8);
    return word;
  }
  void store(std::uint64_t at, std::uint64_t word) {
    std::memcpy(bytes_ + at, &word, 8);
    edited_.push_back(at);
  }
  bool edited_superblock() const {
    return std::any_of(edited_.begin(), edited_.end(), [](std::uint64_t at) { return at < SHMD_PAGE; });
  }
  // Takes the edits back. Enough if nobody else has written.
  void undo() {
    for (const auto at : edited_) std::memcpy(bytes_ + at, &pristine_[at], 8);
    edited_.clear();
  }
  // The pristine content, whatever was written.
  void reset() {
    (void)fallocate(fd_, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, object_size);
    for (std::uint64_t at = 0; at < object_size; at += 4096) {
      const auto* page = &pristine_[at];
      if (std::any_of(page, page + 4096, [](unsigned char c) { return c != 0; })) std::memcpy(bytes_ + at, page, 4096);
    }
    edited_.clear();
  }

 private:
  static std::uint64_t oldest_position(const shmd_dict* d) {
    const auto* a = d->attachment;
    const auto* segments = reinterpret_cast<const shmd_segment*>(shmd_at(a, a->super->segments_offset));
    return segments[shmd_control_of(a)->history_tail].position;
  }

  std::string name_;
  int fd_ = -1;
  unsigned char* bytes_ = nullptr;
  std::vector<unsigned char> pristine_;
  std::vector<std::uint64_t> words_, edited_;
  shmd_superblock super_;
};

// A hole in the address space, just large enough for the object, with pages on both sides that nobody may touch: reading out
// of bounds ends the process, instead of reading a neighbour. The library reserves a huge page more, to begin at one, and gives
// it back; so does the kernel, on its own account.
class Guards {
 public:
  Guards() {
    around_ = static_cast<unsigned char*>(
        mmap(nullptr, hole + 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (around_ == MAP_FAILED) throw std::runtime_error("mmap");
    const auto address = reinterpret_cast<std::uintptr_t>(around_) + size / 2;
    hole_ = around_ + size / 2 + (huge_page - address % huge_page) % huge_page;
    munmap(hole_, hole);
  }
  ~Guards() {
    munmap(around_, static_cast<std::size_t>(hole_ - around_));
    munmap(hole_ + hole, static_cast<std::size_t>(around_ + hole + 2 * size - (hole_ + hole)));
  }
  Guards(const Guards&) = delete;
  Guards& operator=(const Guards&) = delete;
  bool hold(const shmd_dict* d) const {
    const unsigned char* base = shmd_reader_of(d)->base;
    return base >= hole_ && base + object_size <= hole_ + hole;
  }

 private:
  static constexpr std::size_t size = std::size_t{64} << 20, huge_page = std::size_t{2} << 20,
                               hole = object_size + 2 * huge_page;
  unsigned char *around_, *hole_;
};

// What was opened while the object was sound, and is used when it no longer is: each has looked at the object already, or has
// not yet, and believes what it saw.
class Opened {
 public:
  explicit Opened(shmd_dict* d) : d_(d) {
    shmd_change c;
    for (const auto position : {oldest, oldest, SHMD_NOW}) {
      shmd_follower* f = nullptr;
      if (shmd_follow_open(d, position, &f) == 0) followers_.push_back(f);
    }
    for (int n = 0; n < 5 && followers_.size() > 1; ++n) (void)shmd_follow_next(followers_[1], &c);
    shmd_node a = {0, 0};
    (void)shmd_node_open(d, shmd_root(), "a", 1, 0, &a);
    if (shmd_snapshot_open(d, &snapshot_) != 0) snapshot_ = nullptr;
    for (const auto node : {shmd_root(), shmd_root(), a}) {
      shmd_iter* it = nullptr;
      if (snapshot_ != nullptr && shmd_iter_open(snapshot_, node, &it) == 0) iterators_.push_back(it);
    }
    shmd_entry e;
    for (int n = 0; n < 10 && iterators_.size() > 1; ++n) (void)shmd_iter_next(iterators_[1], &e);
    if (shmd_view_open(d, shmd_root(), "page", 4, &view_) != 0) view_.pin = nullptr;
  }
  ~Opened() {
    for (auto* it : iterators_) shmd_iter_close(it);
    shmd_snapshot_close(snapshot_);
    if (view_.pin != nullptr) shmd_view_close(d_, &view_);
    for (auto* f : followers_) shmd_follow_close(f);
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  // Results are ignored: they may be anything but a crash.
  void use() {
    for (auto* f : followers_) {
      shmd_change c;
      for (int n = 0; n < 5000 && shmd_follow_next(f, &c) == 0; ++n) {
        touch(c.key, c.key_size);
        touch(c.value, c.value_size);
        for (std::size_t i = 0; i < c.path_length; ++i) touch(c.path[i].key, c.path[i].key_size);
      }
      (void)shmd_follow_wait(f, 0);
      (void)shmd_follow_seek(f, SHMD_NOW);
      (void)shmd_follow_next(f, &c);
    }
    for (auto* it : iterators_) {
      shmd_entry e;
      for (int n = 0; n < 3000 && shmd_iter_next(it, &e) == 0; ++n) {
        touch(e.key, e.key_size);
        touch(e.value, e.value_size);
      }
    }
    for (const char* key : {"key41", "key200", "large", "page"}) {
      static std::vector<char> buffer(1 << 17);
      std::size_t size = 0;
      if (snapshot_ != nullptr)
        (void)shmd_snapshot_get(snapshot_, shmd_root(), key, std::strlen(key), buffer.data(), buffer.size(), &size);
    }
    if (view_.pin != nullptr) touch(view_.data, view_.size);
    (void)shmd_named_lock(d_, "held", 0);
    (void)shmd_named_unlock(d_, "held");
    (void)shmd_key_lock(d_, shmd_root(), "key3", 4, 0);
    (void)shmd_key_unlock(d_, shmd_root(), "key3", 4);
  }

 private:
  static void touch(const void* bytes, std::size_t n) {
    const auto* p = static_cast<const volatile unsigned char*>(bytes);
    for (std::size_t i = 0; i < n; ++i) (void)p[i];
  }
  shmd_dict* d_;
  std::vector<shmd_follower*> followers_;
  std::vector<shmd_iter*> iterators_;
  shmd_snapshot* snapshot_ = nullptr;
  shmd_view view_ = {};
};

// Reads through every call. Results are ignored: they may be anything but a crash.
inline void read_everything(shmd_dict* d, bool check = true) {
  static std::vector<char> buffer(1 << 17);
  std::size_t size = 0;
  std::uint64_t count = 0;
  shmd_node a = {0, 0}, b = {0, 0};
  const auto sum = [](const void* bytes, std::size_t n) { // touches every byte handed out
    const auto* p = static_cast<const volatile unsigned char*>(bytes);
    unsigned s = 0;
    for (std::size_t i = 0; i < n; ++i) s += p[i];
    return s;
  };
  for (const int i : {0, 39, 41, 59, 77, 100, 150, 200, 250, 333, 399, 5000}) {
    const auto key = key_of(i);
    if (shmd_get(d, shmd_root(), key.data(), key.size(), buffer.data(), buffer.size(), &size) == 0)
      (void)sum(buffer.data(), std::min(size, buffer.size()));
    (void)shmd_contains(d, shmd_root(), key.data(), key.size());
  }
  (void)shmd_get(d, shmd_root(), "large", 5, buffer.data(), buffer.size(), &size);
  (void)shmd_get(d, shmd_root(), "page", 4, buffer.data(), 100, &size);
  (void)shmd_count(d, shmd_root(), &count);
  if (shmd_node_open(d, shmd_root(), "a", 1, 0, &a) == 0) {
    (void)shmd_count(d, a, &count);
    (void)shmd_node_check(d, a);
    if (shmd_node_open(d, a, "b", 1, 0, &b) == 0) (void)shmd_get(d, b, "key3", 4, buffer.data(), buffer.size(), &size);
  }
  for (const auto node : {shmd_node{1, 1}, shmd_node{3, 1}, shmd_node{0xffffffff, 7}, shmd_node{5, 0}})
    (void)shmd_count(d, node, &count);
  shmd_snapshot* s = nullptr;
  if (shmd_snapshot_open(d, &s) == 0) {
    (void)shmd_snapshot_get(s, shmd_root(), "key200", 6, buffer.data(), buffer.size(), &size);
    (void)shmd_snapshot_get(s, a, "key2", 4, buffer.data(), buffer.size(), &size);
    (void)shmd_snapshot_node(s, shmd_root(), "a", 1, &b);
    for (const auto node : {shmd_root(), a}) {
      shmd_iter* it = nullptr;
      shmd_entry e;
      if (shmd_iter_open(s, node, &it) < 0) continue;
      for (int n = 0; n < 3000 && shmd_iter_next(it, &e) == 0; ++n) {
        (void)sum(e.key, e.key_size);
        (void)sum(e.value, std::min<std::size_t>(e.value_size, 4096));
      }
      shmd_iter_close(it);
    }
    shmd_snapshot_close(s);
  }
  const shmd_reader* reader = shmd_reader_of(d);
  for (const auto node : {shmd_root(), a})
    for (const char* key : {"key1", "key3", "page", "key33333"}) { // of 4 and of 8 bytes
      std::uint64_t value = 0, before = 0;
      shmd_found found;
      if (std::strlen(key) == 4)
        (void)(shmd_read_word(reader, node, key, 4, &value, 1), shmd_read_word(reader, node, key, 4, &value, 8));
      else
        (void)shmd_read_word(reader, node, key, 8, &value, 8);
      const std::uint64_t hash = shmd_hash_key(reader->hash_seed, key, std::strlen(key));
      if (shmd_read_locate(reader, node, hash, key, std::strlen(key), &found, &before) == 0)
        (void)sum(found.value, found.value_size);
    }
  for (const char* key : {"key333", "large", "key5000"}) {
    shmd_view view;
    if (shmd_view_open(d, shmd_root(), key, std::strlen(key), &view) != 0) continue;
    (void)sum(view.data, view.size);
    shmd_view_close(d, &view);
  }
  static const auto touch = [](const void* bytes, std::size_t n) { // for callbacks
    const auto* p = static_cast<const volatile unsigned char*>(bytes);
    for (std::size_t i = 0; i < n; ++i) (void)p[i];
  };
  for (const auto node : {shmd_root(), a}) {
    std::uint64_t cursor = 0;
    for (int n = 0; n < 100; ++n) {
      const int result = shmd_scan(
          d, node, &cursor, "key", 3, 100,
          [](void*, shmd_snapshot* inside, const shmd_entry* e) {
            char byte;
            std::size_t value_size = 0;
            touch(e->key, e->key_size);
            touch(e->value, e->value_size);
            if (e->is_dict) (void)shmd_snapshot_get(inside, e->node, "key1", 4, &byte, 1, &value_size);
            return 0;
          },
          nullptr);
      if (result != 0) break;
    }
  }
  (void)shmd_processes(
      d,
      [](void*, const shmd_process_info* p) {
        touch(p->program, std::strlen(p->program));
        return 0;
      },
      nullptr);
  (void)shmd_named_locks(
      d,
      [](void*, const shmd_named_lock_info* l) {
        touch(l->name, l->name_size);
        touch(l->program, std::strlen(l->program));
        return 0;
      },
      nullptr);
  (void)shmd_list(
      [](void*, const shmd_object_info* o) {
        for (const char* text : {o->name, o->key_type, o->value_type, o->lock.program}) touch(text, std::strlen(text));
        return 0;
      },
      nullptr);
  static shmd_stats stats;
  shmd_lock_info info;
  (void)shmd_stat(d, &stats);
  // From where the pristine object's history begins, from its beginning, and from where it ends.
  for (const auto position : {oldest, std::uint64_t{4096}, UINT64_MAX}) {
    shmd_follower* f = nullptr;
    shmd_change c;
    if (shmd_follow_open(d, position, &f) != 0) continue;
    for (int n = 0; n < 5000 && shmd_follow_next(f, &c) == 0; ++n) {
      (void)sum(c.key, c.key_size);
      (void)sum(c.value, c.value_size);
      for (std::size_t i = 0; i < c.path_length; ++i) (void)sum(c.path[i].key, c.path[i].key_size);
    }
    (void)shmd_follow_wait(f, 0);
    shmd_follow_close(f);
  }
  (void)shmd_lock_status(d, &info);
  if (check) {
    (void)shmd_check(
        d, [](void* n, const char* text) { *static_cast<std::size_t*>(n) += std::strlen(text); }, &size);
  }
}

// Writes through every call.
inline void write_everything(shmd_dict* d, std::mt19937_64& rng) {
  shmd_node node = {0, 0};
  shmd_view view;
  const std::string value(rng() % 3000, 'w');
  for (int i = 0; i < 30; ++i) {
    const auto key = key_of(static_cast<int>(rng() % 450));
    if (rng() % 3 == 0)
      (void)shmd_erase(d, shmd_root(), key.data(), key.size());
    else
      (void)shmd_put(d, shmd_root(), key.data(), key.size(), value.data(), rng() % (value.size() + 1), 0);
  }
  (void)shmd_node_open(d, shmd_root(), "new", 3, SHMD_NODE_CREATE, &node);
  (void)shmd_put(d, node, "x", 1, "y", 1, 0);
  (void)shmd_node_open(d, shmd_root(), "a", 1, SHMD_NODE_REPLACE, &node);
  const std::string large(150000, 'R');
  (void)shmd_put(d, shmd_root(), "large", 5, large.data(), large.size(), 0);
  if (shmd_begin(d, 0) == 0) {
    (void)shmd_put(d, shmd_root(), "t1", 2, "1", 1, 0);
    (void)shmd_erase(d, shmd_root(), "key300", 6);
    (void)(rng() % 2 ? shmd_commit(d) : shmd_abort(d));
  }
  if (shmd_view_open(d, shmd_root(), "key333", 6, &view) == 0) shmd_view_close(d, &view);
  if (shmd_named_lock(d, "job", 0) >= 0 && rng() % 2 == 0) (void)shmd_named_unlock(d, "job");
  (void)shmd_key_lock(d, shmd_root(), "key333", 6, 0);
  (void)shmd_update(
      d, shmd_root(), "counter", 7,
      [](void*, const void*, std::size_t, const void** v, std::size_t* n) {
        *v = "1";
        *n = 1;
        return static_cast<int>(SHMD_OK);
      },
      nullptr);
  if (rng() % 4 == 0) (void)shmd_clear(d, shmd_root(), nullptr);
  if (rng() % 2 == 0) (void)shmd_compact(d);
}

} // namespace hostile
