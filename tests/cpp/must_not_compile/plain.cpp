// SPDX-License-Identifier: Apache-2.0
// Plain structs that hold addresses, or padding that no comparison sees.
#include <array>
#include <complex>
#include <cstdint>
#include <shm/shm.hpp>
#include <string_view>

namespace app {

struct node {
  node* next;
  std::int64_t weight;
};
struct user {
  char first[4096]; // a large array costs no more than a small one
  std::string_view name;
};
struct inner {
  std::int64_t a;
  const char* text;
};
struct outer {
  std::int64_t x;
  inner in;
};
struct arrays {
  std::int64_t x;
  std::array<inner, 3> in;
  std::int64_t y[2];
};
struct derived : inner {
  std::int64_t b;
};
struct iterators {
  std::vector<int>::iterator at;
};
struct callback {
  std::int64_t x;
  void (*call)(int);
};
struct weighted {
  double weight;
  node* next;
};
struct listed {
  double weight;
  inner in;
};
struct wide {
  long double value;
};
struct reference {
  std::int64_t& to;
};

// What is fine stays fine, whatever it is made of.
enum class color : std::uint8_t { red };
struct fine {
  char name[4096];
  std::chrono::nanoseconds when;
  std::uint32_t matrix[3][4];
  std::array<std::int32_t, 2> both;
  color c[4];
  std::uint32_t bits : 3, more : 29;
};
struct fine_floats {
  double x;
  float m[2][3];
  std::int64_t n;
};

} // namespace app

SHM_PLAIN(app::fine, "fine/1");
SHM_PLAIN_MEMBERS(app::fine_floats, "fine_floats/1", &app::fine_floats::x, &app::fine_floats::m, &app::fine_floats::n);

#if defined(MUST_NOT_COMPILE_PLAIN_POINTER)
SHM_PLAIN(app::node, "node/1");
#elif defined(MUST_NOT_COMPILE_PLAIN_VIEW)
SHM_PLAIN(app::user, "user/1");
#elif defined(MUST_NOT_COMPILE_PLAIN_NESTED)
SHM_PLAIN(app::outer, "outer/1");
#elif defined(MUST_NOT_COMPILE_PLAIN_ARRAY)
SHM_PLAIN(app::arrays, "arrays/1");
#elif defined(MUST_NOT_COMPILE_PLAIN_BASE)
SHM_PLAIN(app::derived, "derived/1");
#elif defined(MUST_NOT_COMPILE_PLAIN_ITERATOR)
SHM_PLAIN(app::iterators, "iterators/1");
#elif defined(MUST_NOT_COMPILE_PLAIN_FUNCTION)
SHM_PLAIN(app::callback, "callback/1");
#elif defined(MUST_NOT_COMPILE_PLAIN_REFERENCE)
SHM_PLAIN(app::reference, "reference/1");
#elif defined(MUST_NOT_COMPILE_LISTED_POINTER)
SHM_PLAIN_MEMBERS(app::weighted, "weighted/1", &app::weighted::weight, &app::weighted::next);
#elif defined(MUST_NOT_COMPILE_LISTED_NESTED)
SHM_PLAIN_MEMBERS(app::listed, "listed/1", &app::listed::weight, &app::listed::in);
#elif defined(MUST_NOT_COMPILE_LISTED_LONG_DOUBLE)
SHM_PLAIN_MEMBERS(app::wide, "wide/1", &app::wide::value);
#endif

void plain() {
  shm::dict<int, app::fine> a;
  shm::dict<int, app::fine_floats> b;
}
