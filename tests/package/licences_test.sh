#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#   licences_test.sh SOURCE [PREFIX]
# Without PREFIX: each source file has its SPDX line, LICENSE names its holder, and the notice for binaries is xxHash's own.
# With it: what is installed there comes with both texts.
set -euo pipefail
source=$1
status=0

fail() {
  echo "$1"
  status=1
}

notices=$source/c-core/doc/third-party-notices.txt
if [[ $# -gt 1 ]]; then
  for file in "$source/LICENSE" "$notices"; do
    cmp "$file" "$2/share/doc/shmdict/${file##*/}" || status=1
  done
  exit $status
fi

checked=0
while IFS= read -r file; do
  checked=$((checked + 1))
  [[ $(sed -n 1,2p "$file") == *"SPDX-License-Identifier: Apache-2.0"* ]] || fail "no SPDX line: $file"
done < <(cd "$source" && find .ci CMakeLists.txt c-core cmake conan cpp examples tests -name build -prune -o -type f '(' -name '*.[ch]' -o \
  -name '*.[ch]pp' -o -name '*.py' -o -name '*.sh' -o -name '*.cmake' -o -name '*.in' -o -name '*.awk' -o -name '*.lua' \
  -o -name '*.bash' -o -name '*.fish' -o -name '*.zsh' -o -name '*.go' -o -name CMakeLists.txt -o -name Makefile -o -name run ')' \
  -printf "$source/%p\n")
[[ $checked -gt 300 ]] || fail "only $checked files were found under $source"

grep -q '^   Copyright [0-9]* The shmdict authors$' "$source/LICENSE" || fail "LICENSE does not name its copyright holder"

# The same words as in the header that is compiled in, but for the comment's stars.
words() { sed -e 's/^ \* \{0,1\}//' -e 's/^ \*$//' "$1" | sed -n '/^Copyright (C)/,/SUCH DAMAGE/p'; }
header=$(echo '#include <xxhash.h>' | "${CC:-cc}" -E -x c - | sed -n 's/^# [0-9]* "\(.*xxhash\.h\)".*/\1/p' | sort -u | sed -n 1p)
[[ -n $header ]] || { echo "skipped: xxHash's header is not installed" && exit 77; }
diff <(words "$header" | sed 's/ *$//') <(words "$notices") || fail "the notice is not the licence in $header"
exit $status
