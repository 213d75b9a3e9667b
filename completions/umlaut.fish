# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_umlaut_global_optspecs
    string join \n compat-table h/help V/version
end

function __fish_umlaut_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_umlaut_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_umlaut_using_subcommand
    set -l cmd (__fish_umlaut_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c umlaut -n "__fish_umlaut_needs_command" -l compat-table -d 'Prints the table of supported system calls as Markdown, and ends'
complete -c umlaut -n "__fish_umlaut_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c umlaut -n "__fish_umlaut_needs_command" -s V -l version -d 'Print version'
complete -c umlaut -n "__fish_umlaut_needs_command" -f -a "run" -d 'Runs one command in a fresh machine; its exit status is ours (128+n for signal n)'
complete -c umlaut -n "__fish_umlaut_needs_command" -f -a "diff" -d 'Lists what a saved layer changes: A added, M modified, D deleted, R replaced, m only mode, owner or time'
complete -c umlaut -n "__fish_umlaut_needs_command" -f -a "commit" -d 'Applies a saved layer to its tree, after asking. A host file that changed since stops it; nothing is half applied'
complete -c umlaut -n "__fish_umlaut_needs_command" -f -a "check" -d 'Says what this host offers, and what that means; status 1 if no machine can run here'
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l root -d 'Another tree as the root instead of the host\'s own' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l user -d 'User inside: a name of the machine\'s /etc/passwd, or UID[:GID]' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l mem -d 'Guest memory: bytes, or with a suffix K, M, G. Default: three quarters of the host\'s' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l cpus -d 'Processors used at once. Default: all of the host\'s' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l env -d 'Sets a variable of the command\'s environment (repeatable)' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l cwd -d 'Working directory inside. Default: the present one, or / with --root' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l bind -d 'Shows a host directory inside, writable unless `:ro` (repeatable)' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l save -d 'Saves what was changed over the tree in FILE when the command has ended (see `umlaut diff` and `umlaut commit`)' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l load -d 'Goes on from what an earlier --save wrote' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l trace -d 'Prints every system call as strace does, on the error output or into FILE' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l stats -d 'Reports counts, faults and latencies on the error output when the command has ended'
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -l unconfined -d 'Leaves the machine process all rights of its user (to measure or debug the machine itself)'
complete -c umlaut -n "__fish_umlaut_using_subcommand run" -s h -l help -d 'Print help'
complete -c umlaut -n "__fish_umlaut_using_subcommand diff" -l root -d 'The tree to compare with. Default: the one that the layer was saved over' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand diff" -s p -l patch -d 'Shows the differences of texts, too, as diff -u does'
complete -c umlaut -n "__fish_umlaut_using_subcommand diff" -s h -l help -d 'Print help'
complete -c umlaut -n "__fish_umlaut_using_subcommand commit" -l root -d 'The tree to change. Default: the one that the layer was saved over' -r
complete -c umlaut -n "__fish_umlaut_using_subcommand commit" -l yes -d 'Does not ask'
complete -c umlaut -n "__fish_umlaut_using_subcommand commit" -s h -l help -d 'Print help'
complete -c umlaut -n "__fish_umlaut_using_subcommand check" -s h -l help -d 'Print help'
