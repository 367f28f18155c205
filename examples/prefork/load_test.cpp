// SPDX-License-Identifier: Apache-2.0
// The server under load from wrk, while its workers are killed one after the other. What was promised to a client is kept:
// completed <= counted <= sent, no rate is exceeded over all workers, and every session issued can be used by somebody else.
//
//   load_test SERVER WRK LOAD.LUA     exit code 0, 1 (failed), 77 (no wrk)
#include <httplib.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "state.hpp"
#include "support/process.hpp"

namespace {

using namespace support;
namespace fs = std::filesystem;

int failures = 0;

void expect(bool condition, const std::string& what) {
  std::printf("%s: %s\n", condition ? "ok" : "FAILED", what.c_str());
  failures += !condition;
}

// Names and files that go at the end, whatever happened.
struct scene {
  std::string prefix = unique_name("prefork");
  fs::path directory = fs::temp_directory_path() / prefix;

  scene() { fs::create_directory(directory); }
  scene(const scene&) = delete;
  scene& operator=(const scene&) = delete;
  ~scene() {
    for (const char* name : names) (void)shmd_unlink((prefix + name).c_str());
    std::error_code ignored;
    fs::remove_all(directory, ignored);
  }
  bool left() const {
    for (const char* name : names)
      if (fs::exists("/dev/shm/shmdict." + prefix + name)) return true;
    return false;
  }
  std::string read(const char* file) const {
    std::stringstream text;
    text << std::ifstream(directory / file).rdbuf();
    return text.str();
  }

  static constexpr const char* names[]{".sessions", ".limits", ".counters", ".workers"};
};

// Starts a program with its output in a file. Ends with the scope at the latest.
template <class... Arguments>
Child start(const fs::path& output, Arguments... arguments) {
  return Child([&] {
    if (std::freopen(output.c_str(), "w", stdout) == nullptr) return 97;
    execlp(arguments..., static_cast<char*>(nullptr));
    return 98;
  });
}

// "total NAME N" lines of load.lua.
std::map<std::string, std::uint64_t> totals(const std::string& output) {
  std::map<std::string, std::uint64_t> all;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string total, name;
    std::uint64_t n = 0;
    if (words >> total >> name >> n && total == "total") all[name] = n;
  }
  return all;
}

std::string numbers(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  return std::to_string(a) + " <= " + std::to_string(b) + " <= " + std::to_string(c);
}

// Kills a worker every 200 ms. The supervisor has replaced it before its turn comes again.
int kill_workers(const prefork::state& s, int kills) {
  std::map<std::uint32_t, std::int32_t> killed;
  for (int i = 0; i < kills; ++i) {
    std::this_thread::sleep_for(200ms);
    const auto number = static_cast<std::uint32_t>(i) % 4;
    if (!eventually([&] { return s.workers[number] != killed[number]; })) return i;
    killed[number] = s.workers[number];
    if (::kill(killed[number], SIGKILL) != 0) return i;
  }
  return kills;
}

void check_counters(const prefork::state& s, std::map<std::string, std::uint64_t>& of) {
  const auto counters = s.counters.to_map();
  std::uint64_t by_worker = 0, by_status = 0;
  for (const auto& [name, value] : counters) {
    if (name.rfind("requests_by_worker", 0) == 0) by_worker += value;
    if (name.rfind("requests_by_status", 0) == 0) by_status += value;
  }
  const auto counted = counters.at("requests_total");
  expect(of["completed"] > 1000, "the load was served");
  expect(of["completed"] <= counted && counted <= of["sent"],
         "completed <= counted <= sent: " + numbers(of["completed"], counted, of["sent"]));
  expect(by_worker == counted && by_status == counted, "counted by worker and by status it is the same");
  expect(of["failed"] == 0, "no answer was an error");

  std::uint64_t visits = 0;
  for (auto [id, session] : s.sessions.snapshot()) visits += session.visits;
  expect(of["visits"] <= visits && visits <= of["sent_visits"],
         "no visit was lost or counted twice: " + numbers(of["visits"], visits, of["sent_visits"]));
}

