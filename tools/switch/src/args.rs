//! The command line: the single-dash words of the original, and what was added since.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::ValueExt;
use switchproto::shape::Setting;

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

/// The options, one line each; the manual page and the completions name the same ones.
pub const USAGE: &str = "\
Usage : uml_switch [ -unix control-socket ] [ -hub ] [ -tap tap-device ] [ options ]
or    : uml_switch -compat-v0 [ -unix control-socket data-socket ] [ -hub ] [ -tap tap-device ]
or    : uml_switch -ask management-socket command...
Options:
  -daemon            detach and run in the background
  -mgmt SOCKET       answer commands (try 'help') on this socket: counters, stations, port settings
  -pcap FILE         write every frame that comes in to FILE, in pcap format
  -port-isolation    let the ports reach only the tap device, not each other
  -port KEY=VALUE    setting of every new port: rate=10M loss=0.5% delay=20ms jitter=5ms isolated=on
  -age SECONDS       forget stations not heard for so long (default 100)
  -busy-poll USEC    look that long for the next frame before sleeping (default 50, 0 is off)
  -quiet             say nothing about ports and stations
  -help, -version
";

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
                options.port.push(Setting::parse(&text)?);
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
            Some("help" | "h") => return Ok(Action::Print(USAGE.into())),
            Some("version" | "V") => {
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
        return Err(format!("'{}' is not a name for a tap device", name.to_string_lossy().escape_debug()));
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
            &["-ask", "sock"],
        ] {
            let error = read(words).expect_err(&words.join(" "));
            assert!(!error.is_empty() && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn manual_and_completions_know_every_option() {
        let files = [
            include_str!("../../../man/uml_switch.1"),
            include_str!("../../../completions/uml_switch.bash"),
            include_str!("../../../completions/_uml_switch"),
            include_str!("../../../completions/uml_switch.fish"),
        ];
        let words =
            USAGE.split_whitespace().map(|w| w.trim_matches(|c: char| !c.is_alphanumeric() && c != '-'));
        for option in words.filter(|w| w.starts_with('-') && w.len() > 2) {
            for text in files {
                let plain = text.replace("\\-", "-");
                assert!(plain.contains(&option[1..]), "{option} is missing");
            }
        }
    }
}
