//! What `--help` and `--showconfig` print.

use core::fmt::Write;

/// The options, in groups: how it is written, what it does.
const OPTIONS: &[(&str, &str)] = &[
    ("--help", "Prints this text."),
    ("--version", "Prints the kernel release."),
    ("--showconfig", "Prints the configuration that this program was built with."),
    ("mem=SIZE", "Memory of the machine, with K, M or G; 64M if not given."),
    ("ncpus=N", "Virtual processors."),
    ("umid=NAME", "Name of the machine, for the management console."),
    ("uml_dir=DIR", "Directory of the machines' sockets and pid files; ~/.uml/ if not given."),
    ("root=DEV", "The root device: 98:0 or /dev/ubda is the first disk. Not needed with rootfstype=hostfs."),
    ("rootfstype=TYPE", "Filesystem of the root; hostfs boots from a directory of the host."),
    ("rootflags=OPTIONS", "Mount options of the root; with hostfs the directory."),
    ("ro, rw", "Mount the root read-only (the default) or read-write."),
    ("init=PATH", "The first program; /sbin/init if not given."),
    ("initrd=FILE", "Initial ram disk."),
    (
        "hostfs=DIR[,append]",
        "Directory that all hostfs mounts are confined to; append: nothing in it is ever lost.",
    ),
    (
        "ubdN[rsdct]=FILE[,BACKING][,SERIAL]",
        "Disk N. r: read-only, s: synchronous, d: no COW file, c: no lock, t: no discard.",
    ),
    ("ubd=sync", "All disks synchronous."),
    (
        "con[N]=CHANNEL[,CHANNEL]",
        "Consoles: fd:N, null, none, pts, tty:PATH, port:N, xterm; input and output apart with a comma.",
    ),
    ("ssl[N]=CHANNEL[,CHANNEL]", "Serial lines, in the same way."),
    ("ssl-non-raw", "Leaves the host side of serial lines in its mode."),
    (
        "xterm=PROGRAM,TITLE,EXEC",
        "Terminal program of the xterm channel and its options for title and command.",
    ),
    ("console=DEV", "Where kernel messages go: tty0 if not given."),
    ("ethN=TRANSPORT,...", "Network device: tuntap, daemon, mcast, ucast, slirp, vde, ..."),
    ("vecN:KEY=VALUE,...", "Network device: transport=tap, raw, gre, l2tpv3, bess, fd, ..."),
    ("mconsole=notify:SOCKET", "Where the management console sends notifications."),
    ("seccomp=on|auto|off", "Accepted: guests always run under seccomp."),
    ("noreboot", "A reboot inside ends the program."),
    ("panic=N", "Seconds before a reboot after a kernel panic, as in Linux."),
    ("quiet, loglevel=N, debug", "How much the kernel prints."),
    ("-- ARGS", "Everything behind goes to init."),
];

/// The text of `--help`. `release` is the kernel release.
pub fn help(release: &str) -> String {
    let mut out = format!("User Mode Linux v{release}\n\tUmlaut, a machine in one process\n\n");
    for (option, what) in OPTIONS {
        // Writing to a string cannot fail.
        let _ = write!(out, "{option}\n    {what}\n\n");
    }
    out.push_str("Other words are for init: NAME=VALUE as environment, the rest as arguments.\n");
    out
}

/// The text of `--showconfig`: one line for each feature of the program, in the form of a kernel configuration.
pub fn show_config(release: &str, features: &[(&str, bool)]) -> String {
    let mut out = format!(
        "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 {release} Kernel Configuration\n#\n"
    );
    for (name, on) in features {
        let line = if *on { format!("CONFIG_{name}=y\n") } else { format!("# CONFIG_{name} is not set\n") };
        out.push_str(&line);
    }
    out
}
