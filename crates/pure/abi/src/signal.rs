//! Signals: numbers, sets, actions and the siginfo record (signal(7), sigaction(2)).

use core::fmt;

use crate::errno::{EINVAL, Result};
use crate::wire::{
    get_array, get_i32, get_i64, get_u32, get_u64, put_i32, put_i64, put_slice, put_u32, put_u64, wire_struct,
};

/// A valid signal number, `1..=64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(u8);

/// What a signal does to a process that neither handles nor ignores it (signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// End the process.
    Term,
    /// End the process and say that it dumped core.
    Core,
    /// Nothing.
    Ignore,
    /// Stop every thread.
    Stop,
    /// Continue a stopped process.
    Cont,
}

macro_rules! signals {
    ($($nr:literal $name:ident $action:ident,)*) => {
        impl Signal {
            $(
                #[doc = concat!("Signal ", $nr, ".")]
                pub const $name: Signal = Signal($nr);
            )*

            /// The name, `"SIGRT"` for every real-time signal.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($nr => stringify!($name),)*
                    _ => "SIGRT",
                }
            }

            /// What happens when the disposition is `SIG_DFL`.
            pub const fn default_action(self) -> DefaultAction {
                match self.0 {
                    $($nr => DefaultAction::$action,)*
                    _ => DefaultAction::Term,
                }
            }
        }
        $(
            #[doc = concat!("Signal ", $nr, ".")]
            pub const $name: Signal = Signal::$name;
        )*
    };
}

signals! {
    1 SIGHUP Term,
    2 SIGINT Term,
    3 SIGQUIT Core,
    4 SIGILL Core,
    5 SIGTRAP Core,
    6 SIGABRT Core,
    7 SIGBUS Core,
    8 SIGFPE Core,
    9 SIGKILL Term,
    10 SIGUSR1 Term,
    11 SIGSEGV Core,
    12 SIGUSR2 Term,
    13 SIGPIPE Term,
    14 SIGALRM Term,
    15 SIGTERM Term,
    16 SIGSTKFLT Term,
    17 SIGCHLD Ignore,
    18 SIGCONT Cont,
    19 SIGSTOP Stop,
    20 SIGTSTP Stop,
    21 SIGTTIN Stop,
    22 SIGTTOU Stop,
    23 SIGURG Ignore,
    24 SIGXCPU Core,
    25 SIGXFSZ Core,
    26 SIGVTALRM Term,
    27 SIGPROF Term,
    28 SIGWINCH Ignore,
    29 SIGIO Term,
    30 SIGPWR Term,
    31 SIGSYS Core,
}

/// The number of the first real-time signal.
pub const SIGRTMIN: u8 = 32;
/// The number of the last signal.
pub const SIGRTMAX: u8 = 64;

impl Signal {
    /// Another name of `SIGIO`.
    pub const SIGPOLL: Signal = Signal::SIGIO;

    /// A signal from a number the guest passed; `None` outside `1..=64` (0 included).
    pub const fn new(number: i32) -> Option<Signal> {
        if number >= 1 && number <= SIGRTMAX as i32 { Some(Signal(number as u8)) } else { None }
    }

    /// Like [`Signal::new`], with the error most calls answer: `EINVAL`.
    pub fn check(number: i32) -> Result<Signal> {
        Signal::new(number).ok_or(EINVAL)
    }

    /// The number.
    pub const fn raw(self) -> i32 {
        self.0 as i32
    }

    /// The number as an index starting at 0, below 64.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }

