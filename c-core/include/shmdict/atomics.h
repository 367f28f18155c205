/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every access to shared bytes goes through here: the memory order is in the wrapper's name.
 *
 * Orders. Words that other processes read are loaded with acquire and stored with release; there are no bare fences on
 * these paths, because ThreadSanitizer cannot follow them. Words that only the lock owner touches use the same calls:
 * on the machines that matter they cost nothing, and the lock's own edges are then not needed for their proof.
 * `shmd_full_barrier` exists for the three store-then-load handshakes listed in doc/concurrency.md.
 *
 * Crash points. With SHMD_CRASH_POINTS every store to shared memory first calls shmd_crash_point(): a test counts
 * them and kills the process at the n-th. As no module can store without these wrappers, none can be missed.
 *
 * This header and the platform files are the only places with compiler extensions.
 */
#ifndef SHMDICT_ATOMICS_H
#define SHMDICT_ATOMICS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "assertion.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#if defined(__SANITIZE_THREAD__)
#define SHMD_TSAN 1
#elif defined(__SANITIZE_ADDRESS__)
#define SHMD_ASAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHMD_TSAN 1
#elif __has_feature(address_sanitizer)
#define SHMD_ASAN 1
#endif
#endif

#define SHMD_LIKELY(x) __builtin_expect(!!(x), 1)
#define SHMD_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SHMD_PREFETCH(p) __builtin_prefetch(p)
#define SHMD_NOINLINE __attribute__((noinline))
#define SHMD_INLINE static inline __attribute__((always_inline))
#define SHMD_APART static __attribute__((noinline, unused)) /* in a header, and not to be mixed with its callers */

/* A variable whose end calls function(&variable): at the end of its block, and when an exception or a thread's cancellation
 * unwinds it, for which the core is compiled with -fexceptions. */
#define SHMD_CLEANUP(function) __attribute__((cleanup(function)))
#define SHMD_FRAME() ((const char*)__builtin_frame_address(0)) /* where the calling function stands on its stack */

#if defined(SHMD_CRASH_POINTS)
#ifdef __cplusplus
extern "C" {
#endif
void shmd_crash_point(void); /* redo.c: counts, and kills the process at the chosen one */
#ifdef __cplusplus
}
#endif
#define SHMD_CRASH_POINT() shmd_crash_point()
#else
#define SHMD_CRASH_POINT() ((void)0)
#endif

/* ---- loads ---------------------------------------------------------------------------------------------------------- */

/* Of every access: x86-64 bears a word at any address, other machines end the process. */
SHMD_INLINE int shmd_is_aligned(const void* p) { return ((uintptr_t)p & 7) == 0; }

