//! Waiting for children (wait4(2), waitid(2)).

use abi::{
    errno::ECHILD,
    sched::{__WALL, __WCLONE, WCONTINUED, WEXITED, WNOHANG, WNOWAIT, WSTOPPED},
    signal::{CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, CLD_TRAPPED, Signal},
};

use super::{
    Pid, TaskCx,
    process::{ExitStatus, JobState, Usage},
    tree::{Node, Relations},
};
use crate::{error::Result, ptrace};

/// Which children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    Any,
    Pid(Pid),
    /// Members of a group.
    Group(Pid),
}

/// What happened to a child.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub pid: Pid,
    /// Its real user.
    pub uid: u32,
    pub change: Change,
    pub usage: Usage,
    /// Where it is to be taken away.
    pub(crate) source: Source,
}

/// Kinds of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Child,
    TraceStop,
    TraceEnd,
}

/// A child's change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Ended(ExitStatus),
    Stopped(u8),
    /// A tracee's stop: signal, and event above its low byte.
    Trapped(u32),
    Continued,
}

impl Change {
    /// The status word of wait(2).
    pub fn wait_status(self) -> u32 {
        match self {
            Change::Ended(s) => s.wait_status(),
            Change::Stopped(signo) => u32::from(signo) << 8 | 0x7f,
            Change::Trapped(code) => code << 8 | 0x7f,
            Change::Continued => 0xffff,
        }
    }
    /// `si_code` and `si_status` of waitid(2).
    pub fn code_and_status(self) -> (i32, i32) {
        match self {
            Change::Ended(ExitStatus::Code(c)) => (CLD_EXITED, i32::from(c)),
            Change::Ended(ExitStatus::Signal { signo, core: false }) => (CLD_KILLED, i32::from(signo)),
            Change::Ended(ExitStatus::Signal { signo, core: true }) => (CLD_DUMPED, i32::from(signo)),
            Change::Stopped(signo) => (CLD_STOPPED, i32::from(signo)),
            Change::Trapped(code) => (CLD_TRAPPED, code.cast_signed()),
            Change::Continued => (CLD_CONTINUED, Signal::SIGCONT.raw()),
        }
    }
}

/// Waits for a change of the chosen children. `options`: `W*` bits, WEXITED among them if ends are wanted. `None` with
/// WNOHANG if there is none yet. ECHILD if no child fits.
pub fn wait(cx: &mut TaskCx, which: Selector, options: u32) -> Result<Option<Report>> {
    let process = cx.task.process.clone();
    let machine = cx.machine().clone();
    let mut reaped = None;
    let mut told = None;
    let mut look = || {
        let mut tree = machine.tree.lock();
        match find(&tree, process.pid, which, options) {
            Err(e) => Some(Err(e)),
            Ok(None) if options & WNOHANG != 0 => Some(Ok(None)),
            Ok(None) => None,
            Ok(Some(report)) => {
                if options & WNOWAIT == 0 && report.source != Source::Child {
                    told = ptrace::consume(&mut tree, process.pid, &report);
                } else if options & WNOWAIT == 0 {
                    reaped = take(&mut tree, &report, &process);
                }
                Some(Ok(Some(report)))
            }
        }
    };
    let found = cx.task.wait_on(&[&process.child_wait], None, &mut look)?;
    if let Some(t) = told {
        t.wake();
    }
    if let Some(node) = reaped {
        // The pidfd's readers and whoever held the last handle act outside the tree's lock.
        node.process.exit_wait.wake_all(0);
    }
    found
}

fn find(tree: &Relations, parent: Pid, which: Selector, options: u32) -> Result<Option<Report>> {
    let me = tree.nodes.get(&parent).ok_or(ECHILD)?;
    let (mut any, traced) = ptrace::find(tree, parent, which, options);
    if traced.is_some() {
        return Ok(traced);
    }
    let one;
    let children: &[Pid] = match which {
        Selector::Pid(p) => {
            one = [p];
            if tree.nodes.get(&p).is_some_and(|n| n.parent == parent) { &one } else { &[] }
        }
        _ => &me.children,
    };
    for pid in children {
        let Some(node) = tree.nodes.get(pid) else { continue };
        if !selects(node, which, options) {
            continue;
        }
        any = true;
        if let Some(report) = change_of(tree, node, options) {
            return Ok(Some(report));
        }
    }
    if any { Ok(None) } else { Err(ECHILD) }
}

fn selects(node: &Node, which: Selector, options: u32) -> bool {
    if let Selector::Group(g) = which
        && node.pgid != g
    {
        return false;
    }
    let clone_child = node.exit_signal != Signal::SIGCHLD.raw().cast_unsigned();
    options & __WALL != 0 || clone_child == (options & __WCLONE != 0)
}

fn change_of(tree: &Relations, node: &Node, options: u32) -> Option<Report> {
    let report = |change, usage| {
        Some(Report { pid: node.process.pid, uid: node.uid, change, usage, source: Source::Child })
    };
    if let Some(z) = &node.zombie {
        if options & WEXITED == 0 || node.held {
            return None;
        }
        let mut usage = z.usage;
        usage += &node.process.state.lock().children_usage;
        return report(Change::Ended(z.status), usage);
    }
    if ptrace::by_parent(tree, node.parent, &node.process) {
        return None;
    }
    let job = node.process.state.lock().job_report?;
    match job {
        JobState::Stopped(s) if options & WSTOPPED != 0 => report(Change::Stopped(s), node.process.usage()),
        JobState::Running if options & WCONTINUED != 0 => report(Change::Continued, node.process.usage()),
        _ => None,
    }
}

/// Consumes what was reported: reaps the zombie, or forgets the stop.
fn take(tree: &mut Relations, report: &Report, parent: &super::Process) -> Option<Node> {
    if !matches!(report.change, Change::Ended(_)) {
        let node = tree.nodes.get(&report.pid)?;
        node.process.state.lock().job_report = None;
        return None;
    }
    let node = tree.forget(report.pid)?;
    parent.state.lock().children_usage += &report.usage;
    Some(node)
}
