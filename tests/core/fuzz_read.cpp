// SPDX-License-Identifier: Apache-2.0
// Reads a whole object through every read call, and checks it, after edits that the input describes.
//
// Input: edits of 12 bytes each, {kind:8, place:24, operand:64}, little endian; a rest is ignored; at most 64 count. The
// place is an index into the words of a small valid object that hold something (hostile::Object::words), so that most
// mutations hit. Kinds: 0 store, 1 exclusive or, 2 add, 3 copy the word at place `operand`, 4 keep the word's high 16 bits
// and refer to place `operand`, 5 flip one bit, 6 keep the low half. Anything else: as kind 0.
// Guards: the checks of read.h before each offset is followed, those of snapshot.c, stream.c, paths.c and list.c, and the bound
// of every loop over shared links; inspection at attach (object.c). hostile_test.cpp does the same with an aim.
#include <memory>

#include "hostile.hpp"

namespace {

struct Target {
  hostile::Object object{support::unique_name("fuzz"), 220};
  hostile::Guards guards;
  shmd_dict* d = nullptr;

  ~Target() { (void)shmd_close(d); }
  void reopen() {
    (void)shmd_close(d);
    d = nullptr;
    auto o = hostile::options_of(SHMD_READ_ONLY);
    o.mode = SHMD_OPEN_ONLY;
    if (shmd_open(object.name().c_str(), &o, &d) < 0) d = nullptr;
  }
};

std::uint64_t word_at(const std::uint8_t* data, int bytes) {
  std::uint64_t word = 0;
  for (int i = bytes; i-- > 0;) word = word << 8 | data[i];
  return word;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto target = std::make_unique<Target>(); // removed at exit
  auto& object = target->object;
  if (target->d == nullptr) target->reopen();
  auto before = target->d != nullptr ? std::make_unique<hostile::Opened>(target->d) : nullptr;
  const auto& words = object.words();
  for (std::size_t n = 0; size >= 12 && n < 64; ++n, data += 12, size -= 12) {
    const std::uint64_t at = words[word_at(data + 1, 3) % words.size()], operand = word_at(data + 4, 8);
    const std::uint64_t word = object.load(at), other = words[operand % words.size()];
    switch (data[0] % 8) {
      case 1:
        object.store(at, word ^ operand);
        break;
      case 2:
        object.store(at, word + operand);
        break;
      case 3:
        object.store(at, object.load(other));
        break;
      case 4:
        object.store(at, (word & 0xffff000000000000u) | other);
        break;
      case 5:
        object.store(at, word ^ std::uint64_t{1} << (operand % 64));
        break;
      case 6:
        object.store(at, (word & 0xffffffffu) | operand << 32);
        break;
      default:
        object.store(at, operand);
    }
  }
  // The superblock is looked at when opening; the rest can change under an open handle.
  if (before) before->use();
  before.reset();
  if (target->d == nullptr || object.edited_superblock()) target->reopen();
  if (target->d != nullptr) hostile::read_everything(target->d);
  const bool again = object.edited_superblock();
  object.undo();
  if (again) target->reopen();
  return 0;
}
