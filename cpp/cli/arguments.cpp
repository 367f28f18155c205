// SPDX-License-Identifier: Apache-2.0
// The command line: which commands there are, what they take, what --help says. The only place that knows CLI11.
#include <CLI/CLI.hpp>

#include <functional>

#include <fmt/format.h>
#include <shmdict/version.h>

#include "commands.hpp"
#include "failure_of.hpp"
#include "output.hpp"

namespace cli {
namespace {

using action = std::function<int()>;

constexpr const char* footer =
    "A PATH is a JSON Pointer: '' is the whole dict, /a/b the entry b of a; ~1 stands for / and ~0 for ~ in a key.\n"
    "Exit codes: 0 done, 1 not found, 2 usage, 3 no such dict, 4 input refused, 5 busy, 6 permission, 7 no space,\n"
    "8 corrupt, 9 other. `man shmdict` has examples and everything else.";

// A command whose `run` gets a structure that the options fill.
template <class Arguments, class Result>
std::shared_ptr<Arguments> command(CLI::App& app, action& chosen, CLI::App*& sub, const char* name, const char* what,
                                   Result (*run)(const Arguments&)) {
  auto a = std::make_shared<Arguments>();
  sub = app.add_subcommand(name, what);
  sub->add_flag("--json", a->json, "JSON instead of text for people");
  sub->callback([&chosen, a, run] { chosen = [a, run] { return static_cast<int>(run(*a)); }; });
  return a;
}

void add_timeout(CLI::App* sub, common& a) {
  sub->add_option("--timeout", a.timeout, "how long to wait for the dict's lock, default 10")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 1e9));
}
void add_name(CLI::App* sub, std::string& name) {
  sub->add_option("NAME", name, "the dict")->required()->type_name("");
}
void add_path(CLI::App* sub, std::string& path, const char* what) {
  sub->add_option("PATH", path, what)->type_name("");
}
// CLI11 takes -1 for the largest number there is.
std::string not_negative(const std::string& text) {
  return text.find('-') == std::string::npos ? "" : fmt::format("{} is not a number from 0 on", text);
}
// Names and paths as they are, whatever is in them.
CLI::Option* add_zero(CLI::App* sub, bool& zero, const char* what) {
  return sub
      ->add_flag("-0,--null", zero, fmt::format("{} as it is, ended by a zero byte: for xargs -0 and scripts", what))
      ->excludes("--json");
}

void add_reading(CLI::App& app, action& chosen) {
  CLI::App* sub = nullptr;
  {
    auto a = command(app, chosen, sub, "get", "show a value, or a dict with all that is in it", run_get);
    add_name(sub, a->name);
    add_path(sub, a->path, "what to show, default all");
    sub->add_flag("-r,--raw", a->raw, "a string without quotes");
    sub->add_flag("--bytes", a->bytes, "the value's bytes as they are stored");
    sub->add_flag("--unsorted", a->unsorted, "in the order of storage: takes no memory for the keys");
  }
  {
    auto a = command(app, chosen, sub, "keys", "list the keys of a dict, as paths", run_keys);
    add_name(sub, a->name);
    add_path(sub, a->path, "of a nested dict");
    sub->add_flag("-l,--long", a->table, "a table with types, sizes and values");
    sub->add_flag("-R,--recursive", a->recursive, "those of nested dicts, too");
    add_zero(sub, a->zero, "each path")->excludes("--long");
    sub->add_option("-n,--limit", a->limit, "at most so many")->type_name("COUNT")->check(not_negative);
    sub->add_flag("--unsorted", a->unsorted, "in the order of storage: takes no memory for the keys");
  }
  {
    auto a = command(app, chosen, sub, "dump", "write a dict as JSON, as it is at one moment", run_dump);
    add_name(sub, a->name);
    add_path(sub, a->path, "of a nested dict");
    sub->add_flag("--compact", a->compact, "all on one line");
    sub->add_flag("--unsorted", a->unsorted, "in the order of storage: takes no memory for the keys");
  }
}

