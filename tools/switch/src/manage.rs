//! Conversations on the management socket.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use switchproto::command::{Command, HELP, LINE_MAX, Target};

use crate::fabric::Fabric;
use crate::port::Link;

/// One client of the management.
pub struct Session {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    kicked: Vec<u64>,
    ended: bool,
}

impl Session {
    /// A conversation over a non-blocking stream.
    pub fn new(stream: UnixStream) -> Session {
        Session { stream, input: Vec::new(), output: Vec::new(), kicked: Vec::new(), ended: false }
    }

    /// The stream to wait for.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Whether an answer waits for room.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Control connections that a command closed.
    pub fn take_kicked(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.kicked)
    }

    /// Reads, executes, answers; a command is taken up only when the answer before it is gone. False when the
    /// conversation is over.
    pub fn serve(&mut self, fabric: &mut Fabric, now: Duration) -> bool {
        if !self.send() {
            return false;
        }
        if self.output.is_empty() && !self.ended {
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(n) => self.input.extend_from_slice(&piece[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        while self.output.is_empty() {
            let Some(end) = self.input.iter().position(|&b| b == b'\n') else { break };
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if !self.execute(&line[..end], fabric, now) || !self.send() {
                return false;
            }
        }
        if self.input.len() > LINE_MAX && self.output.is_empty() {
            self.output = b"ERR the command is too long\n".to_vec();
            self.send();
            return false;
        }
        !self.ended || self.has_output()
    }

    fn send(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return false,
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn execute(&mut self, line: &[u8], fabric: &mut Fabric, now: Duration) -> bool {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let answer = match Command::parse(line) {
            Ok(Command::Quit) => return false,
            Ok(Command::Kick(number)) => self.kick(fabric, number),
            Ok(command) => answer(&command, fabric, now),
            Err(e) => Err(e),
        };
        match answer {
            Ok(text) => {
                self.output.extend_from_slice(text.as_bytes());
                self.output.extend_from_slice(b"OK\n");
            }
            Err(e) => self.output.extend_from_slice(format!("ERR {e}\n").as_bytes()),
        }
        true
    }

    fn kick(&mut self, fabric: &Fabric, number: u32) -> Result<String, String> {
        match fabric.port(number).map(|port| &port.link) {
            Some(Link::Client { connection, .. }) => {
                self.kicked.push(*connection);
                Ok(String::new())
            }
            Some(Link::Tap) => Err("the tap device stays".into()),
            None => Err(no_port(number)),
        }
    }
}

fn no_port(number: u32) -> String {
    format!("there is no port {number}")
}

fn answer(command: &Command, fabric: &mut Fabric, now: Duration) -> Result<String, String> {
    let mut text = String::new();
    match command {
        Command::Help => text.push_str(HELP),
        Command::Stats => stats(&mut text, fabric),
        Command::Ports => ports(&mut text, fabric),
        Command::Macs => {
            for (mac, port, idle) in fabric.table.list(now) {
                let _ = writeln!(text, "{mac} port {port} idle {}", idle.as_secs());
            }
        }
        Command::Flush => fabric.table.clear(),
        Command::Set(Target::New, settings) => fabric.set_defaults(settings),
        Command::Set(Target::Port(number), settings) => {
            if !fabric.change(*number, settings) {
                return Err(no_port(*number));
            }
        }
        Command::Set(Target::All, settings) => {
            let numbers: Vec<u32> = fabric.ports().map(|(number, _)| number).collect();
            for number in numbers {
                fabric.change(number, settings);
            }
        }
        Command::Kick(_) | Command::Quit => {}
    }
    Ok(text)
}

fn stats(text: &mut String, fabric: &Fabric) {
    let s = fabric.stats;
    let mut out = [0u64; 6];
    for (_, port) in fabric.ports() {
        let c = port.counters;
        for (sum, n) in out.iter_mut().zip([c.out_frames, c.out_bytes, c.full, c.lost, c.overrun, c.errors]) {
            *sum += n;
        }
    }
    for (name, value) in [
        ("ports", fabric.ports().count() as u64),
        ("stations", fabric.table.len() as u64),
        ("in_frames", s.frames),
        ("in_bytes", s.bytes),
        ("flooded", s.flooded),
        ("unknown_sender", s.strangers),
        ("too_short", s.short),
        ("too_long", s.long),
        ("same_port", s.local),
        ("pauses", s.pauses),
        ("bad_requests", s.bad_requests),
        ("out_frames", out[0]),
        ("out_bytes", out[1]),
        ("drop_full", out[2]),
        ("drop_loss", out[3]),
        ("drop_rate", out[4]),
        ("drop_error", out[5]),
    ] {
        let _ = writeln!(text, "{name} {value}");
    }
}

fn ports(text: &mut String, fabric: &Fabric) {
    for (number, port) in fabric.ports() {
        let c = port.counters;
        let kind = match port.link {
            Link::Tap => "tap",
            Link::Client { .. } => "unix",
        };
        let _ = write!(
            text,
            "port {number} {kind} in_frames {} in_bytes {} out_frames {} out_bytes {} \
             drop_full {} drop_loss {} drop_rate {} drop_error {}",
            c.in_frames, c.in_bytes, c.out_frames, c.out_bytes, c.full, c.lost, c.overrun, c.errors
        );
        if port.isolated {
            text.push_str(" isolated=on");
        }
        let shape = port.line.shape.to_string();
        if !shape.is_empty() {
            let _ = write!(text, " {shape}");
        }
        text.push('\n');
    }
}
