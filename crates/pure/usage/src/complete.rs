//! Completion scripts, made from the tables.

use std::fmt::Write;

use crate::{Program, Value};

/// How to list the running machines.
const MACHINES: &str = "uml_mconsole --list 2>/dev/null | awk \"NR > 1 { print \\$1 }\"";

impl Program {
    /// The completion script for a shell (bash, zsh or fish), or `None` for one we do not know.
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
        let (mut all, mut with_value, mut cases) = (Vec::new(), Vec::new(), String::new());
        for opt in self.options {
            let names = opt.names(self.dash);
            if let Some((_, value)) = opt.value {
                let _ = writeln!(cases, "        {}) {}; return ;;", names.join("|"), bash_reply(value));
                with_value.extend(names.iter().cloned());
            }
            all.extend(names);
        }
        let mut out = format!(
            "# bash completion for {name}, made by crates/pure/usage\n_{name}() {{\n    \
             local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} i=1 n=0\n"
        );
        if !cases.is_empty() {
            let _ = write!(out, "    case $prev in\n{cases}    esac\n");
        }
        let options =
            if all.is_empty() { String::new() } else { bash_reply_of(&format!("-W '{}'", all.join(" "))) };
        if !options.is_empty() {
            let _ = write!(out, "    if [[ $cur == -* ]]; then\n        {options}\n        return\n    fi\n");
        }
        match self.operands {
            [] => {
                let _ = writeln!(out, "    {options}");
            }
            [only] => {
                let _ = writeln!(out, "    {}", bash_reply(*only));
            }
            [.., last] => {
                // Which of the operands it is, those of options left out.
                out.push_str("    while ((i < COMP_CWORD)); do\n        case ${COMP_WORDS[i]} in\n");
                if !with_value.is_empty() {
                    let _ = writeln!(out, "            {}) ((i++)) ;;", with_value.join("|"));
                }
                out.push_str("            -*) ;;\n            *) ((n++)) ;;\n        esac\n        ((i++))\n    done\n");
                out.push_str("    case $n in\n");
                for (n, value) in self.operands.iter().enumerate().take(self.operands.len() - 1) {
                    let _ = writeln!(out, "        {n}) {} ;;", bash_reply(*value));
                }
                let _ = writeln!(out, "        *) {} ;;\n    esac", bash_reply(*last));
            }
        }
        let _ = write!(out, "}}\ncomplete -o filenames -F _{name} {name}\n");
        out
    }

    fn zsh(&self) -> String {
        // Words after one dash are no bundles of letters.
        let flags = if self.dash == "-" { "" } else { " -s -S" };
        let mut out = format!("#compdef {}\n# Made by crates/pure/usage\n_arguments{flags}", self.name);
        for opt in self.options {
            let help =
                opt.help.replace('\'', "'\\''").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
            let value = opt.value.map(|(name, value)| format!(":{name}:{}", zsh_action(value)));
            for name in opt.names(self.dash) {
                let _ = write!(out, " \\\n    '{name}[{help}]{}'", value.clone().unwrap_or_default());
            }
        }
        for (n, &value) in self.operands.iter().enumerate() {
            let place = if n + 1 == self.operands.len() { "*".into() } else { (n + 1).to_string() };
            let _ = write!(out, " \\\n    '{place}:{}:{}'", zsh_name(value), zsh_action(value));
        }
        out + "\n"
    }

    fn fish(&self) -> String {
        let name = self.name;
        let mut out = format!("# fish completion for {name}, made by crates/pure/usage\n");
        if !self.operands.iter().any(|v| matches!(v, Value::File | Value::Dir)) {
            let _ = writeln!(out, "complete -c {name} -f");
        }
        for opt in self.options {
            let mut line = format!("complete -c {name}");
            if let Some(c) = opt.short {
                let _ = write!(line, " -s {c}");
            }
            if let Some(w) = opt.long {
                let _ = write!(line, " {} {w}", if self.dash == "-" { "-o" } else { "-l" });
            }
            if let Some((_, value)) = opt.value {
                line += &fish_value(value);
            }
            let _ = writeln!(out, "{line} -d '{}'", opt.help.replace('\'', "\\'"));
        }
        for (n, &value) in self.operands.iter().enumerate() {
            let when = match n {
                _ if self.operands.len() == 1 => "",
                0 => " -n __fish_is_first_token",
                _ => " -n 'not __fish_is_first_token'",
            };
            match value {
                Value::File | Value::Free => {}
                value => {
                    let _ = writeln!(out, "complete -c {name}{when}{}", fish_value(value));
                }
            }
        }
        out
    }
}

fn bash_reply_of(compgen: &str) -> String {
    format!("mapfile -t COMPREPLY < <(compgen {compgen} -- \"$cur\")")
}

fn bash_reply(value: Value) -> String {
    match value {
        Value::File => bash_reply_of("-f"),
        Value::Dir => bash_reply_of("-d"),
        Value::User => bash_reply_of("-u"),
        Value::Group => bash_reply_of("-g"),
        Value::Interface => bash_reply_of("-W \"$(ls /sys/class/net 2>/dev/null)\""),
        Value::Machine => bash_reply_of(&format!("-W \"$({MACHINES})\"")),
        Value::Word(words) => {
            let reply = bash_reply_of(&format!("-W '{}'", words.join(" ")));
            let open = words.iter().any(|word| word.ends_with('='));
            if open { format!("{reply}; compopt -o nospace 2>/dev/null") } else { reply }
        }
        Value::Free => ":".into(),
    }
}

fn zsh_name(value: Value) -> &'static str {
    match value {
        Value::File => "file",
        Value::Dir => "directory",
        Value::User => "user",
        Value::Group => "group",
        Value::Interface => "device",
        Value::Machine => "machine",
        Value::Word(_) | Value::Free => "word",
    }
}

fn zsh_action(value: Value) -> String {
    match value {
        Value::File => "_files".into(),
        Value::Dir => "_files -/".into(),
        Value::User => "_users".into(),
        Value::Group => "_groups".into(),
        Value::Interface => "_net_interfaces".into(),
        Value::Machine => format!("{{compadd -- ${{(f)\"$({})\"}}}}", MACHINES.replace("\\$", "\\\\$")),
        Value::Word(words) => format!("({})", words.join(" ")),
        Value::Free => " ".into(),
    }
}

fn fish_value(value: Value) -> String {
    match value {
        Value::File => " -r -F".into(),
        Value::Dir => " -x -a '(__fish_complete_directories)'".into(),
        Value::User => " -x -a '(__fish_complete_users)'".into(),
        Value::Group => " -x -a '(__fish_complete_groups)'".into(),
        Value::Interface => " -x -a '(ls /sys/class/net 2>/dev/null)'".into(),
        Value::Machine => format!(" -x -a '({MACHINES})'"),
        Value::Word(words) => format!(" -x -a '{}'", words.join(" ")),
        Value::Free => " -x".into(),
    }
}
