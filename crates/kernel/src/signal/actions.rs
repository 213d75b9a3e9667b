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
use hal::SignalWords;
use ksync::Mutex;

use super::signals_changed;
use crate::{
    error::Result,
    locks,
    task::{Process, TaskCx},
};

/// Dispositions, indexed by signal number minus one. Shared with CLONE_SIGHAND.
pub struct SignalActions {
    table: Mutex<Table>,
}

/// The table; while it is lent, what counts is with the only thread that uses it, whose stub changes it, too.
struct Table {
    own: [SigAction; 64],
    lent: Option<Arc<dyn SignalWords>>,
}

impl Table {
    fn get(&self, i: usize) -> SigAction {
        match &self.lent {
            // Only those that can be changed are believed.
            Some(words) if !UNCHANGEABLE.contains(&i) => {
                let [handler, flags, restorer, mask] = words.action(i);
                let mask = SigSet(mask).minus(SigSet::UNBLOCKABLE);
                SigAction { handler, flags: flags & KNOWN, restorer, mask }
            }
            _ => self.own[i],
        }
    }

    fn set(&mut self, i: usize, a: SigAction) {
        self.own[i] = a;
        if let Some(words) = &self.lent {
            words.set_action(i, [a.handler, a.flags, a.restorer, a.mask.bits()]);
        }
    }
}

const UNCHANGEABLE: [usize; 2] = [Signal::SIGKILL.index(), Signal::SIGSTOP.index()];

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
const _: () = assert!(KNOWN == hal::ACTION_FLAGS as u64);

impl SignalActions {
    pub fn new(table: [SigAction; 64]) -> Arc<SignalActions> {
        Arc::new(SignalActions { table: Mutex::new(locks::LEAF, Table { own: table, lent: None }) })
    }
    pub fn get(&self, s: Signal) -> SigAction {
        self.table.lock().get(s.index())
    }
    pub fn set(&self, s: Signal, action: SigAction) -> SigAction {
        let mut table = self.table.lock();
        let old = table.get(s.index());
        table.set(s.index(), action);
        old
    }
    /// All actions, as fork copies them and /proc shows them.
    pub fn snapshot(&self) -> [SigAction; 64] {
        let table = self.table.lock();
        std::array::from_fn(|i| table.get(i))
    }

    /// Keeps them with a guest thread from now on, or (`None`) with none: before the present one ends.
    fn keep_in(&self, words: Option<Arc<dyn SignalWords>>) {
        let mut table = self.table.lock();
        let now: [SigAction; 64] = std::array::from_fn(|i| table.get(i));
        table.lent = words;
        now.into_iter().enumerate().for_each(|(i, a)| table.set(i, a));
    }
}

impl TaskCx {
    /// Who changes actions again and again gets them lent, if no other thread uses them.
    pub fn lend_actions(&mut self) {
        let actions = self.task.process.actions.read().clone();
        self.action_calls += 1;
        // Held by the process, and just now here.
        if self.action_calls < 2 && !self.wants_actions
            || self.actions_lent
            || Arc::strong_count(&actions) > 2
        {
            return;
        }
        let words = self.task.signals.lock().mask.words();
        if words.is_some() && self.task.process.threads().len() == 1 {
            actions.keep_in(words);
            self.actions_lent = true;
            self.ctx.lend_actions(true);
        }
    }

    /// Before another thread uses them, or this guest thread ends.
    pub(crate) fn take_back_actions(&mut self) {
        self.action_calls = 0;
        if std::mem::take(&mut self.actions_lent) {
            self.ctx.lend_actions(false);
            let actions = self.task.process.actions.read().clone();
            actions.keep_in(None);
        }
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
