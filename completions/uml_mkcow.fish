# fish completion for uml_mkcow, made by crates/pure/usage
complete -c uml_mkcow -s f -l force -d 'overwrite an existing COW file; its changes are lost'
complete -c uml_mkcow -l align -x -a '4K 64K 1M' -d 'align bitmap and data; without it 1M, below 16 MiB 4K (as the original always)'
complete -c uml_mkcow -s h -l help -d 'show this help and exit'
complete -c uml_mkcow -s V -l version -d 'show the version and exit'
complete -c uml_mkcow -l completions -x -a 'bash zsh fish' -d 'print completions for a shell (bash, zsh, fish) and exit'
