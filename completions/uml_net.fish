# fish completion for uml_net, made by crates/pure/usage
complete -c uml_net -f
complete -c uml_net -n __fish_is_first_token -x -a '4'
complete -c uml_net -n 'not __fish_is_first_token' -x -a 'tuntap add del'
complete -c uml_net -n 'not __fish_is_first_token' -x -a 'up add del'
complete -c uml_net -n 'not __fish_is_first_token' -x -a '(ls /sys/class/net 2>/dev/null)'
