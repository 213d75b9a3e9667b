//! Semaphore sets (semget(2), semop(2), semctl(2)).
//!
//! Operations of one call are done all together or not at all. A call that cannot be done yet is queued in its set; who
//! changes a value does the queued calls that have become possible, in their order, and wakes only their callers.

use std::{collections::BTreeMap, sync::Arc};

use abi::{
    errno::{E2BIG, EAGAIN, EFBIG, EIDRM, EINVAL, ENOSPC, ERANGE, ETIMEDOUT},
    ipc::{IPC_NOWAIT, IpcPerm, SEM_UNDO, SEMVMX, SemBuf, SemidDs},
};
use ksync::{Mutex, WaitQueue};

pub use super::undo::{SemUndo, leave, share_undo, unshare_undo};
use super::{Charged, Object, check, check_owner, load, new_perm, now, set_perm};
use crate::{
    error::Result,
    locks,
    task::{Task, TaskCx},
};

/// One set.
pub struct SemSet {
    id: i32,
    count: usize,
    pub(super) state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Sem {
    pub(super) value: u16,
    /// Who changed it last (GETPID).
    pub(super) pid: i32,
}

pub(super) struct State {
    pub(super) removed: bool,
    perm: IpcPerm,
    otime: i64,
    ctime: i64,
    pub(super) sems: Vec<Sem>,
    queue: Vec<Queued>,
    /// What is to be added when the owner of an undo list ends, by the list's number.
    pub(super) undo: BTreeMap<u64, Adjust>,
    _charged: Charged,
}

/// Adjustments of one undo list, one for each semaphore.
pub(super) struct Adjust {
    pub(super) by: Vec<i16>,
    _charged: Charged,
}

/// A call that waits.
struct Queued {
    call: Arc<Call>,
    /// The semaphore that stops it, and whether it waits for zero.
    blocked: (usize, bool),
}

struct Call {
    ops: Vec<SemBuf>,
    pid: i32,
    undo: Option<u64>,
    done: Mutex<Option<Result<()>>>,
    wake: WaitQueue,
}

impl Object for SemSet {
    fn perm(&self) -> IpcPerm {
        self.state.lock().perm
    }
    fn id(&self) -> i32 {
        self.id
    }
}

/// Why a call was not done.
enum Stop {
    Error(abi::Errno),
    /// At this operation: the semaphore, and whether it waits for zero.
    Wait {
        op: usize,
        sem: usize,
        zero: bool,
    },
}

impl State {
    /// Does all operations or none. True if a value changed.
    fn perform(&mut self, ops: &[SemBuf], pid: i32, undo: Option<u64>) -> std::result::Result<bool, Stop> {
        for (n, o) in ops.iter().enumerate() {
            if let Err(stop) = self.step(n, o, undo) {
                for o in ops[..n].iter().rev() {
                    self.step_back(o, undo);
                }
                return Err(stop);
            }
        }
        for o in ops {
            self.sems[usize::from(o.num)].pid = pid;
        }
        Ok(ops.iter().any(|o| o.op != 0))
    }

    fn step(&mut self, n: usize, o: &SemBuf, undo: Option<u64>) -> std::result::Result<(), Stop> {
        let sem = usize::from(o.num);
        let value = i32::from(self.sems[sem].value);
        let new = value + i32::from(o.op);
        if o.op == 0 && value != 0 || new < 0 {
            return Err(Stop::Wait { op: n, sem, zero: o.op == 0 });
        }
        if new > SEMVMX {
            return Err(Stop::Error(ERANGE));
        }
        if o.flags & SEM_UNDO != 0
            && let Some(a) = undo.and_then(|u| self.undo.get_mut(&u))
        {
            let by = i32::from(a.by[sem]) - i32::from(o.op);
            a.by[sem] = i16::try_from(by).map_err(|_| Stop::Error(ERANGE))?;
        }
        self.sems[sem].value = new as u16;
        Ok(())
    }

    /// Takes a step back that was done.
    fn step_back(&mut self, o: &SemBuf, undo: Option<u64>) {
        let sem = usize::from(o.num);
        let s = &mut self.sems[sem];
        s.value = (i32::from(s.value) - i32::from(o.op)) as u16;
        if o.flags & SEM_UNDO != 0
            && let Some(a) = undo.and_then(|u| self.undo.get_mut(&u))
        {
            a.by[sem] = (i32::from(a.by[sem]) + i32::from(o.op)) as i16;
        }
    }

    /// Does queued calls for as long as some can be done.
    pub(super) fn run_queue(&mut self, now: i64) {
        let mut at = 0;
        while at < self.queue.len() {
            let call = self.queue[at].call.clone();
            let result = match self.perform(&call.ops, call.pid, call.undo) {
                Err(Stop::Wait { op, sem, zero }) => {
                    if call.ops[op].flags & IPC_NOWAIT as i16 == 0 {
                        self.queue[at].blocked = (sem, zero);
                        at += 1;
                        continue;
                    }
                    Err(EAGAIN)
                }
                Err(Stop::Error(e)) => Err(e),
                Ok(changed) => {
                    self.otime = now;
                    if changed {
                        // What stood before it may go on now.
                        at = 0;
                    }
                    Ok(())
                }
            };
            self.queue.retain(|q| !Arc::ptr_eq(&q.call, &call));
            call.finish(result);
        }
    }

