#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bash completes commands, options, names of dicts, paths and files. completion_test.sh COMMAND COMPLETIONS
set -euo pipefail
command=$1
source "$2"
export LC_ALL=C # as sort puts them

name=test.completion.$$.bash
trap '"$command" unlink -y "$name"' EXIT
"$command" load "$name" - <<<'{"server": {"port": 1, "path": 2, "host name": 3, "a:b": {"c:d": 4, "c:e": 5}}, "list": []}'

failed=0
# type LINE: as bash calls the completion for it; it has split the line at every colon, too.
type() {
  COMP_LINE=$command${1#shmdict} COMP_POINT=$((${#command} + ${#1} - 7)) COMPREPLY=()
  read -ra COMP_WORDS <<<"${1//:/ : }"
  COMP_WORDS[0]=$command
  if [[ $1 == *' ' ]]; then COMP_WORDS+=(''); fi
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  _shmdict shmdict "${1##*[ :]}"
}
# expect LINE COMPLETIONS: of its last word
expect() {
  local got
  type "$1"
  got=$(printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' ')
  if [[ $got != "$2 " ]]; then
    echo "completing: $1"
    echo "  expected: $2"
    echo "  got:      $got"
    failed=1
  fi
}

expect "shmdict " "--help --version backup bench check del dump get keys load lock ls restore set stat top unlink watch"
expect "shmdict s" "set stat"
expect "shmdict get ${name%bash}" "$name"
expect "shmdict stat x ${name%bash}" "$name"
expect "shmdict get $name /" "/list /server"
expect "shmdict get $name /server/p" "/server/path /server/port"
expect "shmdict get -r $name /server/port" "/server/port"
expect "shmdict set --timeout 5 $name /server/p" "/server/path /server/port"
expect "shmdict watch $name --since 4 /se" "/server"
expect "shmdict set $name /server/h" '/server/host\ name'
expect "shmdict get $name /server/a" "/server/a:b"
expect "shmdict get $name /server/a:" "b"
expect "shmdict get $name /server/a:b/c:" "d e"
expect "shmdict get $name /server/a:b/c:d" "d"
expect "shmdict get $name:x /" ""
expect "shmdict del $name /list /se" "/server"
expect "shmdict dump --co" "--compact"
expect "shmdict unlink --" "--help --json --orphans --yes"
expect "shmdict load $name $2" "$2"

# The script and the command know the same commands and options.
rounds=0
while read -r sub _; do
  rounds=$((rounds + 1))
  while read -r option; do
    type "shmdict $sub --"
    if ! printf '%s\n' "${COMPREPLY[@]}" | grep -x -- "$option" >/dev/null; then
      echo "$sub: $option is not completed"
      failed=1
    fi
  done < <("$command" "$sub" --help | grep -o -- '--[a-z][a-z-]*' | sort -u)
done < <("$command" --help | sed -n '/^Subcommands:/,/^$/p' | sed '1d;/^$/d')
[[ $rounds -ge 16 ]] || { echo "--help names only $rounds commands"; failed=1; }
exit $failed
