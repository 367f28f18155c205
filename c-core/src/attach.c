/* SPDX-License-Identifier: Apache-2.0 */
#include "attach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "descriptor.h"
#include "error.h"
#include "mutex.h"
#include "name.h"
#include "object.h"
#include "platform.h"
#include "presence.h"
#include "registry.h"
#include "slot.h"

#define DEFAULT_TIMEOUT INT64_C(10000000000)
#define ATTACHMENT_BYTES ((sizeof(shmd_attachment) + SHMD_PAGE - 1) / SHMD_PAGE * SHMD_PAGE)
#define END_WAIT UINT64_C(50000000)       /* ns for writes that are under way when the last handle is closed */
#define RETIRED_MOST 128u                 /* attachments that stay readable */
#define RETIRED_BYTES (UINT64_C(8) << 40) /* and their addresses, of 128 TiB that there are */

enum {
  WAITED = SHMD_NAME_CHANGED + 2,
  LOST = SHMD_NAME_CHANGED + 1,
  AGAIN = SHMD_NAME_CHANGED
}; /* internal outcomes; LOST: somebody else created the name; WAITED: begin again, for another thread was at it */

/* ---- options ---- */

static int check_options(const char* name, const shmd_options* o) {
  if (o->mode < SHMD_OPEN_OR_CREATE || o->mode > SHMD_OPEN_ONLY || o->unlink < SHMD_UNLINK_LAST_CLOSES ||
      o->unlink > SHMD_UNLINK_NEVER ||
      (o->flags & ~(uint32_t)(SHMD_READ_ONLY | SHMD_ALLOW_OTHER_OWNER | SHMD_ANONYMOUS | SHMD_OBSERVER)) != 0 ||
      (o->permissions & ~(uint32_t)0777) != 0)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                     "dict '%s': options hold an unknown mode, unlink policy, flag or permission", name);
  if ((o->flags & SHMD_READ_ONLY) != 0 && (o->mode == SHMD_CREATE_ONLY || (o->flags & SHMD_ANONYMOUS) != 0))
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "dict '%s': a read-only handle cannot create it; open it for writing",
                     name);
  if ((o->flags & SHMD_OBSERVER) != 0 && (o->mode != SHMD_OPEN_ONLY || o->unlink == SHMD_UNLINK_THIS_CLOSES))
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT,
                     "dict '%s': an observer opens what exists, with the mode for that, and removes no name", name);
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
  static uint64_t serials;
  shmd_attachment* a = (shmd_attachment*)shmd_os_pages(ATTACHMENT_BYTES);
  if (a == NULL) {
    (void)shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory to attach", name);
    return NULL;
  }
  memcpy(a->name, name, strlen(name) + 1);
  a->read_only = (o->flags & SHMD_READ_ONLY) != 0;
  a->observer = (o->flags & SHMD_OBSERVER) != 0;
  a->timeout = o->timeout == 0 ? DEFAULT_TIMEOUT : o->timeout > INT64_MAX ? INT64_MAX : (int64_t)o->timeout;
  a->slot = SHMD_NO_SLOT;
  a->liveness_fd = -1;
  a->child_fd = -1;
  a->object_fd = -1;
  a->generation = shmd_registry_generation();
  a->handles = 1;
  a->references = 1;
  a->serial = ++serials;
  a->hidden = true;
  a->pid = shmd_os_pid();
  a->start_time = shmd_os_start_time();
  a->pid_space = shmd_os_pid_space();
  (void)pthread_mutex_init(&a->pin_mutex, NULL);
  (void)pthread_mutex_init(&a->rescue_mutex, NULL);
  shmd_event_prepare(a);
  return a;
}

/* The end of what the slot and the descriptors were for. `published`: the object's descriptor is only closed. */
static void let_go(shmd_attachment* a, bool published) {
  shmd_engine_detach(a);
  (void)shmd_bytes_unlock(a, SHMD_BYTE_PRESENT);
  shmd_descriptor_close_liveness(a);
  if (!published && shmd_descriptor_object(a)) shmd_os_stay_unnamed(a->object_fd);
  shmd_descriptor_close_object(a);
  free(a->rescuing);
  a->rescuing = NULL;
  (void)pthread_mutex_destroy(&a->pin_mutex);
  (void)pthread_mutex_destroy(&a->rescue_mutex);
  (void)pthread_mutex_destroy(&a->event_mutex);
}

/* The opposite of everything below, as far as it got, of one that nobody else has seen. */
static void delete_attachment(shmd_attachment* a, bool published) {
  shmd_registry_remove(a);
  shmd_slot_leave(a);
  let_go(a, published);
  shmd_object_unmap(a);
  shmd_os_pages_free(a, ATTACHMENT_BYTES);
}