    fn waiting(&self, sem: usize, zero: bool) -> usize {
        self.queue.iter().filter(|q| q.blocked == (sem, zero)).count()
    }

    /// Forgets adjustments: of one semaphore, or of all.
    fn forget_undo(&mut self, sem: Option<usize>) {
        for a in self.undo.values_mut() {
            match sem {
                Some(n) => a.by[n] = 0,
                None => a.by.fill(0),
            }
        }
    }
}

impl Call {
    fn finish(&self, result: Result<()>) {
        *self.done.lock() = Some(result);
        self.wake.wake_all(0);
    }
}

impl SemSet {
    pub fn count(&self) -> usize {
        self.count
    }
    pub fn stat(&self) -> SemidDs {
        let s = self.state.lock();
        SemidDs { perm: s.perm, otime: s.otime, ctime: s.ctime, nsems: self.count as u64 }
    }
    fn live(&self) -> Result<ksync::MutexGuard<'_, State>> {
        let s = self.state.lock();
        if s.removed { Err(EIDRM) } else { Ok(s) }
    }
    pub(super) fn new_adjust(&self, task: &Task) -> Result<Adjust> {
        Ok(Adjust { by: vec![0; self.count], _charged: Charged::new(task, 2 * self.count as u64 + 64)? })
    }
}

/// semget(2).
pub fn get(task: &Task, key: i32, count: i32, flags: u32) -> Result<i32> {
    let ns = task.ipc();
    let cred = task.cred();
    let [msl, mns, _, mni] = &ns.limits.sem;
    let count = usize::try_from(count).map_err(|_| EINVAL)?;
    if count as u64 > load(msl) {
        return Err(EINVAL);
    }
    let fits = |s: &SemSet| if count > s.count { Err(EINVAL) } else { Ok(()) };
    let mut table = ns.sem.lock();
    if let Some(s) = table.look(&cred, key, flags, fits)? {
        return Ok(s.id);
    }
    if count == 0 {
        return Err(EINVAL);
    }
    let total = table.total + count as u64;
    if total > load(mns) {
        return Err(ENOSPC);
    }
    let charged = Charged::new(task, count as u64 * 8 + 256)?;
    let made = table.add(key, load(mni), |id, seq| {
        let state = State {
            removed: false,
            perm: new_perm(&cred, key, flags, seq),
            otime: 0,
            ctime: now(task),
            sems: vec![Sem::default(); count],
            queue: Vec::new(),
            undo: BTreeMap::new(),
            _charged: charged,
        };
        Arc::new(SemSet { id, count, state: Mutex::new(locks::IPC_OBJECT, state) })
    })?;
    table.total = total;
    Ok(made.id)
}

/// Most operations of one call.
pub fn max_ops(task: &Task) -> u64 {
    load(&task.ipc().limits.sem[2])
}

/// semtimedop(2). `timeout_ns`: from now; `None` waits for ever.
pub fn operate(cx: &mut TaskCx, id: i32, ops: Vec<SemBuf>, timeout_ns: Option<u64>) -> Result<()> {
    if ops.is_empty() {
        return Err(EINVAL);
    }
    if ops.len() as u64 > max_ops(&cx.task) {
        return Err(E2BIG);
    }
    let deadline = cx.deadline(timeout_ns);
    let task = cx.task.clone();
    let ns = task.ipc();
    let set = ns.sem.lock().get(id)?;
    if ops.iter().any(|o| usize::from(o.num) >= set.count) {
        return Err(EFBIG);
    }
    let alters = ops.iter().any(|o| o.op != 0);
    check(&task.cred(), &set.perm(), if alters { 0o222 } else { 0o444 })?;
    let undo = if ops.iter().any(|o| o.flags & SEM_UNDO != 0) {
        Some(super::undo::enter(&task, &set)?)
    } else {
        None
    };
    let time = now(&task);
    let pid = task.pid();
    let call = {
        let mut s = set.live()?;
        match s.perform(&ops, pid, undo) {
            Ok(changed) => {
                s.otime = time;
                if changed {
                    s.run_queue(time);
                }
                return Ok(());
            }
            Err(Stop::Error(e)) => return Err(e),
            Err(Stop::Wait { op, .. }) if ops[op].flags & IPC_NOWAIT as i16 != 0 => return Err(EAGAIN),
            Err(Stop::Wait { sem, zero, .. }) => {
                let call = Arc::new(Call {
                    ops,
                    pid,
                    undo,
                    done: Mutex::new(locks::LEAF, None),
                    wake: WaitQueue::new(),
                });
                s.queue.push(Queued { call: call.clone(), blocked: (sem, zero) });
                call
            }
        }
    };
    let waited = task.wait_on(&[&call.wake], deadline, || *call.done.lock());
    match waited {
        Ok(result) => result,
        Err(e) => {
            set.state.lock().queue.retain(|q| !Arc::ptr_eq(&q.call, &call));
            // It may have been done in the meantime.
            let done = *call.done.lock();
            done.unwrap_or(Err(if e == ETIMEDOUT { EAGAIN } else { e }))
        }
    }
}

