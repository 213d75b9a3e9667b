//! Signals sent to a machine process: it hears of new terminal sizes, and whatever ends it, the terminal is restored.
//!
//! Without a test harness, because the machine's signals must be blocked before any thread starts. The program starts
//! itself as the machine, on the slave of a pty.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use host_linux::{
    Streams,
    signals::{self, Signals},
};
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{self, OpenptFlags},
    termios,
};

/// The machine: takes the terminal raw, says so, and waits for its end.
fn machine() {
    let taken = signals::block();
    let all = Arc::new(Signals::default());
    let stream = Streams::new(all.clone()).inherited(0).unwrap();
    stream.on_resize(Box::new(|w| println!("resized {} {}", w.rows, w.cols)));
    all.on_fatal(|| println!("fatal"));
    all.start(taken).unwrap();
    stream.set_raw().unwrap();
    println!("ready");
    if std::env::args().any(|a| a == "panic") {
        std::panic::set_hook(Box::new(|_| signals::restore_terminals()));
        panic!("a bug of the machine");
    }
    std::thread::sleep(Duration::from_secs(60));
}

fn is_canonical(terminal: &File) -> bool {
    termios::tcgetattr(terminal).unwrap().local_modes.contains(termios::LocalModes::ICANON)
}

fn machine_on(terminal: &File, arg: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["machine", arg]).stdin(terminal.try_clone().unwrap()).stdout(Stdio::piped());
    command
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("machine") {
        return machine();
    }
    let master = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    pty::unlockpt(&master).unwrap();
    let path = pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(path).unwrap();

    for (rows, signal) in (10..).zip([Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT]) {
        let mut child = machine_on(&terminal, "").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert_eq!(lines.next().as_deref(), Some("ready"));
        assert!(!is_canonical(&terminal));
        let size = termios::Winsize { ws_row: rows, ws_col: 34, ws_xpixel: 0, ws_ypixel: 0 };
        termios::tcsetwinsize(&master, size).unwrap();
        kill_process(pid, Signal::WINCH).unwrap();
        assert_eq!(lines.next(), Some(format!("resized {rows} 34")));
        kill_process(pid, signal).unwrap();
        assert_eq!(lines.next().as_deref(), Some("fatal"));
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(is_canonical(&terminal), "restored after {signal:?}");
    }

    // What SIGKILL leaves is undone here, and shows that the panic hook does its part.
    let mut child = machine_on(&terminal, "").spawn().unwrap();
    let pid = Pid::from_child(&child);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    kill_process(pid, Signal::KILL).unwrap();
    child.wait().unwrap();
    assert!(!is_canonical(&terminal), "nothing can restore after SIGKILL");
    let mut mode = termios::tcgetattr(&terminal).unwrap();
    mode.local_modes |= termios::LocalModes::ICANON;
    termios::tcsetattr(&terminal, termios::OptionalActions::Now, &mode).unwrap();

    let status = machine_on(&terminal, "panic").status().unwrap();
    assert!(!status.success());
    assert!(is_canonical(&terminal), "restored after a panic");
    println!("signals: ok");
}
