/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C ABI: validates what callers pass, then delegates. Nothing here knows how anything works.
 */
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "attach.h"
#include "call.h"
#include "descriptor.h"
#include "dict.h"
#include "error.h"
#include "event.h"
#include "handle.h"
#include "many.h"
#include "named_lock.h"
#include "overwrite.h"
#include "platform.h"
#include "reclaim.h"
#include "registry.h"
#include "transaction.h"

uint64_t shmd_hash_bytes(uint64_t seed, const void* key, size_t size) { return XXH3_64bits_withSeed(key, size, seed); }

int shmd_read_again(const shmd_reader* r, shmd_node node, uint64_t hash, const void* key, size_t key_size, void* buffer,
                    size_t capacity, size_t* size) {
  int tries;
  for (tries = 1; tries < SHMD_READ_TRIES; ++tries) {
    /* SYNC recycle: as in shmd_read_get. */
    const uint64_t before = shmd_load_acquire(&r->control->recycle);
    const int result = shmd_read_once(r, node, hash, key, key_size, buffer, capacity, size);
    if (shmd_load_acquire(&r->control->recycle) == before) return result;
  }
  return SHMD_ERR_BUSY;
}

static int bad_key(const char* function, const void* key, size_t size) {
  if (key == NULL && size != 0) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "%s: the key is NULL", function);
  return shmd_fail(SHMD_ERR_KEY_TOO_LONG, "%s: a key of %zu bytes is too long: at most %u", function, size,
                   SHMD_MAX_KEY);
}

static int bad_buffer(const char* function) {
  return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "%s: the buffer is NULL, and the capacity is not 0", function);
}

/* Declares `a`, the attachment, which stays readable whoever closes the handle from here on. */
#define CHECK_HANDLE(function) \
  shmd_attachment* const a = shmd_attachment_of(d); \
  if (SHMD_UNLIKELY(a == NULL)) return shmd_handle_closed(function)
#define CHECK_KEY(function) \
  if (SHMD_UNLIKELY(key_size > SHMD_MAX_KEY || (key == NULL && key_size != 0))) return bad_key(function, key, key_size)

#define CHECK_TIMEOUT(function, timeout) \
  if (SHMD_UNLIKELY((timeout) < SHMD_DEFAULT_TIMEOUT)) return shmd_fail_timeout(function, timeout)

SHMD_INLINE shmd_key make_key(const shmd_attachment* a, const void* key, size_t size) {
  shmd_key k;
  k.data = key;
  k.size = size;
  k.hash = shmd_hash_key(a->reader.hash_seed, key, size);
  return k;
}

SHMD_INLINE bool goes_long_way(const shmd_attachment* a) {
  return SHMD_UNLIKELY(shmd_load_relaxed(&a->reader.writer) != 0) && shmd_transaction_mine(a);
}

#define TEXT_OF(number) TEXT(number)
#define TEXT(number) #number

const char* shmd_version(void) {
  return TEXT_OF(SHMDICT_VERSION_MAJOR) "." TEXT_OF(SHMDICT_VERSION_MINOR) "." TEXT_OF(SHMDICT_VERSION_PATCH);
}

uint32_t shmd_layout_version(void) { return SHMD_LAYOUT_VERSION; }

/* A caller's struct may be shorter or longer than ours: nothing beyond it is touched. */
void shmd_options_init_for(shmd_options* options, size_t struct_size, uint32_t layout_version) {
  shmd_options ours;
  memset(&ours, 0, sizeof ours);
  ours.struct_size = (uint32_t)struct_size;
  ours.layout_version = layout_version;
  ours.permissions = 0600;
  ours.fd = -1;
  memset(options, 0, struct_size);
  memcpy(options, &ours, struct_size < sizeof ours ? struct_size : sizeof ours);
}

