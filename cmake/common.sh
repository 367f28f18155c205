# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by tests/run, examples/run, tests/bench/run and .ci/run: what they install, how a build directory comes about, and
# how tests are run.

compiler_packages=(cmake g++ ninja-build)
library_packages=(libcli11-dev libfmt-dev libxxhash-dev nlohmann-json3-dev)
# nm, the test framework, data; for programs that use the installed library: make and pkg-config, Conan's Python;
# the benchmark's histogram (Boost) and instruction counts (valgrind); the prefork example's HTTP (cpp-httplib) and what
# loads it (wrk); the reference (doxygen); the shells whose completions are typed to (fish, zsh).
test_packages=(binutils catch2 doxygen fish iso-codes libboost-dev libcpp-httplib-dev make pkgconf python3-venv valgrind
  wrk zsh)

# need PACKAGE...: installs what is missing with apt-get and says so. Nothing missing: one local query, no network.
need() {
  if ! command -v dpkg-query >/dev/null; then
    echo "not a Debian or Ubuntu system: nothing was installed. What is needed, by Debian's names: $*"
    return
  fi
  local installed missing=() package sudo=()
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p') || true
  for package in "$@"; do
    grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0

  echo "installing with apt-get: ${missing[*]}"
  if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
      echo "neither root nor sudo: install these packages first, then run this again" >&2
      return 1
    fi
    sudo=(sudo)
  fi
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3
    -qq)
  "${apt[@]}" update </dev/null || echo "apt-get update failed; going on with the package lists that are here" >&2
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# configure ARGUMENT...: cmake, silent unless it fails.
configure() {
  local log status=0
  log=$(cmake "$@" 2>&1) || status=$?
  if [[ $status -ne 0 ]]; then
    printf '%s\n' "$log" >&2
  fi
  return $status
}

# run_tests DIRECTORY ARGUMENT...: ctest with these arguments; DIRECTORY is the build's. If the environment variable
# SHMDICT_FLAKY names a file, as .ci/run has it, tests that failed are run once more, one after the other and nothing
# beside them. Those that pass then go into that file, one name a line; the result is 0 if all of them did.
run_tests() {
  local directory=$1 status=0 failed again
  local log=$directory/Testing/Temporary
  shift
  rm -f "$log/LastTestsFailed.log" # of an earlier run: CTest would take it for this one's
  ctest "$@" || status=$?
  # CTest counts skipped tests but keeps their reasons to itself.
  grep -ah '^skipped: ' "$log/LastTest.log" 2>/dev/null | sort -u || true
  [[ $status -ne 0 && -n ${SHMDICT_FLAKY-} && -s $log/LastTestsFailed.log ]] || return $status

  failed=$(sed 's/^[0-9]*://' "$log/LastTestsFailed.log" | sort)
  printf '\n=== once more, each alone: %d that failed\n' "$(wc -l <<<"$failed")"
  status=0
  ctest "$@" --rerun-failed -j1 || status=$?
  again=
  [[ $status -eq 0 ]] || again=$(sed 's/^[0-9]*://' "$log/LastTestsFailed.log" | sort)
  comm -23 <(printf '%s\n' "$failed") <(printf '%s\n' "$again") >>"$SHMDICT_FLAKY"
  return $status
}

# without_aslr SCRIPT ARGUMENT...: sanitizers of this generation need less address randomisation than newer kernels
# use by default; starts SCRIPT again without any. Does nothing where they work as it is.
without_aslr() {
  local bits=0
  [[ -r /proc/sys/vm/mmap_rnd_bits ]] && bits=$(</proc/sys/vm/mmap_rnd_bits)
  [[ $bits -gt 28 && -z ${SHMDICT_WITHOUT_ASLR-} ]] || return 0
  if setarch "$(uname -m)" -R true 2>/dev/null; then
    SHMDICT_WITHOUT_ASLR=1 exec setarch "$(uname -m)" -R "$@"
  fi
  echo "note: if a sanitizer stops with an unexpected memory mapping, lower vm.mmap_rnd_bits to 28 with sysctl"
}
