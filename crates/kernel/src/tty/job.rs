//! Job control: controlling terminals, foreground groups, background access (credentials(7), ioctl_tty(2)).

use std::sync::Arc;

use abi::{SigInfo, Signal, errno};

use super::Tty;
use crate::{
    error::{ERESTART, Result},
    machine::Machine,
    signal,
    task::{Pid, Process, Task, tree::Relations},
};

/// Group and session of a process.
fn ids(machine: &Machine, pid: Pid) -> (Pid, Pid) {
    machine.tree.lock().nodes.get(&pid).map_or((0, 0), |n| (n.pgid, n.sid))
}

/// No member has a parent in another group of the same session (setpgid(2)).
fn orphaned(r: &Relations, pgid: Pid) -> bool {
    !r.nodes.values().any(|n| {
        n.pgid == pgid
            && n.zombie.is_none()
            && r.nodes.get(&n.parent).is_some_and(|p| p.pgid != pgid && p.sid == n.sid)
    })
}

impl Tty {
    pub(crate) fn signal_foreground(&self, s: Signal) {
        let fg = self.job.lock().foreground;
        if fg != 0
            && let Some(m) = self.machine()
        {
            let _ = signal::send_to_group(&m, fg, SigInfo::kernel(s));
        }
    }

    pub(crate) fn is_controlling(self: &Arc<Self>, process: &Process) -> bool {
        process.tty.lock().as_ref().is_some_and(|t| Arc::ptr_eq(t, self))
    }

    /// Access from the background: stops the group with `s` (SIGTTIN, SIGTTOU), or EIO where nobody could continue it.
    pub(crate) fn check_background(self: &Arc<Self>, task: &Task, s: Signal) -> Result<()> {
        if !self.is_controlling(&task.process) {
            return Ok(());
        }
        let fg = self.job.lock().foreground;
        let (pgid, _) = ids(&task.machine, task.pid());
        if fg == 0 || fg == pgid {
            return Ok(());
        }
        let ignored = task.signals.lock().mask.get().has(s) || signal::is_ignored(&task.process, s);
        if ignored {
            return if s == Signal::SIGTTIN { Err(errno::EIO) } else { Ok(()) };
        }
        if orphaned(&task.machine.tree.lock(), pgid) {
            return Err(errno::EIO);
        }
        signal::send_to_group(&task.machine, pgid, SigInfo::kernel(s))?;
        Err(ERESTART)
    }

    /// Makes it the controlling terminal of the session `task` leads. `steal`: also from another session (root).
    pub(crate) fn set_controlling(self: &Arc<Self>, task: &Task, steal: bool) -> Result<()> {
        let pid = task.pid();
        let (pgid, sid) = ids(&task.machine, pid);
        let mine = task.process.tty.lock().clone();
        let session = self.job.lock().session;
        if sid == pid && session == sid && mine.as_ref().is_some_and(|t| Arc::ptr_eq(t, self)) {
            return Ok(());
        }
        if sid != pid || mine.is_some() {
            return Err(errno::EPERM);
        }
        if session != 0 && session != sid {
            if !steal {
                return Err(errno::EPERM);
            }
            clear_session_tty(&task.machine, session);
        }
        let mut j = self.job.lock();
        j.session = sid;
        j.foreground = pgid;
        drop(j);
        *task.process.tty.lock() = Some(self.clone());
        Ok(())
    }

    /// TIOCSPGRP.
    pub(crate) fn set_foreground(self: &Arc<Self>, task: &Task, pgid: Pid) -> Result<()> {
        if pgid < 0 {
            return Err(errno::EINVAL);
        }
        let (_, sid) = ids(&task.machine, task.pid());
        if !self.is_controlling(&task.process) || self.job.lock().session != sid {
            return Err(errno::ENOTTY);
        }
        let group_session = task
            .machine
            .tree
            .lock()
            .nodes
            .values()
            .find(|n| n.pgid == pgid)
            .map(|n| n.sid)
            .ok_or(errno::ESRCH)?;
        if group_session != sid {
            return Err(errno::EPERM);
        }
        self.job.lock().foreground = pgid;
        Ok(())
    }

    /// Tells the session of a line that has hung up.
    pub(super) fn hangup_session(&self) {
        let j = std::mem::take(&mut *self.job.lock());
        let Some(m) = self.machine() else { return };
        if j.session != 0 {
            if let Some(leader) = m.tree.process(j.session) {
                leader.send(SigInfo::kernel(Signal::SIGHUP));
                leader.send(SigInfo::kernel(Signal::SIGCONT));
            }
            if j.foreground != 0 && j.foreground != j.session {
                let _ = signal::send_to_group(&m, j.foreground, SigInfo::kernel(Signal::SIGHUP));
            }
            clear_session_tty(&m, j.session);
        }
    }
}

/// Takes the controlling terminal from every process of a session.
fn clear_session_tty(machine: &Machine, sid: Pid) {
    let members: Vec<Arc<Process>> =
        machine.tree.lock().nodes.values().filter(|n| n.sid == sid).map(|n| n.process.clone()).collect();
    for p in members {
        let gone = p.tty.lock().take();
        drop(gone);
    }
}

/// The process gives up its controlling terminal (TIOCNOTTY, setsid): a session leader takes it from its session and the
/// foreground group gets SIGHUP and SIGCONT.
pub fn release_ctty(machine: &Machine, process: &Arc<Process>) {
    let Some(tty) = process.tty.lock().take() else { return };
    let (_, sid) = ids(machine, process.pid);
    if sid != process.pid {
        return;
    }
    let fg = {
        let mut j = tty.job.lock();
        if j.session != sid {
            return;
        }
        let fg = j.foreground;
        *j = super::Job::default();
        fg
    };
    if fg != 0 {
        let _ = signal::send_to_group(machine, fg, SigInfo::kernel(Signal::SIGHUP));
        let _ = signal::send_to_group(machine, fg, SigInfo::kernel(Signal::SIGCONT));
    }
    clear_session_tty(machine, sid);
}

/// A session leader ends: as [`release_ctty`]. Called by the exit path, before the process becomes a zombie.
pub fn leader_exits(machine: &Machine, process: &Arc<Process>) {
    release_ctty(machine, process);
}

impl Tty {
    /// The foreground group, 0 if there is none.
    pub fn foreground_group(&self) -> Pid {
        self.job.lock().foreground
    }
}
