#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#   header_dependencies.sh C++-COMPILER SOURCE HEADER...
set -euo pipefail
source=$2
dependencies=$(printf '#include <%s>\n' "${@:3}" |
  "$1" -std=c++17 -M -I"$source/cpp/include" -I"$source/c-core/include" -DSHMD_STATIC -x c++ -)
[[ $dependencies == */shm/dict.hpp* ]]
if grep -E '/(nlohmann|fmt)/|xxhash' <<<"$dependencies"; then
  echo "these were included, too"
  exit 1
fi
