#include "attach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "object.h"
#include "platform.h"

#define DEFAULT_TIMEOUT INT64_C(10000000000)
#define NAME_WAIT UINT64_C(10000000000) /* ns to wait for those who attach or unlink just now */
#define MAX_TRIES 100                   /* names that change hands while we attach */

enum { LOST = 1000, AGAIN = 1001 }; /* internal outcomes: somebody else created the name; the name changed hands */

/* Serialises attach, detach, unlink and fork in this process. Never held while user code runs. */
static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static shmd_attachment* registry;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;
static uint64_t* process_word; /* 0: a forked child that has not been put in order */
static uint64_t process_word_without_detector;

static void before_fork(void);
static void after_fork_parent(void);
static void after_fork_child(void);
static void at_exit(void);

static void prepare_process(void) {
  process_word = shmd_os_fork_detector();
  if (process_word == NULL) process_word = &process_word_without_detector;
  shmd_local_store(process_word, 1);
  (void)pthread_atfork(before_fork, after_fork_parent, after_fork_child);
  shmd_os_at_exit(at_exit);
}

static void registry_lock(void) {
  (void)pthread_once(&process_once, prepare_process);
  if (SHMD_UNLIKELY(shmd_load_acquire(process_word) == 0)) after_fork_child(); /* forked round the handlers */
  (void)pthread_mutex_lock(&registry_mutex);
}
static void registry_unlock(void) { (void)pthread_mutex_unlock(&registry_mutex); }

static void registry_add(shmd_attachment* a) {
  a->next = registry;
  registry = a;
}

static void registry_remove(shmd_attachment* a) {
  shmd_attachment** at = &registry;
  while (*at != NULL && *at != a) at = &(*at)->next;
  if (*at == a) *at = a->next;
}

/* A copy of an object has its id too: the inode tells them apart. */
static shmd_attachment* registry_find(const shmd_superblock* super, const shmd_file_info* info, bool read_only) {
  shmd_attachment* a;
  for (a = registry; a != NULL; a = a->next)
    if (!a->hidden && !a->departed && a->read_only == read_only && a->inode == info->inode &&
        a->device == info->device && a->super->id[0] == super->id[0] && a->super->id[1] == super->id[1])
      return a;
  return NULL;
}

void shmd_attach_each(void (*function)(shmd_attachment* a)) {
  shmd_attachment* a;
  registry_lock();
  for (a = registry; a != NULL; a = a->next) function(a);
  registry_unlock();
}

/* ---- names and options ---- */

/* Length of the UTF-8 character at `s`, 0 if it is none (overlong, surrogate, beyond U+10FFFF, cut short). */
static size_t utf8_length(const unsigned char* s) {
  uint32_t value, low;
  size_t n, i;
  if (s[0] < 0x80) return 1;
  if (s[0] >= 0xc2 && s[0] <= 0xdf) {
    n = 2;
    value = s[0] & 0x1fu;
    low = 0x80;
  } else if ((s[0] & 0xf0u) == 0xe0) {
    n = 3;
    value = s[0] & 0x0fu;
    low = 0x800;
  } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
    n = 4;
    value = s[0] & 0x07u;
    low = 0x10000;
  } else
    return 0;
  for (i = 1; i < n; ++i) {
    if ((s[i] & 0xc0u) != 0x80) return 0;
    value = (value << 6) | (s[i] & 0x3fu);
  }
  if (value < low || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return 0;
  return n;
}

static int check_name(const char* name) {
  size_t length, i;
  if (name == NULL || name[0] == '\0')
    return shmd_fail(SHMD_ERR_INVALID_NAME, "the name is empty; use 1 to %u bytes of UTF-8 without '/'", SHMD_MAX_NAME);
  length = strlen(name);
  if (length > SHMD_MAX_NAME)
    return shmd_fail(SHMD_ERR_NAME_TOO_LONG, "the name '%.40s...' has %zu bytes; use at most %u", name, length,
                     SHMD_MAX_NAME);
  for (i = 0; i < length;) {
    const size_t n = utf8_length((const unsigned char*)name + i);
    if (name[i] == '/') return shmd_fail(SHMD_ERR_INVALID_NAME, "the name '%s' has a '/'; leave it out", name);
    if (n == 0)
      return shmd_fail(SHMD_ERR_INVALID_NAME, "the name is not valid UTF-8 at byte %zu; encode it as UTF-8", i);
    i += n;
  }
  return 0;
}

