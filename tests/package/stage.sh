#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs a build into a package's staging folder and moves it away from there, as packagers do: nothing in it may name
# the places where it was built or first installed.
#   stage.sh BUILD WHERE
set -euo pipefail
build=$1 where=$2
rm -rf "$where" "$where.dest"
DESTDIR=$where.dest cmake --install "$build" --prefix /opt/shmdict >/dev/null
mv "$where.dest/opt/shmdict" "$where"
left=$(find "$where.dest" -type f)
[[ -z $left ]] || { printf 'installed outside of the prefix:\n%s\n' "$left"; exit 1; }
rm -r "$where.dest"
if grep -rIl -e "$where" -e /opt/shmdict -e "$(realpath "$build")" "$where"; then
  echo "these installed files name a place that is gone"
  exit 1
fi
# Headers (none left out), the CMake package, the pkg-config file, the licence.
for file in include/shmdict/shmdict.h include/shm/shm.hpp include/shm/detail/raw.hpp share/doc/shmdict/LICENSE \
  '*/cmake/shmdict/shmdictConfig.cmake' '*/cmake/shmdict/shmdictConfigVersion.cmake' '*/pkgconfig/shmdict.pc'; do
  [[ -n $(find "$where" -path "$where/$file") ]] || { echo "not installed: $file"; exit 1; }
done
# With the command: its manual and completions.
if [[ -e $where/bin/shmdict ]]; then
  for file in share/man/man1/shmdict.1 share/bash-completion/completions/shmdict share/zsh/site-functions/_shmdict \
    share/fish/vendor_completions.d/shmdict.fish; do
    [[ -f $where/$file ]] || { echo "not installed: $file"; exit 1; }
  done
  "$where/bin/shmdict" --version >/dev/null
fi
