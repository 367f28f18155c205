// SPDX-License-Identifier: Apache-2.0
// For what must be in time, on machines that may stall at any moment, and for what must end.
#pragma once

namespace support {

// Whether one of up to `times` rounds was in time: a stall makes some of them late, what is broken all.
template <class Round>
bool once_in(int times, Round in_time) {
  while (times-- > 0)
    if (in_time()) return true;
  return false;
}

// One of those who do something: one less at the end of the scope, whatever ends it, for whoever goes on until none is left.
template <class Count>
class OneOf {
 public:
  explicit OneOf(Count& count) : count_(count) {}
  ~OneOf() { --count_; }
  OneOf(const OneOf&) = delete;
  OneOf& operator=(const OneOf&) = delete;

 private:
  Count& count_;
};

} // namespace support
