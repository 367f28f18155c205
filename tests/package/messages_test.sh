#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the core says about a dict is read by those who use it from C++, Python or the shell, too: it has no names of C in it.
# Sentences about a wrong call begin with the function's name, and are for who calls the C interface.
#   messages_test.sh SOURCE
set -euo pipefail
cd "$1"

# The pieces of a literal that goes over several lines are joined.
texts() { # texts FILE...
  awk '{ printf "%s", $0; print "" }' "$@" | tr '\n' '\001' | sed 's/" *\x01 *"//g' | tr '\001' '\n' |
    grep -v '^#include' | grep -o '"\([^"\\]\|\\.\)*"' || true
}

sources=(c-core/src/*.c c-core/include/shmdict/shmdict.h)
count=$(texts "${sources[@]}" | grep -c "dict '")
[[ $count -gt 50 ]] || { echo "only $count messages were found: this test does not see them"; exit 1; }
leaks=$(texts "${sources[@]}" | grep -E 'shmd_|SHMD_' | grep -vE '^"(shmd_[a-z_]+"$|shmd_[a-z_]+: |%s: initialise )' || true)
if [[ -n $leaks ]]; then
  printf 'names of C in messages:\n%s\n' "$leaks"
  exit 1
fi