void add_writing(CLI::App& app, action& chosen) {
  CLI::App* sub = nullptr;
  {
    auto a = command(app, chosen, sub, "set", "store a value", run_set);
    add_name(sub, a->name);
    add_path(sub, a->path, "where; '' replaces everything");
    sub->get_option("PATH")->required();
    sub->add_option("JSON", a->value, "the value: 5, '\"text\"', '[1, 2]', '{\"a\": 1}'; - reads it from stdin")
        ->required()
        ->type_name("");
    sub->add_flag("-s,--string", a->text, "the value is text, not JSON");
    sub->add_flag("--merge", a->merge, "an object is merged with the dict that is there");
    add_timeout(sub, *a);
  }
  {
    auto a = command(app, chosen, sub, "del", "remove values and nested dicts", run_del);
    add_name(sub, a->name);
    sub->add_option("PATH", a->paths, "what to remove")->required()->type_name("");
    add_timeout(sub, *a);
  }
  {
    auto a = command(app, chosen, sub, "load", "fill a dict from a JSON file; creates it if there is none", run_load);
    add_name(sub, a->name);
    sub->add_option("FILE", a->file, "the file, - for stdin; all of it is checked before anything is changed")
        ->required()
        ->type_name("");
    sub->add_option("--at", a->at, "into this place, default the whole dict")->type_name("PATH");
    sub->add_flag("--merge", a->merge, "keep what is there and not in the file");
    sub->add_flag("--batches", a->batches, "as --merge, in several commits: for files too large for one");
    add_timeout(sub, *a);
  }
}

void add_looking_after(CLI::App& app, action& chosen) {
  CLI::App* sub = nullptr;
  {
    auto a = command(app, chosen, sub, "ls", "list all dicts: keys, memory, processes, locks, orphans", run_ls);
    sub->add_flag("--names", a->names, "names only, one a line");
    add_zero(sub, a->zero, "names only, each");
    sub->add_flag("--orphans", a->orphans, "only those that nobody uses and whose policy asks for unlinking");
  }
  {
    auto a = command(app, chosen, sub, "stat", "show a dict's figures", run_stat);
    sub->add_option("NAME", a->names, "the dicts, default all")->type_name("");
    sub->add_flag("--prometheus", a->prometheus, "in Prometheus' text format")->excludes("--json");
  }
  {
    auto a = command(app, chosen, sub, "check", "walk over every byte of a dict and say what is wrong", run_check);
    sub->add_option("NAME", a->names, "the dicts")->required()->type_name("");
    sub->add_flag("--no-lock", a->no_lock, "do not stop writers meanwhile; they may then look like damage");
    add_timeout(sub, *a);
  }
}

void add_live(CLI::App& app, action& chosen) {
  CLI::App* sub = nullptr;
  {
    auto a = command(app, chosen, sub, "watch", "print changes as they happen, a JSON line each", run_watch);
    add_name(sub, a->name);
    add_path(sub, a->path, "of a value or nested dict, default everything");
    sub->add_option("--since", a->since, "begin at a position: \"next\" of an earlier line, or of `stat`, default now")
        ->type_name("POSITION")
        ->check(not_negative);
    sub->add_option("-n,--count", a->count, "end after so many changes")->type_name("COUNT")->check(not_negative);
  }
  {
    auto a = command(app, chosen, sub, "top", "a live view: writes, memory, locks, followers of all dicts", run_top);
    sub->add_option("NAME", a->names, "the dicts, default all")->type_name("");
    sub->add_option("-d,--delay", a->interval, "between looks, default 1")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.05, 1e6));
    sub->add_option("-n,--count", a->count, "end after so many looks")->type_name("COUNT")->check(not_negative);
  }
}

