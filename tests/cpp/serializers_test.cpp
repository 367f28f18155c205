// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <memory>
#include <shm/serializers_more.hpp>

#include "support.hpp"

using namespace std::chrono_literals;

namespace app {

enum class color : std::uint8_t { red, green };
struct point {
  std::int32_t x, y;
  bool operator==(const point& o) const { return x == o.x && y == o.y; }
};
struct reading {
  double value;
  float weights[2];
  bool operator==(const reading& o) const {
    return value == o.value && weights[0] == o.weights[0] && weights[1] == o.weights[1];
  }
};
struct person {
  std::string name;
  std::vector<int> marks;
  bool operator==(const person& o) const { return name == o.name && marks == o.marks; }
};
struct liar {};

} // namespace app

SHM_PLAIN(app::point, "point/1");
SHM_PLAIN_MEMBERS(app::reading, "reading/2", &app::reading::value, &app::reading::weights);

template <>
struct shm::serializer<app::person> {
  static constexpr std::string_view name = "person/1";
  static constexpr bool canonical = true;
  std::size_t size(const app::person& p) { return 8 + p.name.size() + 4 * p.marks.size(); }
  void write(const app::person& p, shm::writer& w) {
    w.value(p.name);
    w.value(p.marks);
  }
  app::person read(shm::reader& r) { return {r.value<std::string>(), r.value<std::vector<int>>()}; }
};
template <>
struct shm::serializer<app::liar> {
  static constexpr std::string_view name = "liar/1";
  static std::size_t size(const app::liar&) { return 1; }
  static void write(const app::liar&, shm::writer& w) { w.number(std::uint32_t{7}); }
  static app::liar read(shm::reader&) { return {}; }
};

namespace {

// As a whole value, and as a part of another. Each byte string is copied to the heap, where sanitizers see its ends.
template <class T>
T decode_exact(const std::vector<unsigned char>& bytes) {
  const std::unique_ptr<unsigned char[]> copy(new unsigned char[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), copy.get());
  return shm::detail::decode<T>(copy.get(), bytes.size());
}
template <class T, bool Key = false>
std::vector<unsigned char> encode(const T& v) {
  const shm::detail::encoded<T, Key> e(v);
  const auto* p = static_cast<const unsigned char*>(e.data());
  return std::vector<unsigned char>(p, p + e.size());
}

std::uint64_t state = 0x9e3779b97f4a7c15u;
std::uint32_t noise() {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<std::uint32_t>(state >> 33);
}

// A value or a named error, nothing else; every byte is looked at in place by the sanitizers.
template <class T>
void survives(const std::vector<unsigned char>& bytes) {
  try {
    static_cast<void>(decode_exact<T>(bytes));
  } catch (const shm::error& e) {
    REQUIRE(e.code() == shm::errc::corrupt);
  }
}

template <class T>
void check(const T& v, std::string_view name) {
  INFO(name);
  CHECK(shm::serializer<T>::name == name);
  const auto bytes = encode(v);
  CHECK(decode_exact<T>(bytes) == v);
  const auto boxed = encode(std::vector<T>{v, v});
  CHECK(decode_exact<std::vector<T>>(boxed) == std::vector<T>{v, v});

  for (std::size_t n = 0; n < bytes.size(); ++n) survives<T>({bytes.begin(), bytes.begin() + static_cast<long>(n)});
  for (std::size_t n = 0; n < boxed.size() && !shm::detail::is_bytes<std::vector<T>>; ++n) {
    const std::vector<unsigned char> cut(boxed.begin(), boxed.begin() + static_cast<long>(n));
    CHECK_THROWS_AS(decode_exact<std::vector<T>>(cut), shm::error);
  }
  if (!shm::detail::is_bytes<T> && name != "str") { // without a length, as a whole
    auto longer = bytes;
    longer.push_back(0);
    CHECK_THROWS_AS(decode_exact<T>(longer), shm::error);
  }
  for (int i = 0; i < 500; ++i) {
    auto hostile = boxed;
    for (std::uint32_t n = 1 + noise() % 3; n > 0; --n)
      hostile[noise() % hostile.size()] = static_cast<unsigned char>(noise() % 4 == 0 ? 0xff : noise());
    survives<std::vector<T>>(hostile);
    hostile.resize(noise() % 24);
    for (auto& b : hostile) b = static_cast<unsigned char>(noise());
    survives<T>(hostile);
  }
}

} // namespace