    /// The signal's bit in a set.
    pub const fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }

    /// Real-time signals queue; standard ones merge.
    pub const fn is_rt(self) -> bool {
        self.0 >= SIGRTMIN
    }

    /// `SIGKILL` and `SIGSTOP` can be neither blocked, handled nor ignored.
    pub const fn is_unblockable(self) -> bool {
        SigSet::UNBLOCKABLE.has(self)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_rt() { write!(f, "SIGRT_{}", self.0 - SIGRTMIN) } else { f.write_str(self.name()) }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A set of signals; bit `n - 1` is signal `n`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SigSet(pub u64);

impl SigSet {
    /// Size of a set in guest memory, the only `sigsetsize` system calls accept.
    pub const SIZE: usize = 8;
    /// No signal.
    pub const EMPTY: SigSet = SigSet(0);
    /// Every signal.
    pub const FULL: SigSet = SigSet(u64::MAX);
    /// `SIGKILL` and `SIGSTOP`.
    pub const UNBLOCKABLE: SigSet = SigSet::of(&[Signal::SIGKILL, Signal::SIGSTOP]);
    /// Signals whose default action stops the process.
    pub const STOP: SigSet =
        SigSet::of(&[Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU]);
    /// Signals raised by an instruction; they are delivered before others.
    pub const SYNCHRONOUS: SigSet = SigSet::of(&[
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGFPE,
        Signal::SIGSYS,
    ]);

    /// The set of the listed signals.
    pub const fn of(signals: &[Signal]) -> SigSet {
        let mut bits = 0;
        let mut i = 0;
        while i < signals.len() {
            bits |= signals[i].bit();
            i += 1;
        }
        SigSet(bits)
    }

    /// The bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Is there no signal in it?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Is the signal in it?
    pub const fn has(self, signal: Signal) -> bool {
        self.0 & signal.bit() != 0
    }

    /// Puts a signal in.
    pub const fn add(&mut self, signal: Signal) {
        self.0 |= signal.bit();
    }

    /// Takes a signal out.
    pub const fn remove(&mut self, signal: Signal) {
        self.0 &= !signal.bit();
    }

    /// Signals of either set.
    #[must_use]
    pub const fn union(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }

    /// Signals of both sets.
    #[must_use]
    pub const fn intersect(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }

    /// Signals of this set which the other lacks.
    #[must_use]
    pub const fn minus(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }

    /// Signals not in the set.
    #[must_use]
    pub const fn complement(self) -> SigSet {
        SigSet(!self.0)
    }

    /// The lowest signal.
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 { None } else { Some(Signal(self.0.trailing_zeros() as u8 + 1)) }
    }

    /// The signal to deliver first: one raised by an instruction if there is one, else the lowest.
    pub const fn first_to_deliver(self) -> Option<Signal> {
        match self.intersect(SigSet::SYNCHRONOUS).first() {
            Some(signal) => Some(signal),
            None => self.first(),
        }
    }

    /// The signals, lowest first.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let signal = rest.first()?;
            rest.remove(signal);
            Some(signal)
        })
    }

    /// The set as the guest sees it.
    pub const fn encode(&self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// Reads a set out of guest bytes.
    pub const fn decode(bytes: &[u8; 8]) -> SigSet {
        SigSet(u64::from_le_bytes(*bytes))
    }
}

impl FromIterator<Signal> for SigSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> SigSet {
        let mut set = SigSet::EMPTY;
        signals.into_iter().for_each(|signal| set.add(signal));
        set
    }
}

impl fmt::Debug for SigSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Handler value: the default action.
pub const SIG_DFL: u64 = 0;
/// Handler value: ignore.
pub const SIG_IGN: u64 = 1;

// rt_sigprocmask(2) `how`.
pub const SIG_BLOCK: i32 = 0;
pub const SIG_UNBLOCK: i32 = 1;
pub const SIG_SETMASK: i32 = 2;

// Flags of sigaction(2).
pub const SA_NOCLDSTOP: u64 = 0x1;
pub const SA_NOCLDWAIT: u64 = 0x2;
pub const SA_SIGINFO: u64 = 0x4;
pub const SA_UNSUPPORTED: u64 = 0x400;
pub const SA_EXPOSE_TAGBITS: u64 = 0x800;
pub const SA_RESTORER: u64 = 0x4000000;
pub const SA_ONSTACK: u64 = 0x8000000;
pub const SA_RESTART: u64 = 0x10000000;
pub const SA_NODEFER: u64 = 0x40000000;
pub const SA_RESETHAND: u64 = 0x80000000;

