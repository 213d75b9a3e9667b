//! The built uml_switch, driven by clients that speak the old protocol byte by byte.
//!
//! The requests are the recorded ones of the original's clients with the address replaced; nothing of the crate
//! `switchproto` is used here, so that a mistake there cannot hide. The same client also joins the original.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{ALL, Client, ORIGINAL, OURS, Switch, data_socket, frame, head, mac, wait_for};

/// What both switches must do for clients of this protocol version.
fn learns_and_floods(switch: &Switch, version: u32) {
    let [a, b, c] = [1, 2, 3].map(|_| Client::join(&switch.control(), version));
    let hello = frame(ALL, mac(1), 1);
    a.send(&hello);
    assert_eq!(b.recv().as_ref(), Some(&hello));
    assert_eq!(c.recv().as_ref(), Some(&hello));
    let answer = frame(mac(1), mac(2), 2);
    b.send(&answer);
    assert_eq!(a.recv().as_ref(), Some(&answer));
    assert!(c.is_silent(), "a known station's frames go to it alone");
    let unknown = frame(mac(9), mac(2), 3);
    b.send(&unknown);
    assert_eq!(a.recv().as_ref(), Some(&unknown));
    assert_eq!(c.recv().as_ref(), Some(&unknown));
    assert!(b.is_silent(), "no frame comes back");
    // The station moves.
    c.send(&frame(ALL, mac(1), 4));
    assert!(a.recv().is_some() && b.recv().is_some());
    b.send(&answer);
    assert_eq!(c.recv().as_ref(), Some(&answer));
    assert!(a.is_silent());
}

/// The original, installed if we may; `None` with the reason printed otherwise.
fn original() -> Option<&'static str> {
    if !Path::new(ORIGINAL).exists() && rustix_is_root() {
        for words in [&["update"][..], &["install", "-y", "uml-utilities"]] {
            let _ = Command::new("apt-get").arg("-q").args(words).stdout(Stdio::null()).status();
        }
    }
    if Path::new(ORIGINAL).exists() {
        return Some(ORIGINAL);
    }
    println!("skipped: {ORIGINAL} is not installed (package uml-utilities)");
    None
}

fn rustix_is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn version_3_clients_are_switched() {
    learns_and_floods(&Switch::ours(&[]), 3);
}

#[test]
fn version_1_clients_are_switched() {
    learns_and_floods(&Switch::ours(&[]), 1);
}

#[test]
fn the_same_client_is_served_alike_by_the_original() {
    let Some(program) = original() else { return };
    learns_and_floods(&Switch::start(program, &[]), 3);
    learns_and_floods(&Switch::start(program, &[]), 1);
}

