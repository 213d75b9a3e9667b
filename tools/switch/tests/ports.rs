//! Ports of the built uml_switch over their whole life, as clients see it: they age, stall, die and are many.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{ALL, Client, OURS, Switch, all_descriptors, data_socket, frame, head, mac, wait_for};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[test]
fn a_silent_station_is_forgotten_and_its_frames_are_flooded() {
    let switch = Switch::ours(&["-age", "2"]);
    let [a, b, c] = [1, 2, 3].map(|_| Client::join(&switch.control(), 3));
    let (hello, answer) = (frame(ALL, mac(1), 1), frame(mac(1), mac(2), 2));
    a.send(&hello);
    assert!(b.recv().is_some() && c.recv().is_some());
    // As long as it talks it is known: for longer than a silent one would be.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2600) {
        a.send(&hello);
        assert!(b.recv().is_some() && c.recv().is_some());
        b.send(&answer);
        assert_eq!(a.recv().as_ref(), Some(&answer));
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(c.is_silent(), "a known station's frames go to it alone");
    assert!(switch.ask("macs").contains("fe:fd:00:00:00:01 port 1 "));
    // Only others talk for longer than that.
    std::thread::sleep(Duration::from_millis(2300));
    b.send(&answer);
    assert_eq!(a.recv().as_ref(), Some(&answer));
    assert_eq!(c.recv().as_ref(), Some(&answer), "the station has not aged");
    assert!(!switch.ask("macs").contains("fe:fd:00:00:00:01 "));
    // The table itself is emptied, too, once everybody is silent.
    wait_for("an empty table", || switch.counter("stations") == 0);
    a.send(&hello);
    assert!(b.recv().is_some() && c.recv().is_some());
    b.send(&answer);
    assert!(a.recv().is_some() && c.is_silent(), "it is known again");
}

/// A client with its data socket connected, as some are, so that poll(2) tells when there is room.
fn connected(switch: &Switch) -> Client {
    let client = Client::join(&switch.control(), 3);
    client.data.connect_addr(&client.to).expect("connect");
    client.data.set_nonblocking(true).expect("non-blocking");
    client
}

fn wait(client: &Client, what: PollFlags) -> bool {
    let timeout = Timespec { tv_sec: 2, tv_nsec: 0 };
    poll(&mut [PollFd::new(&client.data, what)], Some(&timeout)).expect("poll") == 1
}

fn numbered(to: [u8; 6], number: u32) -> Vec<u8> {
    let mut frame = frame(to, mac(1), 0);
    frame[20..24].copy_from_slice(&number.to_be_bytes());
    frame
}

/// Reads a frame, and which one it is.
fn number(client: &Client) -> Option<u32> {
    let mut buf = [0; 2048];
    let len = loop {
        match client.data.recv(&mut buf) {
            Ok(len) => break len,
            Err(e) if e.kind() == ErrorKind::WouldBlock && wait(client, PollFlags::IN) => {}
            Err(_) => return None,
        }
    };
    assert_eq!(len, 60);
    Some(u32::from_be_bytes(buf[20..24].try_into().expect("four bytes")))
}

