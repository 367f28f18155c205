// SPDX-License-Identifier: Apache-2.0
// What looks at all dicts of the machine, or removes them: in a /dev/shm that nobody else sees.
#include <pwd.h>

#include <string>

#include "golden.hpp"
#include "shm/json.hpp"

namespace {

constexpr const char* forbidden = "mount namespaces are forbidden here";

// `how` is the policy of a dict that nobody has open any more.
void left_behind(const std::string& name, shm::unlink_policy how) {
  support::Child creator([&] {
    static shm::json_dict d{name, {{"a", {{"b", 1}}}}, shm::options{}.max_size(std::size_t{64} << 20).unlink(how)};
    return 0; // ends without destructors
  });
  REQUIRE(creator.join() == 0);
}
// A forked child is attached until it and its parent have closed what was opened for it, also if it runs another program.
void settle(const std::string& name, int attached) {
  REQUIRE(support::eventually([&] {
    return nlohmann::json::parse(shell::shmdict({"stat", name, "--json"}).out)["attached"] == attached;
  }));
}
bool there(const std::string& name) { return access(("/dev/shm/shmdict." + name).c_str(), F_OK) == 0; }

} // namespace

TEST_CASE("ls shows each dict's state in a table") {
  if (!shell::private_shm()) SHMDICT_SKIP(forbidden);
  shell::session s("ls.txt", "no name");
  s.run({"ls"});
  s.run({"ls", "--orphans"});
  left_behind("config", shm::never);
  left_behind("left", shm::last_closes);
  left_behind("truncated", shm::never);
  REQUIRE(truncate("/dev/shm/shmdict.truncated", 4096) == 0);
  shm::json_dict d{"used", shm::options{}.max_size(std::size_t{64} << 20)};
  for (int i = 0; i < 1234; ++i) d[std::to_string(i)] = i;
  s.run({"ls"});
  {
    shm::guard g{d};
    s.run({"ls"});
  }
  s.run({"ls", "--orphans"});
  s.run({"ls", "--names"});
  shell::running holder(shell::command_line({"lock", "config", "nightly", "--", "sh", "-c", "echo held; sleep 60"}));
  REQUIRE(holder.until("held"));
  settle("config", 1);
  s.run({"ls"});
  const auto* user = getpwuid(geteuid());
  s.replace("  " + (user != nullptr ? user->pw_name : std::to_string(geteuid())) + "  ", "  root  ");
  s.replace("[0-9.]+ [KM]iB", "SIZE");
  s.replace("\\([0-9]+\\)", "(PID)");
  s.replace("for [0-9.]+ (ns|us|ms|s)", "for TIME");
  s.replace("   +", "  "); // columns are as wide as what differs
  s.compare();
}

TEST_CASE("unlink --orphans removes orphans and nothing else") {
  if (!shell::private_shm()) SHMDICT_SKIP(forbidden);
  left_behind("config", shm::never);
  left_behind("left", shm::last_closes);
  left_behind("left.2", shm::creator_closes);
  shm::json_dict used{"used", {{"a", 1}}, shm::options{}.max_size(std::size_t{64} << 20)};

  const auto both = shell::shmdict({"unlink", "--orphans", "config"});
  CHECK(both.code == 2);
  CHECK_THAT(both.err, support::contains("not both"));
  CHECK(there("config"));
  CHECK(there("left"));

  const auto r = shell::shmdict({"unlink", "--orphans"});
  CHECK(r.code == 0);
  CHECK(r.out == "unlinked left\nunlinked left.2\n");
  CHECK_FALSE(there("left"));
  CHECK_FALSE(there("left.2"));
  CHECK(there("config"));
  CHECK(there("used"));
  const auto none = shell::shmdict({"unlink", "--orphans"});
  CHECK(none.code == 0);
  CHECK_THAT(none.err, support::contains("there are no orphans"));
}