#[test]
fn version_0_clients_know_the_data_socket_by_name() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (ctl, data_name) = (dir.path().join("ctl"), dir.path().join("data"));
    let mut child = Command::new(OURS)
        .args(["-compat-v0", "-unix"])
        .args([&ctl, &data_name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("start");
    wait_for("the switch", || UnixStream::connect(&ctl).is_ok());
    let join = || {
        let (data, addr) = data_socket();
        let mut control = UnixStream::connect(&ctl).expect("connect");
        control.write_all(&[head(0), addr].concat()).expect("request");
        (control, data)
    };
    let (_keep_a, a) = join();
    let (_keep_b, b) = join();
    let hello = frame(ALL, mac(1), 1);
    let mut buffer = [0; 100];
    wait_for("a frame", || {
        a.send_to(&hello, &data_name).expect("send");
        b.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        b.recv(&mut buffer).is_ok_and(|n| buffer[..n] == hello)
    });
    child.kill().expect("kill");
    child.wait().expect("wait");
}

#[test]
fn a_hub_sends_everything_to_everybody() {
    let switch = Switch::ours(&["-hub"]);
    let [a, b, c] = [1, 2, 3].map(|_| Client::join(&switch.control(), 3));
    a.send(&frame(ALL, mac(1), 1));
    assert!(b.recv().is_some() && c.recv().is_some());
    b.send(&frame(mac(1), mac(2), 2));
    assert!(a.recv().is_some() && c.recv().is_some());
    wait_for("the word", || switch.output().contains("will be a hub instead of a switch"));
}

#[test]
fn a_description_after_the_request_is_ignored_and_later_bytes_close_the_port() {
    let switch = Switch::ours(&[]);
    let (_data, addr) = data_socket();
    let mut control = UnixStream::connect(switch.control()).expect("connect");
    control.write_all(&[head(3), addr, b"lab user=x PID=1 SOCK=/y".to_vec()].concat()).expect("request");
    let mut reply = [0; 110];
    control.read_exact(&mut reply).expect("reply");
    wait_for("the port", || switch.counter("ports") == 1);
    control.write_all(b"x").expect("write");
    wait_for("the end of the port", || switch.counter("ports") == 0);
    assert_eq!(control.read(&mut reply).expect("end"), 0);
}

#[test]
fn a_request_in_pieces_is_put_together() {
    let switch = Switch::ours(&[]);
    let (_data, addr) = data_socket();
    let mut control = UnixStream::connect(switch.control()).expect("connect");
    for piece in [head(3), addr].concat().chunks(7) {
        control.write_all(piece).expect("request");
        std::thread::sleep(Duration::from_millis(3));
    }
    control.read_exact(&mut [0; 110]).expect("reply");
}

#[test]
fn garbage_on_both_sockets_leaves_the_switch_working() {
    let switch = Switch::ours(&[]);
    let good = Client::join(&switch.control(), 3);
    let mut seed = 7u64;
    let mut noise = |len: usize| -> Vec<u8> {
        let next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    };
    let stranger = UnixDatagram::unbound().expect("socket");
    for round in 0..300 {
        let mut control = UnixStream::connect(switch.control()).expect("connect");
        let len = round * 3;
        let mut bytes = noise(len);
        match round % 4 {
            0 => bytes.splice(..0, head(3)).for_each(drop),
            1 => bytes.splice(..0, head(1)).for_each(drop),
            2 => bytes.splice(..0, 0xfeed_face_u32.to_ne_bytes()).for_each(drop),
            _ => {}
        }
        // The switch may close while we write.
        let _ = control.write_all(&bytes);
        good.send(&noise(len));
        // A port's socket hears its client alone.
        let refused = stranger.send_to_addr(&noise(len), &good.to).expect_err("a stranger");
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    }
    good.send(&[]);
    good.send(&vec![0xff; 60_000]);
    while good.recv().is_some() {}
    let [a, b] = [1, 2].map(|_| Client::join(&switch.control(), 3));
    let hello = frame(ALL, mac(1), 9);
    a.send(&hello);
    assert_eq!(b.recv().as_ref(), Some(&hello));
    assert!(switch.counter("bad_requests") > 0);
    assert!(switch.counter("too_short") > 0);
    assert_eq!(switch.counter("too_long"), 1);
}

#[test]
fn management_lists_and_changes_ports() {
    let switch = Switch::ours(&["-port", "delay=0ms"]);
    let [a, b] = [1, 2].map(|_| Client::join(&switch.control(), 3));
    a.send(&frame(ALL, mac(1), 1));
    assert!(b.recv().is_some());
    assert!(switch.ask("macs").starts_with("fe:fd:00:00:00:01 port 1 idle "));
    assert!(switch.ask("ports").contains("port 2 unix in_frames 0 in_bytes 0 out_frames 1 out_bytes 60"));
    switch.ask("set 2 loss=100%");
    a.send(&frame(ALL, mac(1), 1));
    assert!(b.is_silent());
    switch.ask("set 2 loss=off delay=300ms");
    assert!(switch.ask("ports").contains("delay=300000us"));
    let start = Instant::now();
    a.send(&frame(ALL, mac(1), 1));
    assert!(b.recv().is_some());
    assert!(start.elapsed() >= Duration::from_millis(300));
    // 60 bytes are 480 bits: ten frames of them at 4800 bit/s take a second, and only two fit the queue.
    switch.ask("set all delay=off rate=4800");
    for _ in 0..10 {
        a.send(&frame(ALL, mac(1), 1));
    }
    wait_for("drops", || switch.counter("drop_rate") >= 5);
    switch.ask("flush");
    assert_eq!(switch.counter("stations"), 0);
    switch.ask("kick 1");
    wait_for("the end of the port", || switch.counter("ports") == 1);
    let refused = switch.ask_raw("set 1 rate=1M");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&refused.stderr), "uml_switch: there is no port 1\n");
}

#[test]
fn management_survives_garbage_and_pipelined_commands() {
    let switch = Switch::ours(&[]);
    let mgmt = switch.dir.path().join("mgmt");
    let mut stream = UnixStream::connect(&mgmt).expect("connect");
    let _ = stream.write_all(&vec![b'x'; 100_000]);
    let mut stream = UnixStream::connect(&mgmt).expect("connect");
    stream.write_all(b"frob\n\n\xff\xfe\nstats\nhelp\nquit\n").expect("write");
    let lines: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).collect();
    assert_eq!(lines.iter().filter(|l| l.starts_with("ERR ")).count(), 3, "{lines:?}");
    assert_eq!(lines.iter().filter(|l| *l == "OK").count(), 2);
}

