# fish completion for uml_net, which machines run and people seldom
complete -c uml_net -f
complete -c uml_net -n __fish_is_first_token -a 4
complete -c uml_net -n 'not __fish_is_first_token' -a 'tuntap up add del'
