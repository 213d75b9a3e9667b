# bash completion for uml_mconsole, made by crates/pure/usage
_uml_mconsole() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i=1 n=0
    case $prev in
        --timeout) :; return ;;
        --uml-dir) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
        --completions) mapfile -t COMPREPLY < <(compgen -W 'bash zsh fish' -- "$cur"); return ;;
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '-l --list --timeout --uml-dir -h --help -V --version --completions' -- "$cur")
        return
    fi
    while ((i < COMP_CWORD)); do
        case ${COMP_WORDS[i]} in
            --timeout|--uml-dir|--completions) ((i++)) ;;
            -*) ;;
            *) ((n++)) ;;
        esac
        ((i++))
    done
    case $n in
        0) mapfile -t COMPREPLY < <(compgen -W "$(uml_mconsole --list 2>/dev/null | awk "NR > 1 { print \$1 }")" -- "$cur") ;;
        1) mapfile -t COMPREPLY < <(compgen -W 'version help halt reboot config remove sysrq cad stop go log proc stack int mconsole-version' -- "$cur") ;;
        *) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    esac
}
complete -o filenames -F _uml_mconsole uml_mconsole
