//! What each program takes on its command line, as data.
//!
//! Usage texts and the shell completions under `completions/` are made from these tables, and a test
//! compares them with the manual pages, so none can fall behind the others.

use std::fmt::Write;

/// What an option's value is, for completion.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// The name of a file.
    File,
    /// One of a few words.
    Word(&'static [&'static str]),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The letter after one dash.
    pub short: Option<char>,
    /// The word after two dashes.
    pub long: Option<&'static str>,
    /// Name and kind of the value.
    pub value: Option<(&'static str, Value)>,
    /// What it does, in a line.
    pub help: &'static str,
}

/// One program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// The usage text of errors and `--help`, ending in a newline.
    pub usage: &'static str,
    /// Its options.
    pub options: &'static [Opt],
}

const SHELLS: &[&str] = &["bash", "zsh", "fish"];

const HELP: Opt = Opt { short: Some('h'), long: Some("help"), value: None, help: "show this help and exit" };
const VERSION: Opt =
    Opt { short: Some('V'), long: Some("version"), value: None, help: "show the version and exit" };
const COMPLETIONS: Opt = Opt {
    short: None,
    long: Some("completions"),
    value: Some(("SHELL", Value::Word(SHELLS))),
    help: "print completions for a shell and exit",
};

/// The image formats that options name.
pub const FORMATS: &[&str] = &["raw", "cow", "qcow2"];

/// `uml_mkcow`.
pub const MKCOW: Program = Program {
    name: "uml_mkcow",
    usage: "\
uml_mkcow usage:
\tuml_mkcow [-f] [--align <bytes>] <COW file> <backing file>
",
    options: &[
        Opt {
            short: Some('f'),
            long: Some("force"),
            value: None,
            help: "overwrite an existing COW file; its changes are lost",
        },
        Opt {
            short: None,
            long: Some("align"),
            value: Some(("BYTES", Value::Word(&["4K", "64K", "1M"]))),
            help: "align bitmap and data; 4K without it, 1M is faster on the host",
        },
        HELP,
        VERSION,
        COMPLETIONS,
    ],
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
    options: &[
        Opt {
            short: Some('d'),
            long: Some("in-place"),
            value: None,
            help: "merge into the backing file itself; all its COW files become invalid",
        },
        Opt {
            short: Some('b'),
            long: Some("backing"),
            value: Some(("FILE", Value::File)),
            help: "use this backing file instead of the one the COW file names",
        },
        Opt { short: None, long: Some("info"), value: None, help: "tell what the COW file is" },
        Opt {
            short: None,
            long: Some("rebase"),
            value: Some(("FILE", Value::File)),
            help: "move the COW file to another copy of its backing file, after comparing the two",
        },
        Opt {
            short: None,
            long: Some("from"),
            value: Some(("FORMAT", Value::Word(FORMATS))),
            help: "format of the input; without it a COW or qcow2 file is recognised",
        },
        Opt {
            short: None,
            long: Some("to"),
            value: Some(("FORMAT", Value::Word(FORMATS))),
            help: "format of the output, raw without it; cow keeps what differs from the -b file",
        },
        HELP,
        VERSION,
        COMPLETIONS,
    ],
};

impl Opt {
    /// The option as it is written: `-b, --backing FILE`.
    fn spelled(&self) -> String {
        let mut names = Vec::new();
        names.extend(self.short.map(|c| format!("-{c}")));
        names.extend(self.long.map(|w| format!("--{w}")));
        let value = self.value.map(|(name, _)| format!(" {name}")).unwrap_or_default();
        names.join(", ") + &value
    }
}

impl Program {
    /// The text of `--help`.
    pub fn help(&self) -> String {
        let mut out = self.usage.to_string();
        for opt in self.options {
            let _ = writeln!(out, "  {:24} {}", opt.spelled(), opt.help);
        }
        out
    }

    /// The completion script for a shell, or `None` for one we do not know.
    pub fn completions(&self, shell: &str) -> Option<String> {
        match shell {
            "bash" => Some(self.bash()),
            "zsh" => Some(self.zsh()),
            "fish" => Some(self.fish()),
            _ => None,
        }
    }

    fn bash(&self) -> String {
        let name = self.name;
        let mut all = Vec::new();
        let mut cases = String::new();
        for opt in self.options {
            let names: Vec<String> = opt
                .short
                .map(|c| format!("-{c}"))
                .into_iter()
                .chain(opt.long.map(|w| format!("--{w}")))
                .collect();
            if let Some((_, value)) = opt.value {
                let reply = match value {
                    Value::File => "compgen -f -- \"$cur\"".to_string(),
                    Value::Word(words) => format!("compgen -W '{}' -- \"$cur\"", words.join(" ")),
                };
                let _ = writeln!(
                    cases,
                    "        {}) mapfile -t COMPREPLY < <({reply}); return ;;",
                    names.join("|")
                );
            }
            all.extend(names);
        }
        format!(
            "# bash completion for {name}\n_{name}() {{\n    local cur=${{COMP_WORDS[COMP_CWORD]}} \
             prev=${{COMP_WORDS[COMP_CWORD-1]}}\n    case $prev in\n{cases}    esac\n    if [[ $cur == -* ]]; then\n        \
             mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$cur\")\n    else\n        \
             mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n    fi\n}}\ncomplete -o filenames -F _{name} {name}\n",
            all.join(" ")
        )
    }

    fn zsh(&self) -> String {
        let mut out = format!("#compdef {}\n_arguments -s -S \\\n", self.name);
        for opt in self.options {
            let help =
                opt.help.replace('\'', "'\\''").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
            let value = match opt.value {
                None => String::new(),
                Some((name, Value::File)) => format!(":{name}:_files"),
                Some((name, Value::Word(words))) => format!(":{name}:({})", words.join(" ")),
            };
            for name in
                opt.short.map(|c| format!("-{c}")).into_iter().chain(opt.long.map(|w| format!("--{w}")))
            {
                let _ = writeln!(out, "    '{name}[{help}]{value}' \\");
            }
        }
        out + "    '*:file:_files'\n"
    }

    fn fish(&self) -> String {
        let mut out = String::new();
        for opt in self.options {
            let mut line = format!("complete -c {}", self.name);
            if let Some(c) = opt.short {
                let _ = write!(line, " -s {c}");
            }
            if let Some(w) = opt.long {
                let _ = write!(line, " -l {w}");
            }
            match opt.value {
                None => {}
                Some((_, Value::File)) => line += " -r -F",
                Some((_, Value::Word(words))) => {
                    let _ = write!(line, " -x -a '{}'", words.join(" "));
                }
            }
            let _ = writeln!(out, "{line} -d '{}'", opt.help.replace('\'', "\\'"));
        }
        out
    }
}
