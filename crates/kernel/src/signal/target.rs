//! Whom a system call may signal (kill(2), tgkill(2)).

use std::sync::Arc;

use abi::{
    SigInfo, Signal,
    errno::{EINVAL, EPERM, ESRCH},
};

use super::{send_to_process, try_send_to_process};
use crate::{
    error::Result,
    task::{Cred, Pid, Process, Task, TaskCx, tree::Relations},
};

/// The permission rule of kill(2), with the target's real and saved user ids. SIGCONT is always allowed within a session.
fn allowed(cred: &Cred, uid: u32, suid: u32, same_session: bool, s: Option<Signal>) -> bool {
    cred.euid == uid
        || cred.euid == suid
        || cred.uid == uid
        || cred.uid == suid
        || cred.has(abi::cap::CAP_KILL)
        || s == Some(Signal::SIGCONT) && same_session
}

fn process_allowed(tree: &Relations, cx: &TaskCx, cred: &Cred, pid: Pid, s: Option<Signal>) -> bool {
    let Some(node) = tree.nodes.get(&pid) else { return false };
    let mine = tree.nodes.get(&cx.task.pid()).map(|n| n.sid);
    let (uid, suid) = match node.process.threads().first() {
        Some(t) => {
            let c = t.cred();
            (c.uid, c.suid)
        }
        None => (node.uid, node.uid),
    };
    allowed(cred, uid, suid, mine == Some(node.sid), s)
}

/// EPERM unless the caller may send `s` to the process; ESRCH if it is gone.
pub fn may_signal(cx: &TaskCx, process: &Process, s: Option<Signal>) -> Result<()> {
    if process.pid == cx.task.pid() {
        return Ok(());
    }
    let tree = cx.machine().tree.lock();
    if !tree.nodes.contains_key(&process.pid) {
        return Err(ESRCH);
    }
    if process_allowed(&tree, cx, &cx.cred(), process.pid, s) { Ok(()) } else { Err(EPERM) }
}

/// kill(2): to a process, a group (negative, or 0 for the caller's) or everybody (-1). Signal 0 only checks.
pub fn kill(cx: &mut TaskCx, pid: Pid, signo: i32) -> Result<()> {
    let s = match signo {
        0 => None,
        n => Some(Signal::new(n).ok_or(EINVAL)?),
    };
    let cred = cx.cred();
    let me = cx.task.pid();
    let info = s.map(|s| SigInfo::user(s, me, cred.uid));
    if pid == me {
        return info.map_or(Ok(()), |i| try_send_to_process(&cx.task.process, i));
    }
    let tree = cx.machine().tree.lock();
    if pid > 0 {
        // A thread's id names its process as well.
        let leader = match tree.tasks.get(&pid) {
            Some(t) => t.pid(),
            None => pid,
        };
        let node = tree.nodes.get(&leader).ok_or(ESRCH)?;
        if !process_allowed(&tree, cx, &cred, leader, s) {
            return Err(EPERM);
        }
        if let Some(i) = info
            && node.zombie.is_none()
        {
            send_to_process(&node.process, i);
        }
        return Ok(());
    }
    let group = match pid {
        0 => tree.nodes.get(&me).map(|n| n.pgid).ok_or(ESRCH)?,
        -1 => 0,
        i32::MIN => return Err(ESRCH),
        g => -g,
    };
    send_to_many(cx, &tree, &cred, group, s, info)
}

/// Sends `info` to all members of a group that the caller may signal; 0 is everybody but the caller and process 1.
fn send_to_many(
    cx: &TaskCx,
    tree: &Relations,
    cred: &Cred,
    group: Pid,
    s: Option<Signal>,
    info: Option<SigInfo>,
) -> Result<()> {
    let me = cx.task.pid();
    let (mut found, mut sent) = (false, false);
    for (p, node) in &tree.nodes {
        let hit = if group == 0 { *p > 1 && *p != me } else { node.pgid == group };
        if !hit {
            continue;
        }
        found = true;
        if !process_allowed(tree, cx, cred, *p, s) {
            continue;
        }
        sent = true;
        if let Some(i) = info
            && node.zombie.is_none()
        {
            send_to_process(&node.process, i);
        }
    }
    match (found, sent) {
        (_, true) => Ok(()),
        // kill(-1) that finds only what it may not touch.
        (true, false) => Err(EPERM),
        (false, false) => Err(ESRCH),
    }
}

/// A signal to a process group (pidfd_send_signal(2)). ESRCH, EPERM.
pub fn kill_group(cx: &TaskCx, pgid: Pid, s: Option<Signal>, info: Option<SigInfo>) -> Result<()> {
    let tree = cx.machine().tree.lock();
    send_to_many(cx, &tree, &cx.cred(), pgid, s, info)
}

/// The thread `tid`, of process `pid` if that is given. ESRCH.
pub fn task_of(cx: &TaskCx, pid: Option<Pid>, tid: Pid) -> Result<Arc<Task>> {
    if tid == cx.task.tid() && pid.is_none_or(|p| p == cx.task.pid()) {
        return Ok(cx.task.clone());
    }
    let t = cx.machine().tree.task(tid).ok_or(ESRCH)?;
    if pid.is_none_or(|p| p == t.pid()) { Ok(t) } else { Err(ESRCH) }
}
