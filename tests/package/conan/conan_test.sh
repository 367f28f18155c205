#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# conan create of shmdict's recipe, static and shared, with no remote. Conan comes from PyPI into a virtual environment, its
# home is apart from the user's; both are kept in WORK for the next run. The header libraries that the recipe requires are
# the system's, see system_header_library.py.
#   conan_test.sh SOURCE WORK
set -euo pipefail
source=$1 work=$2
mkdir -p "$work"
export CONAN_HOME=$work/home PIP_DISABLE_PIP_VERSION_CHECK=1

if ! "$work/venv/bin/conan" --version >/dev/null 2>&1; then # none, or one of a Python that has gone
  rm -rf "$work/venv"
  if ! python3 -m venv "$work/venv" >"$work/venv.log" 2>&1; then
    echo "skipped: Python's venv is not installed"
    exit 77
  fi
  if ! timeout 120 "$work/venv/bin/pip" install -q --retries 1 --timeout 15 'conan>=2.4,<3' >"$work/pip.log" 2>&1; then
    cat "$work/pip.log"
    rm -rf "$work/venv" # half installed
    echo "skipped: Conan could not be installed from PyPI"
    exit 77
  fi
fi
conan() { "$work/venv/bin/conan" "$@"; }
logged() { # logged NAME COMMAND...: prints what it said if it fails
  "${@:2}" >"$work/$1.log" 2>&1 || { cat "$work/$1.log"; echo "FAILED: ${*:2}"; exit 1; }
}

[[ -f $CONAN_HOME/profiles/default ]] || logged profile conan profile detect

# The versions of what is installed, from its headers.
defined() { sed -n "s/^#define *$2  *\([0-9]*\).*/\1/p" /usr/include/"$1" | head -1; }
json=nlohmann/detail/abi_macros.hpp
[[ -f /usr/include/$json ]] || json=nlohmann/detail/macro_scope.hpp
grep -qs "define *NLOHMANN_JSON_VERSION_MAJOR" "/usr/include/$json" || json=nlohmann/json.hpp
json_version=$(defined $json NLOHMANN_JSON_VERSION_MAJOR).$(defined $json NLOHMANN_JSON_VERSION_MINOR).$(defined $json NLOHMANN_JSON_VERSION_PATCH)
header=fmt/base.h
[[ -f /usr/include/$header ]] || header=fmt/core.h
fmt=$(defined $header FMT_VERSION)
fmt_version=$((fmt / 10000)).$((fmt / 100 % 100)).$((fmt % 100))
xxhash_version=$(defined xxhash.h XXH_VERSION_MAJOR).$(defined xxhash.h XXH_VERSION_MINOR).$(defined xxhash.h XXH_VERSION_RELEASE)
cli_version=$(sed -n 's/^#define CLI11_VERSION "\(.*\)".*/\1/p' /usr/include/CLI/Version.hpp)
for library in "nlohmann_json/$json_version" "fmt/$fmt_version" "xxhash/$xxhash_version" "cli11/$cli_version"; do
  conan cache path "$library" >/dev/null 2>&1 ||
    logged "${library%/*}" conan create "$source/tests/package/conan/system_header_library.py" --no-remote \
      --name "${library%/*}" --version "${library#*/}"
done

create() { # create NAME ARGUMENT...
  logged "$1" conan create "$source/conan" --no-remote -s compiler.cppstd=17 "${@:2}"
}
conan remove 'shmdict/*' --confirm >/dev/null 2>&1 || true # of runs before
create static -o 'shmdict/*:shared=False' -o 'shmdict/*:with_fmt=False'
create bare -o 'shmdict/*:with_json=False' -o 'shmdict/*:with_fmt=False' -o 'shmdict/*:fPIC=False'
create shared -o 'shmdict/*:shared=True'
if [[ -f $source/cpp/cli/CMakeLists.txt ]]; then
  create cli -o 'shmdict/*:with_cli=True'
fi
# What the test package printed, from static libraries and a shared one.
for type in static bare shared; do
  grep -q "^shmdict [0-9.]*, layout [0-9]" "$work/$type.log" || { echo "the test package did not run"; exit 1; }
done
grep -q "libshmdict.so" "$work/shared.log"
echo "created with Conan $(conan --version | sed 's/.* //')"