#[test]
fn who_sends_too_fast_is_slowed_down() {
    const COUNT: u32 = 20_000;
    // A receiver that connects, and one that does not, whose queue holds a few frames only.
    for connects in [true, false] {
        let switch = Switch::ours(&[]);
        let a = connected(&switch);
        let b = if connects { connected(&switch) } else { Client::join(&switch.control(), 3) };
        let hello = frame(ALL, mac(2), 0);
        if connects {
            b.data.send(&hello).expect("send");
        } else {
            b.send(&hello);
        }
        wait_for("the station", || switch.counter("stations") == 1);
        let sender = std::thread::spawn(move || {
            for n in 0..COUNT {
                while let Err(e) = a.data.send(&numbered(mac(2), n)) {
                    assert_eq!(e.kind(), ErrorKind::WouldBlock);
                    wait(&a, PollFlags::OUT);
                }
            }
            a
        });
        let (mut got, mut last) = (0u32, None);
        while last != Some(COUNT - 1) {
            let Some(n) = number(&b) else { break };
            assert!(last.is_none_or(|last| n > last), "{n} after {last:?}");
            (got, last) = (got + 1, Some(n));
        }
        drop(sender.join().expect("sender"));
        // Few fit a queue of the host's, so that it must have been full.
        assert!(connects || switch.counter("pauses") > 0);
        // A receiver that gets no processor for long is not waited for, but that is the exception.
        let lost = switch.counter("drop_full");
        println!("connects: {connects}; {lost} of {COUNT} frames lost, {} pauses", switch.counter("pauses"));
        assert_eq!(u64::from(COUNT - got), lost);
    }
}

#[test]
fn who_reads_nothing_costs_others_a_moment_only() {
    let switch = Switch::ours(&[]);
    let [deaf, b] = [1, 2].map(|_| Client::join(&switch.control(), 3));
    let a = connected(&switch);
    for (client, n) in [(&deaf, 9), (&b, 2)] {
        client.send(&frame(ALL, mac(n), 0));
    }
    wait_for("the stations", || switch.counter("stations") == 2);
    let start = Instant::now();
    for n in 0..300 {
        for to in [mac(9); 10].into_iter().chain([mac(2)]) {
            while a.data.send(&numbered(to, n)).is_err() {
                assert!(wait(&a, PollFlags::OUT), "no room; {}", switch.ask("stats"));
            }
        }
        // Past what the others flooded while they were not known.
        while number(&b).expect("a frame") != n {}
    }
    assert!(switch.counter("drop_full") > 1000);
    // A pause of 20 milliseconds, then none for ten times as long.
    let (pauses, time) = (switch.counter("pauses"), start.elapsed());
    assert!(u128::from(pauses) <= time.as_millis() / 200 + 2, "{pauses} pauses in {time:?}");
}

