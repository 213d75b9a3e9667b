//! The command line of the `linux` program, as User Mode Linux has it.
//!
//! [`parse`] turns the arguments into one [`Config`]. It goes the way UML goes: some options are taken out of the
//! arguments before the kernel sees them, the rest is joined to the kernel command line, and that is read by Linux's rules
//! (quoting, parameters for init, `--`). What UML complains about and then goes on without becomes a line in
//! [`Config::problems`]; what ends the program is an [`Error`].
//!
//! Two differences from UML, both on purpose: words after `--` are never taken as options, and the defaults `root=98:0`
//! and `console=tty0` are put before `--` instead of being handed to init behind it.
//!
//! References: kernel-parameters documentation, bootparam(7), UML's own `--help`.
#![forbid(unsafe_code)]

mod line;
mod net;
mod options;
mod text;
mod ubd;
mod words;

pub use line::{Channel, LineConfig, Lines, Xterm};
pub use net::{EthSpec, EthTransport, Mac, VecSpec};
pub use text::{help, show_config};
pub use ubd::UbdSpec;

use words::Word;

/// Bytes of the longest kernel command line (COMMAND_LINE_SIZE).
pub const COMMAND_LINE_MAX: usize = 4096;
/// Memory of a machine without `mem=`, in bytes.
pub const DEFAULT_MEMORY: u64 = 64 << 20;
/// Smallest memory accepted, in bytes.
pub const MIN_MEMORY: u64 = 16 << 20;
/// Most memory accepted: what guest addresses can reach.
pub const MAX_MEMORY: u64 = 1 << 46;
/// Most virtual processors.
pub const MAX_CPUS: u32 = 64;
/// Longest umid in bytes.
pub const UMID_MAX: usize = 63;
/// Consoles (`con0` to `con15`) and serial lines (`ssl0` to `ssl63`).
pub const CONSOLES: usize = 16;
pub const SERIAL_LINES: usize = 64;
/// Most parameters and most environment variables for init.
pub const MAX_INIT_ARGS: usize = 32;

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `--help`: print [`help`], exit 0.
    Help,
    /// `--version`: print the kernel release, exit 0.
    Version,
    /// `--showconfig`: print [`show_config`], exit 0.
    ShowConfig,
    /// Boot a machine.
    Boot(Box<Config>),
}

/// Why the machine cannot start: one line that names the option. Exit status 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub String);

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Error {}

/// `seccomp=`: how guest processes are run. We have one way, so only the check matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    On,
    Auto,
    #[default]
    Off,
}

/// `hostfs=DIR[,append]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hostfs {
    /// Put before every hostfs path; empty = no jail.
    pub dir: Vec<u8>,
    pub append: bool,
}

/// A whole machine, as the command line describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The kernel command line as /proc/cmdline shows it, without the options that were taken out of it.
    pub command_line: Vec<u8>,
    /// Guest memory in bytes, whole pages.
    pub memory: u64,
    /// Virtual processors, if given.
    pub ncpus: Option<u32>,
    pub umid: Option<String>,
    /// Directory of the umid directories, as given (`~` not replaced).
    pub uml_dir: Option<Vec<u8>>,
    /// The root device as given; `98:0` if none was.
    pub root: Vec<u8>,
    pub rootfstype: Option<String>,
    pub rootflags: Vec<u8>,
    /// Mount the root read-write (`rw`); read-only is Linux's default.
    pub root_rw: bool,
    /// Seconds to wait before the root is mounted.
    pub rootdelay: u32,
    pub rootwait: bool,
    /// `init=`; none = /sbin/init, /etc/init, /bin/init, /bin/sh in turn.
    pub init: Option<Vec<u8>>,
    /// Parameters of init, without its name.
    pub init_args: Vec<Vec<u8>>,
    /// Environment of init, `NAME=VALUE`.
    pub init_env: Vec<Vec<u8>>,
    /// Words that went to init although they look like options: what the kernel prints as unknown.
    pub unknown: Vec<Vec<u8>>,
    pub initrd: Option<Vec<u8>>,
    pub quiet: bool,
    /// Console log level, if given: messages below it are shown.
    pub loglevel: Option<u8>,
    pub ignore_loglevel: bool,
    /// `console=` in order; the last is /dev/console.
    pub consoles: Vec<String>,
    /// Configuration of the consoles.
    pub con: Lines,
    /// Configuration of the serial lines.
    pub ssl: Lines,
    /// Leave serial lines' host side in its mode.
    pub ssl_non_raw: bool,
    pub xterm: Xterm,
    pub ubd: Vec<UbdSpec>,
    /// Open all ubd files with O_SYNC.
    pub ubd_sync: bool,
    pub eth: Vec<EthSpec>,
    pub vec: Vec<VecSpec>,
    pub hostfs: Hostfs,
    /// Socket for notifications (`mconsole=notify:PATH`).
    pub mconsole_notify: Option<Vec<u8>>,
    /// A reboot of the guest ends the program.
    pub no_reboot: bool,
    /// `panic=`: seconds, as Linux reads it.
    pub panic: Option<i32>,
    pub seccomp: Seccomp,
    /// `stderr=1`: early console on descriptor 2.
    pub stderr_console: bool,
    pub earlyprintk: bool,
    /// `hostname=`.
    pub hostname: Option<String>,
    /// Options that were understood and have no effect here, for a remark.
    pub without_effect: Vec<String>,
    /// What was wrong and is left out, one line each; the machine starts all the same.
    pub problems: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            command_line: Vec::new(),
            memory: DEFAULT_MEMORY,
            ncpus: None,
            umid: None,
            uml_dir: None,
            root: b"98:0".to_vec(),
            rootfstype: None,
            rootflags: Vec::new(),
            root_rw: false,
            rootdelay: 0,
            rootwait: false,
            init: None,
            init_args: Vec::new(),
            init_env: vec![b"HOME=/".to_vec(), b"TERM=linux".to_vec()],
            unknown: Vec::new(),
            initrd: None,
            quiet: false,
            loglevel: None,
            ignore_loglevel: false,
            consoles: Vec::new(),
            con: Lines::consoles(),
            ssl: Lines::serial(),
            ssl_non_raw: false,
            xterm: Xterm::default(),
            ubd: Vec::new(),
            ubd_sync: false,
            eth: Vec::new(),
            vec: Vec::new(),
            hostfs: Hostfs::default(),
            mconsole_notify: None,
            no_reboot: false,
            panic: None,
            seccomp: Seccomp::Off,
            stderr_console: false,
            earlyprintk: false,
            hostname: None,
            without_effect: Vec::new(),
            problems: Vec::new(),
        }
    }
}

