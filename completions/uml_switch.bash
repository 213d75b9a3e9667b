# bash completion for uml_switch, made by crates/pure/usage
_uml_switch() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i=1 n=0
    case $prev in
        -unix) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        -tap) mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/class/net 2>/dev/null)" -- "$cur"); return ;;
        -mgmt) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        -pcap) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        -port) mapfile -t COMPREPLY < <(compgen -W 'rate= loss= delay= jitter= isolated=on' -- "$cur"); compopt -o nospace 2>/dev/null; return ;;
        -age) :; return ;;
        -busy-poll) :; return ;;
        -ask) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        -completions) mapfile -t COMPREPLY < <(compgen -W 'bash zsh fish' -- "$cur"); return ;;
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '-unix -compat-v0 -tap -hub -daemon -mgmt -pcap -port-isolation -port -age -busy-poll -quiet -ask -completions -h -help -V -version' -- "$cur")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W 'help stats ports macs set flush kick quit' -- "$cur")
}
complete -o filenames -F _uml_switch uml_switch
