//! The switch itself: ports, the MAC table, and the way of a frame from one port to others.
//!
//! Frames come in batches ([`Fabric::receive`]); for each the receiving ports are found ([`Fabric::route`]), then
//! all deliveries of the batch go out together ([`Fabric::flush`]). A client whose queue is full gets a bounded
//! backlog, which timers try to deliver; nothing here waits.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::Duration;

use host_linux::dgram::{Addr, BATCH, RecvBatch, send_batch};
use host_linux::tap::Tap;
use switchproto::frame::{self, Mac};
use switchproto::shape::{Fate, Setting};
use switchproto::table::{Learned, MacTable};

use crate::capture::Capture;
use crate::log::Log;
use crate::port::{BACKLOG_MAX, Link, OWN_AFTER, Port, REFUSED, RETRY_MAX, RETRY_MIN, STUCK};

/// Longest frame carried: jumbo frames with a VLAN tag. Longer ones are dropped.
pub const FRAME_MAX: usize = 9022;

/// Frames carried together at most.
pub const COLLECT: usize = 256;

/// Bytes of frames held back in all, in backlogs and on slow lines.
const HELD_MAX: usize = 64 << 20;

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
    dead: Vec<u64>,
    random: u64,
    lines_left: u32,
    own_count: usize,
    own_max: usize,
}

impl Fabric {
    /// A switch (or hub) without ports that sends through `data` and, for up to `own_max` ports, through more
    /// sockets.
    pub fn new(data: UnixDatagram, hub: bool, capture: Option<Capture>, seed: u64, own_max: usize) -> Fabric {
        Fabric {
            ports: vec![None],
            by_addr: HashMap::new(),
            last_sender: None,
            table: MacTable::default(),
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
            dead: Vec::new(),
            random: seed | 1,
            lines_left: STATION_LINES,
            own_count: 0,
            own_max,
        }
    }

    /// The socket frames come in through.
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

