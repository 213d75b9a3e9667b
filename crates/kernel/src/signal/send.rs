//! Sending.

use std::sync::{Arc, atomic::Ordering};

use abi::{
    SigInfo, SigSet, Signal,
    errno::{EAGAIN, ESRCH},
    sched::RLIMIT_SIGPENDING,
    signal::SI_USER,
};

use super::{actions::is_void, queue::Pending, stop};
use crate::{
    error::Result,
    machine::Machine,
    task::{Pid, Process, Task, Work, process::ExitStatus},
};

/// Sends to one thread.
pub fn send_to_task(task: &Arc<Task>, info: SigInfo) {
    // Only queued signals with a value can fail; those go by the other way.
    let _ = try_send_to_task(task, info);
}

/// Sends to a process; any thread may take it.
pub fn send_to_process(process: &Arc<Process>, info: SigInfo) {
    let _ = try_send_to_process(process, info);
}

/// Sends to all members of a process group. ESRCH if there is none.
pub fn send_to_group(machine: &Machine, pgid: Pid, info: SigInfo) -> Result<()> {
    // Under the tree's lock: a member that is just being forked either gets it with its parent, or is not born yet.
    let tree = machine.tree.lock();
    let mut any = false;
    for node in tree.nodes.values().filter(|n| n.pgid == pgid) {
        any = true;
        if node.zombie.is_none() {
            send_to_process(&node.process, info);
        }
    }
    if any { Ok(()) } else { Err(ESRCH) }
}

/// The signal of a write to a pipe or socket that nobody reads.
pub fn sigpipe(task: &Task) {
    let info = SigInfo::user(Signal::SIGPIPE, task.pid(), task.cred().uid);
    let _ = queue_for_task(task, Signal::SIGPIPE, info);
}

/// Queues unless the limit of queued signals is reached (EAGAIN; standard signals of kill(2) and the kernel always
/// find room, as they merge).
fn queue(pending: &mut Pending, process: &Process, s: Signal, info: SigInfo) -> Result<bool> {
    if s.is_rt() && info.code != SI_USER && pending.len() as u64 >= process.rlimit(RLIMIT_SIGPENDING as usize)
    {
        return Err(EAGAIN);
    }
    Ok(pending.push(s, info))
}

/// What a signal does at once, whoever will take it. True if nothing is left to deliver.
fn at_once(process: &Process, s: Signal) -> bool {
    if s == Signal::SIGKILL {
        if !is_void(process, s) {
            process.group_exit(ExitStatus::Signal { signo: 9, core: false });
        }
        return true;
    }
    if s == Signal::SIGCONT {
        discard_everywhere(process, SigSet::STOP);
        stop::continue_process(process);
    } else if SigSet::STOP.has(s) {
        discard_everywhere(process, SigSet::of(&[Signal::SIGCONT]));
    }
    false
}

fn discard_everywhere(process: &Process, set: SigSet) {
    process.signals.lock().pending.discard(set);
    for t in process.threads() {
        t.signals.lock().pending.discard(set);
    }
}

/// Sends to one thread. EAGAIN if too many are queued.
pub fn try_send_to_task(task: &Task, info: SigInfo) -> Result<()> {
    let Some(s) = info.signal() else { return Ok(()) };
    if at_once(&task.process, s) {
        return Ok(());
    }
    queue_for_task(task, s, info)
}

fn queue_for_task(task: &Task, s: Signal, info: SigInfo) -> Result<()> {
    let void = is_void(&task.process, s) && !task.work().contains(Work::TRACED);
    let mut signals = task.signals.lock();
    if void && !signals.mask.get().has(s) {
        return Ok(());
    }
    queue(&mut signals.pending, &task.process, s, info)?;
    signals.mask.announce(true);
    let blocked = signals.mask.get().has(s);
    if !blocked {
        task.post(Work::SIGNAL);
    } else if signals.awaited.has(s) {
        task.waiter.notify();
    }
    drop(signals);
    task.process.signal_wait.wake_all(0);
    Ok(())
}

/// Sends to a process. EAGAIN if too many are queued.
pub fn try_send_to_process(process: &Arc<Process>, info: SigInfo) -> Result<()> {
    if let Some(t) = queue_for_process(process, info)? {
        t.interrupt();
    }
    Ok(())
}

/// Sends to a process but wakes nobody: the thread that is to take the signal must be interrupted
/// ([`Task::interrupt`]) once no lock is held, lest it run into the lock at once.
pub(crate) fn queue_for_process(process: &Arc<Process>, info: SigInfo) -> Result<Option<Arc<Task>>> {
    let Some(s) = info.signal() else { return Ok(None) };
    if at_once(process, s) {
        return Ok(None);
    }
    let traced = |t: &Arc<Task>| t.work().contains(Work::TRACED);
    if is_void(process, s) {
        let threads = process.threads();
        // Ignored now; but where it is blocked the action may still change before it is unblocked.
        let blocked = threads.first().is_some_and(|t| t.signals.lock().mask.get().has(s));
        if !blocked && !threads.iter().any(traced) {
            return Ok(None);
        }
    }
    queue(&mut process.signals.lock().pending, process, s, info)?;
    // Whoever is not among these yet looks for what is pending when it begins.
    let (mut chosen, mut found) = (None, false);
    for t in process.threads() {
        if t.dying.load(Ordering::Relaxed) {
            continue;
        }
        let (open, awaited) = {
            let signals = t.signals.lock();
            signals.mask.announce(true);
            (!signals.mask.get().has(s), signals.awaited.has(s))
        };
        if open && !found {
            found = true;
            chosen = t.mark(Work::SIGNAL).then_some(t);
        } else if awaited && chosen.is_none() && !found {
            chosen = Some(t);
        }
    }
    process.signal_wait.wake_all(0);
    Ok(chosen)
}
