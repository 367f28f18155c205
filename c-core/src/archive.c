/* SPDX-License-Identifier: Apache-2.0 */
#include "archive.h"

#include <stdio.h>
#include <string.h>

#include "error.h"
#include "platform.h"

#define PRELUDE 16u
#define SUMMED 8u /* a block's checksum begins to count behind itself */

static const unsigned char magic[8] = {0x89, 's', 'h', 'm', 'd', '\r', '\n', 0x1a}; /* as PNG's: notices text modes */

enum block_kind { HEAD = 1, ENTRIES = 2, END = 3 };

/* Fields of the head: {tag:2 size:2 value}. Who does not know a tag from OPTIONAL on passes over it. */
enum field_tag {
  ID = 1,
  NAME = 2,
  KEY_TYPE = 3,
  VALUE_TYPE = 4,
  MAX_SIZE = 5,
  SEGMENT_SIZE = 6,
  BUFFER_SIZE = 7,
  MAX_PIN_BYTES = 8,
  MAX_PROCESSES = 9,
  UNLINK = 10,
  OPTIONAL = 0x8000,
  CREATED = 0x8001,
  KEYS = 0x8002,
  LIVE_BYTES = 0x8003
};

/* ---- numbers ---- */

static void store(unsigned char* to, uint64_t value, size_t bytes) {
  size_t i;
  for (i = 0; i < bytes; ++i) to[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t load(const unsigned char* from, size_t bytes) {
  uint64_t value = 0;
  size_t i;
  for (i = 0; i < bytes; ++i) value |= (uint64_t)from[i] << (8 * i);
  return value;
}

/* The number of the first block is part of the seed, that of the others is how often it was raised. */
static uint64_t first_seed(const unsigned char prelude[PRELUDE]) { return shmd_hash_bytes(0, prelude, PRELUDE); }

/* ---- writing ---- */

static int send_block(shmd_archive_out* out, enum block_kind kind) {
  int result;
  store(out->block + 8, out->used, 4);
  store(out->block + 12, (uint64_t)kind, 4);
  store(out->block, shmd_hash_bytes(out->seed, out->block + SUMMED, SHMD_ARCHIVE_BLOCK_HEAD - SUMMED + out->used), 8);
  result = out->write(out->context, out->block, SHMD_ARCHIVE_BLOCK_HEAD + out->used);
  out->used = 0;
  ++out->seed;
  return result;
}

static unsigned char* payload(shmd_archive_out* out) { return out->block + SHMD_ARCHIVE_BLOCK_HEAD; }

static void add_field(shmd_archive_out* out, enum field_tag tag, const void* value, size_t size) {
  store(payload(out) + out->used, (uint64_t)tag, 2);
  store(payload(out) + out->used + 2, size, 2);
  memcpy(payload(out) + out->used + 4, value, size);
  out->used += 4 + size;
}
static void add_number(shmd_archive_out* out, enum field_tag tag, uint64_t value) {
  unsigned char bytes[8];
  store(bytes, value, sizeof bytes);
  add_field(out, tag, bytes, sizeof bytes);
}
static void add_text(shmd_archive_out* out, enum field_tag tag, const char* text) {
  add_field(out, tag, text, strlen(text));
}

int shmd_archive_begin(shmd_archive_out* out, const shmd_archive_head* head, shmd_write_fn write, void* context) {
  unsigned char prelude[PRELUDE];
  int result;
  memset(&out->totals, 0, sizeof out->totals);
  out->write = write;
  out->context = context;
  out->used = 0;
  memcpy(prelude, magic, sizeof magic);
  store(prelude + 8, SHMD_ARCHIVE_VERSION, 4);
  store(prelude + 12, 0, 4); /* flags */
  out->seed = first_seed(prelude);
  result = write(context, prelude, sizeof prelude);
  if (result != 0) return result;
  add_number(out, ID, head->id);
  add_text(out, NAME, head->name);
  add_text(out, KEY_TYPE, head->key_type);
  add_text(out, VALUE_TYPE, head->value_type);
  add_number(out, MAX_SIZE, head->max_size);
  add_number(out, SEGMENT_SIZE, head->segment_size);
  add_number(out, BUFFER_SIZE, head->buffer_size);
  add_number(out, MAX_PIN_BYTES, head->max_pin_bytes);
  add_number(out, MAX_PROCESSES, head->max_processes);
  add_number(out, UNLINK, head->unlink);
  add_number(out, CREATED, head->created);
  add_number(out, KEYS, head->keys);
  add_number(out, LIVE_BYTES, head->live_bytes);
  result = send_block(out, HEAD);
  out->seed = head->id;
  return result;
}

int shmd_archive_put(shmd_archive_out* out, const void* bytes, size_t size) {
  const unsigned char* from = (const unsigned char*)bytes;
  while (size != 0) {
    const size_t room = SHMD_ARCHIVE_PAYLOAD - out->used, n = size < room ? size : room;
    memcpy(payload(out) + out->used, from, n);
    out->used += n;
    from += n;
    size -= n;
    if (out->used == SHMD_ARCHIVE_PAYLOAD) {
      const int result = send_block(out, ENTRIES);
      if (result != 0) return result;
    }
  }
  return 0;
}

int shmd_archive_end(shmd_archive_out* out) {
  const int result = out->used != 0 ? send_block(out, ENTRIES) : 0;
  if (result != 0) return result;
  store(payload(out), out->totals.values, 8);
  store(payload(out) + 8, out->totals.dicts, 8);
  store(payload(out) + 16, out->totals.bytes, 8);
  out->used = 24;
  return send_block(out, END);
}

/* ---- reading ---- */

int shmd_archive_damaged(const shmd_archive_in* in, const char* what) {
  return shmd_fail(SHMD_ERR_CORRUPT,
                   "the %s is damaged near byte %llu, nothing was restored: %s; copy it again, or take another",
                   in->said, (unsigned long long)in->position, what);
}

static int truncated(const shmd_archive_in* in) {
  return shmd_fail(SHMD_ERR_INCOMPLETE_OBJECT,
                   "the %s is truncated after %llu bytes, nothing was restored; copy it again, or take another",
                   in->said, (unsigned long long)in->position);
}

/* As many of `size` bytes as there are: their number, or what `read` answered below 0. */
static int read_up_to(shmd_archive_in* in, unsigned char* to, size_t size) {
  size_t done = 0;
  while (done < size) {
    const int n = in->read(in->context, to + done, size - done);
    if (n < 0) return n;
    if (n == 0) break;
    if ((size_t)n > size - done)
      return shmd_fail(SHMD_ERR_INVALID_ARGUMENT, "the callback gave %d bytes of a backup where %zu were asked for", n,
                       size - done);
    done += (size_t)n;
    in->position += (uint64_t)n;
  }
  return (int)done;
}

static int read_exactly(shmd_archive_in* in, unsigned char* to, size_t size) {
  const int n = read_up_to(in, to, size);
  return n < 0 ? n : (size_t)n < size ? truncated(in) : 0;
}

/* The next block. Its kind, or an error. */
static int next_block(shmd_archive_in* in) {
  int result = read_exactly(in, in->block, SHMD_ARCHIVE_BLOCK_HEAD);
  uint64_t size, kind;
  if (result < 0) return result;
  size = load(in->block + 8, 4);
  kind = load(in->block + 12, 4);
  if (size == 0 || size > SHMD_ARCHIVE_PAYLOAD || kind < HEAD || kind > END)
    return shmd_archive_damaged(in, "a block's head makes no sense");
  result = read_exactly(in, in->block + SHMD_ARCHIVE_BLOCK_HEAD, (size_t)size);
  if (result < 0) return result;
  if (load(in->block, 8) !=
      shmd_hash_bytes(in->seed, in->block + SUMMED, SHMD_ARCHIVE_BLOCK_HEAD - SUMMED + (size_t)size))
    return shmd_archive_damaged(in, "a block's checksum is not that of its bytes");
  ++in->seed;
  in->at = SHMD_ARCHIVE_BLOCK_HEAD;
  in->size = (size_t)size;
  return (int)kind;
}

static int check_prelude(const shmd_archive_in* in, const unsigned char* prelude, int size) {
  const size_t compared = (size_t)size < sizeof magic ? (size_t)size : sizeof magic;
  uint64_t word;
  if (size == 0)
    return shmd_fail(SHMD_ERR_INCOMPLETE_OBJECT, "the %s is empty, nothing was restored; take another", in->said);
  if (memcmp(prelude, magic, compared) != 0) {
    memcpy(&word, prelude, sizeof word);
    if (size >= 8 && word == SHMD_MAGIC) {
      char place[256];
      shmd_os_place_of("NAME", place, sizeof place);
      return shmd_fail(SHMD_ERR_FOREIGN_OBJECT,
                       "the %s is the image of a dict, not a backup; to have the dict NAME, copy the image sparse "
                       "(`cp --sparse=always`) to %s",
                       in->said, place);
    }
    if (in->path == NULL)
      return shmd_fail(SHMD_ERR_FOREIGN_OBJECT, "what was read is no backup of a dict; take what a backup wrote");
    return shmd_fail(SHMD_ERR_FOREIGN_OBJECT,
                     "'%.200s' is no backup of a dict; name a file that a backup was written to", in->path);
  }
  if (size < (int)PRELUDE) return truncated(in);
  if (load(prelude + 8, 4) != SHMD_ARCHIVE_VERSION || load(prelude + 12, 4) != 0)
    return shmd_fail(SHMD_ERR_LAYOUT_MISMATCH,
                     "the %s has format %u with flags %x, and this library reads format %u with flags 0; use the "
                     "library that made it, or a newer one",
                     in->said, (unsigned)load(prelude + 8, 4), (unsigned)load(prelude + 12, 4), SHMD_ARCHIVE_VERSION);
  return 0;
}

static bool take_text(const unsigned char* value, size_t size, char* to, size_t capacity) {
  if (size >= capacity || memchr(value, '\0', size) != NULL) return false;
  memcpy(to, value, size);
  to[size] = '\0';
  return true;
}

/* One field of the head. False if it makes no sense. */
static bool take_field(shmd_archive_head* h, unsigned tag, const unsigned char* value, size_t size) {
  const uint64_t number = size == 8 ? load(value, 8) : 0;
  switch (tag) {
    case NAME:
      return take_text(value, size, h->name, SHMD_MAX_NAME + 1);
    case KEY_TYPE:
      return take_text(value, size, h->key_type, sizeof h->key_type);
    case VALUE_TYPE:
      return take_text(value, size, h->value_type, sizeof h->value_type);
    case ID:
      h->id = number;
      break;
    case MAX_SIZE:
      h->max_size = number;
      break;
    case SEGMENT_SIZE:
      h->segment_size = number;
      break;
    case BUFFER_SIZE:
      h->buffer_size = number;
      break;
    case MAX_PIN_BYTES:
      h->max_pin_bytes = number;
      break;
    case MAX_PROCESSES:
      h->max_processes = number <= UINT32_MAX ? (uint32_t)number : 0;
      break;
    case UNLINK:
      h->unlink = number <= SHMD_UNLINK_NEVER ? (uint32_t)number : UINT32_MAX;
      break;
    case CREATED:
      h->created = number;
      break;
    case KEYS:
      h->keys = number;
      break;
    case LIVE_BYTES:
      h->live_bytes = number;
      break;
    default:
      return tag >= OPTIONAL;
  }
  return size == 8;
}

static bool take_head(const unsigned char* from, size_t size, shmd_archive_head* h) {
  memset(h, 0, sizeof *h);
  h->unlink = UINT32_MAX;
  while (size != 0) {
    size_t length;
    if (size < 4) return false;
    length = (size_t)load(from + 2, 2);
    if (length > size - 4 || !take_field(h, (unsigned)load(from, 2), from + 4, length)) return false;
    from += 4 + length;
    size -= 4 + length;
  }
  return h->max_size != 0 && h->segment_size != 0 && h->buffer_size != 0 && h->max_pin_bytes != 0 &&
         h->max_processes != 0 && h->unlink <= SHMD_UNLINK_NEVER;
}

int shmd_archive_open(shmd_archive_in* in, const char* path, shmd_read_fn read, void* context,
                      shmd_archive_head* head) {
  unsigned char prelude[PRELUDE];
  int result;
  in->read = read;
  in->context = context;
  in->path = path;
  in->position = 0;
  in->at = in->size = 0;
  in->ended = false;
  memset(&in->totals, 0, sizeof in->totals);
  (void)snprintf(in->said, sizeof in->said, path != NULL ? "backup '%.200s'" : "backup", path);
  result = read_up_to(in, prelude, sizeof prelude);
  if (result >= 0) result = check_prelude(in, prelude, result);
  if (result < 0) return result;
  in->seed = first_seed(prelude);
  result = next_block(in);
  if (result < 0) return result;
  if (result != HEAD) return shmd_archive_damaged(in, "it does not begin with a head");
  if (!take_head(in->block + in->at, in->size, head))
    return shmd_archive_damaged(in, "what it says of the dict makes no sense");
  in->size = 0;
  in->seed = head->id;
  return 0;
}

/* Makes sure that there is something to take, unless the end has come. */
static int fill(shmd_archive_in* in) {
  int kind;
  if (in->size != 0 || in->ended) return 0;
  kind = next_block(in);
  if (kind < 0) return kind;
  if (kind == HEAD || (kind == END && in->size != 24))
    return shmd_archive_damaged(in, "a block is not where it can be");
  in->ended = kind == END;
  return 0;
}

int shmd_archive_take(shmd_archive_in* in, void* to, size_t size) {
  unsigned char* at = (unsigned char*)to;
  while (size != 0) {
    const int result = fill(in);
    size_t n;
    if (result < 0) return result;
    if (in->ended) return shmd_archive_damaged(in, "it ends within an entry");
    n = size < in->size ? size : in->size;
    if (at != NULL) {
      memcpy(at, in->block + in->at, n);
      at += n;
    }
    in->at += n;
    in->size -= n;
    size -= n;
  }
  return 0;
}

int shmd_archive_more(shmd_archive_in* in) {
  const unsigned char* end;
  const int result = fill(in);
  if (result < 0) return result;
  if (!in->ended) return 1;
  end = in->block + SHMD_ARCHIVE_BLOCK_HEAD;
  if (load(end, 8) != in->totals.values || load(end + 8, 8) != in->totals.dicts ||
      load(end + 16, 8) != in->totals.bytes)
    return shmd_archive_damaged(in, "it does not hold as many entries as its end says");
  return 0;
}

int shmd_archive_nothing_left(shmd_archive_in* in) {
  unsigned char byte;
  const int result = read_up_to(in, &byte, 1);
  return result <= 0 ? result : shmd_archive_damaged(in, "there are bytes behind its end");
}
