//! uml_mconsole on a terminal: the real program on the far side of a pty, keys typed on ours.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{OURS, Server, machine_dir, serve};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const UP: &str = "\x1b[A";
const TAB: &str = "\t";
const ENTER: &str = "\r";
const END: &str = "\x04";
const INTERRUPT: &str = "\x03";

/// The program on a terminal.
struct Terminal {
    keys: File,
    output: Receiver<Vec<u8>>,
    /// What came and no test has looked at.
    text: String,
    child: Child,
}

impl Terminal {
    fn start(server: &Server, words: &[&str]) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("pty");
        grantpt(&ours).expect("grantpt");
        unlockpt(&ours).expect("unlockpt");
        let name = ptsname(&ours, Vec::new()).expect("ptsname");
        let theirs = File::options().read(true).write(true).open(name.to_str().expect("name")).expect("pts");
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).expect("size");
        let mut command = server.client(OURS);
        command.args(words).env("TERM", "xterm").env_remove("XDG_STATE_HOME");
        command
            .stdin(theirs.try_clone().expect("clone"))
            .stdout(theirs.try_clone().expect("clone"))
            .stderr(theirs);
        let child = command.spawn().expect("run");
        // The command holds the far side open as long as it is there.
        drop(command);
        let mut screen = File::from(ours);
        let keys = screen.try_clone().expect("clone");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            // The end shows as EIO.
            while let Ok(n @ 1..) = screen.read(&mut buf) {
                if sender.send(buf[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut terminal = Terminal { keys, output, text: String::new(), child };
        terminal.expect("(box) ");
        terminal
    }

    fn press(&mut self, keys: &[&str]) {
        for key in keys {
            self.keys.write_all(key.as_bytes()).expect("keys");
        }
    }

    /// Waits until the program has written `wanted`, and forgets everything up to it.
    fn expect(&mut self, wanted: &str) {
        let start = Instant::now();
        loop {
            if let Some(at) = self.text.find(wanted) {
                self.text.drain(..at + wanted.len());
                return;
            }
            let left = Duration::from_secs(30).saturating_sub(start.elapsed());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.text += &String::from_utf8_lossy(&bytes),
                Err(e) => panic!("no '{wanted}' ({e}) in {:?}", self.text),
            }
        }
    }

    /// Types a line and waits for what it brings, and the prompt after it.
    fn line(&mut self, line: &str, answer: &str) {
        self.press(&[line, ENTER]);
        self.expect(answer);
        self.expect(") ");
    }

    fn end(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "it does not end: {:?}", self.text);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(what: &str, ready: impl Fn() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the machine was asked so far.
fn seen(server: &Server) -> Vec<String> {
    server.seen.lock().expect("lock").clone()
}

#[test]
fn the_arrow_brings_back_what_was_typed() {
    let server = Server::start();
    let mut terminal = Terminal::start(&server, &["box"]);
    terminal.line("version", "OK Linux box");
    terminal.line("stop", "OK ");
    terminal.line(UP, "OK ");
    terminal.press(&[UP, UP, ENTER]);
    terminal.expect("OK Linux box");
    assert_eq!(seen(&server), ["version", "stop", "stop", "version"]);
    terminal.press(&["quit", ENTER]);
    // Its history is in the file once it has ended.
    assert_eq!(terminal.end().code(), Some(0));
    // The next session knows it, too; a line may be changed before it is sent.
    let mut terminal = Terminal::start(&server, &["box"]);
    terminal.press(&[UP, UP, "\x7f\x7f", "on", ENTER]);
    terminal.expect("OK Linux box");
    assert_eq!(seen(&server)[4..], ["version"]);
}

#[test]
fn tab_completes_commands_and_umids() {
    let server = Server::start();
    let others = ["other-machine", "oval"]
        .map(|umid| serve(server.home.path(), umid, Arc::new(Mutex::new(Vec::new()))));
    let mut terminal = Terminal::start(&server, &["box"]);
    terminal.press(&["vers", TAB]);
    terminal.expect("version ");
    terminal.press(&[ENTER]);
    terminal.expect("OK Linux box");
    assert_eq!(seen(&server), ["version"]);
    // Of several, as much as they share, then what there is.
    terminal.press(&["st", TAB, TAB]);
    terminal.expect("stack");
    terminal.expect("stop");
    terminal.press(&["o", TAB, ENTER]);
    terminal.expect("OK ");
    assert_eq!(seen(&server)[1..], ["stop"]);
    // A machine that does not run is not offered.
    std::fs::create_dir_all(machine_dir(server.home.path(), "otter")).expect("directory");
    terminal.press(&["switch ot", TAB]);
    terminal.expect("switch other-machine ");
    terminal.press(&[ENTER]);
    terminal.expect("Switched to 'other-machine'");
    terminal.expect("(other-mach) ");
    terminal.line("version", "OK Linux other-machine");
    terminal.press(&["switch ov", TAB, ENTER]);
    terminal.expect("Switched to 'oval'");
    terminal.expect("(oval) ");
    // They end when they are told to.
    terminal.line("test-end", "is gone");
    terminal.line("switch other-machine", "Switched to");
    terminal.press(&["test-end", ENTER]);
    terminal.expect("is gone");
    others.into_iter().for_each(|thread| thread.join().expect("server"));
}

#[test]
fn quit_and_the_end_of_input_leave() {
    let server = Server::start();
    let mut terminal = Terminal::start(&server, &["box"]);
    terminal.press(&["quit", ENTER]);
    assert_eq!(terminal.end().code(), Some(0));
    let mut terminal = Terminal::start(&server, &["box"]);
    // An interrupt drops the line only.
    terminal.press(&["halt", INTERRUPT]);
    terminal.expect("(box) ");
    terminal.press(&[END]);
    assert_eq!(terminal.end().code(), Some(0));
    assert!(seen(&server).is_empty(), "{:?}", seen(&server));
}

#[test]
fn a_machine_that_has_gone_is_named_and_another_can_be_had() {
    let mut server = Server::start();
    let other = serve(server.home.path(), "other", Arc::new(Mutex::new(Vec::new())));
    let mut terminal = Terminal::start(&server, &["box"]);
    terminal.line("version", "OK Linux box");
    server.end();
    terminal.line("version", "Connection refused (the machine is gone)");
    terminal.line("switch box", "nobody serves 'box', staying");
    std::fs::remove_file(machine_dir(server.home.path(), "box").join("mconsole")).expect("remove");
    terminal.line("version", "No such file or directory (the machine is gone)");
    terminal.line("switch other", "Switched to 'other'");
    terminal.line("version", "OK Linux other");
    // It goes while it owes an answer.
    terminal.line("halt", "is gone, it gave no full answer");
    other.join().expect("server");
    terminal.press(&["quit", ENTER]);
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn an_interrupt_ends_the_waiting_and_not_the_client() {
    let server = Server::start();
    let mut terminal = Terminal::start(&server, &["box"]);
    // To this there is no answer.
    terminal.press(&["stack 1", ENTER]);
    wait_for("the question", || seen(&server) == ["stack 1"]);
    // Nobody has this terminal for his own, so that the key would be no signal.
    let client = Pid::from_child(&terminal.child);
    kill_process(client, Signal::INT).expect("interrupt");
    terminal.expect("not waited for the answer");
    terminal.expect("(box) ");
    terminal.line("version", "OK Linux box");
    // What was typed is in the history, however the client ends.
    kill_process(client, Signal::KILL).expect("kill");
    terminal.end();
    let mut terminal = Terminal::start(&server, &["box"]);
    terminal.press(&[UP, UP]);
    terminal.expect("stack 1");
}

#[test]
fn what_a_machine_says_does_not_command_the_terminal() {
    let server = Server::start();
    let mut terminal = Terminal::start(&server, &["box"]);
    terminal.line("proc evil", "OK a?]0;title?b?[31m");
}
