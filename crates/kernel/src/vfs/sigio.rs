//! Signal-driven I/O (fcntl(2), "Managing signals"): who is told by a signal that a file opened for O_ASYNC is ready.
//!
//! A [`Watcher`] stands on the wait queues of the file. Wakes come with locks held, under which no signal can be sent, so
//! they only note what happened; a thread of the machine, started with the first watcher, sends the signals.

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicU32, Ordering},
};

use abi::{
    SigInfo, Signal,
    errno::{EAGAIN, EINVAL, ENOTTY, ESRCH},
    fs::{F_OWNER_PGRP, F_OWNER_PID, F_OWNER_TID},
    signal::{POLL_ERR, POLL_HUP, POLL_IN, POLL_OUT, POLL_PRI, SigFields},
};
use ksync::{Mutex, WaitQueue, WaitToken, Waiter, Wake};

use super::{file::File, poll::PollEvents};
use crate::{
    error::Result,
    locks,
    machine::Machine,
    signal::{send_to_process, send_to_task, try_send_to_process, try_send_to_task},
    task::{Pid, Process, Task},
};

/// Whom signals about a file go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// `F_OWNER_*`.
    pub kind: i32,
    pub id: Pid,
}

/// What is kept of F_SETOWN and F_SETSIG, and the watch of O_ASYNC.
pub struct FileSignals(Mutex<State>);

#[derive(Default)]
struct State {
    target: Option<Target>,
    /// User and effective user who named the target.
    by: (u32, u32),
    signal: u32,
    watch: Option<Watch>,
}

struct Watch {
    places: Vec<(Arc<WaitQueue>, WaitToken)>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        for (queue, token) in &self.places {
            queue.remove(*token);
        }
    }
}

impl Default for FileSignals {
    fn default() -> Self {
        FileSignals(Mutex::new(locks::LEAF, State::default()))
    }
}

impl FileSignals {
    pub fn target(&self) -> Option<Target> {
        self.0.lock().target
    }

    /// Names who is told, `None` for nobody. ESRCH if there is none such.
    pub fn set_target(&self, target: Option<Target>, by: &Task) -> Result<()> {
        if let Some(t) = target {
            let tree = &by.machine.tree;
            let there = match t.kind {
                F_OWNER_TID => tree.task(t.id).is_some(),
                F_OWNER_PID => tree.process(t.id).is_some() || tree.task(t.id).is_some(),
                F_OWNER_PGRP => tree.lock().nodes.values().any(|n| n.pgid == t.id),
                _ => return Err(EINVAL),
            };
            if !there {
                return Err(ESRCH);
            }
        }
        let cred = by.cred();
        let mut s = self.0.lock();
        s.target = target;
        s.by = (cred.uid, cred.euid);
        Ok(())
    }

    /// The signal to send, 0 for a SIGIO without details.
    pub fn signal(&self) -> u32 {
        self.0.lock().signal
    }
    pub fn set_signal(&self, signal: u32) {
        self.0.lock().signal = signal;
    }

    /// Signals begin or end (O_ASYNC). `fd` is what they tell. ENOTTY for a file that sends none.
    pub fn watch(file: &Arc<File>, task: &Task, fd: i32, on: bool) -> Result<()> {
        let signals = file.signals();
        let watch = if !on {
            None
        } else if file.ops.signals_io() {
            let machine = &task.machine;
            machine.sigio.start(machine)?;
            let watcher = Arc::new_cyclic(|me| Watcher {
                file: Arc::downgrade(file),
                machine: Arc::downgrade(machine),
                fd,
                due: AtomicU32::new(0),
                me: Weak::clone(me),
            });
            let queues = file.ops.poll_queues().into_iter();
            let places = queues.map(|q| (q.clone(), q.add(watcher.clone()))).collect();
            Some(Watch { places })
        } else {
            return Err(ENOTTY);
        };
        let before = std::mem::replace(&mut signals.0.lock().watch, watch);
        drop(before);
        Ok(())
    }

