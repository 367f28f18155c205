#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A program meets objects and libraries of the neighbouring layout version, in both directions: refused by name, and the
# object stays as it was.
#   layout_test.sh PROGRAM LIBRARY NEXT_PROGRAM NEXT_LIBRARY
set -euo pipefail
program=$1 library=$2 next_program=$3 next_library=$4
name=test.layout.$$
trap 'rm -f "/dev/shm/shmdict.$name" "/dev/shm/shmdict.$name.next"' EXIT

expect() { # expect CODE PATTERN COMMAND...
  local code=0 output
  output=$("${@:3}" 2>&1) || code=$?
  if [[ $code -ne $1 || $output != *$2* ]]; then
    printf 'FAILED: %s\n  exit code %d, expected %d; output, expected to match "*%s*":\n%s\n' "${*:3}" "$code" "$1" "$2" "$output"
    exit 1
  fi
}
object() { cksum <"/dev/shm/shmdict.$1"; }
layout() { { "$1" open "$name.absent" || true; } | sed -n '1s/.*library //p'; }

this=$(layout "$program")
next=$(layout "$next_program")
[[ $next -eq $((this + 1)) ]]

# Each with its own: both libraries work, and this is what is refused below.
expect 0 "headers $this, library $this" "$program" create "$name"
expect 0 "headers $next, library $next" "$next_program" create "$name.next"
expect 0 "" "$program" open "$name"
expect 0 "" "$next_program" open "$name.next"

# Objects of the other layout.
before=$(object "$name") next_before=$(object "$name.next")
expect 3 "has layout $this" "$next_program" open "$name"
expect 3 "has layout $next" "$program" open "$name.next"

# Libraries of the other layout under the same name, as a careless copy puts them there.
expect 3 "headers $this, library $next*compiled with headers of layout $this" env LD_PRELOAD="$next_library" "$program" open "$name"
expect 3 "headers $this, library $next*compiled with headers of layout $this" env LD_PRELOAD="$next_library" "$program" open "$name.next"
expect 3 "headers $this, library $next*compiled with headers of layout $this" env LD_PRELOAD="$next_library" "$program" create "$name.third"
expect 3 "headers $next, library $this*compiled with headers of layout $next" env LD_PRELOAD="$library" "$next_program" open "$name"
expect 3 "headers $next, library $this*compiled with headers of layout $next" env LD_PRELOAD="$library" "$next_program" open "$name.next"
[[ ! -e /dev/shm/shmdict.$name.third ]]

[[ $(object "$name") == "$before" && $(object "$name.next") == "$next_before" ]]
expect 0 "" "$program" open "$name"
