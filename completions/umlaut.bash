# bash completion for umlaut
_umlaut() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command='' i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            run|diff|commit|check) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $command in
        '') mapfile -t COMPREPLY < <(compgen -W 'run diff commit check --help --version' -- "$cur"); return ;;
        check) mapfile -t COMPREPLY < <(compgen -W '--help' -- "$cur"); return ;;
    esac
    case $prev in
        --root|--cwd) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
        --user) mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return ;;
        --save|--load) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --bind) compopt -o nospace; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
        --mem|--cpus|--env) return ;;
    esac
    case $command in
        diff) mapfile -t COMPREPLY < <(compgen -f -W '-p --patch --root --help' -- "$cur"); return ;;
        commit) mapfile -t COMPREPLY < <(compgen -f -W '--yes --root --help' -- "$cur"); return ;;
    esac
    # Behind the command of the machine there are its own words.
    local words='--root --user --mem --cpus --env --cwd --bind --save --load --trace --stats --help'
    for ((i = i + 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --) break ;;
            --trace*|--stats) ;;
            --*) ((i++)) ;;
            *) break ;;
        esac
    done
    if ((i < COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -f -- "$cur")
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -c -- "$cur")
    fi
}
complete -o filenames -F _umlaut umlaut