#[test]
fn isolated_ports_do_not_reach_each_other() {
    let switch = Switch::ours(&["-port-isolation"]);
    let [a, b, c] = [1, 2, 3].map(|_| Client::join(&switch.control(), 3));
    switch.ask("set 3 isolated=off");
    a.send(&frame(ALL, mac(1), 1));
    assert!(c.recv().is_some());
    assert!(b.is_silent());
    c.send(&frame(mac(1), mac(3), 2));
    assert!(a.recv().is_some());
    b.send(&frame(mac(1), mac(2), 3));
    assert!(a.is_silent());
}

#[test]
fn a_capture_holds_what_was_carried() {
    let mut switch = Switch::ours(&["-pcap", "DIR/pcap"]);
    let [a, b] = [1, 2].map(|_| Client::join(&switch.control(), 3));
    let hello = frame(ALL, mac(1), 0x77);
    a.send(&hello);
    assert!(b.recv().is_some());
    let pid = rustix::process::Pid::from_child(&switch.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    switch.child.wait().expect("wait");
    let pcap = std::fs::read(switch.dir.path().join("pcap")).expect("pcap");
    assert_eq!(pcap.len(), 24 + 16 + 60);
    assert_eq!(pcap[..4], 0xa1b2_c3d4_u32.to_ne_bytes());
    assert_eq!(pcap[40..], hello);
}

#[test]
fn a_signal_ends_the_switch_and_removes_its_sockets() {
    use std::os::unix::process::ExitStatusExt;
    for (signal, number) in [(rustix::process::Signal::INT, 2), (rustix::process::Signal::TERM, 15)] {
        let mut switch = Switch::ours(&[]);
        let pid = rustix::process::Pid::from_child(&switch.child);
        rustix::process::kill_process(pid, signal).expect("kill");
        let status = switch.child.wait().expect("wait");
        assert_eq!(status.signal(), Some(number));
        assert!(!switch.control().exists() && !switch.dir.path().join("mgmt").exists());
        let ctl = switch.control();
        let output = switch.output();
        assert!(output.starts_with(&format!("uml_switch attached to unix socket '{}'\n", ctl.display())));
        assert!(output.ends_with(&format!("Caught signal {number}, cleaning up and exiting\n")));
    }
}

/// The process that has `argument` on its command line.
fn process_with_argument(argument: &Path) -> rustix::process::Pid {
    let argument = argument.to_str().expect("text");
    let pids =
        std::fs::read_dir("/proc").expect("/proc").filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    let is_it = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|c| c.split('\0').any(|a| a == argument))
    };
    let pid = { pids }.find(is_it).expect("the daemon");
    rustix::process::Pid::from_raw(pid).expect("process id")
}

#[test]
fn a_second_switch_is_refused_and_a_stale_socket_replaced() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let ctl = dir.path().join("ctl");
    drop(UnixListener::bind(&ctl).expect("stale socket"));
    let mut first = Command::new(OURS)
        .arg("-unix")
        .arg(&ctl)
        .args(["-daemon", "-quiet"])
        .stdout(Stdio::null())
        .spawn()
        .expect("start");
    assert!(first.wait().expect("wait").success(), "-daemon detaches");
    wait_for("the daemon", || UnixStream::connect(&ctl).is_ok());
    let second = Command::new(OURS).arg("-unix").arg(&ctl).output().expect("start");
    assert_eq!(second.status.code(), Some(1));
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(words.contains("has another server attached to it"), "{words}");
    let (_data, addr) = data_socket();
    let mut control = UnixStream::connect(&ctl).expect("connect");
    control.write_all(&[head(3), addr].concat()).expect("request");
    control.read_exact(&mut [0; 110]).expect("reply");
    let pid = process_with_argument(&ctl);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    wait_for("the end of the daemon", || !ctl.exists());
    std::fs::write(&ctl, "precious").expect("file");
    let third = Command::new(OURS).arg("-unix").arg(&ctl).output().expect("start");
    assert_eq!(third.status.code(), Some(1));
    assert_eq!(std::fs::read(&ctl).expect("file"), b"precious");
}

