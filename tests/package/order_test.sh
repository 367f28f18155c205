#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a command does must not depend on what ran before it in the same build directory.
#   order_test.sh SOURCE C-COMPILER C++-COMPILER
set -euo pipefail
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "$*"
  [[ ! -e $work/log ]] || cat "$work/log"
  exit 1
}

# ---- which Boost the benchmark is compiled with ----

boost() { # boost DIRECTORY VERSION: headers enough to be found
  mkdir -p "$work/$1/boost"
  echo "#define BOOST_VERSION $2" >"$work/$1/boost/version.hpp"
  : >"$work/$1/boost/histogram.hpp"
}
configure_project() { # configure_project ARGUMENT...
  cmake -S "$source" -B "$work/build" -G Ninja -DCMAKE_C_COMPILER="$2" -DCMAKE_CXX_COMPILER="$3" \
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DSHMDICT_TESTS=OFF -DSHMDICT_EXAMPLES=OFF \
    -DSHMDICT_CLI=OFF -DSHMDICT_INSTALL=OFF "${@:4}" >"$work/log" 2>&1 || fail "not configured: ${*:4}"
}
command_of() { # command_of FILE: how it is compiled, if it is
  grep "\"command\".*/tests/bench/$1" "$work/build/compile_commands.json" || true
}
uses() { # uses DIRECTORY
  [[ $(command_of harness/main.cpp) == *"-isystem $work/$1 "* ]] || fail "the harness is not compiled with $1"
  [[ $(command_of probes/depth.cpp) == *"-isystem $work/$1 "* ]] || fail "the probe is not compiled with $1"
}
peers() { # peers yes|no: those that need a new Boost
  [[ -n $(command_of peers/boost_mutex.cpp) ]] && there=yes || there=no
  [[ $there == "$1" ]] || fail "peers that need a new Boost: $there, should be: $1"
}

boost system 107400
boost new 108800
boost newer 109000
boost too_old 108200
configure_project "$@" -DCMAKE_INCLUDE_PATH="$work/system"
uses system
configure_project "$@" -DSHMDICT_BENCH_PEERS=ON -DSHMDICT_BENCH_BOOST="$work/new"
uses new
peers yes
configure_project "$@"
uses new
configure_project "$@" -DSHMDICT_BENCH_BOOST="$work/newer"
uses newer
peers yes
configure_project "$@" -DSHMDICT_BENCH_BOOST="$work/too_old" # as if it were not given
uses system
peers no
configure_project "$@" -DSHMDICT_BENCH_BOOST="$work/new"
uses new
rm -rf "$work/new"
configure_project "$@"
uses system
peers no
configure_project "$@" -DSHMDICT_BENCH_BOOST= -DCMAKE_INCLUDE_PATH= "-DCMAKE_IGNORE_PATH=/usr/include;/usr/local/include"
[[ -z $(command_of harness/main.cpp) ]] || fail "the harness is built without any Boost"
configure_project "$@" -DCMAKE_INCLUDE_PATH="$work/system"
uses system

# ---- warnings as errors, in tests/run ----

mkdir "$work/bin"
for program in cmake ctest; do
  printf '#!/bin/sh\necho "%s $*" >>"%s"\n' "$program" "$work/calls" >"$work/bin/$program"
done
printf '#!/bin/sh\nfor p in "$@"; do echo "installed $p"; done\n' >"$work/bin/dpkg-query"
chmod +x "$work"/bin/*
for value in "" ON OFF; do
  rm -f "$work/calls"
  mkdir -p "$work/copy/tests"
  cp -r "$source/cmake" "$work/copy/"
  cp "$source/tests/run" "$work/copy/tests/"
  SHMDICT_WERROR=$value PATH=$work/bin:$PATH "$work/copy/tests/run" >"$work/log" 2>&1 || fail "tests/run failed"
  grep -qF -- "-DSHMDICT_WERROR=${value:-OFF}" "$work/calls" || fail "SHMDICT_WERROR='$value': $(cat "$work/calls")"
done