/* What is read here stands at the beginning of every shmd_options, whatever its version. */
static int check_caller(const char* name, const shmd_options* o) {
  if (o->struct_size < offsetof(shmd_options, mode))
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_open: initialise the options with shmd_options_init");
  if (o->layout_version != SHMD_LAYOUT_VERSION)
    return shmd_fail(
        SHMD_ERR_LAYOUT_MISMATCH,
        "dict '%s': the caller was compiled with headers of layout %u, this library (%s) has layout %u; recompile",
        name != NULL ? name : "", (unsigned)o->layout_version, shmd_version(), SHMD_LAYOUT_VERSION);
  if (o->struct_size != sizeof *o)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                     "shmd_open: options of %u bytes, this library (%s) has %zu: initialise them with "
                     "shmd_options_init, or recompile with this library's headers",
                     (unsigned)o->struct_size, shmd_version(), sizeof *o);
  return 0;
}

static int open_handle(const char* name, const shmd_options* options, shmd_dict** out) {
  static uint64_t serials;
  shmd_attachment* a;
  shmd_dict* d = shmd_handle_new();
  int result;
  if (d == NULL)
    return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory for a handle", name != NULL ? name : "");
  result = shmd_attach(name, options, &a);
  if (result < 0) {
    shmd_handle_discard(d);
    return result;
  }
  d->unlink_on_close = options->unlink == SHMD_UNLINK_THIS_CLOSES;
  d->serial = shmd_local_add(&serials, 1) + 1;
  shmd_handle_open(d, a);
  *out = d;
  return result;
}

