# bash completion for uml_moo, made by crates/pure/usage
_uml_moo() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i=1 n=0
    case $prev in
        -b|--backing) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --rebase) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --from) mapfile -t COMPREPLY < <(compgen -W 'raw cow qcow2' -- "$cur"); return ;;
        --to) mapfile -t COMPREPLY < <(compgen -W 'raw cow qcow2' -- "$cur"); return ;;
        --completions) mapfile -t COMPREPLY < <(compgen -W 'bash zsh fish' -- "$cur"); return ;;
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '-d --in-place -b --backing --info --rebase --from --to -h --help -V --version --completions' -- "$cur")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}
complete -o filenames -F _uml_moo uml_moo
