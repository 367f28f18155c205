#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every constant of the C interface that a document, a comment or the reference names exists.
# Arguments: the project's root, a C compiler, the reference's directory (which may be empty).
set -euo pipefail
root=$1 compiler=$2 reference=$3
cd "$root"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

constants() { grep -hoE '\bSHMD_[A-Z0-9_]*[A-Z0-9]\b' "$@" | sort -u; }
mapfile -t code < <(find c-core/include c-core/src cpp/include cpp/cli examples tests -name '*.h' -o -name '*.c' -o -name '*.hpp' -o -name '*.cpp')

# What exists: whatever code has, comments left out, and what the maps of errors and outcomes make.
{
  for file in "${code[@]}"; do "$compiler" -fpreprocessed -dD -E -P -x c "$file" 2>/dev/null; done
  "$compiler" -E -P -Ic-core/include c-core/include/shmdict/shmdict.h
  find . -path ./build -prune -o -name CMakeLists.txt -print0 -o -name '*.cmake' -print0 | xargs -0 cat
} >"$scratch/code"
constants "$scratch/code" >"$scratch/exists"
grep -qx SHMD_ERR_NO_SPACE "$scratch/exists" # the maps were expanded

mapfile -t text < <(find README.md CHANGELOG.md c-core/doc cpp/doc cpp/cli/shmdict.1 -type f)
constants "${text[@]}" "${code[@]}" >"$scratch/named"
if [[ -d $reference/html ]]; then
  constants "$reference"/html/*.html >>"$scratch/named"
  sort -uo "$scratch/named" "$scratch/named"
fi
if ! comm -23 "$scratch/named" "$scratch/exists" >"$scratch/missing" || [[ -s $scratch/missing ]]; then
  echo "named, but nowhere defined:"
  cat "$scratch/missing"
  exit 1
fi
