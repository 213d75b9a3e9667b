//! The built uml_net and tunctl in network namespaces of their own, beside the originals.

#![forbid(unsafe_code)]

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const OURS: &str = env!("CARGO_BIN_EXE_uml_net");
const TUNCTL: &str = env!("CARGO_BIN_EXE_tunctl");
const ORIGINAL: &str = "/usr/bin/uml_net";
const ORIGINAL_TUNCTL: &str = "/usr/sbin/tunctl";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether we may make taps in a namespace; the reason is printed if not.
fn may() -> bool {
    let works = rustix::process::geteuid().is_root()
        && Path::new("/dev/net/tun").exists()
        && Command::new("unshare").args(["-n", "ip", "link"]).output().is_ok_and(|o| o.status.success());
    if !works {
        println!("skipped: needs root, /dev/net/tun, unshare(1) and ip(8)");
    }
    works
}

/// The original, installed if we may; false with the reason printed otherwise.
fn have_original() -> bool {
    if !Path::new(ORIGINAL).exists() {
        for words in [&["update"][..], &["install", "-y", "uml-utilities", "net-tools"]] {
            let _ = Command::new("apt-get").arg("-q").args(words).stdout(Stdio::null()).status();
        }
    }
    let there = Path::new(ORIGINAL).exists() && Path::new("/sbin/ifconfig").exists();
    if !there {
        println!("skipped: {ORIGINAL} is not installed (packages uml-utilities and net-tools)");
    }
    there
}

/// Runs a script in a fresh network namespace; `$NET` is a uml_net, `$TUNCTL` ours.
fn script(net: &str, script: &str) -> Output {
    Command::new("unshare")
        .args(["-n", "sh", "-c", script])
        .env("NET", net)
        .env("TUNCTL", TUNCTL)
        .stdin(Stdio::null())
        .output()
        .expect("run unshare")
}

/// Host addresses, routes and proxied neighbours before, with, and without a machine's address.
const ADDRESSES: &str = "
    set -e
    ip link set lo up
    $TUNCTL -b -t tap7 >/dev/null
    $TUNCTL -b -t lan0 >/dev/null
    ip addr add 10.9.0.1/24 dev lan0
    ip link set lan0 up
    ip link set tap7 up
    state() { ip -4 route show | sed 's/ linkdown//;s/ *$//' | sort; ip neigh show proxy; cat /proc/sys/net/ipv4/conf/tap7/proxy_arp; }
    $NET 4 tuntap add tap7 10.9.0.5 255.255.255.0 >/dev/null
    state
    echo --
    $NET 4 tuntap del tap7 10.9.0.5 255.255.255.0 >/dev/null
    state";

#[test]
fn addresses_come_and_go_as_with_the_original() {
    if !may() {
        return;
    }
    let ours = script(OURS, ADDRESSES);
    assert!(ours.status.success(), "{}", text(&ours.stderr));
    let state = text(&ours.stdout);
    assert!(state.contains("10.9.0.5 dev tap7 scope link"), "{state}");
    assert!(state.contains("10.9.0.5 dev lan0 proxy"), "{state}");
    assert!(!state.split("--").nth(1).expect("two states").contains("10.9.0.5"), "{state}");
    if have_original() {
        let theirs = script(ORIGINAL, ADDRESSES);
        assert_eq!(state, text(&theirs.stdout), "{}", text(&theirs.stderr));
    }
}

/// What `uml_net 4 tuntap up` answers: its data, and the number of descriptors.
fn up(program: &str, addr: &str) -> (Vec<u8>, usize, Option<i32>) {
    let (ours, theirs) = UnixDatagram::pair().expect("socketpair");
    ours.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let mut child = Command::new("unshare")
        .args(["-n", program, "4", "tuntap", "up", addr])
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(theirs))
        .spawn()
        .expect("run unshare");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut data = vec![0; 65536];
    let got = rustix::net::recvmsg(
        &ours,
        &mut [IoSliceMut::new(&mut data)],
        &mut ancillary,
        rustix::net::RecvFlags::empty(),
    )
    .expect("an answer");
    data.truncate(got.bytes);
    let mut descriptors = 0;
    for message in ancillary.drain() {
        if let rustix::net::RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors += passed.count();
        }
    }
    (data, descriptors, child.wait().expect("wait").code())
}

#[test]
fn a_tap_is_passed_with_its_name_and_a_report() {
    if !may() {
        return;
    }
    let check = |program: &str| {
        let (data, descriptors, _) = up(program, "10.9.1.254");
        assert_eq!(descriptors, 1, "{program}: {}", text(&data));
        assert_eq!(&data[..5], b"tap0\0", "{program}");
        assert!(data[16..].starts_with(b"* "), "{program}: {}", text(&data));
    };
    check(OURS);
    if have_original() {
        check(ORIGINAL);
    }
    let (data, descriptors, code) = up(OURS, "10.9.1.999");
    assert_eq!((descriptors, code), (0, Some(1)), "{}", text(&data));
}