/* ---- the end of an attachment. All under the registry's mutex ---- */

/* Attachments that are over, the last one first: what they were stays readable for a while, for reads that had begun. */
static struct {
  shmd_attachment* last;
  uint64_t count, bytes;
} retired;

static void drop_oldest(void) {
  shmd_attachment** link = &retired.last;
  shmd_attachment* a;
  while ((*link)->next != NULL) link = &(*link)->next;
  a = *link;
  *link = NULL;
  --retired.count;
  retired.bytes -= a->retired;
  if (a->retired != 0) shmd_os_unmap(a->reader.base, a->retired);
  shmd_os_pages_free(a, ATTACHMENT_BYTES);
}

void shmd_attachment_drop_retired(void) {
  while (retired.last != NULL) drop_oldest();
}

/*
 * No thread of this process writes through it, and none will. Steps: (1) nobody finds it (2) the pin is gone and the slot's
 * entry cleared (3) the mapping shows a closed dict (4) the bytes are free, the descriptors closed. (3) comes before (4): who is
 * late takes no lock in the slot's name that the next owner of the slot does not know of. Killed at any step: a dead process.
 */
static void retire(shmd_attachment* a) {
  const uint64_t space = shmd_os_address_space();
  const uint64_t most = space == UINT64_MAX || space / 8 > RETIRED_BYTES ? RETIRED_BYTES : space / 8;
  uint32_t slot;
  shmd_registry_remove(a);
  slot = shmd_slot_resign(a);
  if (!a->process_bytes) shmd_descriptor_close_object(a); /* while it is mapped; no write needs it any more */
  a->retired = shmd_object_retire(a);
  shmd_slot_free(a, slot);
  let_go(a, true);
  a->next = retired.last;
  retired.last = a;
  ++retired.count;
  retired.bytes += a->retired;
  while (retired.count > RETIRED_MOST || retired.bytes > most) drop_oldest();
  shmd_registry_keep();
}

/* REQUIRES: no reference. Waits a moment for another thread that is inside a write; after that it is that thread's affair. */
static void end_attachment(shmd_attachment* a) {
  uint64_t pause = 20000,
           waited = shmd_lock_mine(a) ? END_WAIT + 1 : 0; /* this thread's own write goes on after this */
  a->ending = true;
  while (shmd_lock_inside(a)) {
    if (waited > END_WAIT) {
      shmd_local_exchange(&a->lingers, 1);
      a->ending = false;
      if (shmd_lock_inside(a)) return;
      a->ending = true; /* it has left meanwhile, and may not have seen that it is to end this */
      break;
    }
    shmd_mutex_sleep(-1, pause);
    waited += pause;
    if (pause < 1000000) pause *= 2;
  }
  shmd_local_store(&a->lingers, 0);
  retire(a);
}

static bool can_end(shmd_attachment* a) {
  return shmd_load_acquire(&a->lingers) != 0 && !a->ending && !shmd_lock_inside(a);
}

static void end_lingering(void) {
  shmd_attachment* a;
  while ((a = shmd_registry_search(can_end)) != NULL) end_attachment(a);
}

void shmd_attachment_end_lingering(void) {
  shmd_registry_lock();
  end_lingering();
  shmd_registry_unlock();
}

bool shmd_attachment_hold(shmd_attachment* a) {
  uint64_t references = shmd_load_acquire(&a->references);
  do
    if (references == 0) return false;
  while (!shmd_local_cas(&a->references, &references, references + 1));
  return true;
}

void shmd_attachment_let(shmd_attachment* a) {
  if (shmd_local_count(&a->references, UINT64_MAX) != 1) return;
  shmd_registry_lock();
  end_attachment(a);
  shmd_registry_unlock();
}

static int prepare_local(shmd_attachment* a) {
  a->rescuing = (uint64_t*)calloc(a->max_processes / 64 + 1, sizeof(uint64_t));
  if (a->rescuing == NULL) return shmd_fail(SHMD_ERR_OUT_OF_MEMORY, "dict '%s': no memory to attach", a->name);
  return shmd_engine_attach(a);
}

/*
 * Attaching to an object by its name. Steps: (1) mapped (2) SHMD_BYTE_CREATE shared: nobody unlinks (3) present
 * (4) slot taken (5) the name still leads here, or all of it is undone and begun again (6) SHMD_BYTE_CREATE free.
 * Killed at any step: the kernel frees the bytes. By a descriptor it is the same without (5): whatever name it has, or
 * had, the descriptor leads here.
 */
