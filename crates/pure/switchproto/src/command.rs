//! The line protocol of the switch's management socket.
//!
//! A client sends one command per line and gets lines of text, the last of which is `OK` or `ERR <reason>`.

use crate::shape::Setting;

/// Longest command in bytes, without its newline.
pub const LINE_MAX: usize = 1024;

/// What `help` answers.
pub const HELP: &str = "\
help - print this message
stats - print the counters of the switch
ports - list the ports with their counters and settings
macs - list the known stations: address, port, seconds since last heard
set PORT|all|new KEY=VALUE... - change ports: rate, loss, delay, jitter, isolated;
\tall is every port there is, new is every port to come
flush - forget all stations
kick PORT - close a port
quit - end this conversation
";

/// Ports a `set` is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// This one.
    Port(u32),
    /// All that are connected.
    All,
    /// Those that will connect.
    New,
}

/// A command to the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print [`HELP`].
    Help,
    /// Print the counters.
    Stats,
    /// List the ports.
    Ports,
    /// List the stations.
    Macs,
    /// Change ports.
    Set(Target, Vec<Setting>),
    /// Forget the stations.
    Flush,
    /// Close a port.
    Kick(u32),
    /// End the conversation.
    Quit,
}

impl Command {
    /// Reads one line, without its newline.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn parse(line: &[u8]) -> Result<Command, String> {
        if line.len() > LINE_MAX {
            return Err("the command is too long".into());
        }
        let line = str::from_utf8(line).map_err(|_| "the command is not text".to_string())?;
        let mut words = line.split_ascii_whitespace();
        let command = match words.next() {
            None => return Err("no command; try help".into()),
            Some("help") => Command::Help,
            Some("stats") => Command::Stats,
            Some("ports") => Command::Ports,
            Some("macs") => Command::Macs,
            Some("flush") => Command::Flush,
            Some("quit") => Command::Quit,
            Some("kick") => Command::Kick(port(words.next())?),
            Some("set") => {
                let target = match words.next() {
                    Some("all") => Target::All,
                    Some("new") => Target::New,
                    word => Target::Port(port(word)?),
                };
                let settings = words.by_ref().map(Setting::parse).collect::<Result<Vec<_>, _>>()?;
                if settings.is_empty() {
                    return Err("set what? rate, loss, delay, jitter or isolated".into());
                }
                Command::Set(target, settings)
            }
            Some(other) => return Err(format!("unknown command '{}'; try help", other.escape_debug())),
        };
        match words.next() {
            Some(word) => Err(format!("'{}' is too much", word.escape_debug())),
            None => Ok(command),
        }
    }
}

fn port(word: Option<&str>) -> Result<u32, String> {
    let word = word.ok_or("which port?")?;
    word.parse().map_err(|_| format!("'{}' is not a port number", word.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        assert_eq!(Command::parse(b" stats "), Ok(Command::Stats));
        assert_eq!(Command::parse(b"kick 7"), Ok(Command::Kick(7)));
        assert_eq!(
            Command::parse(b"set 3 rate=1M isolated=off"),
            Ok(Command::Set(Target::Port(3), vec![Setting::Rate(Some(1_000_000)), Setting::Isolated(false)]))
        );
        assert_eq!(
            Command::parse(b"set new loss=1%"),
            Ok(Command::Set(Target::New, vec![Setting::Loss(10_000)]))
        );
    }

    #[test]
    fn every_command_of_the_help_exists() {
        for line in HELP.lines().filter(|l| !l.starts_with('\t')) {
            let name = line.split(' ').next().unwrap();
            let answer = Command::parse(name.as_bytes());
            assert!(!matches!(&answer, Err(e) if e.contains("unknown")), "{name}");
        }
    }

    #[test]
    fn nonsense_gets_one_line() {
        for bad in [
            &b""[..],
            b"set",
            b"set x rate=1",
            b"set 1",
            b"kick",
            b"kick -1",
            b"stats now",
            b"\xff",
            b"f\x1boo",
        ] {
            let error = Command::parse(bad).unwrap_err();
            assert!(!error.contains('\n') && !error.contains('\x1b'), "{error:?}");
        }
        assert!(Command::parse(&[b'x'; LINE_MAX + 1]).is_err());
    }
}
