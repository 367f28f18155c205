# SPDX-License-Identifier: Apache-2.0
# fish completion for shmdict: commands, options, names of dicts, paths.

function __shmdict_names
    shmdict ls --names 2>/dev/null
end

# The words that are neither options nor what an option takes: shmdict, the command, what it takes.
function __shmdict_words
    set -l takes --timeout --at --since --limit --delay --count --seconds -n -d
    set -l skip no
    for word in (commandline -opc)
        if test $skip = yes
            set skip no
        else if contains -- $word $takes
            set skip yes
        else if not string match -q -- '-*' $word
            printf '%s\n' $word
        end
    end
end

function __shmdict_paths
    set -l words (__shmdict_words)
    set -l parent (string replace -r '/?[^/]*$' '' -- (commandline -ct))
    test (count $words) -ge 3; and shmdict keys $words[3] "$parent" -n 1000 2>/dev/null
end

# Whether one of these commands is completed, and the n-th word behind it: __shmdict_word N COMMAND...
function __shmdict_word
    set -l words (__shmdict_words)
    test (count $words) -eq (math $argv[1] + 1); and contains -- $words[2] $argv[2..]
end
# The same from the n-th word on.
function __shmdict_words_from
    set -l words (__shmdict_words)
    test (count $words) -gt $argv[1]; and contains -- $words[2] $argv[2..]
end

# What lock runs: completed as if it stood alone.
function __shmdict_under_lock
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words); or set at (contains -i -- (__shmdict_words)[4] $words)
    complete -C (string join -- ' ' (string escape -- $words[(math $at + 1)..]) (commandline -ct))
end

complete -c shmdict -f
complete -c shmdict -n __fish_use_subcommand -l version -d 'Print the version'
complete -c shmdict -l help -s h -d 'What it takes'
complete -c shmdict -n 'not __fish_use_subcommand' -l json -d 'JSON instead of text for people'

complete -c shmdict -n __fish_use_subcommand -a ls -d 'List all dicts'
complete -c shmdict -n __fish_use_subcommand -a get -d 'Show a value or dict'
complete -c shmdict -n __fish_use_subcommand -a set -d 'Store a value'
complete -c shmdict -n __fish_use_subcommand -a del -d 'Remove values and dicts'
complete -c shmdict -n __fish_use_subcommand -a keys -d 'List keys as paths'
complete -c shmdict -n __fish_use_subcommand -a load -d 'Fill from a JSON file'
complete -c shmdict -n __fish_use_subcommand -a dump -d 'Write as JSON'
complete -c shmdict -n __fish_use_subcommand -a watch -d 'Print changes as they happen'
complete -c shmdict -n __fish_use_subcommand -a top -d 'Live view'
complete -c shmdict -n __fish_use_subcommand -a stat -d 'Figures'
complete -c shmdict -n __fish_use_subcommand -a check -d 'Look for damage'
complete -c shmdict -n __fish_use_subcommand -a lock -d 'Run a command under a named lock'
complete -c shmdict -n __fish_use_subcommand -a unlink -d 'Remove dicts'
complete -c shmdict -n __fish_use_subcommand -a backup -d 'Write to a binary file or a pipe'
complete -c shmdict -n __fish_use_subcommand -a restore -d 'Make a dict from a backup'
complete -c shmdict -n __fish_use_subcommand -a bench -d 'Measure'

complete -c shmdict -n '__shmdict_word 1 get set del keys load dump watch lock backup' -a '(__shmdict_names)'
complete -c shmdict -n '__shmdict_words_from 1 top stat check unlink' -a '(__shmdict_names)'
complete -c shmdict -n '__shmdict_word 2 get set keys dump watch' -a '(__shmdict_paths)'
complete -c shmdict -n '__shmdict_words_from 2 del' -a '(__shmdict_paths)'
complete -c shmdict -n '__shmdict_word 2 load backup' -F
complete -c shmdict -n '__shmdict_word 1 restore' -F
complete -c shmdict -n '__shmdict_words_from 3 lock' -a '(__shmdict_under_lock)'

complete -c shmdict -n '__fish_seen_subcommand_from ls' -l names -d 'Names only'
complete -c shmdict -n '__fish_seen_subcommand_from ls keys' -s 0 -l null -d 'Each ended by a zero byte'
complete -c shmdict -n '__fish_seen_subcommand_from ls unlink' -l orphans -d 'Those that nobody uses'
complete -c shmdict -n '__fish_seen_subcommand_from get' -s r -l raw -d 'A string without quotes'
complete -c shmdict -n '__fish_seen_subcommand_from get' -l bytes -d 'As stored'
complete -c shmdict -n '__fish_seen_subcommand_from get keys dump' -l unsorted -d 'In the order of storage'
complete -c shmdict -n '__fish_seen_subcommand_from set' -s s -l string -d 'Text, not JSON'
complete -c shmdict -n '__fish_seen_subcommand_from set load' -l merge -d 'Keep what is there'
complete -c shmdict -n '__fish_seen_subcommand_from load' -l batches -d 'In several commits'
complete -c shmdict -n '__fish_seen_subcommand_from load' -l at -x -d 'Into this place'
complete -c shmdict -n '__fish_seen_subcommand_from set del load check lock' -l timeout -x -d 'Wait for the lock'
complete -c shmdict -n '__fish_seen_subcommand_from keys' -s l -l long -d 'A table'
complete -c shmdict -n '__fish_seen_subcommand_from keys' -s R -l recursive -d 'Nested dicts, too'
complete -c shmdict -n '__fish_seen_subcommand_from keys' -s n -l limit -x -d 'At most'
complete -c shmdict -n '__fish_seen_subcommand_from dump' -l compact -d 'On one line'
complete -c shmdict -n '__fish_seen_subcommand_from watch' -l since -x -d 'Begin at a position'
complete -c shmdict -n '__fish_seen_subcommand_from watch top' -s n -l count -x -d 'End after so many'
complete -c shmdict -n '__fish_seen_subcommand_from top' -s d -l delay -x -d 'Between looks'
complete -c shmdict -n '__fish_seen_subcommand_from stat' -l prometheus -d "Prometheus' text format"
complete -c shmdict -n '__fish_seen_subcommand_from check' -l no-lock -d 'Let writers go on'
complete -c shmdict -n '__fish_seen_subcommand_from unlink' -s y -l yes -d 'Do not ask'
complete -c shmdict -n '__fish_seen_subcommand_from bench' -l seconds -x -d 'How long'
