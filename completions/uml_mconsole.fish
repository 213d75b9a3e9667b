# fish completion for uml_mconsole
complete -c uml_mconsole -f
complete -c uml_mconsole -l list -d 'Show the running machines'
complete -c uml_mconsole -l timeout -x -d 'Seconds to wait for an answer'
complete -c uml_mconsole -l uml-dir -r -d 'Look for machines below this directory first'
complete -c uml_mconsole -l help -d 'Print a summary'
complete -c uml_mconsole -l version -d 'Print the version'
complete -c uml_mconsole -n __fish_is_first_token -a "(uml_mconsole --list 2>/dev/null | awk 'NR > 1 { print \$1 }')"
complete -c uml_mconsole -n 'not __fish_is_first_token' \
    -a 'version help halt reboot config remove sysrq cad stop go log proc stack int mconsole-version'