static int attach_steps(shmd_attachment* a, const shmd_superblock* super, bool by_name) {
  int result = shmd_object_map(a, super);
  if (result >= 0) result = prepare_local(a);
  if (result >= 0) result = shmd_presence_join(a);
  if (result < 0) return result;
  a->attaching = true; /* the mutex is let go while the name is another process's */
  result = shmd_name_hold(a, false);
  if (result < 0) return result;
  result = shmd_presence_say(a);
  if (result >= 0 && !a->read_only) result = shmd_slot_take(a);
  if (result >= 0 && by_name && !shmd_name_leads_to(a->name, a->device, a->inode)) result = AGAIN;
  shmd_name_let_go(a);
  return result < 0 || result == AGAIN ? result : 0;
}

static int check_owner(const char* name, const shmd_file_info* info, const shmd_options* o) {
  if (info->owner == shmd_os_user() || (o->flags & SHMD_ALLOW_OTHER_OWNER) != 0) return 0;
  return shmd_fail(SHMD_ERR_OTHER_OWNER,
                   "dict '%s' belongs to user %u, you are user %u; allow other owners in the options if you trust them",
                   name, (unsigned)info->owner, (unsigned)shmd_os_user());
}

/* Attaches to the object behind `fd`, which becomes the attachment's or is closed. `name`: to say of it, and to look for it
 * under, if by_name. 0 and *out, AGAIN, WAITED, or an error. */
static int attach_open(int fd, const char* name, bool by_name, const shmd_options* o, shmd_attachment** out) {
  shmd_superblock super;
  shmd_file_info info;
  shmd_attachment* a;
  int result = shmd_os_info(fd, &info);
  result = result < 0 ? shmd_fail_errno(SHMD_ERR_SYSTEM, result, "dict '%s': cannot look at the object", name)
                      : check_owner(name, &info, o);
  if (result >= 0) result = shmd_object_inspect(fd, name, &super);
  if (result >= 0) result = check_types(name, &super, o);
  a = result >= 0 ? shmd_registry_find(&super, &info, o->flags) : NULL;
  if (result < 0 || a != NULL) {
    shmd_os_close(fd);
    if (a == NULL) return result;
    if (a->attaching || a->leaving) {
      shmd_mutex_wait();
      return WAITED;
    }
    if (by_name && !shmd_name_leads_to(name, a->device, a->inode)) return AGAIN;
    (void)shmd_attachment_hold(a); /* its handles have references */
    shmd_local_store(&a->handles, shmd_load_relaxed(&a->handles) + 1);
    if (shmd_liveness_keep(a) < 0) (void)shmd_attach_keep(a); /* if it cannot write, writes say so */
    *out = a;
    return 0;
  }
  if (!by_name && super.name[0] != '\0') name = super.name;
  a = new_attachment(name, o);
  if (a == NULL) {
    shmd_os_close(fd);
    return SHMD_ERR_OUT_OF_MEMORY;
  }
  a->nameless = !by_name && super.name[0] == '\0';
  a->object_fd = fd;
  shmd_registry_add(a);
  result = attach_steps(a, &super, by_name);
  a->attaching = false;
  shmd_mutex_changed();
  if (result != 0) {
    delete_attachment(a, true);
    return result;
  }
  a->hidden = false;
  *out = a;
  return 0;
}

/* 0 and *out, NO_SUCH_DICT without a message, AGAIN, or an error. */
static int attach_existing(const char* name, const shmd_options* o, shmd_attachment** out) {
  const int fd = shmd_os_open(name, (o->flags & SHMD_READ_ONLY) == 0);
  if (fd == -ENOENT) return SHMD_ERR_NO_SUCH_DICT;
  if (fd < 0) return shmd_name_open_failed(name, fd);
  return attach_open(fd, name, true, o, out);
}

/* A description of our own of what the caller's descriptor leads to, with the access that the options ask for. */
static int adopt(const char* name, const shmd_options* o) {
  int fd = shmd_os_reopen(o->fd, (o->flags & SHMD_READ_ONLY) == 0);
  if (fd == -ENOENT) fd = shmd_os_duplicate(o->fd); /* no /proc, or no such descriptor */
  if (fd >= 0) return fd;
  if (fd == -EBADF)
    return shmd_fail_errno(SHMD_ERR_INVALID_ARGUMENT, fd, "dict '%s': options.fd is not an open descriptor", name);
  return shmd_name_open_failed(name, fd);
}

/* ---- creation ---- */

