#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A 32-bit build ends with a sentence, of CMake and of the headers. Needs no 32-bit C library: nothing is linked.
#   platform_test.sh SOURCE C-COMPILER C++-COMPILER
set -euo pipefail
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

refused() { # refused COMMAND...
  local output
  if output=$("$@" 2>&1); then
    echo "accepted: $*"
    exit 1
  fi
  [[ $output == *"shmdict needs a 64-bit platform"* ]] || { printf '%s\n%s\n' "$*" "$output"; exit 1; }
}
refused cmake -S "$1" -B "$build" -DCMAKE_C_COMPILER="$2" -DCMAKE_CXX_COMPILER="$3" -DCMAKE_C_FLAGS=-m32 \
  -DCMAKE_CXX_FLAGS=-m32 -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY
refused "$2" -m32 -fsyntax-only -x c "$1/c-core/include/shmdict/export.h"
"$2" -fsyntax-only -x c "$1/c-core/include/shmdict/export.h"