#[test]
fn what_would_take_over_the_host_is_refused() {
    if !may() {
        return;
    }
    let out = script(
        OURS,
        "ip link set lo up
         $TUNCTL -b -t tap7 >/dev/null; ip link set tap7 up
         ip link add d0 type bridge 2>/dev/null && ip link set d0 up
         ip addr add 10.9.0.1/24 dev tap7; ip route add default via 10.9.0.2
         try() { $NET 4 \"$@\" 2>&1 | tr -d '\\000' | tail -n 1; }
         try tuntap add lo 10.9.0.5 255.255.255.0
         try tuntap add tap7 10.9.0.1 255.255.255.0
         try tuntap add tap7 10.9.0.2 255.255.255.0
         try add nosuch 10.9.0.5 255.255.255.0
         python3 -c 'import os, socket, subprocess
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
subprocess.run([os.environ[\"NET\"], \"4\", \"tuntap\", \"up\", \"10.9.0.2\"], stdout=b)
print(a.recv(4096))' || echo is a gateway of the host
         try add '../tap7' 10.9.0.5 255.255.255.0
         dir=$(mktemp -d); chmod 755 $dir; install -m 4755 $NET $dir/net
         as() { setpriv --reuid 65534 --clear-groups $dir/net 4 add \"$@\" 2>&1 | tr -d '\\000' | tail -n 1; }
         as tap7 10.9.0.5
         $TUNCTL -b -u 65534 -t tap8 >/dev/null; ip link set tap8 up; as tap8 10.9.0.6 >/dev/null; rm -r $dir
         ip route show | grep -c '10[.]9[.]0[.][56] '",
    );
    let lines = text(&out.stdout);
    let mut lines = lines.lines();
    for expected in [
        "is not a tap device",
        "is an address of the host",
        "is a gateway of the host",
        "No such device",
        "is a gateway of the host",
        "is not a name for a device",
        "does not belong to user 65534",
    ] {
        let line = lines.next().unwrap_or_default();
        assert!(line.contains(expected), "{expected}: {} {}", text(&out.stdout), text(&out.stderr));
    }
    // Set-user-id, a user's own tap gets its route, unless the temporary directory is mounted nosuid.
    assert!(matches!(lines.next(), Some("0" | "1")), "{}", text(&out.stdout));
}

#[test]
fn refusals_are_worded_as_ever() {
    for words in [&[][..], &["4"], &["5", "tuntap"], &["4", "nonsense"]] {
        let ours = Command::new(OURS).args(words).output().expect("run");
        assert_eq!(ours.status.code(), Some(1), "{words:?}");
        assert!(!ours.stdout.is_empty() || !ours.stderr.is_empty());
        if rustix::process::geteuid().is_root() && have_original() {
            let theirs = Command::new(ORIGINAL).args(words).output().expect("run");
            assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{words:?}");
            assert_eq!(text(&ours.stderr), text(&theirs.stderr), "{words:?}");
            assert_eq!(theirs.status.code(), Some(1));
        }
    }
    let out = Command::new(OURS).args(["4", "tuntap", "add", "a;b", "1.2.3.4", "x"]).output().expect("run");
    let len = u32::from_ne_bytes(*out.stdout.first_chunk().expect("length"));
    assert_eq!(out.stdout.len(), 4 + len as usize);
    assert_eq!(out.stdout.last(), Some(&0));
}

#[test]
fn tunctl_says_what_the_original_says() {
    if !may() {
        return;
    }
    let lines = |program: &str| {
        let out = Command::new("unshare")
            .args([
                "-n",
                "sh",
                "-c",
                "$T; $T -b; $T -u root -g 0 -t tapx; $T -g 0 -t tapy; $T -d tapx; $T -d tapy; ip -br link | cut -d' ' -f1
                 $T -u nosuchuser >/dev/null 2>&1; echo $?; $T extra >/dev/null 2>&1; echo $?; $T -f /nosuch 2>&1; echo $?",
            ])
            .env("T", program)
            .output()
            .expect("run unshare");
        text(&out.stdout)
    };
    let ours = lines(TUNCTL);
    assert!(ours.starts_with("Set 'tap0' persistent and owned by uid 0\ntap1\n"), "{ours}");
    let original = [ORIGINAL_TUNCTL, "/usr/bin/tunctl"].into_iter().find(|p| Path::new(p).exists());
    match original {
        Some(original) => assert_eq!(ours, lines(original)),
        None => println!("skipped the comparison: no tunctl installed (package uml-utilities)"),
    }
}