int shmd_open(const char* name, const shmd_options* options, shmd_dict** out) {
  shmd_options defaults;
  int result;
  if (out == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_open: a place for the handle is needed");
  *out = NULL;
  if (options == NULL) {
    shmd_options_init(&defaults);
    options = &defaults;
  }
  result = check_caller(name, options);
  if (result < 0) return result;
  shmd_cancel_off();
  {
    const int off SHMD_CLEANUP(shmd_cancel_over) = 0;
    (void)off;
    result = open_handle(name, options, out);
  }
  return result;
}

/* ---- whose level of the lock is whose ----
 * The lock is the attachment's; a handle that is closed gives back the levels that it took itself. Only the thread that holds
 * the lock counts, and what was counted in an earlier hold is known by its number. */

static uint64_t section_of(const shmd_attachment* a) { return a->held >> 32; }

/* Before a call that gives one back, through whichever handle. */
static bool leaving(shmd_dict* d, const shmd_attachment* a) {
  const uint64_t levels = shmd_load_relaxed(&d->levels);
  if (!shmd_lock_mine(a) || levels == 0 || shmd_load_relaxed(&d->section) != section_of(a)) return false;
  shmd_local_store(&d->levels, levels - 1);
  return true;
}

static void leave_sections(shmd_dict* d, shmd_attachment* a) {
  const uint64_t begun = shmd_load_relaxed(&d->begun); /* of another thread, it may be: then it is not our section's */
  if (begun != 0 && begun == shmd_load_acquire(&a->inherited) >> 32) (void)shmd_transaction_disown(a);
  if (shmd_transaction_mine(a) && begun == section_of(a)) {
    (void)leaving(d, a);
    (void)shmd_transaction_end(a, false);
  }
  while (leaving(d, a) && shmd_lock_release(a) == 0) {
  }
}

/* After a call that takes a level. */
static int entered(shmd_dict* d, shmd_attachment* a, const char* function, int result) {
  if (result < 0 || result == SHMD_TIMED_OUT || result == SHMD_NOT_FOUND) return result;
  if (shmd_load_relaxed(&d->section) != section_of(a)) shmd_local_store(&d->levels, 0);
  shmd_local_store(&d->section, section_of(a));
  shmd_local_store(&d->holder, shmd_lock_self.id);
  shmd_local_store(&d->levels, shmd_load_relaxed(&d->levels) + 1);
  /* SYNC section: publishes that a section was entered through the handle, before it is asked once more whether it is open. */
  shmd_full_barrier();
  if (SHMD_LIKELY(shmd_attachment_of(d) != NULL)) return result;
  leave_sections(d, a);
  return shmd_handle_closed(function);
}

/* Another thread may be in a section that it entered through the handle just closed, and will unlock. */
static void keep_for_section(shmd_dict* d, const shmd_attachment* a) {
  /* SYNC section: observes the section, or who entered it observes that the handle is closed. */
  shmd_full_barrier();
  if (shmd_load_relaxed(&d->levels) != 0 &&
      shmd_load_relaxed(&d->section) == shmd_load_acquire(&shmd_control_of(a)->lock) >> 32)
    shmd_handle_keep_memory(d);
}

/* The handle was closed by another thread while this one was in a section: that ends now. CLOSED. */
static int leave_closed(shmd_dict* d, const char* function) {
  shmd_lock_thread* me = &shmd_lock_self;
  if (d == NULL || shmd_load_relaxed(&d->kept) == 0 || me->id == 0 || shmd_load_relaxed(&d->holder) != me->id ||
      shmd_load_relaxed(&d->levels) == 0)
    return shmd_handle_closed(function);
  if (shmd_registry_hold(d->attachment, d->attached)) {
    leave_sections(d, d->attachment);
    shmd_attachment_let(d->attachment);
  }
  if (shmd_load_relaxed(&d->levels) !=
      0) { /* the lock went with the slot: whoever came next knows of the section's end */
    shmd_local_store(&d->levels, 0);
    if (me->holds != 0) --me->holds;
  }
  return shmd_handle_closed(function);
}

static int close_handle(shmd_dict* d) {
  uint64_t reader;
  int result, given_back;
  if (shmd_handle_enter(d, "shmd_close") < 0) return SHMD_ERR_CLOSED;
  reader = shmd_load_acquire(&d->reader);
  /* SYNC handle: publishes that it is closed: of several threads one closes it. */
  if (reader == 0 || !shmd_local_cas(&d->reader, &reader, 0)) {
    shmd_handle_leave(d);
    return shmd_handle_closed("shmd_close");
  }
  leave_sections(d, d->attachment);
  keep_for_section(d, d->attachment);
  given_back = shmd_named_abandon(d);
  shmd_event_unhook(d);
  result = shmd_detach(d->attachment, d->unlink_on_close != 0, d->keep_on_close != 0);
  shmd_handle_let(d); /* for having been open */
  shmd_handle_leave(d);
  return result < 0 ? result : given_back;
}

static void close_waiting(void);

static int close_later(shmd_dict* d) {
  d->next_closing = shmd_lock_self.closing;
  shmd_lock_self.closing = d;
  return 0;
}

int shmd_close(shmd_dict* d) {
  shmd_attachment* a;
  int result;
  if (d == NULL) return 0;
  a = shmd_attachment_of(d);
  if (a == NULL) return shmd_handle_closed("shmd_close");
  if (a->hidden)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                     "dict '%s': the creator's callback cannot close it; let it fail instead", a->name);
  if (shmd_callback_within(a)) return close_later(d); /* the call that called back needs the mapping */
  leave_sections(d, a);
  if (shmd_load_acquire(&d->locks) != 0 && shmd_transaction_mine(a)) return close_later(d); /* of another handle */
  result = close_handle(d);
  if (SHMD_UNLIKELY(shmd_lock_self.closing != NULL))
    close_waiting(); /* a transaction that ended here kept them waiting */
  return result;
}

/* Ends what was closed too early: within a callback, or with named locks within another handle's transaction. Handles of a dict
 * that another callback further out belongs to wait for the end of that. */
static SHMD_NOINLINE void close_waiting(void) {
  const shmd_error_info before = *shmd_last_error();
  shmd_dict* d = shmd_lock_self.closing;
  shmd_lock_self.closing = NULL;
  while (d != NULL) {
    shmd_dict* next = d->next_closing;
    (void)shmd_close(d);
    d = next;
  }
  *shmd_error_slot() = before; /* of the call that is just returning */
}

