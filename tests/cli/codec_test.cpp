// SPDX-License-Identifier: Apache-2.0
// Every shipped serializer's bytes are shown as what they are, and the same JSON gives the same bytes again.
#include "codec.hpp"

#include <chrono>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include "exit_code.hpp"
#include "pointer.hpp"
#include "shm/json.hpp"
#include "support/catch.hpp"

using cli::json;

namespace {

struct point {
  std::int32_t x, y;
};

template <class T>
std::string bytes_of(const T& v) {
  const shm::detail::encoded_value<T> e(v);
  return {static_cast<const char*>(e.data()), e.size()};
}
template <class T>
cli::type type_of() {
  return cli::parse_type(shm::detail::type_name<T>::value);
}

// There and back.
template <class T>
void same(const T& value, const json& expected) {
  const auto t = type_of<T>();
  INFO(t.name << " " << expected.dump());
  REQUIRE(t.known());
  const auto stored = bytes_of(value);
  const json shown = cli::decode(t, stored);
  CHECK(shown == expected);
  CHECK(cli::encode_value(t, shown, "value") == stored);
}

bool refused(std::string_view type, const json& j) {
  try {
    static_cast<void>(cli::encode_value(cli::parse_type(type), j, "value"));
  } catch (const cli::failure& e) {
    return e.code() == cli::exit_code::refused;
  }
  return false;
}

} // namespace

SHM_PLAIN(point, "point/1");

TEST_CASE("scalars are numbers, and come back to the bit") {
  same(std::int8_t{-128}, -128);
  same(std::uint8_t{255}, 255);
  same(std::int16_t{-32768}, -32768);
  same(std::uint16_t{65535}, 65535);
  same(std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::min());
  same(std::numeric_limits<std::uint32_t>::max(), std::numeric_limits<std::uint32_t>::max());
  same(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::min());
  same(std::numeric_limits<std::uint64_t>::max(), std::numeric_limits<std::uint64_t>::max());
  same(true, true);
  same(0.1, 0.1);
  same(0.1f, 0.1); // shown as short as a float can be told
  same(-0.0, -0.0);
  same(std::numeric_limits<double>::denorm_min(), std::numeric_limits<double>::denorm_min());
  same(std::numeric_limits<float>::max(), 3.4028235e38);
  same(std::numeric_limits<double>::infinity(), "Infinity");
  same(-std::numeric_limits<float>::infinity(), "-Infinity");
  CHECK(cli::decode(type_of<double>(), bytes_of(std::numeric_limits<double>::quiet_NaN())) == "NaN");
}

TEST_CASE("containers are arrays and objects, at any depth") {
  same(std::string("a\"b\0c", 5), std::string("a\"b\0c", 5));
  same(std::vector<std::byte>{std::byte{0}, std::byte{255}}, "0x00ff");
  same(std::vector<std::string>{"", "x"}, json::array({"", "x"}));
  same(std::vector<bool>{true, false}, json::array({true, false}));
  same(std::array<std::int16_t, 3>{1, -2, 3}, json::array({1, -2, 3}));
  same(std::array<std::int16_t, 0>{}, json::array());
  same(std::set<int>{3, -1, 20}, json::array({-1, 3, 20}));
  same(std::set<std::string>{"b", "a", "aa"}, json::array({"a", "aa", "b"}));
  same(std::map<std::string, std::vector<int>>{{"x", {1}}, {"", {}}}, json{{"", json::array()}, {"x", {1}}});
  same(std::map<int, std::string>{{10, "ten"}, {9, "nine"}, {-1, ""}},
       json::array({json::array({-1, ""}), json::array({9, "nine"}), json::array({10, "ten"})}));
  same(std::pair<int, std::string>{1, "a"}, json::array({1, "a"}));
  same(std::tuple<bool, double, std::string>{true, 1.5, "z"}, json::array({true, 1.5, "z"}));
  same(std::tuple<>{}, json::array());
  same(std::monostate{}, nullptr);
  same(std::vector<std::map<std::string, std::optional<std::int8_t>>>{{{"a", 1}, {"b", {}}}},
       json::array({json{{"a", 1}, {"b", nullptr}}}));
}

TEST_CASE("durations and time points are the numbers that they count, other sequences are arrays") {
  using namespace std::chrono;
  same(milliseconds(-1500), -1500);
  same(duration<double, std::ratio<3600>>(1.5), 1.5);
  same(time_point<system_clock, seconds>(seconds(1700000000)), 1700000000);
  same(steady_clock::time_point(nanoseconds(5)), 5);
  same(std::map<seconds, std::optional<hours>>{{seconds(2), hours(1)}, {seconds(10), {}}},
       json::array({json::array({2, 1}), json::array({10, nullptr})}));
  same(std::deque<std::string>{"a", "b"}, json::array({"a", "b"}));
  same(std::list<int>{1, 2}, json::array({1, 2}));
  same(std::bitset<3>(5), json::array({true, false, true}));
  same(std::u16string(u"ab"), json::array({97, 98}));
  CHECK(refused("dur<i64,1,1000>", 1.5));
  CHECK(refused("system_time<dur<i64,1,1>>", "2024"));
  for (const char* name : {"dur<i64>", "dur<i64,1>", "dur<i64,1,1,1>", "dur<i64,,1>", "dur<1,1>", "dur<i64,1,1",
                           "system_time<i64>", "steady_time<>", "system_time<dur<i64,1,1>,i64>"}) {
    INFO(name);
    CHECK_FALSE(cli::parse_type(name).known());
  }
}

