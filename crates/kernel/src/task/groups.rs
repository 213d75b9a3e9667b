//! Process groups and sessions (setpgid(2), setsid(2), credentials(7)).

use abi::errno::{EACCES, EINVAL, EPERM, ESRCH};

use super::{Pid, TaskCx, process::JobState, tree::Relations};
use crate::error::Result;

/// No live member has a parent in another group of the same session.
pub fn is_orphaned(r: &Relations, pgid: Pid) -> bool {
    !r.nodes.values().any(|n| {
        n.pgid == pgid
            && n.zombie.is_none()
            && r.nodes.get(&n.parent).is_some_and(|p| p.pgid != pgid && p.sid == n.sid)
    })
}

/// Some member is stopped.
pub fn has_stopped(r: &Relations, pgid: Pid) -> bool {
    r.nodes.values().any(|n| {
        n.pgid == pgid && n.zombie.is_none() && matches!(n.process.state.lock().job, JobState::Stopped(_))
    })
}

/// setpgid(2).
pub fn setpgid(cx: &TaskCx, pid: Pid, pgid: Pid) -> Result<()> {
    if pgid < 0 {
        return Err(EINVAL);
    }
    let me = cx.task.pid();
    let pid = if pid == 0 { me } else { pid };
    let pgid = if pgid == 0 { pid } else { pgid };
    let mut tree = cx.machine().tree.lock();
    let my_sid = tree.nodes.get(&me).map(|n| n.sid).ok_or(ESRCH)?;
    let target = tree.nodes.get(&pid).ok_or(ESRCH)?;
    if pid != me {
        if target.parent != me {
            return Err(ESRCH);
        }
        if target.sid != my_sid {
            return Err(EPERM);
        }
        if target.process.state.lock().did_exec {
            return Err(EACCES);
        }
    }
    if target.sid == pid {
        return Err(EPERM);
    }
    if pgid != pid {
        // Must be a group of the session already.
        if !tree.nodes.values().any(|n| n.pgid == pgid && n.sid == my_sid) {
            return Err(EPERM);
        }
    }
    if let Some(n) = tree.nodes.get_mut(&pid) {
        n.pgid = pgid;
    }
    Ok(())
}

/// getpgid(2) and getsid(2): the group and session of a process or thread.
pub fn ids_of(cx: &TaskCx, pid: Pid) -> Result<(Pid, Pid)> {
    let tree = cx.machine().tree.lock();
    let leader = if pid == 0 {
        cx.task.pid()
    } else if tree.nodes.contains_key(&pid) {
        pid
    } else {
        tree.tasks.get(&pid).ok_or(ESRCH)?.pid()
    };
    tree.nodes.get(&leader).map(|n| (n.pgid, n.sid)).ok_or(ESRCH)
}

/// setsid(2): a new session and group led by the caller, without a terminal.
pub fn setsid(cx: &TaskCx) -> Result<Pid> {
    let pid = cx.task.pid();
    {
        let mut tree = cx.machine().tree.lock();
        if tree.nodes.values().any(|n| n.pgid == pid) {
            return Err(EPERM);
        }
        let node = tree.nodes.get_mut(&pid).ok_or(ESRCH)?;
        node.pgid = pid;
        node.sid = pid;
    }
    let old = cx.task.process.tty.lock().take();
    drop(old);
    Ok(pid)
}
