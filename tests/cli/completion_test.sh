#!/usr/bin/env bash
# bash completes commands, options, names of dicts, paths and files. completion_test.sh COMMAND COMPLETIONS
set -euo pipefail
command=$1
source "$2"

name=test.completion.$$
trap '"$command" unlink -y "$name"' EXIT
"$command" load "$name" - <<<'{"server": {"port": 1, "path": 2, "host name": 3}, "list": []}'

failed=0
# expect "WORDS..." "COMPLETIONS": the last word is the one to complete.
expect() {
  local got
  eval "COMP_WORDS=($1)"
  COMP_WORDS[0]=$command
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  _shmdict
  got=$(printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' ')
  if [[ $got != "$2 " ]]; then
    echo "completing: $1"
    echo "  expected: $2"
    echo "  got:      $got"
    failed=1
  fi
}

expect "shmdict ''" "--help --version backup bench check del dump get keys load lock ls restore set stat top unlink watch"
expect "shmdict s" "set stat"
expect "shmdict get ${name:0:17}" "$name"
expect "shmdict stat x ${name:0:17}" "$name"
expect "shmdict get $name /" "/list /server"
expect "shmdict get $name /server/p" "/server/path /server/port"
expect "shmdict get -r $name /server/port" "/server/port"
expect "shmdict set $name /server/h" '/server/host\ name'
expect "shmdict del $name /list /se" "/server"
expect "shmdict dump --co" "--compact"
expect "shmdict unlink --" "--help --json --orphans --yes"
expect "shmdict load $name $2" "$2"

# The script and the command know the same commands and options.
while read -r sub _; do
  while read -r option; do
    COMP_WORDS=("$command" "$sub" --) COMP_CWORD=2 COMPREPLY=()
    _shmdict
    if ! printf '%s\n' "${COMPREPLY[@]}" | grep -qx -- "$option"; then
      echo "$sub: $option is not completed"
      failed=1
    fi
  done < <("$command" "$sub" --help | grep -o -- '--[a-z][a-z-]*' | sort -u)
done < <("$command" --help | sed -n '/^Subcommands:/,/^$/p' | sed '1d;/^$/d')
exit $failed
