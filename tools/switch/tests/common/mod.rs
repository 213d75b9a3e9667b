//! What the tests of the switch share: a running switch, and clients that speak the old protocol byte by byte.
//!
//! Nothing of the crate `switchproto` is used here, so that a mistake there cannot hide.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The program.
pub const OURS: &str = env!("CARGO_BIN_EXE_uml_switch");
/// That of Debian's uml-utilities.
pub const ORIGINAL: &str = "/usr/bin/uml_switch";

/// A running switch in its own directory.
pub struct Switch {
    pub child: Child,
    pub dir: tempfile::TempDir,
}

impl Switch {
    pub fn start(program: &str, extra: &[&str]) -> Switch {
        let dir = tempfile::tempdir().expect("temporary directory");
        let extra = extra.iter().map(|word| word.replace("DIR", &dir.path().to_string_lossy()));
        let child = Command::new(program)
            .arg("-unix")
            .arg(dir.path().join("ctl"))
            .args(extra)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(dir.path().join("out")).expect("out"))
            .stderr(std::fs::File::create(dir.path().join("err")).expect("err"))
            .spawn()
            .expect("start the switch");
        let switch = Switch { child, dir };
        wait_for("the switch", || UnixStream::connect(switch.control()).is_ok());
        switch
    }

    pub fn ours(extra: &[&str]) -> Switch {
        let mut words = vec!["-mgmt", "DIR/mgmt"];
        words.extend_from_slice(extra);
        Switch::start(OURS, &words)
    }

    pub fn control(&self) -> PathBuf {
        self.dir.path().join("ctl")
    }

    pub fn output(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("out")).expect("out")
    }

    /// Answer of the management socket, without its last line, which must be OK.
    pub fn ask(&self, command: &str) -> String {
        let out = self.ask_raw(command);
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("text")
    }

    pub fn ask_raw(&self, command: &str) -> Output {
        let mgmt = self.dir.path().join("mgmt");
        Command::new(OURS).arg("-ask").arg(mgmt).args(command.split(' ')).output().expect("ask")
    }

    pub fn counter(&self, name: &str) -> u64 {
        let stats = self.ask("stats");
        let line = stats.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).expect(name);
        line.parse().expect("number")
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client of the switch.
pub struct Client {
    pub control: UnixStream,
    pub data: UnixDatagram,
    pub to: SocketAddr,
}

pub fn next_name() -> [u8; 107] {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut name = [0; 107];
    // As the originals: padding that means nothing, process id, a number, garbage behind.
    name[..3].copy_from_slice(&[0x7f, 0, 0]);
    name[3..7].copy_from_slice(&std::process::id().to_ne_bytes());
    name[7..11].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_ne_bytes());
    name[20] = 0xa5;
    name
}

/// A data socket and the 110 bytes of its address.
pub fn data_socket() -> (UnixDatagram, Vec<u8>) {
    let name = next_name();
    let data = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name).expect("name")).expect("bind");
    data.set_read_timeout(Some(Duration::from_millis(5000))).expect("timeout");
    let mut addr = 1u16.to_ne_bytes().to_vec();
    addr.push(0);
    addr.extend_from_slice(&name);
    (data, addr)
}

/// The head of a request of `version`, without the address.
pub fn head(version: u32) -> Vec<u8> {
    let magic = 0xfeed_face_u32.to_ne_bytes();
    let mac = [0xfe, 0xfd, 0, 0, 0, 1];
    match version {
        3 => [&magic[..], &3u32.to_ne_bytes(), &[0; 4]].concat(),
        1 => [&magic[..], &[0; 4], &mac].concat(),
        _ => [&[0; 4][..], &mac].concat(),
    }
}

impl Client {
    pub fn join(control: &Path, version: u32) -> Client {
        let (data, addr) = data_socket();
        let mut control = UnixStream::connect(control).expect("connect");
        control.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        control.write_all(&[head(version), addr].concat()).expect("request");
        let mut reply = [0; 110];
        control.read_exact(&mut reply).expect("reply");
        assert_eq!(&reply[..3], [1, 0, 0], "an abstract address");
        Client { control, data, to: SocketAddr::from_abstract_name(&reply[3..]).expect("address") }
    }

    pub fn send(&self, frame: &[u8]) {
        self.data.send_to_addr(frame, &self.to).expect("send");
    }

    pub fn recv(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 65536];
        let len = self.data.recv(&mut frame).ok()?;
        frame.truncate(len);
        Some(frame)
    }

    /// Nothing comes for a moment.
    pub fn is_silent(&self) -> bool {
        self.data.set_read_timeout(Some(Duration::from_millis(150))).expect("timeout");
        let got = self.recv();
        self.data.set_read_timeout(Some(Duration::from_millis(5000))).expect("timeout");
        got.is_none()
    }
}

pub fn mac(n: u8) -> [u8; 6] {
    [0xfe, 0xfd, 0, 0, 0, n]
}

pub const ALL: [u8; 6] = [0xff; 6];

pub fn frame(to: [u8; 6], from: [u8; 6], fill: u8) -> Vec<u8> {
    let mut frame = [&to[..], &from, &[0x88, 0xb5]].concat();
    frame.resize(60, fill);
    frame
}

/// Lets this process have as many descriptors as it may, and says how many those are.
pub fn all_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}