/* Where a new object is made. */
enum place { UNDER_NAME, NAMELESS, IN_FILE };

/* What is not to be is thrown away. A child that was forked meanwhile only lets go of it: the object is its parent's. */
static void give_up_creation(shmd_attachment* a, enum place place) {
  delete_attachment(a, place == IN_FILE || a->forks != 0);
}

/* The registry's mutex is given back while the creator's callback runs. If that throws there will be no dict. */
typedef struct init_call {
  shmd_attachment* a;
  enum place place;
  bool returned;
} init_call;
static void init_over(init_call* call) {
  shmd_registry_lock();
  if (call->returned) return;
  give_up_creation(call->a, call->place);
  shmd_registry_unlock();
}

/* Runs the creator's callback on a nameless object; other threads may open and close other dicts meanwhile. */
static int run_init(shmd_attachment* a, const shmd_options* o, enum place place) {
  shmd_dict handle;
  int result;
  if (o->init == NULL) return 0;
  memset(&handle, 0, sizeof handle);
  handle.attachment = a;
  handle.attached = a->serial;
  handle.uses = 1;
  handle.reader = (uint64_t)(uintptr_t)&a->reader;
  {
    init_call call SHMD_CLEANUP(init_over) = {a, place, false};
    shmd_registry_unlock();
    result = o->init(&handle, o->init_context);
    call.returned = true;
  }
  if (a->forks != 0 && result >= 0)
    return shmd_fail(SHMD_ERR_ABORTED,
                     "dict '%s': this process was forked inside the function that fills the new dict, which its parent "
                     "makes; open it again",
                     a->name);
  return result;
}

/*
 * Steps: (1) a nameless object, its fixed regions (2) what the engine formats (3) present, slot 0..n taken (4) the
 * creator's callback (5) the name. Killed before (5): the system removes the object. After: a complete dict.
 * In a file of the caller's: (5) is the caller's affair.
 */
static int create_steps(shmd_attachment* a, const shmd_superblock* super, const shmd_options* o, enum place place) {
  int result = place == IN_FILE ? shmd_object_build(a, super) : shmd_object_create(a, super, o->permissions);
  if (result >= 0) result = prepare_local(a);
  if (result >= 0) result = shmd_engine_format(a);
  if (result >= 0) result = shmd_presence_join(a);
  if (result >= 0 && place == NAMELESS)
    shmd_os_stay_unnamed(a->object_fd); /* without /proc the join went by that name */
  if (result >= 0) result = shmd_presence_say(a);
  if (result >= 0) result = shmd_slot_take(a);
  if (result >= 0) result = run_init(a, o, place);
  if (result < 0) return result;
  if (place != UNDER_NAME) return 0;
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

static int create(const char* name, const shmd_options* o, enum place place, shmd_attachment** out) {
  shmd_superblock super;
  shmd_attachment* a;
  int result = shmd_object_describe(name, o, &super);
  if (result < 0) return result;
  a = new_attachment(name != NULL ? name : "(anonymous)", o);
  if (a == NULL) return SHMD_ERR_OUT_OF_MEMORY;
  a->creator = 1;
  a->nameless = name == NULL;
  if (place == IN_FILE) {
    shmd_file_info info;
    a->object_fd = adopt(a->name, o);
    result = a->object_fd < 0 ? a->object_fd : 0;
    if (result >= 0 && (shmd_os_info(a->object_fd, &info) < 0 || !info.regular || info.size != 0))
      result = shmd_fail(SHMD_ERR_ALREADY_EXISTS, "dict '%s': options.fd does not lead to an empty file", a->name);
  }
  shmd_registry_add(a); /* hidden, so that a child forked meanwhile lets our descriptions go */
  if (result >= 0) result = create_steps(a, &super, o, place);
  if (result != 0) {
    give_up_creation(a, place);
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
    result = shmd_os_name_info(name, &info) == 0 ? LOST : create(name, o, UNDER_NAME, out);
    if (result != LOST) return result;
    return shmd_fail(SHMD_ERR_ALREADY_EXISTS, "dict '%s' exists already; open it, unlink it, or choose another name",
                     name);
  }
  result = attach_existing(name, o, out);
  if (result != SHMD_ERR_NO_SUCH_DICT) return result;
  if (o->mode == SHMD_OPEN_ONLY || (o->flags & SHMD_READ_ONLY) != 0) {
    result = shmd_name_place(name);
    if (result < 0) return result;
    return shmd_fail(SHMD_ERR_NO_SUCH_DICT, "no dict '%s' exists; create it first", name);
  }
  result = create(name, o, UNDER_NAME, out);
  return result == LOST ? AGAIN : result;
}

/* By name: others may create and remove it at the same time. */
static int attach_named(const char* name, const shmd_options* o, shmd_attachment** out) {
  int result = AGAIN, tries;
  for (tries = 0; tries < SHMD_NAME_TRIES && (result == AGAIN || result == WAITED); ++tries) {
    if (tries > 3) shmd_mutex_sleep(-1, 1000000);
    do result = attach_once(name, o, out);
    while (result == WAITED);
  }
  if (result == AGAIN)
    return shmd_fail(SHMD_ERR_BUSY, "dict '%s' was removed and created anew %d times while opening it; try again", name,
                     SHMD_NAME_TRIES);
  return result;
}

/* By descriptor: *out is the dict behind it, or a new one in it. */
static int attach_descriptor(const char* name, const shmd_options* o, shmd_attachment** out) {
  char said[40];
  int fd, result;
  if (o->mode == SHMD_CREATE_ONLY) return create(name, o, IN_FILE, out);
  if (name != NULL)
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "dict '%s': either a name or a descriptor says what to open", name);
  (void)snprintf(said, sizeof said, "(descriptor %d)", o->fd);
  do {
    fd = adopt(said, o);
    result = fd < 0 ? fd : attach_open(fd, said, false, o, out);
  } while (result == WAITED);
  return result;
}

