//! `tunctl`: makes a tap that stays, for a user who may then open it without privilege, or lets it go.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use host_linux::tap::{CLONE_DEVICE, NAME_MAX, Tap};
use lexopt::{Arg, ValueExt};
use usage::programs::TUNCTL;

#[derive(Debug, Default)]
struct Options {
    brief: bool,
    owner: Option<u32>,
    group: Option<u32>,
    device: String,
    delete: bool,
    clone_device: PathBuf,
}

fn main() -> ExitCode {
    let done = match parse(std::env::args_os()) {
        Ok(Action::Run(options)) => run(&options),
        Ok(Action::Print(text)) => Ok(text),
        Err(e) => Err(format!("{e}\n{}", TUNCTL.usage.trim_end())),
    };
    match done {
        Ok(text) => {
            let written = std::io::stdout().write_all(text.as_bytes());
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "{}", usage::plain(e));
            ExitCode::FAILURE
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
enum Action {
    /// Make or unmake a tap.
    Run(Options),
    /// Print this.
    Print(String),
}

/// Reads the arguments.
fn parse(args: impl Iterator<Item = OsString>) -> Result<Action, String> {
    let mut options = Options { clone_device: CLONE_DEVICE.into(), ..Options::default() };
    let mut parser = lexopt::Parser::from_iter(args);
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        let known = match &arg {
            Arg::Short(letter) => TUNCTL.has_short(*letter),
            Arg::Long(word) => TUNCTL.has_long(word),
            Arg::Value(_) => true,
        };
        if !known {
            return Err(arg.unexpected().to_string());
        }
        match arg {
            Arg::Short('b') => options.brief = true,
            Arg::Short('u') => {
                let name = value(&mut parser)?;
                let id = number("/etc/passwd", &name);
                options.owner = Some(id.ok_or(format!("'{name}' is neither a username nor a numeric uid."))?);
            }
            Arg::Short('g') => {
                let name = value(&mut parser)?;
                let id = number("/etc/group", &name);
                options.group =
                    Some(id.ok_or(format!("'{name}' is neither a groupname nor a numeric group."))?);
            }
            Arg::Short('t') => options.device = device(value(&mut parser)?)?,
            Arg::Short('d') => {
                options.device = device(value(&mut parser)?)?;
                options.delete = true;
            }
            Arg::Short('f') => options.clone_device = parser.value().map_err(|e| e.to_string())?.into(),
            Arg::Short('h') | Arg::Long("help") => {
                return Ok(Action::Print(TUNCTL.help()));
            }
            Arg::Long("completions") => {
                let shell = value(&mut parser)?;
                let text = TUNCTL.completions(&shell);
                return Ok(Action::Print(text.ok_or(format!("unknown shell '{shell}'"))?));
            }
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(Action::Print(format!("tunctl (Umlaut) {}\n", env!("CARGO_PKG_VERSION"))));
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Action::Run(options))
}

fn value(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(|v| v.string()).map_err(|e| e.to_string())
}

fn device(name: String) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_graphic() && b != b'/';
    if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(good) {
        Ok(name)
    } else {
        Err(format!("'{}' is not a name for a device", name.escape_debug()))
    }
}

/// The number of a user or group, by name from `file` or as a number.
fn number(file: &str, name: &str) -> Option<u32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let by_name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    by_name.or_else(|| name.parse().ok())
}

/// Does it and says so.
fn run(options: &Options) -> Result<String, String> {
    if !options.clone_device.exists() {
        let path = options.clone_device.display();
        return Err(format!("Failed to open '{path}' : No such file or directory"));
    }
    let tap =
        Tap::open_from(&options.clone_device, &options.device).map_err(|e| format!("TUNSETIFF: {e}"))?;
    let name = tap.name();
    if options.delete {
        tap.set_persistent(false).map_err(|e| format!("disabling TUNSETPERSIST: {e}"))?;
        return Ok(format!("Set '{name}' nonpersistent\n"));
    }
    // With neither user nor group it is for whoever makes it.
    let caller = rustix::process::geteuid().as_raw();
    let owner = options.owner.or((options.group.is_none()).then_some(caller));
    let mut words = String::new();
    if let Some(owner) = owner {
        tap.set_owner(owner).map_err(|e| format!("TUNSETOWNER: {e}"))?;
        words += &format!(" uid {owner}");
    }
    if let Some(group) = options.group {
        tap.set_group(group).map_err(|e| format!("TUNSETGROUP: {e}"))?;
        words += &format!(" gid {group}");
    }
    tap.set_persistent(true).map_err(|e| format!("enabling TUNSETPERSIST: {e}"))?;
    if options.brief {
        Ok(format!("{name}\n"))
    } else {
        Ok(format!("Set '{name}' persistent and owned by{words}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Action, String> {
        parse(std::iter::once("tunctl").chain(words.iter().copied()).map(OsString::from))
    }

    fn run_with(words: &[&str]) -> Options {
        match read(words) {
            Ok(Action::Run(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_words_of_the_original() {
        let options = run_with(&["-b", "-u", "root", "-g", "12", "-t", "tap9", "-f", "/dev/x"]);
        assert_eq!((options.owner, options.group, options.brief), (Some(0), Some(12), true));
        assert_eq!((options.device.as_str(), options.delete), ("tap9", false));
        assert!(run_with(&["-d", "tap9"]).delete);
    }

    #[test]
    fn every_option_of_the_table_is_taken() {
        for opt in TUNCTL.options {
            for name in opt.names(TUNCTL.dash) {
                let mut words = vec![name.as_str()];
                words.extend(opt.value.map(|_| "0"));
                let error = read(&words).map(|_| ()).err().unwrap_or_default();
                assert!(!error.contains("invalid option"), "{name}: {error}");
            }
        }
    }

    #[test]
    fn bad_words_get_one_line() {
        for words in
            [&["extra"][..], &["-u", "no such user"], &["-t", "a/b"], &["-d"], &["-t", "sixteen-bytes-xx"]]
        {
            let error = read(words).map(|_| ()).unwrap_err();
            assert!(!error.contains('\n'), "{words:?}: {error}");
        }
    }
}
