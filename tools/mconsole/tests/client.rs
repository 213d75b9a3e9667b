//! uml_mconsole, ours and the original, against a server built on the crate `mconsole`.

#![forbid(unsafe_code)]

mod common;

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{OURS, Server, machine_dir, serve};
use mconsole::Request;
use mconsole::command::HELP;

const ORIGINAL: &str = "/usr/bin/uml_mconsole";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The original, installed if we may; false with the reason printed otherwise.
fn have_original() -> bool {
    if !Path::new(ORIGINAL).exists() && rustix::process::geteuid().is_root() {
        for words in [&["update"][..], &["install", "-y", "uml-utilities"]] {
            let _ = Command::new("apt-get").arg("-q").args(words).stdout(Stdio::null()).status();
        }
    }
    let there = Path::new(ORIGINAL).exists();
    if !there {
        println!("skipped: {ORIGINAL} is not installed (package uml-utilities)");
    }
    there
}

#[test]
fn the_original_client_and_ours_say_the_same() {
    if !have_original() {
        return;
    }
    let server = Server::start();
    for words in [
        &["version"][..],
        &["nonsense"],
        &["config", "ubd0=/nosuch"],
        &["config", "ubd9"],
        &["config", "ubd0=a,b"],
        &["proc", "big"],
        &["log", "some", "words"],
        &["mconsole-version"],
        &["stop"],
    ] {
        let theirs = server.ask(ORIGINAL, words);
        let sent_by_them = server.last_seen();
        let ours = server.ask(OURS, words);
        assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{words:?}");
        assert_eq!(ours.status.code(), theirs.status.code(), "{words:?}");
        assert_eq!(server.last_seen(), sent_by_them, "{words:?}");
        // The original complains when it cannot enter the directory of an image in the root directory.
        if !text(&theirs.stderr).starts_with("absolutize : ") {
            assert_eq!(text(&ours.stderr), text(&theirs.stderr), "{words:?}");
        }
    }
    let theirs = server.ask(ORIGINAL, &["help"]);
    assert!(text(&theirs.stdout).starts_with(&format!("OK {HELP}")));
    let usage = Command::new(ORIGINAL).output().expect("run");
    let our_usage = Command::new(OURS).output().expect("run");
    assert_eq!(text(&our_usage.stderr), text(&usage.stderr));
    assert_eq!(our_usage.status.code(), usage.status.code());
}

#[test]
fn the_exit_status_tells_success_error_and_silence_apart() {
    let mut server = Server::start();
    let status = |server: &Server, words: &[&str]| server.ask(OURS, words).status.code();
    assert_eq!(status(&server, &["version"]), Some(0));
    assert_eq!(status(&server, &["nonsense"]), Some(1));
    assert_eq!(status(&server, &["config", "ubd0=/nosuch"]), Some(254));
    let out = server.client(OURS).args(["--timeout", "0.3", "box", "stack", "1"]).output().expect("run");
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("no answer within 0.3 seconds"), "{}", text(&out.stderr));
    let out = server.client(OURS).args(["--timeout", "0.3", "box", "proc", "endless"]).output().expect("run");
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(2), "the beginning\n".into()));
    assert!(text(&out.stderr).contains("no full answer"));
    server.end();
    let out = server.ask(OURS, &["version"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("the machine is gone"), "{}", text(&out.stderr));
    let out = server.client(OURS).args(["nobody", "version"]).output().expect("run");
    assert_eq!(out.status.code(), Some(2));
    let words = text(&out.stderr);
    assert!(words.contains("Warning: couldn't stat file: ") && words.contains("no such machine"), "{words}");
    assert_eq!(server.ask(OURS, &["config", &"x".repeat(600)]).status.code(), Some(1));
}

#[test]
fn a_machine_that_ends_without_an_answer_is_noticed_soon() {
    let mut server = Server::start();
    let start = Instant::now();
    let out = server.ask(OURS, &["halt"]);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("is gone"), "{}", text(&out.stderr));
    if let Some(thread) = server.thread.take() {
        thread.join().expect("server");
    }
}

#[test]
fn answers_in_many_packets_arrive_whole() {
    let server = Server::start();
    let out = server.ask(OURS, &["proc", "big"]);
    assert_eq!(text(&out.stdout), format!("OK {}\n", "0123456789".repeat(400)));
    let out = server.ask(OURS, &["help"]);
    assert!(text(&out.stdout).starts_with(&format!("OK {HELP}")));
    assert!(text(&out.stdout).contains("Additional local mconsole commands:"));
}

#[test]
fn a_socket_path_and_another_directory_name_a_machine_too() {
    let server = Server::start();
    let path = machine_dir(server.home.path(), "box").join("mconsole");
    let out = Command::new(OURS).arg(&path).arg("version").output().expect("run");
    assert_eq!(text(&out.stdout), "OK Linux box 7.2.7 #1 x86_64\n");
    let out = Command::new(OURS)
        .arg("--uml-dir")
        .arg(server.home.path().join(".uml"))
        .args(["box", "version"])
        .output()
        .expect("run");
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), String::new()));
}

