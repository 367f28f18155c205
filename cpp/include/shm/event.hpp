// SPDX-License-Identifier: Apache-2.0
// Events: what happens to this process's use of a dict without its asking.
//
//   d.on_event([](const shm::event& e) { log(e.kind, e.pid); });
#pragma once

#include <shmdict/shmdict.h>

#include <cstdint>
#include <string_view>

#include "detail/namespace.hpp"

SHM_NAMESPACE_BEGIN

enum class event_kind : int {
  took_over = SHMD_EVENT_TOOK_OVER, // a lock, from a holder that died: pid, program; name: of a named lock
  recovered = SHMD_EVENT_RECOVERED, // what the dead one was writing was looked after; finished: it had been committed
  resync = SHMD_EVENT_RESYNC        // a follower fell behind buffer_size and has to begin from a snapshot
};

// Valid during the call.
struct event {
  event_kind kind;
  bool finished;
  std::int64_t pid; // of the dead, as it saw itself; 0 = unknown
  std::uint64_t position;
  std::string_view program;
  std::string_view name;
};

SHM_NAMESPACE_END
