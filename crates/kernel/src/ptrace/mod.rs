//! Tracing (ptrace(2)).
//!
//! A traced task carries [`Work::TRACED`] in its work word, so that an untraced one pays nothing. At a *stop* the tracee
//! itself leaves its registers in its [`Tracing`], tells the tracer and waits; the tracer reads and changes that copy, and
//! the tracee takes the changes over when it is resumed. So only the tracee's own thread ever touches its guest thread.
//!
//! Who traces whom is kept in the tree ([`Relations::tracees`]) for wait(2), and in the tracee for everything else.
//!
//! [`Work::TRACED`]: crate::task::Work::TRACED
//! [`Relations::tracees`]: crate::task::tree::Relations::tracees

mod access;
mod attach;
mod call;
mod debug;
mod event;
mod memory;
mod regs;
mod resume;
mod signal;
mod step;
mod stop;
mod wait;

use abi::{SigInfo, ptrace::UserRegs};

pub use access::{may_access, tracer_may};
pub use attach::{attach, detach, exec_renames, seize, set_options, traceme, tracer_ends, tracer_of};
pub(crate) use attach::{follow, watch_space};
pub(crate) use call::{Entry, call_enter, call_exit, interrupted_call, seccomp_event};
pub use debug::DebugRegs;
pub(crate) use event::{clone_event, clone_follow, exec_event, exit_event, vfork_done};
pub use memory::{peek, poke, transfer};
pub(crate) use regs::{fp_image, shown, xstate_of};
pub use regs::{fp_regs, regs, set_fp_regs, set_regs, set_user_word, set_xstate, user_word, xstate};
pub use resume::{Mode, interrupt, kill, listen, resume};
pub(crate) use signal::signal_stop;
pub use signal::{event_message, peek_siginfo, set_siginfo, set_sigmask, siginfo, sigmask, syscall_info};
pub(crate) use step::run_stepping;
pub(crate) use stop::{handler_trap, requested_stop};
pub use wait::Ended;
pub(crate) use wait::{by_parent, consume, find, process_ends, release_all, thread_ends};

use crate::task::Pid;

/// What a task knows of being traced.
#[derive(Default)]
pub struct Tracing {
    pub(crate) link: Option<Link>,
    /// It stands, and why.
    pub(crate) stop: Option<Stop>,
    /// How it is to go on.
    pub(crate) resume: Option<resume::Resume>,
    pub(crate) debug: DebugRegs,
}

/// The bond to a tracer.
pub(crate) struct Link {
    /// The tracing thread, and its process.
    pub(crate) tracer: Pid,
    pub(crate) tracer_pid: Pid,
    pub(crate) options: u32,
    pub(crate) seized: bool,
    /// System calls stop it (PTRACE_SYSCALL).
    pub(crate) calls: bool,
    /// A stop was asked for (PTRACE_INTERRUPT).
    pub(crate) interrupt: bool,
    /// Who made the bond had CAP_SYS_PTRACE: the tracee may become whatever it likes.
    pub(crate) privileged: bool,
    /// PTRACE_GETEVENTMSG.
    pub(crate) message: u64,
}

/// Kinds of stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Signal,
    Group,
    Enter,
    Exit,
    Event,
    /// A filter asks the tracer: an event before a call.
    Seccomp,
}

/// A tracee's stop.
pub(crate) struct Stop {
    pub(crate) kind: Kind,
    /// Signal, and event above its low byte.
    pub(crate) code: u32,
    pub(crate) info: Option<SigInfo>,
    pub(crate) regs: UserRegs,
    /// Vector state as the host's signal frame has it; empty if it cannot be had.
    pub(crate) fpu: Vec<u8>,
    pub(crate) fpu_changed: bool,
    /// Reported by wait(2).
    pub(crate) waited: bool,
    /// PTRACE_LISTEN: not to be touched until the next report.
    pub(crate) listening: bool,
}
