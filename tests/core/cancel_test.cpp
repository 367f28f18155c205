// SPDX-License-Identifier: Apache-2.0
// A thread that is cancelled takes nothing of the library's with it.
#include <pthread.h>
#include <shmdict/shmdict.h>
#include <unistd.h>

#include <functional>

#include "support/catch.hpp"
#include "support/dict.hpp"

using support::unique_name;

namespace {

// Runs a call in a thread for which a cancellation is pending.
class Cancelled {
 public:
  explicit Cancelled(std::function<void()> call) : call_(std::move(call)) {
    pthread_t thread;
    REQUIRE(pthread_create(&thread, nullptr, run, this) == 0);
    void* result = nullptr;
    REQUIRE(pthread_join(thread, &result) == 0);
    ended_ = result == PTHREAD_CANCELED;
  }
  bool returned() const { return returned_; } // the call was not cut short
  bool ended() const { return ended_; }       // the thread was cancelled, then

 private:
  static void* run(void* self) {
    auto* c = static_cast<Cancelled*>(self);
    pthread_cancel(pthread_self());
    c->call_();
    c->returned_ = true;
    pthread_testcancel();
    return nullptr;
  }
  std::function<void()> call_;
  bool returned_ = false, ended_ = false;
};

struct Call {
  const char* what;
  std::function<void(shmd_dict*)> call;
};

const std::vector<Call> calls = {
    {"open and close",
     [](shmd_dict*) {
       shmd_options o = support::small_options();
       shmd_dict* d = nullptr;
       shmd_open(unique_name("cancel").c_str(), &o, &d);
       shmd_close(d);
     }},
    {"open of one that is there",
     [](shmd_dict* other) {
       shmd_dict* d = nullptr;
       shmd_open(shmd_name(other), nullptr, &d);
       shmd_close(d);
     }},
    {"unlink", [](shmd_dict*) { shmd_unlink(unique_name("cancel").c_str()); }},
    {"unlink_this",
     [](shmd_dict*) {
       shmd_options o = support::small_options();
       shmd_dict* d = nullptr;
       shmd_open(unique_name("cancel").c_str(), &o, &d);
       shmd_unlink_this(d);
       shmd_close(d);
     }},
    {"list", [](shmd_dict*) { shmd_list([](void*, const shmd_object_info*) { return 0; }, nullptr); }},
    {"stat",
     [](shmd_dict* d) {
       shmd_stats s;
       shmd_stat(d, &s);
     }},
    {"check", [](shmd_dict* d) { shmd_check(d, nullptr, nullptr); }},
    {"compact", [](shmd_dict* d) { shmd_compact(d); }},
    {"a snapshot",
     [](shmd_dict* d) {
       shmd_snapshot* s = nullptr;
       shmd_snapshot_open(d, &s);
       shmd_snapshot_close(s);
     }},
    {"a follower's descriptor",
     [](shmd_dict* d) {
       shmd_follower* f = nullptr;
       shmd_follow_open(d, SHMD_NOW, &f);
       shmd_follow_fd(f);
       shmd_follow_close(f);
     }},
    {"a named lock",
     [](shmd_dict* d) {
       shmd_named_lock(d, "n", SHMD_DEFAULT_TIMEOUT);
       shmd_named_unlock(d, "n");
     }},
    {"a transaction",
     [](shmd_dict* d) {
       shmd_begin(d, SHMD_DEFAULT_TIMEOUT);
       shmd_put(d, shmd_root(), "k", 1, "v", 1, 0);
       shmd_commit(d);
     }},
    {"backup and restore",
     [](shmd_dict* d) {
       const std::string path = "/tmp/" + unique_name("cancel");
       shmd_dict* copy = nullptr;
       shmd_backup(d, path.c_str());
       shmd_restore(path.c_str(), nullptr, nullptr, &copy);
       shmd_close(copy);
       unlink(path.c_str());
     }},
};

int wait_to_be_cancelled(void*, const void*, std::size_t, const void** value, std::size_t* size) {
  pthread_testcancel();
  *value = "new";
  *size = 3;
  return SHMD_OK;
}

} // namespace

TEST_CASE("a call that a cancelled thread is in goes on to its end", "[cancel]") {
  const Call& call = calls[GENERATE(range(std::size_t{0}, std::size_t{13}))];
  CAPTURE(call.what);
  support::Dict d(unique_name("cancel"));
  d.put("k", "v");
  const Cancelled thread([&] { call.call(d); });
  REQUIRE(thread.returned());
  CHECK(thread.ended());
  // and nothing is locked
  support::Dict another(unique_name("cancel"));
  another.put("k", "v");
  d.put("k", "w");
  CHECK(d.get("k") == "w");
}

TEST_CASE("a thread that is cancelled in an update's callback changes nothing and gives the lock back", "[cancel]") {
  support::Dict d(unique_name("cancel"));
  d.put("k", "old");
  const Cancelled thread([&] { shmd_update(d, shmd_root(), "k", 1, wait_to_be_cancelled, nullptr); });
  CHECK(!thread.returned());
  CHECK(thread.ended());
  CHECK(d.get("k") == "old");
  d.put("k", "newer");
  CHECK(d.get("k") == "newer");
}

TEST_CASE("a creator's callback runs with cancelling put off", "[cancel]") {
  shmd_options o = support::small_options();
  o.init = [](shmd_dict* d, void*) {
    pthread_testcancel();
    return shmd_put(d, shmd_root(), "k", 1, "v", 1, 0);
  };
  const std::string name = unique_name("cancel");
  shmd_dict* d = nullptr;
  const Cancelled thread([&] { shmd_open(name.c_str(), &o, &d); });
  CHECK(thread.returned());
  CHECK(thread.ended());
  REQUIRE(d != nullptr);
  CHECK(shmd_contains(d, shmd_root(), "k", 1) == 0);
  CHECK(shmd_close(d) == 0);
}