static int attach_somehow(const char* name, const shmd_options* o, shmd_attachment** out) {
  if (o->fd >= 0) return attach_descriptor(name, o, out);
  if (o->flags & SHMD_ANONYMOUS) return create(NULL, o, NAMELESS, out);
  return attach_named(name, o, out);
}

int shmd_attach(const char* name, const shmd_options* options, shmd_attachment** out) {
  const bool anonymous = (options->flags & SHMD_ANONYMOUS) != 0;
  char random[SHMD_RANDOM_NAME];
  int result = check_options(name != NULL ? name : "", options);
  *out = NULL;
  if (result < 0) return result;
  if (anonymous && (name != NULL || options->fd >= 0 || options->mode == SHMD_OPEN_ONLY))
    return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "an anonymous dict is a new one, without name and descriptor");
  if (name == NULL && !anonymous && options->fd < 0) {
    if (options->mode == SHMD_OPEN_ONLY || (options->flags & SHMD_READ_ONLY) != 0)
      return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "a name is needed to open a dict that exists");
    result = shmd_random_name(random);
    name = random;
  }
  if (result >= 0 && name != NULL) result = shmd_name_check(name);
  if (result < 0) return result;
  shmd_registry_lock();
  end_lingering();
  result = attach_somehow(name, options, out);
  if (result >= 0 && options->unlink == SHMD_UNLINK_THIS_CLOSES) ++(*out)->closers;
  shmd_registry_keep();
  shmd_registry_unlock();
  return result;
}

/* ---- leaving and unlinking ---- */

int shmd_unlink_object(shmd_attachment* a) {
  int result;
  shmd_registry_lock();
  result = shmd_presence_unlink(a);
  shmd_registry_unlock();
  return result;
}

int shmd_detach(shmd_attachment* a, bool unlink_this, bool keep) {
  int result = 0;
  shmd_registry_lock();
  if (unlink_this && a->closers > 0) { /* 0 in a forked child: closing there does not unlink */
    --a->closers;
    result = shmd_presence_unlink(a);
    if (result == SHMD_ERR_NO_SUCH_DICT) result = 0;
  }
  if (shmd_load_relaxed(&a->handles) == 1) {
    int left;
    a->leaving = true;
    shmd_lock_abandon(a);
    shmd_lock_close(a);
    if (keep) a->departed = true; /* the bytes go with their descriptors */
    left = shmd_presence_end(a);
    if (result == 0) result = left;
    a->departed = true;
    a->leaving = false;
    shmd_mutex_changed();
  } else {
    shmd_local_store(&a->handles, shmd_load_relaxed(&a->handles) - 1);
  }
  end_lingering();
  shmd_registry_unlock();
  return result;
}

int shmd_unlink_name(const char* name) {
  int result = shmd_name_check(name), tries;
  if (result < 0) return result;
  shmd_registry_lock();
  result = AGAIN;
  for (tries = 0; tries < SHMD_NAME_TRIES && result == AGAIN; ++tries) result = shmd_name_unlink(name);
  shmd_registry_keep();
  shmd_registry_unlock();
  return result == AGAIN ? shmd_fail(SHMD_ERR_BUSY, "dict '%s' kept being created anew; try again", name) : result;
}
