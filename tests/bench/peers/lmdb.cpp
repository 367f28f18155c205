// SPDX-License-Identifier: Apache-2.0
// LMDB on tmpfs, MDB_NOSYNC | MDB_WRITEMAP: a read transaction renewed per get, one commit per put. Integer keys as
// MDB_INTEGERKEY; two levels as one longer key.
#include <lmdb.h>
#include <unistd.h>

#include <map>
#include <thread>

#include "bytes.hpp"

namespace bench {
namespace {

void must(int result) {
  if (result != MDB_SUCCESS) throw std::runtime_error(std::string("lmdb: ") + mdb_strerror(result));
}

template <class K, class V>
class lmdb {
 public:
  static constexpr const char* name = "lmdb";
  static constexpr bool shared = true, threads = false;
  static void remove(const config& c) {
    unlink(file(c).c_str());
    unlink((file(c) + "-lock").c_str());
  }

  lmdb(const config& c, role r) {
    must(mdb_env_create(&env_));
    // Sparse; a key and value of two pages each at most, and pages that wait for reuse.
    must(mdb_env_set_mapsize(env_,
                             (std::size_t{1} << 30U) + (c.keys + 200000 * c.workers()) * (512 + 4 * c.value_bytes)));
    must(mdb_env_open(env_, file(c).c_str(), MDB_NOSUBDIR | MDB_NOSYNC | MDB_WRITEMAP, 0600));
    MDB_txn* txn = nullptr;
    must(mdb_txn_begin(env_, nullptr, 0, &txn));
    const unsigned integer = std::is_same_v<K, std::int64_t> ? MDB_INTEGERKEY : 0U;
    must(mdb_dbi_open(txn, nullptr, (r == role::create ? MDB_CREATE : 0U) | integer, &dbi_));
    must(mdb_txn_commit(txn));
  }
  lmdb(const lmdb&) = delete;
  lmdb& operator=(const lmdb&) = delete;
  ~lmdb() {
    if (reader_ != nullptr) mdb_txn_abort(reader_);
    mdb_env_close(env_);
  }

  std::optional<V> get(argument_t<K> key) {
    const read_transaction txn(*this);
    MDB_val found;
    return look_up(key, found) ? std::optional<V>(value_of<V>(found.mv_data, found.mv_size)) : std::nullopt;
  }
  bool view(argument_t<K> key, std::uint64_t& sum) requires std::is_same_v<V, std::string> {
    const read_transaction txn(*this);
    MDB_val found;
    if (!look_up(key, found)) return false;
    sum += digest(std::string_view(static_cast<const char*>(found.mv_data), found.mv_size));
    return true;
  }
  void put(argument_t<K> key, const V& value) {
    MDB_txn* txn = nullptr;
    must(mdb_txn_begin(env_, nullptr, 0, &txn));
    store(txn, key, value);
    must(mdb_txn_commit(txn));
  }
  void transact(const K* keys, std::size_t count, values<V>& v) {
    MDB_txn* txn = nullptr;
    must(mdb_txn_begin(env_, nullptr, 0, &txn));
    for (std::size_t i = 0; i < count; ++i) store(txn, pass(keys[i]), v.next());
    must(mdb_txn_commit(txn));
  }
  void update(const K* keys, std::size_t count, values<V>& v) { transact(keys, count, v); } // it has no other way
  void add(argument_t<K> key) requires std::is_same_v<V, std::int64_t> {
    MDB_txn* txn = nullptr;
    must(mdb_txn_begin(env_, nullptr, 0, &txn));
    const key_bytes bytes(key);
    MDB_val k = of(bytes.view());
    MDB_val found;
    must(mdb_get(txn, dbi_, &k, &found));
    store(txn, key, value_of<V>(found.mv_data, found.mv_size) + 1);
    must(mdb_txn_commit(txn));
  }
  bool erase(argument_t<K> key) {
    MDB_txn* txn = nullptr;
    must(mdb_txn_begin(env_, nullptr, 0, &txn));
    const key_bytes bytes(key);
    MDB_val k = of(bytes.view());
    const int result = mdb_del(txn, dbi_, &k, nullptr);
    must(mdb_txn_commit(txn));
    return result == MDB_SUCCESS;
  }
  void load(argument_t<K> key, const V& value) {
    if (loading_ == nullptr) must(mdb_txn_begin(env_, nullptr, 0, &loading_));
    store(loading_, key, value);
  }
  void loaded() {
    must(mdb_txn_commit(loading_));
    loading_ = nullptr;
  }
  std::uint64_t iterate(std::uint64_t& sum) {
    const read_transaction txn(*this);
    MDB_cursor* cursor = nullptr;
    must(mdb_cursor_open(reader_, dbi_, &cursor));
    std::uint64_t count = 0;
    MDB_val key;
    MDB_val value;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS) {
      sum += digest(value_of<V>(value.mv_data, value.mv_size));
      ++count;
    }
    mdb_cursor_close(cursor);
    return count;
  }
  std::size_t memory() const {
    MDB_envinfo info;
    MDB_stat stat;
    must(mdb_env_info(env_, &info));
    must(mdb_env_stat(env_, &stat));
    return (info.me_last_pgno + 1) * stat.ms_psize;
  }

 private:
  static std::string file(const config& c) { return "/dev/shm/" + c.object(name); }
  static MDB_val of(std::string_view bytes) { return {bytes.size(), const_cast<char*>(bytes.data())}; }

  class read_transaction {
   public:
    explicit read_transaction(lmdb& owner) : owner_(owner) {
      must(owner.reader_ == nullptr ? mdb_txn_begin(owner.env_, nullptr, MDB_RDONLY, &owner.reader_)
                                    : mdb_txn_renew(owner.reader_));
    }
    read_transaction(const read_transaction&) = delete;
    read_transaction& operator=(const read_transaction&) = delete;
    ~read_transaction() { mdb_txn_reset(owner_.reader_); }

   private:
    lmdb& owner_;
  };

  bool look_up(argument_t<K> key, MDB_val& found) {
    const key_bytes bytes(key);
    MDB_val k = of(bytes.view());
    const int result = mdb_get(reader_, dbi_, &k, &found);
    if (result != MDB_NOTFOUND) must(result);
    return result == MDB_SUCCESS;
  }
  void store(MDB_txn* txn, argument_t<K> key, const V& value) {
    const key_bytes bytes(key);
    MDB_val k = of(bytes.view());
    MDB_val v = of(value_bytes(value));
    must(mdb_put(txn, dbi_, &k, &v, 0));
  }

  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
  MDB_txn* reader_ = nullptr;
  MDB_txn* loading_ = nullptr;
};

const registration enlisted = enlist<lmdb>();

} // namespace
} // namespace bench
