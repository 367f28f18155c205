// For what must be in time, on machines that may stall at any moment.
#pragma once

namespace support {

// Whether one of up to `times` rounds was in time: a stall makes some of them late, what is broken all.
template <class Round>
bool once_in(int times, Round in_time) {
  while (times-- > 0)
    if (in_time()) return true;
  return false;
}

} // namespace support
