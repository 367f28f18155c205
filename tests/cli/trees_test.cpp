// SPDX-License-Identifier: Apache-2.0
// Whole trees: real data there and back, nothing by halves, one moment.
#include <dirent.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "shell.hpp"
#include "shm/json.hpp"
#include "support/catch.hpp"

using json = nlohmann::json;

namespace {

std::vector<std::string> iso_codes() {
  const std::string folder = "/usr/share/iso-codes/json";
  std::vector<std::string> out;
  DIR* d = opendir(folder.c_str());
  if (d == nullptr) return out;
  while (const dirent* e = readdir(d)) {
    const std::string file = e->d_name;
    if (file.size() > 5 && file.substr(file.size() - 5) == ".json") out.push_back(folder + "/" + file);
  }
  closedir(d);
  std::sort(out.begin(), out.end());
  return out;
}

} // namespace

TEST_CASE("all JSON of iso-codes goes in and comes out as it was") {
  const auto files = iso_codes();
  if (files.empty()) {
    std::puts("skipped: iso-codes is not installed");
    std::exit(77);
  }
  CHECK(files.size() >= 8);
  const support::Name all("iso");
  for (const auto& file : files) {
    INFO(file);
    const auto expected = json::parse(shell::read_file(file));
    const support::Name one("iso");
    REQUIRE(shell::shmdict({"load", one, file}).code == 0);
    const auto dumped = shell::shmdict({"dump", one});
    REQUIRE(dumped.code == 0);
    CHECK(dumped.err.empty());
    CHECK(json::parse(dumped.out) == expected);
    // The text of a dump, loaded, gives the same text; the order of storage the same tree.
    const support::Name again("iso");
    const shell::temporary file_of_dump(dumped.out);
    REQUIRE(shell::shmdict({"load", again, file_of_dump.path()}).code == 0);
    CHECK(shell::shmdict({"dump", again}).out == dumped.out);
    CHECK(json::parse(shell::shmdict({"dump", again, "--unsorted", "--compact"}).out) == expected);
    // The C++ facade reads what the command wrote.
    shm::json_dict facade{shm::open_only, one};
    CHECK(json(facade) == expected);
    // Into one dict, side by side.
    const auto key = file.substr(file.rfind('/') + 1);
    REQUIRE(shell::shmdict({"load", all, file, "--at", "/" + key, "--merge"}).code == 0);
  }
  for (const auto& file : files) {
    const auto key = file.substr(file.rfind('/') + 1);
    CHECK(json::parse(shell::shmdict({"get", all, "/" + key, "--json"}).out) == json::parse(shell::read_file(file)));
  }
  CHECK(shell::shmdict({"check", all}).code == 0);
}

