# fish completion for uml_mconsole, made by crates/pure/usage
complete -c uml_mconsole -s l -l list -d 'show the running machines'
complete -c uml_mconsole -l timeout -x -d 'wait so long for an answer (default 15)'
complete -c uml_mconsole -l uml-dir -x -a '(__fish_complete_directories)' -d 'look for machines below DIR first'
complete -c uml_mconsole -s h -l help -d 'show this help and exit'
complete -c uml_mconsole -s V -l version -d 'show the version and exit'
complete -c uml_mconsole -l completions -x -a 'bash zsh fish' -d 'print completions for a shell (bash, zsh, fish) and exit'
complete -c uml_mconsole -n __fish_is_first_token -x -a '(uml_mconsole --list 2>/dev/null | awk "NR > 1 { print \$1 }")'
complete -c uml_mconsole -n 'not __fish_is_first_token' -x -a 'version help halt reboot config remove sysrq cad stop go log proc stack int mconsole-version'
