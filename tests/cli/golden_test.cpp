// SPDX-License-Identifier: Apache-2.0
// What the commands print, word for word.
#include <map>
#include <string>
#include <vector>

#include "golden.hpp"
#include "shm/json.hpp"

namespace {

struct point {
  std::int32_t x, y;
};

shm::options kept() { return shm::options{}.max_size(std::size_t{64} << 20).unlink(shm::never); }

} // namespace

SHM_PLAIN(point, "point/1");

TEST_CASE("values: get, set, del, keys") {
  const support::Name name("golden");
  const std::string n = name;
  shell::session s("values.txt", n);
  s.run({"load", n, "-"}, R"({"server":{"port":8080,"hosts":["a","b",{"x":1}],"":{"":"empty"}},"pi":3.25,
 "big":18446744073709551615,"esc":"tab\t\u0007\u001b[31m","a/b~c":true,"nothing":null,"none":{},"list":[]})");
  s.run({"get", n});
  s.run({"get", n, "--json"});
  s.run({"get", n, "/server/port"});
  s.run({"get", n, "/server/hosts/2/x"});
  s.run({"get", n, "/server//"});
  s.run({"get", n, "/server//", "-r"});
  s.run({"get", n, "/a~1b~0c"});
  s.run({"get", n, "/server//", "--bytes"});
  s.run({"keys", n});
  s.run({"keys", n, "/server"});
  s.run({"keys", n, "-lR"});
  s.run({"keys", n, "/server", "--json"});
  s.run({"keys", n, "-n", "2"});
  s.run({"keys", n, "/none"});
  s.run({"set", n, "/server/port", "80"});
  s.run({"set", n, "/new/deep/key", "-5"});
  s.run({"set", n, "/server/hosts/-", "\"c\""});
  s.run({"set", n, "/server/hosts/0", "{\"name\": \"a\"}"});
  s.run({"set", n, "/motd", "back soon", "-s"});
  s.run({"set", n, "/motd2", "-"}, "\"from a pipe\"\n");
  s.run({"set", n, "/new", "{\"other\": 1}", "--merge"});
  s.run({"del", n, "/server/", "/server/hosts/1", "/list"});
  s.run({"get", n});
  // What goes wrong.
  s.run({"get", n, "/nope"});
  s.run({"get", n, "/server/hosts/9"});
  s.run({"get", n, "server"});
  s.run({"get", n, "/a~2"});
  s.run({"get", "no.such.dict"});
  s.run({"get", "a/b"});
  s.run({"set", n, "/x", "not json"});
  s.run({"set", n, "/server/port/x", "1"});
  s.run({"set", n, "", "5"});
  s.run({"del", n, ""});
  s.run({"del", n, "/nope"});
  s.run({"keys", n, "/pi"});
  s.run({"get", n, "/server", "--bytes"});
  s.compare();
}

TEST_CASE("typed: dicts that the command knows nothing about") {
  const support::Name a("golden"), b("golden"), c("golden"), d("golden");
  const std::string n = a;
  shell::session s("typed.txt", n);
  {
    shm::dict<std::int64_t, std::vector<float>> x{n, kept()};
    x[-7] = std::vector<float>{0.1f, 2.0f};
    x[100] = std::vector<float>{};
    x[9] = std::vector<float>{1.5f};
    shm::dict<std::string, shm::dict<std::pair<int, std::string>, std::optional<std::uint8_t>>> y{std::string(b),
                                                                                                  kept()};
    y["in"][{1, "a/b"}] = std::uint8_t{200};
    y["in"][{2, ""}] = std::optional<std::uint8_t>{};
    shm::dict<bool, point> z{std::string(c), kept()};
    z[true] = point{1, -1};
    shmd_options o = support::with(SHMD_UNLINK_NEVER);
    const support::Handle w(d, o);
    shmd_put(w, shmd_root(), "text", 4, "plain", 5, 0);
    shmd_put(w, shmd_root(), "binary\0", 7, "\xff\0\1", 3, 0);
    shmd_node child;
    shmd_node_open(w, shmd_root(), "in", 2, SHMD_NODE_CREATE, &child);
    shmd_put(w, child, "x", 1, "y", 1, 0);
  }
  s.run({"get", n});
  s.run({"keys", n, "-l"});
  s.run({"get", n, "/-7"});
  s.run({"get", n, "/-7/1"});
  s.run({"set", n, "/12", "[1, 2.5, \"Infinity\"]"});
  s.run({"set", n, "/12/0", "0.25"});
  s.run({"get", n, "/12"});
  s.run({"set", n, "/x", "[]"});
  s.run({"set", n, "/9223372036854775808", "[]"});
  s.run({"set", n, "/1", "[1e39]"});
  s.run({"set", n, "/1", "5"});
  s.run({"load", n, "-"}, R"({"1": [1], "two": [2]})");
  s.run({"get", n, "/1"});
  s.run({"get", b});
  s.run({"get", b, "/in/[1,\"a~1b\"]"});
  s.run({"set", b, "/in/[1,\"a~1b\"]", "256"});
  s.run({"set", b, "/new/[3,\"x\"]", "255"});
  s.run({"set", b, "/in", "{\"[5,\\\"y\\\"]\": null}"});
  s.run({"set", b, "/flat", "1"});
  s.run({"dump", b, "--compact"});
  s.run({"get", c});
  s.run({"keys", c, "-l"});
  s.run({"set", c, "/false", "[1,2]"});
  s.run({"set", c, "/false", R"({"type": "point/1", "hex": "0x0000000000000000"})"});
  s.run({"get", c, "/false"});
  s.run({"get", d});
  s.run({"keys", d, "-lR"});
  s.run({"set", d, "/text", "other", "-s"});
  s.run({"get", d, "/text"});
  for (const auto* other : {&b, &c, &d}) s.replace(std::string(*other), "OTHER");
  s.compare();
}

