/* SPDX-License-Identifier: Apache-2.0 */
/* Which symbols leave the library. The only public header that looks at the compiler. */
#ifndef SHMDICT_EXPORT_H
#define SHMDICT_EXPORT_H

#if defined(__SIZEOF_POINTER__) && __SIZEOF_POINTER__ < 8
#error "shmdict needs a 64-bit platform: what is shared holds 64-bit words that are read and written as one"
#endif

#if defined(SHMD_STATIC)
#define SHMD_API
#elif defined(_WIN32)
#if defined(SHMD_BUILD_SHARED)
#define SHMD_API __declspec(dllexport)
#else
#define SHMD_API __declspec(dllimport)
#endif
#elif defined(__GNUC__)
#define SHMD_API __attribute__((visibility("default")))
#else
#define SHMD_API
#endif

#endif