    fn send(&self, machine: &Machine, fd: i32, code: i32, band: PollEvents) {
        let (target, by, signal) = {
            let s = self.0.lock();
            (s.target, s.by, s.signal)
        };
        let Some(target) = target else { return };
        let plain = SigInfo::kernel(Signal::SIGIO);
        let info = i32::try_from(signal)
            .ok()
            .and_then(Signal::new)
            .map_or(plain, |s| SigInfo::new(s, code, SigFields::Poll { band: i64::from(band.bits()), fd }));
        let process = |p: &Arc<Process>| {
            let may = p.threads().first().is_some_and(|t| may_tell(by, t));
            // Where the queue is full, a SIGIO says so.
            if may && try_send_to_process(p, info) == Err(EAGAIN) {
                send_to_process(p, plain);
            }
        };
        match target.kind {
            F_OWNER_PGRP => {
                let members: Vec<_> = {
                    let tree = machine.tree.lock();
                    let of_group = tree.nodes.values().filter(|n| n.pgid == target.id && n.zombie.is_none());
                    of_group.map(|n| n.process.clone()).collect()
                };
                members.iter().for_each(process);
            }
            F_OWNER_PID => {
                if let Some(p) = machine.tree.process(target.id) {
                    process(&p);
                }
            }
            _ => {
                if let Some(t) = machine.tree.task(target.id).filter(|t| may_tell(by, t))
                    && try_send_to_task(&t, info) == Err(EAGAIN)
                {
                    send_to_task(&t, plain);
                }
            }
        }
    }
}

/// May who named `to` have it sent signals?
fn may_tell((uid, euid): (u32, u32), to: &Task) -> bool {
    let c = to.cred();
    euid == 0 || [uid, euid].iter().any(|u| *u == c.uid || *u == c.suid)
}

struct Watcher {
    file: Weak<File>,
    machine: Weak<Machine>,
    fd: i32,
    /// What happened since signals were sent last.
    due: AtomicU32,
    me: Weak<Watcher>,
}

/// What a wake without bits may mean.
const ANYTHING: PollEvents = PollEvents::IN.union(PollEvents::OUT).union(PollEvents::HUP);

impl Wake for Watcher {
    fn wake(&self, events: u32) {
        let events = if events == 0 { ANYTHING.bits() } else { events };
        if self.due.fetch_or(events, Ordering::SeqCst) == 0
            && let (Some(machine), Some(me)) = (self.machine.upgrade(), self.me.upgrade())
        {
            machine.sigio.due.lock().push(me);
            machine.sigio.waiter.notify();
        }
    }
}

impl Watcher {
    /// Sends what is due.
    fn tell(&self, machine: &Machine) {
        let due = PollEvents::from_bits_retain(self.due.swap(0, Ordering::SeqCst));
        let Some(file) = self.file.upgrade() else { return };
        let now = file.ops.poll(&file);
        // Somebody may have taken already what came; that something came is told all the same.
        let came = due.contains(PollEvents::IN) && !due.contains(PollEvents::OUT);
        let input = PollEvents::IN | PollEvents::RDNORM;
        let kinds = [
            (came || now.intersects(input) && due.intersects(input), POLL_IN, input),
            (
                (now & due).contains(PollEvents::OUT),
                POLL_OUT,
                PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND,
            ),
            ((now & due).contains(PollEvents::PRI), POLL_PRI, PollEvents::PRI | PollEvents::RDBAND),
            ((now & due).contains(PollEvents::ERR), POLL_ERR, PollEvents::ERR),
            ((now & due).contains(PollEvents::HUP), POLL_HUP, PollEvents::HUP | PollEvents::ERR),
        ];
        for (_, code, band) in kinds.into_iter().filter(|k| k.0) {
            file.signals().send(machine, self.fd, code, band);
        }
    }
}

/// The thread that sends signals about files, and what it has to do.
pub struct SigioThread {
    /// Taken inside wakes, like the ready lists of epoll.
    due: Mutex<Vec<Arc<Watcher>>>,
    waiter: Waiter,
    started: OnceLock<()>,
}

impl Default for SigioThread {
    fn default() -> Self {
        SigioThread {
            due: Mutex::new(locks::EPOLL_READY, Vec::new()),
            waiter: Waiter::new(),
            started: OnceLock::new(),
        }
    }
}

impl SigioThread {
    fn start(&self, machine: &Arc<Machine>) -> Result<()> {
        if self.started.set(()).is_err() {
            return Ok(());
        }
        let m = machine.clone();
        let run = move || {
            m.sigio.waiter.attach();
            loop {
                m.sigio.waiter.clear();
                let due = std::mem::take(&mut *m.sigio.due.lock());
                if due.is_empty() {
                    m.sigio.waiter.park(None);
                }
                for watcher in due {
                    watcher.tell(&m);
                }
            }
        };
        machine.host.spawn("sigio", Box::new(run)).map_err(|_| EAGAIN)
    }
}
