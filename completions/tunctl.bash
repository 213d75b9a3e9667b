# bash completion for tunctl, made by crates/pure/usage
_tunctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i=1 n=0
    case $prev in
        -u) mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return ;;
        -g) mapfile -t COMPREPLY < <(compgen -g -- "$cur"); return ;;
        -t) :; return ;;
        -d) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net 2>/dev/null)" -- "$cur"); return ;;
        -f) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --completions) mapfile -t COMPREPLY < <(compgen -W 'bash zsh fish' -- "$cur"); return ;;
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '-b -u -g -t -d -f -h --help -V --version --completions' -- "$cur")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W '-b -u -g -t -d -f -h --help -V --version --completions' -- "$cur")
}
complete -o filenames -F _tunctl tunctl
