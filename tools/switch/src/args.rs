//! The command line: the single-dash words of the original, and what was added since.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::ValueExt;
use switchproto::shape::Setting;
use usage::programs::SWITCH;

/// What the switch is asked to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program's name as it was called, for messages.
    pub program: String,
    /// Control socket.
    pub control: PathBuf,
    /// Named data socket, for clients of protocol 0.
    pub data: Option<PathBuf>,
    /// Tap device to attach.
    pub tap: Option<String>,
    /// Send every frame to every port.
    pub hub: bool,
    /// Detach from the terminal.
    pub daemon: bool,
    /// Management socket.
    pub manage: Option<PathBuf>,
    /// Capture file.
    pub pcap: Option<PathBuf>,
    /// Settings of every new port.
    pub port: Vec<Setting>,
    /// How long a station is remembered after its last frame.
    pub age: Duration,
    /// How long to look for the next frame before going to sleep.
    pub busy_poll: Duration,
    /// Say nothing about ports and stations.
    pub quiet: bool,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Action {
    /// Be a switch.
    Run(Options),
    /// Send a command to the management socket of a running one.
    Ask(PathBuf, String),
    /// Print this and exit with success.
    Print(String),
}

/// Reads the arguments, the program's name first.
///
/// # Errors
/// One line that says what is wrong.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Action, String> {
    let mut parser = lexopt::Parser::from_iter(args);
    let program = parser.bin_name().unwrap_or("uml_switch");
    let program = program.rsplit('/').next().unwrap_or(program).to_string();
    let mut options = Options {
        program,
        control: "/tmp/uml.ctl".into(),
        data: None,
        tap: None,
        hub: false,
        daemon: false,
        manage: None,
        pcap: None,
        port: Vec::new(),
        age: switchproto::table::AGE,
        busy_poll: Duration::from_micros(50),
        quiet: false,
    };
    while let Some(arg) = next(&mut parser) {
        let name = arg.to_str().filter(|a| a.starts_with('-')).map(|a| a.trim_start_matches('-'));
        let mut value =
            |what: &str| parser.value().map_err(|_| format!("{} needs {what}", arg.to_string_lossy()));
        // Only words are options here, and the two letters everybody knows.
        let name = match name {
            Some(word) if SWITCH.has_long(word) => Some(word),
            Some("h") => Some("help"),
            Some("V") => Some("version"),
            _ => None,
        };
        match name {
            Some("unix") => {
                options.control = socket(value("the name of a socket")?)?;
                if options.data.is_some() {
                    options.data = Some(socket(value("two names of sockets after -compat-v0")?)?);
                }
            }
            Some("compat-v0") => options.data = Some("/tmp/uml.data".into()),
            Some("tap") => options.tap = Some(tap(value("the name of a tap device")?)?),
            Some("hub") => options.hub = true,
            Some("daemon") => options.daemon = true,
            Some("mgmt") => options.manage = Some(socket(value("the name of a socket")?)?),
            Some("pcap") => options.pcap = Some(value("the name of a file")?.into()),
            Some("port-isolation") => options.port.push(Setting::Isolated(true)),
            Some("port") => {
                let text = value("a setting, KEY=VALUE")?.string().map_err(|e| e.to_string())?;
                options.port.push(Setting::parse(&text).map_err(|e| format!("-port: {e}"))?);
            }
            Some("busy-poll") => {
                let text = value("a number of microseconds")?;
                let usec = text.to_str().and_then(|t| t.parse().ok()).filter(|&u: &u64| u <= 1_000_000);
                options.busy_poll = Duration::from_micros(
                    usec.ok_or("-busy-poll needs a number of microseconds up to 1000000")?,
                );
            }
            Some("age") => {
                let text = value("a number of seconds")?;
                let seconds =
                    text.to_str().and_then(|t| t.parse().ok()).filter(|s| (1..=1_000_000).contains(s));
                options.age =
                    Duration::from_secs(seconds.ok_or("-age needs a number of seconds from 1 to 1000000")?);
            }
            Some("quiet") => options.quiet = true,
            Some("ask") => {
                let path = socket(value("the name of a management socket")?)?;
                let mut words = Vec::new();
                while let Some(word) = next(&mut parser) {
                    let word = word.into_string().map_err(|_| "the command is not text".to_string())?;
                    words.push(word);
                }
                if words.is_empty() {
                    return Err("-ask needs a command; try help".into());
                }
                return Ok(Action::Ask(path, words.join(" ")));
            }
            Some("completions") => {
                let shell = value("the name of a shell")?;
                let text = shell.to_str().and_then(|shell| SWITCH.completions(shell));
                return text.map(Action::Print).ok_or_else(|| {
                    format!("-completions: unknown shell '{}'", shell.to_string_lossy().escape_debug())
                });
            }
            Some("help") => return Ok(Action::Print(SWITCH.help())),
            Some("version") => {
                return Ok(Action::Print(format!("uml_switch (Umlaut) {}\n", env!("CARGO_PKG_VERSION"))));
            }
            _ => return Err(format!("unknown option '{}'", arg.to_string_lossy().escape_debug())),
        }
    }
    Ok(Action::Run(options))
}

