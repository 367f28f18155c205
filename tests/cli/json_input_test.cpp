// SPDX-License-Identifier: Apache-2.0
// JSON is taken only if it comes back as it is; what is wrong is said with line and column.
#include "json_input.hpp"

#include <cmath>
#include <string>

#include "exit_code.hpp"
#include "json_writer.hpp"
#include "number.hpp"
#include "support/catch.hpp"

namespace {

std::string error_of(const std::string& text) {
  try {
    static_cast<void>(cli::parse_json(text, "F"));
  } catch (const cli::failure& e) {
    CHECK(e.code() == cli::exit_code::refused);
    return e.what();
  }
  return "taken";
}
std::string there_and_back(const std::string& text) { return cli::json_text(cli::parse_json(text, "F")); }

bool starts(const std::string& text, const std::string& with) { return text.compare(0, with.size(), with) == 0; }

std::string nested(std::size_t depth, const std::string& open, const std::string& close) {
  std::string out;
  for (std::size_t i = 0; i < depth; ++i) out += open;
  out += "1";
  for (std::size_t i = 0; i < depth; ++i) out += close;
  return out;
}

} // namespace

TEST_CASE("values come back as they were") {
  for (const char* text : {"null",
                           "true",
                           "false",
                           "0",
                           "-1",
                           "9223372036854775807",
                           "-9223372036854775808",
                           "18446744073709551615",
                           "0.1",
                           "1.5",
                           "-0.0",
                           "1e-07",
                           "1.7976931348623157e+308",
                           "5e-324",
                           "\"\"",
                           "\"a\"",
                           "[]",
                           "{}",
                           "[[],{}]",
                           "{\"\":{\"\":[]}}",
                           "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\"",
                           "\"\\u0000\"",
                           "\"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\""})
    CHECK(there_and_back(text) == text);
  CHECK(there_and_back(" {\"b\" : 1,\n\t\"a\":[1 ,2]} ") == R"({"a":[1,2],"b":1})");
  CHECK(there_and_back(R"("\u00fc\ud83d\ude00\/")") == "\"\xc3\xbc\xf0\x9f\x98\x80/\"");
  CHECK(there_and_back("1E2") == "100.0");
  CHECK(there_and_back("1.50") == "1.5");
  CHECK(std::signbit(cli::parse_json("-0", "F").get<double>()));
  CHECK(there_and_back("\"\x7f\xc2\x9b\xe2\x80\xae\"") == R"("\u007f\u009b\u202e")"); // does not steer a terminal
}

TEST_CASE("numbers that would come back as others are refused") {
  CHECK(
      starts(error_of("[1,\n 12345678901234567890123]"), "F:2:2: the number 12345678901234567890123 would come back"));
  CHECK(starts(error_of("0.1000000000000000055"), "F:1:1: the number"));
  CHECK(starts(error_of("{\"a\":3.141592653589793238}"), "F:1:6: the number"));
  CHECK(starts(error_of("18446744073709551616"), "F:1:1: the number"));
  CHECK(starts(error_of("-9223372036854775809"), "F:1:1: the number"));
  CHECK(starts(error_of("1e-400"), "F:1:1: the number"));
  CHECK(error_of("[1e400]").find("too large") != std::string::npos);
  CHECK(error_of("1e99999999999999999999").find("too large") != std::string::npos);
  CHECK(cli::is_exact_double("0.50"));
  CHECK(cli::is_exact_double("0e99999999999"));
  CHECK(cli::is_exact_double("1000000000000000000000"));
  CHECK_FALSE(cli::is_exact_double("9007199254740993"));
}

TEST_CASE("keys that come twice are refused where the second one stands") {
  CHECK(error_of("{\"a\":1,\n  \"b\":2,\n  \"a\":3}") == "F:3:3: the key \"a\" is there a second time in its object");
  CHECK(starts(error_of(R"({"x":{"q\"\\":1,"q\"\\":2}})"), "F:1:17: the key"));
  CHECK(starts(error_of(R"({"a":1,"\u0061":2})"), "F:1:8: the key \"a\""));
  CHECK(error_of(R"([{"a":1},{"a":2}])") == "taken");
  CHECK(error_of(R"({"a":{"a":1}})") == "taken");
}

TEST_CASE("nesting is taken up to 1,000 levels") {
  CHECK(error_of(nested(1000, "[", "]")) == "taken");
  CHECK(error_of(nested(1000, "{\"a\":", "}")) == "taken");
  CHECK(error_of(nested(1001, "[", "]")) == "F:1:1001: nested deeper than 1000 levels");
  CHECK(starts(error_of(nested(200'000, "[", "]")), "F:1:1001: nested deeper"));
}

TEST_CASE("what is no JSON is refused with its place") {
  CHECK(starts(error_of("{\"a\": \"x\xff\"}"), "F:1:9: "));
  CHECK(error_of("\"\xc0\xaf\"").find("UTF-8") != std::string::npos);
  CHECK(error_of("\"\xed\xa0\x80\"").find("UTF-8") != std::string::npos);
  CHECK(starts(error_of(R"("\ud800")"), "F:1:8: "));
  CHECK(starts(error_of("{\"a\":\n[1,2"), "F:2:5: "));
  CHECK(starts(error_of("\"abc"), "F:1:5: "));
  CHECK(starts(error_of(""), "F:1:1: "));
  CHECK(starts(error_of("{} x"), "F:1:4: "));
  CHECK(starts(error_of("[1,]"), "F:1:4: "));
  CHECK(starts(error_of("[01]"), "F:1:3: "));
  CHECK(starts(error_of("nul"), "F:1:4: "));
  CHECK(error_of("{a:1}") != "taken");
  CHECK(error_of("NaN") != "taken");
  const auto long_token = error_of("\"" + std::string(100'000, 'x') + "\xff\"");
  CHECK(long_token.size() < 300); // one line
}
