//! Frames per second between two ports: our uml_switch and the original one, measured by the same client in one
//! run, taking turns.
//!
//! `cargo bench -p uml-switch --bench throughput -- [--seconds S] [--rounds N] [--ours PATH] [--original PATH] [--size BYTES]
//! [--connected] [--by-name]`
//!
//! The client offers frames as fast as the switch takes them (it waits when the switch's queue is full) on one
//! port and counts what arrives at the other; it does as little else as it can. `direct` is the client alone, without
//! a switch: the ceiling. Ours and the original are measured one right after the other, in turns who is first, so that
//! whatever else the machine does meets both; the ratio is the median of the rounds' ratios. Behind each speed
//! stands the processor time the switch took for a frame.
//!
//! The client comes in two kinds. One sends by name, as user-mode machines do, and yields when there is no room; of
//! frames for that one the host lets only some ten wait (net.unix.max_dgram_qlen), and the original loses half of them.
//! The benchmark fails when ours carries less than three times what the original does for it. The other connects its
//! data socket to the switch's, so that it can sleep until there is room. No machine does that, and with it the
//! original has two speeds, by where the host runs the three processes: what comes of it is shown, and nothing more.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use host_linux::dgram::{Addr, BATCH, RecvBatch, send_batch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Times the original's frames that ours has to carry.
const LEAST: f64 = 3.0;

const MAC_A: [u8; 6] = [0xfe, 0xfd, 0, 0, 0, 1];
const MAC_B: [u8; 6] = [0xfe, 0xfd, 0, 0, 0, 2];

/// One end of the measurement: a data socket, and where its frames go.
struct Port {
    data: UnixDatagram,
    /// Where frames go, [`Addr::UNNAMED`] when the socket is connected.
    to: Addr,
    _control: Option<UnixStream>,
}

fn bound(tag: &str) -> (UnixDatagram, Addr) {
    let mut name = format!("uml-switch-bench-{}-{tag}", std::process::id()).into_bytes();
    name.resize(107, 0);
    let socket =
        UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("name")).expect("bind");
    let mut raw = vec![1, 0, 0];
    raw.extend_from_slice(&name);
    (socket, Addr::new(&raw).expect("address"))
}

/// Joins the switch at `control` with a version 3 request.
fn join(control: &Path, tag: &str, connected: bool) -> Port {
    let (data, addr) = bound(tag);
    let mut stream = UnixStream::connect(control).expect("connect to the switch");
    let mut request = Vec::new();
    for word in [0xfeed_face_u32, 3, 0] {
        request.extend_from_slice(&word.to_ne_bytes());
    }
    request.extend_from_slice(addr.as_bytes());
    stream.write_all(&request).expect("request");
    let mut reply = [0; 110];
    stream.read_exact(&mut reply).expect("reply");
    let mut to = Addr::new(&reply).expect("address");
    if connected {
        connect(&data, &reply);
        to = Addr::UNNAMED;
    }
    Port { data, to, _control: Some(stream) }
}

/// Connects, so that poll(2) tells when the other side has room, and no name is looked up for a frame.
fn connect(data: &UnixDatagram, raw: &[u8]) {
    let addr = SocketAddr::from_abstract_name(&raw[3..]).expect("abstract address");
    data.connect_addr(&addr).expect("connect data socket");
}

fn frame(size: usize, to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
    let mut frame = vec![0x5a; size.max(14)];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&from);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

/// Frames offered and arrived, per second.
fn measure(a: &Port, b: &Port, size: usize, time: Duration) -> (f64, f64) {
    let hello = frame(64, [0xff; 6], MAC_B);
    send_batch(b.data.as_fd(), &[(&hello, &b.to)]).expect("announce b");
    std::thread::sleep(Duration::from_millis(100));
    let stop = Arc::new(AtomicBool::new(false));
    let data = b.data.try_clone().expect("clone");
    let done = stop.clone();
    let receiver = std::thread::spawn(move || {
        let mut batch = RecvBatch::new(BATCH, 2048);
        let mut got = 0u64;
        let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        while !done.load(Ordering::Relaxed) {
            batch.clear();
            match batch.recv_from_peer(data.as_fd()) {
                Ok(n) => {
                    got += (0..n).filter(|&i| batch.get(i).0.get(..6) == Some(&MAC_B)).count() as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(&data, PollFlags::IN)], Some(&wait));
                }
                Err(e) => panic!("receive: {e}"),
            }
        }
        got
    });
    let payload = frame(size, MAC_B, MAC_A);
    let batch: Vec<(&[u8], &Addr)> = (0..BATCH).map(|_| (&payload[..], &a.to)).collect();
    let start = Instant::now();
    let mut sent = 0u64;
    while start.elapsed() < time {
        match send_batch(a.data.as_fd(), &batch) {
            Ok(n) => sent += n as u64,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if a.to.as_bytes().is_empty() {
                    let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                    let _ = poll(&mut [PollFd::new(&a.data, PollFlags::OUT)], Some(&wait));
                } else {
                    rustix::thread::sched_yield();
                }
            }
            Err(e) => panic!("send: {e}"),
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let got = receiver.join().expect("receiver");
    (sent as f64 / seconds, got as f64 / seconds)
}

