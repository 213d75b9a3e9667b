# bash completion for uml_switch
_uml_switch() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    case $prev in
        -unix|-mgmt|-ask|-pcap) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        -tap) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net 2>/dev/null)" -- "$cur"); return ;;
        -port) mapfile -t COMPREPLY < <(compgen -W "rate= loss= delay= jitter= isolated=on" -- "$cur")
            compopt -o nospace; return ;;
        -busy-poll) return ;;
    esac
    if [[ ${COMP_WORDS[1]} == -ask && $COMP_CWORD -ge 3 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "help stats ports macs set flush kick quit" -- "$cur")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "-unix -compat-v0 -tap -hub -daemon -mgmt -pcap -port-isolation -port \
        -busy-poll -quiet -ask -help -version" -- "$cur")
}
complete -F _uml_switch uml_switch
