/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing one dict under the lock: put, erase, update, clear, nested dicts.
 *
 * Each stages its change; the caller's commit makes it. Steps of a write, in the words of redo.h:
 *   (1) resolve the node, find the key, make room in its array
 *   (2) append the record   (3) stage slot, counts, live bytes, node entries   (4) commit   (5) reclaim for others
 * Killed before the commit's (3): nothing happened. After: it is there whole. Recovery needs nothing else.
 */
#ifndef SHMD_DICT_H
#define SHMD_DICT_H

#include "index.h"
#include "redo.h"

typedef struct shmd_key {
  const void* data;
  size_t size;
  uint64_t hash;
} shmd_key;

/* Any put, in a call that was entered (api.c has tried the short way, overwrite.h, and entered for it); leaves the call. */
int shmd_dict_put_rest(shmd_attachment* a, shmd_node node, const shmd_key* key, const void* value, size_t size,
                       uint32_t flags);
int shmd_dict_erase(shmd_attachment* a, shmd_node node, const shmd_key* key);
int shmd_dict_update(shmd_attachment* a, shmd_node node, const shmd_key* key, shmd_update_fn update, void* context);
int shmd_dict_clear(shmd_attachment* a, shmd_node node, shmd_node* fresh);
int shmd_dict_node_open(shmd_attachment* a, shmd_node node, const shmd_key* key, uint32_t flags, shmd_node* child);
/* As shmd_get and friends, under the lock: in a transaction, or when lock-free reads kept being overtaken. */
int shmd_dict_get(shmd_attachment* a, shmd_node node, const shmd_key* key, void* buffer, size_t capacity, size_t* size);
int shmd_dict_node_get(shmd_attachment* a, shmd_node node, const shmd_key* key, shmd_node* child);
int shmd_dict_count(shmd_attachment* a, shmd_node node, uint64_t* count);

/* The parts of a write, for many.c, and for the dict of named locks (named_lock.c), which no handle leads to. REQUIRES:
 * shmd_call_enter(); of named locks: no transaction. Finish commits, or forgets if the result is an error; retry says whether
 * to stage it all once more. */
int shmd_dict_resolve(shmd_tx* t, shmd_node node, uint32_t* id); /* REMOVED */
int shmd_dict_stage_put(shmd_tx* t, uint32_t id, const shmd_key* key, const void* value, size_t size, uint32_t flags);
/* Without a record of it, so that it needs no room; a snapshot that is open may miss the key. SHMD_NOT_FOUND. */
int shmd_dict_stage_drop(shmd_tx* t, uint32_t id, const shmd_key* key);
int shmd_dict_finish(shmd_attachment* a, int result);
bool shmd_dict_retry(shmd_attachment* a, int result, int* tries);

/* After the commit of a transaction, and between calls: what the last commits left to do. */
void shmd_dict_after(shmd_attachment* a);
/* Works the sweep queue off in bounded lock holds, as long as no pin stands in the way. Not inside a lock or call. */
void shmd_dict_drain(shmd_attachment* a);
/* After the oldest pin was dropped: works off what it kept, in bounded lock holds. Not inside a lock or call. Best effort: if
 * the lock is not to be had within 100 ms, later writes do it. */
void shmd_dict_catch_up(shmd_attachment* a);
int shmd_dict_compact(shmd_attachment* a);

#endif
