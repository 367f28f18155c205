#include <shm/fmt.hpp>

#include "support.hpp"

using support::Own;

TEST_CASE("dicts, refs and snapshots are formatted as maps") {
  Own<shm::dict<std::string, shm::dict<std::string, int>>> own("fmt");
  auto& d = own.d;
  CHECK(fmt::format("{}", d) == "{}");
  d["de"]["berlin"] = 1;
  CHECK(fmt::format("{}\n", d) == "{\"de\": {\"berlin\": 1}}\n");
  CHECK(fmt::format("{}", d.at("de")) == "{\"berlin\": 1}");
  CHECK(fmt::format("{}", d.snapshot()) == "{\"de\": {\"berlin\": 1}}");
}
