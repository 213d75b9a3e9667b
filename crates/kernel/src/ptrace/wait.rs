//! What wait(2) tells a tracer: stops of its tracees, and ends of those that are not its children.

use std::sync::Arc;

use abi::sched::WEXITED;

use crate::task::{
    Pid, Task, Work,
    exit::{Told, notify_parent},
    process::{ExitStatus, Usage},
    tree::Relations,
    wait::{Change, Report, Selector, Source},
};

/// The end of a tracee that its tracer has not waited for.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    tid: Pid,
    pgid: Pid,
    uid: u32,
    status: ExitStatus,
    usage: Usage,
    /// A whole process, which its parent learns of afterwards.
    whole: bool,
}

fn selects(which: Selector, tid: Pid, pgid: Pid) -> bool {
    match which {
        Selector::Any => true,
        Selector::Pid(p) => p == tid,
        Selector::Group(g) => g == pgid,
    }
}

/// Looks for a report of the tracees of a process; also whether there is any tracee to wait for.
pub(crate) fn find(tree: &Relations, tracer: Pid, which: Selector, options: u32) -> (bool, Option<Report>) {
    let mut any = false;
    for e in tree.trace_ends.get(&tracer).into_iter().flatten() {
        if selects(which, e.tid, e.pgid) {
            any = true;
            if options & WEXITED != 0 {
                let change = Change::Ended(e.status);
                let source = Source::TraceEnd;
                return (true, Some(Report { pid: e.tid, uid: e.uid, change, usage: e.usage, source }));
            }
        }
    }
    for &(_, pid) in tree.trace_leaving.iter().filter(|(t, _)| *t == tracer) {
        // Its end is about to be told, or waits for its last thread.
        any |= selects(which, pid, tree.nodes.get(&pid).map_or(0, |n| n.pgid));
    }
    for (_, tid) in tree.tracees.get(&tracer).into_iter().flatten() {
        let Some(task) = tree.tasks.get(tid) else { continue };
        let pgid = tree.nodes.get(&task.pid()).map_or(0, |n| n.pgid);
        if !selects(which, *tid, pgid) {
            continue;
        }
        any = true;
        let t = task.tracing.lock();
        if t.resume.is_none()
            && let Some(s) = t.stop.as_ref().filter(|s| !s.waited)
        {
            let change = Change::Trapped(s.code);
            drop(t);
            let (uid, usage) = (task.cred().uid, task.usage());
            return (true, Some(Report { pid: *tid, uid, change, usage, source: Source::TraceStop }));
        }
    }
    (any, None)
}

/// Takes a report of [`find`] away. Who is to be woken.
pub(crate) fn consume(tree: &mut Relations, tracer: Pid, report: &Report) -> Option<Told> {
    match report.source {
        Source::Child => None,
        Source::TraceStop => {
            let task = tree.tasks.get(&report.pid)?;
            if let Some(s) = &mut task.tracing.lock().stop {
                s.waited = true;
            }
            None
        }
        Source::TraceEnd => {
            let list = tree.trace_ends.get_mut(&tracer)?;
            let i = list.iter().position(|e| e.tid == report.pid)?;
            let e = list.remove(i);
            if list.is_empty() {
                tree.trace_ends.remove(&tracer);
            }
            if e.whole { release(tree, e.tid) } else { None }
        }
    }
}

/// A process ends that its tracer has been told of: now its parent is.
fn release(tree: &mut Relations, pid: Pid) -> Option<Told> {
    tree.nodes.get_mut(&pid)?.held = false;
    let mut gone = Vec::new();
    let mut told = notify_parent(tree, pid, &mut gone);
    if let Some(t) = &mut told {
        t.gone = gone;
    }
    told
}

/// A process that traced ends: what it has not waited for goes to the parents.
pub(crate) fn release_all(tree: &mut Relations, tracer: Pid, told: &mut Vec<Told>) {
    tree.trace_leaving.retain(|(t, _)| *t != tracer);
    for e in tree.trace_ends.remove(&tracer).unwrap_or_default() {
        if e.whole {
            told.extend(release(tree, e.tid));
        }
    }
}

/// A traced task leaves the tree, under its lock: the bond ends. The tracer is kept in mind for the process's end if the task is
/// its leader, else it is told now.
pub(crate) fn thread_ends(
    tree: &mut Relations,
    task: &Task,
    status: ExitStatus,
    usage: Usage,
) -> Option<Told> {
    task.clear_work(Work::TRACED);
    let link = task.tracing.lock().link.take()?;
    let tid = task.tid();
    if let Some(list) = tree.tracees.get_mut(&link.tracer_pid) {
        list.retain(|(_, t)| *t != tid);
        if list.is_empty() {
            tree.tracees.remove(&link.tracer_pid);
        }
    }
    if task.is_leader() {
        task.process.state.lock().leader_tracer = Some(link.tracer_pid);
        tree.trace_leaving.push((link.tracer_pid, tid));
        return None;
    }
    let pgid = tree.nodes.get(&task.pid()).map_or(0, |n| n.pgid);
    let e = Ended { tid, pgid, uid: task.cred().uid, status, usage, whole: false };
    tell(tree, link.tracer_pid, e)
}

fn tell(tree: &mut Relations, tracer: Pid, e: Ended) -> Option<Told> {
    let node = tree.nodes.get(&tracer).filter(|n| n.zombie.is_none())?;
    let process = node.process.clone();
    let info = crate::task::exit::end_info(e.tid, e.uid, e.status, &e.usage);
    tree.trace_ends.entry(tracer).or_default().push(e);
    let ignored = crate::signal::is_ignored(&process, abi::Signal::SIGCHLD);
    let taker = if ignored { None } else { crate::signal::queue_for_process(&process, info).unwrap_or(None) };
    Some(Told { parent: process, taker, gone: Vec::new() })
}

/// A process has become a zombie, under the tree's lock. If another than its parent traced it, that one is told first.
pub(crate) fn process_ends(tree: &mut Relations, pid: Pid) -> Option<Told> {
    let node = tree.nodes.get(&pid)?;
    let tracer = node.process.state.lock().leader_tracer.take()?;
    tree.trace_leaving.retain(|(_, p)| *p != pid);
    let z = node.zombie.as_ref().filter(|_| tracer != node.parent)?;
    let e = Ended { tid: pid, pgid: node.pgid, uid: node.uid, status: z.status, usage: z.usage, whole: true };
    let told = tell(tree, tracer, e)?;
    if let Some(n) = tree.nodes.get_mut(&pid) {
        n.held = true;
    }
    Some(told)
}

/// The leader of a process is traced by its parent: its stops are told as a tracee's, not as a child's.
pub(crate) fn by_parent(tree: &Relations, parent: Pid, child: &Arc<crate::task::Process>) -> bool {
    tree.tracees.get(&parent).is_some_and(|l| l.iter().any(|(_, t)| *t == child.pid))
}
