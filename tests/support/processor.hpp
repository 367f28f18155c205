// How long a thread was kept from a processor although it could have run: what a time limit must not count.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

namespace support {

// ns since the thread began; `thread`: a directory of /proc ("thread-self", a pid). 0 where the kernel does not count it.
inline std::uint64_t run_delay_ns(const std::string& thread = "thread-self") {
  std::ifstream file("/proc/" + thread + "/schedstat");
  std::uint64_t ran = 0, delayed = 0;
  return file >> ran >> delayed ? delayed : 0;
}

} // namespace support