TEST_CASE("trees: load and dump") {
  const support::Name name("golden");
  const shell::temporary good(R"({"a": {"b": [1, 2]}, "c": "d"})"), bad("{\"a\": 1,\n \"a\": 2}"),
      cut("{\"a\": {\"b\": [1, 2"), number("{\"n\": 0.1234567890123456789}"), array("[1, 2]"),
      utf8("{\"a\": \"\xff\"}"), deep(std::string(1001, '[') + std::string(1001, ']'));
  const std::string n = name;
  shell::session s("trees.txt", n);
  s.run({"load", n, array.path()});
  s.run({"load", n, bad.path()});
  s.run({"dump", n});
  s.run({"load", n, good.path()});
  for (const auto* file : {&bad, &cut, &number, &utf8, &deep, &array}) s.run({"load", n, file->path()});
  s.run({"load", n, "/no/such/file.json"});
  s.run({"dump", n});
  s.run({"load", n, "--merge", "-"}, R"({"a": {"x": 1}})");
  s.run({"dump", n, "--compact"});
  s.run({"load", n, "--at", "/a/list", array.path()});
  s.run({"load", n, "--at", "/fresh/place", good.path()});
  s.run({"dump", n, "/a"});
  s.run({"dump", n, "/fresh/place/a/b"});
  s.run({"load", n, "--batches", "-"}, R"({"a": {"y": 2}})");
  s.run({"dump", n, "--compact"});
  s.run({"load", n, "-"}, "{}");
  s.run({"dump", n});
  for (const auto* file : {&good, &bad, &cut, &number, &utf8, &deep, &array}) s.replace(file->path(), "FILE");
  s.compare();
}

TEST_CASE("looks: stat, check, unlink") {
  const support::Name name("golden");
  const std::string n = name;
  shell::session s("looks.txt", n);
  { shm::json_dict j{n, {{"a", {{"b", 1}}}}, kept()}; }
  s.run({"stat", n});
  s.run({"stat", n, "--json"});
  s.run({"stat", n, "--prometheus"});
  s.run({"check", n});
  s.run({"check", n, "--no-lock", "--json"});
  s.run({"unlink", "-y", n});
  s.run({"unlink", n});
  s.run({"unlink"});
  s.run({"stat", n});
  s.run({"check", n});
  s.replace("[0-9][0-9.]* (B|KiB|MiB|GiB)", "SIZE");
  s.replace("commits     [0-9]+", "commits     N");
  s.replace("process [0-9]+", "process PID");
  s.replace("\"(creator_pid|[a-z_]+_bytes|position|commits|acquisitions|recycles|segment_size_bytes)\":[0-9]+",
            "\"$1\":N");
  s.replace("\"id\":\"[0-9a-f]+\"", "\"id\":\"ID\"");
  s.replace("(shmdict_[a-z_]*(bytes|bytes_total|commits_total)\\{[^}]*\\}) [0-9.e+]+", "$1 N");
  s.compare();
}

TEST_CASE("help: every command says what it takes") {
  shell::session s("help.txt", "no name");
  s.run({"--help"});
  for (const char* command : {"get", "keys", "dump", "set", "del", "load", "ls", "stat", "check", "watch", "top",
                              "lock", "unlink", "backup", "restore", "bench"})
    s.run({command, "--help"});
  s.run({"--version"});
  s.run({});
  s.run({"frobnicate"});
  s.run({"get"});
  s.run({"get", "--frobnicate", "x"});
  s.run({"keys", "x", "-n", "many"});
  s.replace("shmdict [0-9]+\\.[0-9]+\\.[0-9]+", "shmdict VERSION");
  s.compare();
}
