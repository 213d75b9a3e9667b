# fish completion for tunctl
complete -c tunctl -f
complete -c tunctl -s b -d 'Print only the name'
complete -c tunctl -s u -x -a '(__fish_complete_users)' -d Owner
complete -c tunctl -s g -x -a '(__fish_complete_groups)' -d Group
complete -c tunctl -s t -x -d 'Name of the device'
complete -c tunctl -s d -x -a '(ls /sys/class/net)' -d 'Device to let go'
complete -c tunctl -s f -r -d 'Clone device'
complete -c tunctl -l help -d 'Print a summary'
complete -c tunctl -l version -d 'Print the version'
