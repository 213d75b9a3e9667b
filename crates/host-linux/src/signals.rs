//! Signals sent to the machine from outside: terminal size changes, and requests to end.
//!
//! One thread waits for them; everybody else has them blocked, so no handler ever interrupts other code. The main
//! program calls [`block`] first of all, while it is the only thread, and later [`Signals::start`]. The first SIGINT,
//! SIGTERM, SIGHUP or SIGQUIT restores the terminals, runs what was registered with [`Signals::on_fatal`] and ends the
//! process with status 1. A signal that was ignored at start stays ignored.

use std::sync::{Arc, Mutex, PoisonError};

use hal::{Result, errno};

use crate::sys::{
    signal::{self, SignalSet},
    tty,
};

/// Signals that end the machine.
const FATAL: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
/// Signals that say something about the terminal.
const TERMINAL: [i32; 2] = [libc::SIGWINCH, libc::SIGCONT];

type Callback = Box<dyn Fn() + Send + Sync>;

/// The signals that [`block`] took, to be waited for.
#[derive(Clone, Copy)]
pub struct Taken(SignalSet);

impl Taken {
    pub(crate) fn set(&self) -> SignalSet {
        self.0
    }
}

/// Blocks the machine's signals in the calling thread and in those it starts from now on. A process that is started
/// must be given its mask back by whoever starts it.
pub fn block() -> Taken {
    let wanted: Vec<i32> =
        FATAL.iter().copied().filter(|&s| !signal::is_ignored(s)).chain(TERMINAL).collect();
    let set = SignalSet::of(&wanted);
    set.block();
    Taken(set)
}

/// Blocks every signal in a thread of ours that shall take none, but the one that reports a refused host call: blocked,
/// it would end the process.
pub(crate) fn block_all() {
    SignalSet::full_but(libc::SIGSYS).block();
}

/// Restores all terminals to the mode in which they were found. Callable at any moment: at exit, from a panic hook,
/// from the handler of a fatal signal.
pub fn restore_terminals() {
    tty::restore_all();
}

/// Who wants to hear of signals. Made by the host value; nothing is delivered before [`Signals::start`].
#[derive(Default)]
pub struct Signals {
    resized: Mutex<Vec<Callback>>,
    fatal: Mutex<Vec<Callback>>,
}

impl Signals {
    /// Starts the waiting thread.
    pub fn start(self: &Arc<Self>, taken: Taken) -> Result<()> {
        let me = self.clone();
        let run = move || {
            block_all();
            loop {
                me.deliver(taken.0.wait());
            }
        };
        match std::thread::Builder::new().name("signals".into()).stack_size(256 << 10).spawn(run) {
            Ok(_) => Ok(()),
            Err(_) => Err(errno::EAGAIN),
        }
    }

    /// Registers what must be done before the process ends by a signal. Runs in the signal thread, must not block.
    pub fn on_fatal(&self, f: impl Fn() + Send + Sync + 'static) {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(f));
    }

    /// Registers what is called when some terminal's size may have changed.
    pub(crate) fn on_resize(&self, f: Callback) {
        self.resized.lock().unwrap_or_else(PoisonError::into_inner).push(f);
    }

    fn deliver(&self, signo: i32) {
        if FATAL.contains(&signo) {
            tty::restore_all();
            // Whoever holds the list may hang; the process must end all the same.
            if let Ok(list) = self.fatal.try_lock() {
                list.iter().for_each(|f| f());
            }
            tty::restore_all();
            signal::exit_now(1);
        }
        if signo == libc::SIGCONT {
            tty::reenter_all();
        }
        for f in self.resized.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            f();
        }
    }
}