TEST_CASE("numbers are little-endian bytes of their own size") {
  check<std::int8_t>(-3, "i8");
  check<std::int16_t>(-300, "i16");
  check(-5, "i32");
  check(std::numeric_limits<std::int64_t>::min(), "i64");
  check<std::uint8_t>(200, "u8");
  check<std::uint16_t>(60000, "u16");
  check(4000000000u, "u32");
  check(std::numeric_limits<std::uint64_t>::max(), "u64");
  check(1.5f, "f32");
  check(-1e300, "f64");
  check(app::color::green, "u8");
  CHECK(shm::serializer<bool>::name == "bool");
  CHECK(encode(0x01020304) == std::vector<unsigned char>{4, 3, 2, 1});
  CHECK(encode(true) == std::vector<unsigned char>{1});
  CHECK(decode_exact<bool>({0}) == false);
}

TEST_CASE("a bool of other bits is refused") { CHECK_THROWS_AS(decode_exact<bool>({2}), shm::error); }

TEST_CASE("a string as a whole is its bytes, without a length") {
  check(std::string("h\xc3\xa4llo\0x", 8), "str");
  check(std::string(), "str");
  check(std::string(5000, 'x'), "str");
  CHECK(encode(std::string("ab")) == std::vector<unsigned char>{'a', 'b'});
  CHECK(encode(std::vector<std::string>{"ab"}) == std::vector<unsigned char>{1, 0, 0, 0, 2, 0, 0, 0, 'a', 'b'});
}

TEST_CASE("the standard containers come back as they were") {
  check(std::vector<unsigned char>{1, 2, 255}, "bytes");
  check(std::vector<std::byte>{std::byte{7}}, "bytes");
  check(std::vector<std::int64_t>{1, -2, 3}, "vec<i64>");
  check(std::vector<bool>{true, false, true}, "vec<bool>");
  check(std::vector<std::vector<std::string>>{{"a", ""}, {}}, "vec<vec<str>>");
  check(std::array<double, 3>{1, 2, 3}, "arr<f64,3>");
  check(std::array<std::string, 12>{"a"}, "arr<str,12>");
  check(std::array<int, 0>{}, "arr<i32,0>");
  check(std::map<std::string, int>{{"a", 1}, {"b", 2}}, "map<str,i32>");
  check(std::unordered_map<int, std::string>{{1, "a"}, {2, "b"}}, "map<i32,str>");
  check(std::set<int>{3, 1, 2}, "set<i32>");
  check(std::unordered_set<std::string>{"x", "y"}, "set<str>");
  check(std::optional<int>{}, "opt<i32>");
  check(std::optional<std::string>{"x"}, "opt<str>");
  check(std::pair<int, std::string>{1, "x"}, "tuple<i32,str>");
  check(std::tuple<>{}, "tuple<>");
  check(std::tuple<std::int8_t, std::string, double>{1, "x", 2.5}, "tuple<i8,str,f64>");
  check(std::variant<int, std::string>{"x"}, "var<i32,str>");
  check(std::variant<std::monostate, int>{}, "var<unit,i32>");
  std::map<std::pair<int, int>, std::variant<std::vector<int>, std::optional<std::string>>> map;
  map[{1, 2}] = std::vector<int>{1}; // not from a list: GCC 14 warns of the standard library's copy
  map[{3, 4}] = std::optional<std::string>{};
  check(map, "map<tuple<i32,i32>,var<vec<i32>,opt<str>>>");
}

TEST_CASE("the other sequences come back as they were, and are vectors to others") {
  check(std::deque<std::string>{"a", "", "bc"}, "vec<str>");
  check(std::deque<bool>{true, false}, "vec<bool>");
  check(std::list<std::int64_t>{1, -2}, "vec<i64>");
  check(std::list<std::vector<int>>{{1}, {}}, "vec<vec<i32>>");
  check(std::u16string(u"h\u00e4"), "vec<u16>");
  check(std::u32string(U"h\U0001f600"), "vec<u32>");
  check(std::wstring(L"h\u00e4"), shm::serializer<std::vector<wchar_t>>::name);
  check(std::bitset<11>(0x5a5), "arr<bool,11>");
  check(std::bitset<0>(), "arr<bool,0>");
  check(std::complex<double>{1.5, -2}, "tuple<f64,f64>");
  check(std::complex<float>{1.5f, -2}, "tuple<f32,f32>");
  check(std::filesystem::path("/tmp/a b"), "str");
  CHECK(encode(std::list<int>{1, 2}) == encode(std::vector<int>{1, 2}));
  CHECK(encode(std::deque<bool>{true}) == encode(std::vector<bool>{true}));
  CHECK(encode(std::filesystem::path("/x")) == encode(std::string("/x")));
  CHECK(encode(std::complex<float>{1, 2}) == encode(std::pair<float, float>{1, 2}));
  CHECK(encode<std::complex<double>, true>({-0.0, 0.0}) == encode<std::complex<double>, true>({0.0, -0.0}));
  static_assert(shm::is_key_v<std::u16string> && shm::is_key_v<std::list<int>> && shm::is_key_v<std::bitset<3>>);
  static_assert(!shm::is_key_v<std::filesystem::path>);
}

