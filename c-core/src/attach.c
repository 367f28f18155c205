#include "attach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "name.h"
#include "object.h"
#include "platform.h"
#include "slot.h"

#define DEFAULT_TIMEOUT INT64_C(10000000000)

enum {
  LOST = SHMD_NAME_CHANGED + 1,
  AGAIN = SHMD_NAME_CHANGED
}; /* internal outcomes; LOST: somebody else created the name */

/* Serialises attach, detach, unlink and fork in this process. Never held while user code runs. */
static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static shmd_attachment* registry;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;
static uint64_t* process_word; /* 0: a forked child that has not been put in order */
static uint64_t process_word_without_detector;

static void before_fork(void);
static void after_fork_parent(void);
static void after_fork_child(void);
static void at_exit(bool unloaded);

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

/* ---- options ---- */

static int check_options(const char* name, const shmd_options* o) {
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
  a->child_fd = -1;
  a->object_fd = -1;
  a->generation = process_word;
  a->references = 1;
  a->hidden = true;
  a->pid = shmd_os_pid();
  a->start_time = shmd_os_start_time();
  a->pid_space = shmd_os_pid_space();
  (void)pthread_mutex_init(&a->pin_mutex, NULL);
  (void)pthread_mutex_init(&a->rescue_mutex, NULL);
  return a;
}