#[test]
fn running_machines_are_listed_and_dead_ones_are_not() {
    let server = Server::start();
    let dead = machine_dir(server.home.path(), "dead");
    std::fs::create_dir_all(&dead).expect("directory");
    drop(UnixDatagram::bind(dead.join("mconsole")).expect("bind"));
    let out = server.client(OURS).arg("--list").output().expect("run");
    let listed = text(&out.stdout);
    let row = listed.lines().find(|l| l.starts_with("box ")).expect("the machine");
    assert!(row.contains(&std::process::id().to_string()), "{row}");
    assert!(!listed.contains("dead"), "{listed}");
}

#[test]
fn without_a_terminal_prompt_and_lines_are_echoed() {
    let server = Server::start();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let other = serve(server.home.path(), "other-machine", seen.clone());
    let script = "version\nother-machine:version\nswitch other-machine\nversion\nswitch nobody\ntest-end\n\nquit\nversion\n";
    let mut child = server
        .client(OURS)
        .args(["--timeout", "1", "box"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run");
    child.stdin.take().expect("stdin").write_all(script.as_bytes()).expect("write");
    let out = child.wait_with_output().expect("wait");
    other.join().expect("server");
    assert_eq!(
        text(&out.stdout),
        "(box) version\nOK Linux box 7.2.7 #1 x86_64\n\
         (box) other-machine:version\nOK Linux other-machine 7.2.7 #1 x86_64\n\
         (box) switch other-machine\nSwitched to 'other-machine'\n\
         (other-mach) version\nOK Linux other-machine 7.2.7 #1 x86_64\n\
         (other-mach) switch nobody\n(other-mach) test-end\n(other-mach) \n(other-mach) quit\n"
    );
    assert_eq!(out.status.code(), Some(0));
    assert!(text(&out.stderr).contains("nobody serves 'nobody'"));
}

#[test]
fn files_and_long_texts_are_logged_in_chunks() {
    let server = Server::start();
    let file = server.home.path().join("log.txt");
    std::fs::write(&file, "z".repeat(1013)).expect("file");
    let out = server.ask(OURS, &["log", "-f", "log.txt"]);
    assert_eq!(text(&out.stdout), "OK \n".repeat(4));
    let lengths: Vec<usize> = server.seen.lock().expect("lock").iter().map(String::len).collect();
    assert_eq!(lengths, [510, 510, 5, 5]);
    assert_eq!(server.ask(OURS, &["log", "-f", "missing"]).status.code(), Some(1));
    let out = server.ask(OURS, &["log", "-f", "/dev/zero"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("too large"), "{}", text(&out.stderr));
}

#[test]
fn what_is_no_socket_is_not_taken_for_a_dead_machine() {
    let server = Server::start();
    let out = server.client(OURS).args(["/dev/null", "version"]).output().expect("run");
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("(that is no socket)"), "{}", text(&out.stderr));
}

#[test]
fn who_does_not_read_is_no_reason_to_crash() {
    let server = Server::start();
    for words in
        [&["--list"][..], &["--help"], &["--frob"], &["nobody", "version"], &["box", "version"], &["box"]]
    {
        let closed = || Stdio::from(rustix::pipe::pipe().expect("pipe").1);
        let status = server.client(OURS).args(words).stdout(closed()).stderr(closed()).status().expect("run");
        assert!(status.code().is_some_and(|code| code <= 2), "{words:?}: {status}");
    }
}

#[test]
fn int_interrupts_the_machines_process() {
    use std::os::unix::process::ExitStatusExt;
    let server = Server::start();
    let mut victim = Command::new("sleep").arg("60").spawn().expect("sleep");
    let pid = machine_dir(server.home.path(), "box").join("pid");
    std::fs::write(&pid, format!("{}\n", victim.id())).expect("pid");
    assert_eq!(server.ask(OURS, &["int"]).status.code(), Some(0));
    assert_eq!(victim.wait().expect("wait").signal(), Some(2));
    std::fs::remove_file(&pid).expect("remove");
    let out = server.ask(OURS, &["int"]);
    assert!(text(&out.stdout).contains("Cannot determine the PID"));
}

#[test]
fn umlfs_passes_a_descriptor() {
    let home = tempfile::tempdir().expect("temporary directory");
    let dir = machine_dir(home.path(), "box");
    std::fs::create_dir_all(&dir).expect("directory");
    let socket = UnixDatagram::bind(dir.join("mconsole")).expect("bind");
    let receiver = std::thread::spawn(move || {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut data = [0; 600];
        let got = rustix::net::recvmsg(
            &socket,
            &mut [std::io::IoSliceMut::new(&mut data)],
            &mut ancillary,
            rustix::net::RecvFlags::empty(),
        )
        .expect("receive");
        assert_eq!(Request::parse(&data[..got.bytes]).expect("request").text(), b"umlfs 0");
        let mut passed = 0;
        for message in ancillary.drain() {
            if let rustix::net::RecvAncillaryMessage::ScmRights(descriptors) = message {
                passed += descriptors.count();
            }
        }
        passed
    });
    let out = Command::new(OURS)
        .env("HOME", home.path())
        .args(["--timeout", "0.5", "box", "umlfs", "0"])
        .stdin(Stdio::null())
        .output()
        .expect("run");
    assert_eq!(receiver.join().expect("receiver"), 1, "{}", text(&out.stderr));
    assert_eq!(out.status.code(), Some(2));
}
