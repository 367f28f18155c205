// SPDX-License-Identifier: Apache-2.0
// What goes wrong: the exit codes that the manual names, words that say what to do, and nothing half done in silence.
#include <sys/stat.h>

#include <string>
#include <vector>

#include "shell.hpp"
#include "shm/json.hpp"
#include "support/catch.hpp"

using nlohmann::json;
using support::contains;

namespace {

shm::options kept() { return shm::options{}.max_size(std::size_t{64} << 20).unlink(shm::never); }

// A program of bash in which $1 is the command and $2 what is given.
shell::ended bash(const std::string& program, const std::string& argument) {
  return shell::run({"bash", "-c", program, "bash", SHMDICT_COMMAND, argument});
}

} // namespace

TEST_CASE("numbers below 0 are refused, not taken for the largest there are") {
  const support::Name name("numbers");
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  for (const shell::words& line : std::vector<shell::words>{{"keys", name, "-n", "-1"},
                                                            {"keys", name, "--limit=-1"},
                                                            {"watch", name, "-n", "-1", "--since", "0"},
                                                            {"watch", name, "--since", "-1", "-n", "0"},
                                                            {"top", name, "-n", "-1"},
                                                            {"lock", name, "l", "--timeout", "-1", "--", "true"}}) {
    INFO(line[0]);
    const auto r = shell::shmdict(line);
    CHECK(r.code == 2);
    CHECK_THAT(r.err, contains("-1"));
    CHECK(r.err.size() < 200);
  }
  CHECK(shell::shmdict({"watch", name, "-n", "0"}).code == 0);
}

TEST_CASE("options that contradict each other are refused") {
  const support::Name name("both");
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  CHECK(shell::shmdict({"stat", name, "--json", "--prometheus"}).code == 2);
  CHECK(shell::shmdict({"keys", name, "-0", "--json"}).code == 2);
  CHECK(shell::shmdict({"keys", name, "-0", "-l"}).code == 2);
  CHECK(shell::shmdict({"ls", "-0", "--json"}).code == 2);
}

TEST_CASE("unlink goes on after an error, names each, and ends with the first one's code") {
  const support::Name a("unlink"), b("unlink");
  for (const auto* name : {&a, &b}) shm::json_dict d{std::string(*name), {{"a", 1}}, kept()};
  const auto r = shell::shmdict({"unlink", a, "no/slash", "no.such.dict", b});
  CHECK(r.code == 2);
  CHECK_THAT(r.err, contains("no/slash"));
  CHECK_THAT(r.err, contains("no.such.dict"));
  CHECK_FALSE(a.exists());
  CHECK_FALSE(b.exists());
}

TEST_CASE("who may not remove a name is told who may") {
  if (geteuid() != 0) SHMDICT_SKIP("only root can become somebody else");
  const support::Name name("owner");
  shmd_options o = support::with(SHMD_UNLINK_NEVER);
  o.permissions = 0666;
  const support::Handle d(name, o);
  support::Child other([&] {
    if (setgid(65534) != 0 || setuid(65534) != 0) return 3;
    if (shmd_unlink(name.c_str()) != SHMD_ERR_PERMISSION_DENIED) return 2;
    return std::string(shmd_last_error()->message).find("its owner or root can") != std::string::npos ? 0 : 1;
  });
  CHECK(other.join() == 0);
  CHECK(name.exists());
}

TEST_CASE("keys that could steer a terminal are printed as get takes them, if that is asked for") {
  const support::Name name("zero");
  shm::json_dict d{name, kept()};
  const std::string path = "/\033[2J\n~1";
  d["\033[2J\n/"]["\xc2\x9b"] = "found";
  CHECK_THAT(shell::shmdict({"keys", name}).out, contains("/\\u001b[2J\\n~1\n"));
  CHECK(shell::shmdict({"keys", name, "-R", "-0"}).out == path + '\0' + path + "/\xc2\x9b" + '\0');
  CHECK(bash("\"$1\" keys \"$2\" -R0 | tail -z -n 1 | xargs -0 \"$1\" get -r \"$2\"", name).out == "found\n");
  CHECK_THAT(shell::shmdict({"ls", "-0"}).out, contains(std::string(name) + '\0'));
}

