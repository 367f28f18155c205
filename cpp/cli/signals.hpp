// SPDX-License-Identifier: Apache-2.0
// SIGINT, SIGTERM and SIGHUP ask a long command to end in order; while this lives they do nothing else.
#pragma once

namespace cli {

class stop_signals {
 public:
  stop_signals();
  ~stop_signals();
  stop_signals(const stop_signals&) = delete;
  stop_signals& operator=(const stop_signals&) = delete;

  bool arrived() const noexcept;
};

} // namespace cli
