//! Socket options (socket(7), unix(7)).

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use abi::{
    Errno,
    cap::CAP_NET_ADMIN,
    errno::{EDOM, EINVAL, ENODATA, ENOPROTOOPT, ENOTCONN, EOPNOTSUPP, EPERM},
    net::{
        AF_UNIX, Linger, SO_ACCEPTCONN, SO_BROADCAST, SO_DEBUG, SO_DOMAIN, SO_DONTROUTE, SO_ERROR,
        SO_KEEPALIVE, SO_LINGER, SO_MARK, SO_OOBINLINE, SO_PASSCRED, SO_PEEK_OFF, SO_PEERCRED, SO_PEERGROUPS,
        SO_PEERNAME, SO_PRIORITY, SO_PROTOCOL, SO_RCVBUF, SO_RCVBUFFORCE, SO_RCVLOWAT, SO_RCVTIMEO,
        SO_REUSEADDR, SO_REUSEPORT, SO_SNDBUF, SO_SNDBUFFORCE, SO_SNDLOWAT, SO_SNDTIMEO, SO_TIMESTAMP,
        SO_TIMESTAMPNS, SO_TYPE, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET,
    },
};
use kernel::{Result, net::SocketOps, task::Task};

use crate::socket::{DEFAULT_BUFFER, Kind, UnixSocket};

/// Largest buffer without privilege (net.core.wmem_max).
const MAX_BUFFER: u32 = 212_992;
/// Smallest buffers.
const MIN_SEND: u32 = 4608;
const MIN_RECEIVE: u32 = 2304;

/// What setsockopt(2) sets.
pub struct Options {
    passcred: AtomicBool,
    reuse_addr: AtomicBool,
    reuse_port: AtomicBool,
    keepalive: AtomicBool,
    broadcast: AtomicBool,
    dont_route: AtomicBool,
    /// The byte out of band is read with the others (SO_OOBINLINE).
    oob_inline: AtomicBool,
    debug: AtomicBool,
    timestamp: AtomicBool,
    priority: AtomicU32,
    receive_buffer: AtomicU32,
    low_water: AtomicU32,
    linger: AtomicU64,
    /// Nanoseconds, 0 for none.
    pub receive_timeout: AtomicU64,
    pub send_timeout: AtomicU64,
}

impl Default for Options {
    fn default() -> Self {
        let off = || AtomicBool::new(false);
        Options {
            passcred: off(),
            reuse_addr: off(),
            reuse_port: off(),
            keepalive: off(),
            broadcast: off(),
            dont_route: off(),
            oob_inline: off(),
            debug: off(),
            timestamp: off(),
            priority: AtomicU32::new(0),
            receive_buffer: AtomicU32::new(DEFAULT_BUFFER),
            low_water: AtomicU32::new(1),
            linger: AtomicU64::new(0),
            receive_timeout: AtomicU64::new(0),
            send_timeout: AtomicU64::new(0),
        }
    }
}

impl Options {
    pub fn oob_inline(&self) -> bool {
        self.oob_inline.load(Ordering::Relaxed)
    }
    pub fn passcred(&self) -> bool {
        self.passcred.load(Ordering::Relaxed)
    }
    /// What an accepted socket takes over from its listener.
    pub fn inherit(&self, listener: &Options) {
        self.passcred.store(listener.passcred(), Ordering::Relaxed);
    }
    fn flag(&self, name: i32) -> Option<&AtomicBool> {
        Some(match name {
            SO_PASSCRED => &self.passcred,
            SO_REUSEADDR => &self.reuse_addr,
            SO_REUSEPORT => &self.reuse_port,
            SO_KEEPALIVE => &self.keepalive,
            SO_BROADCAST => &self.broadcast,
            SO_DONTROUTE => &self.dont_route,
            SO_OOBINLINE => &self.oob_inline,
            SO_DEBUG => &self.debug,
            _ => return None,
        })
    }
}

fn int(v: u32) -> Vec<u8> {
    v.to_le_bytes().to_vec()
}

fn timeval(ns: u64) -> Vec<u8> {
    let mut out = (ns / 1_000_000_000).to_le_bytes().to_vec();
    out.extend_from_slice(&(ns % 1_000_000_000 / 1000).to_le_bytes());
    out
}

fn read_timeval(value: &[u8]) -> Result<u64> {
    let raw: &[u8; 16] = value.first_chunk().ok_or(EINVAL)?;
    let sec = abi::wire::get_i64(raw, 0);
    let usec = abi::wire::get_i64(raw, 8);
    if !(0..1_000_000).contains(&usec) {
        return Err(EDOM);
    }
    // A negative time does not wait at all on Linux; the shortest there is comes near.
    let Ok(sec) = u64::try_from(sec) else { return Ok(1) };
    Ok(sec.saturating_mul(1_000_000_000).saturating_add(usec.unsigned_abs() * 1000))
}

