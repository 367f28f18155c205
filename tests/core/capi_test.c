/* SPDX-License-Identifier: Apache-2.0 */
/* Every function of shmdict.h from pure C11, its results and its errors. Exit code 0 passes. */
#include <inttypes.h>
#include <poll.h>
#include <shmdict/shmdict.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int checks;

#define CHECK(condition) \
  do { \
    ++checks; \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", __FILE__, __LINE__, #condition, \
              shmd_last_error()->message); \
      (void)shmd_unlink(name); \
      exit(1); \
    } \
  } while (0)

#define STR(s) (s), strlen(s)

static char name[64];

static shmd_dict* open_with(int mode, uint32_t flags, int expected) {
  shmd_options o;
  shmd_dict* d = NULL;
  int result;
  shmd_options_init(&o);
  o.mode = mode;
  o.flags = flags;
  o.max_size = UINT64_C(16) << 20;
  o.key_type = "str";
  o.value_type = "str";
  result = shmd_open(name, &o, &d);
  CHECK(result == expected);
  CHECK((d != NULL) == (expected >= 0));
  return d;
}

static int holds(shmd_dict* d, shmd_node node, const char* key, const char* value) {
  char buffer[256];
  size_t size = 0;
  return shmd_get(d, node, STR(key), buffer, sizeof buffer, &size) == SHMD_OK && size == strlen(value) &&
         memcmp(buffer, value, size) == 0;
}

/* ---- texts ---- */

static void names_and_messages(void) {
  int code;
#define SHMD_X(number, upper, text) \
  CHECK(strcmp(shmd_error_message(number), text) == 0); \
  CHECK(strlen(shmd_error_name(number)) == strlen(#upper)); \
  CHECK(SHMD_ERR_##upper == (number));
  SHMD_ERR_MAP(SHMD_X)
#undef SHMD_X
#define SHMD_X(number, upper, text) \
  CHECK(strcmp(shmd_error_message(number), text) == 0); \
  CHECK(strlen(shmd_error_name(number)) == strlen(#upper)); \
  CHECK(SHMD_##upper == (number));
  SHMD_OUTCOME_MAP(SHMD_X)
#undef SHMD_X
  CHECK(strcmp(shmd_error_name(SHMD_ERR_NO_SPACE), "no_space") == 0);
  CHECK(strcmp(shmd_error_name(SHMD_NOT_FOUND), "not_found") == 0);
  for (code = -1000; code <= 1000; code += 7) {
    CHECK(shmd_error_name(code) != NULL && shmd_error_name(code)[0] != '\0');
    CHECK(shmd_error_message(code) != NULL && shmd_error_message(code)[0] != '\0');
  }
  CHECK(strcmp(shmd_error_name(-999), "unknown") == 0);
  CHECK(strcmp(shmd_error_name(999), "unknown") == 0);
  CHECK(shmd_last_error() != NULL && shmd_last_error()->code == 0);
}

/* ---- open, close, unlink ---- */

static void opening(void) {
  shmd_options o;
  shmd_dict* d = NULL;
  shmd_dict *second, *other;
  char longer[300];
  shmd_options_init(&o);
  CHECK(o.struct_size == sizeof o && o.permissions == 0600 && o.mode == SHMD_OPEN_OR_CREATE);
  CHECK(o.unlink == SHMD_UNLINK_LAST_CLOSES && o.flags == 0 && o.init == NULL && o.max_size == 0);

  CHECK(open_with(SHMD_OPEN_ONLY, 0, SHMD_ERR_NO_SUCH_DICT) == NULL);
  CHECK(shmd_last_error()->code == SHMD_ERR_NO_SUCH_DICT);
  CHECK(strstr(shmd_last_error()->message, name) != NULL);
  CHECK(shmd_unlink(name) == SHMD_ERR_NO_SUCH_DICT);
  CHECK(shmd_unlink(NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_open(name, &o, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_open("", &o, &d) == SHMD_ERR_INVALID_NAME);
  CHECK(shmd_open("with/slash", &o, &d) == SHMD_ERR_INVALID_NAME);
  CHECK(shmd_open("\xff\xfe", &o, &d) == SHMD_ERR_INVALID_NAME);
  memset(longer, 'n', sizeof longer - 1);
  longer[sizeof longer - 1] = '\0';
  CHECK(shmd_open(longer, &o, &d) == SHMD_ERR_NAME_TOO_LONG);
  o.struct_size = 1;
  CHECK(shmd_open(name, &o, &d) == SHMD_ERR_INVALID_ARGUMENT);
  shmd_options_init(&o);
  o.layout_version += 1;
  CHECK(shmd_open(name, &o, &d) == SHMD_ERR_LAYOUT_MISMATCH);
  shmd_options_init(&o);
  o.segment_size = 100000;
  CHECK(shmd_open(name, &o, &d) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(d == NULL);

  d = open_with(SHMD_CREATE_ONLY, 0, SHMD_CREATED);
  CHECK(strcmp(shmd_name(d), name) == 0);
  CHECK(open_with(SHMD_CREATE_ONLY, 0, SHMD_ERR_ALREADY_EXISTS) == NULL);
  second = open_with(SHMD_OPEN_OR_CREATE, 0, SHMD_OK);
  CHECK(shmd_put(d, shmd_root(), STR("k"), STR("v"), 0) == SHMD_OK);
  CHECK(holds(second, shmd_root(), "k", "v"));
  shmd_options_init(&o);
  o.value_type = "i64";
  other = second;
  CHECK(shmd_open(name, &o, &other) == SHMD_ERR_TYPE_MISMATCH);
  CHECK(other == NULL);
  CHECK(shmd_close(d) == SHMD_OK);
  CHECK(shmd_unlink_this(second) == SHMD_OK);
  CHECK(shmd_unlink_this(second) == SHMD_ERR_NO_SUCH_DICT);
  CHECK(holds(second, shmd_root(), "k", "v")); /* nameless, and in use */
  CHECK(shmd_close(second) == SHMD_OK);
  CHECK(shmd_close(NULL) == SHMD_OK);
  CHECK(strcmp(shmd_name(NULL), "") == 0);
  CHECK(shmd_unlink_this(NULL) == SHMD_ERR_CLOSED);

  d = NULL;
  CHECK(shmd_open(name, NULL, &d) == SHMD_CREATED); /* defaults */
  CHECK(shmd_close(d) == SHMD_OK);                  /* the last one removes the name */
  CHECK(shmd_unlink(name) == SHMD_ERR_NO_SUCH_DICT);
}

static int first_keys(shmd_dict* d, void* context) {
  ++*(int*)context;
  return shmd_put(d, shmd_root(), STR("made by"), STR("init"), 0);
}
static int give_up(shmd_dict* d, void* context) {
  (void)d;
  (void)context;
  return SHMD_ERR_ABORTED;
}

static void init_callback(void) {
  shmd_options o;
  shmd_dict* d = NULL;
  int calls = 0;
  shmd_options_init(&o);
  o.init = give_up;
  CHECK(shmd_open(name, &o, &d) == SHMD_ERR_ABORTED);
  CHECK(shmd_unlink(name) == SHMD_ERR_NO_SUCH_DICT);
  o.init = first_keys;
  o.init_context = &calls;
  CHECK(shmd_open(name, &o, &d) == SHMD_CREATED);
  CHECK(calls == 1 && holds(d, shmd_root(), "made by", "init"));
  CHECK(shmd_close(d) == SHMD_OK);
}

/* ---- values ---- */

static int append(void* context, const void* old, size_t old_size, const void** value, size_t* size) {
  static char buffer[64];
  if (context != NULL) return *(const int*)context;
  if (old_size != 0) memcpy(buffer, old, old_size);
  buffer[old_size] = '+';
  *value = buffer;
  *size = old_size + 1;
  return old == NULL || old_size < 60 ? SHMD_OK : SHMD_ERR_ABORTED;
}

static void values(shmd_dict* d) {
  char buffer[8], large[70000];
  size_t size = 0;
  uint64_t count = 99;
  int answer;
  const shmd_node root = shmd_root();
  CHECK(shmd_put(d, root, STR("one"), STR("1"), SHMD_REPLACE_ONLY) == SHMD_NOT_FOUND);
  CHECK(shmd_put(d, root, STR("one"), STR("1"), SHMD_INSERT_ONLY) == SHMD_OK);
  CHECK(shmd_put(d, root, STR("one"), STR("2"), SHMD_INSERT_ONLY) == SHMD_EXISTS);
  CHECK(holds(d, root, "one", "1"));
  CHECK(shmd_put(d, root, STR("one"), STR("a longer value"), SHMD_REPLACE_ONLY) == SHMD_OK);
  CHECK(shmd_get(d, root, STR("one"), buffer, sizeof buffer, &size) == SHMD_TRUNCATED && size == 14);
  CHECK(shmd_get(d, root, STR("one"), NULL, 0, NULL) == SHMD_TRUNCATED);
  CHECK(shmd_get(d, root, STR("two"), buffer, sizeof buffer, &size) == SHMD_NOT_FOUND);
  CHECK(shmd_contains(d, root, STR("one")) == SHMD_OK);
  CHECK(shmd_contains(d, root, STR("two")) == SHMD_NOT_FOUND);
  {
    const shmd_pair pairs[] = {{"m1", 2, "1", 1}, {"m2", 2, "2", 1}};
    CHECK(shmd_put_many(d, root, pairs, 2, 0) == SHMD_OK && holds(d, root, "m1", "1") && holds(d, root, "m2", "2"));
    CHECK(shmd_put_many(d, root, pairs, 2, SHMD_INSERT_ONLY) == SHMD_EXISTS);
    CHECK(shmd_put_many(d, root, NULL, 0, 0) == SHMD_OK &&
          shmd_put_many(d, root, NULL, 1, 0) == SHMD_ERR_INVALID_ARGUMENT);
    CHECK(shmd_erase(d, root, STR("m1")) == SHMD_OK && shmd_erase(d, root, STR("m2")) == SHMD_OK);
  }
  CHECK(shmd_put(d, root, NULL, 0, NULL, 0, 0) == SHMD_OK); /* the empty key, an empty value */
  CHECK(shmd_get(d, root, "", 0, buffer, sizeof buffer, &size) == SHMD_OK && size == 0);
  CHECK(shmd_count(d, root, &count) == SHMD_OK && count == 2);
  memset(large, 'x', sizeof large);
  CHECK(shmd_put(d, root, large, 65536, "", 0, 0) == SHMD_ERR_KEY_TOO_LONG);
  CHECK(shmd_put(d, root, large, 65535, large, sizeof large, 0) == SHMD_OK);
  CHECK(shmd_contains(d, root, large, 65535) == SHMD_OK);
  CHECK(shmd_put(d, root, STR("k"), large, (size_t)1 << 40, 0) == SHMD_ERR_VALUE_TOO_LONG);
  CHECK(shmd_put(d, root, NULL, 1, "", 0, 0) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_put(d, root, STR("k"), NULL, 1, 0) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_put(NULL, root, STR("k"), STR("v"), 0) == SHMD_ERR_CLOSED);
  CHECK(shmd_count(d, root, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_erase(d, root, large, 65535) == SHMD_OK);
  CHECK(shmd_erase(d, root, large, 65535) == SHMD_NOT_FOUND);

  CHECK(shmd_update(d, root, STR("sum"), append, NULL) == SHMD_OK && holds(d, root, "sum", "+"));
  CHECK(shmd_update(d, root, STR("sum"), append, NULL) == SHMD_OK && holds(d, root, "sum", "++"));
  answer = SHMD_KEPT;
  CHECK(shmd_update(d, root, STR("sum"), append, &answer) == SHMD_KEPT && holds(d, root, "sum", "++"));
  answer = SHMD_ERR_ABORTED;
  CHECK(shmd_update(d, root, STR("sum"), append, &answer) == SHMD_ERR_ABORTED && holds(d, root, "sum", "++"));
  answer = SHMD_NOT_FOUND;
  CHECK(shmd_update(d, root, STR("sum"), append, &answer) == SHMD_OK);
  CHECK(shmd_contains(d, root, STR("sum")) == SHMD_NOT_FOUND);
  CHECK(shmd_update(d, root, STR("sum"), append, &answer) == SHMD_NOT_FOUND);
  CHECK(shmd_update(d, root, STR("sum"), NULL, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_clear(d, root, NULL) == SHMD_OK);
  CHECK(shmd_count(d, root, &count) == SHMD_OK && count == 0);
}

/* ---- nested dicts ---- */

static void nested(shmd_dict* d) {
  const shmd_node root = shmd_root();
  shmd_node a, b, again, fresh;
  char buffer[8];
  size_t size;
  CHECK(shmd_node_open(d, root, STR("a"), 0, &a) == SHMD_NOT_FOUND);
  CHECK(shmd_node_open(d, root, STR("a"), SHMD_NODE_CREATE, &a) == SHMD_CREATED);
  CHECK(shmd_node_open(d, root, STR("a"), SHMD_NODE_CREATE, &again) == SHMD_OK);
  CHECK(a.id == again.id && a.generation == again.generation && a.id != 0);
  CHECK(shmd_node_open(d, a, STR("b"), SHMD_NODE_CREATE, &b) == SHMD_CREATED);
  CHECK(shmd_put(d, b, STR("k"), STR("deep"), 0) == SHMD_OK && holds(d, b, "k", "deep"));
  CHECK(shmd_contains(d, root, STR("a")) == SHMD_ERR_IS_A_DICT);
  CHECK(shmd_get(d, root, STR("a"), buffer, sizeof buffer, &size) == SHMD_ERR_IS_A_DICT);
  CHECK(shmd_update(d, root, STR("a"), append, NULL) == SHMD_ERR_IS_A_DICT);
  CHECK(shmd_put(d, root, STR("leaf"), STR("v"), 0) == SHMD_OK);
  CHECK(shmd_node_open(d, root, STR("leaf"), 0, &again) == SHMD_ERR_NOT_A_DICT);
  CHECK(shmd_node_open(d, root, STR("leaf"), SHMD_NODE_CREATE, &again) == SHMD_ERR_NOT_A_DICT);
  CHECK(shmd_node_open(d, root, STR("leaf"), SHMD_NODE_REPLACE, &again) == SHMD_CREATED);
  CHECK(shmd_node_check(d, b) == SHMD_OK && shmd_node_check(d, root) == SHMD_OK);
  CHECK(shmd_clear(d, b, &fresh) == SHMD_OK);
  CHECK(shmd_node_check(d, b) == SHMD_ERR_REMOVED && shmd_node_check(d, fresh) == SHMD_OK);
  CHECK(shmd_put(d, b, STR("k"), STR("v"), 0) == SHMD_ERR_REMOVED);
  CHECK(shmd_put(d, fresh, STR("k"), STR("v"), 0) == SHMD_OK);
  CHECK(shmd_erase(d, root, STR("a")) == SHMD_OK);
  CHECK(shmd_node_check(d, a) == SHMD_ERR_REMOVED && shmd_node_check(d, fresh) == SHMD_ERR_REMOVED);
  CHECK(shmd_get(d, fresh, STR("k"), buffer, sizeof buffer, &size) == SHMD_ERR_REMOVED);
  CHECK(shmd_node_open(d, root, STR("a"), 0, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_clear(d, root, NULL) == SHMD_OK);
}

/* ---- lock, transactions ---- */

static void locking(shmd_dict* d) {
  const shmd_node root = shmd_root();
  shmd_lock_info info;
  shmd_node node;
  uint64_t acquisitions;
  CHECK(shmd_unlock(d) == SHMD_ERR_NOT_LOCKED);
  CHECK(shmd_lock_status(d, &info) == SHMD_OK && info.held == 0);
  acquisitions = info.acquisitions;
  CHECK(shmd_lock(d, 0) == SHMD_OK);
  CHECK(shmd_lock(d, SHMD_FOREVER) == SHMD_OK); /* re-entrant */
  CHECK(shmd_lock(d, SHMD_DEFAULT_TIMEOUT) == SHMD_OK);
  CHECK(shmd_lock_status(d, &info) == SHMD_OK);
  CHECK(info.held == 1 && info.alive == 1 && info.by_this_thread == 1 && info.pid == getpid());
  CHECK(info.acquisitions == acquisitions + 1 && info.program[0] != '\0' && info.thread != 0);
  CHECK(shmd_put(d, root, STR("inside"), STR("v"), 0) == SHMD_OK);
  CHECK(shmd_unlock(d) == SHMD_OK && shmd_unlock(d) == SHMD_OK && shmd_unlock(d) == SHMD_OK);
  CHECK(shmd_unlock(d) == SHMD_ERR_NOT_LOCKED);
  CHECK(shmd_lock_status(d, NULL) == SHMD_ERR_INVALID_ARGUMENT);

  CHECK(shmd_in_transaction(d) == 0 && shmd_in_transaction(NULL) == 0);
  CHECK(shmd_commit(d) == SHMD_ERR_NO_TRANSACTION && shmd_abort(d) == SHMD_ERR_NO_TRANSACTION);
  CHECK(shmd_begin(d, SHMD_FOREVER) == SHMD_OK && shmd_in_transaction(d) == 1);
  CHECK(shmd_begin(d, 0) == SHMD_ERR_IN_TRANSACTION);
  CHECK(shmd_put(d, root, STR("t"), STR("1"), 0) == SHMD_OK && holds(d, root, "t", "1"));
  CHECK(shmd_node_open(d, root, STR("n"), SHMD_NODE_CREATE, &node) == SHMD_CREATED);
  CHECK(shmd_put(d, node, STR("k"), STR("v"), 0) == SHMD_OK);
  CHECK(shmd_unlock(d) == SHMD_ERR_IN_TRANSACTION);
  CHECK(shmd_compact(d) == SHMD_ERR_IN_TRANSACTION && shmd_check(d, NULL, NULL) == SHMD_ERR_IN_TRANSACTION);
  CHECK(shmd_abort(d) == SHMD_OK);
  CHECK(shmd_contains(d, root, STR("t")) == SHMD_NOT_FOUND && shmd_contains(d, root, STR("n")) == SHMD_NOT_FOUND);
  CHECK(shmd_begin(d, 0) == SHMD_OK);
  CHECK(shmd_put(d, root, STR("t"), STR("2"), 0) == SHMD_OK && shmd_erase(d, root, STR("inside")) == SHMD_OK);
  CHECK(shmd_commit(d) == SHMD_OK);
  CHECK(holds(d, root, "t", "2") && shmd_contains(d, root, STR("inside")) == SHMD_NOT_FOUND);
}

/* ---- snapshots, iteration, views ---- */

static void snapshots(shmd_dict* d) {
  const shmd_node root = shmd_root();
  shmd_snapshot* s = NULL;
  shmd_iter* it = NULL;
  shmd_entry e;
  shmd_node node, found;
  shmd_view view, other;
  shmd_stats stats;
  char buffer[16];
  size_t size;
  int entries = 0, dicts = 0, result;
  CHECK(shmd_clear(d, root, NULL) == SHMD_OK);
  CHECK(shmd_put(d, root, STR("x"), STR("old"), 0) == SHMD_OK &&
        shmd_put(d, root, STR("y"), STR("gone"), 0) == SHMD_OK);
  CHECK(shmd_node_open(d, root, STR("n"), SHMD_NODE_CREATE, &node) == SHMD_CREATED);
  CHECK(shmd_put(d, node, STR("k"), STR("inner"), 0) == SHMD_OK);
  CHECK(shmd_snapshot_open(d, &s) == SHMD_OK && shmd_snapshot_position(s) != 0);
  CHECK(shmd_view_open(d, root, STR("x"), &view) == SHMD_OK);
  CHECK(view.size == 3 && memcmp(view.data, "old", 3) == 0);
  CHECK(shmd_stat(d, &stats) == SHMD_OK && stats.oldest_pin_pid == getpid());
  CHECK(shmd_put(d, root, STR("x"), STR("new"), 0) == SHMD_OK && shmd_erase(d, root, STR("y")) == SHMD_OK);
  CHECK(shmd_erase(d, root, STR("n")) == SHMD_OK && shmd_put(d, root, STR("z"), STR("later"), 0) == SHMD_OK);
  CHECK(shmd_snapshot_get(s, root, STR("x"), buffer, sizeof buffer, &size) == SHMD_OK && memcmp(buffer, "old", 3) == 0);
  CHECK(shmd_snapshot_get(s, root, STR("x"), buffer, 1, &size) == SHMD_TRUNCATED && size == 3);
  CHECK(shmd_snapshot_get(s, root, STR("y"), NULL, 0, NULL) == SHMD_TRUNCATED);
  CHECK(shmd_snapshot_get(s, root, STR("z"), buffer, sizeof buffer, &size) == SHMD_NOT_FOUND);
  CHECK(shmd_snapshot_get(s, root, STR("n"), buffer, sizeof buffer, &size) == SHMD_ERR_IS_A_DICT);
  CHECK(shmd_snapshot_node(s, root, STR("x"), &found) == SHMD_ERR_NOT_A_DICT);
  CHECK(shmd_snapshot_node(s, root, STR("z"), &found) == SHMD_NOT_FOUND);
  CHECK(shmd_snapshot_node(s, root, STR("n"), &found) == SHMD_OK);
  CHECK(shmd_snapshot_get(s, found, STR("k"), buffer, sizeof buffer, &size) == SHMD_OK && size == 5);
  CHECK(shmd_iter_open(s, root, &it) == SHMD_OK);
  while ((result = shmd_iter_next(it, &e)) == SHMD_OK) {
    ++entries;
    dicts += e.is_dict;
    CHECK(e.position != 0 && e.key_size == 1);
    if (e.is_dict) CHECK(e.value_size == 0 && e.node.id == node.id);
    if (memcmp(e.key, "x", 1) == 0) CHECK(e.value_size == 3 && memcmp(e.value, "old", 3) == 0);
  }
  CHECK(result == SHMD_END && shmd_iter_next(it, &e) == SHMD_END && entries == 3 && dicts == 1);
  shmd_iter_close(it);
  shmd_iter_close(NULL);
  CHECK(memcmp(view.data, "old", 3) == 0);
  shmd_view_close(d, &view);
  CHECK(view.data == NULL);
  shmd_view_close(d, &view); /* twice does no harm */
  CHECK(shmd_view_open(d, root, STR("y"), &other) == SHMD_NOT_FOUND);
  CHECK(shmd_begin(d, 0) == SHMD_OK);
  CHECK(shmd_view_open(d, root, STR("x"), &other) == SHMD_ERR_IN_TRANSACTION);
  CHECK(shmd_abort(d) == SHMD_OK);
  shmd_snapshot_close(s);
  shmd_snapshot_close(NULL);
  CHECK(shmd_snapshot_open(NULL, &s) < 0 && shmd_iter_open(NULL, root, &it) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_stat(d, &stats) == SHMD_OK && stats.oldest_pin == UINT64_MAX && stats.oldest_pin_pid == 0);
}

/* ---- maintenance ---- */

static void count_findings(void* context, const char* finding) {
  fprintf(stderr, "%s\n", finding);
  ++*(int*)context;
}

static void maintenance(shmd_dict* d) {
  shmd_stats s;
  shmd_dict* reader;
  int findings = 0, i;
  char key[16];
  for (i = 0; i < 2000; ++i) {
    (void)snprintf(key, sizeof key, "key%d", i);
    CHECK(shmd_put(d, shmd_root(), STR(key), STR(key), 0) == SHMD_OK);
  }
  CHECK(shmd_stat(d, &s) == SHMD_OK);
  CHECK(strcmp(s.name, name) == 0 && strcmp(s.key_type, "str") == 0 && strcmp(s.value_type, "str") == 0);
  CHECK(s.attached == 1 && s.max_processes == 256 && s.creator_pid == getpid() && s.read_only == 0 && s.unlinked == 0);
  CHECK(s.max_size == UINT64_C(16) << 20 && s.unlink == SHMD_UNLINK_LAST_CLOSES && s.layout_version != 0);
  CHECK(s.keys == 2002 && s.splits > 0 && s.commits > 2000 && s.recoveries == 0 && s.memory > s.live_bytes);
  CHECK(s.index_bytes > 2000 * 8 && s.position != 0);
  CHECK(shmd_stat(NULL, &s) == SHMD_ERR_CLOSED && shmd_stat(d, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_compact(d) == SHMD_OK && shmd_compact(NULL) == SHMD_ERR_CLOSED);
  CHECK(shmd_check(d, count_findings, &findings) == SHMD_OK && findings == 0);
  CHECK(shmd_check(NULL, NULL, NULL) == SHMD_ERR_CLOSED);

  reader = open_with(SHMD_OPEN_ONLY, SHMD_READ_ONLY, SHMD_OK);
  CHECK(holds(reader, shmd_root(), "key77", "key77") && shmd_stat(reader, &s) == SHMD_OK && s.read_only == 1);
  CHECK(shmd_put(reader, shmd_root(), STR("k"), STR("v"), 0) == SHMD_ERR_READ_ONLY);
  CHECK(shmd_last_error()->code == SHMD_ERR_READ_ONLY && strstr(shmd_last_error()->message, name) != NULL);
  CHECK(shmd_close(reader) == SHMD_OK);
}

/* ---- following ---- */

static int readable(int fd, int ms) {
  struct pollfd p = {fd, POLLIN, 0};
  return poll(&p, 1, ms);
}

static void following(shmd_dict* d) {
  const shmd_node root = shmd_root();
  shmd_follower *f = NULL, *late = NULL;
  shmd_snapshot* s = NULL;
  shmd_change c;
  shmd_node n;
  int fd;
  CHECK(shmd_follow_open(d, SHMD_NOW, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_follow_open(d, SHMD_NOW, &f) == SHMD_OK && f != NULL);
  CHECK(shmd_follow_next(f, &c) == SHMD_END);
  CHECK(shmd_follow_wait(f, 0) == SHMD_TIMED_OUT);
  CHECK(shmd_snapshot_open(d, &s) == SHMD_OK);
  CHECK(shmd_put(d, root, STR("followed"), STR("1"), 0) == SHMD_OK);
  CHECK(shmd_node_open(d, root, STR("dict"), SHMD_NODE_REPLACE, &n) == SHMD_CREATED);
  CHECK(shmd_put(d, n, STR("k"), STR("v"), 0) == SHMD_OK);
  CHECK(shmd_follow_wait(f, SHMD_FOREVER) == SHMD_OK);
  CHECK(shmd_follow_next(f, &c) == SHMD_OK && c.kind == SHMD_CHANGE_PUT && c.first && c.last && c.path_length == 0);
  CHECK(c.key_size == 8 && memcmp(c.key, "followed", 8) == 0 && c.value_size == 1 && memcmp(c.value, "1", 1) == 0);
  CHECK(shmd_follow_position(f) == c.next && c.position < c.next);
  CHECK(shmd_follow_next(f, &c) == SHMD_OK && c.kind == SHMD_CHANGE_NODE && c.child.id == n.id && c.node.id == 0);
  CHECK(shmd_follow_next(f, &c) == SHMD_OK && c.node.id == n.id && c.node.generation == n.generation);
  CHECK(c.path_length == 1 && c.path[0].node.id == n.id && c.path[0].node.generation == n.generation);
  CHECK(c.path[0].key_size == 4 && memcmp(c.path[0].key, "dict", 4) == 0);
  CHECK(shmd_follow_next(f, &c) == SHMD_END);
  CHECK(shmd_follow_open(d, shmd_snapshot_position(s), &late) == SHMD_OK);
  CHECK(shmd_follow_next(late, &c) == SHMD_OK && c.key_size == 8);
  CHECK(shmd_follow_seek(late, SHMD_NOW) == SHMD_OK && shmd_follow_next(late, &c) == SHMD_END);
  shmd_follow_interrupt(late);
  CHECK(shmd_follow_wait(late, SHMD_FOREVER) == SHMD_INTERRUPTED);
  CHECK(shmd_follow_fd(NULL) == SHMD_ERR_INVALID_ARGUMENT);
  fd = shmd_follow_fd(late);
  CHECK(fd >= 0 && shmd_follow_fd(late) == fd);
  CHECK(readable(fd, 10) == 0);
  CHECK(shmd_put(d, root, STR("followed"), STR("2"), 0) == SHMD_OK && readable(fd, 10000) == 1);
  CHECK(shmd_follow_next(late, &c) == SHMD_OK && readable(fd, 0) == 1);
  CHECK(shmd_follow_next(late, &c) == SHMD_END && readable(fd, 10) == 0);
  CHECK(shmd_follow_seek(late, shmd_snapshot_position(s)) == SHMD_OK && readable(fd, 0) == 1);
  CHECK(shmd_follow_seek(late, SHMD_NOW) == SHMD_OK && readable(fd, 10) == 0);
  shmd_follow_interrupt(late);
  CHECK(readable(fd, 10000) == 1 && shmd_follow_next(late, &c) == SHMD_END && readable(fd, 10) == 1);
  CHECK(shmd_follow_wait(late, 0) == SHMD_INTERRUPTED && readable(fd, 0) == 1);
  CHECK(shmd_follow_wait(late, 0) == SHMD_TIMED_OUT && readable(fd, 10) == 0);
  shmd_snapshot_close(s);
  shmd_follow_close(late);
  shmd_follow_close(f);
  shmd_follow_close(NULL);
  CHECK(shmd_erase(d, root, STR("dict")) == SHMD_OK && shmd_erase(d, root, STR("followed")) == SHMD_OK);
}

/* ---- manage.h ---- */

static int find_object(void* context, const shmd_object_info* object) {
  shmd_object_info* out = (shmd_object_info*)context;
  if (strcmp(object->name, name) != 0) return 0;
  *out = *object;
  return 7;
}
static int find_process(void* context, const shmd_process_info* process) {
  *(shmd_process_info*)context = *process;
  return 0;
}
static int find_named(void* context, const shmd_named_lock_info* lock) {
  shmd_named_lock_info* out = (shmd_named_lock_info*)context;
  *out = *lock;
  CHECK(lock->name_size < 32);
  return 0;
}
static int count_entry(void* context, shmd_snapshot* snapshot, const shmd_entry* entry) {
  CHECK(snapshot != NULL && entry->key_size >= 4);
  ++*(int*)context;
  return 0;
}
static int stop_at_once(void* context, shmd_snapshot* snapshot, const shmd_entry* entry) {
  (void)context;
  (void)snapshot;
  (void)entry;
  return 5;
}
static void count_event(void* context, const shmd_event* event) {
  (void)event;
  ++*(int*)context;
}

static void managing(shmd_dict* d) {
  static shmd_object_info object;
  shmd_process_info process;
  shmd_named_lock_info lock;
  shmd_lock_options how;
  shmd_options o;
  shmd_stats s;
  shmd_dict *other, *copy;
  uint64_t cursor = 0;
  char random[SHMD_RANDOM_NAME], again[SHMD_RANDOM_NAME], path[96];
  int found = 0, events = 0, result;

  CHECK(shmd_list(NULL, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_list(find_object, &object) == 7);
  CHECK(object.result == 0 && object.attached == 1 && object.present == 1 && object.orphaned == 0);
  CHECK(object.keys == 2002 && object.creator_pid == getpid() && object.max_size == UINT64_C(16) << 20);
  CHECK(strcmp(object.key_type, "str") == 0 && object.lock.held == 0 && object.memory > 0);

  CHECK(shmd_processes(NULL, find_process, NULL) == SHMD_ERR_CLOSED);
  CHECK(shmd_processes(d, NULL, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_processes(d, find_process, &process) == 0 && process.pid == getpid() && process.this_process == 1);
  CHECK(shmd_stat(d, &s) == 0 && s.slot == process.slot && s.handles == 1 && s.pins == 0 && s.pid == getpid());

  shmd_lock_options_init(&how);
  CHECK(how.struct_size == sizeof how && how.block == 1 && how.steal == 1 && how.sleep_time == SHMD_UNTIL_WOKEN);
  CHECK(shmd_lock_with(NULL, &how) == SHMD_ERR_CLOSED && shmd_lock_with(d, NULL) == 0 && shmd_unlock(d) == 0);
  how.sleep_time = 0;
  CHECK(shmd_lock_with(d, &how) == 0);
  CHECK(shmd_lock_steal(d, getpid()) == SHMD_ERR_OWNER_ALIVE && shmd_last_error()->pid == getpid());
  CHECK(shmd_lock_steal(d, getpid() + 1) == SHMD_NOT_FOUND && shmd_lock_steal(NULL, 1) == SHMD_ERR_CLOSED);
  CHECK(shmd_unlock(d) == 0 && shmd_lock_steal(d, 0) == SHMD_NOT_FOUND);
  how.struct_size = 1;
  CHECK(shmd_lock_with(d, &how) == SHMD_ERR_INVALID_ARGUMENT);

  CHECK(shmd_named_lock(NULL, "job", 0) == SHMD_ERR_CLOSED && shmd_named_lock(d, "", 0) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_named_unlock(d, "job") == SHMD_ERR_NOT_LOCKED);
  CHECK(shmd_named_lock(d, "job", 0) == 0);
  CHECK(shmd_named_lock(d, "job", 0) == SHMD_TIMED_OUT && shmd_last_error()->pid == getpid());
  CHECK(shmd_named_lock(d, "job", 1000000) == SHMD_ERR_WOULD_DEADLOCK);
  other = open_with(SHMD_OPEN_ONLY, 0, SHMD_OK);
  CHECK(shmd_named_lock(other, "job", 20000000) == SHMD_TIMED_OUT && strstr(shmd_last_error()->message, "job") != NULL);
  CHECK(shmd_named_unlock(other, "job") == SHMD_ERR_NOT_LOCKED);
  CHECK(shmd_named_locks(d, find_named, &lock) == 0 && lock.alive == 1 && lock.this_handle == 1 &&
        lock.pid == getpid());
  CHECK(lock.is_key == 0 && lock.name_size == 3);
  CHECK(shmd_named_locks(NULL, find_named, NULL) == SHMD_ERR_CLOSED);
  CHECK(shmd_named_locks(d, NULL, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_count(d, shmd_root(), &cursor) == 0 && cursor == 2002);
  CHECK(shmd_check(d, count_findings, &found) == SHMD_OK && found == 0);
  CHECK(shmd_named_unlock(d, "job") == 0 && shmd_named_lock(other, "job", 0) == 0);
  CHECK(shmd_key_lock(d, shmd_root(), STR("job"), 0) == 0); /* another namespace */
  CHECK(shmd_key_unlock(other, shmd_root(), STR("job")) == SHMD_ERR_NOT_LOCKED);
  CHECK(shmd_key_unlock(d, shmd_root(), STR("job")) == 0);
  CHECK(shmd_close(other) == SHMD_OK && shmd_named_lock(d, "job", 0) == 0 && shmd_named_unlock(d, "job") == 0);
  CHECK(shmd_begin(d, 0) == 0 && shmd_named_lock(d, "job", 0) == SHMD_ERR_IN_TRANSACTION && shmd_abort(d) == 0);

  cursor = 0;
  do result = shmd_scan(d, shmd_root(), &cursor, STR("key1"), 100, count_entry, &found);
  while (result == 0);
  CHECK(result == SHMD_END && cursor == 0 && found == 1111);
  CHECK(shmd_scan(d, shmd_root(), &cursor, NULL, 0, 1, stop_at_once, NULL) == 5);
  CHECK(shmd_scan(d, shmd_root(), &cursor, NULL, 0, 0, count_entry, &found) == SHMD_ERR_INVALID_ARGUMENT);
  cursor = UINT64_MAX;
  CHECK(shmd_scan(d, shmd_root(), &cursor, NULL, 0, 1, count_entry, &found) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_scan(NULL, shmd_root(), &cursor, NULL, 0, 1, count_entry, &found) == SHMD_ERR_CLOSED);

  CHECK(shmd_set_event_hook(NULL, count_event, &events) == SHMD_ERR_CLOSED);
  CHECK(shmd_set_event_hook(d, count_event, &events) == 0 && shmd_set_event_hook(d, NULL, NULL) == 0 && events == 0);

  CHECK(shmd_random_name(random) == 0 && shmd_random_name(again) == 0 && strcmp(random, again) != 0);
  CHECK(strlen(random) == SHMD_RANDOM_NAME - 1 && strlen(random) + strlen("/shmdict.") <= 31);
  CHECK(shmd_random_name(NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_open(NULL, NULL, &other) == SHMD_CREATED && strlen(shmd_name(other)) == SHMD_RANDOM_NAME - 1);
  CHECK(shmd_close(other) == SHMD_OK);
  shmd_options_init(&o);
  o.max_size = UINT64_C(16) << 20;
  o.flags = SHMD_ANONYMOUS;
  CHECK(shmd_open("named", &o, &other) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_open(NULL, &o, &other) == SHMD_CREATED && strcmp(shmd_name(other), "") == 0);
  CHECK(shmd_put(other, shmd_root(), STR("k"), STR("v"), 0) == 0 && shmd_unlink_this(other) == SHMD_ERR_NO_SUCH_DICT);
  o.flags = 0;
  o.fd = shmd_native_fd(other);
  CHECK(o.fd >= 0 && shmd_native_fd(NULL) == -1);
  CHECK(shmd_open(name, &o, &copy) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_open(NULL, &o, &copy) == SHMD_OK && holds(copy, shmd_root(), "k", "v") && shmd_close(copy) == SHMD_OK);
  CHECK(shmd_close(other) == SHMD_OK);
  o.fd = 9999;
  CHECK(shmd_open(NULL, &o, &copy) == SHMD_ERR_INVALID_ARGUMENT && copy == NULL);
  o.fd = -1;
  o.mode = SHMD_OPEN_ONLY;
  CHECK(shmd_open(NULL, &o, &copy) == SHMD_ERR_INVALID_ARGUMENT);

  (void)snprintf(path, sizeof path, "/tmp/shmdict.%s.backup", name);
  CHECK(shmd_backup(NULL, path) == SHMD_ERR_CLOSED && shmd_backup(d, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_backup(d, "/nowhere/at/all") == SHMD_ERR_SYSTEM && shmd_last_error()->system_error != 0);
  CHECK(shmd_backup(d, path) == SHMD_OK);
  CHECK(shmd_restore(path, name, NULL, NULL) == SHMD_ERR_ALREADY_EXISTS);
  CHECK(shmd_restore(path, NULL, NULL, &copy) == SHMD_CREATED && holds(copy, shmd_root(), "key77", "key77"));
  CHECK(shmd_check(copy, NULL, NULL) == 0 && shmd_stat(copy, &s) == 0 && s.keys == 2002);
  CHECK(strcmp(s.value_type, "str") == 0 && s.max_size == UINT64_C(16) << 20 && shmd_close(copy) == SHMD_OK);
  CHECK(shmd_restore(NULL, NULL, NULL, NULL) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(unlink(path) == 0 && shmd_restore(path, NULL, NULL, &copy) == SHMD_ERR_SYSTEM && copy == NULL);
}

int main(void) {
  shmd_dict* d;
  (void)snprintf(name, sizeof name, "test.capi.%ld", (long)getpid());
  names_and_messages();
  opening();
  init_callback();
  d = open_with(SHMD_CREATE_ONLY, 0, SHMD_CREATED);
  values(d);
  nested(d);
  locking(d);
  snapshots(d);
  following(d);
  maintenance(d);
  managing(d);
  CHECK(shmd_close(d) == SHMD_OK);
  CHECK(shmd_unlink(name) == SHMD_ERR_NO_SUCH_DICT);
  printf("%d checks\n", checks);
  return 0;
}
