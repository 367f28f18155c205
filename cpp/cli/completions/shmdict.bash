# SPDX-License-Identifier: Apache-2.0
# bash completion for shmdict: commands, options, names of dicts, paths.

_shmdict() {
  local commands='ls get set del keys load dump watch top stat check lock unlink backup restore bench'
  local words=() last current kept command dict= i positional=0
  COMPREPLY=()
  _shmdict_words
  last=$((${#words[@]} - 1)) command=${words[1]-}
  current=${words[last]//[\\\"\']/} # as it is without quotes
  kept=${words[last]%"${2-}"}      # the front of the word stays: what is offered replaces $2 only
  kept=${kept//[\\\"\']/}

  if ((last == 1)); then
    mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$current")
    return
  fi

  if [[ $current == -* ]]; then
    local options='--help --json'
    case $command in
      ls) options+=' --names --null --orphans' ;;
      get) options+=' --raw --bytes --unsorted' ;;
      set) options+=' --string --merge --timeout' ;;
      del) options+=' --timeout' ;;
      keys) options+=' --long --recursive --null --limit --unsorted' ;;
      load) options+=' --at --merge --batches --timeout' ;;
      dump) options+=' --compact --unsorted' ;;
      watch) options+=' --since --count' ;;
      top) options+=' --delay --count' ;;
      stat) options+=' --prometheus' ;;
      check) options+=' --no-lock --timeout' ;;
      lock) options+=' --timeout' ;;
      unlink) options+=' --orphans --yes' ;;
      bench) options+=' --seconds' ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    return
  fi

  for ((i = 2; i < last; ++i)); do
    case ${words[i]} in
      --timeout | --at | --since | --limit | --delay | --count | --seconds | -n | -d) i=$((i + 1)) && continue ;;
      -*) continue ;;
    esac
    if ((positional == 0)); then dict=${words[i]//[\\\"\']/}; fi
    positional=$((positional + 1))
  done
  case $command:$positional in
    load:1 | backup:1 | restore:0)
      compopt -o filenames 2>/dev/null || true # readline quotes them
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      COMPREPLY=("${COMPREPLY[@]#"$kept"}")
      ;;
    get:0 | set:0 | del:0 | keys:0 | load:0 | dump:0 | watch:0 | lock:0 | backup:0 | top:* | stat:* | check:* | unlink:*)
      _shmdict_match < <("${words[0]}" ls --names 2>/dev/null)
      ;;
    get:1 | set:1 | del:* | keys:1 | dump:1 | watch:1)
      local parent=
      if [[ $current == */* ]]; then parent=${current%/*}; fi
      _shmdict_match < <("${words[0]}" keys "$dict" "$parent" -n 1000 2>/dev/null)
      ;;
    lock:*)
      mapfile -t COMPREPLY < <(compgen -c -- "$current")
      ;;
  esac
}

# What was typed up to the cursor, as `words`. bash splits at the characters of COMP_WORDBREAKS, too, such as : and =, which
# stand in keys: what has no space in between belongs together.
_shmdict_words() {
  local rest=${COMP_LINE:0:COMP_POINT} word next
  for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
    next=${rest#"${rest%%[![:space:]]*}"}
    word=${word:0:${#next}} # the cursor may stand in it
    if ((${#words[@]} > 0)) && [[ $next == "$rest" && -n $rest ]]; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
    rest=${next:${#word}}
  done
}

# Lines of stdin that begin with the current word, as they are typed; within quotes as they are.
_shmdict_match() {
  local line
  while IFS= read -r line; do
    [[ $line == "$current"* ]] || continue
    line=${line#"$kept"}
    if [[ ${words[last]} != [\"\']* ]]; then line=$(printf '%q' "$line"); fi
    COMPREPLY+=("$line")
  done
}

complete -F _shmdict shmdict
