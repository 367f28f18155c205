// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <thread>

#include "support.hpp"

using support::Own;
using cities = shm::dict<std::string, int>;
using countries = shm::dict<std::string, cities>;
using world = shm::dict<int, countries>;
using local_cities = std::unordered_map<std::string, int>;

TEST_CASE("a write creates missing levels, reading creates nothing") {
  Own<world> own("lazy");
  auto& d = own.d;
  CHECK_FALSE(d[1]["de"].exists());
  CHECK(d[1]["de"].size() == 0);
  CHECK(d[1]["de"].get("berlin") == std::nullopt);
  CHECK_FALSE(d[1]["de"].contains("berlin"));
  CHECK(d[1]["de"].to_map().empty());
  CHECK(d[1]["de"].erase("berlin") == 0);
  CHECK_FALSE(d[1]["de"]["berlin"].erase());
  CHECK(d[1]["de"].pop("berlin", 7) == 7);
  CHECK(d[1]["de"]["berlin"].get(5) == 5);
  CHECK_THROWS_AS(d[1]["de"]["berlin"] == 1, shm::key_not_found);
  CHECK_THROWS_AS((local_cities{d[1]["de"]}), shm::key_not_found);
  CHECK_THROWS_AS(d[1].at("de"), shm::key_not_found);
  std::optional<int> one = 1;
  CHECK_FALSE(d[1]["de"]["berlin"].compare_exchange(one, 2));
  CHECK_THROWS_AS(d[1]["de"]["berlin"].update([](int) -> int { throw std::runtime_error("no"); }), std::runtime_error);
  d[1]["de"].clear();
  CHECK(d.empty());

  CHECK((d[1]["de"]["berlin"] += 1) == 1);
  CHECK((d[1]["de"]["berlin"] == 1));
  CHECK(d.size() == 1);
  CHECK(d[1].size() == 1);
  CHECK(d[1]["de"].exists());
  d[2]["fr"]["paris"] = 2;
  CHECK(d[2]["fr"].insert({"lyon", 3}).second);
  CHECK_FALSE(d[2]["fr"].insert({"lyon", 4}).second);
  CHECK(d[3]["it"].setdefault("rome", 5) == 5);
  CHECK(d[3]["it"]["rome"].exists());
}

TEST_CASE("what an update writes elsewhere is kept, whether its own level is missing or not") {
  Own<countries> own("update_elsewhere");
  auto& d = own.d;
  const auto change = [&](std::optional<int>) {
    d["log"]["n"] += 1;
    return std::optional<int>();
  };
  d["missing"]["a"].update(change);
  CHECK(d["log"]["n"].value() == 1);
  d["log"]["a"].update(change);
  CHECK(d["log"]["n"].value() == 2);
  CHECK(d.size() == 1);
  d["new"]["a"].update([&](int v) { return v + ++d["log"]["n"]; });
  CHECK(d["new"]["a"].value() == 3);
  d["log"]["b"].update([&](int v) { return v + ++d["fresh"]["n"]; });
  CHECK(d["log"]["b"].value() == 1);
  CHECK(d["fresh"]["n"].value() == 1);
  d["log"]["b"].update([&](int v) {
    d.transact([](auto& tx) { tx["fresh"]["n"] += 5; });
    return v + 1;
  });
  CHECK(d["log"]["b"].value() == 2);
  CHECK(d["fresh"]["n"].value() == 6);
}

TEST_CASE("a message about a nested key says the path") {
  Own<world> own("path");
  CHECK_THAT(support::message_of([&] { static_cast<void>(int{own.d[7]["de"]["bonn"]}); }),
             support::contains("[7][\"de\"][\"bonn\"]"));
}

