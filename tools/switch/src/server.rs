//! The one loop of the switch: frames, timers, signals, and ([`connections`]) who asks for ports and commands.
//!
//! Frames have the fast way: while they come, the sockets they come through are read again and again without asking
//! epoll(7), which is consulted every [`ROUNDS`] rounds; and for a moment after the last frame the loop looks again
//! instead of sleeping, because waking a sleeping processor takes longer than carrying fifty frames.

mod connections;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use host_linux::dgram::{BATCH, RecvBatch};
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use switchproto::SockAddr;

use self::connections::Connection;
use crate::fabric::{FRAME_MAX, Fabric};
use crate::log::Log;
use crate::seat::Seat;

/// Rounds on the fast way between two looks at everything else.
const ROUNDS: u32 = 16;

/// When yielding the processor takes longer than this, which no client needs for the frames that fit into its queue,
/// others are waiting for it: looking for frames would only use up our share, and a sleeper is woken sooner than a
/// yielder gets its next turn.
const CROWDED: Duration = Duration::from_millis(3);

/// How long to sleep between frames, instead of looking for them, once that was seen.
const CROWDED_FOR: Duration = Duration::from_millis(20);

/// No sleep is short enough to try again after less than this.
const SOON: Duration = Duration::from_micros(40);

/// Between two sweeps of the MAC table and the waiting connections.
const SWEEP: Duration = Duration::from_secs(2);

/// Frames taken from the tap device before others get their turn.
const TAP_FRAMES: usize = 64;

const CONTROL: u64 = 0;
const DATA: u64 = 1;
const MANAGE: u64 = 2;
const SIGNALS: u64 = 3;
const STDIN: u64 = 4;
const TAP: u64 = 5;
const FIRST_CONNECTION: u64 = 16;
/// Set in the token of a port's own data socket; the rest is the port's number.
const OWN: u64 = 1 << 63;

/// Everything the loop works on.
pub struct Server {
    /// The switch.
    pub fabric: Fabric,
    /// Its messages.
    pub log: Log,
    epoll: rustix::fd::OwnedFd,
    control: UnixListener,
    manage: Option<UnixListener>,
    /// Address of the data socket, as clients get it.
    reply: SockAddr,
    connections: HashMap<u64, Connection>,
    next: u64,
    /// Given up for a moment to turn a client away when descriptors run out.
    spare: Option<File>,
    start: Instant,
    busy_poll: Duration,
    /// Until then others need the processor more than we need to look for frames.
    sleep_until: Duration,
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// This signal came.
    Signal(i32),
    /// The terminal is gone.
    Stdin,
}

/// What makes up a server.
pub struct Parts {
    /// The switch.
    pub fabric: Fabric,
    /// Its messages.
    pub log: Log,
    /// Where clients ask for ports.
    pub control: UnixListener,
    /// Where commands come in.
    pub manage: Option<UnixListener>,
    /// Address of the data socket.
    pub reply: SockAddr,
    /// How long to look for frames before sleeping.
    pub busy_poll: Duration,
}

