# bash completion for uml_net, which machines run and people seldom
_uml_net() {
    local cur=${COMP_WORDS[COMP_CWORD]}
    case $COMP_CWORD in
        1) mapfile -t COMPREPLY < <(compgen -W "4" -- "$cur") ;;
        2) mapfile -t COMPREPLY < <(compgen -W "tuntap add del" -- "$cur") ;;
        3) [[ ${COMP_WORDS[2]} == tuntap ]] && mapfile -t COMPREPLY < <(compgen -W "up add del" -- "$cur") ;;
    esac
}
complete -F _uml_net uml_net