TEST_CASE("assignment replaces a subtree by a list, a map, a dict, a ref or another subtree") {
  Own<countries> own("assign");
  auto& d = own.d;
  d["de"]["berlin"] = 1;
  d["fr"] = {{"paris", 1}, {"lyon", 2}};
  CHECK(d["fr"].size() == 2);
  d["fr"] = {{"nice", 3}};
  CHECK((d["fr"] == local_cities{{"nice", 3}}));
  d["fr"] = d["de"];
  CHECK((d["fr"]["berlin"] == 1));
  d["it"] = d.at("de");
  CHECK((d["it"]["berlin"] == 1));
  Own<cities> flat("assign_flat");
  flat.d["x"] = 9;
  d["flat"] = flat.d;
  CHECK((d["flat"]["x"] == 9));
  d["empty"] = {};
  CHECK(d["empty"].exists());
  CHECK(d["empty"].empty());
  CHECK(d.size() == 5);
  d["de"].update({{"bonn", 2}});
  CHECK(d["de"].to_map() == local_cities{{"berlin", 1}, {"bonn", 2}});
}

TEST_CASE("a ref is bound to its dict, is copied cheaply, and throws removed afterwards") {
  Own<countries> own("ref");
  auto& d = own.d;
  d["de"]["berlin"] = 1;
  auto de = d.at("de");
  auto copy = de;
  de["bonn"] += 1;
  CHECK((copy["bonn"] == 1));
  CHECK(copy.path() == "[\"de\"]");
  CHECK(copy.name() == own.name.str());
  d["de"] = {{"new", 1}};
  CHECK_FALSE(de.exists());
  CHECK_THROWS_AS(de["bonn"] += 1, shm::removed);
  CHECK_THROWS_AS(de.get("bonn"), shm::removed);
  CHECK_THROWS_AS(de.size(), shm::removed);
  CHECK_THROWS_AS(de.begin(), shm::removed);
  CHECK_THROWS_AS(de.to_map(), shm::removed);
  CHECK_THROWS_AS(copy.update({{"a", 1}}), shm::removed);
  auto again = d.at("de");
  CHECK((again["new"] == 1));
  again.clear();
  CHECK(again.empty());
  again["x"] = 1;
  CHECK((d["de"]["x"] == 1));
  again.assign({{"y", 2}});
  CHECK(d["de"].to_map() == local_cities{{"y", 2}});
  CHECK((again["y"] == 2));
  CHECK_THROWS_AS(d.at("xx"), shm::key_not_found);
  auto made = d["xx"].ref();
  made["a"] = 1;
  CHECK((d["xx"]["a"] == 1));
  d.clear();
  CHECK_THROWS_AS(made["a"] == 1, shm::removed);
}

TEST_CASE("a ref outlives its owner's close and then throws closed") {
  Own<countries> own("ref_close");
  own.d["de"]["berlin"] = 1;
  auto de = own.d.at("de");
  own.d.close();
  CHECK_THROWS_AS(de["berlin"] == 1, shm::closed);
  CHECK_THROWS_AS(de["berlin"] = 1, shm::closed);
  CHECK_FALSE(shm::unlink(own.name));
  shm::dict_ref<std::string, int> none;
  CHECK_THROWS_AS(none.size(), shm::closed);
}

TEST_CASE("a const dict gives read-only refs and views") {
  Own<countries> own("const_ref");
  own.d["de"]["berlin"] = 1;
  const countries& c = own.d;
  const shm::const_dict_ref<std::string, int> de = c.at("de");
  CHECK((de["berlin"] == 1));
  CHECK((c["de"]["berlin"] == 1));
  CHECK(c["de"].get("berlin") == 1);
  shm::const_dict_ref<std::string, int> from = own.d.at("de");
  CHECK(from.at("berlin") == 1);
}

