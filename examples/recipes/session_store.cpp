// SPDX-License-Identifier: Apache-2.0
// Session store: any worker serves any session, and a worker's death ends none. The type says how it is stored.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <random>
#include <shm/dict.hpp>
#include <shm/serializers_std.hpp>
#include <string>
#include <string_view>
#include <vector>

struct session {
  std::string user;
  std::int64_t expires; // steady clock, ns
  std::vector<std::string> cart;
};
template <>
struct shm::serializer<session> {
  static constexpr std::string_view name = "session/1"; // a new version when the members change
  static std::size_t size(const session& s) {
    return serializer<std::string>::size(s.user) + 8 + serializer<std::vector<std::string>>::size(s.cart);
  }
  static void write(const session& s, writer& w) { w.value(s.user), w.value(s.expires), w.value(s.cart); }
  static session read(reader& r) {
    auto user = r.value<std::string>();
    const auto expires = r.value<std::int64_t>();
    return {std::move(user), expires, r.value<std::vector<std::string>>()};
  }
};

namespace {

using sessions = shm::dict<std::string, session>;
constexpr std::int64_t lifetime = 1'800'000'000'000;

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string log_in(sessions& all, const std::string& user) {
  std::random_device random; // nobody may guess an id
  for (;;) {
    std::string id;
    for (int i = 0; i < 4; ++i) {
      char part[9];
      std::snprintf(part, sizeof part, "%08x", random());
      id += part;
    }
    if (all.insert({id, {user, now() + lifetime, {}}}).second) return id; // once it is there, no kill takes it away
  }
}

// Changes a session and prolongs it, in one step. False if there is none, or it has expired.
template <class Change>
bool with_session(sessions& all, std::string_view id, Change change) {
  return all[id]
      .update([&](std::optional<session> s) {
        if (!s || s->expires < now()) return std::optional<session>{}; // erases it, too
        s->expires = now() + lifetime;
        change(*s);
        return s;
      })
      .has_value();
}

int expire(sessions& all) { // now and then, by anybody
  int gone = 0;
  for (auto [id, s] : all.snapshot())
    if (s.expires < now() && !with_session(all, id, [](session&) {})) ++gone;
  return gone;
}

} // namespace

int main(int argc, char** argv) {
  sessions all{argc > 1 ? argv[1] : "recipe.session_store"};
  all["stale"] = session{"bob", now() - 1, {}};
  const std::string id = log_in(all, "ada");

  for (const char* item : {"book", "lamp"}) { // each request is served by another worker, and the worker dies
    const pid_t worker = fork();
    if (worker == 0) {
      with_session(all, id, [&](session& s) { s.cart.emplace_back(item); });
      std::raise(SIGKILL);
    }
    waitpid(worker, nullptr, 0);
  }

  const session ada = all[id];
  const int expired = expire(all);
  std::printf("%d session expired, %zu is left\n", expired, all.size());
  std::printf("%s has %zu things in the cart, and two workers are dead\n", ada.user.c_str(), ada.cart.size());
}
