//! The commands a machine understands.
//!
//! A command is found by its beginning: `versionXYZ` is `version`, as it always was.

/// What `help` answers.
pub const HELP: &str = "\
Commands: 
    version - Get kernel version 
    help - Print this message 
    halt - Halt UML 
    reboot - Reboot UML 
    config <dev>=<config> - Add a new device to UML;  
\tsame syntax as command line 
    config <dev> - Query the configuration of a device 
    remove <dev> - Remove a device from UML 
    sysrq <letter> - Performs the SysRq action controlled by the letter 
    cad - invoke the Ctrl-Alt-Del handler 
    stop - pause the UML; it will do nothing until it receives a 'go' 
    go - continue the UML after a 'stop' 
    log <string> - make UML enter <string> into the kernel log
    proc <file> - returns the contents of the UML's /proc/<file>
    stack <pid> - returns the stack of the specified pid
";

/// Names of the commands, in the order they are looked up.
pub const NAMES: [&str; 13] = [
    "version", "halt", "reboot", "config", "remove", "sysrq", "help", "cad", "stop", "go", "log", "proc",
    "stack",
];

/// A command to a machine. Arguments come without the blanks before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Says what system runs in the machine.
    Version,
    /// Prints [`HELP`].
    Help,
    /// Switches off at once.
    Halt,
    /// Starts again at once.
    Reboot,
    /// Adds, changes or queries a device; see [`device`](crate::device).
    Config(&'a [u8]),
    /// Removes a device.
    Remove(&'a [u8]),
    /// Does what a SysRq letter stands for; no letter asks for their list.
    Sysrq(Option<u8>),
    /// Presses Ctrl-Alt-Del.
    Cad,
    /// Freezes the machine.
    Stop,
    /// Lets it go on.
    Go,
    /// Puts text into the kernel log.
    Log(&'a [u8]),
    /// Prints a file of /proc, named without that and without a leading slash.
    Proc(&'a [u8]),
    /// Prints the stack of a process; `None` for an argument that is no number.
    Stack(Option<u32>),
}

/// The answer to what is no command, with error 1.
pub const UNKNOWN: &str = "Unknown command";

/// The answer to `stack` without a number, with error 1.
pub const NO_PID: &str = "Please specify a pid";

impl<'a> Command<'a> {
    /// Reads the text of a request; `None` is answered with [`UNKNOWN`].
    pub fn parse(text: &'a [u8]) -> Option<Command<'a>> {
        // Everything behind a NUL is padding of the client.
        let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
        let text = &text[..end];
        let name = NAMES.iter().find(|name| text.starts_with(name.as_bytes()))?;
        let rest = &text[name.len()..];
        let blanks = rest.iter().take_while(|b| is_blank(**b)).count();
        let argument = &rest[blanks..];
        Some(match *name {
            "version" => Command::Version,
            "help" => Command::Help,
            "halt" => Command::Halt,
            "reboot" => Command::Reboot,
            "config" => Command::Config(argument),
            "remove" => Command::Remove(argument),
            "sysrq" => Command::Sysrq(argument.first().copied()),
            "cad" => Command::Cad,
            "stop" => Command::Stop,
            "go" => Command::Go,
            "log" => Command::Log(argument),
            "proc" => Command::Proc(argument.strip_prefix(b"/").unwrap_or(argument)),
            _ => Command::Stack(number(argument)),
        })
    }
}

/// What C's isspace() takes for a blank.
fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The decimal number at the start of `text`, with nothing but blanks behind it.
fn number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if !text[digits..].iter().all(|&b| is_blank(b)) {
        return None;
    }
    str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_by_their_beginning() {
        assert_eq!(Command::parse(b"versionXYZ"), Some(Command::Version));
        assert_eq!(Command::parse(b"config ubd0=a b"), Some(Command::Config(b"ubd0=a b")));
        assert_eq!(Command::parse(b"sysrq s"), Some(Command::Sysrq(Some(b's'))));
        assert_eq!(Command::parse(b"sysrq"), Some(Command::Sysrq(None)));
        assert_eq!(Command::parse(b"log  two blanks"), Some(Command::Log(b"two blanks")));
        assert_eq!(Command::parse(b"proc /uptime"), Some(Command::Proc(b"uptime")));
        assert_eq!(Command::parse(b"go\0ignored"), Some(Command::Go));
        for nothing in [&b""[..], b"foo", b" version", b"ver", b"\0version"] {
            assert_eq!(Command::parse(nothing), None);
        }
    }

    #[test]
    fn a_stack_needs_a_number() {
        assert_eq!(Command::parse(b"stack 12 "), Some(Command::Stack(Some(12))));
        for bad in [&b"stack"[..], b"stack x", b"stack -1", b"stack 1 2", b"stack 99999999999"] {
            assert_eq!(Command::parse(bad), Some(Command::Stack(None)), "{bad:?}");
        }
    }

    #[test]
    fn every_name_is_understood_and_in_the_help() {
        for name in NAMES {
            assert!(Command::parse(name.as_bytes()).is_some(), "{name}");
            assert!(HELP.contains(&format!("\n    {name} ")), "{name}");
        }
        assert_eq!(HELP.len(), 722);
    }
}
