//! Ends stubs that do not come when they are called.
//!
//! A kick (SIGURG) brings a guest thread to the kernel within microseconds, or when the host next lets it run. Hostile
//! code can keep it away: by a forged signal frame that blocks the signal, or by standing in the stub's own code on a
//! control page of its making. Nobody could then stop, kill or end such a guest; so whoever lets a kick go unanswered
//! for [`PATIENCE`], though the host gave it the time to answer, is killed as by SIGKILL.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use crate::{engine::lock, thread::Thread};

/// Unanswered for so long, it is no accident: nothing that the host does to a runnable thread takes that long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// A thread that was kicked.
struct Called {
    thread: Weak<Thread>,
    /// How many kicks it had taken by then.
    taken: u32,
    /// For how long it could have answered.
    silent: Duration,
    looked: Instant,
    /// How long it had run and waited for a processor by then, in nanoseconds; nobody looked yet.
    times: Option<(u64, u64)>,
}

#[derive(Default)]
struct State {
    called: Vec<Called>,
    started: bool,
    closed: bool,
}

/// The watchdog of a machine. Its thread starts with the first kick.
#[derive(Default)]
pub(crate) struct Watchdog {
    state: Mutex<State>,
    wake: Condvar,
}

impl Watchdog {
    /// Notes a kick that was sent to a running thread.
    pub(crate) fn called(self: &Arc<Self>, thread: &Arc<Thread>) {
        let mut state = lock(&self.state);
        if state.closed || state.called.iter().any(|c| std::ptr::eq(c.thread.as_ptr(), Arc::as_ptr(thread))) {
            return;
        }
        state.called.push(Called {
            thread: Arc::downgrade(thread),
            taken: thread.kicks_taken(),
            silent: Duration::ZERO,
            looked: Instant::now(),
            times: None,
        });
        if !state.started {
            let me = self.clone();
            let run = move || {
                crate::signals::block_all();
                me.watch();
            };
            // Without a thread for it there is no watch; the next kick tries again.
            let thread = std::thread::Builder::new().name("watchdog".into()).stack_size(128 << 10);
            state.started = thread.spawn(run).is_ok();
        } else if state.called.len() == 1 {
            self.wake.notify_one();
        }
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.wake.notify_one();
    }

    fn watch(&self) {
        let mut state = lock(&self.state);
        while !state.closed {
            if state.called.is_empty() {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state = self.wake.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            let now = Instant::now();
            state.called.retain_mut(|c| {
                let Some(thread) = c.thread.upgrade() else { return false };
                if thread.is_dead() || !thread.owes_an_answer(c.taken) {
                    return false;
                }
                // Only a thread that the host kept waiting for a processor all the time had no chance to answer.
                let (ran, waited) = thread.schedstat();
                let past = now.duration_since(std::mem::replace(&mut c.looked, now));
                let could_answer = c.times.replace((ran, waited)).is_some_and(|(r, w)| {
                    ran != r || u128::from(waited.saturating_sub(w)) <= past.as_nanos() / 4
                });
                if could_answer {
                    c.silent += past;
                }
                if c.silent < PATIENCE {
                    return true;
                }
                thread.stub.kill();
                false
            });
        }
    }
}
