// SPDX-License-Identifier: Apache-2.0
// Whatever reading JSON refuses, writing refuses; and what got there in another way costs itself alone.
#include <shm/json.hpp>

#include "support.hpp"

using nlohmann::json;
using support::contains;
using support::Own;

namespace {

const json discarded = json::parse("{oops", nullptr, false);
const json subtyped = json::binary({1}, 7);

json levels(int n) {
  json out = 1;
  for (int i = 0; i < n; ++i) out = json{{"k", std::move(out)}};
  return out;
}

// Bytes that are no CBOR, put there by somebody else.
void damage(shm::json_dict& j, const std::string& object, const std::string& key) {
  shmd_node node = shmd_root();
  if (!object.empty()) REQUIRE(shmd_node_open(j.native_handle(), node, object.data(), object.size(), 0, &node) == 0);
  REQUIRE(shmd_put(j.native_handle(), node, key.data(), key.size(), "\xff", 1, 0) >= 0);
}

template <class F>
void refused(const support::Name& name, const std::string& where, F&& f) {
  try {
    f();
    FAIL("stored");
  } catch (const shm::error& e) {
    INFO(e.what());
    CHECK(e.code() == shm::errc::invalid_argument);
    CHECK_THAT(e.what(), contains("dict '" + name.str() + "'"));
    CHECK_THAT(e.what(), contains(where));
  }
}

} // namespace

TEST_CASE("JSON that could not be read again is refused, with dict, key and part") {
  Own<shm::json_dict> own("unreadable.write");
  auto& j = own.d;
  j["good"] = 1;
  for (const json& bad : {discarded, subtyped}) {
    refused(own.name, "[\"bad\"]", [&] { j["bad"] = bad; });
    refused(own.name, "[\"bad\"][1]", [&] { j["bad"] = {1, bad}; });
    refused(own.name, "[\"a\"][\"b\"][\"list\"][0][\"x\"]", [&] { j["a"]["b"] = {{"list", {{{"x", bad}}}}}; });
    refused(own.name, "[\"x\"]", [&] { j.update({{"x", bad}}); });
    refused(own.name, "[\"x\"]", [&] { j.merge({{"x", bad}}); });
    refused(own.name, "[\"x\"]", [&] { j.replace({{"x", bad}}); });
    refused(own.name, "[\"good\"]", [&] { j["good"].update([&](const json&) { return bad; }); });
    refused(own.name, "[\"new\"]", [&] { j.setdefault("new", bad); });
    refused(own.name, "[\"new\"]", [&] { j.get_or_compute("new", [&] { return bad; }); });
    refused(own.name, "[\"new\"]", [&] { j.insert("new", bad); });
    auto ref = j["ref"].ref();
    refused(own.name, "[\"ref\"][\"x\"]", [&] { ref["x"] = bad; });
    refused(own.name, "[\"ref\"][\"x\"]", [&] { ref.update({{"x", bad}}); });
    support::Name fresh("unreadable.first");
    refused(fresh, "[\"x\"]", [&] { shm::json_dict{fresh, json{{"x", bad}}, support::small()}; });
    Own<shm::dict<std::string, json>> typed("unreadable.typed");
    refused(typed.name, "[\"x\"]", [&] { typed.d["x"] = bad; });
    refused(typed.name, "[\"x\"]", [&] { typed.d.insert({"x", bad}); });
    refused(typed.name, "[\"x\"]", [&] { typed.d.update({{"x", bad}}); });
  }
  CHECK(j == json{{"good", 1}, {"ref", json::object()}});
}

TEST_CASE("JSON nests as deep as it can be read, counted from the root, also through refs") {
  Own<shm::json_dict> own("unreadable.deep");
  auto& j = own.d;
  j["whole"] = levels(999);
  refused(own.name, "nested too deep", [&] { j["more"] = levels(1000); });
  auto ref = j["a"].ref();
  for (int i = 1; i < 600; ++i) ref = ref["k"].ref();
  ref["x"] = levels(399);
  refused(own.name, "nested too deep", [&] { ref["y"] = levels(400); });
  refused(own.name, "nested too deep", [&] { ref.merge(levels(900)); });
  refused(own.name, "nested too deep",
          [&] { ref["list"].update([](const json&) { return json::array({levels(450)}); }); });
  for (int i = 600; i < 999; ++i) ref = ref["k"].ref();
  ref["leaf"] = 1; // under 1,000 keys
  refused(own.name, "1,000 levels", [&] { ref["k"]["leaf"] = 1; });
  refused(own.name, "1,000 levels", [&] { ++ref["k"]["n"]; });
  refused(own.name, "1,000 levels", [&] { static_cast<void>(ref["k"].ref()["l"].ref()); });
  std::vector<shm::error> unreadable;
  const json all = j.to_json(&unreadable);
  CHECK(unreadable.empty());
  const json* at = &all["a"];
  for (int i = 1; i < 999; ++i) at = &(*at)["k"];
  CHECK(*at == json{{"leaf", 1}});
}