/// Reads the arguments of the program, without its name.
pub fn parse<A: AsRef<[u8]>>(args: &[A]) -> Result<Request, Error> {
    let mut config = Config::default();
    let mut line: Vec<u8> = Vec::new();
    let mut early = options::Seen::default();
    let mut after_dashes = false;
    for arg in args.iter().map(AsRef::as_ref) {
        if arg.contains(&0) {
            return Err(Error("an argument holds a NUL character".into()));
        }
        after_dashes |= arg == b"--";
        if !after_dashes {
            match arg {
                b"--help" => return Ok(Request::Help),
                b"--version" => return Ok(Request::Version),
                b"--showconfig" => return Ok(Request::ShowConfig),
                _ => {}
            }
            if options::early(&mut config, &mut early, arg)? {
                continue;
            }
        }
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(arg);
        if line.len() >= COMMAND_LINE_MAX {
            return Err(Error("add_arg: Too many command line arguments!".into()));
        }
    }
    let mut defaults: Vec<&[u8]> = Vec::new();
    if !early.root {
        defaults.push(b"root=98:0");
    }
    if !early.console {
        defaults.push(b"console=tty0");
    }
    config.command_line = with_defaults(&line, &defaults);
    if config.command_line.len() >= COMMAND_LINE_MAX {
        return Err(Error("add_arg: Too many command line arguments!".into()));
    }
    kernel_line(&mut config)?;
    Ok(Request::Boot(Box::new(config)))
}

/// Adds the defaults at the end of the kernel's part of the line.
fn with_defaults(line: &[u8], defaults: &[&[u8]]) -> Vec<u8> {
    let end = words::split(line).find(|w| w.is_dashes()).map_or(line.len(), |w| w.start);
    let (kernel, init) = line.split_at(end);
    let mut out = kernel.trim_ascii_end().to_vec();
    for d in defaults {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(d);
    }
    if !init.is_empty() {
        out.push(b' ');
        out.extend_from_slice(init);
    }
    out
}

/// Reads the kernel command line as Linux does.
fn kernel_line(config: &mut Config) -> Result<(), Error> {
    let line = config.command_line.clone();
    let mut for_init = false;
    for word in words::split(&line) {
        if for_init {
            push_arg(config, word.whole())?;
        } else if word.is_dashes() {
            for_init = true;
        } else if !options::kernel(config, &word)? {
            pass_to_init(config, &word)?;
        }
    }
    Ok(())
}

fn push_arg(config: &mut Config, arg: Vec<u8>) -> Result<(), Error> {
    if config.init_args.len() >= MAX_INIT_ARGS {
        return Err(Error(format!("Too many boot init vars at `{}'", lossy(&arg))));
    }
    config.init_args.push(arg);
    Ok(())
}

/// What the kernel does not know: `NAME=VALUE` becomes environment, other words arguments. A name with a dot is a
/// parameter of some module and goes nowhere.
fn pass_to_init(config: &mut Config, word: &Word) -> Result<(), Error> {
    if word.name.contains(&b'.') {
        return Ok(());
    }
    config.unknown.push(word.whole());
    if word.value.is_none() {
        return push_arg(config, word.whole());
    }
    let mut start = word.name.clone();
    start.push(b'=');
    let full = config.init_env.len() >= MAX_INIT_ARGS;
    match config.init_env.iter_mut().find(|e| e.starts_with(&start)) {
        Some(old) => *old = word.whole(),
        None if full => {
            return Err(Error(format!("Too many boot env vars at `{}'", lossy(&word.whole()))));
        }
        None => config.init_env.push(word.whole()),
    }
    Ok(())
}

/// Bytes for a message, on one line.
fn lossy(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A number as `strtoul` with base 0 reads it: decimal, 0x, 0. Returns it and what follows; `None` without a digit.
fn number(s: &[u8]) -> Option<(u64, &[u8])> {
    let (radix, digits) = match s {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => (16, rest),
        [b'0', ..] => (8, s),
        _ => (10, s),
    };
    let len = digits.iter().take_while(|b| (**b as char).is_digit(radix)).count();
    if len == 0 {
        return None;
    }
    let (digits, rest) = digits.split_at(len);
    let value = digits.iter().fold(0u64, |n, b| {
        let digit = (*b as char).to_digit(radix).unwrap_or(0);
        n.saturating_mul(u64::from(radix)).saturating_add(u64::from(digit))
    });
    Some((value, rest))
}

/// A number with nothing behind it.
fn whole_number(s: &[u8]) -> Option<u64> {
    match number(s) {
        Some((n, [])) => Some(n),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
