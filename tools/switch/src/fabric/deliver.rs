//! The last part of a frame's way: onto the line to a port, into the client's queue, or into the port's backlog.

use std::cmp::Reverse;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use host_linux::dgram::{Addr, BATCH, send_batch};
use switchproto::shape::Fate;

use super::{Fabric, Timer};
use crate::port::{BACKLOG_MAX, Link, Port, REFUSED, RETRY_MAX, RETRY_SOON, STUCK};
use crate::sockets;

/// Bytes of frames held back in all, in backlogs and on slow lines.
const HELD_MAX: usize = 64 << 20;

impl Fabric {
    /// Puts a frame on the line to a port: for delivery now, or later, or never.
    pub(super) fn offer(&mut self, index: usize, frame: &[u8], number: u32, isolated: bool, now: Duration) {
        let Some(Some(port)) = self.ports.get_mut(number as usize) else { return };
        if isolated && port.isolated {
            return;
        }
        if !port.line.is_idle(now) {
            let random = next_random(&mut self.random);
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
    pub(super) fn flush(&mut self, frames: &[&[u8]], now: Duration) {
        let mut pending = std::mem::take(&mut self.pending);
        // What goes to one port goes out together. The order of a port's frames stays, as the sort is stable.
        pending.sort_by_key(|&(_, number)| number);
        let mut at = 0;
        while let Some(&(index, number)) = pending.get(at) {
            at += match self.ports.get(number as usize) {
                Some(Some(port)) if port.is_blocked() => {
                    self.hold(number, frames[index], now);
                    1
                }
                Some(Some(Port { link: Link::Tap, .. })) => {
                    self.write_tap(number, frames[index]);
                    1
                }
                Some(Some(port)) => {
                    let (sent, failure) = self.send_some(port, &pending[at..], frames);
                    for &(index, number) in &pending[at..at + sent] {
                        self.delivered(number, frames[index].len());
                    }
                    match (failure, pending.get(at + sent)) {
                        (Some(e), Some(&(index, number))) => {
                            self.failed(number, frames[index], &e, now);
                            sent + 1
                        }
                        _ => sent.max(1),
                    }
                }
                _ => 1,
            };
        }
        pending.clear();
        self.pending = pending;
    }

    /// Sends the first of `pending` that are for `port`, or for others that share its socket. Tells how many went out,
    /// and why the next did not.
    fn send_some(
        &self,
        port: &Port,
        pending: &[(usize, u32)],
        frames: &[&[u8]],
    ) -> (usize, Option<io::Error>) {
        let first = pending.first().map(|&(_, number)| number);
        let mut batch: [(&[u8], &Addr); BATCH] = [(&[], &Addr::UNNAMED); BATCH];
        let mut count = 0;
        let own = port.own.as_ref().filter(|own| own.connected);
        for (slot, &(index, number)) in batch.iter_mut().zip(pending) {
            if own.is_some() {
                if Some(number) != first {
                    break;
                }
                slot.0 = frames[index];
            } else {
                let sharing =
                    |port: &&Port| !port.is_blocked() && !port.own.as_ref().is_some_and(|o| o.connected);
                let Some(Link::Client { addr, .. }) = self.port(number).filter(sharing).map(|p| &p.link)
                else {
                    break;
                };
                *slot = (frames[index], addr);
            }
            count += 1;
        }
        let socket = own.map_or(self.data.as_fd(), |own| own.socket.as_fd());
        match send_batch(socket, &batch[..count]) {
            Ok(sent) => (sent, None),
            Err(e) => (0, Some(e)),
        }
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
        if let Some(own) = &mut port.own
            && own.connected
        {
            // The client's socket is gone. If it has a new one of that name, the frames go there from now on.
            own.connected = sockets::connect(&own.socket, &own.client).is_ok();
        }
        port.counters.errors += 1;
        let gone = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound, io::ErrorKind::NotConnected];
        if gone.contains(&error.kind()) {
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
        self.held_for = Some(number);
        let Some(Some(port)) = self.ports.get_mut(number as usize) else { return };
        if !room || port.backlog.len() >= BACKLOG_MAX {
            port.counters.full += 1;
            return;
        }
        let first = !port.is_blocked();
        port.backlog.push_back(frame.into());
        self.held += frame.len();
        if first {
            port.moved();
            port.stuck = None;
            if let Some(own) = port.own.as_mut().filter(|own| own.connected && !own.asked) {
                own.asked = true;
                self.asks.push(number);
            }
            if !std::mem::replace(&mut port.timer, true) {
                let (at, serial) = (now + port.retry, port.serial);
                self.schedule(at, number, serial, None);
            }
        }
    }

    /// Tries to deliver a port's backlog, and sees that it is tried again if need be.
    fn retry(&mut self, number: u32, now: Duration) {
        self.try_again(number, now);
        if let Some(Some(port)) = self.ports.get_mut(number as usize)
            && port.is_blocked()
        {
            port.timer = true;
            let (at, serial) = (now + port.retry, port.serial);
            self.schedule(at, number, serial, None);
        }
    }

    /// Tries to deliver a port's backlog: when its time has come, or the kernel says that there is room.
    pub fn try_again(&mut self, number: u32, now: Duration) {
        let Some(Some(port)) = self.ports.get_mut(number as usize) else { return };
        let Link::Client { addr, .. } = &port.link else { return };
        if !port.is_blocked() {
            // Told once too often: a client that reads what it has got tells so, too.
            if let Some(own) = port.own.as_mut().filter(|own| own.asked) {
                own.asked = false;
                self.asks.push(number);
            }
            return;
        }
        let mut batch: [(&[u8], &Addr); BATCH] = [(&[], addr); BATCH];
        let count = port.backlog.len().min(BATCH);
        for (slot, frame) in batch.iter_mut().zip(&port.backlog) {
            slot.0 = frame;
        }
        let own = port.own.as_ref().filter(|own| own.connected);
        if own.is_some() {
            batch.iter_mut().for_each(|slot| slot.1 = &Addr::UNNAMED);
        }
        let result = send_batch(own.map_or(self.data.as_fd(), |own| own.socket.as_fd()), &batch[..count]);
        match result {
            Ok(sent) => {
                for frame in port.backlog.drain(..sent) {
                    self.held -= frame.len();
                    port.counters.out_frames += 1;
                    port.counters.out_bytes += frame.len() as u64;
                }
                port.moved();
                port.stuck = None;
                port.refused = None;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                port.tries += 1;
                if port.tries > RETRY_SOON {
                    port.retry = (port.retry * 2).min(RETRY_MAX);
                }
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
                (Some(_), None) => {
                    if let Some(Some(port)) = self.ports.get_mut(timer.port as usize) {
                        port.timer = false;
                    }
                    self.retry(timer.port, now);
                }
                (Some(port), Some(frame)) if port.is_blocked() => self.hold(timer.port, &frame, now),
                (Some(_), Some(frame)) => {
                    self.pending.push((0, timer.port));
                    self.flush(&[&frame], now);
                }
            }
        }
    }
}

/// xorshift64*: loss and jitter need no better.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}