int shmd_unlink(const char* name) {
  int result;
  if (name == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_unlink: the name is NULL");
  shmd_cancel_off();
  result = shmd_unlink_name(name);
  shmd_cancel_back();
  return result;
}

int shmd_unlink_this(shmd_dict* d) {
  int result = shmd_handle_enter(d, "shmd_unlink_this");
  if (result < 0) return result;
  result = shmd_unlink_object(d->attachment);
  shmd_handle_leave(d);
  return result;
}

const char* shmd_name(const shmd_dict* d) {
  const shmd_attachment* a = shmd_attachment_of(d);
  return a != NULL && !a->nameless ? a->name : "";
}

int shmd_native_fd(const shmd_dict* d) {
  shmd_attachment* a;
  int fd = -1;
  if (!shmd_handle_hold((shmd_dict*)d)) return fd; /* NOLINT: only its count is changed */
  a = d->attachment;
  if (shmd_descriptor_object(a)) fd = a->object_fd;
  shmd_handle_let((shmd_dict*)d); /* NOLINT */
  return fd;
}

/* A lock-free read was overtaken too often, or led astray: sorted out under the lock, where the writer stands still. */
static int settle_read(const shmd_dict* d, const shmd_attachment* a, int result) {
  if (SHMD_UNLIKELY(result < 0 && shmd_attachment_of(d) == NULL)) return shmd_handle_closed("reading");
  if (a->read_only && result == SHMD_ERR_BUSY)
    return shmd_fail(result, "dict '%s': the data kept changing; try again", a->name);
  if (result == SHMD_ERR_CORRUPT)
    return shmd_fail(
        result,
        "dict '%s' is corrupt: an index or record leads astray; run `shmdict check`, restore a backup, or unlink it",
        a->name);
  if (result == SHMD_ERR_REMOVED)
    return shmd_fail(result, "dict '%s': this nested dict was erased or replaced; look it up again", a->name);
  if (result == SHMD_ERR_IS_A_DICT)
    return shmd_fail(result, "dict '%s': the key holds a nested dict, not a value", a->name);
  if (result == SHMD_ERR_NOT_A_DICT)
    return shmd_fail(result, "dict '%s': the key holds a value, not a nested dict", a->name);
  return result;
}

int shmd_get(shmd_dict* d, shmd_node node, const void* key, size_t key_size, void* buffer, size_t capacity,
             size_t* size) {
  size_t ignored;
  shmd_key k;
  int result;
  CHECK_HANDLE("shmd_get");
  CHECK_KEY("shmd_get");
  if (SHMD_UNLIKELY(buffer == NULL && capacity != 0)) return bad_buffer("shmd_get");
  if (size == NULL) size = &ignored;
  k = make_key(a, key, key_size);
  if (!goes_long_way(a)) {
    result = shmd_read_get(&a->reader, node, k.hash, key, key_size, buffer, capacity, size);
    if (SHMD_LIKELY(result >= 0)) return result;
    if (result != SHMD_ERR_BUSY || a->read_only) return settle_read(d, a, result);
  }
  return settle_read(d, a, shmd_dict_get(a, node, &k, buffer, capacity, size));
}

int shmd_contains(shmd_dict* d, shmd_node node, const void* key, size_t key_size) {
  unsigned char nothing[8];
  size_t size;
  const int result = shmd_get(d, node, key, key_size, nothing, 0, &size);
  return result == SHMD_TRUNCATED ? 0 : result;
}

int shmd_put(shmd_dict* d, shmd_node node, const void* key, size_t key_size, const void* value, size_t value_size,
             uint32_t flags) {
  shmd_key k;
  bool done;
  int result;
  CHECK_HANDLE("shmd_put");
  CHECK_KEY("shmd_put");
  if (value == NULL && value_size != 0) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_put: the value is NULL");
  if (SHMD_UNLIKELY(value_size > a->largest_value))
    return shmd_fail(SHMD_ERR_VALUE_TOO_LONG, "dict '%s': a value of %zu bytes is too long", a->name, value_size);
  k = make_key(a, key, key_size);
  result = shmd_call_enter(a);
  if (SHMD_UNLIKELY(result < 0)) return result;
  if (key_size == 8 && value_size == 8) {
    k.size = 8; /* constants for the compiler */
    done = !(flags & ~(uint32_t)SHMD_REPLACE_ONLY) && shmd_overwrite(a, node, &k, value, 8);
  } else {
    done = !(flags & ~(uint32_t)SHMD_REPLACE_ONLY) && shmd_overwrite(a, node, &k, value, value_size);
  }
  if (SHMD_UNLIKELY(!done)) {
    const shmd_key general = k; /* a copy, or `k` itself could not stay in registers */
    return shmd_dict_put_rest(a, node, &general, value, value_size, flags);
  }
  if (SHMD_UNLIKELY(shmd_tx_of(a)->debt >= SHMD_STEP_BYTES)) shmd_dict_after(a);
  shmd_call_leave(a);
  return 0;
}

static int bad_pair(const shmd_attachment* a, const shmd_pair* p, size_t number) {
  if ((p->key == NULL && p->key_size != 0) || (p->value == NULL && p->value_size != 0))
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_put_many: the %s of pair %zu is NULL; nothing changed",
                     p->key == NULL && p->key_size != 0 ? "key" : "value", number);
  if (p->key_size > SHMD_MAX_KEY)
    return shmd_fail(SHMD_ERR_KEY_TOO_LONG,
                     "dict '%s': the key of pair %zu has %zu bytes; at most %u are possible; nothing changed", a->name,
                     number, p->key_size, SHMD_MAX_KEY);
  return shmd_fail(SHMD_ERR_VALUE_TOO_LONG,
                   "dict '%s': the value of pair %zu, of %zu bytes, is too long; nothing changed", a->name, number,
                   p->value_size);
}

