// SPDX-License-Identifier: Apache-2.0
// One worker: a thread of one of the processes. All of them walk through the same schedule, with a barrier around each
// measurement; the first prints a JSON line for it.
#pragma once

#include "shared.hpp"

namespace bench {

// The body of worker process `process`: runs its threads to the end. Throws what went wrong.
void run_process(const config&, shared_state&, std::size_t process);

// The peers of a configuration; throws for an unknown name, or one that cannot be used by so many workers.
std::vector<peer> chosen(const config&);

const char* to_string(workload);
const char* to_string(key_kind);
const char* to_string(distribution_kind);

} // namespace bench
