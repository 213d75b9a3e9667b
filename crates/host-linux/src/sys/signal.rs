//! Signal masks and synchronous waiting.

use std::{mem::MaybeUninit, ptr};

/// A set of signals.
#[derive(Clone, Copy)]
pub(crate) struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// The set of these signals.
    pub(crate) fn of(signals: &[i32]) -> SignalSet {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the whole set; sigaddset only changes it, and refuses bad numbers.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for &s in signals {
                libc::sigaddset(set.as_mut_ptr(), s);
            }
            SignalSet(set.assume_init())
        }
    }

    /// These signals too.
    pub(crate) fn with(mut self, signals: &[i32]) -> SignalSet {
        for &s in signals {
            // SAFETY: the set is initialised; bad numbers are refused.
            unsafe { libc::sigaddset(&mut self.0, s) };
        }
        self
    }

    /// All signals but one.
    pub(crate) fn full_but(signo: i32) -> SignalSet {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the whole set; sigdelset only changes it.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            libc::sigdelset(set.as_mut_ptr(), signo);
            SignalSet(set.assume_init())
        }
    }

    /// Adds the set to the calling thread's mask; returns the former mask.
    pub(crate) fn block(&self) -> SignalSet {
        self.change_mask(libc::SIG_BLOCK)
    }

    /// Makes the set the calling thread's mask; returns the former mask.
    pub(crate) fn set_mask(&self) -> SignalSet {
        self.change_mask(libc::SIG_SETMASK)
    }

    fn change_mask(&self, how: i32) -> SignalSet {
        let mut old = SignalSet::of(&[]);
        // SAFETY: both sets are initialised and live through the call.
        unsafe { libc::pthread_sigmask(how, &self.0, &mut old.0) };
        old
    }

    /// Waits for one of the set, which must be blocked; its number.
    pub(crate) fn wait(&self) -> i32 {
        let mut signo = 0;
        // SAFETY: the set is initialised, and signo is written only.
        while unsafe { libc::sigwait(&self.0, &mut signo) } != 0 {}
        signo
    }
}

/// True if the process was started with the signal ignored (as `nohup` does).
pub(crate) fn is_ignored(signo: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null new action the call only fills in the old one, wholly if it answers 0.
    unsafe {
        libc::sigaction(signo, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Gives a signal its default action.
pub(crate) fn set_default(signo: i32) {
    // SAFETY: plain numbers; no handler of ours is taken away but by who asks.
    unsafe { libc::signal(signo, libc::SIG_DFL) };
}

/// Ends the process at once, without running exit handlers of any library.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: takes no memory and does not return.
    unsafe { libc::_exit(status) }
}