TEST_CASE("what JSON cannot express is written as well as can be, and the exit code says so") {
  const support::Name values("lossy"), keys("lossy");
  shm::dict<std::string, std::string> v{values, kept()}, k{keys, kept()};
  v["bad"] = "a\xff";
  v["good"] = "a";
  k["a\xff"] = "good";
  for (const shell::words& line : std::vector<shell::words>{
           {"dump", values}, {"dump", values, "/bad"}, {"get", values}, {"get", values, "/bad"}, {"dump", keys}}) {
    INFO(line[0]);
    const auto r = shell::shmdict(line);
    CHECK(r.code == 4);
    CHECK_THAT(r.out, contains("a\xef\xbf\xbd"));
    CHECK_THAT(r.err, contains("JSON cannot express"));
  }
  const auto raw = shell::shmdict({"get", values, "/bad", "-r"});
  CHECK(raw.code == 0);
  CHECK(raw.out == "a\xff\n");
  CHECK(raw.err.empty());
  CHECK(shell::shmdict({"get", values, "/good"}).code == 0);
}

TEST_CASE("a file that is not there is not found, whichever command reads it") {
  const support::Name name("none");
  CHECK(shell::shmdict({"load", name, "/no/such/file"}).code == 1);
  const auto r = shell::shmdict({"restore", "/no/such/file", name});
  CHECK(r.code == 1);
  CHECK_THAT(r.err, contains("/no/such/file"));
  CHECK_FALSE(name.exists());
}

TEST_CASE("a limit of file sizes is named, not an option that the command does not have") {
  const support::Name name("limit"), from("limit");
  const shell::temporary file;
  { shm::json_dict d{from, {{"a", 1}}, kept()}; }
  REQUIRE(shell::shmdict({"backup", from, file.path()}).code == 0);
  for (const auto& r : {bash("ulimit -f 1000; echo '{\"a\": 1}' | \"$1\" load \"$2\" -", name),
                        bash("ulimit -f 1000; \"$1\" restore " + file.path() + " \"$2\"", name)}) {
    CHECK(r.code == 7);
    CHECK_THAT(r.err, contains("ulimit -f"));
    CHECK(r.err.find("max_size") == std::string::npos);
  }
}

TEST_CASE("a position that the dict does not have is a matter of the command line") {
  const support::Name name("position");
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  CHECK(shell::shmdict({"watch", name, "--since", "5", "-n", "1"}).code == 2);
}

TEST_CASE("a broken object fails a stat that names it, and is named by a stat of all") {
  const support::Name name("broken");
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  REQUIRE(truncate(name.path().c_str(), 4096) == 0);
  CHECK(shell::shmdict({"stat", name}).code == 8);
  const auto all = shell::shmdict({"stat"});
  CHECK(all.code == 0);
  CHECK_THAT(all.err, contains(name));
}