TEST_CASE("get, pop, extract and iteration give nested dicts as local data") {
  Own<countries> own("local");
  auto& d = own.d;
  d["de"] = {{"berlin", 1}};
  d["fr"] = {{"paris", 2}};
  static_assert(std::is_same_v<shm::local_t<countries>, std::unordered_map<std::string, local_cities>>);
  CHECK(d.get("de") == local_cities{{"berlin", 1}});
  CHECK(d.get("xx") == std::nullopt);
  CHECK(d.get("xx", {{"a", 1}}) == local_cities{{"a", 1}});
  local_cities m = d["de"];
  CHECK(m == local_cities{{"berlin", 1}});
  for (auto [k, v] : d) CHECK(v.size() == 1);
  CHECK(d.to_map().at("fr").at("paris") == 2);
  CHECK(d.find("fr")->second.at("paris") == 2);
  CHECK(d.pop("fr") == local_cities{{"paris", 2}});
  CHECK_FALSE(d.contains("fr"));
  CHECK_THROWS_AS(d.pop("fr"), shm::key_not_found);
  CHECK(d.insert({"it", {{"rome", 3}}}).second);
  CHECK_FALSE(d.insert({"it", {{"pisa", 3}}}).second);
  CHECK(d.insert({"it", {{"pisa", 3}}}).first->second == local_cities{{"rome", 3}});
  CHECK_FALSE(d.insert_or_assign("it", {{"pisa", 4}}).second);
  CHECK((d["it"] == local_cities{{"pisa", 4}}));
  CHECK(d.setdefault("es", {{"madrid", 5}}) == local_cities{{"madrid", 5}});
  CHECK(d.popitem().second.size() == 1);
  CHECK(d.erase("de") + d.erase("it") + d.erase("es") == 2);
}

TEST_CASE("a whole tree is made by the creator, and read back") {
  support::Name name("tree");
  const shm::local_t<world> first{{1, {{"de", {{"berlin", 1}}}, {"fr", {{"paris", 2}}}}}, {2, {}}};
  world d{name, first, support::small()};
  CHECK(d == first);
  CHECK(d.size() == 2);
  d.assign({{5, {{"it", {{"rome", 3}}}}}});
  CHECK((d[5]["it"]["rome"] == 3));
  CHECK(d.size() == 1);
}

TEST_CASE("a snapshot shows the tree of its moment, however deep it is erased or replaced") {
  Own<countries> own("tree_snapshot");
  auto& d = own.d;
  d["de"] = {{"berlin", 1}};
  d["fr"] = {{"paris", 2}};
  const auto s = d.snapshot();
  d["de"]["berlin"] = 9;
  d["fr"] = {{"lyon", 3}};
  d.erase("de");
  CHECK(s.at("de").at("berlin") == 1);
  CHECK((s["fr"]["paris"] == 2));
  CHECK(s["fr"].get("lyon") == std::nullopt);
  CHECK(s.to_map() == shm::local_t<countries>{{"de", {{"berlin", 1}}}, {"fr", {{"paris", 2}}}});
  CHECK(s.at("de").size() == 1);
  CHECK_THROWS_AS(s.at("xx"), shm::key_not_found);
  CHECK(d["de"].snapshot().empty());
}

TEST_CASE("writers through a path survive that others replace the levels above") {
  Own<countries> own("replace");
  std::atomic<bool> stop{false};
  std::atomic<int> done{0};
  std::thread replacer([&] {
    for (int i = 0; !stop; ++i) {
      while (i / 10 > done && !stop) std::this_thread::yield(); // a copy in the making holds back what is replaced
      if (i % 2 == 0)
        own.d["de"] = {{"fresh", i}};
      else
        own.d.erase("de");
    }
  });
  std::vector<std::thread> writers;
  writers.reserve(2);
  for (int t = 0; t < 2; ++t)
    writers.emplace_back([&] {
      for (int i = 0; i < 1500; ++i) {
        own.d["de"]["n"] += 1;
        own.d["de"]["m"] = i;
        static_cast<void>(own.d["de"].get("m"));
        static_cast<void>(own.d["de"].size());
        static_cast<void>(own.d["de"].to_map());
        ++done;
      }
    });
  for (auto& w : writers) w.join();
  stop = true;
  replacer.join();
  CHECK(done == 3000);
  CHECK(own.d.size() <= 1);
}

TEST_CASE("a nested dict is filled from many threads, each level made once") {
  Own<world> own("race");
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) own.d[i]["x"]["n"] += t + 1;
    });
  for (auto& t : threads) t.join();
  for (int i = 0; i < 200; ++i) CHECK((own.d[i]["x"]["n"] == 10));
}
