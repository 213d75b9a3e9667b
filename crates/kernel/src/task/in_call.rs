//! The system call that a task is in, for others to see (/proc/PID/syscall).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hal::Regs;

use super::{RunState, Task};

/// Instead of a number: in no call.
const NO_CALL: u64 = u64::MAX;

/// Written by the task alone, and without a lock, as it is on the way of every call.
pub(crate) struct InCall {
    nr: AtomicU64,
    args: [AtomicU64; 6],
    /// Stack pointer and instruction pointer.
    place: [AtomicU64; 2],
}

/// Where a task stands that does not run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Number and arguments of the call that it is in.
    pub call: Option<(u64, [u64; 6])>,
    pub stack: u64,
    pub instruction: u64,
}

impl Default for InCall {
    fn default() -> Self {
        InCall { nr: AtomicU64::new(NO_CALL), args: Default::default(), place: Default::default() }
    }
}

impl InCall {
    #[inline]
    pub(crate) fn enter(&self, nr: u64, args: &[u64; 6], regs: &Regs) {
        self.nr.store(nr, Relaxed);
        for (a, v) in self.args.iter().zip(args) {
            a.store(*v, Relaxed);
        }
        self.stand(regs);
    }
    /// It is here; in a call if it entered one.
    pub(crate) fn stand(&self, regs: &Regs) {
        self.place[0].store(regs.rsp, Relaxed);
        self.place[1].store(regs.rip, Relaxed);
    }
    #[inline]
    pub(crate) fn leave(&self) {
        self.nr.store(NO_CALL, Relaxed);
    }
    fn get(&self) -> Standing {
        let load = |a: &AtomicU64| a.load(Relaxed);
        let nr = load(&self.nr);
        let call = (nr != NO_CALL).then(|| (nr, self.args.each_ref().map(load)));
        Standing { call, stack: load(&self.place[0]), instruction: load(&self.place[1]) }
    }
}

impl Task {
    /// Where it stands; `None` while it runs. Who asks about itself sees its call.
    pub fn standing(&self, asks_itself: bool) -> Option<Standing> {
        let seen = self.in_call.get();
        let stands = || match self.run_state() {
            RunState::Stopped | RunState::Tracing => true,
            RunState::Sleeping => seen.call.is_some(),
            _ => false,
        };
        (asks_itself || stands() && self.in_call.get() == seen).then_some(seen)
    }
}
