# bash completion for shmdict: commands, options, names of dicts, paths.

_shmdict() {
  local commands='ls get set del keys load dump watch top stat check lock unlink backup restore bench'
  local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]-} dict= i positional=0
  COMPREPLY=()

  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$current")
    return
  fi

  if [[ $current == -* ]]; then
    local options='--help --json'
    case $command in
      ls) options+=' --names --orphans' ;;
      get) options+=' --raw --bytes --unsorted' ;;
      set) options+=' --string --merge --timeout' ;;
      del) options+=' --timeout' ;;
      keys) options+=' --long --recursive --limit --unsorted' ;;
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

  for ((i = 2; i < COMP_CWORD; ++i)); do
    [[ ${COMP_WORDS[i]} != -* ]] || continue
    if ((positional == 0)); then dict=${COMP_WORDS[i]}; fi
    positional=$((positional + 1))
  done
  case $command:$positional in
    load:1 | backup:1 | restore:0)
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      ;;
    get:0 | set:0 | del:0 | keys:0 | load:0 | dump:0 | watch:0 | lock:0 | backup:0 | top:* | stat:* | check:* | unlink:*)
      _shmdict_match "$current" < <("${COMP_WORDS[0]}" ls --names 2>/dev/null)
      ;;
    get:1 | set:1 | del:* | keys:1 | dump:1 | watch:1)
      local parent=
      if [[ $current == */* ]]; then parent=${current%/*}; fi
      _shmdict_match "$current" < <("${COMP_WORDS[0]}" keys "$dict" "$parent" -n 1000 2>/dev/null)
      ;;
    lock:*)
      mapfile -t COMPREPLY < <(compgen -c -- "$current")
      ;;
  esac
}

# Lines of stdin that begin with a word, as they are typed.
_shmdict_match() {
  local line
  while IFS= read -r line; do
    if [[ $line == "$1"* ]]; then COMPREPLY+=("$(printf '%q' "$line")"); fi
  done
}

complete -F _shmdict shmdict
