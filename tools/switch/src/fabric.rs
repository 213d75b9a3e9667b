//! The switch itself: ports, the MAC table, and the way of a frame from one port to others.
//!
//! Frames come in batches ([`Fabric::receive_from`]); for each the receiving ports are found ([`Fabric::route`]), then
//! all deliveries of the batch go out together ([`deliver`]). A client whose queue is full gets a bounded
//! backlog, which timers try to deliver; nothing here waits. But whoever has filled a queue is not listened to for a
//! moment ([`Fabric::is_paused`]), so that it feels in its own queue how fast the other is, instead of losing frames.

mod deliver;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::Duration;

use host_linux::dgram::{Addr, BATCH, RecvBatch};
use host_linux::tap::Tap;
use switchproto::SockAddr;
use switchproto::frame::{self, Mac};
use switchproto::shape::Setting;
use switchproto::table::{Learned, MacTable};

use crate::capture::Capture;
use crate::log::Log;
use crate::port::{AHEAD, Link, Own, PAUSE_MAX, PAUSE_NOT, Port, Wait};
use crate::sockets;

/// Longest frame carried: jumbo frames with a VLAN tag. Longer ones are dropped.
pub const FRAME_MAX: usize = 9022;

/// Messages about stations in one second.
const STATION_LINES: u32 = 100;

/// What the whole switch counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Frames that came in.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames sent to all ports.
    pub flooded: u64,
    /// Frames from addresses that belong to no port.
    pub strangers: u64,
    /// Frames too short for a header.
    pub short: u64,
    /// Frames longer than the switch carries.
    pub long: u64,
    /// Frames for a station behind the port they came from.
    pub local: u64,
    /// Times a client was not listened to because it had overrun another.
    pub pauses: u64,
    /// Control connections closed for what they sent.
    pub bad_requests: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at: Duration,
    order: u64,
    port: u32,
    serial: u64,
    /// A frame at the end of its line; without one, the port's backlog is to be tried.
    frame: Option<Rc<[u8]>>,
}

/// The switch.
pub struct Fabric {
    ports: Vec<Option<Port>>,
    by_addr: HashMap<Box<[u8]>, Vec<u32>>,
    last_sender: Option<(Addr, u32)>,
    /// Stations and the ports they are behind.
    pub table: MacTable<u32>,
    timers: BinaryHeap<Reverse<Timer>>,
    order: u64,
    held: usize,
    data: UnixDatagram,
    tap: Option<Tap>,
    hub: bool,
    /// Counters.
    pub stats: Stats,
    defaults: Vec<Setting>,
    capture: Option<Capture>,
    pending: Vec<(usize, u32)>,
    /// A port that could not take a frame since this was last cleared.
    held_for: Option<u32>,
    dead: Vec<u64>,
    asks: Vec<u32>,
    random: u64,
    lines_left: u32,
    own_count: usize,
    own_max: usize,
}

impl Fabric {
    /// A switch (or hub) without ports, with a data socket that up to `own_max` ports do without: they get their own.
    /// Stations not heard for `age` are forgotten.
    pub fn new(
        data: UnixDatagram,
        hub: bool,
        capture: Option<Capture>,
        seed: u64,
        own_max: usize,
        age: Duration,
    ) -> Fabric {
        Fabric {
            ports: vec![None],
            by_addr: HashMap::new(),
            last_sender: None,
            table: MacTable::new(age),
            timers: BinaryHeap::new(),
            order: 0,
            held: 0,
            data,
            tap: None,
            hub,
            stats: Stats::default(),
            defaults: Vec::new(),
            capture,
            pending: Vec::new(),
            held_for: None,
            dead: Vec::new(),
            asks: Vec::new(),
            random: seed | 1,
            lines_left: STATION_LINES,
            own_count: 0,
            own_max,
        }
    }

    /// The socket that ports without their own share.
    pub fn data(&self) -> &UnixDatagram {
        &self.data
    }

    /// The tap device, if there is one.
    pub fn tap(&self) -> Option<&Tap> {
        self.tap.as_ref()
    }

