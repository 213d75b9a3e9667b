# fish completion for tunctl, made by crates/pure/usage
complete -c tunctl -f
complete -c tunctl -s b -d 'print only the name of the device'
complete -c tunctl -s u -x -a '(__fish_complete_users)' -d 'user who may open it; the caller without -u and -g'
complete -c tunctl -s g -x -a '(__fish_complete_groups)' -d 'group that may open it'
complete -c tunctl -s t -x -d 'its name; the kernel chooses one otherwise'
complete -c tunctl -s d -x -a '(ls /sys/class/net 2>/dev/null)' -d 'let this device go when nobody has it open'
complete -c tunctl -s f -r -F -d 'open this instead of /dev/net/tun'
complete -c tunctl -s h -l help -d 'show this help and exit'
complete -c tunctl -s V -l version -d 'show the version and exit'
complete -c tunctl -l completions -x -a 'bash zsh fish' -d 'print completions for a shell (bash, zsh, fish) and exit'