/// A set by id, or by index as ipcs(1) asks; for who may read it unless `any`.
pub fn look(task: &Task, id: i32, by_index: bool, any: bool) -> Result<Arc<SemSet>> {
    let ns = task.ipc();
    let table = ns.sem.lock();
    let s = if by_index { table.at_index(id)? } else { table.get(id)? };
    if !any {
        check(&task.cred(), &s.perm(), 0o444)?;
    }
    Ok(s)
}

/// What semctl(2) asks of one semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Value,
    Pid,
    /// Callers that wait for it to grow.
    Waiting,
    /// Callers that wait for zero.
    WaitingZero,
}

/// GETVAL and its kin.
pub fn ask(task: &Task, id: i32, num: i32, what: Ask) -> Result<i32> {
    let set = look(task, id, false, false)?;
    let n = usize::try_from(num).ok().filter(|n| *n < set.count).ok_or(EINVAL)?;
    let s = set.live()?;
    let count = |zero| i32::try_from(s.waiting(n, zero)).unwrap_or(i32::MAX);
    Ok(match what {
        Ask::Value => i32::from(s.sems[n].value),
        Ask::Pid => s.sems[n].pid,
        Ask::Waiting => count(false),
        Ask::WaitingZero => count(true),
    })
}

/// GETALL.
pub fn values(task: &Task, id: i32) -> Result<Vec<u16>> {
    let set = look(task, id, false, false)?;
    let s = set.live()?;
    Ok(s.sems.iter().map(|x| x.value).collect())
}

/// How many values SETALL takes.
pub fn count_to_set(task: &Task, id: i32) -> Result<usize> {
    let set = task.ipc().sem.lock().get(id)?;
    check(&task.cred(), &set.perm(), 0o222)?;
    Ok(set.count)
}

/// SETVAL for one (`at`), SETALL for all of `values`. ERANGE.
pub fn assign(task: &Task, id: i32, at: Option<i32>, values: &[u16]) -> Result<()> {
    if values.iter().any(|v| i32::from(*v) > SEMVMX) {
        return Err(ERANGE);
    }
    let set = task.ipc().sem.lock().get(id)?;
    check(&task.cred(), &set.perm(), 0o222)?;
    let first = match at {
        Some(n) => usize::try_from(n).ok().filter(|n| *n < set.count).ok_or(EINVAL)?,
        None => 0,
    };
    let mut s = set.live()?;
    let pid = task.pid();
    for (sem, v) in s.sems[first..].iter_mut().zip(values) {
        *sem = Sem { value: *v, pid };
    }
    s.forget_undo(at.map(|_| first));
    s.ctime = now(task);
    s.run_queue(now(task));
    Ok(())
}

/// IPC_SET.
pub fn set(task: &Task, id: i32, new: &IpcPerm) -> Result<()> {
    let set = task.ipc().sem.lock().get(id)?;
    let mut s = set.live()?;
    check_owner(&task.cred(), &s.perm)?;
    set_perm(&mut s.perm, new)?;
    s.ctime = now(task);
    Ok(())
}

/// IPC_RMID: whoever waits learns of it.
pub fn remove(task: &Task, id: i32) -> Result<()> {
    let ns = task.ipc();
    let mut table = ns.sem.lock();
    let set = table.get(id)?;
    check_owner(&task.cred(), &set.perm())?;
    if table.remove(&set) {
        table.total -= set.count as u64;
    }
    drop(table);
    let mut s = set.state.lock();
    s.removed = true;
    s.undo.clear();
    for q in std::mem::take(&mut s.queue) {
        q.call.finish(Err(EIDRM));
    }
    Ok(())
}

/// Sets in use, the highest index, semaphores in all.
pub fn totals(task: &Task) -> (usize, u32, u64) {
    let ns = task.ipc();
    let t = ns.sem.lock();
    (t.len(), t.max_index(), t.total)
}

/// The ten numbers of IPC_INFO and SEM_INFO.
pub fn info(task: &Task, in_use: bool) -> [i32; 10] {
    let ns = task.ipc();
    let [msl, mns, opm, mni] = &ns.limits.sem;
    let (msl, mns, opm, mni) = (super::int(msl), super::int(mns), super::int(opm), super::int(mni));
    let (sets, _, sems) = totals(task);
    let number = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
    let (usz, aem) = if in_use { (number(sets as u64), number(sems)) } else { (20, SEMVMX) };
    [mns, mni, mns, mns, msl, opm, opm, usz, SEMVMX, aem]
}