static int check_options(const char* name, const shmd_options* o) {
  if (o->layout_version != SHMD_LAYOUT_VERSION)
    return shmd_fail(
        SHMD_ERR_LAYOUT_MISMATCH,
        "dict '%s': the caller was compiled with headers of layout %u, this library has layout %u; recompile", name,
        (unsigned)o->layout_version, SHMD_LAYOUT_VERSION);
  if (o->mode < SHMD_OPEN_OR_CREATE || o->mode > SHMD_OPEN_ONLY || o->unlink < SHMD_UNLINK_LAST_CLOSES ||
      o->unlink > SHMD_UNLINK_NEVER || (o->flags & ~(uint32_t)(SHMD_READ_ONLY | SHMD_ALLOW_OTHER_OWNER)) != 0 ||
      (o->permissions & ~(uint32_t)0777) != 0)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                     "dict '%s': options hold an unknown mode, unlink policy, flag or permission", name);
  if ((o->flags & SHMD_READ_ONLY) != 0 && o->mode == SHMD_CREATE_ONLY)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "dict '%s': a read-only handle cannot create it; open it for writing",
                     name);
  return 0;
}

static int check_type(const char* name, const char* which, const char* stored, const char* asked) {
  if (asked == NULL || asked[0] == '\0' || stored[0] == '\0' || strcmp(stored, asked) == 0) return 0;
  return shmd_fail(SHMD_ERR_TYPE_MISMATCH,
                   "dict '%s' has %s type '%.120s', not '%.120s'; open it with its type, or unlink it", name, which,
                   stored, asked);
}

static int check_types(const char* name, const shmd_superblock* super, const shmd_options* o) {
  const int result = check_type(name, "key", super->key_type, o->key_type);
  return result < 0 ? result : check_type(name, "value", super->value_type, o->value_type);
}

/* ---- the bytes that serialise names ---- */

