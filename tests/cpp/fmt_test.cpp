// SPDX-License-Identifier: Apache-2.0
#include <shm/fmt.hpp>
#include <shm/json.hpp>

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

TEST_CASE("a json_dict and an object in it are formatted as JSON") {
  Own<shm::json_dict> own("fmt_json");
  own.d["a"]["b"] = {1, "x"};
  CHECK(fmt::format("{}!", own.d) == "{\"a\":{\"b\":[1,\"x\"]}}!");
  CHECK(fmt::format("{}", own.d.at("a")) == "{\"b\":[1,\"x\"]}");
}