TEST_CASE("a leaf that cannot be read costs itself, in documents and in iterations") {
  Own<shm::json_dict> own("unreadable.read");
  auto& j = own.d;
  j.update({{"good", 1}, {"in", {{"good", 2}}}});
  damage(j, "", "bad");
  damage(j, "in", "worse");
  const json all = j;
  CHECK(all["good"] == 1);
  CHECK(all["in"]["good"] == 2);
  CHECK(all["bad"].is_discarded());
  CHECK(all["in"]["worse"].is_discarded());
  std::vector<shm::error> unreadable;
  CHECK(j.to_json(&unreadable)["good"] == 1);
  REQUIRE(unreadable.size() == 2);
  std::string both;
  for (const auto& e : unreadable) {
    CHECK(e.code() == shm::errc::corrupt);
    CHECK_THAT(e.what(), contains("dict '" + own.name.str() + "'"));
    both += e.what();
  }
  CHECK_THAT(both, contains("[\"bad\"]"));
  CHECK_THAT(both, contains("[\"in\"][\"worse\"]"));
  CHECK(j["in"].find(&unreadable)->at("good") == 2);
  REQUIRE(unreadable.size() == 1);
  CHECK_THAT(unreadable[0].what(), contains("[\"in\"][\"worse\"]"));
  CHECK(j.at("in").to_json(&unreadable)["good"] == 2);
  CHECK_THAT(unreadable.at(0).what(), contains("[\"in\"][\"worse\"]"));

  // who asks for it is told
  for (const auto& path : {std::string("[\"bad\"]"), std::string("[\"in\"][\"worse\"]")}) {
    const auto ask = [&] { return path == "[\"bad\"]" ? j["bad"].value() : j["in"]["worse"].value(); };
    CHECK(support::code_of(ask) == SHMD_ERR_CORRUPT);
    CHECK_THAT(support::message_of(ask), contains(path));
    CHECK_THAT(support::message_of(ask), contains("dict '" + own.name.str() + "'"));
  }
  CHECK(support::code_of([&] { j.get_many({"good", "bad"}); }) == SHMD_ERR_CORRUPT);

  int seen = 0;
  for (auto [k, v] : j) {
    CHECK((v.is_discarded() ? k == "bad" : k == "good" || k == "in"));
    ++seen;
  }
  CHECK(seen == 3);
  CHECK(j.scan().entries.size() == 3);

  // what nobody got is not erased, and no copy passes for the whole
  CHECK(support::code_of([&] { j.pop("in"); }) == SHMD_ERR_CORRUPT);
  CHECK(support::code_of([&] { j.pop("bad"); }) == SHMD_ERR_CORRUPT);
  CHECK(j.contains("bad"));
  CHECK(j["in"].contains("worse"));
  CHECK(support::code_of([&] { j["copy"] = j["in"]; }) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(support::code_of([&] { j.replace(j.to_json()); }) == SHMD_ERR_INVALID_ARGUMENT);

  // it is mended by replacing or erasing it
  j["bad"] = 3;
  CHECK(j["in"]["worse"].erase());
  CHECK(j == json{{"good", 1}, {"bad", 3}, {"in", {{"good", 2}}}});
}

TEST_CASE("watchers and replicas go on beyond a leaf that cannot be read") {
  Own<shm::json_dict> own("unreadable.follow");
  auto& j = own.d;
  j["good"] = 1;
  auto w = j.watch();
  shm::replica r{j};
  damage(j, "", "bad");
  j["good"] = 2;
  const auto* c = w.next(std::chrono::seconds(60));
  REQUIRE(c != nullptr);
  CHECK(c->key == "bad");
  CHECK(c->value->is_discarded());
  c = w.next(std::chrono::seconds(60));
  REQUIRE(c != nullptr);
  CHECK(c->value == json(2));
  r.sync();
  CHECK(r.data()["good"] == 2);
  CHECK(r.data()["bad"].is_discarded());
  CHECK(shm::replica{j}.data()["good"] == 2);
}

TEST_CASE("dicts that somebody nested deeper than JSON goes cost themselves") {
  Own<shm::json_dict> own("unreadable.levels");
  auto& j = own.d;
  j["good"] = 1;
  shm::replica r{j};
  shmd_node node = shmd_root();
  for (int i = 0; i < 1500; ++i) REQUIRE(shmd_node_open(j.native_handle(), node, "k", 1, SHMD_NODE_CREATE, &node) >= 0);
  REQUIRE(shmd_put(j.native_handle(), node, "leaf", 4, "\x01", 1, 0) >= 0);
  std::vector<shm::error> unreadable;
  const json all = j.to_json(&unreadable);
  CHECK(all["good"] == 1);
  REQUIRE(unreadable.size() == 1);
  CHECK_THAT(unreadable[0].what(), contains("nested too deep"));
  CHECK(std::string(unreadable[0].what()).size() < 600);
  r.sync();
  CHECK(r.data()["good"] == 1);
  int depth = 0;
  for (const json* at = &r.data(); at->is_object(); at = &at->at("k")) ++depth;
  CHECK(depth == 1000);
}