/* Waits for SHMD_BYTE_CREATE: shared by those who attach, exclusive to one who unlinks. */
static int name_lock(int fd, const char* name, bool exclusive) {
  const uint64_t start = shmd_os_now();
  uint64_t pause = 20000;
  int result;
  /* SYNC name: observes what attachers and unlinkers before us did to the name and to SHMD_BYTE_PRESENT. */
  while ((result = shmd_os_byte_try_lock(fd, SHMD_BYTE_CREATE, exclusive)) == -EAGAIN) {
    if (shmd_os_now() - start > NAME_WAIT)
      return shmd_fail(
          SHMD_ERR_BUSY,
          "dict '%s': another process has been opening or removing it for 10 s; continue or end that process", name);
    shmd_os_sleep(pause);
    if (pause < 1000000) pause *= 2;
  }
  if (result < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot lock a byte of the object", name);
  return 0;
}

static void name_unlock(int fd) {
  /* SYNC name: publishes what was done to the name and to SHMD_BYTE_PRESENT. */
  (void)shmd_os_byte_unlock(fd, SHMD_BYTE_CREATE);
}

/* Unlocks first: a child that is between vfork and exec still has a copy of the descriptor. */
static void name_close(int fd) {
  name_unlock(fd);
  shmd_os_close(fd);
}

static bool name_leads_to(const char* name, uint64_t device, uint64_t inode) {
  shmd_file_info info;
  return shmd_os_name_info(name, &info) == 0 && info.device == device && info.inode == inode;
}

/* A new open file description of the attachment's object: never one that is mapped, or inherited. */
static int open_again(const shmd_attachment* a, bool writable) {
  shmd_file_info info;
  int fd = shmd_os_reopen(a->object_fd, writable);
  if (fd >= 0) return fd;
  if (!name_leads_to(a->name, a->device, a->inode)) return fd;
  fd = shmd_os_open(a->name, writable);
  if (fd >= 0 && (shmd_os_info(fd, &info) < 0 || info.device != a->device || info.inode != a->inode)) {
    shmd_os_close(fd);
    return -ENOENT;
  }
  return fd;
}

/* ---- slots ---- */

static uint64_t hash_pid(uint64_t pid) { return shmd_hash_u64(UINT64_C(0x5348), pid); }

static void drop_pin(shmd_attachment* a, uint32_t slot) {
  uint64_t* pin = shmd_pin_of(a, slot);
  if (shmd_load_acquire(pin) == UINT64_MAX) return;
  /* SYNC pin: publishes that the pin is gone before the version moves. */
  shmd_store_release(pin, UINT64_MAX);
  (void)shmd_fetch_add(&shmd_control_of(a)->pin_version, 1);
}

static void write_entry(shmd_attachment* a, uint32_t slot) {
  shmd_slot* entry = shmd_slot_of(a, slot);
  char program[sizeof entry->program];
  memset(program, 0, sizeof program);
  shmd_os_program(program, sizeof program);
  shmd_store_release(&entry->pid, 0);
  shmd_copy_in(entry->program, program, sizeof program);
  shmd_store_release(&entry->start_time, a->start_time);
  shmd_store_release(&entry->attached_at, shmd_os_now());
  /* SYNC slot-entry: publishes start time and program before the pid they belong to. */
  shmd_store_release(&entry->pid, a->pid);
}

/* Takes the byte of a slot nobody owns. First those whose entry is cleared: one system call as a rule. */
static int take_byte(shmd_attachment* a, uint32_t* out) {
  const uint32_t n = a->max_processes;
  const uint32_t start = (uint32_t)(hash_pid(a->pid) % n);
  int pass;
  uint32_t i;
  for (pass = 0; pass < 4; ++pass) {
    if (pass == 3) shmd_os_sleep(2000000); /* a rescuer holds a dead slot's byte for a moment */
    for (i = 0; i < n; ++i) {
      const uint32_t slot = (start + i) % n;
      int result;
      if (pass == 0 && shmd_load_acquire(&shmd_slot_of(a, slot)->pid) != 0) continue;
      result = shmd_os_byte_try_lock(a->liveness_fd, SHMD_BYTE_SLOTS + slot, true);
      if (result == 0) {
        *out = slot;
        return 0;
      }
      if (result != -EAGAIN)
        return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot lock a slot's byte", a->name);
    }
  }
  return shmd_fail(
      SHMD_ERR_TOO_MANY_PROCESSES,
      "dict '%s': all %u slots are taken; end a process that uses it, or create it with a larger max_processes",
      a->name, (unsigned)n);
}

/*
 * Steps: (1) the slot's byte is ours: the slot is owned (2) the dead predecessor's pin is gone (3) the entry is ours
 * (4) if the lock word names the slot, its last owner died with the lock: repaired and released.
 * Killed after any step: the kernel frees the byte; the next one to take it starts at (2), a waiter for the lock that (4)
 * did not reach takes over as from any dead owner. An entry half written is only displayed.
 */
static int take_slot(shmd_attachment* a) {
  uint32_t slot = SHMD_NO_SLOT;
  int result = take_byte(a, &slot);
  if (result < 0) return result;
  drop_pin(a, slot);
  write_entry(a, slot);
  a->slot = slot;
  shmd_local_store(&a->owner, (uint64_t)slot + 1);
  result = shmd_lock_adopt(a);
  return result == SHMD_ERR_CORRUPT ? 0 : result; /* a dict that cannot be repaired can still be read */
}

/* Steps: (1) pin gone (2) entry cleared (3) byte free: the slot is nobody's. Killed between: a dead slot like any other. */
static void leave_slot(shmd_attachment* a) {
  const uint32_t slot = a->slot;
  if (slot == SHMD_NO_SLOT) return;
  shmd_local_store(&a->owner, 0);
  a->slot = SHMD_NO_SLOT;
  drop_pin(a, slot);
  shmd_store_release(&shmd_slot_of(a, slot)->pid, 0);
  /* SYNC slot-owner: publishes, with the byte, all that this process stored. */
  (void)shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_SLOTS + slot);
}

/* Which dead slots' bytes this process holds. The kernel cannot tell: locks of one description never conflict. */
static bool mark_rescuing(shmd_attachment* a, uint32_t slot) {
  const uint64_t bit = UINT64_C(1) << (slot & 63);
  if ((a->rescuing[slot >> 6] & bit) != 0) return false;
  a->rescuing[slot >> 6] |= bit;
  return true;
}
static void unmark_rescuing(shmd_attachment* a, uint32_t slot) {
  a->rescuing[slot >> 6] &= ~(UINT64_C(1) << (slot & 63));
}

bool shmd_slot_alive(shmd_attachment* a, uint32_t slot, bool* taken) {
  bool alive = true;
  *taken = false;
  if (slot >= a->max_processes || slot == a->slot || a->liveness_fd < 0) return true;
  (void)pthread_mutex_lock(&a->rescue_mutex);
  if (mark_rescuing(a, slot)) {
    /* SYNC slot-owner: observes all that the owner stored: the kernel grants the byte only when the owner's last
     * descriptor is closed, after its last instruction. */
    alive = shmd_os_byte_try_lock(a->liveness_fd, SHMD_BYTE_SLOTS + slot, true) != 0;
    if (alive) unmark_rescuing(a, slot);
    *taken = !alive;
  }
  (void)pthread_mutex_unlock(&a->rescue_mutex);
  return alive;
}

