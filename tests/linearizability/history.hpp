// SPDX-License-Identifier: Apache-2.0
// Histories: who called what when, and what it returned. The recorder writes them, checker/ reads them.
//
// A record lies in memory that the parent and all its children share. A client fills it in before the call and completes it
// after the return; if it is killed in between the record stays as it is, and the operation is *pending*: it may have
// happened, or not, or happen yet. As text, one line a record:
//
//   round 7 k0=12 g1.2=5            a round begins; keys that are not named are absent
//   3 100 250 get k0 = 12           client, called at, returned at (ns), operation, key, arguments, = result
//   3 300 - put k0 13               pending: returned at "-", and no results
//   4 310 400 add g1.0 5 = 5 ; get g1.2 = -     a transaction or a snapshot: several steps that happen at one moment
//   4 410 500 put g1.0 8 ; abort    an aborted one: what it read counts, what it wrote does not
//   end 6                           the round's number of operations
// "-" as a value is an absent key. Keys of one group ("g1.") may occur in one record, others not.
#pragma once

#include <array>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace history {

using Value = std::int64_t;
constexpr Value absent = std::numeric_limits<Value>::min();

enum class Op : std::uint8_t {
  get,     // = value
  put,     // value
  insert,  // value = 1 if the key was absent; else nothing changes, 0
  replace, // value = 1 if the key was there; else nothing changes, 0
  erase,   // = 1 if the key was there, else 0
  take,    // erases = the value that was there
  add,     // n = the new value; an absent key counts as 0
  affine,  // n = the new value, (3 * old + n) mod 1000003; an absent key counts as 0
  toggle,  // value = the new value: an absent key gets it, a present one is erased
  cas,     // expected desired = the value that was there; stores `desired` if that is `expected`
  drop     // erases the nested dict of the key's group, and so all keys in it
};
constexpr std::array<std::string_view, 11> op_names = {"get", "put",    "insert", "replace", "erase", "take",
                                                       "add", "affine", "toggle", "cas",     "drop"};
constexpr Value affine_modulus = 1000003;

struct Step {
  Op op = Op::get;
  std::uint8_t key = 0;
  Value first = 0, second = 0; // arguments
  Value result = 0;
};

constexpr std::size_t most_steps = 6;

struct Record {
  std::atomic<std::uint64_t> called, returned; // 0: not yet
  std::uint8_t count;
  bool aborted;
  std::array<Step, most_steps> step;
};

// ---- text ---------------------------------------------------------------------------------------------------------------

class Writer {
 public:
  explicit Writer(std::FILE* out) : out_(out) {}

  template <class Name>
  void round(std::uint64_t number, const std::vector<Value>& values, Name name) {
    text("round ");
    integer(static_cast<Value>(number));
    for (std::size_t k = 0; k < values.size(); ++k) {
      if (values[k] == absent) continue;
      text(" ");
      text(name(k));
      text("=");
      integer(values[k]);
    }
    text("\n");
    records_ = 0;
  }
  // Times count from `start`.
  template <class Name>
  void record(std::size_t client, const Record& r, std::uint64_t start, Name name) {
    const std::uint64_t returned = r.returned.load(std::memory_order_acquire);
    integer(static_cast<Value>(client));
    text(" ");
    integer(static_cast<Value>(r.called.load(std::memory_order_relaxed) - start));
    text(" ");
    value(returned == 0 ? absent : static_cast<Value>(returned - start));
    for (std::size_t i = 0; i < r.count; ++i) {
      if (i != 0) text(" ;");
      step(r.step[i], returned != 0, name);
    }
    text(r.aborted ? " ; abort\n" : "\n");
    ++records_;
  }
  void end() {
    text("end ");
    integer(static_cast<Value>(records_));
    text("\n");
    std::fwrite(buffer_.data(), 1, buffer_.size(), out_);
    buffer_.clear();
  }

 private:
  template <class Name>
  void step(const Step& s, bool returned, Name name) {
    text(" ");
    text(op_names[static_cast<std::size_t>(s.op)]);
    text(" ");
    text(name(s.key));
    const bool reads = s.op == Op::get || s.op == Op::erase || s.op == Op::take || s.op == Op::drop;
    if (!reads) {
      text(" ");
      value(s.first);
    }
    if (s.op == Op::cas) {
      text(" ");
      value(s.second);
    }
    if (!returned || s.op == Op::put || s.op == Op::drop) return;
    text(" = ");
    value(s.result);
  }
  void value(Value v) { v == absent ? text("-") : integer(v); }
  void integer(Value v) {
    char digits[24];
    buffer_.append(digits, std::to_chars(digits, digits + sizeof digits, v).ptr);
  }
  void text(std::string_view t) { buffer_.append(t); }

  std::FILE* out_;
  std::string buffer_;
  std::uint64_t records_ = 0;
};

} // namespace history