void add_keeping(CLI::App& app, action& chosen) {
  CLI::App* sub = nullptr;
  {
    auto a = command(app, chosen, sub, "lock", "run a command under a named lock of the dict, as flock does", run_lock);
    add_name(sub, a->name);
    sub->add_option("LOCKNAME", a->lock, "the lock; any name will do")
        ->required()
        ->type_name("")
        ->check([](const std::string& name) { return name.empty() ? "a lock needs a name that is not empty" : ""; });
    sub->add_option("COMMAND", a->command, "what to run, behind --")->required()->type_name("");
    sub->add_option("--timeout", a->timeout, "how long to wait for the lock, default: for ever")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.0, 1e9));
    a->timeout = -1;
  }
  {
    auto a = command(app, chosen, sub, "unlink", "remove dicts; who has them open keeps them", run_unlink);
    sub->add_option("NAME", a->names, "the dicts")->type_name("");
    sub->add_flag("--orphans", a->orphans, "all orphans");
    sub->add_flag("-y,--yes", a->yes, "do not ask");
  }
  {
    auto a =
        command(app, chosen, sub, "backup", "write a dict to a binary file or a pipe, while it is in use", run_backup);
    add_name(sub, a->name);
    sub->add_option("FILE", a->file, "the file, replaced if it is there; - for stdout")->required()->type_name("");
  }
  {
    auto a = command(app, chosen, sub, "restore", "make a new dict from a backup", run_restore);
    sub->add_option("FILE", a->file, "the backup, - for stdin")->required()->type_name("");
    sub->add_option("NAME", a->name, "of the new dict")->required()->type_name("");
  }
  {
    auto a = command(app, chosen, sub, "bench", "measure what this machine does with a dict", run_bench);
    sub->add_option("--seconds", a->seconds, "how long, default 10")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.1, 3600.0));
  }
}

int usage_error(const CLI::App& app, const CLI::ParseError& e, const std::string& first) {
  std::string command = "shmdict";
  if (app.get_subcommands().empty() && first.substr(0, 1) != "-") {
    note(fmt::format("there is no command '{}': `shmdict --help` shows all", first));
    return static_cast<int>(exit_code::usage);
  }
  for (const auto* sub : app.get_subcommands()) command += " " + sub->get_name();
  std::string what = e.what();
  for (char& c : what)
    if (c == '\n') c = ' ';
  note(fmt::format("{}: `{} --help` shows how to use it", what, command));
  return static_cast<int>(exit_code::usage);
}

int carry_out(const action& chosen) {
  try {
    const int code = chosen();
    flush_output();
    return code;
  } catch (const pipe_closed&) {
    return static_cast<int>(exit_code::pipe_closed);
  } catch (const std::exception& e) {
    std::fflush(stdout);
    const auto f = failure_of(e);
    note(f.what());
    return static_cast<int>(f.code());
  }
}

} // namespace

int run(int argc, char** argv) {
  CLI::App app("Looks at dicts in shared memory and changes them.", "shmdict");
  action chosen;
  app.set_version_flag("--version", fmt::format("shmdict {}.{}.{}", SHMDICT_VERSION_MAJOR, SHMDICT_VERSION_MINOR,
                                                SHMDICT_VERSION_PATCH));
  app.require_subcommand(1);
  app.footer(footer);
  add_reading(app, chosen);
  add_writing(app, chosen);
  add_looking_after(app, chosen);
  add_live(app, chosen);
  add_keeping(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return carry_out([&] { return print(app.help()), 0; }); // of the command that was named, if one was
  } catch (const CLI::CallForVersion& e) {
    return carry_out([&] { return print(std::string(e.what()) + "\n"), 0; });
  } catch (const CLI::ParseError& e) {
    if (argc == 1) {
      return carry_out([&] { return print(app.help()), static_cast<int>(exit_code::usage); });
    }
    return usage_error(app, e, argv[1]);
  }
  return carry_out(chosen);
}

} // namespace cli