    /// Makes a client a port: its data address and its control connection. `wanted` is the number it would like,
    /// 0 for any. Returns the number it got.
    pub fn add_client(&mut self, addr: Addr, connection: u64, wanted: u32) -> u32 {
        let number = self.add(Link::Client { addr, connection }, wanted);
        self.by_addr.entry(addr.as_bytes().into()).or_default().push(number);
        self.last_sender = None;
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

    /// Carries a batch of datagrams that came from clients.
    pub fn receive(&mut self, batch: &RecvBatch, now: Duration, log: &Log) {
        let mut frames: [&[u8]; COLLECT] = [&[]; COLLECT];
        for (i, slot) in frames.iter_mut().enumerate().take(batch.len()) {
            let (frame, from, cut) = batch.get(i);
            *slot = frame;
            match self.sender(from) {
                None => self.stats.strangers += 1,
                Some(_) if cut => self.stats.long += 1,
                Some(port) => self.route(i, frame, port, now, log),
            }
        }
        self.flush(&frames, now);
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

    /// Puts a frame on the line to a port: for delivery now, or later, or never.
    fn offer(&mut self, index: usize, frame: &[u8], number: u32, isolated: bool, now: Duration) {
        let random = self.next_random();
        let Some(Some(port)) = self.ports.get_mut(number as usize) else { return };
        if isolated && port.isolated {
            return;
        }
        if !port.line.is_idle(now) {
            match port.line.send(now, frame.len(), random) {
                Fate::Lost => {
                    port.counters.lost += 1;
                    return;
                }
                Fate::Overrun => {
                    port.counters.overrun += 1;
                    return;
                }
                Fate::Deliver(at) if at > now => {
                    if self.held + frame.len() > HELD_MAX {
                        port.counters.full += 1;
                        return;
                    }
                    let serial = port.serial;
                    self.held += frame.len();
                    self.schedule(at, number, serial, Some(frame.into()));
                    return;
                }
                Fate::Deliver(_) => {}
            }
        }
        if port.is_blocked() {
            self.hold(number, frame, now);
        } else {
            self.pending.push((index, number));
        }
    }

    /// Delivers what [`route`](Self::route) noted about `frames`.
    fn flush(&mut self, frames: &[&[u8]], now: Duration) {
        let mut pending = std::mem::take(&mut self.pending);
        let mut at = 0;
        while let Some(&(index, number)) = pending.get(at) {
            let Some(Some(port)) = self.ports.get(number as usize) else {
                at += 1;
                continue;
            };
            if matches!(port.link, Link::Tap) {
                self.write_tap(number, frames[index]);
                at += 1;
                continue;
            }
            if port.is_blocked() {
                self.hold(number, frames[index], now);
                at += 1;
                continue;
            }
            let own = port.own.as_ref().filter(|_| port.via_own);
            let mut batch: [(&[u8], &Addr); BATCH] = [(&[], &Addr::UNNAMED); BATCH];
            let mut count = 0;
            for (slot, &(index, other)) in batch.iter_mut().zip(&pending[at..]) {
                match self.ports.get(other as usize).and_then(Option::as_ref) {
                    Some(port)
                        if !port.is_blocked() && (other == number || !(port.via_own || own.is_some())) =>
                    {
                        match &port.link {
                            Link::Client { addr, .. } => *slot = (frames[index], addr),
                            Link::Tap => break,
                        }
                    }
                    _ => break,
                }
                count += 1;
            }
            match send_batch(own.unwrap_or(&self.data).as_fd(), &batch[..count]) {
                Ok(sent) => {
                    for &(index, number) in &pending[at..at + sent] {
                        self.delivered(number, frames[index].len());
                    }
                    at += sent.max(1);
                }
                Err(e) => {
                    self.failed(number, frames[index], &e, now);
                    at += 1;
                }
            }
        }
        pending.clear();
        self.pending = pending;
    }

    fn delivered(&mut self, number: u32, len: usize) {
        if let Some(Some(port)) = self.ports.get_mut(number as usize) {
            port.counters.out_frames += 1;
            port.counters.out_bytes += len as u64;
            port.refused = None;
        }
    }

    /// Deals with a frame the kernel did not take.
    fn failed(&mut self, number: u32, frame: &[u8], error: &io::Error, now: Duration) {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.hold(number, frame, now);
            return;
        }
        let Some(Some(port)) = self.ports.get_mut(number as usize) else { return };
        port.counters.errors += 1;
        if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
            let since = *port.refused.get_or_insert(now);
            if now.saturating_sub(since) >= REFUSED
                && let Link::Client { connection, .. } = port.link
            {
                self.dead.push(connection);
            }
        }
    }

    /// Keeps a frame until the client has room.
    fn hold(&mut self, number: u32, frame: &[u8], now: Duration) {
        let room = self.held + frame.len() <= HELD_MAX;
        let Some(Some(port)) = self.ports.get_mut(number as usize) else { return };
        if !room || port.backlog.len() >= BACKLOG_MAX {
            port.counters.full += 1;
            return;
        }
        let first = !port.is_blocked();
        port.backlog.push_back(frame.into());
        self.held += frame.len();
        if first {
            port.retry = RETRY_MIN;
            port.stuck = None;
            let serial = port.serial;
            self.schedule(now + RETRY_MIN, number, serial, None);
        }
    }

