# bash completion for uml_mconsole
_uml_mconsole() {
    local cur=${COMP_WORDS[COMP_CWORD]} i=1
    while [[ $i -lt $COMP_CWORD ]]; do
        case ${COMP_WORDS[i]} in
            --timeout|--uml-dir) ((i += 2)) ;;
            -*) ((i++)) ;;
            *) break ;;
        esac
    done
    if [[ $i -lt $COMP_CWORD ]]; then
        mapfile -t COMPREPLY < <(compgen -W "version help halt reboot config remove sysrq cad stop go log proc \
            stack int mconsole-version" -- "$cur")
        return
    fi
    case ${COMP_WORDS[COMP_CWORD-1]} in
        --uml-dir) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
        --timeout) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "--list --timeout --uml-dir --help --version \
        $(uml_mconsole --list 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$cur")
}
complete -F _uml_mconsole -o default uml_mconsole
