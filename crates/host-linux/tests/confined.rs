//! A guest that broke the kernel: code of its choice in the confined machine process. What it tries must fail, and the
//! machine's own work must still go.
//!
//! Twice: as `umlaut` confines itself, and as `linux` does, in a child that its parent starts again. Without a test
//! harness, because files are given up before any thread starts. The program starts itself as the machine.

use std::{
    fs,
    io::Read,
    net::{TcpStream, UdpSocket},
    os::{
        fd::AsRawFd,
        unix::{fs::PermissionsExt, process::ExitStatusExt},
    },
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use hal::{Host, Limits};
use host_linux::{
    LinuxHost,
    confine::{self, Paths},
    parent::{self, Ended, Side},
    signals,
};

/// Errno of a system call that must not succeed; 0 if it did.
fn attempt(nr: i64, a: [u64; 6]) -> i32 {
    // SAFETY: the calls tried here take numbers, NUL-terminated strings that outlive them, or memory they only read.
    let r = unsafe { libc::syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if r >= 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) }
}

fn say(what: &str, refused: bool) {
    println!("{} {what}", if refused { "refused" } else { "DONE" });
}

/// As `linux` starts machines: this one asks to be started again once.
fn restarted(inside: &Path, outside: &Path, victim: i32) {
    let taken = signals::block();
    let me = std::process::id();
    for ends in [Ended::Restart, Ended::Exited(0)] {
        match parent::start(&taken).unwrap() {
            Side::Machine(again) if ends == Ended::Restart => {
                again.ask();
                std::process::exit(7);
            }
            Side::Machine(_) => machine(inside, outside, [victim, me as i32], true, End::Attacked, taken),
            Side::Parent(ended) => assert_eq!(ended, ends),
        }
    }
    println!("restarted");
}

/// What becomes of the confined machine.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Attacked,
    /// A thread of it panics.
    Panic,
    /// It touches memory that there is not.
    Fault,
}

/// The machine, in which the attacker's code runs after boot.
fn machine(inside: &Path, outside: &Path, victims: [i32; 2], devices: bool, end: End, taken: signals::Taken) {
    let [victim, _] = victims;
    let mut paths = Paths { read: vec![inside.into()], write: vec![inside.join("rw")], ..Paths::default() };
    if devices {
        paths.devices.push("/dev/ptmx".into());
    }
    let fence = confine::files(&paths).unwrap();
    let host = LinuxHost::new(Limits { cpus: 0 }).unwrap();
    host.signals().start(taken).unwrap();
    let mut context = host.new_context().unwrap();
    confine::calls(true).unwrap();
    match end {
        End::Attacked => {}
        End::Panic => {
            host.spawn("panic", Box::new(|| panic!("on purpose"))).unwrap();
            std::thread::sleep(Duration::from_secs(20));
        }
        // SAFETY: not sound, on purpose: nothing is mapped there, and the fault ends the process.
        End::Fault => unsafe { std::ptr::write_volatile(std::ptr::without_provenance_mut::<u8>(8), 0) },
    }
    let landlock = match fence {
        confine::Fence::Landlock(v) => v,
        confine::Fence::None => 0,
    };
    println!("landlock {landlock}");

    // What the machine does goes on: reading, writing where it may, threads, guest code, stubs.
    assert_eq!(fs::read(inside.join("file")).unwrap(), b"inside");
    fs::write(inside.join("rw/new"), b"new").unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    host.spawn("thread", Box::new(move || sender.send(7).unwrap())).unwrap();
    assert_eq!(receiver.recv(), Ok(7));
    let child = context.fork(&hal::Regs::default()).unwrap();
    child.space().kill();
    drop(child);
    assert_eq!(host.new_pty().is_ok(), devices || fence == confine::Fence::None);
    println!("works");

    let c = |s: &'static core::ffi::CStr| s.as_ptr() as u64;
    let argv = [c(c"/bin/sh"), 0];
    say("execve", attempt(libc::SYS_execve, [argv[0], argv.as_ptr() as u64, 0, 0, 0, 0]) != 0);
    say("fork", attempt(libc::SYS_fork, [0; 6]) != 0);
    say("clone of a process", attempt(libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]) != 0);
    say(
        "socket",
        attempt(libc::SYS_socket, [libc::AF_INET as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0]) != 0,
    );
    say("tcp", TcpStream::connect("127.0.0.1:1").is_err_and(|e| e.raw_os_error() == Some(libc::EPERM)));
    say("udp", UdpSocket::bind("127.0.0.1:0").is_err());
    let ptrace = [libc::PTRACE_ATTACH as u64, victim as u64, 0, 0, 0, 0];
    say("ptrace", attempt(libc::SYS_ptrace, ptrace) != 0);
    say(
        "kill by another signal",
        attempt(libc::SYS_kill, [victim as u64, libc::SIGSTOP as u64, 0, 0, 0, 0]) != 0,
    );
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let code =
        [0, 4096, (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64, anonymous, u64::MAX, 0];
    say("code pages", attempt(libc::SYS_mmap, code) != 0);
    let stdin = std::io::stdin().as_raw_fd() as u64;
    say(
        "typing into the shell",
        attempt(libc::SYS_ioctl, [stdin, libc::TIOCSTI, argv[0], 0, 0, 0]) == libc::EPERM,
    );
    say("mount", attempt(libc::SYS_mount, [c(c"none"), c(c"/mnt"), c(c"tmpfs"), 0, 0, 0]) != 0);
    say("unshare", attempt(libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]) != 0);
    say("io_uring", attempt(libc::SYS_io_uring_setup, [4, 0, 0, 0, 0, 0]) == libc::EPERM);
    say("prctl", attempt(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 0, 0, 0, 0, 0]) != 0);
    // x32 and 32-bit numbers are no way round.
    say("x32 execve", attempt(0x4000_0000 + 520, [argv[0], argv.as_ptr() as u64, 0, 0, 0, 0]) != 0);

    if landlock >= 1 {
        say("reading outside", fs::read(outside.join("secret")).is_err());
        say("writing outside", fs::write(outside.join("new"), b"x").is_err());
        say("listing outside", fs::read_dir(outside).is_err());
        say("writing what is only read", fs::write(inside.join("file"), b"x").is_err());
        say("moving out", fs::rename(inside.join("rw/new"), outside.join("moved")).is_err());
        say("removing outside", fs::remove_file(outside.join("secret")).is_err());
        for pid in victims {
            say("memory of another", fs::File::open(format!("/proc/{pid}/mem")).is_err());
        }
        say("a device", fs::OpenOptions::new().write(true).open("/dev/null").is_err());
        let local = [argv.as_ptr() as u64, 8u64];
        let remote = [0x1000u64, 8];
        let copy = [victim as u64, local.as_ptr() as u64, 1, remote.as_ptr() as u64, 1, 0];
        say("copying from another", attempt(libc::SYS_process_vm_readv, copy) == libc::EPERM);
    }
    if landlock >= 6 {
        for pid in victims {
            say("kill", attempt(libc::SYS_kill, [pid as u64, libc::SIGKILL as u64, 0, 0, 0, 0]) != 0);
        }
    }
    host.exit(0);
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, how, inside, outside, victim] = &args[..] {
        let (inside, outside, victim) = (Path::new(inside), Path::new(outside), victim.parse().unwrap());
        match how.as_str() {
            "linux" => return restarted(inside, outside, victim),
            how => {
                let end = match how {
                    "panic" => End::Panic,
                    "fault" => End::Fault,
                    _ => End::Attacked,
                };
                let victims = [victim, std::os::unix::process::parent_id() as i32];
                let taken = signals::block();
                return machine(inside, outside, victims, false, end, taken);
            }
        }
    }
    for how in ["umlaut", "linux"] {
        attack(how);
    }
    for how in ["panic", "fault"] {
        broken(how);
    }
}