/* Steps: (1) pin gone (2) entry cleared (3) byte free. Killed between: the byte is free, the slot dead as before. */
void shmd_slot_release(shmd_attachment* a, uint32_t slot) {
  drop_pin(a, slot);
  shmd_store_release(&shmd_slot_of(a, slot)->pid, 0);
  (void)pthread_mutex_lock(&a->rescue_mutex);
  (void)shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_SLOTS + slot);
  unmark_rescuing(a, slot);
  (void)pthread_mutex_unlock(&a->rescue_mutex);
}

uint32_t shmd_attached_count(shmd_attachment* a) {
  uint32_t i, count = 0;
  for (i = 0; i < a->max_processes; ++i) {
    if (shmd_load_acquire(&shmd_slot_of(a, i)->pid) == 0) continue;
    if (i == a->slot || shmd_os_byte_held(a->liveness_fd, SHMD_BYTE_SLOTS + i, 1) == 1) ++count;
  }
  return count;
}

/* ---- attachments ---- */

static shmd_attachment* new_attachment(const char* name, const shmd_options* o) {
  shmd_attachment* a = (shmd_attachment*)calloc(1, sizeof *a);
  if (a == NULL) {
    (void)shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory to attach", name);
    return NULL;
  }
  memcpy(a->name, name, strlen(name) + 1);
  a->read_only = (o->flags & SHMD_READ_ONLY) != 0;
  a->timeout = o->timeout == 0 ? DEFAULT_TIMEOUT : o->timeout > INT64_MAX ? INT64_MAX : (int64_t)o->timeout;
  a->slot = SHMD_NO_SLOT;
  a->liveness_fd = -1;
  a->object_fd = -1;
  a->generation = process_word;
  a->references = 1;
  a->hidden = true;
  a->pid = shmd_os_pid();
  a->start_time = shmd_os_start_time();
  (void)pthread_mutex_init(&a->pin_mutex, NULL);
  (void)pthread_mutex_init(&a->rescue_mutex, NULL);
  return a;
}

/* The opposite of everything below, as far as it got. */
static void delete_attachment(shmd_attachment* a, bool published) {
  registry_remove(a);
  leave_slot(a);
  shmd_engine_detach(a);
  if (a->liveness_fd >= 0) (void)shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_PRESENT);
  shmd_os_close(a->liveness_fd);
  shmd_object_unmap(a);
  if (published)
    shmd_os_close(a->object_fd);
  else
    shmd_os_discard(a->object_fd);
  free(a->rescuing);
  (void)pthread_mutex_destroy(&a->pin_mutex);
  (void)pthread_mutex_destroy(&a->rescue_mutex);
  free(a);
}

