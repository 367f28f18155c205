// SPDX-License-Identifier: Apache-2.0
// Opens a dict as whoever was compiled with other headers, or runs with another library, would: layout_test.sh says how.
//   layout_program create|open NAME     exit code 0 done, 3 refused with mismatch, 1 anything else
// Both facade and C interface have to come to the same result. The first line printed is "headers N, library N".
#include <shmdict/shmdict.h>

#include <cstdio>
#include <cstring>
#include <shm/dict.hpp>
#include <string>

namespace {

int c_result(const char* name) {
  shmd_options options;
  shmd_options_init(&options);
  options.mode = SHMD_OPEN_ONLY;
  shmd_dict* d = nullptr;
  const int result = shmd_open(name, &options, &d);
  if (result == 0) shmd_close(d);
  return result;
}

int run(bool create, const char* name) {
  using dict = shm::dict<std::string, std::string>;
  try {
    if (create) {
      dict d{shm::create_only, name, shm::options{}.max_size(16u << 20).unlink(shm::never)};
      d["key"] = "value";
    } else {
      dict d{shm::open_only, name};
      if (d["key"] != "value") return 1;
      d["key"] = "value";
    }
    return c_result(name) == 0 ? 0 : 1;
  } catch (const shm::mismatch& e) {
    std::puts(e.what());
    return e.code() == shm::errc::layout_mismatch && (create || c_result(name) == SHMD_ERR_LAYOUT_MISMATCH) ? 3 : 1;
  } catch (const shm::error& e) {
    std::puts(e.what());
    return 1;
  }
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::printf("headers %u, library %u\n", SHMD_LAYOUT_VERSION, static_cast<unsigned>(shmd_layout_version()));
  return run(std::strcmp(argv[1], "create") == 0, argv[2]);
}
