# bash completion for uml_mkcow, made by crates/pure/usage
_uml_mkcow() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i=1 n=0
    case $prev in
        --align) mapfile -t COMPREPLY < <(compgen -W '4K 64K 1M' -- "$cur"); return ;;
        --completions) mapfile -t COMPREPLY < <(compgen -W 'bash zsh fish' -- "$cur"); return ;;
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '-f --force --align -h --help -V --version --completions' -- "$cur")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}
complete -o filenames -F _uml_mkcow uml_mkcow