/// What a process does on a signal: the structure of rt_sigaction(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigAction {
    /// Guest address of the handler, or `SIG_DFL` / `SIG_IGN`.
    pub handler: u64,
    /// `SA_*` bits.
    pub flags: u64,
    /// Guest address the handler returns to.
    pub restorer: u64,
    /// Signals blocked while the handler runs.
    pub mask: SigSet,
}

impl SigAction {
    /// Size in guest memory, in bytes.
    pub const SIZE: usize = 32;

    /// The structure as the guest sees it.
    pub fn encode(&self) -> [u8; 32] {
        let mut out = [0; 32];
        put_u64(&mut out, 0, self.handler);
        put_u64(&mut out, 8, self.flags);
        put_u64(&mut out, 16, self.restorer);
        put_u64(&mut out, 24, self.mask.0);
        out
    }

    /// Reads the structure out of guest bytes.
    pub fn decode(bytes: &[u8; 32]) -> SigAction {
        SigAction {
            handler: get_u64(bytes, 0),
            flags: get_u64(bytes, 8),
            restorer: get_u64(bytes, 16),
            mask: SigSet(get_u64(bytes, 24)),
        }
    }
}

// stack_t flags (sigaltstack(2)).
pub const SS_ONSTACK: u32 = 0x1;
pub const SS_DISABLE: u32 = 0x2;
pub const SS_AUTODISARM: u32 = 0x80000000;

/// Smallest alternate stack sigaltstack(2) accepts by default, in bytes.
pub const MINSIGSTKSZ: u64 = 2048;

wire_struct! {
    /// An alternate signal stack: `stack_t` (sigaltstack(2)).
    SigStack [24] {
        /// Lowest guest address.
        sp: u64 @ 0,
        /// `SS_*` bits.
        flags: u32 @ 8,
        /// Length in bytes.
        size: u64 @ 16,
    }
}

// `si_code` of signals a process sent or the kernel raised for no special reason.
pub const SI_USER: i32 = 0;
pub const SI_KERNEL: i32 = 128;
pub const SI_QUEUE: i32 = -1;
pub const SI_TIMER: i32 = -2;
pub const SI_MESGQ: i32 = -3;
pub const SI_ASYNCIO: i32 = -4;
pub const SI_SIGIO: i32 = -5;
pub const SI_TKILL: i32 = -6;
// `si_code` of SIGILL.
pub const ILL_ILLOPC: i32 = 1;
pub const ILL_ILLOPN: i32 = 2;
pub const ILL_ILLADR: i32 = 3;
pub const ILL_ILLTRP: i32 = 4;
pub const ILL_PRVOPC: i32 = 5;
pub const ILL_PRVREG: i32 = 6;
pub const ILL_COPROC: i32 = 7;
pub const ILL_BADSTK: i32 = 8;
// `si_code` of SIGFPE.
pub const FPE_INTDIV: i32 = 1;
pub const FPE_INTOVF: i32 = 2;
pub const FPE_FLTDIV: i32 = 3;
pub const FPE_FLTOVF: i32 = 4;
pub const FPE_FLTUND: i32 = 5;
pub const FPE_FLTRES: i32 = 6;
pub const FPE_FLTINV: i32 = 7;
pub const FPE_FLTSUB: i32 = 8;
// `si_code` of SIGSEGV.
pub const SEGV_MAPERR: i32 = 1;
pub const SEGV_ACCERR: i32 = 2;
pub const SEGV_BNDERR: i32 = 3;
pub const SEGV_PKUERR: i32 = 4;
// `si_code` of SIGBUS.
pub const BUS_ADRALN: i32 = 1;
pub const BUS_ADRERR: i32 = 2;
pub const BUS_OBJERR: i32 = 3;
pub const BUS_MCEERR_AR: i32 = 4;
pub const BUS_MCEERR_AO: i32 = 5;
// `si_code` of SIGTRAP.
pub const TRAP_BRKPT: i32 = 1;
pub const TRAP_TRACE: i32 = 2;
pub const TRAP_BRANCH: i32 = 3;
pub const TRAP_HWBKPT: i32 = 4;
// `si_code` of SIGCHLD.
pub const CLD_EXITED: i32 = 1;
pub const CLD_KILLED: i32 = 2;
pub const CLD_DUMPED: i32 = 3;
pub const CLD_TRAPPED: i32 = 4;
pub const CLD_STOPPED: i32 = 5;
pub const CLD_CONTINUED: i32 = 6;
// `si_code` of SIGIO.
pub const POLL_IN: i32 = 1;
pub const POLL_OUT: i32 = 2;
pub const POLL_MSG: i32 = 3;
pub const POLL_ERR: i32 = 4;
pub const POLL_PRI: i32 = 5;
pub const POLL_HUP: i32 = 6;
// `si_code` of SIGSYS.
pub const SYS_SECCOMP: i32 = 1;
pub const SYS_USER_DISPATCH: i32 = 2;