TEST_CASE("who stops reading ends a command as in any pipe") {
  const support::Name name("pipe");
  {
    shm::json_dict d{name, kept()};
    d.transact([](auto& tx) {
      for (int i = 0; i < 20'000; ++i) tx["k" + std::to_string(i)] = i;
    });
  }
  const auto r = bash("\"$1\" dump \"$2\" | head -n 1; echo ${PIPESTATUS[0]}", name);
  CHECK(r.out == "{\n141\n");
  CHECK(r.err.empty());
}

// The mechanism: open_standard_streams() in main, and say(), which does not throw. Without the first the dict lies on a missing
// number and what is printed goes into its first page; without the second the command aborts where it has something to say.
TEST_CASE("standard streams that are missing or full end no command and reach no dict") {
  const support::Name name("streams"), fresh("streams");
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  struct {
    const char *arguments, *on;
    int code;
  } const cases[] = {
      {"del \"$2\" /missing", "2>&-", 1},
      {"del \"$2\" /missing", "2>/dev/full", 1},
      {"del \"$2\" /missing", "<&- >&- 2>&-", 1},
      {"get \"$2\" /a", "<&- 2>&-", 0},
      {"get \"$2\" /a", ">&-", 9},
      {"get \"$2\" /a", ">/dev/full", 9},
      {"get \"$2\" /a", "<&- >&- 2>&-", 9},
      {"check \"$2\" no.such.dict", "<&- >&- 2>&-", 9},
      {"check \"$2\" no.such.dict", "2>/dev/full", 3},
      {"set \"$2\" /b -", "<&- 2>&-", 9},
      {"set \"$2\" /a 1", "<&- >&- 2>&-", 0},
      {"frobnicate", "2>&-", 2},
      {"lock \"$2\" l -- /no/such/command", "<&- >&- 2>&-", 127},
      {"lock \"$2\" l -- /no/such/command", "2>/dev/full", 127},
      {"lock \"$2\" l -- sh -c 'echo x >&2; echo x; read y; exit 5'", "<&- >&- 2>&-", 5},
      {"unlink no.such.dict", "2>/dev/full", 3},
  };
  for (const auto& c : cases) {
    INFO(c.arguments << " " << c.on);
    CHECK(bash("\"$1\" " + std::string(c.arguments) + " " + c.on, name).code == c.code);
    CHECK(shell::shmdict({"get", name, "--json"}).out == "{\"a\":1}\n");
    CHECK(shell::shmdict({"check", name}).code == 0);
  }
  // What has no place for its last words still ends with the code that the manual names.
  CHECK(bash("echo '{\"x\": 1}' | \"$1\" load \"$2\" - >&- 2>&-", fresh).code == 0);
  CHECK(shell::shmdict({"get", fresh, "/x"}).out == "1\n");
}

TEST_CASE("del removes what is there, and says what is not") {
  const support::Name name("del");
  shm::json_dict d{name, {{"a", 1}, {"b", 2}, {"c", 3}}, kept()};
  const auto r = shell::shmdict({"del", name, "/a", "/nope", "/b"});
  CHECK(r.code == 1);
  CHECK_THAT(r.err, contains("/nope"));
  CHECK(shell::shmdict({"keys", name}).out == "/c\n");
}

TEST_CASE("a backup goes into files, and restore says which file is none") {
  const support::Name name("backup"), copy("backup");
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  const auto pipe = shell::shmdict({"backup", name, "-"});
  CHECK(pipe.code == 2);
  CHECK_THAT(pipe.err, contains("shmdict dump"));
  CHECK(access("-", F_OK) != 0);
  const shell::temporary file;
  REQUIRE(unlink(file.path().c_str()) == 0);
  REQUIRE(mkfifo(file.path().c_str(), 0600) == 0); // stands for a device
  const auto fifo = shell::shmdict({"backup", name, file.path()});
  CHECK(fifo.code == 4);
  CHECK_THAT(fifo.err, contains(file.path()));
  struct stat s;
  REQUIRE(stat(file.path().c_str(), &s) == 0);
  CHECK(S_ISFIFO(s.st_mode));
  REQUIRE(unlink(file.path().c_str()) == 0);

  REQUIRE(shell::shmdict({"backup", name, file.path()}).code == 0);
  REQUIRE(truncate(file.path().c_str(), 100'000) == 0);
  const auto cut = shell::shmdict({"restore", file.path(), copy});
  CHECK(cut.code == 8);
  CHECK_THAT(cut.err, contains("the backup '" + file.path() + "' is truncated"));
  CHECK(cut.err.find("unlink") == std::string::npos);
  const auto foreign = shell::shmdict({"restore", "/etc/passwd", copy});
  CHECK(foreign.code == 4);
  CHECK_THAT(foreign.err, contains("'/etc/passwd' is no backup"));
  CHECK_FALSE(copy.exists());
}

TEST_CASE("a lock without a name is refused in words about the command line") {
  const support::Name name("lock");
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  const auto r = shell::shmdict({"lock", name, "", "--", "true"});
  CHECK(r.code == 2);
  CHECK_THAT(r.err, contains("LOCKNAME"));
  CHECK(r.err.find("shmd_") == std::string::npos);
}

TEST_CASE("set takes no nesting that load would refuse") {
  const support::Name name("deep"), again("deep"), fresh("deep");
  { shm::json_dict d{name, kept()}; }
  std::string path;
  for (int i = 0; i < 1000; ++i) path += "/d";
  CHECK(shell::shmdict({"set", name, path + "/d", "1"}).code == 4);
  CHECK(shell::shmdict({"set", name, path, "[]"}).code == 4);
  CHECK(shell::shmdict({"load", name, "-", "--at", path, "--merge"}, "{}").code == 4);
  CHECK(shell::shmdict({"load", fresh, "-", "--at", path}, "{}").code == 4);
  CHECK_FALSE(fresh.exists());
  CHECK(shell::shmdict({"dump", name}).out == "{}\n");
  REQUIRE(shell::shmdict({"set", name, path, "1"}).code == 0);
  CHECK(shell::shmdict({"load", again, "-"}, shell::shmdict({"dump", name, "--compact"}).out).code == 0);
}

TEST_CASE("a NUL byte behind, before or in a document is refused, with line and column, and nothing is changed") {
  using std::string_literals::operator""s;
  const support::Name name("nul"), other("nul_other");
  { shm::json_dict j{name, {{"a", 1}}, kept()}; }
  for (const auto& text : {"{\"a\":1}\0{\"b\":2} rest"s, "{\"a\":\n2}\0"s, "{\"a\":2}\n\0\n"s, "\0{\"a\":2}"s,
                           "{\0\"a\":2}"s, "{\"a\":2\0}"s, "{\"a\":\"\0\"}"s}) {
    INFO(text);
    for (const shell::words& line : std::vector<shell::words>{{"load", name, "-"},
                                                              {"load", name, "-", "--merge"},
                                                              {"load", other, "-"},
                                                              {"load", name, "-", "--at", "/b"},
                                                              {"set", name, "/a", "-"}}) {
      const auto r = shell::shmdict(line, text);
      CHECK(r.code == 4);
      CHECK_THAT(r.err, contains("stdin:"));
      CHECK(r.out.empty());
    }
    CHECK(shell::shmdict({"dump", name, "--compact"}).out == "{\"a\":1}\n");
    CHECK_FALSE(other.exists());
  }
  CHECK_THAT(shell::shmdict({"load", name, "-"}, "{}\n \0"s).err, contains("stdin:2:2: a NUL byte"));
  // As text it is a byte like others, and a key with one is no number.
  CHECK(shell::shmdict({"set", name, "/a", "-", "--string"}, "x\0y"s).code == 0);
  CHECK(shell::shmdict({"get", name, "/a"}).out == "\"x\\u0000y\"\n");
  const support::Name numbers("nul_numbers");
  { shm::dict<int, int> d{numbers, {{7, 1}}, kept()}; }
  const auto r = shell::shmdict({"load", numbers, "-"}, "{\"7\\u00008\": 2}");
  CHECK(r.code == 4);
  CHECK(shell::shmdict({"dump", numbers, "--compact"}).out == "{\"7\":1}\n");
}

TEST_CASE("a value that cannot be read costs itself, and is told with its path and what can be done") {
  const support::Name name("unreadable");
  {
    shm::json_dict j{name, {{"a", 1}, {"in", {{"b", 2}}}}, kept()};
    shmd_node in{0, 0};
    REQUIRE(shmd_node_open(j.native_handle(), shmd_root(), "in", 2, 0, &in) == 0);
    REQUIRE(shmd_put(j.native_handle(), in, "bad", 3, "\xff", 1, 0) >= 0);
  }
  for (const shell::words& line :
       std::vector<shell::words>{{"dump", name, "--compact"}, {"dump", name, "--compact", "--unsorted"}}) {
    const auto r = shell::shmdict(line);
    CHECK(r.code == 8);
    CHECK(json::parse(r.out) == json{{"a", 1}, {"in", {{"b", 2}, {"bad", nullptr}}}});
    CHECK_THAT(r.err, contains("1 value cannot be read"));
    CHECK_THAT(r.err, contains("'/in/bad'"));
  }
  auto r = shell::shmdict({"get", name, "/in", "--json"});
  CHECK(r.code == 8);
  CHECK(json::parse(r.out) == json{{"b", 2}, {"bad", nullptr}});
  r = shell::shmdict({"get", name, "/in/bad"});
  CHECK(r.code == 8);
  CHECK(r.out.empty());
  CHECK_THAT(r.err, contains("dict '" + std::string(name) + "'"));
  CHECK_THAT(r.err, contains("/in/bad"));
  CHECK_THAT(r.err, contains("--bytes"));
  CHECK(shell::shmdict({"get", name, "/in/bad", "--bytes"}).out == "\xff");
  r = shell::shmdict({"keys", name, "-R", "--json"});
  CHECK(r.code == 8);
  int errors = 0;
  for (const auto& e : json::parse(r.out)) errors += e.contains("error") ? 1 : 0;
  CHECK(errors == 1);
  r = shell::shmdict({"keys", name, "-R", "-l"});
  CHECK(r.code == 8);
  CHECK_THAT(r.out, contains("/a"));
  CHECK_THAT(r.out, contains("(the stored bytes are not JSON"));
  r = shell::shmdict({"watch", name, "--since", "0", "-n", "1"});
  CHECK(r.code == 0);
  CHECK(shell::shmdict({"set", name, "/in/bad", "3"}).code == 0);
  CHECK(shell::shmdict({"dump", name, "--compact"}).out == "{\"a\":1,\"in\":{\"b\":2,\"bad\":3}}\n");
}