TEST_CASE("durations and time points have their unit and clock in the name") {
  using namespace std::chrono;
  check(nanoseconds(-5), "dur<i64,1,1000000000>");
  check(milliseconds(1500), "dur<i64,1,1000>");
  check(hours(3), "dur<i64,3600,1>");
  check(duration<double>(1.5), "dur<f64,1,1>");
  check(time_point<system_clock, seconds>(seconds(1700000000)), "system_time<dur<i64,1,1>>");
  check(steady_clock::now(), "steady_time<dur<i64,1,1000000000>>");
  CHECK(encode(milliseconds(258)) == encode(std::int64_t{258}));
  static_assert(shm::is_key_v<seconds> && shm::is_key_v<system_clock::time_point>);
  CHECK(encode<duration<double>, true>(duration<double>(-0.0)) ==
        encode<duration<double>, true>(duration<double>(0.0)));

  support::Name name("durations");
  shm::dict<seconds, system_clock::time_point> d{name, support::small()};
  const auto now = system_clock::now();
  d[5s] = now;
  CHECK(d.at(5s) == now);
  CHECK(d.get(minutes(1)) == std::nullopt);
  using other = shm::dict<seconds, nanoseconds>;
  CHECK_THROWS_AS((other{shm::open_only, name}), shm::mismatch);
  support::Own<shm::dict<std::string, std::filesystem::path>> paths("paths");
  paths.d["a"] = "/var/lib";
  CHECK(paths.d.at("a") == std::filesystem::path("/var/lib"));
}

TEST_CASE("plain structs and own serializers come back as they were") {
  check(app::point{1, -2}, "point/1");
  check(app::reading{0.5, {1, 2}}, "reading/2");
  check(app::person{"Ada", {1, 2}}, "person/1");
  check(std::map<std::string, app::point>{{"a", {1, 2}}}, "map<str,point/1>");
}

TEST_CASE("type names of nested dicts are put together at compile time") {
  static_assert(shm::detail::type_name<shm::dict<std::string, shm::dict<int, std::vector<app::point>>>>::value ==
                "dict<str,dict<i32,vec<point/1>>>");
  SUCCEED();
}

TEST_CASE("a count that the bytes cannot hold reserves no memory") {
  CHECK_THROWS_AS(decode_exact<std::vector<std::int64_t>>({255, 255, 255, 255}), shm::error);
  CHECK_THROWS_AS(decode_exact<std::vector<std::string>>({255, 255, 255, 127, 0, 0, 0, 0}), shm::error);
  CHECK_THROWS_AS((decode_exact<std::set<std::tuple<>>>({255, 255, 255, 127, 0, 0})), shm::error);
}

TEST_CASE("an element that appears twice, or an unknown alternative, is refused") {
  CHECK_THROWS_AS(decode_exact<std::set<std::uint8_t>>({2, 0, 0, 0, 7, 7}), shm::error);
  CHECK_THROWS_AS((decode_exact<std::map<std::uint8_t, bool>>({2, 0, 0, 0, 7, 0, 7, 1})), shm::error);
  CHECK_THROWS_AS((decode_exact<std::variant<bool, std::uint8_t>>({2, 0, 0, 0, 1})), shm::error);
}

TEST_CASE("a serializer that writes more than it announced is stopped") {
  CHECK_THROWS_AS(encode(app::liar{}), std::logic_error);
}

TEST_CASE("equal keys have equal bytes, and NaN is no key") {
  CHECK(encode<double, true>(-0.0) == encode<double, true>(0.0));
  CHECK(encode<double, false>(-0.0) != encode<double, false>(0.0));
  using nested = std::pair<std::string, std::vector<double>>;
  CHECK(encode<nested, true>({"a", {-0.0, 1}}) == encode<nested, true>({"a", {0.0, 1}}));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(support::code_of([&] { encode<double, true>(nan); }) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(support::code_of([&] { encode<nested, true>({"a", {1, nan}}); }) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(std::isnan(decode_exact<double>(encode(nan))));
}

TEST_CASE("only types with canonical bytes are keys") {
  static_assert(shm::is_key_v<std::map<int, std::vector<std::string>>>);
  static_assert(shm::is_key_v<app::point> && shm::is_key_v<app::person> && shm::is_key_v<app::color>);
  static_assert(!shm::is_key_v<std::unordered_map<int, int>> && !shm::is_key_v<std::unordered_set<int>>);
  static_assert(!shm::is_key_v<std::tuple<int, std::unordered_set<int>>>);
  static_assert(!shm::is_key_v<std::set<int, std::greater<>>>);
  static_assert(!shm::is_key_v<app::reading> && !shm::is_key_v<app::liar>);
  SUCCEED();
}
