# bash completion for linux, made by crates/linux/tests/texts.rs
_uml_linux() {
    local cur
    _get_comp_words_by_ref -n =: cur 2>/dev/null || cur=${COMP_WORDS[COMP_CWORD]}
    mapfile -t COMPREPLY < <(compgen -W "--help --version --showconfig mem= ncpus= umid= uml_dir= root= rootfstype= rootflags= ro rw init= initrd= hostfs= ubd ubd=sync con ssl ssl-non-raw xterm= console= eth vec mconsole=notify: seccomp=on noreboot panic= quiet loglevel= debug rootfstype=hostfs" -- "$cur")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o default -F _uml_linux linux
