/* SPDX-License-Identifier: Apache-2.0 */
#include "handle.h"

#include <stdlib.h>

#include "error.h"
#include "platform.h"
#include "registry.h"

#define HANDLE_SIZE ((size_t)128)
#define PAGE_HANDLES (SHMD_PAGE / HANDLE_SIZE)
#define CHUNK_FIRST ((size_t)64 << 10) /* bytes of addresses; of memory only what is used */
#define CHUNK_LARGEST ((size_t)16 << 20)

_Static_assert(sizeof(shmd_dict) <= HANDLE_SIZE, "a handle fits its place");

/* Addresses for handles, given out one after the other. Its addresses stay ours for ever; this note of it goes when all of
 * its handles are over. Under the registry's mutex. */
typedef struct chunk {
  unsigned char* base;
  size_t size, given, over; /* handles */
  struct chunk* next;
  unsigned char over_in[]; /* handles that are over, of each page */
} chunk;

static chunk* chunks; /* the first is the one that gives */

static chunk* add_chunk(void) {
  static size_t bytes = CHUNK_FIRST;
  chunk* c = (chunk*)calloc(1, sizeof *c + bytes / SHMD_PAGE);
  if (c == NULL) return NULL;
  c->base = (unsigned char*)shmd_os_pages(bytes);
  if (c->base == NULL) {
    free(c);
    return NULL;
  }
  c->size = bytes / HANDLE_SIZE;
  c->next = chunks;
  chunks = c;
  if (bytes < CHUNK_LARGEST) bytes *= 2;
  return c;
}

shmd_dict* shmd_handle_new(void) {
  chunk* c;
  shmd_dict* d = NULL;
  shmd_registry_lock();
  c = chunks;
  if (c == NULL || c->given == c->size) c = add_chunk();
  if (c != NULL) d = (shmd_dict*)(void*)(c->base + HANDLE_SIZE * c->given++);
  shmd_registry_unlock();
  return d;
}

/* REQUIRES: the registry's mutex. */
static void give_memory_back(const shmd_dict* d) {
  const unsigned char* at = (const unsigned char*)d;
  chunk** link = &chunks;
  chunk* c;
  size_t page;
  while (*link != NULL && (at < (*link)->base || at >= (*link)->base + HANDLE_SIZE * (*link)->size))
    link = &(*link)->next;
  c = *link;
  if (c == NULL) return;
  page = (size_t)(at - c->base) / SHMD_PAGE;
  ++c->over;
  if (++c->over_in[page] == PAGE_HANDLES) shmd_os_pages_empty(c->base + page * SHMD_PAGE, SHMD_PAGE);
  if (c->over != c->size) return;
  *link = c->next;
  free(c);
}

void shmd_handle_open(shmd_dict* d, shmd_attachment* a) {
  d->attachment = a;
  d->attached = a->serial;
  shmd_local_store(&d->uses, 1);
  /* SYNC handle: publishes the handle, and the attachment as it was made. */
  shmd_local_store(&d->reader, (uint64_t)(uintptr_t)&a->reader);
}

/* `uses`: those that are calls, and all of them. The calls are counted apart for a forked child, which has only its own
 * thread's. */
#define USE UINT64_C(1)
#define CALL ((UINT64_C(1) << 32) | USE)
#define ALL_OF(uses) ((uses)&UINT32_MAX)

/* The calls that the thread is in, each within a callback of the one before. */
#define MOST_CALLS 16u
static _Thread_local struct {
  shmd_dict* in[MOST_CALLS];
  uint32_t depth;
} mine;

static void drop(shmd_dict* d, uint64_t use) {
  shmd_attachment* a = d->attachment;
  const uint64_t kept = shmd_load_relaxed(&d->kept);
  if (SHMD_LIKELY(ALL_OF(shmd_local_count(&d->uses, UINT64_MAX - use + 1)) != 1)) return;
  shmd_registry_lock();
  if (!kept) give_memory_back(d);
  shmd_registry_unlock();
  shmd_attachment_let(a);
}

static bool take(shmd_dict* d, uint64_t use) {
  uint64_t uses;
  if (SHMD_UNLIKELY(d == NULL)) return false;
  uses = shmd_load_acquire(&d->uses);
  do
    if (SHMD_UNLIKELY(ALL_OF(uses) == 0)) return false;
  while (!shmd_local_cas(&d->uses, &uses, uses + use));
  if (SHMD_LIKELY(shmd_attachment_of(d) != NULL)) return true;
  drop(d, use);
  return false;
}

bool shmd_handle_hold(shmd_dict* d) { return take(d, USE); }
void shmd_handle_let(shmd_dict* d) { drop(d, USE); }

int shmd_handle_enter(shmd_dict* d, const char* function) {
  shmd_cancel_off();
  if (SHMD_UNLIKELY(!take(d, CALL))) {
    shmd_cancel_back();
    return shmd_handle_closed(function);
  }
  if (mine.depth < MOST_CALLS) mine.in[mine.depth] = d;
  ++mine.depth;
  return 0;
}

void shmd_handle_leave(shmd_dict* d) {
  --mine.depth;
  drop(d, CALL);
  shmd_cancel_back();
}

/* Destructors of the plugin may still close handles: their addresses stay. */
void shmd_handle_unloaded(void) {
  while (chunks != NULL) {
    chunk* c = chunks;
    chunks = c->next;
    free(c);
  }
}

/* The only thread of a forked child: of the calls only its own go on. */
void shmd_handle_forked(void) {
  const chunk* c;
  for (c = chunks; c != NULL; c = c->next) {
    size_t i;
    for (i = 0; i < c->given; ++i) {
      shmd_dict* d = (shmd_dict*)(void*)(c->base + HANDLE_SIZE * i);
      uint64_t uses = shmd_load_acquire(&d->uses);
      uint32_t call;
      if (uses == 0) continue;
      if (mine.depth <= MOST_CALLS) {
        uses = ALL_OF(uses) - (uses >> 32);
        for (call = 0; call < mine.depth; ++call)
          if (mine.in[call] == d) uses += CALL;
        shmd_local_store(&d->uses, uses);
      }
      if (ALL_OF(uses) != 0) (void)shmd_local_count(&d->attachment->references, 1);
    }
  }
}

void shmd_handle_discard(shmd_dict* d) {
  shmd_registry_lock();
  give_memory_back(d);
  shmd_registry_unlock();
}

void shmd_handle_keep_memory(shmd_dict* d) { shmd_local_store(&d->kept, 1); }

int shmd_handle_closed(const char* function) {
  return shmd_fail(SHMD_ERR_CLOSED, "%s: the handle is closed", function);
}