SHMD_INLINE uint64_t shmd_load_acquire(const uint64_t* p) {
  SHMD_ASSERT(shmd_is_aligned(p));
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
SHMD_INLINE uint32_t shmd_load32_acquire(const uint32_t* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
SHMD_INLINE int shmd_load_int_acquire(const int* p) {
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
} /* of this process */
SHMD_INLINE void shmd_store_int_release(int* p, int v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
/* The load of a store-then-load handshake: not before earlier atomic operations, on any machine. */
SHMD_INLINE uint64_t shmd_load_seq(const uint64_t* p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
SHMD_INLINE uint64_t shmd_load_relaxed(const uint64_t* p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }

/* ---- stores --------------------------------------------------------------------------------------------------------- */

SHMD_INLINE void shmd_store_release(uint64_t* p, uint64_t v) {
  SHMD_ASSERT(shmd_is_aligned(p));
  SHMD_CRASH_POINT();
  __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
/* Store followed by a full barrier: one end of a store-then-load handshake. */
SHMD_INLINE void shmd_store_seq(uint64_t* p, uint64_t v) {
  SHMD_CRASH_POINT();
  (void)__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);
}
SHMD_INLINE uint64_t shmd_exchange(uint64_t* p, uint64_t v) {
  SHMD_CRASH_POINT();
  return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);
}
SHMD_INLINE uint64_t shmd_fetch_add(uint64_t* p, uint64_t v) {
  SHMD_CRASH_POINT();
  return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
SHMD_INLINE int shmd_cas(uint64_t* p, uint64_t* expected, uint64_t v) {
  SHMD_CRASH_POINT();
  return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
/* Process-local words (never in shared memory): no crash point. */
SHMD_INLINE void shmd_local_store(uint64_t* p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
SHMD_INLINE uint64_t shmd_local_add(uint64_t* p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
/* The three of them are full barriers, too. */
SHMD_INLINE uint64_t shmd_local_count(uint64_t* p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
SHMD_INLINE uint64_t shmd_local_exchange(uint64_t* p, uint64_t v) {
  return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);
}
SHMD_INLINE int shmd_local_cas(uint64_t* p, uint64_t* expected, uint64_t v) {
  return __atomic_compare_exchange_n(p, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
SHMD_INLINE void shmd_full_barrier(void) {
#if defined(SHMD_TSAN)
  static uint64_t word; /* an atomic operation that ThreadSanitizer understands */
  (void)__atomic_fetch_add(&word, 0, __ATOMIC_SEQ_CST);
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

#if defined(SHMD_TSAN)
#ifdef __cplusplus
extern "C" {
#endif
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
#ifdef __cplusplus
}
#endif
#endif

/*
 * Brackets what a child does inside fork(). ThreadSanitizer hears of the fork only when the handlers have run; until then
 * it takes what the parent's other threads wrote last, which do not exist in the child, for races with it.
 */
SHMD_INLINE void shmd_fork_handler_begin(void) {
#if defined(SHMD_TSAN)
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
}
SHMD_INLINE void shmd_fork_handler_end(void) {
#if defined(SHMD_TSAN)
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

/* ---- bytes ----------------------------------------------------------------------------------------------------------
 * Copies of shared bytes that may be overwritten meanwhile. The reader validates afterwards and throws torn bytes away;
 * each word is still an atomic access, so that no compiler may read it twice or invent values.
 * On x86-64 (total store order) ordinary vector moves behind a compiler barrier have acquire and release strength;
 * elsewhere, and under the sanitizers, which then see what other machines do, it is word by word. What is shared, `from` of
 * a copy out and `to` of a copy in, is 8-byte aligned, and whole words of it are accessed: never pass memory of one's own
 * there. Bytes of the object are best copied by shmd_read_bytes() and compared by shmd_read_equal(), read.h. */

#if defined(__x86_64__) && !defined(SHMD_TSAN) && !defined(SHMD_ASAN)
#define SHMD_PLAIN_COPIES 1 /* between two shmd_compiler_barrier() any copying function will do */
SHMD_INLINE void shmd_compiler_barrier(void) { __asm__ __volatile__("" ::: "memory"); }
SHMD_INLINE void shmd_copy_out(void* to, const void* from, size_t size) {
  SHMD_ASSERT(shmd_is_aligned(from));
  __asm__ __volatile__("" ::: "memory");
  memcpy(to, from, size);
  __asm__ __volatile__("" ::: "memory");
}
SHMD_INLINE void shmd_copy_in(void* to, const void* from, size_t size) {
  SHMD_ASSERT(shmd_is_aligned(to));
  SHMD_CRASH_POINT();
  __asm__ __volatile__("" ::: "memory");
  memcpy(to, from, size);
  __asm__ __volatile__("" ::: "memory");
}
SHMD_INLINE int shmd_bytes_equal(const void* shared, const void* own, size_t size) {
  int equal;
  SHMD_ASSERT(shmd_is_aligned(shared));
  __asm__ __volatile__("" ::: "memory");
  equal = size == 8 ? memcmp(shared, own, 8) == 0 : memcmp(shared, own, size) == 0;
  __asm__ __volatile__("" ::: "memory");
  return equal;
}
#else
SHMD_INLINE void shmd_copy_out(void* to, const void* from, size_t size) {
  unsigned char* out = (unsigned char*)to;
  const uint64_t* in = (const uint64_t*)from;
  SHMD_ASSERT(shmd_is_aligned(from));
  for (; size >= 8; size -= 8, out += 8, ++in) {
    const uint64_t w = __atomic_load_n(in, __ATOMIC_ACQUIRE);
    memcpy(out, &w, 8);
  }
  if (size) {
    const uint64_t w = __atomic_load_n(in, __ATOMIC_ACQUIRE);
    memcpy(out, &w, size);
  }
}
/* Stores whole words: the last one is padded with zero bytes (records are padded to 8). */
SHMD_INLINE void shmd_copy_in(void* to, const void* from, size_t size) {
  const unsigned char* in = (const unsigned char*)from;
  uint64_t* out = (uint64_t*)to;
  SHMD_ASSERT(shmd_is_aligned(to));
  SHMD_CRASH_POINT();
  for (; size >= 8; size -= 8, in += 8, ++out) {
    uint64_t w;
    memcpy(&w, in, 8);
    __atomic_store_n(out, w, __ATOMIC_RELEASE);
  }
  if (size) {
    uint64_t w = 0;
    memcpy(&w, in, size);
    __atomic_store_n(out, w, __ATOMIC_RELEASE);
  }
}
SHMD_INLINE int shmd_bytes_equal(const void* shared, const void* own, size_t size) {
  const unsigned char* b = (const unsigned char*)own;
  const uint64_t* a = (const uint64_t*)shared;
  SHMD_ASSERT(shmd_is_aligned(shared));
  for (; size >= 8; size -= 8, b += 8, ++a) {
    uint64_t w;
    memcpy(&w, b, 8);
    if (__atomic_load_n(a, __ATOMIC_ACQUIRE) != w) return 0;
  }
  if (size) {
    const uint64_t w = __atomic_load_n(a, __ATOMIC_ACQUIRE);
    return memcmp(&w, b, size) == 0;
  }
  return 1;
}
#endif

/* ---- eight words at once ---- */

/* Which of eight words, the first at a multiple of 16, have the upper 16 bits of `like`: bits 2i and 2i + 1 stand for
 * words[i]. It only says where to look: whoever acts on it loads the word itself, in order. On x86-64 SSE2, which every such
 * machine has, compares all at once. */
SHMD_INLINE uint32_t shmd_match_high16(const uint64_t* words, uint64_t like) {
#if defined(__x86_64__) && !defined(SHMD_TSAN)
  const float* const at = (const float*)(const void*)words;
  const __m128 low = _mm_shuffle_ps(_mm_load_ps(at), _mm_load_ps(at + 4), 0xdd);
  const __m128 high = _mm_shuffle_ps(_mm_load_ps(at + 8), _mm_load_ps(at + 12), 0xdd);
  const __m128i tags =
      _mm_packs_epi32(_mm_srai_epi32(_mm_castps_si128(low), 16), _mm_srai_epi32(_mm_castps_si128(high), 16));
  const __m128i tag = _mm_shufflelo_epi16(_mm_cvtsi64_si128((long long)like), 0xff);
  return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi16(tags, _mm_unpacklo_epi64(tag, tag)));
#else
  uint32_t i, found = 0;
  for (i = 0; i < 8; ++i)
    if (((__atomic_load_n(words + i, __ATOMIC_ACQUIRE) ^ like) >> 48) == 0) found |= 3u << 2 * i;
  return found;
#endif
}
/* Which have its lower 32 bits, as above. */
SHMD_INLINE uint32_t shmd_match_low32(const uint64_t* words, uint64_t like) {
#if defined(__x86_64__) && !defined(SHMD_TSAN)
  const float* const at = (const float*)(const void*)words;
  const __m128i low = _mm_castps_si128(_mm_shuffle_ps(_mm_load_ps(at), _mm_load_ps(at + 4), 0x88));
  const __m128i high = _mm_castps_si128(_mm_shuffle_ps(_mm_load_ps(at + 8), _mm_load_ps(at + 12), 0x88));
  const __m128i wanted = _mm_set1_epi32((int)(uint32_t)like);
  return (uint32_t)_mm_movemask_epi8(_mm_packs_epi32(_mm_cmpeq_epi32(low, wanted), _mm_cmpeq_epi32(high, wanted)));
#else
  uint32_t i, found = 0;
  for (i = 0; i < 8; ++i)
    if ((uint32_t)(__atomic_load_n(words + i, __ATOMIC_ACQUIRE) ^ like) == 0) found |= 3u << 2 * i;
  return found;
#endif
}
/* The first of the words that `match` names. REQUIRES: match != 0. */
SHMD_INLINE const uint64_t* shmd_first_match(const uint64_t* words, uint32_t match) {
  return (const uint64_t*)(const void*)((const char*)words + (size_t)4 * (size_t)__builtin_ctz(match));
}
SHMD_INLINE uint32_t shmd_without_first(uint32_t match) {
  match &= match - 1;
  return match & (match - 1);
}

/* Fetches a line that is about to be written, as its owner: where several such lines are in another processor's cache, they
 * come together and not one after the other. Only a hint, and no crash point. */
SHMD_INLINE void shmd_prefetch_to_write(const void* p) {
#if defined(__x86_64__)
  __asm__ __volatile__("prefetchw %0" : : "m"(*(const char*)p)); /* an x86-64 processor without it does nothing */
#else
  __builtin_prefetch(p, 1);
#endif
}

SHMD_INLINE void shmd_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

#endif