static int prepare_local(shmd_attachment* a) {
  a->rescuing = (uint64_t*)calloc(a->max_processes / 64 + 1, sizeof(uint64_t));
  if (a->rescuing == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory to attach", a->name);
  return shmd_engine_attach(a);
}

/* Opens the liveness description and says with it that somebody is here. */
static int join_presence(shmd_attachment* a) {
  int result = open_again(a, !a->read_only);
  if (result < 0)
    return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot open the object a second time", a->name);
  a->liveness_fd = result;
  return 0;
}

static int say_present(shmd_attachment* a) {
  const int result = shmd_os_byte_try_lock(a->liveness_fd, SHMD_BYTE_PRESENT, false);
  if (result < 0)
    return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot lock a byte of the object", a->name);
  return 0;
}

/*
 * Attaching to an object that has a name. Steps: (1) mapped (2) SHMD_BYTE_CREATE shared: nobody unlinks (3) present
 * (4) slot taken (5) the name still leads here, or all of it is undone and begun again (6) SHMD_BYTE_CREATE free.
 * Killed at any step: the kernel frees the bytes.
 */
static int attach_steps(shmd_attachment* a, const shmd_superblock* super) {
  int result = shmd_object_map(a, super);
  if (result >= 0) result = prepare_local(a);
  if (result >= 0) result = join_presence(a);
  if (result < 0) return result;
  result = name_lock(a->liveness_fd, a->name, false);
  if (result < 0) return result;
  result = say_present(a);
  if (result >= 0 && !a->read_only) result = take_slot(a);
  if (result >= 0 && !name_leads_to(a->name, a->device, a->inode)) result = AGAIN;
  name_unlock(a->liveness_fd);
  return result < 0 || result == AGAIN ? result : 0;
}

static int open_failed(const char* name, int error) {
  shmd_file_info info;
  if (error == -EACCES || error == -EPERM || error == -EROFS) {
    if (shmd_os_name_info(name, &info) == 0 && info.owner != shmd_os_user())
      return shmd_fail_errno(
          SHMD_ERR_PERMISSION_DENIED, error,
          "dict '%s' belongs to user %u, who does not let you open it; ask for other permissions, or open "
          "it read-only",
          name, (unsigned)info.owner);
    return shmd_fail_errno(SHMD_ERR_PERMISSION_DENIED, error,
                           "dict '%s': its permissions do not let you open it; change them, or open it read-only",
                           name);
  }
  if (error == -ELOOP || error == -EISDIR || error == -ENXIO || error == -ENODEV)
    return shmd_fail_errno(SHMD_ERR_FOREIGN_OBJECT, error,
                           "'%s' is not a shared object; choose another name, or remove it by hand", name);
  return shmd_fail_errno(SHMD_ERR_SYSTEM, error, "dict '%s': cannot open the object", name);
}

static int check_owner(const char* name, const shmd_file_info* info, const shmd_options* o) {
  if (info->owner == shmd_os_user() || (o->flags & SHMD_ALLOW_OTHER_OWNER) != 0) return 0;
  return shmd_fail(
      SHMD_ERR_OTHER_OWNER,
      "dict '%s' belongs to user %u, you are user %u; allow it with SHMD_ALLOW_OTHER_OWNER if you trust them", name,
      (unsigned)info->owner, (unsigned)shmd_os_user());
}

/* 0 and *out, NO_SUCH_DICT without a message, AGAIN, or an error. */
static int attach_existing(const char* name, const shmd_options* o, shmd_attachment** out) {
  const bool read_only = (o->flags & SHMD_READ_ONLY) != 0;
  const int fd = shmd_os_open(name, !read_only);
  shmd_superblock super;
  shmd_file_info info;
  shmd_attachment* a;
  int result;
  if (fd == -ENOENT) return SHMD_ERR_NO_SUCH_DICT;
  if (fd < 0) return open_failed(name, fd);
  result = shmd_os_info(fd, &info);
  result = result < 0 ? shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot look at the object", name)
                      : check_owner(name, &info, o);
  if (result >= 0) result = shmd_object_inspect(fd, name, &super);
  if (result >= 0) result = check_types(name, &super, o);
  a = result >= 0 ? registry_find(&super, &info, read_only) : NULL;
  if (result < 0 || a != NULL) {
    shmd_os_close(fd);
    if (a == NULL) return result;
    if (name_leads_to(name, a->device, a->inode)) {
      ++a->references;
      *out = a;
      return 0;
    }
    return AGAIN;
  }
  a = new_attachment(name, o);
  if (a == NULL) {
    shmd_os_close(fd);
    return SHMD_ERR_OUT_OF_MEMORY;
  }
  a->object_fd = fd;
  registry_add(a);
  result = attach_steps(a, &super);
  if (result != 0) {
    delete_attachment(a, true);
    return result;
  }
  a->hidden = false;
  *out = a;
  return 0;
}

/* ---- creation ---- */

static int store_type(const char* name, const char* which, const char* type, char* to, size_t capacity) {
  const size_t length = type != NULL ? strlen(type) : 0;
  if (length >= capacity)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "dict '%s': the name of the %s type has %zu bytes; at most %zu", name,
                     which, length, capacity - 1);
  if (length != 0) memcpy(to, type, length);
  return 0;
}

