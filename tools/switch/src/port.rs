//! A port: one client, or the tap device.

use std::collections::VecDeque;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::Duration;

use host_linux::dgram::Addr;
use switchproto::SockAddr;
use switchproto::shape::Line;

/// Frames that may wait for a client whose queue is full.
pub const BACKLOG_MAX: usize = 1024;

/// Shortest and longest time between two tries to deliver a backlog.
pub const RETRY_MIN: Duration = Duration::from_micros(10);
/// See [`RETRY_MIN`].
pub const RETRY_MAX: Duration = Duration::from_millis(10);

/// Tries before the time between them grows: who is awake makes room within that.
pub const RETRY_SOON: u32 = 8;

/// Frames held back for one client from which on whoever sends it more is not listened to. Until then they are read
/// in advance: while one client has the processor and sends, another that shares it cannot read, and the other way round.
pub const AHEAD: usize = 256;

/// A client that takes nothing for so long loses its backlog.
pub const STUCK: Duration = Duration::from_secs(1);

/// A client whose data socket is gone for so long is dead.
pub const REFUSED: Duration = Duration::from_secs(5);

/// Longest time a client is not listened to because another, for whom it has frames, does not take its own.
pub const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Nobody waits for a client that did not take its frames in that time for so long.
pub const PAUSE_NOT: Duration = Duration::from_millis(200);

/// What a port counts. "In" is what the switch got from the client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// Frames from the client.
    pub in_frames: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Frames delivered to it.
    pub out_frames: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Frames dropped because the client did not take them.
    pub full: u64,
    /// Frames lost on purpose.
    pub lost: u64,
    /// Frames dropped by the rate limit.
    pub overrun: u64,
    /// Frames that could not be delivered for another reason.
    pub errors: u64,
}

/// What is behind a port.
#[derive(Debug)]
pub enum Link {
    /// The tap device.
    Tap,
    /// A client: its data socket, and the control connection that keeps the port open.
    Client {
        /// Where its frames go.
        addr: Addr,
        /// The control connection.
        connection: u64,
    },
}

/// A data socket of one port alone, connected to the client's.
///
/// Unread frames are charged to the socket they came through, so a client that reads nothing harms nobody else; the
/// kernel need not search for the receiver's name; and what comes in needs no sender's name, as the kernel lets
/// nobody but the peer send.
#[derive(Debug)]
pub struct Own {
    /// The socket.
    pub socket: UnixDatagram,
    /// The client's address.
    pub client: SockAddr,
    /// Whether the kernel is to tell when the client has room.
    pub asked: bool,
    /// Whether it is connected still: the end of the client's socket ends that.
    pub connected: bool,
}

/// A pause in listening to a client.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// The port that is waited for.
    pub number: u32,
    /// Its serial.
    pub serial: u64,
    /// Since when.
    pub since: Duration,
}

/// A port of the switch.
#[derive(Debug)]
pub struct Port {
    /// Tells this port from others that had its number before.
    pub serial: u64,
    /// What is behind it.
    pub link: Link,
    /// Whether it reaches only ports that are not isolated.
    pub isolated: bool,
    /// The line to the client.
    pub line: Line,
    /// What waits because the client's queue is full.
    pub backlog: VecDeque<Rc<[u8]>>,
    /// Whether a timer runs for the next try.
    pub timer: bool,
    /// Tries since the client last took a frame.
    pub tries: u32,
    /// Time to the next try.
    pub retry: Duration,
    /// The socket to the client; without one its frames go through the data socket all such ports share.
    pub own: Option<Own>,
    /// The port whose backlog has to go before this one's client is listened to again.
    pub waits: Option<Wait>,
    /// Until then nobody waits for this port: it has had its time.
    pub slow_until: Duration,
    /// Since when the backlog does not move.
    pub stuck: Option<Duration>,
    /// Since when nobody is at the client's address.
    pub refused: Option<Duration>,
    /// What went through.
    pub counters: Counters,
}

impl Port {
    /// A new port.
    pub fn new(serial: u64, link: Link) -> Port {
        Port {
            serial,
            link,
            isolated: false,
            line: Line::default(),
            backlog: VecDeque::new(),
            timer: false,
            tries: 0,
            retry: RETRY_MIN,
            own: None,
            waits: None,
            slow_until: Duration::ZERO,
            stuck: None,
            refused: None,
            counters: Counters::default(),
        }
    }

    /// The client has taken frames, or has to take the first: begin with the shortest time between tries. Where the
    /// kernel tells of room, trying is for the case that it does not.
    pub fn moved(&mut self) {
        self.tries = 0;
        self.retry = if self.own.as_ref().is_some_and(|own| own.connected) { RETRY_MAX } else { RETRY_MIN };
    }

    /// Whether who sends this client more must wait.
    pub fn is_full(&self, now: Duration) -> bool {
        self.backlog.len() >= AHEAD && now >= self.slow_until
    }

    /// Whether frames must queue behind others.
    pub fn is_blocked(&self) -> bool {
        !self.backlog.is_empty()
    }
}
