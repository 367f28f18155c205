// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "state.hpp"

namespace prefork {

// Serves HTTP on 127.0.0.1:`port`, which other processes share, until SIGTERM comes, which must be blocked. Returns the
// process's exit code.
//
//   POST /login     the body is a name: a session, in a cookie       GET /metrics  all counters, for Prometheus
//   GET /           greets the session's user and counts visits      GET /about    needs no session
// A client (header X-Client, else the address) beyond its rate gets 429. /metrics is neither counted nor limited.
int serve(state& s, std::uint32_t number, int port);

} // namespace prefork
