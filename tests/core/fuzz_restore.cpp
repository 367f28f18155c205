// SPDX-License-Identifier: Apache-2.0
// Restores whatever bytes come, and checks the dict if one comes of it.
//
// Input: one byte, then a backup. If the byte is odd, the checksums of its blocks are made right first, as somebody with bad
// intentions would, so that what is behind them is reached. Guards: every length and kind in archive.c and restore.c is compared
// with what there can be. tests/multiprocess/backup_stream_test.cpp does the same with an aim.
#include <shmdict/read.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "support/dict.hpp"

namespace {

struct Bytes {
  std::string all;
  std::size_t at = 0;

  static int read(void* context, void* to, std::size_t size) {
    auto& b = *static_cast<Bytes*>(context);
    const std::size_t n = std::min(size, b.all.size() - b.at);
    std::memcpy(to, b.all.data() + b.at, n);
    b.at += n;
    return static_cast<int>(n);
  }
  std::uint64_t number(std::size_t where, std::size_t bytes) const {
    std::uint64_t value = 0;
    for (std::size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(all[where + i]);
    return value;
  }
  void seal() {
    if (all.size() < 16) return;
    std::uint64_t seed = shmd_hash_bytes(0, all.data(), 16);
    for (std::size_t where = 16, block = 0; all.size() - where >= 16; ++block) {
      const std::size_t size = number(where + 8, 4);
      if (size > all.size() - where - 16) return;
      const std::uint64_t sum = shmd_hash_bytes(seed, all.data() + where + 8, size + 8);
      for (std::size_t i = 0; i < 8; ++i) all[where + i] = static_cast<char>(sum >> (8 * i));
      seed = block == 0 && size >= 12 ? number(where + 20, 8) : seed + 1;
      where += 16 + size;
    }
  }
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string name = support::unique_name("fuzz.restore");
  if (size == 0) return 0;
  Bytes bytes{{reinterpret_cast<const char*>(data + 1), size - 1}};
  if ((data[0] & 1) != 0) bytes.seal();
  auto o = support::small_options(); // whatever size the backup asks for
  o.unlink = SHMD_UNLINK_LAST_CLOSES;
  shmd_dict* d = nullptr;
  const int result = shmd_restore_from(Bytes::read, &bytes, name.c_str(), &o, &d);
  if (result >= 0 && (d == nullptr || shmd_check(d, nullptr, nullptr) != 0)) std::abort();
  if (result < 0 && (d != nullptr || shmd_last_error()->code != result)) std::abort();
  if (shmd_close(d) < 0 || shmd_unlink(name.c_str()) != SHMD_ERR_NO_SUCH_DICT) std::abort();
  return 0;
}
