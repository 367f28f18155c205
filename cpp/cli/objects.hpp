// SPDX-License-Identifier: Apache-2.0
// All dicts of this machine, seen from outside: nothing is attached to.
#pragma once

#include <shmdict/shmdict.h>

#include <string>
#include <vector>

namespace cli {

// Sorted by name.
std::vector<shmd_object_info> all_objects();
// Why an object cannot be looked into, in few words.
const char* reason_of(const shmd_object_info& o);
// Throws failure (no_dict).
shmd_object_info object_called(const std::string& name);

} // namespace cli