pub fn get(s: &UnixSocket, level: i32, name: i32) -> Result<Vec<u8>> {
    if level != SOL_SOCKET {
        return Err(EOPNOTSUPP);
    }
    if let Some(f) = s.options.flag(name) {
        return Ok(int(u32::from(f.load(Ordering::Relaxed))));
    }
    let o = &s.options;
    Ok(match name {
        SO_TYPE => int(match s.kind {
            Kind::Stream => SOCK_STREAM,
            Kind::Dgram => SOCK_DGRAM,
            Kind::Seqpacket => SOCK_SEQPACKET,
        }),
        SO_DOMAIN => int(u32::from(AF_UNIX)),
        SO_PROTOCOL | SO_MARK | SO_TIMESTAMPNS => int(0),
        SO_TIMESTAMP => int(u32::from(o.timestamp.load(Ordering::Relaxed))),
        SO_ERROR => int(s.take_error().map_or(0, Errno::raw).cast_unsigned()),
        SO_SNDBUF => int(u32::try_from(s.budget.limit()).unwrap_or(u32::MAX)),
        SO_RCVBUF => int(o.receive_buffer.load(Ordering::Relaxed)),
        SO_PRIORITY => int(o.priority.load(Ordering::Relaxed)),
        SO_RCVLOWAT => int(o.low_water.load(Ordering::Relaxed)),
        SO_SNDLOWAT => int(1),
        SO_LINGER => o.linger.load(Ordering::Relaxed).to_le_bytes().to_vec(),
        SO_RCVTIMEO => timeval(o.receive_timeout.load(Ordering::Relaxed)),
        SO_SNDTIMEO => timeval(o.send_timeout.load(Ordering::Relaxed)),
        SO_ACCEPTCONN => int(u32::from(s.state.lock().listening)),
        SO_PEERCRED => {
            let cred = s.state.lock().peer_cred.clone();
            let ids = cred.map_or(abi::net::UCred { pid: 0, uid: u32::MAX, gid: u32::MAX }, |c| c.ids);
            ids.encode().to_vec()
        }
        SO_PEERGROUPS => {
            let cred = s.state.lock().peer_cred.clone().ok_or(ENODATA)?;
            cred.groups.iter().flat_map(|g| g.to_le_bytes()).collect()
        }
        SO_PEERNAME => s.peer_addr().map_err(|_| ENOTCONN)?,
        SO_PEEK_OFF => (-1i32).to_le_bytes().to_vec(),
        _ => return Err(ENOPROTOOPT),
    })
}

pub fn set(s: &UnixSocket, task: &Task, level: i32, name: i32, value: &[u8]) -> Result<()> {
    if level != SOL_SOCKET {
        return Err(EOPNOTSUPP);
    }
    let o = &s.options;
    let v = value.first_chunk().map(|raw| i32::from_le_bytes(*raw)).ok_or(EINVAL)?;
    if let Some(f) = o.flag(name) {
        if name == SO_DEBUG && v != 0 && !task.cred().has(CAP_NET_ADMIN) {
            return Err(abi::errno::EACCES);
        }
        f.store(v != 0, Ordering::Relaxed);
        return Ok(());
    }
    // Linux doubles what is asked for.
    let size = |max: u32, min: u32| v.cast_unsigned().min(max).saturating_mul(2).max(min);
    let any = i32::MAX as u32 / 2;
    match name {
        SO_SNDBUF => s.budget.set_limit(size(MAX_BUFFER, MIN_SEND) as usize),
        SO_RCVBUF => o.receive_buffer.store(size(MAX_BUFFER, MIN_RECEIVE), Ordering::Relaxed),
        SO_SNDBUFFORCE | SO_RCVBUFFORCE if !task.cred().has(CAP_NET_ADMIN) => return Err(EPERM),
        SO_SNDBUFFORCE => s.budget.set_limit(size(any, MIN_SEND) as usize),
        SO_RCVBUFFORCE => o.receive_buffer.store(size(any, MIN_RECEIVE), Ordering::Relaxed),
        SO_PRIORITY => {
            if !(0..=6).contains(&v) && !task.cred().has(CAP_NET_ADMIN) {
                return Err(EPERM);
            }
            o.priority.store(v.cast_unsigned(), Ordering::Relaxed);
        }
        SO_RCVLOWAT => {
            o.low_water.store(if v < 0 { i32::MAX } else { v.max(1) }.cast_unsigned(), Ordering::Relaxed)
        }
        SO_LINGER => {
            let raw: &[u8; 8] = value.first_chunk().ok_or(EINVAL)?;
            let l = Linger::decode(raw);
            let kept = if l.onoff == 0 { Linger { onoff: 0, ..l } } else { Linger { onoff: 1, ..l } };
            o.linger.store(u64::from_le_bytes(kept.encode()), Ordering::Relaxed);
        }
        SO_TIMESTAMP if v == 0 => o.timestamp.store(false, Ordering::Relaxed),
        SO_RCVTIMEO => o.receive_timeout.store(read_timeval(value)?, Ordering::Relaxed),
        SO_SNDTIMEO => o.send_timeout.store(read_timeval(value)?, Ordering::Relaxed),
        SO_PEEK_OFF => return Err(EOPNOTSUPP),
        _ => return Err(ENOPROTOOPT),
    }
    Ok(())
}
