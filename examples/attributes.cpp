// SPDX-License-Identifier: Apache-2.0
// An object whose attributes live in a dict: whoever makes a robot of the same name in another process, has this one.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <shm/json.hpp>

namespace {

template <class T>
class attribute {
 public:
  attribute(shm::json_dict& d, const char* key) : d_(d), key_(key) {}
  operator T() const { return d_[key_].template get<T>(); } // NOLINT: it stands for the value
  attribute& operator=(const T& value) {
    d_[key_] = value;
    return *this;
  }
  void operator+=(const T& value) { d_[key_] += value; } // one step, whoever else does it

 private:
  shm::json_dict& d_;
  const char* key_;
};

struct robot {
  explicit robot(const std::string& where) : d(where, {{"name", "nobody"}, {"steps", 0}}) {}
  shm::json_dict d;
  attribute<std::string> name{d, "name"};
  attribute<int> steps{d, "steps"};
  void walk(int far) { steps += far; }
};

} // namespace

int main(int argc, char** argv) {
  const std::string where = argc > 1 ? argv[1] : "example.attributes";
  robot mine{where};
  mine.name = "Marvin";
  const pid_t child = fork();
  if (child == 0) {
    robot same{where};
    same.walk(static_cast<std::string>(same.name) == "Marvin" ? 42 : 0);
    return 0;
  }
  int status = 0;
  waitpid(child, &status, 0);
  mine.walk(1);
  std::printf("%s walked %d steps\n", static_cast<std::string>(mine.name).c_str(), static_cast<int>(mine.steps));
  return status == 0 ? 0 : 1;
}
