//! Guest threads that do not react to a kick.
//!
//! Honest code is stopped by the kick signal within the time that it takes to get a processor. Hostile code can block
//! that signal by a frame of its own making, or wait in stub code with registers of its choice. Such a thread is looked
//! at again and again from its kick on; when it has had its time and its kernel thread still waits for it, its stub is
//! killed, and the guest process with it.

use std::{
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use crate::{engine::lock, sys::process, thread::Thread};

/// Time between two looks.
const TICK: Duration = Duration::from_millis(100);
/// Looks that a thread has at least.
const LOOKS: u32 = 15;
/// Processor time, in nanoseconds, that its process must have had since the kick: one that gets none is not to blame.
const ENOUGH: u64 = 50_000_000;
/// Looks at which it is to blame if it sleeps: a sleeper needs no processor time to react.
const ASLEEP: u32 = 10;
/// Looks after which it is to blame in any case.
const LAST: u32 = 100;

/// The threads that were kicked while they ran guest code. Its own host thread lives only while there are any.
#[derive(Default)]
pub(crate) struct Watchdog {
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    running: bool,
    new: Vec<Weak<Thread>>,
}

/// What is known of a kicked thread.
struct Suspect {
    thread: Weak<Thread>,
    since: Instant,
    /// Processor time of its process at the first look.
    cpu: u64,
    looks: u32,
    asleep: u32,
    /// Looks at which it had stopped, and its kernel thread had not seen it.
    stopped: u32,
}

impl Watchdog {
    /// Looks at a thread until it has reacted.
    pub(crate) fn watch(self: &Arc<Self>, thread: Weak<Thread>) {
        let mut list = lock(&self.list);
        list.new.push(thread);
        if list.running {
            return;
        }
        let me = self.clone();
        let run = move || {
            crate::signals::block_all();
            me.run();
        };
        // Without a thread this is tried again at the next kick.
        list.running =
            std::thread::Builder::new().name("watchdog".into()).stack_size(128 << 10).spawn(run).is_ok();
    }

    fn run(&self) {
        let mut suspects: Vec<Suspect> = Vec::new();
        loop {
            std::thread::sleep(TICK);
            let new = std::mem::take(&mut lock(&self.list).new);
            let (since, first) =
                (Instant::now(), |t: &Weak<Thread>| t.upgrade().map_or(0, |t| process_time(&t)));
            suspects.extend(new.into_iter().map(|thread| {
                let cpu = first(&thread);
                Suspect { thread, since, cpu, looks: 0, asleep: 0, stopped: 0 }
            }));
            suspects.retain_mut(|s| s.thread.upgrade().is_some_and(|t| s.look(&t)));
            let mut list = lock(&self.list);
            if suspects.is_empty() && list.new.is_empty() {
                list.running = false;
                return;
            }
        }
    }
}

fn process_time(thread: &Thread) -> u64 {
    thread.stub.with_pid(process::process_time_ns).unwrap_or(0)
}

impl Suspect {
    /// Whether to go on looking.
    fn look(&mut self, thread: &Thread) -> bool {
        if !thread.ignores_kick() {
            return false;
        }
        if thread.is_served() {
            // Its memory is being changed, for as long as that takes the host.
            (self.looks, self.asleep, self.since) = (0, 0, Instant::now());
            return true;
        }
        if thread.is_stopped() && self.stopped < LAST {
            // Its kernel thread has only to get a processor; a word that says so and is made up is believed for a while.
            self.stopped += 1;
            thread.nudge();
            return true;
        }
        self.looks += 1;
        self.asleep += u32::from(thread.sleeps());
        let worked = process_time(thread).saturating_sub(self.cpu) >= ENOUGH;
        let long = self.looks >= LOOKS && self.since.elapsed() >= TICK * LOOKS;
        if (long && (worked || self.asleep >= ASLEEP)) || self.looks >= LAST {
            thread.stub.kill();
            return false;
        }
        // A signal can get lost in stub code that guest code has entered, and so can a wake-up.
        thread.nudge();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use hal::Kicker;

    #[test]
    fn a_stopped_thread_is_not_blamed_for_its_kernel_thread() {
        let engine = Engine::start(0).unwrap_or_else(|e| panic!("{e}"));
        let (stub, _service, thread) = engine.bear_empty(|_| {}).unwrap();
        // Stopped, kicked, and for its kernel thread still in guest code: nobody looks at the state word.
        engine.placement.before_resume(&thread, true);
        thread.kick();
        let since = Instant::now().checked_sub(TICK * LAST).unwrap();
        let thread_ref = Arc::downgrade(&thread);
        let mut s = Suspect { thread: thread_ref, since, cpu: 0, looks: 0, asleep: 0, stopped: 0 };
        assert!(thread.is_stopped() && thread.ignores_kick());
        assert!((0..LAST).all(|_| s.look(&thread)), "as long as a kernel thread may want for a processor");
        // A word that guest code made up is not believed for ever.
        assert!((0..=LAST).any(|_| !s.look(&thread)));
        stub.await_death(Duration::from_secs(5));
        assert!(stub.death().is_some());
        engine.close();
    }
}
