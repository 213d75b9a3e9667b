//! What a client does with a line before anything is sent.

use crate::packet::TEXT_MAX;

/// What a client prints for `mconsole-version`.
pub const CLIENT_VERSION: &str = "uml_mconsole client version 2";

/// Most bytes of text in one `log` request.
pub const LOG_CHUNK: usize = 506;

/// A line, understood as far as it concerns the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// Nothing.
    Empty,
    /// Leave.
    Quit,
    /// Talk to another machine from now on.
    Switch(&'a [u8]),
    /// The machine's help and the client's.
    Help,
    /// Log this text.
    Log(&'a [u8]),
    /// Log the content of this file.
    LogFile(&'a [u8]),
    /// Print the client's version.
    Version,
    /// Interrupt the machine's process.
    Int,
    /// Send the request with this descriptor attached.
    Umlfs(&'a [u8]),
    /// Send this.
    Send(&'a [u8]),
}

impl<'a> Line<'a> {
    /// Reads a line. Blanks around it do not count; local commands are whole words.
    pub fn parse(line: &'a [u8]) -> Line<'a> {
        let line = line.trim_ascii();
        let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let (word, argument) = (&line[..end], line[end..].trim_ascii());
        match word {
            b"" => Line::Empty,
            b"quit" => Line::Quit,
            b"switch" => Line::Switch(argument),
            b"help" => Line::Help,
            b"mconsole-version" => Line::Version,
            b"int" => Line::Int,
            b"umlfs" => Line::Umlfs(argument),
            b"log" => match argument.strip_prefix(b"-f") {
                Some(file) if file.is_empty() || file[0].is_ascii_whitespace() => {
                    Line::LogFile(file.trim_ascii())
                }
                _ => Line::Log(argument),
            },
            _ => Line::Send(line),
        }
    }
}

/// What `help` adds to the machine's answer.
pub const LOCAL_HELP: &str = "\
Additional local mconsole commands:
    quit - Quit mconsole
    switch <socket-name> - Switch control to the given machine
    log -f <filename> - use contents of <filename> as UML log messages
    mconsole-version - version of this mconsole program
    int - Interrupt the machine's process with SIGINT
";

/// The `log` requests for `text`: each at most 506 bytes of it, and a newline at the end if it has none.
pub fn log_requests(text: &[u8]) -> Vec<Vec<u8>> {
    let mut requests: Vec<Vec<u8>> = text.chunks(LOG_CHUNK).map(|chunk| [b"log ", chunk].concat()).collect();
    if text.last() != Some(&b'\n') {
        requests.push(b"log \n".to_vec());
    }
    requests
}

/// Splits `NAME:command`, which is for another machine once. A name has no blanks and no `=`, so that a
/// configuration with a colon is none.
pub fn addressed(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|&b| b == b':')?;
    let (name, command) = (&line[..at], line[at + 1..].trim_ascii());
    let good = !name.is_empty() && !command.is_empty();
    (good && !name.iter().any(|&b| b.is_ascii_whitespace() || b == b'=')).then_some((name, command))
}

/// Makes the file names of a `config ubdN=` command absolute, as the machine may stand in another directory than
/// the client, which stands in `cwd`. Up to three parts are separated by `,` or `:`: file, backing file, and a
/// serial number, which is left alone. Other commands come back as they are.
pub fn absolute_names(command: &[u8], cwd: &[u8]) -> Vec<u8> {
    let unchanged = || command.to_vec();
    let Some(rest) = command.strip_prefix(b"config") else { return unchanged() };
    let argument = rest.trim_ascii_start();
    if argument.len() == rest.len() || !argument.starts_with(b"ubd") {
        return unchanged();
    }
    let Some(equals) = argument.iter().position(|&b| b == b'=') else { return unchanged() };
    let value_at = command.len() - argument.len() + equals + 1;
    let mut fixed = command[..value_at].to_vec();
    let mut value = &command[value_at..];
    for _ in 0..2 {
        let end = value.iter().position(|b| b",:".contains(b)).unwrap_or(value.len());
        let name = &value[..end];
        if !name.is_empty() && name[0] != b'/' {
            fixed.extend_from_slice(cwd);
            if cwd.last() != Some(&b'/') {
                fixed.push(b'/');
            }
        }
        fixed.extend_from_slice(name);
        value = &value[end..];
        let Some((separator, rest)) = value.split_first() else { break };
        fixed.push(*separator);
        value = rest;
    }
    fixed.extend_from_slice(value);
    fixed
}

/// The exit status that tells of an answer: 0 for success, the error modulo 256 for others, and 1 where that would
/// be mistaken for success or for "no answer" ([`NO_ANSWER`]).
pub fn exit_status(err: i32) -> u8 {
    let [low, ..] = err.to_le_bytes();
    match (err, low) {
        (0, _) => 0,
        (_, 0 | NO_ANSWER) => 1,
        (_, low) => low,
    }
}

/// Exit status when the machine gave no (full) answer.
pub const NO_ANSWER: u8 = 2;

/// Whether a command fits a request.
pub fn fits(command: &[u8]) -> bool {
    command.len() <= TEXT_MAX
}

/// The places where the socket of the machine `name` may be, the likeliest first: below the user's directory, below
/// the shared one, and the name itself.
pub fn socket_places(name: &[u8], home: Option<&[u8]>) -> Vec<Vec<u8>> {
    let mut places = Vec::new();
    if let Some(home) = home {
        let own = [home, b"/.uml/"].concat();
        if !name.starts_with(&own) {
            places.push([&own, name, b"/mconsole"].concat());
        }
    }
    if !name.starts_with(b"/tmp/uml/") {
        places.push([b"/tmp/uml/", name, b"/mconsole"].concat());
    }
    places.push(name.to_vec());
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_commands_are_whole_words() {
        assert_eq!(Line::parse(b"  quit "), Line::Quit);
        assert_eq!(Line::parse(b"quitter"), Line::Send(b"quitter"));
        assert_eq!(Line::parse(b"switch  a b"), Line::Switch(b"a b"));
        assert_eq!(Line::parse(b"log -f /a b"), Line::LogFile(b"/a b"));
        assert_eq!(Line::parse(b"log -force"), Line::Log(b"-force"));
        assert_eq!(Line::parse(b"config ubd0 "), Line::Send(b"config ubd0"));
        assert_eq!(Line::parse(b"\t \n"), Line::Empty);
    }

    #[test]
    fn long_texts_are_logged_in_chunks() {
        assert_eq!(log_requests(b"a\n"), [b"log a\n".to_vec()]);
        assert_eq!(log_requests(b"a"), [b"log a".to_vec(), b"log \n".to_vec()]);
        assert_eq!(log_requests(b""), [b"log \n".to_vec()]);
        let chunks = log_requests(&[b'x'; 1013]);
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [510, 510, 5, 5]);
        assert!(chunks.iter().all(|chunk| fits(chunk)));
    }

    #[test]
    fn names_of_images_become_absolute() {
        for (command, expected) in [
            ("config ubd0=a", "config ubd0=/w/a"),
            ("config ubd2r=a,b", "config ubd2r=/w/a,/w/b"),
            ("config ubd2r=other.img,,SER", "config ubd2r=/w/other.img,,SER"),
            ("config ubd0=/a:b:c,d", "config ubd0=/a:/w/b:c,d"),
            ("config   ubd0=", "config   ubd0="),
            ("config ubd0", "config ubd0"),
            ("config con0=a", "config con0=a"),
            ("configubd0=a", "configubd0=a"),
        ] {
            assert_eq!(String::from_utf8(absolute_names(command.as_bytes(), b"/w")).unwrap(), expected);
        }
        assert_eq!(absolute_names(b"config ubd0=a", b"/"), b"config ubd0=/a");
    }

    #[test]
    fn a_name_before_a_colon_is_a_machine() {
        assert_eq!(addressed(b"box: version"), Some((&b"box"[..], &b"version"[..])));
        assert_eq!(addressed(b"config vec0:transport=tap"), None);
        assert_eq!(addressed(b":x"), None);
        assert_eq!(addressed(b"x:"), None);
    }

    #[test]
    fn the_exit_status_tells_apart() {
        let status = [0, 1, -2, -22, 256, 2, -254].map(exit_status);
        assert_eq!(status, [0, 1, 254, 234, 1, 1, 1]);
    }

    #[test]
    fn sockets_are_looked_for_in_the_old_order() {
        let places = |name: &str| {
            let places = socket_places(name.as_bytes(), Some(b"/home/u"));
            places.into_iter().map(|p| String::from_utf8(p).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(places("box"), ["/home/u/.uml/box/mconsole", "/tmp/uml/box/mconsole", "box"]);
        assert_eq!(places("/tmp/uml/b/mconsole").last().unwrap(), "/tmp/uml/b/mconsole");
        assert_eq!(places("/home/u/.uml/b").len(), 2);
    }
}
