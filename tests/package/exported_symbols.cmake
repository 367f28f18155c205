# SPDX-License-Identifier: Apache-2.0
# Compares the dynamic symbols that LIBRARY defines with LIST, one name a line, sorted.
execute_process(COMMAND ${NM} -D --defined-only ${LIBRARY} OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
# "address T name@@VERSION"; the version itself is an absolute symbol without one.
string(REGEX MATCHALL " T [^@\n]+@@SHMDICT_[0-9.]+\n" lines "${output}")
list(TRANSFORM lines REPLACE " T ([^@]+)@@.*" "\\1" OUTPUT_VARIABLE found)
string(REGEX REPLACE "[^\n]* (T [^@\n]+@@SHMDICT_|A SHMDICT_)[0-9.]+\n" "" rest "${output}")
if(NOT rest STREQUAL "")
  message(FATAL_ERROR "${LIBRARY} defines symbols that are not its own, or without its version:\n${rest}")
endif()
file(STRINGS ${LIST} expected)
set(missing ${expected})
list(REMOVE_ITEM missing ${found})
set(extra ${found})
list(REMOVE_ITEM extra ${expected})
if(missing OR extra)
  message(FATAL_ERROR "${LIST} and ${LIBRARY} differ\n  listed, not exported: ${missing}\n  exported, not listed: ${extra}")
endif()
