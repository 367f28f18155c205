# SPDX-License-Identifier: Apache-2.0
# shmdict_warnings(target): the project's warnings for one of its own targets; nothing leaks to users.
function(shmdict_warnings target)
  if(NOT SHMDICT_WARNINGS)
    return()
  endif()
  # Clang counts sign conversions under -Wconversion in C++ too, GCC does not: the same set for both.
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-sign-conversion>
    $<$<BOOL:${SHMDICT_WERROR}>:-Werror>)
  # GCC 12 finds uninitialised values in its own standard library once sanitizers have instrumented it.
  if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  endif()
endfunction()