static int fill_superblock(const char* name, const shmd_options* o, shmd_superblock* s) {
  uint64_t random[3];
  int result = shmd_object_geometry(o, s);
  if (result < 0) return result;
  result = shmd_os_random(random, sizeof random);
  if (result < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': no random numbers", name);
  s->id[0] = random[0] | 1;
  s->id[1] = random[1];
  s->hash_seed = random[2];
  s->unlink_policy = (uint32_t)o->unlink;
  s->creator_pid = shmd_os_pid();
  s->creator_start = shmd_os_start_time();
  s->ready = 1;
  memcpy(s->name, name, strlen(name));
  result = store_type(name, "key", o->key_type, s->key_type, sizeof s->key_type);
  return result < 0 ? result : store_type(name, "value", o->value_type, s->value_type, sizeof s->value_type);
}

/* Runs the creator's callback on a nameless object; other threads may open and close other dicts meanwhile. */
static int run_init(shmd_attachment* a, const shmd_options* o) {
  shmd_dict handle;
  int result;
  if (o->init == NULL) return 0;
  memset(&handle, 0, sizeof handle);
  handle.reader = &a->reader;
  handle.attachment = a;
  registry_unlock();
  result = o->init(&handle, o->init_context);
  registry_lock();
  return result;
}

/*
 * Steps: (1) a nameless object, its fixed regions (2) what the engine formats (3) present, slot 0..n taken (4) the
 * creator's callback (5) the name. Killed before (5): the system removes the object. After: a complete dict.
 */
static int create_steps(shmd_attachment* a, const shmd_superblock* super, const shmd_options* o) {
  int result = shmd_object_create(a, super, o->permissions);
  if (result >= 0) result = prepare_local(a);
  if (result >= 0) result = shmd_engine_format(a);
  if (result >= 0) result = join_presence(a);
  if (result >= 0) result = say_present(a);
  if (result >= 0) result = take_slot(a);
  if (result >= 0) result = run_init(a, o);
  if (result < 0) return result;
  result = shmd_os_publish(a->object_fd, a->name);
  if (result == -EEXIST) return LOST;
  if (result == -EACCES || result == -EPERM)
    return shmd_fail_errno(SHMD_ERR_PERMISSION_DENIED, result, "dict '%s': not allowed to name a shared object",
                           a->name);
  if (result == -ENOSPC || result == -EDQUOT)
    return shmd_fail_errno(SHMD_ERR_NO_SPACE, result, "dict '%s': no space for its name; unlink dicts", a->name);
  if (result < 0) return shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot name the object", a->name);
  return 0;
}

static int create(const char* name, const shmd_options* o, shmd_attachment** out) {
  shmd_superblock super;
  shmd_attachment* a;
  int result = fill_superblock(name, o, &super);
  if (result < 0) return result;
  a = new_attachment(name, o);
  if (a == NULL) return SHMD_ERR_OUT_OF_MEMORY;
  a->creator = 1;
  registry_add(a); /* hidden, so that a child forked meanwhile lets our descriptions go */
  result = create_steps(a, &super, o);
  if (result != 0) {
    delete_attachment(a, false);
    return result;
  }
  a->hidden = false;
  *out = a;
  return SHMD_CREATED;
}

static int attach_once(const char* name, const shmd_options* o, shmd_attachment** out) {
  shmd_file_info info;
  int result;
  if (o->mode == SHMD_CREATE_ONLY) {
    result = shmd_os_name_info(name, &info) == 0 ? LOST : create(name, o, out);
    if (result != LOST) return result;
    return shmd_fail(SHMD_ERR_ALREADY_EXISTS, "dict '%s' exists already; open it, unlink it, or choose another name",
                     name);
  }
  result = attach_existing(name, o, out);
  if (result != SHMD_ERR_NO_SUCH_DICT) return result;
  if (o->mode == SHMD_OPEN_ONLY || (o->flags & SHMD_READ_ONLY) != 0)
    return shmd_fail(SHMD_ERR_NO_SUCH_DICT, "no dict '%s' exists; create it first", name);
  result = create(name, o, out);
  return result == LOST ? AGAIN : result;
}

int shmd_attach(const char* name, const shmd_options* options, shmd_attachment** out) {
  int result = check_name(name), tries;
  *out = NULL;
  if (result >= 0) result = check_options(name, options);
  if (result < 0) return result;
  registry_lock();
  result = AGAIN;
  for (tries = 0; tries < MAX_TRIES && result == AGAIN; ++tries) {
    if (tries > 3) shmd_os_sleep(1000000);
    result = attach_once(name, options, out);
  }
  if (result >= 0 && result != AGAIN && options->unlink == SHMD_UNLINK_THIS_CLOSES) ++(*out)->closers;
  registry_unlock();
  if (result == AGAIN)
    return shmd_fail(SHMD_ERR_BUSY, "dict '%s' was removed and created anew %d times while opening it; try again", name,
                     MAX_TRIES);
  return result;
}

/* ---- unlinking ---- */

/* REQUIRES: SHMD_BYTE_CREATE exclusive. Steps: (1) the name is gone (2) the object says so (display only). */
static int remove_name(shmd_attachment* a) {
  int result;
  if (!name_leads_to(a->name, a->device, a->inode))
    return shmd_fail(SHMD_ERR_NO_SUCH_DICT, "dict '%s' was unlinked already", a->name);
  result = shmd_os_unlink(a->name);
  if (result == -ENOENT) return shmd_fail(SHMD_ERR_NO_SUCH_DICT, "dict '%s' was unlinked already", a->name);
  if (result < 0)
    return shmd_fail_errno(result == -EACCES || result == -EPERM ? SHMD_ERR_PERMISSION_DENIED : SHMD_ERR_SYSTEM, result,
                           "dict '%s': cannot remove its name", a->name);
  if (!a->read_only) shmd_store_release(&shmd_object_shared(a)->unlinked, 1);
  return 0;
}

static int unlink_object(shmd_attachment* a) {
  const int fd = open_again(a, true);
  int result;
  if (fd < 0)
    return shmd_fail_errno(fd == -EACCES || fd == -EPERM ? SHMD_ERR_PERMISSION_DENIED : SHMD_ERR_SYSTEM, fd,
                           "dict '%s': cannot open the object to unlink it", a->name);
  result = name_lock(fd, a->name, true);
  if (result >= 0) result = remove_name(a);
  name_close(fd);
  return result;
}

int shmd_unlink_object(shmd_attachment* a) {
  int result;
  registry_lock();
  result = unlink_object(a);
  registry_unlock();
  return result;
}

/*
 * The process leaves. Steps: (1) SHMD_BYTE_CREATE exclusive (2) no longer present (3) nobody else present, or creator and
 * policy says so: the name goes (4) bytes free. As (2) and (3) happen under one byte, of two that leave at once the
 * second sees nobody. Killed before (3): the name stays for the next one who leaves; an orphan if there is none.
 */
static int depart(shmd_attachment* a) {
  const uint32_t policy = a->super->unlink_policy;
  const bool last = policy == SHMD_UNLINK_LAST_CLOSES, creator = policy == SHMD_UNLINK_CREATOR_CLOSES && a->creator;
  int fd, result;
  if (a->departed || a->liveness_fd < 0) return 0;
  a->departed = true;
  if (!last && !creator) return shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_PRESENT) < 0 ? SHMD_ERR_SYSTEM : 0;
  fd = open_again(a, true);
  if (fd < 0) { /* a read-only handle of a user who may not write: the next one who leaves removes the name */
    (void)shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_PRESENT);
    return 0;
  }
  result = name_lock(fd, a->name, true);
  (void)shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_PRESENT);
  if (result >= 0 && (creator || shmd_os_byte_held(fd, SHMD_BYTE_PRESENT, 1) == 0)) result = remove_name(a);
  name_close(fd);
  return result == SHMD_ERR_NO_SUCH_DICT ? 0 : result;
}