#[test]
fn a_pipe_of_the_capture_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).expect("pipe");
    let words = ["-unix", "ctl", "-pcap", "pipe"];
    let out = Command::new(OURS).current_dir(dir.path()).args(words).output().expect("run");
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&out.stderr),
        "uml_switch: cannot write 'pipe': No such device or address\n"
    );
    // Who reads along gets all, and costs the switch nothing when it leaves.
    let reader = std::fs::File::options().read(true).write(true).open(&pipe).expect("reader");
    let switch = Switch::ours(&["-pcap", pipe.to_str().expect("text")]);
    let (a, b) = (Client::join(&switch.control(), 3), Client::join(&switch.control(), 3));
    let mut head = [0; 24];
    (&reader).read_exact(&mut head).expect("the head of the capture");
    assert_eq!(head[..4], 0xa1b2_c3d4_u32.to_ne_bytes());
    drop(reader);
    for n in 0..3 {
        a.send(&frame(ALL, mac(1), n));
        assert!(b.recv().is_some(), "frame {n}");
        // The capture is written out every two seconds.
        std::thread::sleep(Duration::from_millis(1100));
    }
}

#[test]
fn bad_arguments_get_the_usage() {
    for words in [&["-frob"][..], &["-unix"], &["-tap"]] {
        let out = Command::new(OURS).args(words).stdin(Stdio::null()).output().expect("start");
        assert_eq!(out.status.code(), Some(1), "{words:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains("Usage : uml_switch"), "{words:?}");
    }
}

#[test]
fn a_tap_device_is_a_port() {
    if !rustix_is_root() || !Path::new("/dev/net/tun").exists() {
        println!("skipped: making a tap device needs root and /dev/net/tun");
        return;
    }
    let name = format!("umsw{}", std::process::id() % 100_000);
    let switch = Switch::ours(&["-tap", &name]);
    wait_for("the start", || switch.output().contains(" attached to unix socket"));
    if !switch.output().contains(" tap device '") {
        println!("skipped: {}", std::fs::read_to_string(switch.dir.path().join("err")).expect("err"));
        return;
    }
    assert!(switch.ask("ports").starts_with("port 1 tap "));
    // The host's own traffic (router solicitations and the like) comes through once the interface is up.
    let up = Command::new("ip").args(["link", "set", &name, "up"]).status();
    if !up.is_ok_and(|s| s.success()) {
        println!("skipped the rest: no ip(8) to bring {name} up");
        return;
    }
    let client = Client::join(&switch.control(), 3);
    client.send(&frame(ALL, mac(1), 1));
    let statistics = format!("/sys/class/net/{name}/statistics/rx_packets");
    wait_for("the frame at the tap", || {
        std::fs::read_to_string(&statistics).is_ok_and(|n| n.trim().parse::<u64>().unwrap_or(0) > 0)
    });
}

#[test]
fn a_tap_made_ready_needs_no_privilege() {
    use std::os::unix::fs::PermissionsExt;
    // As root a user is played, in namespaces with a clone device that users may open, as hosts have it.
    let dir = tempfile::tempdir().expect("temporary directory");
    let open_to_all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open_to_all).expect("mode");
    std::fs::copy(OURS, dir.path().join("uml_switch")).expect("copy");
    let script = "rm -f tun && mknod tun c 10 200 && chmod 666 tun && : <> tun && mount --bind tun /dev/net/tun || exit 77
        ip tuntap add dev tapu mode tap user 65534 || exit 77
        exec setpriv --reuid 65534 --regid 65534 --clear-groups ./uml_switch -unix ctl -mgmt mgmt -tap $TAP";
    for (tap, good) in [("tapu", true), ("other", false)] {
        let err = std::fs::File::create(dir.path().join("err")).expect("err");
        let mut child = Command::new("unshare")
            .args(["-m", "-n", "sh", "-c", script])
            .env("TAP", tap)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(err)
            .spawn()
            .expect("start");
        let mut ended = false;
        wait_for("the switch", || {
            ended = child.try_wait().expect("wait").is_some();
            ended || UnixStream::connect(dir.path().join("mgmt")).is_ok()
        });
        let words = || std::fs::read_to_string(dir.path().join("err")).expect("err");
        if ended {
            assert!(!words().contains("uml_switch"), "{}", words());
            println!("skipped: needs root, namespaces and /dev/net/tun ({})", words().trim());
            return;
        }
        let ports =
            Command::new(OURS).arg("-ask").arg(dir.path().join("mgmt")).arg("ports").output().expect("ask");
        assert_eq!(String::from_utf8_lossy(&ports.stdout).starts_with("port 1 tap "), good, "{ports:?}");
        if !good {
            wait_for("the word", || words().contains("cannot attach the tap device 'other'"));
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
}
