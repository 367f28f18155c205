// SPDX-License-Identifier: Apache-2.0
// Types that cannot be shared, or cannot be keys.
#include <ctime>
#include <memory>
#include <shm/serializers_more.hpp>
#include <shm/shm.hpp>

struct padded {
  char a;
  int b;
};
struct floating {
  float x;
  double y;
};
struct text {
  std::string s;
};
struct unknown {};
struct own_clock {
  using duration = std::chrono::seconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<own_clock>;
  static constexpr bool is_steady = true;
  static time_point now() { return time_point(duration(std::clock())); }
};

#if defined(MUST_NOT_COMPILE_PADDING)
SHM_PLAIN(padded, "padded/1");
#elif defined(MUST_NOT_COMPILE_FLOAT_PADDING)
SHM_PLAIN_MEMBERS(floating, "floating/1", &floating::x, &floating::y);
#elif defined(MUST_NOT_COMPILE_MISSING_MEMBER)
SHM_PLAIN_MEMBERS(floating, "floating/1", &floating::x);
#elif defined(MUST_NOT_COMPILE_NOT_TRIVIAL)
SHM_PLAIN(text, "text/1");
#elif defined(MUST_NOT_COMPILE_NO_VERSION)
struct fine {
  int a;
};
SHM_PLAIN(fine, "fine");
#endif

void types() {
  shm::dict<std::string, std::vector<int>> fine;
#if defined(MUST_NOT_COMPILE_POINTER_VALUE)
  shm::dict<std::string, const char*> d{"x"};
#elif defined(MUST_NOT_COMPILE_VIEW_VALUE)
  shm::dict<std::string, std::string_view> d{"x"};
#elif defined(MUST_NOT_COMPILE_VIEW_KEY)
  shm::dict<std::string_view, int> d{"x"};
#elif defined(MUST_NOT_COMPILE_SMART_POINTER)
  shm::dict<std::string, std::vector<std::shared_ptr<int>>> d{"x"};
#elif defined(MUST_NOT_COMPILE_UNKNOWN_TYPE)
  shm::dict<std::string, unknown> d{"x"};
#elif defined(MUST_NOT_COMPILE_LONG_DOUBLE)
  shm::dict<std::string, long double> d{"x"};
#elif defined(MUST_NOT_COMPILE_OTHER_CLOCK)
  shm::dict<std::string, own_clock::time_point> d{"x"};
#elif defined(MUST_NOT_COMPILE_PATH_KEY)
  shm::dict<std::filesystem::path, int> d{"x"};
#elif defined(MUST_NOT_COMPILE_UNORDERED_KEY)
  shm::dict<std::unordered_set<int>, int> d{"x"};
#elif defined(MUST_NOT_COMPILE_NESTED_UNORDERED_KEY)
  shm::dict<int, shm::dict<std::pair<int, std::unordered_map<int, int>>, int>> d{"x"};
#elif defined(MUST_NOT_COMPILE_WITH_NESTED)
  shm::dict<int, shm::dict<int, int>> d;
  d.with(1, [](std::string_view) {});
#endif
}
