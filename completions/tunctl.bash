# bash completion for tunctl
_tunctl() {
    local cur=${COMP_WORDS[COMP_CWORD]}
    case ${COMP_WORDS[COMP_CWORD-1]} in
        -u) mapfile -t COMPREPLY < <(compgen -u -- "$cur") ;;
        -g) mapfile -t COMPREPLY < <(compgen -g -- "$cur") ;;
        -d) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net 2>/dev/null)" -- "$cur") ;;
        -f) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        -t) ;;
        *) mapfile -t COMPREPLY < <(compgen -W "-b -u -g -t -d -f --help --version" -- "$cur") ;;
    esac
}
complete -F _tunctl tunctl