fn spawn(program: &Path, control: &Path) -> Child {
    let child = Command::new(program)
        .arg("-unix")
        .arg(control)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let start = Instant::now();
    while UnixStream::connect(control).is_err() {
        assert!(start.elapsed() < Duration::from_secs(5), "{} does not answer", program.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// What one switch did in one round.
struct Speed {
    /// Frames offered per second.
    sent: f64,
    /// Frames delivered per second.
    got: f64,
    /// Nanoseconds of processor time of the switch for a frame delivered.
    cost: f64,
}

/// Processor time of a process so far, in seconds.
fn processor_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

fn run(program: &Path, size: usize, time: Duration, tag: &str, connected: bool) -> Speed {
    let control = std::env::temp_dir().join(format!("uml-switch-bench-{}.ctl", std::process::id()));
    let mut child = spawn(program, &control);
    let a = join(&control, &format!("a{tag}"), connected);
    let b = join(&control, &format!("b{tag}"), connected);
    let before = processor_time(child.id());
    let start = Instant::now();
    let (sent, got) = measure(&a, &b, size, time);
    let used = processor_time(child.id()) - before;
    let cost = used * 1e9 / (got * start.elapsed().as_secs_f64()).max(1.0);
    let _ = child.kill();
    let _ = child.wait();
    let _ = std::fs::remove_file(&control);
    Speed { sent, got, cost }
}

fn direct(size: usize, time: Duration, round: usize) -> f64 {
    let (a, a_addr) = bound(&format!("da{round}"));
    let (b, b_addr) = bound(&format!("db{round}"));
    connect(&a, b_addr.as_bytes());
    connect(&b, a_addr.as_bytes());
    let a = Port { data: a, to: Addr::UNNAMED, _control: None };
    let b = Port { data: b, to: Addr::UNNAMED, _control: None };
    measure(&a, &b, size, time).1
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What is compared, and how.
struct Options {
    ours: PathBuf,
    /// `None` when it is not there.
    original: Option<PathBuf>,
    time: Duration,
    rounds: usize,
}

/// Measures both switches in turns and prints what they did. Returns the ratio, if there is an original.
fn compare(options: &Options, size: usize, connected: bool) -> Option<f64> {
    let kind = if connected { "connected" } else { "by name" };
    let (mut new, mut ratios, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let one = |old: bool| {
            let program = if old { options.original.as_ref()? } else { &options.ours };
            Some(run(program, size, options.time, &format!("{round}-{old}"), connected))
        };
        let first = round % 2 == 1;
        let (x, y) = (one(first), one(!first));
        let (mine, theirs) = if first { (y, x) } else { (x, y) };
        print!("{size:5} bytes, {kind}, round {round}:");
        for (name, speed) in [("ours", &mine), ("original", &theirs)] {
            if let Some(Speed { sent, got, cost }) = speed {
                print!("  {name} {got:8.0}/s of {sent:8.0}, {cost:5.0} ns each");
            }
        }
        if let (Some(mine), Some(theirs)) = (&mine, &theirs) {
            print!("  ratio {:.2}", mine.got / theirs.got);
            ratios.push(mine.got / theirs.got);
        }
        new.extend(mine.map(|speed| speed.got));
        alone.push(direct(size, options.time / 4, round));
        println!();
    }
    let (new, alone) = (median(new), median(alone));
    print!("{size:5} bytes, {kind}, median: ours {new:.0}/s ({:.2} Gbit/s)", new * size as f64 * 8e-9);
    let ratio = (!ratios.is_empty()).then(|| {
        ratios.sort_by(f64::total_cmp);
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        let ratio = median(ratios);
        print!(", {ratio:.2} times the original ({low:.2} to {high:.2})");
        ratio
    });
    println!(", direct {alone:.0}/s");
    ratio
}

fn main() {
    let mut seconds = 0.5;
    let mut options = Options {
        ours: PathBuf::from(env!("CARGO_BIN_EXE_uml_switch")),
        original: Some(PathBuf::from("/usr/bin/uml_switch")),
        time: Duration::ZERO,
        rounds: 9,
    };
    let (mut sizes, mut kinds) = (vec![1514, 64], vec![true, false]);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
        match arg.as_str() {
            "--seconds" => seconds = value().parse().expect("seconds"),
            "--rounds" => options.rounds = value().parse().expect("rounds"),
            "--original" => options.original = Some(value().into()),
            "--ours" => options.ours = value().into(),
            "--size" => sizes = vec![value().parse().expect("size")],
            "--connected" => kinds = vec![true],
            "--by-name" => kinds = vec![false],
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    options.time = Duration::from_secs_f64(seconds);
    if let Some(missing) = options.original.take_if(|path| !path.exists()) {
        println!("{} is not there (package uml-utilities): no comparison", missing.display());
    }
    let mut slow = Vec::new();
    for &connected in &kinds {
        for &size in &sizes {
            let ratio = compare(&options, size, connected);
            if let Some(ratio) = ratio.filter(|&ratio| !connected && ratio < LEAST) {
                slow.push(format!("{size} bytes: {ratio:.2}"));
            }
        }
    }
    if !slow.is_empty() {
        eprintln!("less than {LEAST} times the original: {}", slow.join("; "));
        std::process::exit(1);
    }
}