    /// Makes the tap device a port.
    pub fn add_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
        self.add(Link::Tap, 0);
    }

    /// A data socket for the client at `addr` alone, and its address; `None` when there is none to be had.
    pub fn own_socket(&mut self, addr: &SockAddr) -> Option<(Own, SockAddr)> {
        if self.own_count >= self.own_max {
            return None;
        }
        self.order += 1;
        let (socket, reply) = sockets::own_data(addr, self.order).ok()?;
        Some((Own { socket, client: addr.clone(), asked: false, connected: true }, reply))
    }

    /// Makes a client a port: its data address, its control connection, and the socket to it if it has one.
    /// `wanted` is the number it would like, 0 for any. Returns the number it got.
    pub fn add_client(&mut self, addr: Addr, connection: u64, wanted: u32, own: Option<Own>) -> u32 {
        let number = self.add(Link::Client { addr, connection }, wanted);
        self.by_addr.entry(addr.as_bytes().into()).or_default().push(number);
        self.last_sender = None;
        self.own_count += usize::from(own.is_some());
        if let Some(Some(port)) = self.ports.get_mut(number as usize) {
            port.own = own;
        }
        let defaults = self.defaults.clone();
        self.change(number, &defaults);
        number
    }

    fn add(&mut self, link: Link, wanted: u32) -> u32 {
        self.order += 1;
        let port = Some(Port::new(self.order, link));
        let wanted = wanted as usize;
        let free = match self.ports.get(wanted) {
            Some(None) if wanted > 0 => Some(wanted),
            _ => self.ports.iter().skip(1).position(Option::is_none).map(|at| at + 1),
        };
        let number = free.unwrap_or_else(|| {
            self.ports.push(None);
            self.ports.len() - 1
        });
        self.ports[number] = port;
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Closes a port and forgets all it knew.
    pub fn remove(&mut self, number: u32) {
        let Some(port) = self.ports.get_mut(number as usize).and_then(Option::take) else { return };
        self.held -= port.backlog.iter().map(|f| f.len()).sum::<usize>();
        self.own_count -= usize::from(port.own.is_some());
        if let Link::Client { addr, .. } = port.link
            && let Some(list) = self.by_addr.get_mut(addr.as_bytes())
        {
            list.retain(|&n| n != number);
            if list.is_empty() {
                self.by_addr.remove(addr.as_bytes());
            }
        }
        self.last_sender = None;
        self.table.forget_port(number);
    }

    /// The port with this number.
    pub fn port(&self, number: u32) -> Option<&Port> {
        self.ports.get(number as usize)?.as_ref()
    }

    /// All ports with their numbers.
    pub fn ports(&self) -> impl Iterator<Item = (u32, &Port)> {
        (0u32..).zip(&self.ports).filter_map(|(number, port)| Some((number, port.as_ref()?)))
    }

    /// Changes the settings of a port; false when there is none.
    pub fn change(&mut self, number: u32, settings: &[Setting]) -> bool {
        let Some(port) = self.ports.get_mut(number as usize).and_then(Option::as_mut) else { return false };
        for &setting in settings {
            match setting {
                Setting::Isolated(isolated) => port.isolated = isolated,
                other => port.line.shape.apply(other),
            }
        }
        true
    }

    /// Changes the settings of ports to come.
    pub fn set_defaults(&mut self, settings: &[Setting]) {
        for &setting in settings {
            let kind = std::mem::discriminant(&setting);
            self.defaults.retain(|old| std::mem::discriminant(old) != kind);
            self.defaults.push(setting);
        }
    }

    /// Control connections of clients found dead since the last call.
    pub fn take_dead(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.dead)
    }

    /// Ports for which [`Own::asked`] has changed since the last call.
    pub fn take_asks(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.asks)
    }

    /// Reads what waits at a port's own socket and carries it. Returns how many datagrams came.
    pub fn receive_from(&mut self, number: u32, batch: &mut RecvBatch, now: Duration, log: &Log) -> usize {
        batch.clear();
        let Some(Some(port)) = self.ports.get(number as usize) else { return 0 };
        let Some(own) = &port.own else { return 0 };
        // The socket hears its peer alone, as long as it has one.
        let strict = !own.connected;
        let socket = own.socket.as_fd();
        let mut recv = || if strict { batch.recv(socket) } else { batch.recv_from_peer(socket) };
        // An error of the peer's is told once, and says nothing about what waits.
        let got = recv().or_else(|e| if e.kind() == io::ErrorKind::WouldBlock { Err(e) } else { recv() });
        if got.is_err() {
            return 0;
        }
        self.held_for = None;
        let got = self.carry(batch, Some(number), strict, now, log);
        if let Some(other) = self.held_for
            && let Some(serial) = self.port(other).filter(|port| port.is_full(now)).map(|port| port.serial)
            && let Some(Some(port)) = self.ports.get_mut(number as usize)
        {
            port.waits = Some(Wait { number: other, serial, since: now });
            self.stats.pauses += 1;
        }
        got
    }

    /// Whether the client of a port is not to be listened to now.
    pub fn is_paused(&mut self, number: u32, now: Duration) -> bool {
        let Some(wait) = self.port(number).and_then(|port| port.waits) else { return false };
        let other = self.ports.get_mut(wait.number as usize).and_then(Option::as_mut);
        if let Some(other) =
            other.filter(|other| other.serial == wait.serial && other.backlog.len() >= AHEAD / 2)
        {
            if now.saturating_sub(wait.since) < PAUSE_MAX && now >= other.slow_until {
                return true;
            }
            other.slow_until = other.slow_until.max(now + PAUSE_NOT);
        }
        if let Some(Some(port)) = self.ports.get_mut(number as usize) {
            port.waits = None;
        }
        false
    }

    /// Reads what waits at the shared data socket and carries it. Returns how many datagrams came.
    ///
    /// # Errors
    /// Of recvmmsg(2), `WouldBlock` among them.
    pub fn receive_shared(&mut self, batch: &mut RecvBatch, now: Duration, log: &Log) -> io::Result<usize> {
        batch.clear();
        batch.recv(self.data.as_fd())?;
        Ok(self.carry(batch, None, true, now, log))
    }

    /// Carries datagrams that came through the socket of port `own`, or the shared one.
    fn carry(
        &mut self,
        batch: &RecvBatch,
        own: Option<u32>,
        strict: bool,
        now: Duration,
        log: &Log,
    ) -> usize {
        let mut frames: [&[u8]; BATCH] = [&[]; BATCH];
        for (i, slot) in frames.iter_mut().enumerate().take(batch.len()) {
            let (frame, from, cut) = batch.get(i);
            *slot = frame;
            let sender =
                if strict { self.sender(from).filter(|&n| own.is_none_or(|own| own == n)) } else { own };
            match sender {
                None => self.stats.strangers += 1,
                Some(_) if cut => self.stats.long += 1,
                Some(port) => self.route(i, frame, port, now, log),
            }
        }
        self.flush(&frames, now);
        batch.len()
    }

    /// Carries a frame from the tap device.
    pub fn receive_tap(&mut self, frame: &[u8], now: Duration, log: &Log) {
        let tap = self.ports().find(|(_, port)| matches!(port.link, Link::Tap)).map(|(number, _)| number);
        if let Some(number) = tap {
            self.route(0, frame, number, now, log);
            self.flush(&[frame], now);
        }
    }

    /// The port a datagram came from: of several with this address the newest.
    fn sender(&mut self, from: &Addr) -> Option<u32> {
        if let Some((addr, port)) = &self.last_sender
            && addr.as_bytes() == from.as_bytes()
        {
            return Some(*port);
        }
        let port = *self.by_addr.get(from.as_bytes())?.last()?;
        self.last_sender = Some((*from, port));
        Some(port)
    }

    /// Finds where frame number `index` goes and notes it for [`flush`](Self::flush).
    fn route(&mut self, index: usize, frame: &[u8], from: u32, now: Duration, log: &Log) {
        let Some((to, source)) = frame::addresses(frame) else {
            self.stats.short += 1;
            return;
        };
        self.stats.frames += 1;
        self.stats.bytes += frame.len() as u64;
        let Some(Some(port)) = self.ports.get_mut(from as usize) else { return };
        port.counters.in_frames += 1;
        port.counters.in_bytes += frame.len() as u64;
        let isolated = port.isolated;
        self.record(frame, log);
        self.learn(source, from, now, log);
        let known = if self.hub || to.is_group() { None } else { self.table.lookup(to, now) };
        match known {
            Some(port) if port == from => self.stats.local += 1,
            Some(port) => self.offer(index, frame, port, isolated, now),
            None => {
                self.stats.flooded += 1;
                for number in 1..u32::try_from(self.ports.len()).unwrap_or(u32::MAX) {
                    if number != from && !self.same_client(number, from) {
                        self.offer(index, frame, number, isolated, now);
                    }
                }
            }
        }
    }

    fn learn(&mut self, source: Mac, from: u32, now: Duration, log: &Log) {
        let moved = match self.table.learn(source, from, now) {
            Learned::Known | Learned::Ignored => return,
            Learned::New => None,
            Learned::Moved(old) => Some(old),
        };
        if self.lines_left > 0 {
            self.lines_left -= 1;
            match moved {
                None => log.say(format!(" Addr: {source} New port {from}")),
                Some(old) => log.say(format!(" Addr: {source} New port {from} old port {old}")),
            }
        }
    }

    fn record(&mut self, frame: &[u8], log: &Log) {
        if let Some(capture) = &mut self.capture
            && let Err(e) = capture.record(frame)
        {
            log.warn(format!("capture ends: {e}"));
            self.capture = None;
        }
    }

    /// Whether both ports have one data address: frames must not come back to it.
    fn same_client(&self, a: u32, b: u32) -> bool {
        let addr = |n: u32| match self.port(n).map(|p| &p.link) {
            Some(Link::Client { addr, .. }) => Some(addr),
            _ => None,
        };
        matches!((addr(a), addr(b)), (Some(a), Some(b)) if a.as_bytes() == b.as_bytes())
    }

    /// What is to be done every second or two: ageing, and writing out the capture.
    pub fn sweep(&mut self, now: Duration, log: &Log) {
        self.table.sweep(now);
        self.lines_left = STATION_LINES;
        if let Some(Err(e)) = self.capture.as_mut().map(Capture::flush) {
            log.warn(format!("capture ends: {e}"));
            self.capture = None;
        }
    }
}
