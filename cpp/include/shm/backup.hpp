// SPDX-License-Identifier: Apache-2.0
// shm::restore: a dict from a file that d.backup(path) wrote.
//
//   d.backup("/var/backups/hits.shm");                     // a consistent snapshot; writers go on
//   shm::restore("/var/backups/hits.shm", "hits.again");   // a new dict, visible whole or not at all
#pragma once

#include <string>

#include "options.hpp"

SHM_NAMESPACE_BEGIN

// Makes the dict `name` of the backup at `path`: types, nested dicts, and sizes that the options leave open are the
// backup's. Unlike a dict that is opened it stays when nobody has it open (options::unlink counts once somebody opens and
// closes it), and shm::list() does not call it an orphan: so open it, or unlink it.
// Errors: already_exists, permission_denied; no_space, too_many_dicts, value_too_long, invalid_argument (if options::max_size
// is too small they name a size that would do); system (no such file); of a file that is no whole backup:
// foreign_object, incomplete_object, corrupt, layout_mismatch.
inline void restore(const std::string& path, const std::string& name, const options& o = {}) {
  detail::check_name(name);
  detail::check_name(path);
  detail::check(shmd_restore(path.c_str(), name.c_str(), &o.native(), nullptr));
}

SHM_NAMESPACE_END