int shmd_put_many(shmd_dict* d, shmd_node node, const shmd_pair* pairs, size_t count, uint32_t flags) {
  size_t i;
  int result;
  CHECK_HANDLE("shmd_put_many");
  if (pairs == NULL && count != 0) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_put_many: the pairs are NULL");
  if (flags > SHMD_REPLACE_ONLY)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_put_many: flags %#x are unknown, or exclude each other",
                     (unsigned)flags);
  for (i = 0; i < count; ++i) {
    const shmd_pair* p = pairs + i;
    if (SHMD_UNLIKELY(p->key_size > SHMD_MAX_KEY || p->value_size > a->largest_value ||
                      (p->key == NULL && p->key_size != 0) || (p->value == NULL && p->value_size != 0)))
      return bad_pair(a, p, i);
  }
  result = shmd_handle_enter(d, "shmd_put_many");
  if (result < 0) return result;
  result = shmd_many_put(a, node, pairs, count, flags);
  shmd_handle_leave(d);
  return result;
}

int shmd_erase(shmd_dict* d, shmd_node node, const void* key, size_t key_size) {
  shmd_key k;
  CHECK_HANDLE("shmd_erase");
  CHECK_KEY("shmd_erase");
  k = make_key(a, key, key_size);
  return shmd_dict_erase(a, node, &k);
}

/* The cleanup of a call's result: also if an exception of its callback ends it. */
static void call_over(const int* result) {
  (void)result;
  if (SHMD_UNLIKELY(shmd_lock_self.closing != NULL)) close_waiting();
}