TEST_CASE("a file with anything wrong in it changes nothing") {
  const support::Name name("load");
  REQUIRE(shell::shmdict({"load", name, "-"}, R"({"old": {"x": 1}})").code == 0);
  const auto before = shell::shmdict({"stat", name, "--json"}).out;
  std::string deep_leaf = "1";
  for (int i = 0; i < 1001; ++i) deep_leaf = "[" + deep_leaf + "]";
  const std::string front = R"({"new": 1, "old": {"y": 2}, )";
  for (const std::string& rest :
       {std::string(R"("a": )"), std::string(R"("new": 2})"), std::string("\"a\": 1e999}"),
        std::string("\"a\": 0.12345678901234567890}"), std::string("\"a\": \"\xc3\"}"), R"("a": )" + deep_leaf + "}",
        R"("a": ")" + std::string(20, 'x'), "\"" + std::string(65'536, 'k') + "\": 1}"}) {
    for (const char* mode : {"--merge", "--batches"}) {
      const shell::temporary file(front + rest);
      const auto r = shell::shmdict({"load", name, file.path(), mode});
      INFO(r.err);
      CHECK(r.code == 4);
      CHECK(r.out.empty());
      CHECK(std::count(r.err.begin(), r.err.end(), '\n') == 1);
      CHECK(shell::shmdict({"stat", name, "--json"}).out == before); // not even a commit
    }
  }
  // A new dict does not come to be.
  const support::Name fresh("load");
  CHECK(shell::shmdict({"load", fresh, "-"}, front).code == 4);
  CHECK_FALSE(fresh.exists());
}

TEST_CASE("what a typed dict cannot hold is refused before anything is written") {
  const support::Name name("load");
  shm::dict<std::string, shm::dict<int, std::int8_t>> d{name, shm::options{}.max_size(std::size_t{64} << 20)};
  d["a"][1] = std::int8_t{1};
  const auto commits = shell::shmdict({"stat", name, "--json"}).out;
  for (const char* text :
       {R"({"a": {"1": 2}, "b": {"1": 128}})", R"({"a": {"1": 2}, "b": {"x": 1}})", R"({"a": {"1": 2}, "b": 1})"}) {
    const auto r = shell::shmdict({"load", name, "--batches", "-"}, text);
    CHECK(r.code == 4);
    CHECK(r.err.find("/b") != std::string::npos); // where
  }
  CHECK(d["a"][1].value() == 1);
  CHECK(d.size() == 1);
  CHECK(json::parse(shell::shmdict({"stat", name, "--json"}).out)["commits"] == json::parse(commits)["commits"]);
}

TEST_CASE("nesting of 1,000 levels goes in and comes out") {
  const support::Name name("deep");
  std::string dicts = "1", leaf = "1";
  for (int i = 0; i < 999; ++i) dicts = "{\"d\":" + dicts + "}";
  for (int i = 0; i < 998; ++i) leaf = "[" + leaf + "]";
  const shell::temporary file("{\"d\":" + dicts + ",\"l\":" + leaf + "}");
  const auto r = shell::shmdict({"load", name, file.path()});
  INFO(r.err);
  REQUIRE(r.code == 0);
  CHECK(shell::shmdict({"dump", name, "--compact"}).out == shell::read_file(file.path()) + "\n");
}

// A commit replaces at most 65,536 values of a dict as small as this one; new keys hardly count.
TEST_CASE("more than one commit can take is refused whole, and taken in batches") {
  const support::Name name("large");
  {
    shmd_options o = support::with(SHMD_UNLINK_NEVER);
    o.max_size = std::uint64_t{16} << 20;
    o.key_type = "str";
    o.value_type = "json";
    const support::Handle h(name, o);
  }
  json big = json::object();
  for (int i = 0; i < 80'000; ++i) big["k" + std::to_string(i)] = i;
  const shell::temporary file(big.dump());
  const auto whole = shell::shmdict({"load", name, file.path()});
  INFO(whole.err);
  REQUIRE(whole.code == 0);
  CHECK(json::parse(shell::shmdict({"dump", name, "--unsorted"}).out) == big);
  json other = big;
  for (auto& [key, value] : other.items()) value = value.get<int>() + 1;
  const shell::temporary changed(other.dump());
  const auto merged = shell::shmdict({"load", name, changed.path(), "--merge"});
  INFO(merged.err);
  REQUIRE(merged.code == 7);
  CHECK(merged.err.find("--batches") != std::string::npos);
  CHECK(json::parse(shell::shmdict({"dump", name, "--unsorted"}).out) == big);
  const auto batches = shell::shmdict({"load", name, changed.path(), "--batches"});
  INFO(batches.err);
  CHECK(batches.code == 0);
  CHECK(json::parse(shell::shmdict({"dump", name, "--unsorted"}).out) == other);
}

TEST_CASE("a dump shows one moment while others write") {
  const support::Name name("moment");
  shm::json_dict d{name, shm::options{}.max_size(std::size_t{256} << 20)};
  d.transact([](auto& tx) {
    for (int k = 0; k < 300; ++k) tx[std::to_string(k)]["n"] = 0;
  });
  const support::Shared<std::atomic<bool>> stop;
  support::Child writer([&] {
    shm::json_dict w{shm::open_only, name};
    for (int i = 1; !*stop; ++i)
      w.transact([&](auto& tx) {
        for (int k = 0; k < 300; k += 100) tx[std::to_string(k)]["n"] = i;
      });
    return 0;
  });
  std::set<int> seen;
  int rounds = 0;
  CHECK(support::eventually([&] {
    const auto dumped = json::parse(shell::shmdict({"dump", name}).out);
    const int n = dumped["0"]["n"];
    CHECK(dumped["100"]["n"] == n);
    CHECK(dumped["200"]["n"] == n);
    seen.insert(n);
    return ++rounds >= 10 && seen.size() > 1; // it did write meanwhile
  }));
  *stop = true;
  CHECK(writer.join() == 0);
}

TEST_CASE("a load into a dict that is in use is one commit") {
  const support::Name name("once");
  shm::json_dict d{name, {{"a", 0}, {"b", 0}}, shm::options{}.max_size(std::size_t{64} << 20)};
  const support::Shared<std::atomic<bool>> stop;
  const support::Shared<std::atomic<int>> looks;
  support::Child reader([&] {
    shm::json_dict r{shm::open_only, name};
    while (!*stop) {
      const json j = r;
      if (j.size() != 2 || j["a"] != j["b"]) return 1;
      ++*looks;
    }
    return 0;
  });
  for (int i = 1; i <= 10; ++i) {
    REQUIRE(support::eventually([&, before = looks->load()] { return *looks > before + 1; }));
    const auto n = std::to_string(i);
    CHECK(shell::shmdict({"load", name, "-"}, R"({"a": )" + n + R"(, "b": )" + n + "}").code == 0);
  }
  *stop = true;
  CHECK(reader.join() == 0);
  CHECK(d["a"].value() == 10);
}

TEST_CASE("dump and load work in pipes, and a closed pipe ends a dump in silence") {
  const support::Name from("pipe"), to("pipe");
  const auto n = std::string(SHMDICT_COMMAND);
  json big = json::object();
  for (int i = 0; i < 20'000; ++i) big["k" + std::to_string(i)] = {{"i", i}};
  const shell::temporary file(big.dump());
  REQUIRE(shell::shmdict({"load", from, file.path()}).code == 0);
  const auto copied =
      shell::run({"sh", "-c", n + " dump " + std::string(from) + " | " + n + " load " + std::string(to) + " -"});
  INFO(copied.err);
  CHECK(copied.code == 0);
  CHECK(shell::shmdict({"dump", to}).out == shell::shmdict({"dump", from}).out);
  const auto closed = shell::run({"sh", "-c", n + " dump " + std::string(from) + " | head -n 1"});
  CHECK(closed.out == "{\n");
  CHECK(closed.err.empty());
  const auto full = shell::run({"sh", "-c", n + " dump " + std::string(from) + " > /dev/full"});
  CHECK(full.code == 9);
  CHECK(full.err.find("No space left") != std::string::npos);
}