/// The part of a siginfo that depends on where the signal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigFields {
    /// kill(2) and the kernel itself.
    Kill {
        /// Sender.
        pid: i32,
        /// Real user id of the sender.
        uid: u32,
    },
    /// An expired timer_create(2) timer.
    Timer {
        /// Timer id.
        id: i32,
        /// Expirations beyond the first.
        overrun: i32,
        /// `sigev_value`.
        value: u64,
    },
    /// sigqueue(3), mq_notify(3) and others which carry a value.
    Rt {
        /// Sender.
        pid: i32,
        /// Real user id of the sender.
        uid: u32,
        /// `si_value`.
        value: u64,
    },
    /// A child changed state.
    Chld {
        /// The child.
        pid: i32,
        /// Its real user id.
        uid: u32,
        /// Exit code or signal number.
        status: i32,
        /// User time in clock ticks.
        utime: i64,
        /// System time in clock ticks.
        stime: i64,
    },
    /// An instruction faulted.
    Fault {
        /// The address at fault.
        addr: u64,
    },
    /// A file became ready (`F_SETSIG`).
    Poll {
        /// `POLL*` bits.
        band: i64,
        /// The file descriptor.
        fd: i32,
    },
    /// A seccomp(2) filter trapped a system call.
    Sys {
        /// Address of the instruction after the call.
        call_addr: u64,
        /// System call number.
        nr: i32,
        /// `AUDIT_ARCH_*`.
        arch: u32,
    },
    /// Bytes 16 to 48 of a record a process made up, kept as they are.
    Raw([u8; 32]),
}

/// One pending or delivered signal with its details: `siginfo_t` (sigaction(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigInfo {
    /// `si_signo`.
    pub signo: i32,
    /// `si_errno`, nearly always 0.
    pub errno: i32,
    /// `si_code`: `SI_*` or a code of the signal.
    pub code: i32,
    /// The rest.
    pub fields: SigFields,
}

impl SigInfo {
    /// Size in guest memory, in bytes.
    pub const SIZE: usize = 128;
    /// Bytes the kernel keeps; the rest is zero.
    const KEPT: usize = 48;

    /// A record with `si_errno` 0.
    pub const fn new(signal: Signal, code: i32, fields: SigFields) -> SigInfo {
        SigInfo { signo: signal.raw(), errno: 0, code, fields }
    }

    /// A signal sent by kill(2).
    pub const fn user(signal: Signal, pid: i32, uid: u32) -> SigInfo {
        SigInfo::new(signal, SI_USER, SigFields::Kill { pid, uid })
    }

    /// A signal sent by tgkill(2).
    pub const fn tkill(signal: Signal, pid: i32, uid: u32) -> SigInfo {
        SigInfo::new(signal, SI_TKILL, SigFields::Kill { pid, uid })
    }

    /// A signal of the kernel without details.
    pub const fn kernel(signal: Signal) -> SigInfo {
        SigInfo::new(signal, SI_KERNEL, SigFields::Kill { pid: 0, uid: 0 })
    }

    /// A faulting instruction.
    pub const fn fault(signal: Signal, code: i32, addr: u64) -> SigInfo {
        SigInfo::new(signal, code, SigFields::Fault { addr })
    }

