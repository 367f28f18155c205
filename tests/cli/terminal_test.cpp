// SPDX-License-Identifier: Apache-2.0
// Sessions at a terminal: colours, widths, questions, the live view, progress.
#include "terminal.hpp"

#include <regex>
#include <string>

#include "shm/json.hpp"
#include "support/catch.hpp"
#include "table.hpp"

namespace {

shm::options kept() { return shm::options{}.max_size(std::size_t{64} << 20).unlink(shm::never); }

std::size_t widest(const std::string& text) {
  std::size_t most = 0;
  for (std::size_t at = 0, end; at < text.size(); at = end + 1) {
    end = std::min(text.find('\n', at), text.size());
    most = std::max(most, cli::display_width(text.substr(at, end - at)));
  }
  return most;
}

const std::string escape = "\033[";

// The last page that top has shown to its end.
std::string last_page(const shell::terminal& t) {
  const auto end = t.shown().rfind("\033[J");
  if (end == std::string::npos) return {};
  const auto begin = t.shown().rfind("\033[H", end);
  return shell::plain(t.shown().substr(begin, end - begin));
}

} // namespace

TEST_CASE("colours are for terminals that want them") {
  const support::Name name("term");
  shm::json_dict d{name, {{"a", "text"}, {"n", 1}}, kept()};
  const auto get = shell::command_line({"get", name});
  shell::terminal coloured(get, 24, 80);
  CHECK(coloured.wait() == 0);
  CHECK(coloured.shown().find(escape) != std::string::npos);
  const auto piped = shell::run(get).out;
  CHECK(shell::plain(coloured.shown()) == piped);
  CHECK(piped.find('\033') == std::string::npos);
  for (const auto& env :
       {shell::terminal::environment{{"NO_COLOR", "1"}}, shell::terminal::environment{{"TERM", "dumb"}}}) {
    shell::terminal t(get, 24, 80, env);
    CHECK(t.wait() == 0);
    CHECK(t.shown().find('\033') == std::string::npos);
  }
  shell::terminal empty(get, 24, 80, {{"NO_COLOR", ""}}); // set but empty: not asked for
  CHECK(empty.wait() == 0);
  CHECK(empty.shown().find(escape) != std::string::npos);
}

TEST_CASE("a backup is neither written to a terminal nor read from one") {
  const support::Name name("term"), fresh("term");
  shm::json_dict d{name, {{"a", "text"}}, kept()};
  for (const shell::words& line : std::vector<shell::words>{{"backup", name, "-"}, {"restore", "-", fresh}}) {
    INFO(line[0]);
    shell::terminal t(shell::command_line(line), 24, 80);
    CHECK(t.wait() == 2);
    CHECK_THAT(t.shown(), support::contains("is a terminal: redirect it"));
    CHECK(t.shown().find("shmd\r") == std::string::npos);
  }
  CHECK_FALSE(fresh.exists());
}

TEST_CASE("tables fit the terminal's width, and are whole in a pipe") {
  const support::Name name("term");
  const std::string long_text(300, 'x'), wide = "\xe6\xbc\xa2\xe5\xad\x97"; // two columns each
  shm::json_dict d{name, {{"k", long_text}, {wide, "y"}, {"e\xcc\x81", 1}}, kept()};
  const auto keys = shell::command_line({"keys", name, "-l"});
  for (const int columns : {40, 60, 100}) {
    shell::terminal t(keys, 24, columns);
    CHECK(t.wait() == 0);
    const auto text = shell::plain(t.shown());
    INFO(text);
    CHECK(widest(text) <= static_cast<std::size_t>(columns));
    CHECK(text.find("...") != std::string::npos);
    CHECK(text.find(wide) != std::string::npos);
  }
  CHECK(shell::run(keys).out.find(long_text) != std::string::npos);
}