int shmd_detach(shmd_attachment* a, int unlink_this) {
  int result = 0;
  registry_lock();
  if (unlink_this && a->closers > 0) { /* 0 in a forked child: closing there does not unlink */
    --a->closers;
    result = unlink_object(a);
    if (result == SHMD_ERR_NO_SUCH_DICT) result = 0;
  }
  if (--a->references == 0) {
    int left;
    shmd_lock_abandon(a);
    left = depart(a);
    if (result == 0) result = left;
    delete_attachment(a, true);
  }
  registry_unlock();
  return result;
}

/* Whether the object behind `fd` may be removed: ours, whole or half made or of any layout, but nothing foreign. */
static int check_removable(int fd, const char* name, shmd_superblock* super) {
  const int result = shmd_object_inspect(fd, name, super);
  return result == SHMD_ERR_FOREIGN_OBJECT || result == SHMD_ERR_SYSTEM ? result : 0;
}

static void mark_unlinked(int fd, const shmd_superblock* super) {
  unsigned char* base;
  shmd_file_info info;
  if (super->magic != SHMD_MAGIC || super->layout_version != SHMD_LAYOUT_VERSION || super->abi != SHMD_ABI) return;
  if (shmd_os_info(fd, &info) < 0 || info.size < SHMD_PAGE || shmd_os_map(fd, SHMD_PAGE, true, &base) < 0) return;
  shmd_store_release(&((shmd_superblock*)(void*)base)->unlinked, 1);
  shmd_os_unmap(base, SHMD_PAGE);
}