    /// Tries to deliver a port's backlog.
    fn retry(&mut self, number: u32, now: Duration) {
        let Some(Some(port)) = self.ports.get_mut(number as usize) else { return };
        let Link::Client { addr, .. } = &port.link else { return };
        let mut batch: [(&[u8], &Addr); BATCH] = [(&[], addr); BATCH];
        let count = port.backlog.len().min(BATCH);
        for (slot, frame) in batch.iter_mut().zip(&port.backlog) {
            slot.0 = frame;
        }
        let own = port.own.as_ref().filter(|_| port.via_own);
        let mut result = send_batch(own.unwrap_or(&self.data).as_fd(), &batch[..count]);
        let blocked = matches!(&result, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        if blocked && own.is_none() && port.retry >= OWN_AFTER && !port.own_refused {
            if port.own.is_none() && self.own_count < self.own_max {
                port.own = UnixDatagram::unbound().ok();
                self.own_count += usize::from(port.own.is_some());
            }
            if let Some(own) = &port.own {
                match send_batch(own.as_fd(), &batch[..count]) {
                    Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                        port.own_refused = true;
                        self.own_count -= 1;
                        port.own = None;
                    }
                    other => {
                        port.via_own = other.is_ok();
                        result = other;
                    }
                }
            }
        }
        match result {
            Ok(sent) => {
                for frame in port.backlog.drain(..sent) {
                    self.held -= frame.len();
                    port.counters.out_frames += 1;
                    port.counters.out_bytes += frame.len() as u64;
                }
                port.retry = RETRY_MIN;
                port.stuck = None;
                port.refused = None;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                port.retry = (port.retry * 2).min(RETRY_MAX);
                let since = *port.stuck.get_or_insert(now);
                if now.saturating_sub(since) > STUCK {
                    port.counters.full += port.backlog.len() as u64;
                    self.held -= port.backlog.drain(..).map(|f| f.len()).sum::<usize>();
                }
            }
            Err(e) => {
                if let Some(frame) = port.backlog.pop_front() {
                    self.held -= frame.len();
                    self.failed(number, &frame, &e, now);
                }
            }
        }
        if let Some(Some(port)) = self.ports.get(number as usize)
            && port.is_blocked()
        {
            let (at, serial) = (now + port.retry, port.serial);
            self.schedule(at, number, serial, None);
        }
    }

    fn write_tap(&mut self, number: u32, frame: &[u8]) {
        let Some(tap) = &self.tap else { return };
        let written = rustix::io::write(tap, frame);
        if let Some(Some(port)) = self.ports.get_mut(number as usize) {
            match written {
                Ok(_) => {
                    port.counters.out_frames += 1;
                    port.counters.out_bytes += frame.len() as u64;
                }
                Err(rustix::io::Errno::AGAIN) => port.counters.full += 1,
                Err(_) => port.counters.errors += 1,
            }
        }
    }

    fn schedule(&mut self, at: Duration, port: u32, serial: u64, frame: Option<Rc<[u8]>>) {
        self.order += 1;
        self.timers.push(Reverse(Timer { at, order: self.order, port, serial, frame }));
    }

    /// When [`run_timers`](Self::run_timers) has something to do next.
    pub fn next_timer(&self) -> Option<Duration> {
        self.timers.peek().map(|Reverse(timer)| timer.at)
    }

    /// Delivers what has travelled long enough and tries backlogs again.
    pub fn run_timers(&mut self, now: Duration) {
        while self.next_timer().is_some_and(|at| at <= now) {
            let Some(Reverse(timer)) = self.timers.pop() else { return };
            if let Some(frame) = &timer.frame {
                self.held -= frame.len();
            }
            let live = self.port(timer.port).filter(|port| port.serial == timer.serial);
            match (live, timer.frame) {
                (None, _) => {}
                (Some(_), None) => self.retry(timer.port, now),
                (Some(port), Some(frame)) if port.is_blocked() => self.hold(timer.port, &frame, now),
                (Some(_), Some(frame)) => {
                    self.pending.push((0, timer.port));
                    self.flush(&[&frame], now);
                }
            }
        }
    }

    /// What is to be done every second or two: ageing, and writing out the capture.
    pub fn sweep(&mut self, now: Duration, log: &Log) {
        self.table.sweep(now);
        self.lines_left = STATION_LINES;
        for port in self.ports.iter_mut().flatten().filter(|port| !port.is_blocked()) {
            port.via_own = false;
            self.own_count -= usize::from(port.own.take().is_some());
        }
        if let Some(Err(e)) = self.capture.as_mut().map(Capture::flush) {
            log.warn(format!("capture ends: {e}"));
            self.capture = None;
        }
    }

    /// xorshift64*: loss and jitter need no better.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