#[test]
fn without_descriptors_ports_share_a_socket_and_later_clients_are_turned_away() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let ctl = dir.path().join("ctl");
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" -quiet -unix \"$1\" -mgmt \"$1.mgmt\""])
        .args([OURS.as_ref(), ctl.as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start");
    wait_for("the switch", || UnixStream::connect(&ctl).is_ok());
    let mut clients: Vec<Client> = (0..30).map(|_| Client::join(&ctl, 3)).collect();
    // 21 have a socket of their own, the others share one.
    let addresses: std::collections::HashSet<Vec<u8>> = clients
        .iter()
        .map(|client| {
            std::os::linux::net::SocketAddrExt::as_abstract_name(&client.to).expect("name").to_vec()
        })
        .collect();
    assert_eq!(addresses.len(), 22);
    let everybody_hears = |clients: &[Client], from: usize| {
        let hello = frame(ALL, mac(from as u8), 1);
        clients[from].send(&hello);
        for (n, client) in clients.iter().enumerate().filter(|&(n, _)| n != from) {
            assert_eq!(client.recv().as_ref(), Some(&hello), "from {from} to {n}");
        }
    };
    everybody_hears(&clients, 0);
    everybody_hears(&clients, 29);
    let answer = frame(mac(29), mac(0), 2);
    clients[0].send(&answer);
    assert_eq!(clients[29].recv().as_ref(), Some(&answer));
    // A stranger is nobody's station.
    let stranger = UnixDatagram::unbound().expect("socket");
    stranger.send_to_addr(&frame(ALL, mac(66), 6), &clients[29].to).expect("send");
    // There is no room for this many.
    let refused = (0..40).filter(|_| {
        let (_data, addr) = data_socket();
        let Ok(mut control) = UnixStream::connect(&ctl) else { return true };
        control.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        let asked = control.write_all(&[head(3), addr].concat()).is_ok();
        let mut reply = [0; 110];
        if asked && control.read_exact(&mut reply).is_ok() {
            std::mem::forget((control, _data));
            return false;
        }
        true
    });
    assert!(refused.count() >= 10);
    everybody_hears(&clients, 1);
    assert!(clients[2].is_silent());
    // Who leaves makes room.
    clients.truncate(20);
    wait_for("room", || {
        let (_data, addr) = data_socket();
        let Ok(mut control) = UnixStream::connect(&ctl) else { return false };
        control.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        control.write_all(&[head(3), addr].concat()).is_ok() && control.read_exact(&mut [0; 110]).is_ok()
    });
    child.kill().expect("kill");
    child.wait().expect("wait");
}

#[test]
fn a_dead_client_takes_its_stations_along() {
    let switch = Switch::ours(&[]);
    let [a, b, c] = [1, 2, 3].map(|_| Client::join(&switch.control(), 3));
    for n in 10..14 {
        a.send(&frame(ALL, mac(n), 1));
        assert!(b.recv().is_some() && c.recv().is_some());
    }
    assert_eq!(switch.counter("stations"), 4);
    drop(a);
    wait_for("the end of the port", || switch.counter("ports") == 2);
    assert_eq!(switch.counter("stations"), 0);
    b.send(&frame(mac(10), mac(2), 2));
    assert!(c.recv().is_some(), "a forgotten station's frames are flooded");
}

#[test]
fn a_client_whose_data_socket_is_gone_is_removed() {
    let switch = Switch::ours(&[]);
    let [a, b] = [1, 2].map(|_| Client::join(&switch.control(), 3));
    let Client { control, data, .. } = b;
    drop(data);
    wait_for("the end of the port", || {
        a.send(&frame(ALL, mac(1), 1));
        std::thread::sleep(Duration::from_millis(100));
        switch.counter("ports") == 1
    });
    drop(control);
}

#[test]
fn thousands_of_ports_are_served() {
    let switch = Switch::ours(&["-quiet"]);
    // Two descriptors per port on our side, and two on the switch's.
    let room = all_descriptors();
    let count = usize::try_from((room.saturating_sub(200) / 2).min(3000)).expect("count");
    if count < 3000 {
        println!("only {count} ports: RLIMIT_NOFILE is {room}");
    }
    let clients: Vec<Client> = (0..count).map(|_| Client::join(&switch.control(), 3)).collect();
    let hello = frame(ALL, mac(1), 1);
    clients[0].send(&hello);
    for (i, client) in clients.iter().enumerate().skip(1) {
        let got = client.recv();
        assert_eq!(got.as_ref(), Some(&hello), "client {i} of {count}: {}", switch.ask("stats"));
    }
    let answer = frame(mac(1), mac(2), 2);
    clients[count - 1].send(&answer);
    assert_eq!(clients[0].recv().as_ref(), Some(&answer));
    assert_eq!(switch.counter("ports"), count as u64);
    drop(clients);
    wait_for("the ports to go", || switch.counter("ports") == 0);
}

#[test]
fn clients_that_read_nothing_do_not_stop_the_others() {
    let switch = Switch::ours(&["-quiet"]);
    all_descriptors();
    let _idle: Vec<Client> = (0..800).map(|_| Client::join(&switch.control(), 3)).collect();
    let a = Client::join(&switch.control(), 3);
    let mut big = frame(ALL, mac(1), 1);
    big.resize(1514, 1);
    // Each unread frame counts against the send buffer of the socket it came through.
    for _ in 0..12 {
        a.send(&big);
    }
    wait_for("backlogs", || switch.counter("in_frames") == 12);
    let b = Client::join(&switch.control(), 3);
    for fill in 0..5 {
        let hello = frame(ALL, mac(1), fill);
        a.send(&hello);
        assert_eq!(b.recv().as_ref(), Some(&hello));
    }
}
