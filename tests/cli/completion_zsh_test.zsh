#!/usr/bin/env zsh
# SPDX-License-Identifier: Apache-2.0
# zsh completes commands, options, names of dicts, paths and files: an interactive zsh in a pseudo terminal is typed to.
#   zsh -f completion_zsh_test.zsh COMMAND FOLDER-OF-_shmdict
zmodload zsh/zpty || { print "skipped: zsh has no zpty"; exit 77 }
shmdict=${1:A} folder=$2 failed=0 rounds=0
work=$(mktemp -d) name=test.completion.$$.zsh
trap '"$shmdict" unlink -y $name; zpty -d z 2>/dev/null; rm -rf $work' EXIT
mkdir $work/bin
ln -s $shmdict $work/bin/shmdict
: > $work/xfile
"$shmdict" load $name - <<<'{"server": {"port": 1, "path": 2, "host name": 3, "a:b": {"c:d": 4}}, "list": []}' || exit 1

# In there every match that is added is noted, and "END" once a completion is through.
cat > $work/rc <<'RC'
path=($work/bin $path) fpath=($folder $fpath)
autoload -Uz compinit && compinit -u -D
setopt no_beep no_list_ambiguous
LISTMAX=100000
compadd() {
  local -a matches flags=("${@[1,(i)(-|--)]}")
  if (( ! ${flags[(I)-[OAD]*]} )); then
    builtin compadd -O matches "$@"
    (( $#matches )) && print -rl -- M${^matches} >> $work/matches
  fi
  builtin compadd "$@"
}
_end() { print END >> $work/matches }
_begin() { comppostfuncs=(_end) }
compprefuncs=(_begin)
bindkey '^X^K' kill-buffer
precmd_functions=() PS1= PS2=
print READY > $work/ready
RC
export work folder
zpty z "TERM=dumb zsh -f -i"
zpty -w z "source $work/rc"
for i in {1..1200}; do [[ -e $work/ready ]] && break; sleep 0.05; done
[[ -e $work/ready ]] || { print "zsh does not come up"; exit 1 }

# expect LINE MATCHES...
expect() {
  local line=$1 i
  local -a got wanted=("${(@on)@[2,-1]}")
  : > $work/matches
  zpty -w -n z "compprefuncs=(_begin)"$'\n'
  zpty -w -n z "$line"$'\t'
  for i in {1..1200}; do grep -q '^END' $work/matches && break; sleep 0.05; done
  grep -q '^END' $work/matches || { print -r -- "no END: $line"; exit 1 }
  got=(${(f)"$(sed -n 's/^M//p' $work/matches | sort -u)"})
  got=("${(@on)got}")
  zpty -w -n z $'\C-x\C-k'
  zpty -r -t z ignored '*' 2>/dev/null
  if [[ "$got" != "$wanted" ]]; then
    print -r -- "completing: $line"$'\n'"  expected: $wanted"$'\n'"  got:      $got"
    failed=1
  fi
}

expect 'shmdict ' backup bench check del dump get keys load lock ls restore set stat top unlink watch
expect 'shmdict s' set stat
expect "shmdict get ${name%zsh}" $name
expect "shmdict stat x ${name%zsh}" $name
expect "shmdict get $name " /list /server
expect "shmdict get $name /server/p" /server/path /server/port
expect "shmdict get -r $name /server/po" /server/port
expect "shmdict set --timeout 5 $name /server/p" /server/path /server/port
expect "shmdict set $name /server/h" '/server/host name'
expect "shmdict get $name /server/a" /server/a:b
expect "shmdict get $name /server/a:b/" /server/a:b/c:d
expect "shmdict watch $name --since 4 /se" /server
expect "shmdict del $name /list /se" /server
expect 'shmdict dump --co' --compact
expect "shmdict load $name $work/xf" xfile
expect "shmdict lock $name job -- cat $work/xf" xfile

# The script and the command know the same commands and options.
for sub in $($shmdict --help | sed -n '/^Subcommands:/,/^$/p' | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
  takes=($($shmdict $sub --help | grep -o -- '--[a-z][a-z-]*' | sort -u))
  expect "shmdict $sub --" $takes
  (( ++rounds ))
done
(( rounds >= 16 )) || { print "--help names only $rounds commands"; failed=1 }
exit $failed
