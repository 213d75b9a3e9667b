# bash completion for linux, the machine by User Mode Linux's command line
_umlaut_linux() {
    local cur prev words cword
    # The equals sign is part of a word here.
    _get_comp_words_by_ref -n =: cur 2>/dev/null || cur=${COMP_WORDS[COMP_CWORD]}
    case $cur in
        initrd=*|hostfs=*|uml_dir=*|rootflags=*)
            mapfile -t COMPREPLY < <(compgen -f -- "${cur#*=}")
            return
            ;;
        con*=*|ssl*=*) mapfile -t COMPREPLY < <(compgen -W 'fd: null none pts tty: port: xterm' -- "${cur#*=}") ; return ;;
        seccomp=*) mapfile -t COMPREPLY < <(compgen -W 'on auto off' -- "${cur#*=}") ; return ;;
    esac
    compopt -o nospace
    mapfile -t COMPREPLY < <(compgen -W 'mem= ncpus= umid= uml_dir= root= rootfstype=hostfs rootflags= ro rw init= initrd= hostfs= ubd0= ubd=sync con= con0= ssl= ssl0= ssl-non-raw xterm= console= eth0= vec0: mconsole=notify: seccomp= noreboot panic= quiet loglevel= debug --help --version --showconfig --' -- "$cur")
}
complete -F _umlaut_linux linux
