// What a time limit must not count: how long a thread was kept from a processor although it could have run, and stalls.
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

// Whether one of up to `times` rounds was in time: a stall makes some of them late, what is broken all.
template <class Round>
bool once_in(int times, Round in_time) {
  while (times-- > 0)
    if (in_time()) return true;
  return false;
}

} // namespace support
