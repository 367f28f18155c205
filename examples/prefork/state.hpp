// SPDX-License-Identifier: Apache-2.0
// What the workers of the server share: sessions, rate limits and counters, each a dict of its own, so that each has a lock
// of its own. Whoever knows the prefix can open it: workers, the supervisor, tests, the shmdict command.
#pragma once

#include <chrono>
#include <cstdint>
#include <shm/dict.hpp>
#include <shm/serializers_std.hpp>
#include <string>
#include <string_view>

namespace prefork {

struct session {
  std::string user;
  std::int64_t last_used; // now()
  std::uint64_t visits;
};

struct state {
  explicit state(const std::string& prefix)
      : sessions(prefix + ".sessions"),
        limits(prefix + ".limits"),
        counters(prefix + ".counters"),
        workers(prefix + ".workers") {}

  shm::dict<std::string, session> sessions;       // by id
  shm::dict<std::string, std::int64_t> limits;    // by client: until when its allowance is used up, see allow()
  shm::dict<std::string, std::uint64_t> counters; // by the name that Prometheus reads
  shm::dict<std::uint32_t, std::int32_t> workers; // process id by number, written by the supervisor
};

constexpr std::int64_t request_cost = 20'000'000; // ns: a client gets 50 requests a second in the long run,
constexpr std::int64_t request_burst = 100;       // and so many at once

// Nanoseconds of a clock that all processes share; like the dicts, it begins anew with the machine.
std::int64_t now();

// Whether the client may be served now; if so, it is counted. Exact over all processes.
bool allow(state& s, std::string_view client);

// Counts an answered request in one commit: in every snapshot the numbers agree, whoever was killed.
void count(state& s, std::uint32_t worker, int status);

// A new session; its id cannot be guessed. Once this has returned, no kill takes the session away.
std::string log_in(state& s, const std::string& user);

} // namespace prefork

template <>
struct shm::serializer<prefork::session> {
  static constexpr std::string_view name = "prefork.session/1";
  static std::size_t size(const prefork::session& s) { return serializer<std::string>::size(s.user) + 16; }
  static void write(const prefork::session& s, writer& w) { w.value(s.user), w.value(s.last_used), w.value(s.visits); }
  static prefork::session read(reader& r) {
    auto user = r.value<std::string>();
    const auto last_used = r.value<std::int64_t>();
    return {std::move(user), last_used, r.value<std::uint64_t>()};
  }
};
