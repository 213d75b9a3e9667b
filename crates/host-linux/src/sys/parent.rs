//! Calls of a process that starts another and ends as it ends.

use std::mem::MaybeUninit;

use hal::Result;

use super::{
    file::last_errno,
    process,
    signal::{SignalSet, exit_now},
};

/// A child of this process, which alone collects it.
pub(crate) struct Child(i32);

/// Copies this process, which must have one thread; in the copy there is no child.
pub(crate) fn fork() -> Result<Option<Child>> {
    // SAFETY: the caller has one thread, so the copy holds no lock of another.
    match unsafe { libc::fork() } {
        0 => Ok(None),
        pid if pid > 0 => Ok(Some(Child(pid))),
        _ => Err(last_errno()),
    }
}

/// Has the calling process killed when its parent, which had this number, ends.
pub(crate) fn end_with_parent(parent: i32) {
    // SAFETY: plain numbers.
    let there = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) == 0 && libc::getppid() == parent
    };
    if !there {
        exit_now(1);
    }
}

impl Child {
    /// Sends a signal. The number stays the child's until [`Child::ended`] has told its end.
    pub(crate) fn signal(&self, signo: i32) {
        // SAFETY: plain numbers.
        unsafe { libc::kill(self.0, signo) };
    }

    /// Collects the child if it has ended: whether it did so itself, and its status or the signal.
    pub(crate) fn ended(&self) -> Option<(bool, i32)> {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG;
        // SAFETY: the call fills in the structure, which was zeroed before and so is valid in any case.
        let (r, info) = unsafe {
            (libc::waitid(libc::P_PID, self.0 as u32, info.as_mut_ptr(), flags), info.assume_init_ref())
        };
        // SAFETY: after a success of waitid these fields hold, or are zero still.
        let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
        (r == 0 && pid == self.0).then_some((info.si_code == libc::CLD_EXITED, value))
    }
}

/// Stops this process as a terminal's stop key does its group.
pub(crate) fn stop_self() {
    // SAFETY: plain numbers.
    unsafe { libc::kill(process::own_pid(), libc::SIGSTOP) };
}

/// Ends this process by a signal, without a core dump; by a status of a shell's if it cannot be.
pub(crate) fn die_of(signo: i32) -> ! {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call; the others take plain numbers.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        libc::signal(signo, libc::SIG_DFL);
        libc::raise(signo);
    }
    // It was blocked: now it comes.
    SignalSet::of(&[]).set_mask();
    exit_now(128 + signo)
}