TEST_CASE("what JSON cannot tell apart is boxed") {
  same(std::optional<int>{}, nullptr);
  same(std::optional<int>{7}, 7);
  same(std::optional<std::optional<int>>{}, json::array());
  same(std::optional<std::optional<int>>{std::optional<int>{}}, json::array({nullptr}));
  using v = std::variant<std::int64_t, std::string>;
  same(v{5}, 5);
  same(v{"5"}, "5");
  using w = std::variant<std::int32_t, std::int64_t, std::monostate>;
  same(w{std::int32_t{1}}, 1);
  same(w{std::int64_t{1}}, json{{"alternative", 1}, {"value", 1}});
  same(w{std::int64_t{1} << 40}, std::int64_t{1} << 40); // only one alternative takes it
  same(w{std::monostate{}}, nullptr);
}

TEST_CASE("JSON documents are what they hold") {
  same(json{{"a", {1, 2.5, nullptr, true, "x"}}, {"b", json::object()}},
       json{{"a", {1, 2.5, nullptr, true, "x"}}, {"b", json::object()}});
  same(std::vector<json>{1, "two"}, json::array({1, "two"}));
}

TEST_CASE("documents of every format are read and written, hostile ones refused") {
  const json j{{"a", {1, -2.5, nullptr, true, "x"}}, {"b", json::object()}};
  const std::vector<std::pair<const char*, std::vector<unsigned char>>> formats{{"cbor", json::to_cbor(j)},
                                                                                {"msgpack", json::to_msgpack(j)},
                                                                                {"ubjson", json::to_ubjson(j)},
                                                                                {"bson", json::to_bson(j)}};
  for (const auto& [name, bytes] : formats) {
    INFO(name);
    const auto t = cli::parse_type(name);
    const std::string stored(bytes.begin(), bytes.end());
    CHECK(cli::decode(t, stored) == j);
    CHECK(cli::encode_value(t, j, "value") == stored);
    for (std::size_t cut = 0; cut < stored.size(); ++cut)
      CHECK_THROWS_AS(cli::decode(t, stored.substr(0, cut)), shm::error);
  }
  CHECK(cli::decode(cli::parse_type("json_text"), j.dump()) == j);
  CHECK(cli::encode_value(cli::parse_type("json_text"), j, "value") == j.dump());
  CHECK(refused("bson", 1)); // an object is needed
  CHECK_THROWS_AS(cli::decode(cli::parse_type("json_text"), std::string(100'000, '[')), shm::error);
  CHECK_THROWS_AS(cli::decode(cli::parse_type("msgpack"), std::string(100'000, '\x91')), shm::error);
  CHECK_THROWS_AS(cli::decode(cli::parse_type("ubjson"), "[$Z#l\x7f\xff\xff\xff"), shm::error); // 2 G values in 9 bytes
}

TEST_CASE("a program's own types are hex with their name, and can be set as that") {
  const auto t = type_of<point>();
  CHECK_FALSE(t.known());
  const auto stored = bytes_of(point{1, -1});
  const json shown = cli::decode(t, stored);
  CHECK(shown == json{{"type", "point/1"}, {"hex", "0x01000000ffffffff"}});
  CHECK(cli::encode_value(t, shown, "value") == stored);
  CHECK(refused("point/1", 5));
  CHECK(refused("point/1", {{"type", "other/1"}, {"hex", "0x00"}}));
  CHECK_FALSE(cli::parse_type("vec<point/1>").known());
}

TEST_CASE("bytes without a type name are text if they can be told from hex") {
  const auto t = cli::parse_type("");
  for (const std::string& bytes :
       {std::string("plain text"), std::string("gr\xc3\xbc\xc3\x9f"), std::string("0xzz"), std::string(),
        std::string("\x00\x01", 2), std::string("0x41"), std::string("\xff"), std::string("a\x1b[31m")}) {
    const json shown = cli::decode(t, bytes);
    CHECK(cli::encode_value(t, shown, "value") == bytes);
  }
  CHECK(cli::decode(t, "plain text") == "plain text");
  CHECK(cli::decode(t, "\xff") == "0xff");
  CHECK(cli::decode(t, "0x41") == "0x30783431");
  CHECK(cli::decode(t, "a\x1b[31m") == "0x611b5b33316d");
}

TEST_CASE("values that a type cannot hold are refused") {
  CHECK(refused("i8", 128));
  CHECK(refused("i8", -129));
  CHECK(refused("u8", -1));
  CHECK(refused("u8", 256));
  CHECK(refused("u64", -1));
  CHECK(refused("i64", std::numeric_limits<std::uint64_t>::max()));
  CHECK(refused("i32", 1.0));
  CHECK(refused("i32", "1"));
  CHECK(refused("f32", 1e39));
  CHECK(refused("f32", 16777217));         // a float would round it
  CHECK(refused("f64", 9007199254740993)); // a double, too
  CHECK(refused("f64", 18446744073709551615u));
  CHECK_FALSE(refused("f32", 16777216));
  CHECK(refused("bool", 1));
  CHECK(refused("str", 1));
  CHECK(refused("bytes", "xyz"));
  CHECK(refused("bytes", "0x123"));
  CHECK(refused("arr<i8,2>", json::array({1})));
  CHECK(refused("set<i8>", json::array({1, 1})));
  CHECK(refused("tuple<i8,i8>", json::array({1, 2, 3})));
  CHECK(refused("map<str,i8>", json{{"a", 300}}));
  CHECK(refused("var<i8,str>", true));
  CHECK(refused("unit", 0));
}

TEST_CASE("bytes that are not of their type are corrupt, not read beyond") {
  const auto corrupt = [](std::string_view type, std::string_view bytes) {
    try {
      static_cast<void>(cli::decode(cli::parse_type(type), bytes));
    } catch (const shm::error& e) {
      return e.code() == shm::errc::corrupt;
    }
    return false;
  };
  using namespace std::string_view_literals;
  CHECK(corrupt("i64", "1234567"));
  CHECK(corrupt("i64", "123456789"));
  CHECK(corrupt("bool", "\2"sv));
  CHECK(corrupt("vec<i64>", "\xff\xff\xff\xff"sv));
  CHECK(corrupt("vec<str>", "\1\0\0\0\xff\xff\xff\xff"sv));
  CHECK(corrupt("arr<i8,999999999999999999>", "abc"sv));
  CHECK(corrupt("arr<arr<i8,0>,3>", "\0\0"sv));
  CHECK(corrupt("var<i8,i8>", "\2\0\0\0\1"sv));
  CHECK(corrupt("json", "\xa1"sv));
  CHECK(corrupt("map<str,unit>", "\2\0\0\0\0\0\0\0\0\0\0\0\0\0"sv));
}

TEST_CASE("type names are untrusted") {
  CHECK(cli::parse_type("vec<tuple<i64,opt<str>>>").known());
  CHECK(cli::parse_type("dict<str,dict<i64,vec<arr<f32,16>>>>").args[1].args[1].args[0].count == 16);
  for (const char* name :
       {"vec", "vec<", "vec<i8", "vec<i8>>", "vec<i8,i8>", "vec<>", "arr<i8>", "arr<i8,>", "arr<i8,x>", "arr<i8,3,4>",
        "map<i8>", "<i8>", "i8,i8", "point/1", "tuple<", "opt<>", "var<>", " i8", "i9"})
    CHECK_FALSE(cli::parse_type(name).known());
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "vec<";
  CHECK_FALSE(cli::parse_type(deep).known());
}

TEST_CASE("keys are written as path tokens and read back as the same bytes") {
  const auto back = [](std::string_view type, const json& key) {
    const auto t = cli::parse_type(type);
    const auto bytes = cli::encode_key(t, key, "key");
    const auto token = cli::token_of_key(t, cli::decode(t, bytes));
    CHECK(cli::key_of_token(t, token) == bytes);
    return token;
  };
  CHECK(back("str", "a/b~c") == "a/b~c");
  CHECK(back("str", "7") == "7");
  CHECK(back("i64", -7) == "-7");
  CHECK(back("bool", true) == "true");
  CHECK(back("f64", -0.0) == "0.0"); // canonical: equal keys have equal bytes
  CHECK(back("f64", "Infinity") == "Infinity");
  CHECK(back("bytes", "0x00ff") == "0x00ff");
  CHECK(back("tuple<i64,str>", json::array({1, "x"})) == "[1,\"x\"]");
  CHECK(back("var<i64,str>", 7) == "7");
  CHECK(back("var<i64,str>", "7") == "\"7\"");
  CHECK(back("var<i64,str>", "x") == "x");
  CHECK(back("set<i64>", json::array({10, 9, -1})) == "[-1,9,10]");
  CHECK(cli::encode_key(cli::parse_type("set<i64>"), json::array({10, 9}), "key") ==
        cli::encode_key(cli::parse_type("set<i64>"), json::array({9, 10}), "key"));
  CHECK_THROWS_AS(cli::encode_key(cli::parse_type("f64"), "NaN", "key"), cli::failure);
  CHECK(cli::key_of_token(cli::parse_type("point/1"), "0x0102") == "\1\2");
}

TEST_CASE("JSON pointers are read as RFC 6901 has them") {
  using tokens = std::vector<std::string>;
  CHECK(cli::parse_pointer("").empty());
  CHECK(cli::parse_pointer("/") == tokens{""});
  CHECK(cli::parse_pointer("/a//b") == tokens{"a", "", "b"});
  CHECK(cli::parse_pointer("/~1~0/~01") == tokens{"/~", "~1"});
  CHECK(cli::escape_token("/~1") == "~1~01");
  for (const char* bad : {"a", "/~", "/~2", "/a~"}) CHECK_THROWS_AS(cli::parse_pointer(bad), cli::failure);
}
