//! The tables of the tools.

use crate::{Opt, Program, Value};

/// The image formats that options name.
pub const FORMATS: &[&str] = &["raw", "cow", "qcow2"];

const SHELLS: &[&str] = &["bash", "zsh", "fish"];

const fn flag(short: Option<char>, long: Option<&'static str>, help: &'static str) -> Opt {
    Opt { short, long, value: None, help }
}

const fn with(
    short: Option<char>,
    long: Option<&'static str>,
    value: (&'static str, Value),
    help: &'static str,
) -> Opt {
    Opt { short, long, value: Some(value), help }
}

const HELP: Opt = flag(Some('h'), Some("help"), "show this help and exit");
const VERSION: Opt = flag(Some('V'), Some("version"), "show the version and exit");
const COMPLETIONS: Opt = with(
    None,
    Some("completions"),
    ("SHELL", Value::Word(SHELLS)),
    "print completions for a shell (bash, zsh, fish) and exit",
);

/// `uml_mkcow`.
pub const MKCOW: Program = Program {
    name: "uml_mkcow",
    usage: "\
uml_mkcow usage:
\tuml_mkcow [-f] [--align <bytes>] <COW file> <backing file>
",
    dash: "--",
    options: &[
        flag(Some('f'), Some("force"), "overwrite an existing COW file; its changes are lost"),
        with(
            None,
            Some("align"),
            ("BYTES", Value::Word(&["4K", "64K", "1M"])),
            "align bitmap and data; without it 1M, below 16 MiB 4K (as the original always)",
        ),
        HELP,
        VERSION,
        COMPLETIONS,
    ],
    operands: &[Value::File],
};

/// `uml_moo`.
pub const MOO: Program = Program {
    name: "uml_moo",
    usage: "\
uml_moo usage:
\tuml_moo [-b <backing file>] [--from <format>] [--to <format>] <COW file> <new image>
\tuml_moo [-b <backing file>] -d <COW file>
\tuml_moo [-b <backing file>] --info <COW file>
\tuml_moo [-b <backing file>] --rebase <other backing file> <COW file>
",
    dash: "--",
    options: &[
        flag(
            Some('d'),
            Some("in-place"),
            "merge into the backing file itself; all its COW files become invalid",
        ),
        with(
            Some('b'),
            Some("backing"),
            ("FILE", Value::File),
            "use this backing file instead of the one the COW file names",
        ),
        flag(None, Some("info"), "tell what the COW file is"),
        with(
            None,
            Some("rebase"),
            ("FILE", Value::File),
            "move the COW file to another copy of its backing file, after comparing the two",
        ),
        with(
            None,
            Some("from"),
            ("FORMAT", Value::Word(FORMATS)),
            "format of the input; without it a COW or qcow2 file is recognised",
        ),
        with(
            None,
            Some("to"),
            ("FORMAT", Value::Word(FORMATS)),
            "format of the output, raw without it; cow keeps what differs from the -b file",
        ),
        HELP,
        VERSION,
        COMPLETIONS,
    ],
    operands: &[Value::File],
};

/// `uml_mconsole`.
pub const MCONSOLE: Program = Program {
    name: "uml_mconsole",
    usage: "\
Usage : uml_mconsole [options] socket-name [command]
or    : uml_mconsole --list
Talks to the machine named by its umid, or by the path of its socket. Without a command it reads them from
standard input; there, help lists them.
Exit status: 0 success, 1 or 123 and above an error of the machine, 2 no answer.
",
    dash: "--",
    options: &[
        flag(Some('l'), Some("list"), "show the running machines"),
        with(None, Some("timeout"), ("SEC", Value::Free), "wait so long for an answer (default 15)"),
        with(None, Some("uml-dir"), ("DIR", Value::Dir), "look for machines below DIR first"),
        HELP,
        VERSION,
        COMPLETIONS,
    ],
    operands: &[
        Value::Machine,
        Value::Word(&[
            "version",
            "help",
            "halt",
            "reboot",
            "config",
            "remove",
            "sysrq",
            "cad",
            "stop",
            "go",
            "log",
            "proc",
            "stack",
            "int",
            "mconsole-version",
        ]),
        Value::File,
    ],
};

/// `uml_switch`.
pub const SWITCH: Program = Program {
    name: "uml_switch",
    usage: "\
Usage : uml_switch [ -unix control-socket ] [ -hub ] [ -tap tap-device ] [ options ]
or    : uml_switch -compat-v0 [ -unix control-socket data-socket ] [ -hub ] [ -tap tap-device ]
or    : uml_switch -ask management-socket command...
",
    dash: "-",
    options: &[
        with(None, Some("unix"), ("SOCKET", Value::File), "the control socket (default /tmp/uml.ctl)"),
        flag(None, Some("compat-v0"), "bind a named data socket, too, for clients of protocol 0"),
        with(None, Some("tap"), ("DEVICE", Value::Interface), "make this tap device a port"),
        flag(None, Some("hub"), "send every frame to every port"),
        flag(None, Some("daemon"), "detach and run in the background"),
        with(
            None,
            Some("mgmt"),
            ("SOCKET", Value::File),
            "answer commands here: counters, stations, port settings",
        ),
        with(None, Some("pcap"), ("FILE", Value::File), "write every frame that comes in to FILE"),
        flag(None, Some("port-isolation"), "let the ports reach only the tap device, not each other"),
        with(
            None,
            Some("port"),
            ("KEY=VALUE", Value::Word(&["rate=", "loss=", "delay=", "jitter=", "isolated=on"])),
            "setting of every new port: rate=10M loss=0.5% delay=20ms jitter=5ms isolated=on",
        ),
        with(
            None,
            Some("age"),
            ("SECONDS", Value::Free),
            "forget stations not heard for so long (default 100)",
        ),
        with(
            None,
            Some("busy-poll"),
            ("USEC", Value::Free),
            "look that long for the next frame before sleeping (default 50, 0 is off)",
        ),
        flag(None, Some("quiet"), "say nothing about ports and stations"),
        with(
            None,
            Some("ask"),
            ("SOCKET", Value::File),
            "send a command to a running switch; the rest of the words is the command",
        ),
        with(
            None,
            Some("completions"),
            ("SHELL", Value::Word(SHELLS)),
            "print completions for a shell (bash, zsh, fish) and exit",
        ),
        flag(Some('h'), Some("help"), "show this help and exit"),
        flag(Some('V'), Some("version"), "show the version and exit"),
    ],
    operands: &[Value::Word(&["help", "stats", "ports", "macs", "set", "flush", "kick", "quit"])],
};

/// `uml_net`, which machines run and people seldom.
pub const NET: Program = Program {
    name: "uml_net",
    usage: "\
uml_net 4 tuntap up [host-address]
uml_net 4 [tuntap] add|del device address [netmask]
",
    dash: "--",
    options: &[],
    operands: &[
        Value::Word(&["4"]),
        Value::Word(&["tuntap", "add", "del"]),
        Value::Word(&["up", "add", "del"]),
        Value::Interface,
        Value::Free,
    ],
};

/// `tunctl`.
pub const TUNCTL: Program = Program {
    name: "tunctl",
    usage: "\
Create: tunctl [-b] [-u owner] [-g group] [-t device-name] [-f tun-clone-device]
Delete: tunctl -d device-name [-f tun-clone-device]

The default tun clone device is /dev/net/tun. -b prints only the name.
",
    dash: "--",
    options: &[
        flag(Some('b'), None, "print only the name of the device"),
        with(Some('u'), None, ("OWNER", Value::User), "user who may open it; the caller without -u and -g"),
        with(Some('g'), None, ("GROUP", Value::Group), "group that may open it"),
        with(Some('t'), None, ("DEVICE", Value::Free), "its name; the kernel chooses one otherwise"),
        with(Some('d'), None, ("DEVICE", Value::Interface), "let this device go when nobody has it open"),
        with(Some('f'), None, ("FILE", Value::File), "open this instead of /dev/net/tun"),
        HELP,
        VERSION,
        COMPLETIONS,
    ],
    operands: &[],
};

/// All of them.
pub const ALL: [Program; 6] = [MKCOW, MOO, MCONSOLE, SWITCH, NET, TUNCTL];