fn next(parser: &mut lexopt::Parser) -> Option<OsString> {
    parser.try_raw_args()?.next()
}

fn socket(name: OsString) -> Result<PathBuf, String> {
    match name.len() {
        0 => Err("a socket needs a name".into()),
        1..=107 => Ok(name.into()),
        _ => Err(format!("the socket name '{}' is longer than 107 bytes", name.to_string_lossy())),
    }
}

fn tap(name: OsString) -> Result<String, String> {
    let good = |b: &u8| b.is_ascii_graphic() && *b != b'/' && *b != b'%';
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > host_linux::tap::NAME_MAX || !bytes.iter().all(good) {
        return Err(format!(
            "-tap: '{}' is not a name for a tap device",
            name.to_string_lossy().escape_debug()
        ));
    }
    name.into_string().map_err(|_| "the tap's name is not text".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Action, String> {
        parse(std::iter::once("/usr/bin/uml_switch").chain(words.iter().copied()).map(OsString::from))
    }

    fn run(words: &[&str]) -> Options {
        match read(words) {
            Ok(Action::Run(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_words_of_the_original() {
        let options = run(&["-unix", "/tmp/x", "-hub", "-tap", "tap0", "-daemon"]);
        assert_eq!(options.program, "uml_switch");
        assert_eq!(options.control, PathBuf::from("/tmp/x"));
        assert_eq!((options.hub, options.daemon, options.tap.as_deref()), (true, true, Some("tap0")));
        assert_eq!(run(&[]).control, PathBuf::from("/tmp/uml.ctl"));
        let options = run(&["-compat-v0"]);
        assert_eq!(options.data, Some("/tmp/uml.data".into()));
        let options = run(&["-compat-v0", "-unix", "a", "b"]);
        assert_eq!((options.control, options.data), ("a".into(), Some("b".into())));
    }

    #[test]
    fn a_value_may_look_like_an_option() {
        assert_eq!(run(&["-unix", "-hub"]).control, PathBuf::from("-hub"));
    }

    #[test]
    fn bad_words_get_one_line() {
        let long = "x".repeat(108);
        for words in [
            &["-frob"][..],
            &["extra"],
            &["-unix"],
            &["-compat-v0", "-unix", "a"],
            &["-unix", ""],
            &["-unix", &long],
            &["-tap", "../../etc"],
            &["-tap", "sixteen-bytes-xx"],
            &["-port", "rate"],
            &["-busy-poll", "1e9"],
            &["-age", "0"],
            &["-age", "soon"],
            &["-completions", "tcsh"],
            &["-ask", "sock"],
        ] {
            let error = read(words).expect_err(&words.join(" "));
            assert!(!error.is_empty() && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn every_option_of_the_table_is_taken() {
        for opt in SWITCH.options {
            for name in opt.names(SWITCH.dash) {
                let mut words = vec![name.as_str()];
                words.extend(opt.value.map(|_| "rate=1M"));
                let error = read(&words).map(|_| ()).err().unwrap_or_default();
                assert!(!error.contains("unknown option"), "{name}: {error}");
            }
        }
    }

    #[test]
    fn the_age_of_stations() {
        assert_eq!(run(&[]).age, Duration::from_secs(100));
        assert_eq!(run(&["-age", "3"]).age, Duration::from_secs(3));
    }
}
