// SPDX-License-Identifier: Apache-2.0
// A commit of a million keys: whole or not at all, wherever its process is killed.
#include "crash_support.hpp"
#include "support/catch.hpp"

namespace {

using support::Dict;
using support::must;

constexpr std::uint64_t keys = crash::sanitized ? 100000 : 1000000;

struct Million {
  explicit Million(std::uint64_t of_all) : value(of_all) {
    numbers.reserve(keys);
    pairs.reserve(keys);
    for (std::uint64_t i = 0; i < keys; ++i) numbers.push_back(i);
    for (const std::uint64_t& n : numbers) pairs.push_back({&n, 8, &value, 8});
  }
  std::uint64_t value;
  std::vector<std::uint64_t> numbers;
  std::vector<shmd_pair> pairs;
};

enum class How { batch, transaction };

void store(shmd_dict* d, const Million& m, How how) {
  if (how == How::batch) {
    must(shmd_put_many(d, shmd_root(), m.pairs.data(), m.pairs.size(), 0), "put_many");
    return;
  }
  must(shmd_begin(d, SHMD_FOREVER), "begin");
  for (const shmd_pair& p : m.pairs) must(shmd_put(d, shmd_root(), p.key, p.key_size, p.value, p.value_size, 0), "put");
  must(shmd_commit(d), "commit");
}

shmd_options large() {
  shmd_options o = support::small_options(std::uint64_t{512} << 20);
  o.unlink = SHMD_UNLINK_NEVER;
  return o;
}

// Stores all in a child that dies at its n-th store to shared memory, 0 = never; *stores: how many it made.
bool killed_at(std::uint64_t n, const std::string& name, const Million& m, How how, std::uint64_t* stores) {
  crash::Page<crash::Progress> progress;
  const int status = crash::wait_for(crash::spawn([&] {
    Dict d(name, large());
    d.leave_object();
    shmd_crash_count = 0;
    shmd_crash_at = n;
    store(d, m, how);
    progress->points = shmd_crash_count;
    progress->ended = 1;
    ::raise(SIGKILL); // faster than any exit
  }));
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
    throw std::runtime_error("the child ended with " + crash::describe_end(status));
  if (progress->ended == 1) *stores = progress->points;
  return progress->ended == 0;
}

// The value that all keys have; 0 if there are none.
std::uint64_t common_value(Dict& d) {
  std::uint64_t first = 0;
  const std::uint64_t count = d.count();
  if (count == 0) return 0;
  REQUIRE(count == keys);
  for (std::uint64_t i = 0; i < keys; ++i) {
    std::uint64_t value = 0;
    std::size_t size = 0;
    if (shmd_get(d, shmd_root(), &i, 8, &value, 8, &size) != 0) FAIL("key " << i << " is not there");
    if (i == 0) first = value;
    if (value != first) FAIL("key " << i << " has value " << value << ", others have " << first);
  }
  return first;
}

// Twice: the second time stores as many words as the third does, whose old versions are as long.
void fill(shmd_dict* d, std::uint64_t value, How how) {
  const Million m(value);
  store(d, m, how);
  store(d, m, how);
}

void run(How how) {
  Dict d(support::unique_name("million"), large());
  std::uint64_t now = 0, before = 0, after = 0;
  for (std::uint64_t generation = 1; generation <= 2; ++generation) { // all new; all there
    const Million m(generation);
    std::uint64_t stores = 0;
    {
      Dict other(support::unique_name("million.dry"), large());
      if (now != 0) fill(other, now, how);
      REQUIRE(!killed_at(0, other.name(), m, how, &stores));
      REQUIRE(common_value(other) == generation);
    }
    for (const std::uint64_t n : {stores / 3, stores - keys / 2}) { // the second is applied, if there is much to apply
      const bool killed = killed_at(n, d.name(), m, how, &stores);
      d.put("", "x"); // takes the lock over, repairs
      d.erase("");
      const std::uint64_t found = common_value(d);
      INFO("killed at store " << n << " of about " << stores << ", generation " << generation);
      REQUIRE(killed);
      REQUIRE((found == now || found == generation));
      REQUIRE(d.check() == "");
      ++(found == now ? before : after);
      if (found == generation) break;
    }
    if (generation == 1) fill(d, now = generation, how);
  }
  REQUIRE(before > 0);
  REQUIRE(after > 0);
}

} // namespace

TEST_CASE("a batch of a million keys is whole or not there when its process is killed") { run(How::batch); }
TEST_CASE("a transaction of a million keys is whole or not there when its process is killed") { run(How::transaction); }
