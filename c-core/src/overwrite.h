/*
 * The common write, an existing key's value replaced, without the overlay of redo.h.
 *
 * Same steps, same redo list, same crash points as any write; what is left out is the search for staged words: this commit
 * stages at most five, each once. Anything unusual (pins, a full segment, a list to relink, work to do) is declined.
 */
#ifndef SHMD_OVERWRITE_H
#define SHMD_OVERWRITE_H

#include "dict.h"

/* Under the lock, nothing staged. True: done and visible. False: nothing changed, go the general way. */
bool shmd_overwrite(shmd_tx* t, shmd_node node, const shmd_key* key, const void* value, size_t size);

#endif
