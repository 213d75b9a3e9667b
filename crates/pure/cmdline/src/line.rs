//! Consoles and serial lines: `conN=`, `sslN=`, `xterm=`.

use std::collections::BTreeMap;

use crate::{CONSOLES, SERIAL_LINES, lossy, number, whole_number};

/// The host's side of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// An inherited descriptor.
    Fd(i32),
    /// Output vanishes, input never comes.
    Null,
    /// A TCP port; each connection is one opening.
    Port(u16),
    /// A new host pty at each opening (`pts`, and `pty` which is the same here).
    Pts,
    /// A host terminal by path.
    Tty(Vec<u8>),
    /// A terminal window.
    Xterm,
}

/// What stands behind one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineConfig {
    /// The line does not exist (`none`).
    None,
    /// One channel for both directions.
    Both(Channel),
    /// Input from the first, output to the second.
    Pair(Channel, Channel),
}

impl Channel {
    /// Reads a channel. Names are compared by prefix, in a fixed order. The error is the driver's message.
    fn parse(s: &[u8]) -> Result<Channel, String> {
        /// What follows the name and a colon, if there is one.
        fn argument(rest: &[u8]) -> Option<&[u8]> {
            rest.strip_prefix(b":")
        }
        if let Some(rest) = s.strip_prefix(b"fd") {
            let arg = argument(rest)
                .ok_or("fd_init : channel type 'fd' must specify a file descriptor".to_owned())?;
            let fd = whole_number(arg).and_then(|n| i32::try_from(n).ok());
            return fd
                .map(Channel::Fd)
                .ok_or_else(|| format!("fd_init : couldn't parse file descriptor '{}'", lossy(arg)));
        }
        if s.starts_with(b"null") {
            return Ok(Channel::Null);
        }
        if let Some(rest) = s.strip_prefix(b"port") {
            let arg = argument(rest)
                .ok_or("port_init : channel type 'port' must specify a port number".to_owned())?;
            let port = whole_number(arg).and_then(|n| u16::try_from(n).ok());
            return port
                .map(Channel::Port)
                .ok_or_else(|| format!("port_init : couldn't parse port '{}'", lossy(arg)));
        }
        if s.starts_with(b"pty") || s.starts_with(b"pts") {
            return Ok(Channel::Pts);
        }
        if let Some(rest) = s.strip_prefix(b"tty") {
            let path = argument(rest).filter(|p| !p.is_empty());
            return path
                .map(|p| Channel::Tty(p.to_vec()))
                .ok_or("tty_init : channel type 'tty' must specify a device".to_owned());
        }
        if s.starts_with(b"xterm") {
            return Ok(Channel::Xterm);
        }
        Err("failed to parse channel pair".to_owned())
    }
}

impl LineConfig {
    /// Reads `CHANNEL`, `INPUT,OUTPUT` or `none`. The error is the driver's message without the line's name.
    pub fn parse(s: &[u8]) -> Result<LineConfig, String> {
        if s == b"none" {
            return Ok(LineConfig::None);
        }
        match s.iter().position(|&b| b == b',') {
            None => Channel::parse(s).map(LineConfig::Both),
            Some(at) => Ok(LineConfig::Pair(Channel::parse(&s[..at])?, Channel::parse(&s[at + 1..])?)),
        }
    }
}

/// All lines of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// As messages name it: "console" or "serial line".
    kind: &'static str,
    count: usize,
    default: LineConfig,
    by_number: BTreeMap<usize, LineConfig>,
}

impl Lines {
    pub(crate) fn consoles() -> Lines {
        let first = LineConfig::Pair(Channel::Fd(0), Channel::Fd(1));
        Lines {
            kind: "console",
            count: CONSOLES,
            default: LineConfig::Both(Channel::Xterm),
            by_number: BTreeMap::from([(0, first)]),
        }
    }

    pub(crate) fn serial() -> Lines {
        Lines {
            kind: "serial line",
            count: SERIAL_LINES,
            default: LineConfig::Both(Channel::Pts),
            by_number: BTreeMap::new(),
        }
    }

    /// Configuration of line `n`; [`LineConfig::None`] beyond the last.
    pub fn get(&self, n: usize) -> &LineConfig {
        const NONE: &LineConfig = &LineConfig::None;
        if n >= self.count { NONE } else { self.by_number.get(&n).unwrap_or(&self.default) }
    }

    /// How many lines of this kind there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes over what follows `con` or `ssl`: `N=CONFIG` or `=CONFIG`, as the option and as `config` of the management
    /// console. The error is one line.
    pub fn set(&mut self, rest: &[u8]) -> Result<(), String> {
        let kind = self.kind;
        let fail = |why: &str| {
            Err(format!("Failed to set up {kind} with configuration string \"{}\" : {why}", lossy(rest)))
        };
        if let Some(all) = rest.strip_prefix(b"=") {
            return match LineConfig::parse(all) {
                Ok(config) => {
                    self.default = config;
                    // The default is for lines that have none of their own; con0 keeps its built-in one.
                    Ok(())
                }
                Err(why) => fail(&why),
            };
        }
        let Some((n, after)) = number(rest) else { return fail("Couldn't parse device number") };
        let Some(text) = after.strip_prefix(b"=") else { return fail("Couldn't parse device number") };
        let Some(n) = usize::try_from(n).ok().filter(|n| *n < self.count) else {
            return fail("Device number out of range");
        };
        match LineConfig::parse(text) {
            Ok(config) => {
                self.by_number.insert(n, config);
                Ok(())
            }
            Err(why) => {
                self.by_number.insert(n, LineConfig::None);
                Err(format!("setup_one_line failed for device {n} : {why}"))
            }
        }
    }
}

/// The program behind the xterm channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xterm {
    pub program: Vec<u8>,
    /// Option before the window title.
    pub title_switch: Vec<u8>,
    /// Option before the command.
    pub exec_switch: Vec<u8>,
}

impl Default for Xterm {
    fn default() -> Self {
        Xterm { program: b"xterm".to_vec(), title_switch: b"-T".to_vec(), exec_switch: b"-e".to_vec() }
    }
}

impl Xterm {
    /// `PROGRAM,TITLE SWITCH,EXEC SWITCH`; empty parts keep what is.
    pub(crate) fn set(&mut self, value: &[u8]) {
        let mut parts = value.splitn(3, |&b| b == b',');
        for field in [&mut self.program, &mut self.title_switch, &mut self.exec_switch] {
            if let Some(part) = parts.next().filter(|p| !p.is_empty()) {
                *field = part.to_vec();
            }
        }
    }
}