// Another client, with every session that wrk was given: it is this user's, and knows of every visit that was answered.
void read_sessions(const scene& where, int port) {
  httplib::Client client("127.0.0.1", port);
  client.set_keep_alive(true);
  client.set_tcp_nodelay(true);
  client.set_read_timeout(60);
  client.set_write_timeout(60);
  std::map<std::string, std::string> issued; // user by id
  std::map<std::string, long> seen;          // most visits by user
  for (const char* file : {"notes.0", "notes.1"}) {
    std::istringstream lines(where.read(file));
    for (std::string word, user; lines >> word >> user;) {
      long visits = 0;
      if (word != "seen")
        issued[word] = user;
      else if (lines >> visits)
        seen[user] = std::max(seen[user], visits);
    }
  }
  std::size_t found = 0;
  for (const auto& [id, user] : issued) {
    const auto answer =
        client.Get("/", {{"Cookie", "session=" + id}, {"X-Client", "reader" + std::to_string(found / 50)}});
    const bool good = answer && answer->status == 200 && answer->body.rfind(user + " ", 0) == 0 &&
                      std::stol(answer->body.substr(user.size())) > seen[user];
    if (!good)
      std::printf("session %s of %s, %ld visits: %s\n", id.c_str(), user.c_str(), seen[user],
                  answer ? answer->body.c_str() : httplib::to_string(answer.error()).c_str());
    found += good;
  }
  expect(issued.size() > 100 && found == issued.size(), "another client can use " + std::to_string(found) + " of " +
                                                            std::to_string(issued.size()) + " sessions issued");
}

void check_objects(const prefork::state& s) {
  for (shmd_dict* d : {s.sessions.native_handle(), s.limits.native_handle(), s.counters.native_handle()})
    expect(shmd_check(d, nullptr, nullptr) == 0, std::string(shmd_name(d)) + " is sound in every byte");
}

int run(const std::string& server_path, const std::string& wrk_path, const std::string& script) {
  const scene where;
  auto server = start(where.directory / "server", server_path.c_str(), "prefork", "0", where.prefix.c_str());
  if (!eventually([&] { return where.read("server").find('\n') != std::string::npos; })) {
    std::printf("FAILED: the server did not start\n");
    return 1;
  }
  const auto url = where.read("server").substr(0, where.read("server").find('\n'));
  const int port = std::stoi(url.substr(url.rfind(':') + 1));
  {
    prefork::state s(where.prefix);
    expect(eventually([&] { return s.workers.size() == 4; }), "four workers run");
    expect(eventually([&] { return httplib::Client("127.0.0.1", port).Get("/metrics") != nullptr; }), "one answers");
    const auto began = Clock::now();
    auto wrk = start(where.directory / "wrk", wrk_path.c_str(), "wrk", "-t2", "-c16", "-d3s", "-s", script.c_str(),
                     url.c_str(), "--", (where.directory / "notes").c_str());
    constexpr int kills = 12;
    expect(kill_workers(s, kills) == kills, "a worker was killed 12 times");
    expect(wrk.join() == 0, "wrk ended well");
    const auto seconds = std::chrono::duration<double>(Clock::now() - began).count();
    expect(eventually([&] { return s.counters.get("worker_restarts_total", 0) == kills; }), "each was replaced");

    auto of = totals(where.read("wrk"));
    check_counters(s, of);
    const double allowed = static_cast<double>(prefork::request_burst) + seconds * 1e9 / double{prefork::request_cost};
    const bool pressed = of["limited"] > 0 || of["completed"] < 10'000; // a slow machine sends too little
    expect(
        pressed && of["about"] > 0 && static_cast<double>(of["about"]) <= allowed + 1,
        "the greedy client was limited to " + std::to_string(of["about"]) + " of at most " + std::to_string(allowed));
    read_sessions(where, port);
    check_objects(s);
  }
  server.signal(SIGTERM);
  expect(server.join() == 0, "the server ended well");
  expect(!where.left(), "nothing is left in shared memory");
  return failures == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  if (std::string(argv[2]).empty()) {
    std::printf("skipped: wrk is not installed\n");
    return 77;
  }
  return run(argv[1], argv[2], argv[3]);
}