TEST_CASE("what is in a dict does not steer the terminal") {
  const support::Name name("term");
  shm::json_dict d{name, kept()};
  d["\033]0;owned\007\r\xc2\x9b"
    "31m"] = "\033[2J\x7f\xe2\x80\xae";
  shm::dict<std::string, std::string> evil{std::string(name) + "\033[5m", kept()};
  for (const shell::words& command : std::vector<shell::words>{
           {"get", name}, {"keys", name}, {"keys", "-l", name}, {"dump", name}, {"ls"}, {"stat"}}) {
    shell::terminal t(shell::command_line(command), 24, 200, {{"NO_COLOR", "1"}});
    CHECK(t.wait() == 0);
    INFO(command[0]);
    const bool of_all = command[0] == "ls" || command[0] == "stat";
    CHECK(t.shown().find(of_all ? "\\u001b[5m" : "\\u001b") != std::string::npos); // it was there to be printed
    for (const char* bad : {"\033", "\007", "\xc2\x9b", "\x7f", "\xe2\x80\xae"})
      CHECK(t.shown().find(bad) == std::string::npos);
  }
  CHECK(shell::shmdict({"get", std::string(name) + "\033[6m"}).err.find('\033') == std::string::npos);
  evil.unlink();
}

TEST_CASE("unlink asks at a terminal") {
  const support::Name name("term");
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  shell::terminal no(shell::command_line({"unlink", name}), 24, 120);
  REQUIRE(no.until("unlink " + std::string(name) + " (1 key, "));
  REQUIRE(no.until("[y/N] "));
  no.type("n\r");
  CHECK(no.wait() == 1);
  CHECK(name.exists());
  shell::terminal hung_up(shell::command_line({"unlink", name}), 24, 120);
  REQUIRE(hung_up.until("[y/N] "));
  hung_up.type("\4");
  CHECK(hung_up.wait() == 1);
  CHECK(name.exists());
  for (const char* answer : {"y", "Yes"}) {
    const support::Name other("term");
    { shm::json_dict d{other, {{"a", 1}}, kept()}; }
    shell::terminal yes(shell::command_line({"unlink", other}), 24, 120);
    REQUIRE(yes.until("[y/N] "));
    yes.type(answer + std::string("\r"));
    CHECK(yes.wait() == 0);
    CHECK_FALSE(other.exists());
  }
}

TEST_CASE("top fills the screen, takes keys, follows the size, and puts everything back") {
  const support::Name name("term");
  shm::json_dict d{name, {{"a", 1}}, kept()};
  const support::Shared<std::atomic<bool>> stop;
  support::Child writer([&] {
    shm::json_dict w{shm::open_only, name};
    while (!*stop) {
      w["a"] = 1;
      usleep(1000);
    }
    return 0;
  });
  shell::terminal t(shell::command_line({"top", name, "-d", "0.2"}), 12, 110);
  REQUIRE(t.until("\033[?1049h")); // the other screen
  REQUIRE(t.until("shmdict top"));
  REQUIRE(t.until("WRITES/S"));
  REQUIRE(t.until(std::string(name)));
  CHECK_FALSE(t.echoes());
  REQUIRE(t.until("shmdict top")); // again and again
  t.type("w");
  REQUIRE(t.until("shmdict top"));
  REQUIRE(t.until("q quit"));
  CHECK(widest(last_page(t)) > 60);
  t.resize(12, 60);
  CHECK(support::eventually([&] { return t.until("q quit") && widest(last_page(t)) <= 60; }));
  // Green: somebody writes.
  CHECK(support::eventually([&] { return t.until("q quit") && t.shown().find("\033[32m") != std::string::npos; }));
  const auto from = t.shown().size();
  t.type("q");
  CHECK(t.wait() == 0);
  *stop = true;
  CHECK(writer.join() == 0);
  const auto last = t.shown().substr(from);
  const auto end = last.rfind("\033[?7h\033[?25h\033[?1049l"); // cursor and screen are back, and nothing comes behind
  REQUIRE(end != std::string::npos);
  CHECK(last.size() - end == 19);
  CHECK(t.echoes());

  shell::terminal killed(shell::command_line({"top"}), 24, 80);
  REQUIRE(killed.until("q quit"));
  killed.signal(SIGTERM);
  CHECK(killed.wait() == 0);
  CHECK(killed.shown().rfind("\033[?1049l") != std::string::npos);
  CHECK(killed.echoes());
  shell::terminal interrupted(shell::command_line({"top"}), 5, 30);
  REQUIRE(interrupted.until("shmdict top"));
  interrupted.type("\3");
  CHECK(interrupted.wait() == 0);
  CHECK(interrupted.echoes());
}

