# bash completion for uml_net, made by crates/pure/usage
_uml_net() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i=1 n=0
    while ((i < COMP_CWORD)); do
        case ${COMP_WORDS[i]} in
            -*) ;;
            *) ((n++)) ;;
        esac
        ((i++))
    done
    case $n in
        0) mapfile -t COMPREPLY < <(compgen -W '4' -- "$cur") ;;
        1) mapfile -t COMPREPLY < <(compgen -W 'tuntap add del' -- "$cur") ;;
        2) mapfile -t COMPREPLY < <(compgen -W 'up add del' -- "$cur") ;;
        3) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net 2>/dev/null)" -- "$cur") ;;
        *) : ;;
    esac
}
complete -o filenames -F _uml_net uml_net
