//! Job-control stops (signal(7), wait(2)).

use std::sync::{Arc, Weak};

use abi::{
    SigInfo, Signal,
    signal::{CLD_CONTINUED, CLD_STOPPED, SA_NOCLDSTOP, SigFields},
};

use super::queue_for_process;
use crate::task::{Process, Task, TaskCx, Work, groups, process::JobState};

/// Default action of a stop signal: every thread is to stand. Terminal stops do nothing where nobody could continue it.
pub(super) fn stop_process(cx: &mut TaskCx, s: Signal) {
    let process = cx.task.process.clone();
    if s != Signal::SIGSTOP {
        let tree = cx.machine().tree.lock();
        if tree.nodes.get(&process.pid).is_none_or(|n| groups::is_orphaned(&tree, n.pgid)) {
            return;
        }
    }
    let threads: Vec<Arc<Task>> = {
        let mut st = process.state.lock();
        if st.group_exit.is_some() {
            return;
        }
        if matches!(st.job, JobState::Stopped(_)) {
            drop(st);
            if cx.task.work().contains(Work::TRACED) {
                // Its tracer had let it go on.
                cx.task.post(Work::STOP);
            }
            return;
        }
        // A SIGCONT that came meanwhile has taken pending stops away, but not this one: it wins only if it comes later.
        st.job = JobState::Stopped(s.raw().to_le_bytes()[0]);
        cx.machine().tree.process_stopped();
        st.threads.iter().filter_map(Weak::upgrade).collect()
    };
    for t in threads {
        t.post(Work::STOP);
    }
}

/// SIGCONT: a stopped process goes on, whatever becomes of the signal.
pub(super) fn continue_process(process: &Process) {
    let threads: Vec<Arc<Task>> = {
        let mut st = process.state.lock();
        let JobState::Stopped(_) = st.job else { return };
        st.job = JobState::Running;
        if let Some(t) = st.threads.iter().find_map(Weak::upgrade) {
            t.machine.tree.process_continued();
        }
        // Only a stop that was completed, and so reported, is followed by a report of its end.
        if st.stopped != 0 && st.stopped >= st.threads.len() {
            st.job_report = Some(JobState::Running);
            st.job_notify = Some(JobState::Running);
        }
        st.threads.iter().filter_map(Weak::upgrade).collect()
    };
    // A tracer may have asked for a stop of its own.
    for t in threads.iter().filter(|t| !t.work().contains(Work::TRACED)) {
        t.clear_work(Work::STOP);
    }
    process.stop_wait.wake_all(0);
}

/// Stands stopped until continued or killed.
pub fn job_stop(cx: &mut TaskCx) {
    let task = cx.task.clone();
    let process = task.process.clone();
    let complete = {
        let mut st = process.state.lock();
        let JobState::Stopped(_) = st.job else {
            task.clear_work(Work::STOP);
            return;
        };
        st.stopped += 1;
        complete_stop(&mut st)
    };
    if complete {
        notify(&task);
    }
    // A kill ends the wait with an error; the boundary sees it. STOP stays posted until the continuation clears it.
    let stopped = || matches!(process.state.lock().job, JobState::Stopped(_));
    // Somebody who begins to trace it takes the stop over.
    let goes_on = || !stopped() || task.work().contains(Work::TRACED);
    let _ = task.wait_killable(&process.stop_wait, || goes_on().then_some(()));
    process.state.lock().stopped -= 1;
    task.clear_work(Work::STOP);
    // A second stop may have been asked for before we came here.
    if stopped() {
        task.post(Work::STOP);
    }
    notify(&task);
}

/// A traced thread comes to stand in the group's stop, if there is one: its signal.
pub(crate) fn enter_group_stop(task: &Task) -> Option<u8> {
    let (signo, complete) = {
        let mut st = task.process.state.lock();
        let JobState::Stopped(signo) = st.job else { return None };
        st.stopped += 1;
        (signo, complete_stop(&mut st))
    };
    if complete {
        notify(task);
    }
    Some(signo)
}

/// It goes on.
pub(crate) fn leave_group_stop(task: &Task) {
    task.process.state.lock().stopped -= 1;
    notify(task);
}

/// The last thread stands: the stop is complete and to be reported.
fn complete_stop(st: &mut crate::task::process::ProcessState) -> bool {
    let JobState::Stopped(_) = st.job else { return false };
    if st.stopped != st.threads.len() || st.stopped == 0 {
        return false;
    }
    st.job_report = Some(st.job);
    st.job_notify = Some(st.job);
    true
}

/// A thread has ended: those that stand stopped may now be all.
pub fn thread_left(task: &Task) {
    let complete = complete_stop(&mut task.process.state.lock());
    if complete {
        notify(task);
    }
}

/// Tells the parent of a stop or continuation, once.
fn notify(task: &Task) {
    let process = &task.process;
    let Some(change) = process.state.lock().job_notify.take() else { return };
    let usage = process.usage();
    let tree = task.machine.tree.lock();
    let Some(node) = tree.nodes.get(&process.pid) else { return };
    let Some(parent) = tree.nodes.get(&node.parent).map(|n| n.process.clone()) else { return };
    let (code, status) = match change {
        JobState::Stopped(s) => (CLD_STOPPED, i32::from(s)),
        JobState::Running => (CLD_CONTINUED, Signal::SIGCONT.raw()),
    };
    let ticks = |ns: u64| (ns / 10_000_000).cast_signed();
    let fields = SigFields::Chld {
        pid: process.pid,
        uid: node.uid,
        status,
        utime: ticks(usage.user_ns),
        stime: ticks(usage.system_ns),
    };
    let mut told = None;
    if parent.action(Signal::SIGCHLD).flags & SA_NOCLDSTOP == 0 {
        told = queue_for_process(&parent, SigInfo::new(Signal::SIGCHLD, code, fields)).unwrap_or(None);
    }
    drop(tree);
    if let Some(t) = told {
        t.interrupt();
    }
    parent.child_wait.wake_all(0);
}
