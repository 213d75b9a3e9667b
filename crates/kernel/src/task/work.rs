//! Work posted to a task, taken at its boundary.

bitflags::bitflags! {
    /// Reasons to come to the system-call boundary.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Work: u32 {
        /// A signal is pending that is not blocked.
        const SIGNAL = 1;
        /// The task is to end (its process exits, execs in another thread, was killed).
        const EXIT = 2;
        /// The machine, or the task's cgroup, is frozen: park until thawed.
        const FREEZE = 4;
        /// Job control or ptrace wants a stop.
        const STOP = 8;
        /// Something changed that the task must look at before running guest code (credentials, tracing).
        const NOTIFY = 16;
        /// It is traced: its system calls, signals and the like are looked at ([`crate::ptrace`]). Stays set.
        const TRACED = 32;
        /// What ends a wait.
        const INTERRUPTS = 1 | 2 | 4 | 8;
    }
}