static int unlink_found(int fd, const char* name) {
  shmd_superblock super;
  shmd_file_info info;
  int result = check_removable(fd, name, &super);
  if (result >= 0) result = name_lock(fd, name, true);
  if (result < 0) return result;
  if (shmd_os_info(fd, &info) < 0 || !name_leads_to(name, info.device, info.inode)) return AGAIN;
  result = shmd_os_unlink(name);
  if (result == -ENOENT) return AGAIN;
  if (result < 0)
    return shmd_fail_errno(result == -EACCES || result == -EPERM ? SHMD_ERR_PERMISSION_DENIED : SHMD_ERR_SYSTEM, result,
                           "dict '%s': cannot remove its name", name);
  mark_unlinked(fd, &super);
  return 0;
}

int shmd_unlink_name(const char* name) {
  int result = check_name(name), tries;
  if (result < 0) return result;
  registry_lock();
  result = AGAIN;
  for (tries = 0; tries < MAX_TRIES && result == AGAIN; ++tries) {
    const int fd = shmd_os_open(name, true);
    if (fd == -ENOENT)
      result = shmd_fail(SHMD_ERR_NO_SUCH_DICT, "no dict '%s' exists", name);
    else if (fd < 0)
      result = open_failed(name, fd);
    else
      result = unlink_found(fd, name);
    if (fd >= 0) name_close(fd);
  }
  registry_unlock();
  return result == AGAIN ? shmd_fail(SHMD_ERR_BUSY, "dict '%s' kept being created anew; try again", name) : result;
}

/* ---- fork ---- */

static void before_fork(void) { registry_lock(); }
static void after_fork_parent(void) { registry_unlock(); }

/*
 * One attachment of the parent's becomes one of the child's own. The new description says "present" before the inherited
 * one is closed. Closed, never unlocked: an unlock would free the parent's bytes, a close only drops a reference.
 */
static void reattach(shmd_attachment* a) {
  const int inherited = a->liveness_fd;
  a->liveness_fd = -1;
  a->slot = SHMD_NO_SLOT;
  shmd_local_store(&a->owner, 0);
  a->held = 0;
  a->depth = 0;
  a->in_call = 0;
  a->creator = 0;
  a->closers = 0;
  a->pid = shmd_os_pid();
  a->start_time = shmd_os_start_time();
  (void)pthread_mutex_init(&a->pin_mutex, NULL); /* may have been held by a thread that does not exist here */
  (void)pthread_mutex_init(&a->rescue_mutex, NULL);
  if (a->rescuing != NULL) memset(a->rescuing, 0, (a->max_processes / 64 + 1) * sizeof(uint64_t));
  if (a->engine != NULL) shmd_engine_after_fork(a);
  if (!a->hidden && !a->departed && join_presence(a) >= 0 && say_present(a) >= 0 && !a->read_only) (void)take_slot(a);
  shmd_os_close(inherited);
}

/* REQUIRES: the child's only thread, registry mutex held. */
static void put_child_in_order(void) {
  shmd_attachment* a;
  shmd_os_forked();
  shmd_local_store(process_word, 1);
  shmd_lock_forked();
  for (a = registry; a != NULL; a = a->next) reattach(a);
}

static void after_fork_child(void) {
  const bool detected = process_word != &process_word_without_detector;
  if (detected && shmd_load_acquire(process_word) != 0) return; /* another child handler wrote, and put us in order */
  (void)pthread_mutex_init(&registry_mutex, NULL);
  (void)pthread_mutex_lock(&registry_mutex);
  put_child_in_order();
  registry_unlock();
}

int shmd_attach_child(shmd_attachment* a) {
  int result = 0;
  registry_lock();
  if (a->slot == SHMD_NO_SLOT) {
    if (a->liveness_fd < 0) result = join_presence(a);
    if (result >= 0) result = say_present(a);
    if (result >= 0 && !a->read_only) result = take_slot(a);
  }
  registry_unlock();
  if (result >= 0) return 0;
  (void)shmd_fail(SHMD_ERR_NOT_ATTACHED,
                  "dict '%s': this forked process could not attach for writing (%.200s); reads work, writes try again",
                  a->name, shmd_last_error()->message);
  return SHMD_ERR_NOT_ATTACHED;
}

/* ---- exit ---- */

/* What is left to the kernel: slots, mappings, memory. Other threads may still be using them. */
static void at_exit(void) {
  shmd_attachment* a;
  if (process_word == NULL || shmd_load_acquire(process_word) == 0) return;
  registry_lock();
  for (a = registry; a != NULL; a = a->next) {
    if (a->hidden) continue;
    shmd_lock_abandon(a);
    if (a->closers > 0) (void)unlink_object(a);
    (void)depart(a);
  }
  shmd_lock_unloaded();
  registry_unlock();
}