int shmd_update(shmd_dict* d, shmd_node node, const void* key, size_t key_size, shmd_update_fn update, void* context) {
  shmd_key k;
  int result SHMD_CLEANUP(call_over) = 0;
  CHECK_HANDLE("shmd_update");
  CHECK_KEY("shmd_update");
  if (update == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_update: the callback is NULL");
  k = make_key(a, key, key_size);
  result = shmd_dict_update(a, node, &k, update, context);
  return result;
}

int shmd_count(shmd_dict* d, shmd_node node, uint64_t* count) {
  const shmd_node_entry* e;
  int result, tries;
  CHECK_HANDLE("shmd_count");
  if (count == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_count: a place for the count is needed");
  if (goes_long_way(a)) return shmd_dict_count(a, node, count);
  for (tries = 0; tries < SHMD_READ_TRIES; ++tries) {
    /* SYNC recycle: as in shmd_read_get; the entry may become another dict's. */
    const uint64_t before = shmd_load_acquire(&a->reader.control->recycle);
    result = shmd_read_node(&a->reader, node, &e);
    if (result == 0) *count = shmd_load_acquire(&e->count);
    if (shmd_load_acquire(&a->reader.control->recycle) == before) return settle_read(d, a, result);
  }
  if (a->read_only) return settle_read(d, a, SHMD_ERR_BUSY);
  return shmd_dict_count(a, node, count);
}

int shmd_clear(shmd_dict* d, shmd_node node, shmd_node* fresh) {
  shmd_node ignored;
  CHECK_HANDLE("shmd_clear");
  return shmd_dict_clear(a, node, fresh != NULL ? fresh : &ignored);
}

int shmd_node_open(shmd_dict* d, shmd_node node, const void* key, size_t key_size, uint32_t flags, shmd_node* child) {
  const shmd_reader* r;
  shmd_key k;
  int tries;
  CHECK_HANDLE("shmd_node_open");
  CHECK_KEY("shmd_node_open");
  if (child == NULL) return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_node_open: a place for the dict is needed");
  if (SHMD_UNLIKELY((flags & ~(uint32_t)(SHMD_NODE_CREATE | SHMD_NODE_REPLACE)) != 0))
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_node_open: flags %#x are unknown", (unsigned)flags);
  k = make_key(a, key, key_size);
  r = &a->reader;
  if (!goes_long_way(a) && !(flags & SHMD_NODE_REPLACE)) {
    for (tries = 0; tries < SHMD_READ_TRIES; ++tries) {
      const shmd_node_entry* e;
      shmd_found f;
      /* SYNC recycle: as in shmd_read_get. */
      const uint64_t before = shmd_load_acquire(&r->control->recycle);
      uint64_t word = 0;
      int result = shmd_read_node(r, node, &e);
      if (result == 0) result = shmd_read_find(r, shmd_load_acquire(&e->root), k.hash, key, key_size, &f);
      if (result == 0) {
        if ((f.kind & SHMD_REC_KIND) != SHMD_REC_NODE)
          result = SHMD_ERR_NOT_A_DICT;
        else if (f.value_size != 8)
          result = SHMD_ERR_CORRUPT;
        else
          word = shmd_load_acquire((const uint64_t*)(const void*)f.value);
      }
      if (shmd_load_acquire(&r->control->recycle) != before) continue;
      if (result == SHMD_NOT_FOUND && (flags & SHMD_NODE_CREATE)) break;
      if (result == 0) {
        child->id = (uint32_t)word;
        child->generation = (uint32_t)(word >> 32);
      }
      return settle_read(d, a, result);
    }
    if (tries == SHMD_READ_TRIES && a->read_only) return settle_read(d, a, SHMD_ERR_BUSY);
  }
  if (flags == 0) return settle_read(d, a, shmd_dict_node_get(a, node, &k, child));
  return shmd_dict_node_open(a, node, &k, flags, child);
}

int shmd_node_check(shmd_dict* d, shmd_node node) {
  uint64_t count;
  return shmd_count(d, node, &count);
}

int shmd_lock(shmd_dict* d, int64_t timeout) {
  CHECK_HANDLE("shmd_lock");
  CHECK_TIMEOUT("shmd_lock", timeout);
  return entered(d, a, "shmd_lock", shmd_lock_acquire(a, timeout));
}

void shmd_lock_options_init_for(shmd_lock_options* options, size_t struct_size) {
  const shmd_lock_options ours = {(uint32_t)struct_size, 1, SHMD_DEFAULT_TIMEOUT, SHMD_UNTIL_WOKEN, 1, 1};
  memset(options, 0, struct_size);
  memcpy(options, &ours, struct_size < sizeof ours ? struct_size : sizeof ours);
}

int shmd_lock_with(shmd_dict* d, const shmd_lock_options* options) {
  CHECK_HANDLE("shmd_lock_with");
  if (options == NULL) return entered(d, a, "shmd_lock_with", shmd_lock_acquire(a, SHMD_DEFAULT_TIMEOUT));
  if (options->struct_size != sizeof *options)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_lock_with: initialise the options with shmd_lock_options_init");
  CHECK_TIMEOUT("shmd_lock_with", options->timeout);
  CHECK_TIMEOUT("shmd_lock_with", options->sleep_time);
  return entered(d, a, "shmd_lock_with", shmd_lock_acquire_as(a, options));
}

int shmd_lock_steal(shmd_dict* d, int64_t pid) {
  int result = shmd_handle_enter(d, "shmd_lock_steal");
  if (result < 0) return result;
  result = entered(d, d->attachment, "shmd_lock_steal", shmd_lock_steal_from(d->attachment, pid));
  shmd_handle_leave(d);
  return result;
}

int shmd_unlock(shmd_dict* d) {
  shmd_attachment* a = shmd_attachment_of(d);
  bool counted;
  int result;
  if (SHMD_UNLIKELY(a == NULL)) return leave_closed(d, "shmd_unlock");
  if (shmd_transaction_mine(a) && a->depth <= 1)
    return shmd_fail(SHMD_ERR_IN_TRANSACTION, "dict '%s': commit or abort the open transaction instead of unlocking",
                     a->name);
  counted = leaving(d, a);
  result = shmd_lock_release(a);
  if (SHMD_UNLIKELY(result < 0 && shmd_attachment_of(d) == NULL)) {
    if (counted) shmd_local_store(&d->levels, shmd_load_relaxed(&d->levels) + 1);
    return leave_closed(d, "shmd_unlock");
  }
  if (result < 0 && counted) /* within a callback: a level below it, and still held */
    shmd_local_store(&d->levels, shmd_load_relaxed(&d->levels) + 1);
  return result;
}

int shmd_lock_status(shmd_dict* d, shmd_lock_info* info) {
  int result = shmd_handle_enter(d, "shmd_lock_status");
  if (result < 0) return result;
  result = info == NULL ? shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "shmd_lock_status: a place for the answer is needed")
                        : shmd_lock_info_of(d->attachment, info);
  shmd_handle_leave(d);
  return result;
}

int shmd_begin(shmd_dict* d, int64_t timeout) {
  int result;
  CHECK_TIMEOUT("shmd_begin", timeout);
  result = shmd_handle_enter(d, "shmd_begin");
  if (result < 0) return result;
  result = shmd_transaction_begin(d->attachment, timeout);
  if (result >= 0 && result != SHMD_TIMED_OUT) {
    shmd_local_store(&d->begun, section_of(d->attachment));
    result = entered(d, d->attachment, "shmd_begin", result);
  }
  shmd_handle_leave(d);
  return result;
}

static int end_transaction(shmd_dict* d, const char* function, bool commit) {
  int result SHMD_CLEANUP(call_over) = 0;
  if (SHMD_UNLIKELY(shmd_attachment_of(d) == NULL)) return leave_closed(d, function);
  result = shmd_handle_enter(d, function);
  if (result < 0) return leave_closed(d, function);
  if (shmd_transaction_mine(d->attachment)) (void)leaving(d, d->attachment);
  result = shmd_transaction_end(d->attachment, commit);
  shmd_handle_leave(d);
  return result;
}

int shmd_commit(shmd_dict* d) { return end_transaction(d, "shmd_commit", true); }
int shmd_abort(shmd_dict* d) { return end_transaction(d, "shmd_abort", false); }

int shmd_in_transaction(shmd_dict* d) {
  const shmd_attachment* a = shmd_attachment_of(d);
  return a != NULL && shmd_transaction_mine(a);
}

uint64_t shmd_transaction_mark(shmd_dict* d) {
  uint64_t mark;
  if (!shmd_in_transaction(d) || !shmd_handle_hold(d)) return 0;
  mark = shmd_tx_of(d->attachment)->stages;
  shmd_handle_let(d);
  return mark;
}

int shmd_transaction_spoil(shmd_dict* d, uint64_t mark) {
  int result = shmd_handle_enter(d, "shmd_transaction_spoil");
  if (result < 0) return result;
  result = shmd_transaction_fail(d->attachment, mark);
  shmd_handle_leave(d);
  return result;
}

int shmd_compact(shmd_dict* d) {
  int result = shmd_handle_enter(d, "shmd_compact");
  if (result < 0) return result;
  result = shmd_dict_compact(d->attachment);
  shmd_handle_leave(d);
  return result;
}
