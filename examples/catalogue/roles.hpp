// SPDX-License-Identifier: Apache-2.0
// What the started programs do. Each opens the catalogue by its name and works until it is told to stop.
#pragma once

#include <string>

#include "catalogue.hpp"

namespace demo {

// Looks up random entries, checks the answers, counts the hits; checks pairs in snapshots.
void work(const std::string& dict_name, const iso_codes& codes);
// Edits one pair after the other, both entries of it at once.
void edit_all(const std::string& dict_name, const iso_codes& codes);

} // namespace demo
