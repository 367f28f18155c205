// SPDX-License-Identifier: Apache-2.0
// A serializer of a dict's own, the formats that are shipped, and what hostile bytes get from them.
#include <shm/fmt.hpp>
#include <shm/json.hpp>
#include <vector>

#include "support.hpp"

using nlohmann::json;
using support::contains;
using support::Own;

namespace app {

struct job {
  std::string title;
  std::vector<int> steps;
  bool operator==(const job& o) const { return title == o.title && steps == o.steps; }
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(job, title, steps)

// Numbers as text, refused beyond 999: a serializer without a format's help.
struct decimal {
  static constexpr std::string_view name = "decimal/1";
  static std::size_t size(int v) {
    if (v > 999) throw std::out_of_range("decimal: at most 999");
    return std::to_string(v).size();
  }
  static void write(int v, shm::writer& w) {
    const auto text = std::to_string(v);
    w.bytes(text.data(), text.size());
  }
  static int read(shm::reader& r) {
    int v = 0;
    for (const char c : r.text(r.left())) {
      if (c < '0' || c > '9') r.fail("a digit was expected");
      v = v * 10 + (c - '0');
    }
    return v;
  }
};

} // namespace app

namespace {

template <class D>
std::string bytes_at(const D& d, const std::string& key) {
  char buffer[256];
  std::size_t size = 0;
  REQUIRE(shmd_get(d.native_handle(), shmd_root(), key.data(), key.size(), buffer, sizeof buffer, &size) == 0);
  return {buffer, size};
}
template <class D>
void put_bytes(const D& d, const std::string& bytes) {
  REQUIRE(shmd_put(d.native_handle(), shmd_root(), "a", 1, bytes.data(), bytes.size(), 0) == 0);
}
template <class D>
std::string value_type(const D& d) {
  shmd_stats s;
  REQUIRE(shmd_stat(d.native_handle(), &s) == 0);
  return s.value_type;
}

template <template <class> class Format>
void use(const std::string& name, const std::string& bytes_of_example) {
  INFO(name);
  Own<shm::dict<std::string, app::job, Format<app::job>>> own("formats." + name);
  auto& d = own.d;
  CHECK(value_type(d) == name);
  const app::job a{"x", {1, 2}}, b{"y", {-1}};
  d["a"] = a;
  CHECK(bytes_at(d, "a") == bytes_of_example);
  // everything that a dict does, goes through it
  const app::job back = d["a"];
  CHECK(back == a);
  CHECK(d.at("a") == a);
  CHECK(d.get("a") == a);
  CHECK(d.get("none", b) == b);
  CHECK(d["a"].update([](app::job j) {
    j.title += "!";
    return j;
  }) == app::job{"x!", {1, 2}});
  CHECK(d["a"].compare_exchange(app::job{"x!", {1, 2}}, b));
  CHECK(d.insert({"c", a}).second);
  CHECK_FALSE(d.insert_or_assign("c", b).second);
  CHECK(d.setdefault("c", a) == b);
  CHECK(d.find("c")->second == b);
  d.transact([&](auto& tx) { tx["d"] = tx["c"]; });
  CHECK(d.snapshot().at("d") == b);
  CHECK(d.to_map() == std::unordered_map<std::string, app::job>{{"a", b}, {"c", b}, {"d", b}});
  CHECK(d.pop("d") == b);
  d.update({{"e", a}});
  CHECK((*d.begin()).second.title.size() == 1);
  // nested
  Own<shm::dict<int, shm::dict<std::string, app::job, Format<app::job>>>> nested("formats.nested." + name);
  CHECK(value_type(nested.d) == "dict<str," + name + ">");
  nested.d[1]["a"] = a;
  nested.d[2] = {{"b", b}};
  CHECK(nested.d.at(1).at("a") == a);
  CHECK(nested.d.get(2) == std::unordered_map<std::string, app::job>{{"b", b}});
  // as part of another value
  shm::writer w(nullptr, 0);
  CHECK(Format<app::job>::size(a) == 4 + bytes_of_example.size());
  // whatever the bytes are, reading them ends, in a value or an error
  std::uint32_t state = 1;
  for (int i = 0; i < 5000; ++i) {
    std::string bytes = bytes_of_example;
    if (i % 2 == 0) bytes.assign(static_cast<std::size_t>(i % 17), '\0');
    for (auto& c : bytes) {
      state = state * 1664525u + 1013904223u;
      if (i % 2 == 0 || state >> 28 == 0) c = static_cast<char>(state >> 20);
    }
    try {
      static_cast<void>(Format<json>::from_whole(bytes.data(), bytes.size()));
    } catch (const shm::error& e) {
      REQUIRE(e.code() == shm::errc::corrupt);
    }
  }
}

} // namespace

TEST_CASE("a dict stores its values in the format that its third parameter names") {
  use<shm::json_text>("json_text", R"({"steps":[1,2],"title":"x"})");
  use<shm::cbor>("cbor", "\xa2\x65steps\x82\x01\x02\x65title\x61x");
  use<shm::msgpack>("msgpack", "\x82\xa5steps\x92\x01\x02\xa5title\xa1x");
  use<shm::ubjson>("ubjson", "{i\005steps[i\001i\002]i\005titleSi\001x}");
  const char example[] =
      "\x2c\0\0\0\x04steps\0\x13\0\0\0\x10\x30\0\x01\0\0\0\x10\x31\0\x02\0\0\0\0\x02title\0\x02\0\0\0x\0";
  use<shm::bson>("bson", std::string(example, sizeof example));
}

TEST_CASE("another serializer at attach is a mismatch that says which and both") {
  support::Name name("formats");
  shm::dict<std::string, int, shm::json_text<int>> d{name, support::small()};
  using other = shm::dict<std::string, int, shm::msgpack<int>>;
  CHECK_THROWS_AS((other{shm::open_only, name}), shm::mismatch);
  const auto said = support::message_of([&] { other{shm::open_only, name}; });
  CHECK_THAT(said, contains(name.str()) && contains("value type 'json_text', not 'msgpack'"));
  const auto plain = support::message_of([&] { shm::dict<std::string, int>{shm::open_only, name}; });
  CHECK_THAT(plain, contains("value type 'json_text', not 'i32'"));
  const auto keys = support::message_of([&] { shm::dict<int, int, shm::json_text<int>>{shm::open_only, name}; });
  CHECK_THAT(keys, contains("key type 'str', not 'i32'"));
}

TEST_CASE("arithmetic, comparison and formatting go by the values, whoever stores them") {
  Own<shm::dict<std::string, int, app::decimal>> own("formats.decimal");
  auto& d = own.d;
  d["a"] = 7;
  CHECK(bytes_at(d, "a") == "7");
  CHECK((d["a"] += 5) == 12);
  CHECK(++d["a"] == 13);
  CHECK(bytes_at(d, "a") == "13");
  CHECK((d["a"] == 13));
  CHECK((d["a"] < 14));
  CHECK(fmt::format("{}", d) == "{\"a\": 13}");
  CHECK(json(d) == json{{"a", 13}});
  shm::transaction tx{d};
  tx["a"] = 14;
  tx.commit();
  CHECK(d.at("a") == 14);
}

TEST_CASE("a serializer that refuses leaves everything as it was") {
  Own<shm::dict<std::string, int, app::decimal>> own("formats.refusal");
  auto& d = own.d;
  d["a"] = 990;
  CHECK_THROWS_AS(d["a"] = 1000, std::out_of_range);
  CHECK_THROWS_AS(d["a"] += 10, std::out_of_range);
  CHECK_THROWS_AS(d.insert({"b", 1000}), std::out_of_range);
  CHECK_THROWS_AS(d.update({{"b", 1}, {"c", 1000}}), std::out_of_range);
  CHECK_THROWS_AS(d.transact([](auto& tx) {
    tx["a"] = 1;
    tx["a"] = 1000;
  }),
                  std::out_of_range);
  CHECK(d.to_map() == std::unordered_map<std::string, int>{{"a", 990}});
  support::Name name("formats.creation");
  using strict = shm::dict<std::string, int, app::decimal>;
  CHECK_THROWS_AS((strict{name, {{"a", 1}, {"b", 1000}}, support::small()}), std::out_of_range);
  CHECK_THROWS_AS((strict{shm::open_only, name}), shm::no_such_dict);
  Own<shm::dict<std::string, int, shm::bson<int>>> bson("formats.bson");
  CHECK_THROWS_AS(bson.d["a"] = 1, json::type_error);
  CHECK(bson.d.empty());
  put_bytes(own.d, "12x");
  CHECK(support::code_of([&] { own.d.at("a"); }) == SHMD_ERR_CORRUPT);
}

TEST_CASE("formats refuse what nests too deep or announces more than it holds") {
  const auto refuses = [](const auto& format, const std::string& bytes) {
    return support::code_of([&] { format.from_whole(bytes.data(), bytes.size()); }) == SHMD_ERR_CORRUPT;
  };
  const std::size_t many = 1 << 20;
  CHECK(refuses(shm::json_text<json>{}, std::string(many, '[')));
  CHECK(refuses(shm::json_text<json>{}, ""));
  CHECK(refuses(shm::json_text<json>{}, "1 2"));
  CHECK(refuses(shm::msgpack<json>{}, std::string(many, '\x91')));
  CHECK(refuses(shm::msgpack<json>{}, "\xdd\xff\xff\xff\xff"));
  CHECK(refuses(shm::ubjson<json>{}, std::string(many, '[')));
  CHECK(refuses(shm::ubjson<json>{}, std::string("[$Z#L\x7f\xff\xff\xff\xff\xff\xff\xff", 13))); // 2^63 nulls
  std::string documents;
  for (int i = 0; i < 2000; ++i) documents += std::string("\xff\0\0\0\x03\x61\0", 7);
  CHECK(refuses(shm::bson<json>{}, documents));
  json deep = 1;
  for (int i = 0; i < 999; ++i) deep = json::array({std::move(deep)});
  for (const auto& bytes :
       {shm::json_text<json>::whole(deep), shm::msgpack<json>::whole(deep), shm::ubjson<json>::whole(deep)})
    CHECK(bytes.size() > 999);
  const auto text = shm::json_text<json>::whole(deep);
  CHECK(shm::json_text<json>::from_whole(text.data(), text.size()) == deep);
  json deeper = json::array({deep});
  CHECK_THROWS_AS(shm::json_text<json>::whole(deeper), shm::error);
}

namespace {

// Whatever is stored is read again, as it was but for what `same` forgives.
template <template <class> class Format, class Same>
void read_again(const json& value, const Same& same) {
  INFO(Format<json>::name << " " << value.dump());
  std::vector<unsigned char> bytes;
  try {
    bytes = Format<json>::whole(value);
  } catch (const std::exception&) {
    return; // refused
  }
  const json back = Format<json>::from_whole(bytes.data(), bytes.size());
  CHECK((back == value || same(value)));
}

} // namespace

TEST_CASE("what a format takes, it reads again") {
  const auto nothing = [](const json&) { return false; };
  for (const json& v : {json(),
                        json(true),
                        json(INT64_MIN),
                        json(INT64_MAX),
                        json(UINT64_MAX),
                        json(-1),
                        json(1e308),
                        json(0.1),
                        json(1.5f),
                        json(""),
                        json("\xc3\xa4"),
                        json(std::string("a\0b", 3)),
                        json(std::string(70000, 'x')),
                        json::array(),
                        json::object(),
                        json{{"", 1}},
                        json{{std::string("a\0b", 3), 1}},
                        json::binary({1, 2}),
                        json::binary({}),
                        json::binary({1}, 7),
                        json::parse("{", nullptr, false)}) {
    const json boxed{{"v", v}}, listed{{"v", {v, v}}};
    for (const json& each : {boxed, listed}) {
      const auto binary = [&](const json&) { return v.is_binary(); }; // an array, subtype 0, an object
      read_again<shm::cbor>(each, nothing);
      read_again<shm::msgpack>(each, nothing);
      read_again<shm::ubjson>(each, binary);
      read_again<shm::bson>(each, binary);
      read_again<shm::json_text>(each, binary);
    }
  }
  const auto kept = shm::msgpack<json>::whole(json::binary({1, 2}, 7));
  CHECK(shm::msgpack<json>::from_whole(kept.data(), kept.size()).get_binary().subtype() == 7);
  const std::string hidden("1\0 2", 4);
  CHECK_THROWS_AS(shm::json_text<json>::from_whole(hidden.data(), hidden.size()), shm::error);
}