/// A machine that breaks by itself ends, and says why.
fn broken(how: &str) {
    let me = std::env::current_exe().unwrap();
    let base = std::env::temp_dir().join(format!("umlaut-confined-{how}-{}", std::process::id()));
    fs::create_dir_all(base.join("rw")).unwrap();
    let words = [how.as_ref(), base.as_os_str(), base.as_os_str(), "1".as_ref()];
    let out = Command::new("timeout").arg("10").arg(me).args(words).output().unwrap();
    fs::remove_dir_all(&base).unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    // timeout(1) ends as what it ran ended.
    let ended = out.status.code().unwrap_or_else(|| 128 + out.status.signal().unwrap());
    assert_eq!(ended, if how == "panic" { 134 } else { 128 + libc::SIGSEGV }, "{err}");
    assert_eq!(err.contains("on purpose"), how == "panic", "{err}");
    println!("ok {how}");
}

/// One machine and its attacker.
fn attack(how: &str) {
    let base = std::env::temp_dir().join(format!("umlaut-confined-{how}-{}", std::process::id()));
    let (inside, outside) = (base.join("inside"), base.join("outside"));
    fs::create_dir_all(inside.join("rw")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(inside.join("file"), b"inside").unwrap();
    fs::write(outside.join("secret"), b"secret").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    let mut victim = Command::new("sleep").arg("60").spawn().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([how.as_ref(), inside.as_os_str(), outside.as_os_str()])
        .arg(victim.id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    let status = child.wait().unwrap();
    let alive = victim.try_wait().unwrap().is_none();
    victim.kill().unwrap();
    victim.wait().unwrap();
    let files =
        (outside.join("secret").exists(), outside.join("new").exists(), outside.join("moved").exists());
    fs::remove_dir_all(&base).unwrap();
    print!("{out}{err}");
    assert!(status.success(), "the machine ended with {status}");
    assert!(alive, "another process was ended");
    assert_eq!(files, (true, false, false), "files outside were changed");
    assert!(out.contains("works\n"), "the machine's own work failed");
    assert!(!out.contains("DONE"), "an attack succeeded");
    assert!(out.matches("refused").count() >= 15, "attacks are missing");
    for call in ["execve", "socket", "ptrace"] {
        let line = format!("({call})");
        let count =
            err.lines().filter(|l| l.starts_with("umlaut: refused to make") && l.ends_with(&line)).count();
        assert_eq!(count, 1, "{call} is reported in one line, once");
    }
    assert_eq!(out.contains("restarted\n"), how == "linux");
    println!("ok {how}");
}