    /// The signal, if `si_signo` is a valid number.
    pub const fn signal(&self) -> Option<Signal> {
        Signal::new(self.signo)
    }

    /// The record as the guest sees it.
    pub fn encode(&self) -> [u8; 128] {
        let mut out = [0; 128];
        put_i32(&mut out, 0, self.signo);
        put_i32(&mut out, 4, self.errno);
        put_i32(&mut out, 8, self.code);
        match self.fields {
            SigFields::Kill { pid, uid } => {
                put_i32(&mut out, 16, pid);
                put_u32(&mut out, 20, uid);
            }
            SigFields::Timer { id, overrun, value } => {
                put_i32(&mut out, 16, id);
                put_i32(&mut out, 20, overrun);
                put_u64(&mut out, 24, value);
            }
            SigFields::Rt { pid, uid, value } => {
                put_i32(&mut out, 16, pid);
                put_u32(&mut out, 20, uid);
                put_u64(&mut out, 24, value);
            }
            SigFields::Chld { pid, uid, status, utime, stime } => {
                put_i32(&mut out, 16, pid);
                put_u32(&mut out, 20, uid);
                put_i32(&mut out, 24, status);
                put_i64(&mut out, 32, utime);
                put_i64(&mut out, 40, stime);
            }
            SigFields::Fault { addr } => put_u64(&mut out, 16, addr),
            SigFields::Poll { band, fd } => {
                put_i64(&mut out, 16, band);
                put_i32(&mut out, 24, fd);
            }
            SigFields::Sys { call_addr, nr, arch } => {
                put_u64(&mut out, 16, call_addr);
                put_i32(&mut out, 24, nr);
                put_u32(&mut out, 28, arch);
            }
            SigFields::Raw(bytes) => put_slice(&mut out, 16, &bytes),
        }
        out
    }

    /// Reads a record out of guest bytes, as rt_sigqueueinfo(2) does: nothing is refused, and what the layout
    /// for this signal and code has no field for is kept as [`SigFields::Raw`].
    pub fn decode(bytes: &[u8; 128]) -> SigInfo {
        let (signo, errno, code) = (get_i32(bytes, 0), get_i32(bytes, 4), get_i32(bytes, 8));
        let info = SigInfo { signo, errno, code, fields: Self::decode_fields(bytes, signo, code) };
        if info.encode()[16..Self::KEPT] == bytes[16..Self::KEPT] {
            info
        } else {
            SigInfo { fields: SigFields::Raw(get_array(bytes, 16)), ..info }
        }
    }

    fn decode_fields(bytes: &[u8; 128], signo: i32, code: i32) -> SigFields {
        let (pid, uid) = (get_i32(bytes, 16), get_u32(bytes, 20));
        let rt = SigFields::Rt { pid, uid, value: get_u64(bytes, 24) };
        if code > 0 && code < SI_KERNEL {
            return match Signal::new(signo) {
                Some(Signal::SIGCHLD) => SigFields::Chld {
                    pid,
                    uid,
                    status: get_i32(bytes, 24),
                    utime: get_i64(bytes, 32),
                    stime: get_i64(bytes, 40),
                },
                Some(SIGILL | SIGFPE | SIGSEGV | SIGBUS | SIGTRAP) => {
                    SigFields::Fault { addr: get_u64(bytes, 16) }
                }
                Some(Signal::SIGSYS) => SigFields::Sys {
                    call_addr: get_u64(bytes, 16),
                    nr: get_i32(bytes, 24),
                    arch: get_u32(bytes, 28),
                },
                Some(Signal::SIGIO) => SigFields::Poll { band: get_i64(bytes, 16), fd: get_i32(bytes, 24) },
                _ => rt,
            };
        }
        match code {
            SI_USER | SI_KERNEL | SI_TKILL => SigFields::Kill { pid, uid },
            SI_TIMER => SigFields::Timer { id: pid, overrun: get_i32(bytes, 20), value: get_u64(bytes, 24) },
            SI_SIGIO => SigFields::Poll { band: get_i64(bytes, 16), fd: get_i32(bytes, 24) },
            _ => rt,
        }
    }
}
