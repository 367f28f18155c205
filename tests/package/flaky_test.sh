#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run_tests of cmake/common.sh, in a project of its own whose tests pass, fail once, or fail always.
#   flaky_test.sh SOURCE
set -euo pipefail
source "$1/cmake/common.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build=$work/build

# Each run of a test leaves a line. A test that runs a second time fails if anything runs beside it.
cat >"$work/step.sh" <<'EOF'
echo "$1" >>runs
[ "$(grep -cxF "$1" runs)" -eq 1 ] || mkdir alone || exit 1
sleep 0.2
[ "$(grep -cxF "$1" runs)" -eq 1 ] || rmdir alone
case $1 in
  passes*) exit 0 ;;
  "fails once"*) [ "$(grep -cxF "$1" runs)" -ne 1 ] ;;
  *) exit 1 ;;
esac
EOF
cat >"$work/CMakeLists.txt" <<'EOF'
cmake_minimum_required(VERSION 3.25)
project(flaky NONE)
enable_testing()
foreach(name IN ITEMS "passes" "fails once: by 3:5" "fails once again" "fails always")
  add_test(NAME "${name}" COMMAND sh ${CMAKE_SOURCE_DIR}/step.sh "${name}")
endforeach()
EOF
cmake -S "$work" -B "$build" >/dev/null

fail() {
  echo "$*"
  cat "$work/output"
  exit 1
}
try() { # try EXPECTED-STATUS CTEST-ARGUMENT...: 0, or anything else
  local expected=$1 status=0
  shift
  rm -f "$build/runs"
  run_tests "$build" --test-dir "$build" -j3 --no-tests=error "$@" >"$work/output" 2>&1 || status=$?
  [[ $((status != 0)) -eq $expected ]] || fail "ended with $status: $*"
}
named() { # named NAME...: in the list of those that are flaky, which then is emptied
  local wanted=
  [[ $# -eq 0 ]] || wanted=$(printf '%s\n' "$@")
  [[ $(sort "$SHMDICT_FLAKY") == "$wanted" ]] || fail "the list: $(cat "$SHMDICT_FLAKY")"
  : >"$SHMDICT_FLAKY"
}
times() { # times COUNT NAME: it ran so often
  [[ $(grep -cxF "$2" "$build/runs") -eq $1 ]] || fail "'$2' ran: $(cat "$build/runs")"
}

# By hand: a failure is a failure.
unset SHMDICT_FLAKY
try 1 -E always
times 1 "fails once again"

export SHMDICT_FLAKY=$work/flaky
: >"$SHMDICT_FLAKY"
try 0 -E always
named "fails once again" "fails once: by 3:5"
times 2 "fails once again"
times 2 "fails once: by 3:5"
times 1 "passes"
try 1
named "fails once again" "fails once: by 3:5"
times 2 "fails always"
times 1 "passes"
try 1 -R always
named
try 0 -R passes
named
try 1 -R "no such test" # what failed in an earlier run is not run in its place
named
[[ ! -e $build/runs ]] || fail "ran: $(cat "$build/runs")"
