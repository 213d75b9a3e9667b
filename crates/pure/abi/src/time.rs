//! Time values as system calls pass them (timespec(3type), clock_gettime(2), timer_create(2)).

use crate::errno::{EINVAL, Result};
use crate::wire::{get_array, put_slice, wire_struct};

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: i64 = 1_000_000_000;
/// Microseconds in a second.
pub const USEC_PER_SEC: i64 = 1_000_000;

// Clocks.
pub const CLOCK_REALTIME: i32 = 0;
pub const CLOCK_MONOTONIC: i32 = 1;
pub const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
pub const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
pub const CLOCK_MONOTONIC_RAW: i32 = 4;
pub const CLOCK_REALTIME_COARSE: i32 = 5;
pub const CLOCK_MONOTONIC_COARSE: i32 = 6;
pub const CLOCK_BOOTTIME: i32 = 7;
pub const CLOCK_REALTIME_ALARM: i32 = 8;
pub const CLOCK_BOOTTIME_ALARM: i32 = 9;
pub const CLOCK_TAI: i32 = 11;

// timer_settime(2), clock_nanosleep(2).
pub const TIMER_ABSTIME: u32 = 1;

// getitimer(2).
pub const ITIMER_REAL: i32 = 0;
pub const ITIMER_VIRTUAL: i32 = 1;
pub const ITIMER_PROF: i32 = 2;

// sigevent(3type) notification.
pub const SIGEV_SIGNAL: i32 = 0;
pub const SIGEV_NONE: i32 = 1;
pub const SIGEV_THREAD: i32 = 2;
pub const SIGEV_THREAD_ID: i32 = 4;

/// utimensat(2): set to the current time.
pub const UTIME_NOW: i64 = 0x3fff_ffff;
/// utimensat(2): leave unchanged.
pub const UTIME_OMIT: i64 = 0x3fff_fffe;

wire_struct! {
    /// Seconds and nanoseconds.
    Timespec [16] {
        /// Seconds.
        sec: i64 @ 0,
        /// Nanoseconds, valid below [`NSEC_PER_SEC`].
        nsec: i64 @ 8,
    }
}

wire_struct! {
    /// Seconds and microseconds.
    Timeval [16] {
        /// Seconds.
        sec: i64 @ 0,
        /// Microseconds, valid below [`USEC_PER_SEC`].
        usec: i64 @ 8,
    }
}

wire_struct! {
    /// The old time zone of gettimeofday(2).
    Timezone [8] {
        /// Minutes west of Greenwich.
        minuteswest: i32 @ 0,
        /// Kind of daylight saving time.
        dsttime: i32 @ 4,
    }
}

wire_struct! {
    /// How a timer or queue tells of an event (sigevent(3type)).
    SigEvent [64] {
        /// Value handed to the receiver.
        value: u64 @ 0,
        /// Signal number.
        signo: i32 @ 8,
        /// `SIGEV_*`.
        notify: i32 @ 12,
        /// Thread for `SIGEV_THREAD_ID`.
        tid: i32 @ 16,
    }
}

const fn saturate(ns: i128) -> i64 {
    if ns > i64::MAX as i128 {
        i64::MAX
    } else if ns < i64::MIN as i128 {
        i64::MIN
    } else {
        ns as i64
    }
}

impl Timespec {
    /// Zero.
    pub const ZERO: Timespec = Timespec { sec: 0, nsec: 0 };

    /// A span or moment of that many nanoseconds; negative ones keep `nsec` positive.
    pub const fn from_ns(ns: i64) -> Timespec {
        Timespec { sec: ns.div_euclid(NSEC_PER_SEC), nsec: ns.rem_euclid(NSEC_PER_SEC) }
    }

    /// Is it a value a timeout may have: no negative seconds and nanoseconds in range?
    pub const fn is_valid(&self) -> bool {
        self.sec >= 0 && self.nsec >= 0 && self.nsec < NSEC_PER_SEC
    }

    /// Itself, or `EINVAL` if it is not valid.
    pub fn check(self) -> Result<Timespec> {
        if self.is_valid() { Ok(self) } else { Err(EINVAL) }
    }

    /// Nanoseconds, saturating at the ends of `i64`.
    pub const fn to_ns(&self) -> i64 {
        saturate(self.sec as i128 * NSEC_PER_SEC as i128 + self.nsec as i128)
    }

    /// Nanoseconds, or `None` on overflow.
    pub fn checked_ns(&self) -> Option<i64> {
        i64::try_from(i128::from(self.sec) * i128::from(NSEC_PER_SEC) + i128::from(self.nsec)).ok()
    }

    /// Are both fields 0?
    pub const fn is_zero(&self) -> bool {
        self.sec == 0 && self.nsec == 0
    }
}

impl Timeval {
    /// Zero.
    pub const ZERO: Timeval = Timeval { sec: 0, usec: 0 };

    /// That many nanoseconds, rounded down to microseconds.
    pub const fn from_ns(ns: i64) -> Timeval {
        Timeval { sec: ns.div_euclid(NSEC_PER_SEC), usec: ns.rem_euclid(NSEC_PER_SEC) / 1000 }
    }

    /// Is it a value a timeout may have: no negative seconds and microseconds in range?
    pub const fn is_valid(&self) -> bool {
        self.sec >= 0 && self.usec >= 0 && self.usec < USEC_PER_SEC
    }

    /// Itself, or `EINVAL` if it is not valid.
    pub fn check(self) -> Result<Timeval> {
        if self.is_valid() { Ok(self) } else { Err(EINVAL) }
    }

    /// Nanoseconds, saturating at the ends of `i64`.
    pub const fn to_ns(&self) -> i64 {
        saturate(self.sec as i128 * NSEC_PER_SEC as i128 + self.usec as i128 * 1000)
    }

    /// Are both fields 0?
    pub const fn is_zero(&self) -> bool {
        self.sec == 0 && self.usec == 0
    }
}

macro_rules! interval_timer {
    ($(#[$meta:meta])* $name:ident $time:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            /// Time between expirations; zero for a timer that fires once.
            pub interval: $time,
            /// Time of or until the next expiration; zero disarms.
            pub value: $time,
        }

        impl $name {
            /// Size in guest memory, in bytes.
            pub const SIZE: usize = 32;

            /// The structure as the guest sees it.
            pub fn encode(&self) -> [u8; 32] {
                let mut out = [0; 32];
                put_slice(&mut out, 0, &self.interval.encode());
                put_slice(&mut out, 16, &self.value.encode());
                out
            }

            /// Reads the structure out of guest bytes.
            pub fn decode(bytes: &[u8; 32]) -> $name {
                $name { interval: $time::decode(&get_array(bytes, 0)), value: $time::decode(&get_array(bytes, 16)) }
            }

            /// Itself, or `EINVAL` if either part is not valid.
            pub fn check(self) -> Result<$name> {
                if self.interval.is_valid() && self.value.is_valid() { Ok(self) } else { Err(EINVAL) }
            }
        }
    };
}

interval_timer! {
    /// Setting of a POSIX or file descriptor timer (timer_settime(2)).
    Itimerspec Timespec
}
interval_timer! {
    /// Setting of a process timer (setitimer(2)).
    Itimerval Timeval
}