/* The opposite of everything below, as far as it got. */
static void delete_attachment(shmd_attachment* a, bool published) {
  registry_remove(a);
  shmd_slot_leave(a);
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
  int result = shmd_name_reopen(a, !a->read_only);
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
  result = shmd_name_lock(a->liveness_fd, a->name, false);
  if (result < 0) return result;
  result = say_present(a);
  if (result >= 0 && !a->read_only) result = shmd_slot_take(a);
  if (result >= 0 && !shmd_name_leads_to(a->name, a->device, a->inode)) result = AGAIN;
  shmd_name_unlock(a->liveness_fd);
  return result < 0 || result == AGAIN ? result : 0;
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
  if (fd < 0) return shmd_name_open_failed(name, fd);
  result = shmd_os_info(fd, &info);
  result = result < 0 ? shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot look at the object", name)
                      : check_owner(name, &info, o);
  if (result >= 0) result = shmd_object_inspect(fd, name, &super);
  if (result >= 0) result = check_types(name, &super, o);
  a = result >= 0 ? registry_find(&super, &info, read_only) : NULL;
  if (result < 0 || a != NULL) {
    shmd_os_close(fd);
    if (a == NULL) return result;
    if (shmd_name_leads_to(name, a->device, a->inode)) {
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
  if (result >= 0) result = shmd_slot_take(a);
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
  int result = shmd_object_describe(name, o, &super);
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
  int result = shmd_name_check(name), tries;
  *out = NULL;
  if (result >= 0) result = check_options(name, options);
  if (result < 0) return result;
  registry_lock();
  result = AGAIN;
  for (tries = 0; tries < SHMD_NAME_TRIES && result == AGAIN; ++tries) {
    if (tries > 3) shmd_os_sleep(1000000);
    result = attach_once(name, options, out);
  }
  if (result >= 0 && result != AGAIN && options->unlink == SHMD_UNLINK_THIS_CLOSES) ++(*out)->closers;
  registry_unlock();
  if (result == AGAIN)
    return shmd_fail(SHMD_ERR_BUSY, "dict '%s' was removed and created anew %d times while opening it; try again", name,
                     SHMD_NAME_TRIES);
  return result;
}

/* ---- unlinking ---- */

static int unlink_object(shmd_attachment* a) {
  const int fd = shmd_name_reopen(a, true);
  int result;
  if (fd < 0)
    return shmd_fail_errno(fd == -EACCES || fd == -EPERM ? SHMD_ERR_PERMISSION_DENIED : SHMD_ERR_SYSTEM, fd,
                           "dict '%s': cannot open the object to unlink it", a->name);
  result = shmd_name_lock(fd, a->name, true);
  if (result >= 0) result = shmd_name_remove(a);
  shmd_name_close(fd);
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
  fd = shmd_name_reopen(a, true);
  if (fd < 0) { /* a read-only handle of a user who may not write: the next one who leaves removes the name */
    (void)shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_PRESENT);
    return 0;
  }
  result = shmd_name_lock(fd, a->name, true);
  (void)shmd_os_byte_unlock(a->liveness_fd, SHMD_BYTE_PRESENT);
  if (result >= 0 && (creator || shmd_os_byte_held(fd, SHMD_BYTE_PRESENT, 1) == 0)) result = shmd_name_remove(a);
  shmd_name_close(fd);
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

int shmd_unlink_name(const char* name) {
  int result = shmd_name_check(name), tries;
  if (result < 0) return result;
  registry_lock();
  result = AGAIN;
  for (tries = 0; tries < SHMD_NAME_TRIES && result == AGAIN; ++tries) result = shmd_name_unlink(name);
  registry_unlock();
  return result == AGAIN ? shmd_fail(SHMD_ERR_BUSY, "dict '%s' kept being created anew; try again", name) : result;
}

/* ---- fork ---- */

/*
 * The child's description is made before there is a child: it is present from its first instruction, even if the parent
 * leaves while the child still waits for a processor. The parent then closes its copy.
 */
static void before_fork(void) {
  shmd_attachment* a;
  registry_lock();
  for (a = registry; a != NULL; a = a->next) {
    if (a->hidden || a->departed) continue;
    a->child_fd = shmd_name_reopen(a, !a->read_only);
    if (a->child_fd >= 0) (void)shmd_os_byte_try_lock(a->child_fd, SHMD_BYTE_PRESENT, false);
  }
}

static void after_fork_parent(void) {
  shmd_attachment* a;
  for (a = registry; a != NULL; a = a->next) {
    shmd_os_close(a->child_fd); /* closed, not unlocked: the child has the description too */
    a->child_fd = -1;
  }
  registry_unlock();
}

/*
 * One attachment of the parent's becomes one of the child's own. The inherited description is closed, never unlocked: an
 * unlock would free the parent's bytes, a close only drops a reference.
 */
static void reattach(shmd_attachment* a) {
  const int inherited = a->liveness_fd;
  a->liveness_fd = a->child_fd;
  a->child_fd = -1;
  a->slot = SHMD_NO_SLOT;
  shmd_local_store(&a->owner, 0);
  a->held = 0;
  a->depth = 0;
  a->in_call = 0;
  a->creator = 0;
  a->closers = 0;
  a->pid = shmd_os_pid();
  a->start_time = shmd_os_start_time();
  a->pid_space = shmd_os_pid_space();
  (void)pthread_mutex_init(&a->pin_mutex, NULL); /* may have been held by a thread that does not exist here */
  (void)pthread_mutex_init(&a->rescue_mutex, NULL);
  if (a->rescuing != NULL) memset(a->rescuing, 0, (a->max_processes / 64 + 1) * sizeof(uint64_t));
  if (a->engine != NULL) shmd_engine_after_fork(a);
  if (!a->hidden && !a->departed && (a->liveness_fd >= 0 || join_presence(a) >= 0) && say_present(a) >= 0 &&
      !a->read_only)
    (void)shmd_slot_take(a);
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
    if (result >= 0 && !a->read_only) result = shmd_slot_take(a);
  }
  registry_unlock();
  if (result >= 0) return 0;
  (void)shmd_fail(SHMD_ERR_NOT_ATTACHED,
                  "dict '%s': this forked process could not attach for writing (%.200s); reads work, writes try again",
                  a->name, shmd_last_error()->message);
  return SHMD_ERR_NOT_ATTACHED;
}

/* ---- exit ---- */

/* What is left to the kernel at an exit: slots, mappings, memory. Other threads may still be using them. An unloaded copy
 * gives its slots back: the process that it was part of goes on, and would vouch for them. */
static void at_exit(bool unloaded) {
  shmd_attachment* a;
  if (process_word == NULL || shmd_load_acquire(process_word) == 0) return;
  registry_lock();
  for (a = registry; a != NULL; a = a->next) {
    if (a->hidden) continue;
    shmd_lock_abandon(a);
    if (a->closers > 0) (void)unlink_object(a);
    (void)depart(a);
    if (!unloaded) continue;
    shmd_slot_leave(a);
    shmd_os_close(a->liveness_fd);
    a->liveness_fd = -1;
  }
  shmd_lock_unloaded();
  registry_unlock();
}
