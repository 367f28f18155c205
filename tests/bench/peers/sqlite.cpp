// SPDX-License-Identifier: Apache-2.0
// SQLite on tmpfs: write-ahead log, synchronous=OFF, statements prepared once, one implicit transaction per statement.
#include <sqlite3.h>
#include <unistd.h>

#include "bytes.hpp"

namespace bench {
namespace {

template <class K, class V>
class sqlite {
 public:
  static constexpr const char* name = "sqlite";
  static constexpr bool shared = true, threads = false;
  static void remove(const config& c) {
    for (const char* suffix : {"", "-wal", "-shm"}) unlink((file(c) + suffix).c_str());
  }

  sqlite(const config& c, role r) {
    must(sqlite3_open(file(c).c_str(), &db_));
    must(sqlite3_busy_timeout(db_, 10000));
    run("PRAGMA journal_mode=WAL");
    run("PRAGMA synchronous=OFF");
    run("PRAGMA mmap_size=4294967296");
    if (r == role::create)
      run(std::is_same_v<K, std::int64_t> ? "CREATE TABLE d(k INTEGER PRIMARY KEY, v)"
                                          : "CREATE TABLE d(k TEXT PRIMARY KEY, v) WITHOUT ROWID");
    get_ = prepare("SELECT v FROM d WHERE k=?1");
    put_ = prepare("INSERT INTO d VALUES(?1,?2) ON CONFLICT(k) DO UPDATE SET v=excluded.v");
    add_ = prepare("UPDATE d SET v=v+1 WHERE k=?1");
    erase_ = prepare("DELETE FROM d WHERE k=?1");
    all_ = prepare("SELECT k,v FROM d");
  }
  sqlite(const sqlite&) = delete;
  sqlite& operator=(const sqlite&) = delete;
  ~sqlite() {
    for (auto* statement : {get_, put_, add_, erase_, all_}) sqlite3_finalize(statement);
    sqlite3_close(db_);
  }

  std::optional<V> get(argument_t<K> key) {
    bind(get_, 1, key);
    std::optional<V> out;
    if (step(get_)) out = column(get_, 0);
    must(sqlite3_reset(get_));
    return out;
  }
  void put(argument_t<K> key, const V& value) {
    bind(put_, 1, key);
    bind_value(put_, value);
    step(put_);
    must(sqlite3_reset(put_));
  }
  void add(argument_t<K> key) requires std::is_same_v<V, std::int64_t> {
    bind(add_, 1, key);
    step(add_);
    must(sqlite3_reset(add_));
  }
  bool erase(argument_t<K> key) {
    bind(erase_, 1, key);
    step(erase_);
    must(sqlite3_reset(erase_));
    return sqlite3_changes(db_) != 0;
  }
  void load(argument_t<K> key, const V& value) {
    if (sqlite3_get_autocommit(db_) != 0) run("BEGIN");
    put(key, value);
  }
  void loaded() {
    run("COMMIT");
    run("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  std::uint64_t iterate(std::uint64_t& sum) {
    std::uint64_t count = 0;
    for (; step(all_); ++count) sum += digest(column(all_, 1));
    must(sqlite3_reset(all_));
    return count;
  }
  std::size_t memory() const {
    const auto number = [&](const char* pragma) {
      sqlite3_stmt* s = prepare(pragma);
      const std::size_t n = step(s) ? static_cast<std::size_t>(sqlite3_column_int64(s, 0)) : 0;
      sqlite3_finalize(s);
      return n;
    };
    return number("PRAGMA page_count") * number("PRAGMA page_size");
  }

 private:
  static std::string file(const config& c) { return "/dev/shm/" + c.object(name); }

  void must(int result) const {
    if (result != SQLITE_OK) throw std::runtime_error(std::string("sqlite: ") + sqlite3_errmsg(db_));
  }
  void run(const char* sql) const { must(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr)); }
  sqlite3_stmt* prepare(const char* sql) const {
    sqlite3_stmt* s = nullptr;
    must(sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, nullptr));
    return s;
  }
  bool step(sqlite3_stmt* s) const {
    const int result = sqlite3_step(s);
    if (result != SQLITE_ROW && result != SQLITE_DONE) must(result);
    return result == SQLITE_ROW;
  }
  void bind(sqlite3_stmt* s, int at, std::int64_t key) const { must(sqlite3_bind_int64(s, at, key)); }
  void bind(sqlite3_stmt* s, int at, std::string_view key) const {
    must(sqlite3_bind_text(s, at, key.data(), static_cast<int>(key.size()), SQLITE_STATIC));
  }
  void bind_value(sqlite3_stmt* s, const V& value) const {
    if constexpr (std::is_same_v<V, std::string>)
      must(sqlite3_bind_blob(s, 2, value.data(), static_cast<int>(value.size()), SQLITE_STATIC));
    else
      must(sqlite3_bind_int64(s, 2, value));
  }
  static V column(sqlite3_stmt* s, int at) {
    if constexpr (std::is_same_v<V, std::string>)
      return value_of<V>(sqlite3_column_blob(s, at), static_cast<std::size_t>(sqlite3_column_bytes(s, at)));
    else
      return sqlite3_column_int64(s, at);
  }

  sqlite3* db_ = nullptr;
  sqlite3_stmt *get_ = nullptr, *put_ = nullptr, *add_ = nullptr, *erase_ = nullptr, *all_ = nullptr;
};
template <class V>
class sqlite<path, V> {}; // no nested tables

const registration enlisted = enlist<sqlite>();

} // namespace
} // namespace bench
