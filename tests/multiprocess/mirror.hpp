// SPDX-License-Identifier: Apache-2.0
// A watcher that rebuilds the dict it watches from what it is told.
#pragma once

#include <cstdint>
#include <functional>
#include <shm/shm.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace support {

using Accounts = shm::dict<std::string, shm::dict<int, std::int64_t>>;
using Local = shm::local_t<Accounts>;

// Replays a watcher's changes into plain data: what is not told, or told twice, shows. `whole` is asked after each commit.
class Mirror {
 public:
  explicit Mirror(Accounts& d, std::function<bool(const Local&)> whole = nullptr)
      : w_(d.watch()), whole_(std::move(whole)) {
    start();
  }
  void catch_up() {
    while (auto* c = w_.poll()) {
      if (c->kind == shm::change_kind::resync) {
        ++resyncs;
        start();
        continue;
      }
      if (c->first == inside_) throw std::runtime_error("commits are framed wrongly");
      inside_ = !c->last;
      if (c->position < last_) throw std::runtime_error("a change came twice");
      last_ = c->position + 1;
      apply(*c);
      if (!inside_ && whole_ && !whole_(data)) throw std::runtime_error("a commit was told in part");
    }
  }
  Local data;
  std::uint64_t resyncs = 0;

 private:
  void start() {
    data = w_.snapshot().to_map();
    inside_ = false;
    last_ = w_.position();
  }
  void apply(const shm::change<std::string, shm::dict<int, std::int64_t>>& c) {
    using Key = std::variant<std::string, int>;
    static_assert(std::is_same_v<std::decay_t<decltype(c.key)>, Key>, "");
    if (c.kind == shm::change_kind::clear) return data.clear();
    if (c.path.empty()) {
      if (c.kind == shm::change_kind::dict)
        data[std::get<0>(c.key)] = {};
      else
        data.erase(std::get<0>(c.key));
      return;
    }
    auto& dict = data.at(std::get<0>(c.path[0]));
    if (c.kind == shm::change_kind::put)
      dict[std::get<1>(c.key)] = *c.value;
    else
      dict.erase(std::get<1>(c.key));
  }

  shm::watcher<std::string, shm::dict<int, std::int64_t>> w_;
  std::function<bool(const Local&)> whole_;
  bool inside_ = false;
  std::uint64_t last_ = 0;
};

} // namespace support
