//! Dispositions (sigaction(2)).

use std::sync::{Arc, atomic::Ordering};

use abi::{
    SigAction, SigSet, Signal,
    errno::EINVAL,
    signal::{
        DefaultAction, SA_EXPOSE_TAGBITS, SA_NOCLDSTOP, SA_NOCLDWAIT, SA_NODEFER, SA_ONSTACK, SA_RESETHAND,
        SA_RESTART, SA_RESTORER, SA_SIGINFO, SIG_DFL, SIG_IGN,
    },
};
use ksync::Mutex;

use super::signals_changed;
use crate::{error::Result, locks, task::Process};

/// Dispositions, indexed by signal number minus one. Shared with CLONE_SIGHAND.
pub struct SignalActions {
    table: Mutex<[SigAction; 64]>,
}

/// Flags that are kept; others are cleared, so that programs can find out what is there (sigaction(2)).
const KNOWN: u64 = SA_NOCLDSTOP
    | SA_NOCLDWAIT
    | SA_SIGINFO
    | SA_ONSTACK
    | SA_RESTART
    | SA_NODEFER
    | SA_RESETHAND
    | SA_EXPOSE_TAGBITS
    | SA_RESTORER;

impl SignalActions {
    pub fn new(table: [SigAction; 64]) -> Arc<SignalActions> {
        Arc::new(SignalActions { table: Mutex::new(locks::LEAF, table) })
    }
    pub fn get(&self, s: Signal) -> SigAction {
        self.table.lock()[s.index()]
    }
    pub fn set(&self, s: Signal, action: SigAction) -> SigAction {
        std::mem::replace(&mut self.table.lock()[s.index()], action)
    }
    /// All actions, as fork copies them and /proc shows them.
    pub fn snapshot(&self) -> [SigAction; 64] {
        *self.table.lock()
    }
}

impl Process {
    /// The action for a signal.
    pub fn action(&self, s: Signal) -> SigAction {
        let actions = self.actions.read().clone();
        actions.get(s)
    }
}

/// Does nothing on this signal: ignored, or its default is that.
fn does_nothing(a: &SigAction, s: Signal) -> bool {
    match a.handler {
        SIG_IGN => true,
        SIG_DFL => matches!(s.default_action(), DefaultAction::Ignore | DefaultAction::Cont),
        _ => false,
    }
}

/// The process ignores this signal (or its default is to ignore it).
pub fn is_ignored(process: &Process, s: Signal) -> bool {
    does_nothing(&process.action(s), s)
}

/// A signal that reaches `process` would have no effect. Init is also spared what it does not handle, forced signals
/// excepted.
pub(super) fn is_void(process: &Process, s: Signal) -> bool {
    let a = process.action(s);
    does_nothing(&a, s)
        || a.handler == SIG_DFL && process.is_init.load(Ordering::Relaxed) && !process.state.lock().forced
}

/// What a parent wants to know of its children: SIGCHLD is ignored; no zombies are to be kept (SA_NOCLDWAIT).
pub fn child_policy(parent: &Process) -> (bool, bool) {
    let a = parent.action(Signal::SIGCHLD);
    (a.handler == SIG_IGN, a.flags & SA_NOCLDWAIT != 0)
}

/// rt_sigaction(2): sets the action and returns the old one. EINVAL for SIGKILL and SIGSTOP.
pub fn set_action(process: &Process, s: Signal, new: Option<SigAction>) -> Result<SigAction> {
    let actions = process.actions.read().clone();
    let Some(mut new) = new else { return Ok(actions.get(s)) };
    if s.is_unblockable() {
        return Err(EINVAL);
    }
    new.flags &= KNOWN;
    new.mask = new.mask.minus(SigSet::UNBLOCKABLE);
    let old = actions.set(s, new);
    if does_nothing(&new, s) {
        // What is pending of it is dropped, blocked or not (POSIX, sigaction).
        let set = SigSet::of(&[s]);
        process.signals.lock().pending.discard(set);
        for t in process.threads() {
            t.signals.lock().pending.discard(set);
            signals_changed(&t);
        }
    }
    Ok(old)
}

/// Dispositions over execve(2): handlers become the default, what is ignored stays so; the table is no longer shared.
pub fn exec_reset(process: &Process) {
    let mut table = process.actions.read().clone().snapshot();
    for a in &mut table {
        *a = if a.handler == SIG_IGN {
            SigAction { handler: SIG_IGN, ..SigAction::default() }
        } else {
            SigAction::default()
        };
    }
    *process.actions.write() = SignalActions::new(table);
}
