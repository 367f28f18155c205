/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two versions (CHANGELOG.md). The build reads the library's from here: it stands nowhere else.
 * The library's minor version is part of the shared library's name until 1.0, so that a program meets the library that it
 * was built for; where it meets another all the same, shmd_open() refuses headers of another layout.
 */
#ifndef SHMDICT_VERSION_H
#define SHMDICT_VERSION_H

#define SHMDICT_VERSION_MAJOR 0
#define SHMDICT_VERSION_MINOR 1
#define SHMDICT_VERSION_PATCH 0
#define SHMDICT_VERSION (SHMDICT_VERSION_MAJOR * 10000 + SHMDICT_VERSION_MINOR * 100 + SHMDICT_VERSION_PATCH)

/* What lies in shared memory (layout.h). The tests build the next one. */
#ifndef SHMD_LAYOUT_VERSION
#define SHMD_LAYOUT_VERSION 1u
#endif

#endif
