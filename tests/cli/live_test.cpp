// SPDX-License-Identifier: Apache-2.0
// Commands beside living and dying processes: watch, top, lock, orphans, backup.
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "dict_handle.hpp"
#include "shell.hpp"
#include "shm/json.hpp"
#include "support/catch.hpp"

using json = nlohmann::json;
using namespace std::chrono_literals;

namespace {

shm::options kept() { return shm::options{}.max_size(std::size_t{64} << 20).unlink(shm::never); }

std::vector<json> lines(const std::string& text) {
  std::vector<json> out;
  for (std::size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
    out.push_back(json::parse(text.substr(at, end - at)));
  return out;
}

// A dict whose only user was killed.
void make_orphan(const std::string& name) {
  support::Child creator([&] {
    static shm::json_dict d{name, {{"a", 1}}, shm::options{}.max_size(std::size_t{64} << 20)};
    return 0; // ends without destructors
  });
  REQUIRE(creator.join() == 0);
}

json object_of(const std::string& name) {
  for (const auto& o : lines(shell::shmdict({"ls", "--json"}).out))
    if (o["name"] == name) return o;
  throw std::runtime_error("ls does not list " + name);
}
bool is_orphan(const std::string& name) { return object_of(name).at("orphan"); }

} // namespace

TEST_CASE("watch prints changes as they happen, and goes on where it ended") {
  const support::Name name("watch");
  shm::json_dict d{name, {{"a", {{"x", 1}}}}, kept()};
  const auto now = json::parse(shell::shmdict({"stat", name, "--json"}).out)["position"].dump();
  shell::running all(shell::command_line({"watch", name, "-n", "5", "--since", now}));
  shell::running below(shell::command_line({"watch", name, "/a/x", "-n", "2", "--since", now}));
  const auto followers = [&] { return json::parse(shell::shmdict({"stat", name, "--json"}).out)["followers"]; };
  REQUIRE(support::eventually([&] { return followers() == 2; }));
  d["b"] = "new";
  CHECK(all.until("\"/b\"")); // at once, not when it ends
  d["a"]["x"] = 2;
  CHECK(all.until("\"/a/x\"")); // before "a" goes: later, a change inside of it may be left out
  CHECK(below.until("\"/a/x\""));
  d.transact([](auto& tx) {
    tx["c"]["d"] = 3;
    tx.erase("a"); // above what the second one watches
  });
  const auto seen = all.wait();
  CHECK(seen.code == 0);
  const auto l = lines(seen.out);
  REQUIRE(l.size() == 5);
  CHECK(l[0]["kind"] == "put");
  CHECK(l[0]["path"] == "/b");
  CHECK(l[0]["value"] == "new");
  CHECK(l[1]["path"] == "/a/x");
  CHECK(l[2]["kind"] == "dict");
  CHECK(l[2]["path"] == "/c");
  CHECK(l[2]["first"] == true);
  CHECK(l[2]["last"] == false);
  CHECK(l[3]["path"] == "/c/d");
  CHECK(l[4]["kind"] == "erase");
  CHECK(l[4]["path"] == "/a");
  CHECK(l[4]["last"] == true);
  const auto part = lines(below.wait().out);
  REQUIRE(part.size() == 2);
  CHECK(part[0]["path"] == "/a/x");
  CHECK(part[1]["path"] == "/a");

  const auto again = lines(shell::shmdict({"watch", name, "-n", "3", "--since", l[1]["next"].dump()}).out);
  REQUIRE(again.size() == 3);
  CHECK(again[0] == l[2]);
  CHECK(again[2] == l[4]);
}

TEST_CASE("watch says when changes were missed, and ends in order when asked to") {
  const support::Name name("watch");
  shm::dict<std::string, std::string> d{name, shm::options{}.max_size(std::size_t{64} << 20).buffer_size(64 << 10)};
  const auto old = json::parse(shell::shmdict({"stat", name, "--json"}).out)["position"].dump();
  for (int i = 0; i < 3000; ++i) d["k"] = std::string(1000, 'x');
  shell::running w(shell::command_line({"watch", name, "--since", old}));
  REQUIRE(w.until("resync"));
  d["k"] = "after";
  REQUIRE(w.until("after"));
  w.signal(SIGTERM);
  const auto ended = w.wait();
  CHECK(ended.code == 0);
  const auto l = lines(ended.out);
  CHECK(l.back()["value"] == "after");
  CHECK(l.front()["kind"] == "resync");
  const auto on = lines(shell::shmdict({"watch", name, "-n", "1", "--since", l.front()["next"].dump()}).out);
  REQUIRE(on.size() == 1);
  CHECK(on[0] == l[1]);
  CHECK(ended.err.find("changes were missed") != std::string::npos);
}

TEST_CASE("watch says when the name was removed, and goes on") {
  const support::Name name("watch");
  shm::json_dict d{name, {{"a", 1}}, kept()};
  shell::running w(shell::command_line({"watch", name}));
  REQUIRE(support::eventually([&] {
    return json::parse(shell::shmdict({"stat", name, "--json"}).out)["followers"] == 1;
  }));
  d.unlink();
  std::this_thread::sleep_for(600ms); // some looks later
  d["b"] = 2;
  REQUIRE(w.until("\"/b\""));
  w.signal(SIGINT);
  const auto ended = w.wait();
  CHECK(ended.code == 0);
  CHECK(ended.err.find("was unlinked") != std::string::npos);
  CHECK(ended.err.find("was unlinked") == ended.err.rfind("was unlinked")); // once
}

TEST_CASE("top prints plain lines when nobody looks at a terminal") {
  const support::Name name("top");
  shm::json_dict d{name, {{"a", 1}}, kept()};
  const support::Shared<std::atomic<bool>> stop;
  support::Child writer([&] {
    shm::json_dict w{shm::open_only, name};
    while (!*stop) w["a"] = 1;
    return 0;
  });
  shell::running watcher(shell::command_line({"watch", name, "/b"}));
  REQUIRE(support::eventually([&] {
    return json::parse(shell::shmdict({"stat", name, "--json"}).out)["followers"] == 1;
  }));
  CHECK(support::eventually([&] { // the writer is not always at work
    const auto l = lines(shell::shmdict({"top", name, "-n", "2", "-d", "0.2", "--json"}).out);
    REQUIRE(l.size() == 2);
    CHECK(l[1]["name"] == std::string(name));
    CHECK(l[1]["keys"] == 1);
    CHECK(l[1]["followers"] == 1);
    return l[1]["writes_per_second"] > 100 && l[1]["stream_bytes_per_second"] > 1000;
  }));
  *stop = true;
  CHECK(writer.join() == 0);
  const auto text = shell::shmdict({"top", name, "-n", "1", "-d", "0.1"}).out;
  CHECK(text.find(std::string(name) + " keys=1 memory=") != std::string::npos);
  CHECK(text.find(" followers=1 ") != std::string::npos);
  CHECK(text.find('\033') == std::string::npos);
  CHECK(shell::shmdict({"top", "no.such.dict"}).code == 3);
}

TEST_CASE("lock runs one command at a time and ends as it does") {
  const support::Name name("lock");
  shm::dict<std::string, int> d{name, kept()};
  const std::string command = SHMDICT_COMMAND, n = name;
  const shell::temporary counter("0");
  const std::string add = "x=$(cat " + counter.path() + "); sleep 0.01; echo $((x + 1)) > " + counter.path();
  std::vector<std::unique_ptr<shell::running>> many;
  for (int i = 0; i < 8; ++i)
    many.push_back(std::make_unique<shell::running>(shell::command_line({"lock", n, "count", "--", "sh", "-c", add})));
  for (auto& r : many) CHECK(r->wait().code == 0);
  CHECK(shell::read_file(counter.path()) == "8\n");

  CHECK(shell::shmdict({"lock", n, "l", "--", "sh", "-c", "exit 42"}).code == 42);
  CHECK(shell::shmdict({"lock", n, "l", "--", "sh", "-c", "kill -9 $$"}).code == 128 + SIGKILL);
  CHECK(shell::shmdict({"lock", n, "l", "--", "/no/such/program"}).code == 127);
  CHECK(shell::shmdict({"lock", n, "l", "--", "/etc/passwd"}).code == 126);
  CHECK(shell::shmdict({"lock", "no.such.dict", "l", "--", "true"}).code == 125);
  CHECK(shell::shmdict({"lock", n, "l"}).code == 2);
  CHECK(shell::shmdict({"lock", n, "l", "--", "cat", "-"}, "through").out == "through");

  // Held: others are told by whom, ls shows it, the dict stays writable.
  shell::running holder(shell::command_line({"lock", n, "job", "--", "sh", "-c", "echo held; exec sleep 60"}));
  REQUIRE(holder.until("held"));
  const auto late = shell::shmdict({"lock", n, "job", "--timeout", "0.1", "--", "echo", "never"});
  CHECK(late.code == 124);
  CHECK(late.out.empty());
  CHECK(late.err.find("(" + std::to_string(holder.pid()) + ")") != std::string::npos);
  const auto locks = object_of(n).at("named_locks");
  REQUIRE(locks.size() == 1);
  CHECK(locks[0]["name"] == "job");
  CHECK(locks[0]["pid"] == holder.pid());
  d["x"] = 1;
  CHECK(shell::shmdict({"lock", n, "another", "--", "true"}).code == 0);

  // Its holder is killed: the next one takes over, and says so; the command does not run on without the lock.
  shell::running next(shell::command_line({"lock", n, "job", "--", "echo", "mine"}));
  holder.signal(SIGKILL);
  const auto taken = next.wait();
  CHECK(taken.code == 0);
  CHECK(taken.out == "mine\n");
  CHECK(taken.err.find("took 'job' over") != std::string::npos);
  CHECK(holder.wait().code == 128 + SIGKILL); // sleep, which has its pipe, has ended, too
}

TEST_CASE("signals for lock reach its command") {
  const support::Name name("lock");
  shm::dict<std::string, int> d{name, kept()};
  for (const int number : {SIGTERM, SIGHUP, SIGINT, SIGQUIT}) {
    INFO(number);
    shell::running r(shell::command_line({"lock", name, "l", "--", "sh", "-c",
                                          "trap 'echo asked; exit 3' TERM HUP INT QUIT; echo ready; "
                                          "n=0; while [ $((n += 1)) -lt 1200 ]; do sleep 0.05; done"}));
    REQUIRE(r.until("ready"));
    r.signal(number);
    const auto ended = r.wait();
    CHECK(ended.out == "ready\nasked\n");
    CHECK(ended.code == 3);
    CHECK(object_of(name).at("named_locks") == json::array());
  }
}

TEST_CASE("an orphan stays one, whoever looks at it or changes it") {
  const support::Name name("orphan");
  make_orphan(name);
  REQUIRE(is_orphan(name));
  for (const shell::words& look : std::vector<shell::words>{{"ls"},
                                                            {"stat", name},
                                                            {"get", name},
                                                            {"get", name, "/a"},
                                                            {"keys", name},
                                                            {"dump", name},
                                                            {"check", name},
                                                            {"set", name, "/b", "2"},
                                                            {"del", name, "/b"},
                                                            {"top", name, "-n", "1", "-d", "0.1"},
                                                            {"stat"}}) {
    INFO(look[0]);
    CHECK(shell::shmdict(look).code == 0);
    CHECK(name.exists());
    CHECK(is_orphan(name));
  }
  CHECK(shell::shmdict({"get", name, "--json"}).out == "{\"a\":1}\n");
  CHECK(shell::shmdict({"ls", "--orphans"}).out.find(std::string(name)) != std::string::npos);
  CHECK(shell::shmdict({"unlink", name}).code == 0);
  CHECK_FALSE(name.exists());
}

// The mechanism: the command is an observer (dict_handle.cpp), and attaches to no dict that nobody has attached to.
TEST_CASE("a dict that a program restored stays, whoever looks at it or changes it") {
  const support::Name name("restored"), original("restored");
  const shell::temporary file;
  shm::json_dict{original, {{"a", 1}}, kept()}.backup(file.path());
  shm::restore(file.path(), name);
  for (const shell::words& look : std::vector<shell::words>{{"ls"},
                                                            {"stat", name},
                                                            {"get", name},
                                                            {"dump", name},
                                                            {"check", name},
                                                            {"top", name, "-n", "1", "-d", "0.1"}}) {
    INFO(look[0]);
    CHECK(shell::shmdict(look).code == 0);
    CHECK(name.exists());
    CHECK_FALSE(is_orphan(name));
  }
  CHECK(shell::shmdict({"set", name, "/b", "2"}).code == 0);
  CHECK(shell::shmdict({"get", name, "--json"}).out == "{\"a\":1,\"b\":2}\n");
}

// The mechanism: SHMD_OBSERVER in dict_handle.cpp.
TEST_CASE("of two commands that look at an orphan at the same time neither takes it away") {
  const support::Name name("two");
  make_orphan(name);
  int from[2], to_first[2], to_second[2]; // pipes
  REQUIRE((pipe(from) == 0 && pipe(to_first) == 0 && pipe(to_second) == 0));
  char c = 0;
  const auto look = [&](const int(&go)[2]) {
    const cli::dict_handle d(name, cli::access::look);
    return write(from[1], "r", 1) == 1 && read(go[0], &c, 1) == 1 ? 0 : 1;
  };
  support::Child first([&] { return look(to_first); });
  REQUIRE(read(from[0], &c, 1) == 1);
  support::Child second([&] { return look(to_second); }); // which finds it in use
  REQUIRE(read(from[0], &c, 1) == 1);
  REQUIRE(write(to_first[1], "g", 1) == 1);
  REQUIRE(first.join() == 0);
  REQUIRE(write(to_second[1], "g", 1) == 1);
  REQUIRE(second.join() == 0);
  for (const auto& ends : {from, to_first, to_second}) close(ends[0]), close(ends[1]);
  CHECK(is_orphan(name));
}

TEST_CASE("a dict in use is no orphan, and outlives who looks at it") {
  const support::Name name("used");
  {
    shm::json_dict d{name, {{"a", 1}}, shm::options{}.max_size(std::size_t{64} << 20)};
    CHECK(shell::shmdict({"set", name, "/a", "2"}).code == 0);
    CHECK(shell::shmdict({"dump", name}).code == 0);
    const auto o = object_of(name);
    CHECK(o["orphan"] == false);
    CHECK(o["in_use"] == true);
    CHECK(o["attached"] == 1);
    CHECK(d["a"].value() == 2);
  }
  CHECK_FALSE(name.exists()); // last_closes: the command left nothing behind that keeps it
}

TEST_CASE("a dict goes with its last user, whoever watches it meanwhile, and stays while a command has a lock in it") {
  const support::Name name("seen");
  const auto made = [&] {
    return std::make_unique<shm::json_dict>(name, shm::options{}.max_size(std::size_t{64} << 20));
  };
  auto d = made();
  shell::running watch(shell::command_line({"watch", name}));
  REQUIRE(support::eventually([&] { return object_of(name)["attached"] == 2; })); // it keeps its snapshots
  d.reset();
  CHECK_FALSE(name.exists());
  watch.signal(SIGTERM);
  CHECK(watch.wait().code == 0);

  d = made();
  shell::running lock(shell::command_line({"lock", name, "job", "--", "sh", "-c", "echo held; exec sleep 60"}));
  REQUIRE(lock.until("held"));
  d.reset();
  CHECK(name.exists());
  lock.signal(SIGTERM);
  lock.wait();
  CHECK(is_orphan(name));
  CHECK(shell::shmdict({"unlink", name}).code == 0);
}

TEST_CASE("stat says who holds the write lock, and that writes time out naming it") {
  const support::Name name("held");
  shm::json_dict d{name, {{"a", 1}}, kept()};
  shm::guard g{d};
  const auto s = json::parse(shell::shmdict({"stat", name, "--json"}).out);
  CHECK(s["lock"]["held"] == true);
  CHECK(s["lock"]["pid"] == getpid());
  CHECK(s["lock"]["alive"] == true);
  const auto r = shell::shmdict({"set", name, "/a", "2", "--timeout", "0.1"});
  CHECK(r.code == 5);
  CHECK(r.err.find(std::to_string(getpid())) != std::string::npos);
  CHECK(shell::shmdict({"get", name, "/a"}).out == "1\n"); // reads do not wait
}

TEST_CASE("a backup of a dict in use becomes another dict") {
  const support::Name name("backup"), copy("backup");
  shm::json_dict d{name, {{"a", {{"b", {1, 2}}}}}, kept()};
  const shell::temporary file;
  CHECK(shell::shmdict({"backup", name, file.path()}).code == 0);
  d["a"]["b"] = "later";
  CHECK(shell::shmdict({"restore", file.path(), copy}).code == 0);
  CHECK(shell::shmdict({"get", copy, "--json"}).out == "{\"a\":{\"b\":[1,2]}}\n");
  const auto again = shell::shmdict({"restore", file.path(), copy});
  CHECK(again.code == 4);
  CHECK(again.err.find("shmdict unlink") != std::string::npos);
  CHECK(shell::shmdict({"backup", "no.such.dict", file.path()}).code == 3);
}

TEST_CASE("bench measures what it says") {
  const auto r = shell::shmdict({"bench", "--seconds", "0.8", "--json"});
  INFO(r.err);
  CHECK(r.code == 0);
  const auto l = lines(r.out);
  REQUIRE(l.size() == 8);
  for (const auto& line : l) {
    INFO(line.dump());
    CHECK(line["per_second"] > 0);
    CHECK(line["p50_ns"] <= line["p99_ns"]);
    CHECK(line["p99_ns"] > 0);
    CHECK(line["p99_ns"] <= line["p999_ns"]);
  }
}

TEST_CASE("a damaged object is found, and is not read beyond") {
  const support::Name name("damaged");
  { shm::json_dict d{name, {{"a", 1}, {"b", "text"}}, kept()}; }
  std::FILE* f = std::fopen(name.path().c_str(), "r+b");
  REQUIRE(f != nullptr);
  // The records lie somewhere behind the tables: overwrite the header of the one that holds the text.
  std::string all(std::size_t{64} << 20, '\0');
  const auto size = std::fread(all.data(), 1, all.size(), f);
  const auto at = all.substr(0, size).rfind("text");
  REQUIRE(at != std::string::npos);
  std::fseek(f, static_cast<long>(at) - 32, SEEK_SET);
  for (int i = 0; i < 24; ++i) std::fputc(0xff, f);
  std::fclose(f);
  const auto r = shell::shmdict({"check", name});
  CHECK(r.code == 8);
  CHECK(r.out.find("damaged") != std::string::npos);
  CHECK(lines(shell::shmdict({"check", name, "--json"}).out)[0]["clean"] == false);

  const support::Name good("damaged");
  const shm::json_dict d{good, {{"a", 1}}, kept()};
  const auto all_three = shell::shmdict({"check", "no.such.dict", name, good});
  CHECK(all_three.code == 8); // what is damaged weighs more than what is not there
  CHECK(all_three.err.find("no.such.dict") != std::string::npos);
  CHECK(all_three.out.find("clean") != std::string::npos);
  CHECK(shell::shmdict({"check", "no.such.dict", good}).code == 3);
  CHECK(shell::shmdict({"get", name, "/b"}).code != 0);
}
