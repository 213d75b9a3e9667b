//! The command line of `umlaut`.

use clap::{Args, Parser, Subcommand};

/// A Linux machine that is an ordinary program.
///
/// Without a command: a shell in a machine over your own files, seen copy-on-write. Nothing you do in it changes the host.
#[derive(Debug, Parser)]
#[command(name = "umlaut", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Prints the table of supported system calls as Markdown, and ends.
    #[arg(long, hide = true)]
    pub compat_table: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs one command in a fresh machine; its exit status is ours (128+n for signal n).
    Run(RunArgs),
    /// Lists what a saved layer changes: A added, M modified, D deleted, R replaced, m only mode, owner or time.
    Diff(DiffArgs),
    /// Applies a saved layer to its tree, after asking. A host file that changed since stops it; nothing is half applied.
    Commit(CommitArgs),
    /// Says what this host offers, and what that means; status 1 if no machine can run here.
    Check,
}

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Shows the differences of texts, too, as diff -u does.
    #[arg(short, long)]
    pub patch: bool,
    /// The tree to compare with. Default: the one that the layer was saved over.
    #[arg(long, value_name = "DIR")]
    pub root: Option<String>,
    /// What `umlaut run --save` wrote.
    #[arg(value_name = "FILE")]
    pub file: String,
}

#[derive(Debug, Args)]
pub struct CommitArgs {
    /// Does not ask.
    #[arg(long)]
    pub yes: bool,
    /// The tree to change. Default: the one that the layer was saved over.
    #[arg(long, value_name = "DIR")]
    pub root: Option<String>,
    /// What `umlaut run --save` wrote.
    #[arg(value_name = "FILE")]
    pub file: String,
}

#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Another tree as the root instead of the host's own.
    #[arg(long, value_name = "DIR")]
    pub root: Option<String>,
    /// User inside: a name of the machine's /etc/passwd, or UID[:GID].
    #[arg(long, value_name = "USER", default_value = "0")]
    pub user: String,
    /// Guest memory: bytes, or with a suffix K, M, G. Default: three quarters of the host's.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_hyphen_values = true)]
    pub mem: Option<u64>,
    /// Processors used at once. Default: all of the host's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cpus: Option<u32>,
    /// Sets a variable of the command's environment (repeatable).
    #[arg(long, value_name = "K=V", value_parser = parse_env)]
    pub env: Vec<(String, String)>,
    /// Working directory inside. Default: the present one, or / with --root.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Shows a host directory inside, writable unless `:ro` (repeatable).
    #[arg(long, value_name = "HOST:GUEST[:ro]", value_parser = parse_bind)]
    pub bind: Vec<Bind>,
    /// Saves what was changed over the tree in FILE when the command has ended (see `umlaut diff` and `umlaut commit`).
    #[arg(long, value_name = "FILE")]
    pub save: Option<String>,
    /// Goes on from what an earlier --save wrote.
    #[arg(long, value_name = "FILE")]
    pub load: Option<String>,
    /// Prints every system call as strace does, on the error output or into FILE.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub trace: Option<Option<String>>,
    /// Reports counts, faults and latencies on the error output when the command has ended.
    #[arg(long)]
    pub stats: bool,
    /// Leaves the machine process all rights of its user (to measure or debug the machine itself).
    #[arg(long, hide = true)]
    pub unconfined: bool,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub cmd: Vec<std::ffi::OsString>,
}

/// A host directory shown inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub host: String,
    pub guest: String,
    pub read_only: bool,
}

/// A size with suffix K, M, G or T (powers of 1024).
pub fn parse_size(s: &str) -> Result<u64, String> {
    let (num, shift) = match s.char_indices().last() {
        Some((i, c)) => match c.to_ascii_uppercase() {
            'K' => (&s[..i], 10),
            'M' => (&s[..i], 20),
            'G' => (&s[..i], 30),
            'T' => (&s[..i], 40),
            _ => (s, 0),
        },
        None => return Err("empty size".into()),
    };
    let n: u64 = num.parse().map_err(|_| format!("`{s}` is not a size (like 512M)"))?;
    let bytes = n.checked_mul(1 << shift).ok_or_else(|| format!("`{s}` is too large"))?;
    if bytes < 16 << 20 {
        Err(format!("`{s}` is too small: a machine needs at least 16M"))
    } else {
        Ok(bytes)
    }
}

fn parse_env(s: &str) -> Result<(String, String), String> {
    match s.split_once('=') {
        Some((k, v)) if !k.is_empty() => Ok((k.into(), v.into())),
        _ => Err(format!("`{s}` is not of the form K=V")),
    }
}

fn parse_bind(s: &str) -> Result<Bind, String> {
    let mut parts = s.split(':');
    let (host, guest, mode) = (parts.next(), parts.next(), parts.next());
    let read_only = match mode {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(m) => return Err(format!("`{m}` is not a mode: ro or rw")),
    };
    match (host, guest, parts.next()) {
        (Some(h), Some(g), None) if !h.is_empty() && g.starts_with('/') => {
            Ok(Bind { host: h.into(), guest: g.into(), read_only })
        }
        _ => Err(format!("`{s}` is not of the form HOST:GUEST[:ro] with an absolute GUEST")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("64M"), Ok(64 << 20));
        assert_eq!(parse_size("1g"), Ok(1 << 30));
        assert!(parse_size("x").is_err());
        assert!(parse_size("1K").is_err());
        assert!(parse_size("99999999999G").is_err());
        assert!(parse_size("").is_err());
    }

    #[test]
    fn binds_and_commands() {
        let cli = Cli::try_parse_from([
            "umlaut", "run", "--bind", "/a:/b:ro", "--env", "X=1", "--", "sh", "-c", "ls -l",
        ])
        .unwrap();
        let Some(Command::Run(r)) = cli.command else { panic!("no run") };
        assert_eq!(r.bind, [Bind { host: "/a".into(), guest: "/b".into(), read_only: true }]);
        assert_eq!(r.env, [("X".to_string(), "1".to_string())]);
        assert_eq!(r.cmd, ["sh", "-c", "ls -l"]);
        assert!(Cli::try_parse_from(["umlaut", "run", "--bind", "/a:b", "--", "x"]).is_err());
        assert!(Cli::try_parse_from(["umlaut", "run"]).is_err());
        assert!(Cli::try_parse_from(["umlaut", "run", "--bogus", "--", "x"]).is_err());
    }
}

#[cfg(test)]
mod documents {
    use std::{fs, path::Path};

    use clap::CommandFactory;

    use super::Cli;

    fn read(path: &str) -> String {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        fs::read_to_string(top.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Every command and option stands in the manual page. (The completions are generated: `tests/texts.rs`.)
    #[test]
    fn options_are_documented() {
        let man = read("man/umlaut.1");
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(man.contains(&format!("umlaut {name}")), "{name} is not in the manual page");
            for option in command.get_arguments().filter(|a| !a.is_hide_set()) {
                let Some(long) = option.get_long() else { continue };
                let long = long.replace('-', "\\-");
                assert!(man.contains(&format!("\\-\\-{long}")), "{name} --{long}: manual page");
            }
        }
    }
}
