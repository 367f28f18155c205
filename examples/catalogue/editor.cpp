// SPDX-License-Identifier: Apache-2.0
#include "process.hpp"
#include "roles.hpp"

namespace demo {

void edit_all(const std::string& dict_name, const iso_codes& codes) {
  dict catalogue{shm::open_only, dict_name};
  tell(kind::ready);
  for (std::size_t i = 0; next_order() != order::stop; ++i) {
    catalogue.transact([&](transaction& tx) { edit(tx, codes, codes.pairs[i % codes.pairs.size()]); });
    tell(kind::edits, 1);
  }
}

} // namespace demo
