// SPDX-License-Identifier: Apache-2.0
// The commands. arguments.cpp fills in what was asked for; what each does and its exit codes is in shmdict.1.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "exit_code.hpp"

namespace cli {

struct common {
  bool json = false;
  double timeout = 10; // seconds to wait for the lock
};

struct get_arguments : common {
  std::string name, path;
  bool raw = false, bytes = false, unsorted = false;
};
exit_code run_get(const get_arguments& a);

struct set_arguments : common {
  std::string name, path, value;
  bool text = false, merge = false;
};
exit_code run_set(const set_arguments& a);

struct del_arguments : common {
  std::string name;
  std::vector<std::string> paths;
};
exit_code run_del(const del_arguments& a);

struct keys_arguments : common {
  std::string name, path;
  bool table = false, recursive = false, unsorted = false, zero = false;
  std::uint64_t limit = UINT64_MAX;
};
exit_code run_keys(const keys_arguments& a);

struct load_arguments : common {
  std::string name, file, at;
  bool merge = false, batches = false;
};
exit_code run_load(const load_arguments& a);

struct dump_arguments : common {
  std::string name, path;
  bool compact = false, unsorted = false;
};
exit_code run_dump(const dump_arguments& a);

struct list_arguments : common {
  bool names = false, orphans = false, zero = false;
};
exit_code run_ls(const list_arguments& a);

struct stat_arguments : common {
  std::vector<std::string> names; // empty: all
  bool prometheus = false;
};
exit_code run_stat(const stat_arguments& a);

struct check_arguments : common {
  std::vector<std::string> names;
  bool no_lock = false;
};
exit_code run_check(const check_arguments& a);

struct unlink_arguments : common {
  std::vector<std::string> names;
  bool orphans = false, yes = false;
};
exit_code run_unlink(const unlink_arguments& a);

struct watch_arguments : common {
  std::string name, path;
  std::uint64_t since = UINT64_MAX; // position; UINT64_MAX = now
  std::uint64_t count = UINT64_MAX;
};
exit_code run_watch(const watch_arguments& a);

struct top_arguments : common {
  std::vector<std::string> names; // empty: all
  double interval = 1;
  std::uint64_t count = UINT64_MAX;
};
exit_code run_top(const top_arguments& a);

struct lock_arguments : common {
  std::string name, lock;
  std::vector<std::string> command;
};
// The command's own exit code, or one of lock_timeout ... no_command; 128 + the signal that killed it.
int run_lock(const lock_arguments& a);

struct backup_arguments : common {
  std::string name, file;
};
exit_code run_backup(const backup_arguments& a);
exit_code run_restore(const backup_arguments& a);

struct bench_arguments : common {
  double seconds = 10;
};
exit_code run_bench(const bench_arguments& a);

// One of exit_code, or a command's own. Prints errors.
int run(int argc, char** argv);

} // namespace cli
