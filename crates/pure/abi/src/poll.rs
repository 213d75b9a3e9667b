//! Readiness: poll(2), epoll(7), and the descriptors of eventfd(2), timerfd_create(2), signalfd(2).

use crate::signal::{SigFields, SigInfo};
use crate::wire::{put_i32, put_u32, put_u64, wire_struct};

// poll(2) events.
pub const POLLIN: u16 = 0x1;
pub const POLLPRI: u16 = 0x2;
pub const POLLOUT: u16 = 0x4;
pub const POLLERR: u16 = 0x8;
pub const POLLHUP: u16 = 0x10;
pub const POLLNVAL: u16 = 0x20;
pub const POLLRDNORM: u16 = 0x40;
pub const POLLRDBAND: u16 = 0x80;
pub const POLLWRNORM: u16 = 0x100;
pub const POLLWRBAND: u16 = 0x200;
pub const POLLMSG: u16 = 0x400;
pub const POLLREMOVE: u16 = 0x1000;
pub const POLLRDHUP: u16 = 0x2000;

// epoll_ctl(2) events.
pub const EPOLLIN: u32 = 0x1;
pub const EPOLLPRI: u32 = 0x2;
pub const EPOLLOUT: u32 = 0x4;
pub const EPOLLERR: u32 = 0x8;
pub const EPOLLHUP: u32 = 0x10;
pub const EPOLLRDNORM: u32 = 0x40;
pub const EPOLLRDBAND: u32 = 0x80;
pub const EPOLLWRNORM: u32 = 0x100;
pub const EPOLLWRBAND: u32 = 0x200;
pub const EPOLLMSG: u32 = 0x400;
pub const EPOLLRDHUP: u32 = 0x2000;
pub const EPOLLEXCLUSIVE: u32 = 0x10000000;
pub const EPOLLWAKEUP: u32 = 0x20000000;
pub const EPOLLONESHOT: u32 = 0x40000000;
pub const EPOLLET: u32 = 0x80000000;

// epoll_ctl(2) operations and flags.
pub const EPOLL_CTL_ADD: i32 = 1;
pub const EPOLL_CTL_DEL: i32 = 2;
pub const EPOLL_CTL_MOD: i32 = 3;
pub const EPOLL_CLOEXEC: u32 = 0o2000000;

// eventfd(2).
pub const EFD_SEMAPHORE: u32 = 0o1;
pub const EFD_CLOEXEC: u32 = 0o2000000;
pub const EFD_NONBLOCK: u32 = 0o4000;

// timerfd_create(2).
pub const TFD_TIMER_ABSTIME: u32 = 0o1;
pub const TFD_TIMER_CANCEL_ON_SET: u32 = 0o2;
pub const TFD_CLOEXEC: u32 = 0o2000000;
pub const TFD_NONBLOCK: u32 = 0o4000;

// signalfd(2).
pub const SFD_CLOEXEC: u32 = 0o2000000;
pub const SFD_NONBLOCK: u32 = 0o4000;

// Limits of select(2) and epoll.
/// Highest number of descriptors in an `fd_set`.
pub const FD_SETSIZE: usize = 1024;
/// How deep epoll descriptors may watch each other.
pub const EP_MAX_NESTS: usize = 4;

wire_struct! {
    /// One watched descriptor of poll(2).
    PollFd [8] {
        /// Descriptor; negative ones are skipped.
        fd: i32 @ 0,
        /// Wanted `POLL*` bits.
        events: u16 @ 4,
        /// Found bits.
        revents: u16 @ 6,
    }
}

wire_struct! {
    /// One event of epoll_wait(2); packed on x86-64.
    EpollEvent [12] {
        /// `EPOLL*` bits.
        events: u32 @ 0,
        /// What the guest registered.
        data: u64 @ 4,
    }
}

/// Size of a record read from a signalfd, in bytes.
pub const SIGNALFD_SIGINFO_SIZE: usize = 128;

/// A record read from a signalfd (signalfd(2)).
pub fn encode_signalfd(info: &SigInfo) -> [u8; SIGNALFD_SIGINFO_SIZE] {
    let mut out = [0; SIGNALFD_SIGINFO_SIZE];
    put_i32(&mut out, 0, info.signo);
    put_i32(&mut out, 4, info.errno);
    put_i32(&mut out, 8, info.code);
    match info.fields {
        SigFields::Kill { pid, uid } => {
            put_i32(&mut out, 12, pid);
            put_u32(&mut out, 16, uid);
        }
        SigFields::Timer { id, overrun, value } => {
            put_i32(&mut out, 24, id);
            put_i32(&mut out, 32, overrun);
            put_value(&mut out, value);
        }
        SigFields::Rt { pid, uid, value } => {
            put_i32(&mut out, 12, pid);
            put_u32(&mut out, 16, uid);
            put_value(&mut out, value);
        }
        SigFields::Chld { pid, uid, status, utime, stime } => {
            put_i32(&mut out, 12, pid);
            put_u32(&mut out, 16, uid);
            put_i32(&mut out, 40, status);
            put_u64(&mut out, 56, utime.cast_unsigned());
            put_u64(&mut out, 64, stime.cast_unsigned());
        }
        SigFields::Fault { addr } => put_u64(&mut out, 72, addr),
        SigFields::Poll { band, fd } => {
            put_i32(&mut out, 20, fd);
            put_u32(&mut out, 28, band as u32);
        }
        SigFields::Sys { call_addr, nr, arch } => {
            put_i32(&mut out, 84, nr);
            put_u64(&mut out, 88, call_addr);
            put_u32(&mut out, 96, arch);
        }
        SigFields::Raw(raw) => {
            out[12..20].copy_from_slice(&raw[..8]);
            out[44..48].copy_from_slice(&raw[8..12]);
            out[48..56].copy_from_slice(&raw[8..16]);
        }
    }
    out
}

/// A `sigval` shows both as a pointer and as its low half, an int.
fn put_value(out: &mut [u8], value: u64) {
    put_u32(out, 44, value as u32);
    put_u64(out, 48, value);
}