impl Server {
    /// Gets everything ready for [`run`](Self::run).
    ///
    /// # Errors
    /// Of epoll_create(2) and epoll_ctl(2).
    pub fn new(parts: Parts) -> io::Result<Server> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let server = Server {
            fabric: parts.fabric,
            log: parts.log,
            epoll,
            control: parts.control,
            manage: parts.manage,
            reply: parts.reply,
            connections: HashMap::new(),
            next: FIRST_CONNECTION,
            spare: File::open("/dev/null").ok(),
            start: Instant::now(),
            busy_poll: parts.busy_poll,
            sleep_until: Duration::ZERO,
        };
        server.watch(server.control.as_fd(), CONTROL, EventFlags::IN)?;
        server.watch(server.fabric.data().as_fd(), DATA, EventFlags::IN)?;
        if let Some(listener) = &server.manage {
            server.watch(listener.as_fd(), MANAGE, EventFlags::IN)?;
        }
        if let Some(tap) = server.fabric.tap() {
            server.watch(tap.as_fd(), TAP, EventFlags::IN)?;
        }
        Ok(server)
    }

    fn watch(&self, fd: BorrowedFd<'_>, token: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), flags)?)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Switches until a signal comes through `signals`, or the end of standard input if that is a terminal.
    ///
    /// # Errors
    /// When epoll(7) fails.
    pub fn run(&mut self, signals: &nix::sys::signalfd::SignalFd) -> io::Result<End> {
        self.watch(signals.as_fd(), SIGNALS, EventFlags::IN)?;
        if rustix::termios::isatty(io::stdin()) {
            // Edge-triggered: input that belongs to another job must not keep the loop awake.
            self.watch(io::stdin().as_fd(), STDIN, EventFlags::IN | EventFlags::ET)?;
        }
        let mut batch = RecvBatch::new(BATCH, FRAME_MAX);
        let mut events: Vec<Event> = Vec::with_capacity(64);
        // Ports with something to read. They are watched edge-triggered, so this must not be forgotten.
        let mut ready: Vec<u32> = Vec::new();
        let mut seat = Seat::default();
        let mut swept = self.now();
        let mut last_frame: Option<Duration> = None;
        loop {
            let now = self.now();
            seat.look(now);
            let waiting = ready.iter().any(|&port| !self.fabric.is_paused(port, now));
            let next = self.fabric.next_timer().unwrap_or(Duration::MAX);
            let soon = next.saturating_sub(now) <= SOON.min(self.busy_poll) && now >= self.sleep_until;
            let busy = soon || self.is_busy(last_frame, now);
            let sleep =
                if busy || waiting { Duration::ZERO } else { next.min(swept + SWEEP).saturating_sub(now) };
            let timeout = Timespec {
                tv_sec: i64::try_from(sleep.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: sleep.subsec_nanos().into(),
            };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let mut shared = false;
            for event in &events {
                let flags = event.flags;
                match event.data.u64() {
                    CONTROL => self.accept(false),
                    MANAGE => self.accept(true),
                    DATA => shared = true,
                    TAP => self.read_tap(),
                    SIGNALS => {
                        if let Ok(Some(info)) = signals.read_signal() {
                            return Ok(End::Signal(info.ssi_signo as i32));
                        }
                    }
                    STDIN => {
                        if self.terminal_is_gone() {
                            return Ok(End::Stdin);
                        }
                    }
                    token if token & OWN != 0 => {
                        let number = token as u32;
                        if flags.contains(EventFlags::OUT) {
                            self.fabric.try_again(number, now);
                        }
                        if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP)
                            && !ready.contains(&number)
                        {
                            ready.push(number);
                        }
                    }
                    id => self.serve(id, flags),
                }
            }
            if self.read_data(shared, &mut ready, &mut batch) {
                last_frame = Some(self.now());
            } else if events.is_empty() && busy {
                rustix::thread::sched_yield();
                let back = self.now();
                if back - now > CROWDED {
                    self.sleep_until = back + CROWDED_FOR;
                }
            }
            let now = self.now();
            self.fabric.run_timers(now);
            for number in self.fabric.take_asks() {
                self.watch_room(number);
            }
            for id in self.fabric.take_dead() {
                self.log.say("Nobody at a client's address, closing its port");
                self.close(id);
            }
            if now - swept >= SWEEP {
                swept = now;
                self.sweep(now);
            }
        }
    }

    /// Has the kernel tell when a client has room, or no longer.
    fn watch_room(&mut self, number: u32) {
        if let Some(own) = self.fabric.port(number).and_then(|port| port.own.as_ref()) {
            let out = if own.asked { EventFlags::OUT } else { EventFlags::empty() };
            let flags = EventFlags::IN | EventFlags::ET | out;
            let token = EventData::new_u64(OWN | u64::from(number));
            // Timers try again anyway.
            let _ = epoll::modify(&self.epoll, &own.socket, token, flags);
        }
    }

    /// Reads the data sockets in turn until they are empty, or others want to be looked at. Tells whether anything
    /// came.
    fn read_data(&mut self, mut shared: bool, ready: &mut Vec<u32>, batch: &mut RecvBatch) -> bool {
        let mut any = false;
        for _ in 0..ROUNDS {
            let now = self.now();
            self.fabric.run_timers(now);
            let mut more = false;
            if shared {
                match self.fabric.receive_shared(batch, now, &self.log) {
                    Ok(got) => {
                        any = true;
                        shared = got == BATCH;
                    }
                    Err(e) => {
                        shared = false;
                        if !is_for_later(&e) {
                            self.log.warn(format!("data socket: {e}"));
                        }
                    }
                }
            }
            ready.retain(|&port| {
                if self.fabric.is_paused(port, now) {
                    return true;
                }
                let got = self.fabric.receive_from(port, batch, now, &self.log);
                any |= got > 0;
                more |= got == BATCH;
                got == BATCH
            });
            if !shared && !more {
                break;
            }
        }
        any
    }

    fn is_busy(&self, last_frame: Option<Duration>, now: Duration) -> bool {
        now >= self.sleep_until && last_frame.is_some_and(|last| now.saturating_sub(last) < self.busy_poll)
    }

    fn sweep(&mut self, now: Duration) {
        self.fabric.sweep(now, &self.log);
        self.close_silent(now);
        if self.spare.is_none() {
            self.spare = File::open("/dev/null").ok();
        }
    }

    fn read_tap(&mut self) {
        let mut frame = [0; FRAME_MAX];
        for _ in 0..TAP_FRAMES {
            let Some(tap) = self.fabric.tap() else { return };
            match rustix::io::read(tap, &mut frame) {
                Ok(0) => return,
                Ok(len) => {
                    let now = self.now();
                    self.fabric.receive_tap(&frame[..len], now, &self.log);
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                Err(e) => {
                    self.log.warn(format!("tap device: {e}; it is left out from now on"));
                    let _ = epoll::delete(&self.epoll, tap);
                    return;
                }
            }
        }
    }

    fn terminal_is_gone(&self) -> bool {
        let mut bytes = [0; 256];
        match rustix::io::read(io::stdin(), &mut bytes) {
            Ok(n) => n == 0,
            // EIO: this is a background job, or the terminal hung up; the latter also sends SIGHUP.
            Err(_) => false,
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
