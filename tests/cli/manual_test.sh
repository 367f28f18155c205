#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The manual renders without warnings and names every command and option. manual_test.sh COMMAND MANUAL EXIT-CODES
set -euo pipefail
command=$1 manual=$2 codes=$3
failed=0 looked=
if command -v groff >/dev/null; then
  looked=1
  warnings=$(groff -t -man -Tutf8 -ww -z "$manual" 2>&1)
  [[ -z $warnings ]] || { echo "groff: $warnings"; failed=1; }
fi
if command -v mandoc >/dev/null; then
  looked=1
  mandoc -T lint -W warning "$manual" || failed=1
fi
text=$(sed 's/\\-/-/g; s/\\f[A-Z]//g' "$manual")
rounds=0
while read -r sub _; do
  rounds=$((rounds + 1))
  grep -q "^shmdict $sub " <<<"$text" || { echo "$sub is not in the synopsis"; failed=1; }
  grep -Eq "^\.B $sub(, .*)?$|^\.B [a-z]*, $sub$" <<<"$text" || { echo "$sub is not described"; failed=1; }
  synopsis=$(grep "^shmdict $sub " <<<"$text")
  while read -r line; do
    # A line of options: any of its names will do.
    named=0
    for option in $(grep -oE -- '(^|,)-{1,2}[A-Za-z0-9][a-z-]*' <<<"$line" | tr -d ,); do
      grep -qE -- "(^|[^a-z-])$option([^a-z-]|$)" <<<"$synopsis" && named=1
    done
    [[ $named == 1 ]] || { echo "$sub: not in the synopsis: $line"; failed=1; }
  done < <("$command" "$sub" --help | grep -E '^ +-' | grep -vE '^ +(-h,)?--(help|json)' | sed 's/^ *//')
done < <("$command" --help | sed -n '/^Subcommands:/,/^$/p' | sed '1d;/^$/d')
[[ $rounds -ge 16 ]] || { echo "--help names only $rounds commands"; failed=1; }
# The exit codes of exit_code.hpp, of the manual's table and of --help are the same ones.
declared=$(sed -n '/^enum class exit_code/,/^};/s/^  [a-z_]* = \([0-9]*\).*/\1/p' "$codes" | sort -n)
[[ $(wc -l <<<"$declared") -gt 10 ]] || { echo "no exit codes found in $codes"; failed=1; }
described=$(sed -n '/^\.SH EXIT STATUS/,/^\.SH ENV/s/^\.B \([0-9]*\)$/\1/p' <<<"$text" | sort -n)
diff <(echo "$declared") <(echo "$described") || { echo "^ exit codes: < in exit_code.hpp, > in the manual"; failed=1; }
helped=$("$command" --help | sed -n '/^Exit codes:/,$p' | grep -o '[0-9][0-9]* [a-z]' | sed 's/ .*//')
diff <(awk '$1 < 100' <<<"$declared") <(echo "$helped") || { echo "^ exit codes: > in --help"; failed=1; }
[[ -n $looked ]] || echo "skipped: neither groff nor mandoc is installed; only the words were looked at"
exit $failed