TEST_CASE("top shows how much is written to the stream and how many follow it") {
  const support::Name name("term");
  shm::json_dict d{name, {{"a", 1}}, kept()};
  const support::Shared<std::atomic<bool>> stop;
  support::Child writer([&] {
    shm::json_dict w{shm::open_only, name};
    while (!*stop) w["a"] = 1;
    return 0;
  });
  shell::running watcher(shell::command_line({"watch", name, "/b"}));
  shell::terminal t(shell::command_line({"top", name, "-d", "0.2"}), 12, 120);
  REQUIRE(t.until("PROCESSES"));
  CHECK(shell::plain(t.shown()).find("STREAM  FOLLOWERS  PROCESSES") != std::string::npos);
  // NAME KEYS MEMORY WRITES/S STREAM FOLLOWERS PROCESSES
  const std::regex row(std::string(name) + " +1 +[0-9.]+ [KM]iB +[0-9.]+( [kM])? +[0-9.]+ [KM]iB/s +1 +[0-9]+ ");
  CHECK(support::eventually([&] {
    static_cast<void>(t.until("q quit"));
    return std::regex_search(shell::plain(t.shown()), row);
  }));
  INFO(shell::plain(t.shown()));
  t.type("q");
  CHECK(t.wait() == 0);
  *stop = true;
  CHECK(writer.join() == 0);
}

TEST_CASE("a key that means a signal reaches what runs under a lock") {
  const support::Name name("term");
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  shell::terminal t(shell::command_line({"lock", name, "l", "--", "sh", "-c",
                                         "trap 'exit 3' INT; echo ready; "
                                         "n=0; while [ $((n += 1)) -lt 1200 ]; do sleep 0.05; done"}),
                    24, 80);
  REQUIRE(t.until("ready"));
  t.type("\3");
  CHECK(t.wait() == 3);
}

TEST_CASE("long work shows a bar at a terminal, and takes it away") {
  const support::Name name("term");
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) text += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":" + std::to_string(i);
  const shell::temporary file(text + "}");
  shell::terminal t(shell::command_line({"load", name, file.path()}), 24, 100);
  CHECK(t.until("loading " + std::string(name)));
  CHECK(t.until("of 100,000"));
  CHECK(t.wait() == 0);
  CHECK(t.shown().substr(t.shown().size() - 4) == "\r\033[K");
  CHECK(shell::shmdict({"keys", name, "-n", "1"}).out == "/0\n");
  // Into a pipe that stays full for longer than a moment: the bar is on the terminal, the output is not.
  shell::terminal dump({"sh", "-c",
                        std::string(SHMDICT_COMMAND) + " dump " + std::string(name) +
                            " | { dd bs=1 count=1 2>/dev/null; sleep 0.5; cat; } | wc -l"},
                       24, 100);
  CHECK(dump.until("dumping"));
  CHECK(dump.until("100002"));
  CHECK(dump.wait() == 0);
}

// What readline makes of the completions of a key with a colon, at which bash splits words.
TEST_CASE("a path is completed at a shell's prompt, colons and spaces in it") {
  const support::Name name("term");
  shm::json_dict d{name, {{"a:b", {{"x y", "the first"}, {"z", "the second"}}}, {"other", 1}}, kept()};
  shell::terminal t({"bash", "--noprofile", "--norc", "-i"}, 24, 200,
                    {{"TERM", "dumb"}, {"HISTFILE", ""}, {"INPUTRC", "/dev/null"}});
  t.type("source " SHMDICT_COMPLETION "; shmdict() { " SHMDICT_COMMAND " \"$@\"; }; echo \"re\"ady\r");
  REQUIRE(t.until("ready\r\n"));
  t.type("shmdict get -r " + std::string(name) + " /a:b/x\t\r");
  CHECK(t.until("\nthe first\r\n"));
  t.type("shmdict get -r " + std::string(name) + " \"/a:b/x\t\r");
  CHECK(t.until("\nthe first\r\n"));
  t.type("shmdict keys " + std::string(name) + " /a\t\r");
  CHECK(t.until("\n/a:b/z\r\n"));
  INFO(t.shown());
  t.type("exit\r");
  CHECK(t.wait() == 0);
}
