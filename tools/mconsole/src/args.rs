//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, ValueExt};
use usage::programs::MCONSOLE;

/// Printed when the machine's name is missing.
pub const USAGE: &str = "Usage : uml_mconsole socket-name [command]";

/// How long to wait, and where to look.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time without a word from the machine until it counts as silent.
    pub timeout: Duration,
    /// Directory to look in first.
    pub uml_dir: Option<PathBuf>,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    /// Talk to a machine: its name, and a command unless it is to be asked for.
    Talk(OsString, Option<Vec<u8>>),
    /// List machines.
    List,
    /// Print this.
    Print(String),
}

/// Reads the arguments.
///
/// # Errors
/// What is wrong with them, in one line.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<(Options, Action), String> {
    let mut options = Options { timeout: Duration::from_secs(15), uml_dir: None };
    let mut parser = lexopt::Parser::from_iter(args);
    let mut list = false;
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        let known = match &arg {
            Arg::Short(letter) => MCONSOLE.has_short(*letter),
            Arg::Long(word) => MCONSOLE.has_long(word),
            Arg::Value(_) => true,
        };
        if !known {
            return Err(arg.unexpected().to_string());
        }
        match arg {
            Arg::Long("list") | Arg::Short('l') => list = true,
            Arg::Long("timeout") => {
                let value = parser.value().map_err(|e| e.to_string())?;
                let seconds = value.string().ok().and_then(|text| text.parse::<f64>().ok());
                let seconds = seconds.filter(|s| *s > 0.0 && *s <= 86_400.0);
                options.timeout =
                    Duration::from_secs_f64(seconds.ok_or("--timeout needs a number of seconds")?);
            }
            Arg::Long("uml-dir") => {
                options.uml_dir = Some(parser.value().map_err(|e| e.to_string())?.into());
            }
            Arg::Long("help") | Arg::Short('h') => return Ok((options, Action::Print(MCONSOLE.help()))),
            Arg::Long("version") | Arg::Short('V') => {
                let text = format!("uml_mconsole (Umlaut) {}\n", env!("CARGO_PKG_VERSION"));
                return Ok((options, Action::Print(text)));
            }
            Arg::Long("completions") => {
                let shell = parser.value().and_then(ValueExt::string).map_err(|e| e.to_string())?;
                let text = MCONSOLE.completions(&shell);
                return Ok((options, Action::Print(text.ok_or(format!("unknown shell '{shell}'"))?)));
            }
            Arg::Value(name) if !list => {
                // All the rest belongs to the command, whatever it looks like.
                let words: Vec<Vec<u8>> =
                    parser.raw_args().map_err(|e| e.to_string())?.map(OsString::into_vec).collect();
                let command = (!words.is_empty()).then(|| words.join(&b' '));
                return Ok((options, Action::Talk(name, command)));
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    if list { Ok((options, Action::List)) } else { Err(USAGE.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<(Options, Action), String> {
        parse(std::iter::once("uml_mconsole").chain(words.iter().copied()).map(OsString::from))
    }

    #[test]
    fn words_behind_the_name_are_the_command() {
        let Ok((_, Action::Talk(name, Some(command)))) = read(&["box", "log", "-f", "--list"]) else {
            panic!("no command")
        };
        assert_eq!((name, command), ("box".into(), b"log -f --list".to_vec()));
        assert!(matches!(read(&["box"]), Ok((_, Action::Talk(_, None)))));
        assert!(matches!(read(&["--list"]), Ok((_, Action::List))));
        let (options, _) = read(&["--timeout", "0.5", "--uml-dir", "/x", "box"]).unwrap();
        assert_eq!((options.timeout, options.uml_dir), (Duration::from_millis(500), Some("/x".into())));
    }

    #[test]
    fn bad_words_get_one_line() {
        for words in [&[][..], &["--frob"], &["--timeout", "x", "box"], &["--timeout"], &["--list", "box"]] {
            let error = read(words).map(|_| ()).unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{words:?}: {error}");
        }
        assert_eq!(read(&[]).map(|_| ()), Err(USAGE.into()));
    }

    #[test]
    fn every_option_of_the_table_is_taken() {
        for opt in MCONSOLE.options {
            for name in opt.names(MCONSOLE.dash) {
                let mut words = vec![name.as_str()];
                words.extend(opt.value.map(|_| "3"));
                let error = read(&words).map(|_| ()).err().unwrap_or_default();
                assert!(!error.contains("invalid option"), "{name}: {error}");
            }
        }
    }
}
