#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#   check.sh DIRECTORY histories                     the checker accepts and refuses what it must
#   check.sh DIRECTORY record RECORDER OPERATIONS    records so many operations and has them checked
# DIRECTORY takes the checker, histories and pictures. Without Go, or without porcupine, both are skipped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
directory=$(cd "$1" && pwd)

skip() {
  echo "skipped: $1"
  exit 77
}

# What go.mod and go.sum name and nothing else: no other module, no other version of Go, no change to the source tree.
# Porcupine comes from the module proxy the first time, then from the module cache.
build_checker() {
  command -v go >/dev/null || skip "go is not installed; histories of operations are not checked for linearizability"
  export HOME=${HOME:-$directory} GOFLAGS=-mod=readonly GOWORK=off GOTOOLCHAIN=local CGO_ENABLED=0
  local log
  log=$(cd "$here/checker" && timeout 100 go mod download 2>&1) ||
    skip "the Go module porcupine is not to be had, histories of operations are not checked for linearizability: ${log:0:200}"
  (cd "$here/checker" && go build -trimpath -buildvcs=false -o "$directory/checker.new" .)
  mv "$directory/checker.new" "$directory/checker"
}
exec 9>"$directory/lock"
flock 9
build_checker
exec 9>&-

failed=0
expect() { # expect CODE FILE
  local code=0 output
  output=$("$directory/checker" -pictures "$directory" "$2" 2>&1) || code=$?
  [[ $code -ne $1 ]] || return 0
  echo "FAILED: $2: exit code $code, expected $1"
  echo "$output"
  failed=1
}

case $2 in
  histories)
    for file in "$here"/histories/accepted/*.txt; do expect 0 "$file"; done
    for file in "$here"/histories/refused/*.txt; do
      rm -f "$directory/refused.${file##*/}.html"
      expect 1 "$file"
      [[ -s $directory/refused.${file##*/}.html ]] || { echo "FAILED: no picture of $file" && failed=1; }
      rm -f "$directory/refused.${file##*/}.html"
    done
    # What was not written whole is not taken for a shorter history.
    whole=$here/histories/accepted/everything_by_one_client.txt
    sed '$d' "$whole" >"$directory/cut_at_the_end.txt"
    sed '/ take /d' "$whole" >"$directory/cut_in_the_middle.txt"
    for file in "$directory"/cut_*.txt; do expect 2 "$file"; done
    ;;
  record)
    # A history that was refused stays refused: a program that gave one is not asked for a better one.
    program=$(cksum <"$3")
    refused=$directory/refused
    if [[ -e $refused && $(head -n 1 "$refused") == "$program" ]]; then
      echo "this very program has given a history already that was refused:"
      sed 1d "$refused"
      exit 1
    fi
    rm -f "$refused" "$directory"/*history.*
    history=$directory/history.txt
    "$3" "$history" "$4" || {
      echo "the history until then is kept: $history"
      exit 1
    }
    code=0
    report=$("$directory/checker" -at-least "$4" -pictures "$directory" "$history") || code=$?
    echo "$report"
    if [[ $code -ne 0 ]]; then
      echo "the history is kept: $history"
      [[ $code -ne 1 ]] || printf '%s\n' "$program" "$report" >"$refused"
      exit 1
    fi
    # The checker's answer depends on what was recorded: the last read of a key gives something else.
    altered=$directory/altered.txt
    awk '/^6 .* get k0 = / { $NF = 987654321 } { print } /^end / { exit }' "$history" >"$altered"
    expect 1 "$altered"
    rm -f "$history" "$altered" "$directory"/refused.altered.*
    ;;
esac
exit $failed
