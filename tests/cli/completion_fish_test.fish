#!/usr/bin/env fish
# SPDX-License-Identifier: Apache-2.0
# fish completes commands, options, names of dicts, paths and files. completion_fish_test.fish COMMAND COMPLETIONS
set -g command $argv[1]
set -gx PATH (mktemp -d) $PATH # the completions call shmdict
ln -s (realpath $command) $PATH[1]/shmdict
source $argv[2]; or exit 1

set -g name test.completion.$fish_pid.fish
function clean --on-event fish_exit
    $command unlink -y $name
    rm -r $PATH[1]
end
echo '{"server": {"port": 1, "path": 2, "host name": 3, "a:b": {"c:d": 4}}, "list": []}' | $command load $name -; or exit 1

set -g failed 0
# expect LINE COMPLETIONS...: without their descriptions
function expect
    set -l got (complete -C $argv[1] | string replace -r '\t.*' '' | sort -u)
    set -l wanted (printf '%s\n' $argv[2..] | sort -u)
    if test "$got" != "$wanted"
        printf 'completing: %s\n  expected: %s\n  got:      %s\n' $argv[1] "$wanted" "$got"
        set failed 1
    end
end

expect 'shmdict ' backup bench check del dump get keys load lock ls restore set stat top unlink watch
expect 'shmdict s' set stat
expect "shmdict get test.completion.$fish_pid." $name
expect "shmdict stat x test.completion.$fish_pid." $name
expect "shmdict get $name " /list /server
expect "shmdict get $name /server/p" /server/path /server/port
expect "shmdict get -r $name /server/port" /server/port
expect "shmdict set --timeout 5 $name /server/p" /server/path /server/port
expect "shmdict set $name /server/h" '/server/host name'
expect "shmdict get $name /server/a" /server/a:b
expect "shmdict get $name /server/a:b/" /server/a:b/c:d
expect "shmdict watch $name --since 4 /se" /server
expect "shmdict del $name /list /se" /server
expect "shmdict dump --co" --compact
expect "shmdict unlink --" --help --json --orphans --yes
expect "shmdict load $name $argv[2]" $argv[2]
expect "shmdict lock $name job -- cat $argv[2]" $argv[2]
expect "shmdict lock $name job -- shmdict get $name /li" /list

# The script and the command know the same commands and options.
set -l rounds 0
for sub in ($command --help | sed -n '/^Subcommands:/,/^$/p' | sed '1d;/^$/d' | string match -r '[a-z]+' )
    set rounds (math $rounds + 1)
    set -l completed (complete -C "shmdict $sub --" | string replace -r '\t.*' '')
    for option in ($command $sub --help | grep -o -- '--[a-z][a-z-]*' | sort -u)
        contains -- $option $completed; or begin
            echo "$sub: $option is not completed"
            set failed 1
        end
    end
end
if test $rounds -lt 16
    echo "--help names only $rounds commands"
    set failed 1
end
exit $failed
