// SPDX-License-Identifier: Apache-2.0
// What is wrong with the place where dicts live, or with the system, is said, and what to do about it: by the library, and so by
// the command. Each test has a /dev/shm of its own to spoil.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "shell.hpp"
#include "shm/json.hpp"
#include "support/catch.hpp"

using support::contains;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

constexpr const char* forbidden = "mount namespaces are forbidden here";

shm::options kept() { return shm::options{}.max_size(std::size_t{64} << 20).unlink(shm::never); }

// A file system over a directory for the length of a scope; other processes do not see it.
class Over {
 public:
  Over(const char* directory, const char* options) : directory_(directory) {
    there_ = mount("shmdict-test", directory, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
  }
  ~Over() {
    if (there_) umount2(directory_, MNT_DETACH);
  }
  Over(const Over&) = delete;
  Over& operator=(const Over&) = delete;
  bool there() const { return there_; }

 private:
  const char* directory_;
  bool there_;
};

void says(const std::string& text, const std::vector<std::string>& parts) {
  for (const auto& part : parts) CHECK_THAT(text, contains(part));
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing was thrown";
}

} // namespace

TEST_CASE("a missing place of dicts is not a missing dict") {
  if (!shell::alone) SHMDICT_SKIP(forbidden);
  const support::Name name("place");
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  const Over nothing("/dev", "mode=755,size=1m"); // no /dev/shm, no /dev/null either
  REQUIRE(nothing.there());
  const std::vector<std::string> named{"/dev/shm, where dicts live, is missing", "mount -t tmpfs"};
  for (const shell::words& line : std::vector<shell::words>{{"get", name},
                                                            {"set", name, "/b", "1"},
                                                            {"ls"},
                                                            {"stat", name},
                                                            {"unlink", "-y", name},
                                                            {"check", name},
                                                            {"watch", name}}) {
    INFO(line[0]);
    const auto r = shell::shmdict(line);
    CHECK(r.code == 9);
    says(r.err, named);
    CHECK(r.err.find("no dict") == std::string::npos);
  }
  says(shell::shmdict({"load", name, "-"}, "{}").err, named);
  says(message_of([&] { shm::json_dict d(shm::open_only, name); }), named);
  says(message_of([&] { shm::json_dict d(std::string(name), kept()); }), named);
  says(message_of([&] { shm::unlink(name); }), named);
}

TEST_CASE("a read-only place of dicts is named") {
  if (!shell::alone) SHMDICT_SKIP(forbidden);
  const support::Name name("place");
  const Over place("/dev/shm", "mode=1777,size=16m");
  REQUIRE(place.there());
  { shm::json_dict d{name, {{"a", 1}}, kept()}; }
  REQUIRE(mount(nullptr, "/dev/shm", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) == 0);
  const std::vector<std::string> named{"/dev/shm, where dicts live, is mounted read-only", "remount,rw"};
  const auto r = shell::shmdict({"load", "new.dict", "-"}, "{}");
  CHECK(r.code == 6);
  says(r.err, named);
  says(shell::shmdict({"set", name, "/a", "2"}).err, named);
  says(shell::shmdict({"unlink", "-y", name}).err, named);
  says(message_of([&] { shm::json_dict d("new.dict", kept()); }), named);
  CHECK(shell::shmdict({"get", name, "/a"}).out == "1\n"); // reading needs no more than that
}

TEST_CASE("a full place of dicts is named, and how to enlarge it") {
  if (!shell::alone) SHMDICT_SKIP(forbidden);
  const support::Name name("place");
  const Over place("/dev/shm", "mode=1777,size=4m");
  REQUIRE(place.there());
  const std::vector<std::string> named{"/dev/shm, where dicts live, is full, all 4 MiB",
                                       "remount,size=", "--shm-size="};
  shm::dict<std::string, std::string> d{name, kept()};
  says(message_of([&] {
         for (int i = 0; i < 1000; ++i) d[std::to_string(i)] = std::string(10'000, 'x');
       }),
       named);
  const auto r = shell::shmdict({"load", "new.dict", "-"}, "{}");
  CHECK(r.code == 7);
  says(r.err, named);
  CHECK(d.contains("0"));

  CHECK(message_of([&] { d.backup("/dev/full/no"); }).find("where dicts live") == std::string::npos);
}

TEST_CASE("a place of dicts that a user may not write to is named") {
  if (!shell::alone || geteuid() != 0) SHMDICT_SKIP("only root can become somebody else");
  const Over place("/dev/shm", "mode=755,size=16m");
  REQUIRE(place.there());
  support::Child other([&] {
    if (setgid(65534) != 0 || setuid(65534) != 0) return 3;
    const auto text = message_of([&] { shm::json_dict d("new.dict", kept()); });
    std::fprintf(stderr, "%s\n", text.c_str());
    return text.find("/dev/shm, where dicts live, does not let this user in") != std::string::npos ? 0 : 1;
  });
  CHECK(other.join() == 0);
}

// As in a sandbox that leaves them out.
TEST_CASE("a system without locks of open file descriptions is named") {
  const support::Name name("place");
  support::Child child([&] {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, F_OFD_GETLK, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, F_OFD_SETLKW, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{sizeof program / sizeof program[0], program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
      return 77;
    const auto text = message_of([&] { shm::json_dict d(std::string(name), kept()); });
    std::fprintf(stderr, "%s\n", text.c_str());
    return text.find("no locks of open file descriptions") != std::string::npos &&
                   text.find("gVisor") != std::string::npos
               ? 0
               : 1;
  });
  const int code = child.join();
  if (code == 77) SHMDICT_SKIP("no seccomp here");
  CHECK(code == 0);
  CHECK_FALSE(name.exists());
}

TEST_CASE("limits of a process are named as the shell names them") {
  if (sanitized) SHMDICT_SKIP("sanitizers need descriptors and addresses of their own, and make mlockall() do nothing");
  const support::Name name("place");
  const auto failing = [&](auto limit, const char* expected) {
    support::Child child([&] {
      limit();
      const auto text =
          message_of([&] { shm::json_dict d(std::string(name), shm::options{}.max_size(std::size_t{1} << 36)); });
      std::fprintf(stderr, "%s\n", text.c_str());
      return text.find(expected) != std::string::npos && text.find(name) != std::string::npos ? 0 : 1;
    });
    return child.join();
  };
  CHECK(failing(
            [] {
              const rlimit few{5, 5};
              setrlimit(RLIMIT_NOFILE, &few);
              while (open("/", O_PATH | O_CLOEXEC) >= 0) {
              }
            },
            "`ulimit -n`") == 0);
  CHECK(failing(
            [] {
              const rlimit little{std::size_t{4} << 30, std::size_t{4} << 30};
              setrlimit(RLIMIT_AS, &little);
            },
            "`ulimit -v`") == 0);
  CHECK(failing(
            [] {
              const rlimit much{std::size_t{1} << 30, std::size_t{1} << 30};
              setrlimit(RLIMIT_MEMLOCK, &much);
              if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(3);
              if (mlockall(MCL_FUTURE) != 0) _exit(0); // not so much as that
            },
            "`ulimit -l`") == 0);
}
