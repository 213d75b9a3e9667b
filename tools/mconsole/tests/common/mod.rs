//! What the tests of the client share: a pretended machine, served by the crate `mconsole`.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use mconsole::command::HELP;
use mconsole::packet::pieces;
use mconsole::{Command as Cmd, Request};

/// The program.
pub const OURS: &str = env!("CARGO_BIN_EXE_uml_mconsole");

/// A pretended machine in a home directory of its own.
pub struct Server {
    pub home: tempfile::TempDir,
    /// Texts of the requests it got.
    pub seen: Arc<Mutex<Vec<String>>>,
    pub thread: Option<JoinHandle<()>>,
}

pub fn machine_dir(home: &Path, umid: &str) -> PathBuf {
    home.join(".uml").join(umid)
}

impl Server {
    pub fn start() -> Server {
        let home = tempfile::tempdir().expect("temporary directory");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let thread = Some(serve(home.path(), "box", seen.clone()));
        Server { home, seen, thread }
    }

    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", self.home.path()).current_dir(self.home.path()).stdin(Stdio::null());
        command
    }

    pub fn ask(&self, program: &str, words: &[&str]) -> Output {
        self.client(program).arg("box").args(words).output().expect("run the client")
    }

    pub fn last_seen(&self) -> String {
        self.seen.lock().expect("lock").last().cloned().expect("a request")
    }

    /// Ends the machine; its socket file stays, as after a panic.
    pub fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            let tell = UnixDatagram::unbound().expect("socket");
            let request = Request::new(b"test-end").expect("request");
            tell.send_to(&request.emit(), machine_dir(self.home.path(), "box").join("mconsole"))
                .expect("send");
            thread.join().expect("server");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves a machine `umid` until it is told to end.
pub fn serve(home: &Path, umid: &str, seen: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let dir = machine_dir(home, umid);
    std::fs::create_dir_all(&dir).expect("directory");
    let socket = UnixDatagram::bind(dir.join("mconsole")).expect("bind");
    std::fs::write(dir.join("pid"), format!("{}\n", std::process::id())).expect("pid");
    let umid = umid.to_string();
    std::thread::spawn(move || {
        let mut datagram = [0; 2048];
        loop {
            let (len, from) = socket.recv_from(&mut datagram).expect("receive");
            let request = match Request::parse(&datagram[..len]) {
                Ok(request) => request,
                Err(refusal) => {
                    socket.send_to_addr(&refusal.reply(), &from).expect("refuse");
                    continue;
                }
            };
            let text = String::from_utf8_lossy(request.text()).into_owned();
            seen.lock().expect("lock").push(text.clone());
            let (err, answer) = match Cmd::parse(request.text()) {
                None if text == "test-end" => return,
                None => (1, "Unknown command".to_string()),
                Some(Cmd::Version) => (0, format!("Linux {umid} 7.2.7 #1 x86_64")),
                Some(Cmd::Help) => (0, HELP.to_string()),
                Some(Cmd::Config(b"ubd0=/nosuch")) => (-2, "No such image".to_string()),
                Some(Cmd::Config(b"ubd9")) => (-22, "Bad".to_string()),
                Some(Cmd::Proc(b"big")) => (0, "0123456789".repeat(400)),
                Some(Cmd::Proc(b"endless")) => {
                    for piece in pieces(0, b"the beginning", true) {
                        socket.send_to_addr(&piece, &from).expect("answer");
                    }
                    continue;
                }
                // What a hostile machine might want a terminal to do.
                Some(Cmd::Proc(b"evil")) => (0, "a\x1b]0;title\x07b\x1b[31m".to_string()),
                Some(Cmd::Stack(_)) => continue,
                Some(Cmd::Halt) => return,
                Some(_) => (0, String::new()),
            };
            for piece in pieces(err, answer.as_bytes(), false) {
                // A client that has gone does not matter.
                let _ = socket.send_to_addr(&piece, &from);
            }
        }
    })
}
