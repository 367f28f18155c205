// SPDX-License-Identifier: Apache-2.0
// The namespace of the facade: shm, and inline within it one that names the library's version and whether the core is
// linked in or shared. Nobody writes its name. What is inline or a template is compiled into every program and plugin under
// names that the dynamic linker unifies within a process; with this one in them, a plugin that brings a core of its own,
// or was built with another version, never runs functions of its host's on its own handles, nor the other way round.
#pragma once

#include <shmdict/version.h>

#define SHM_ABI_JOIN(major, minor, kind) v##major##_##minor##_##kind
#define SHM_ABI_NAME(major, minor, kind) SHM_ABI_JOIN(major, minor, kind)
#if defined(SHMD_STATIC)
#define SHM_ABI SHM_ABI_NAME(SHMDICT_VERSION_MAJOR, SHMDICT_VERSION_MINOR, static)
#else
#define SHM_ABI SHM_ABI_NAME(SHMDICT_VERSION_MAJOR, SHMDICT_VERSION_MINOR, shared)
#endif

#define SHM_NAMESPACE_BEGIN \
  namespace shm { \
  inline namespace SHM_ABI {
#define SHM_NAMESPACE_END \
  } \
  }
#define SHM_DETAIL_BEGIN SHM_NAMESPACE_BEGIN namespace detail {
#define SHM_DETAIL_END \
  } \
  SHM_NAMESPACE_END
