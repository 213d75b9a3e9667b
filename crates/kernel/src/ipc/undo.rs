//! What semop(2) with SEM_UNDO takes back when a process ends.

use std::{
    collections::btree_map::Entry,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use abi::{errno::EIDRM, ipc::SEMVMX};
use ksync::Mutex;

use super::sem::SemSet;
use crate::{error::Result, locks, task::Task};

/// The undo list of a process, or of tasks that share it (CLONE_SYSVSEM). The adjustments stand in the sets.
pub struct SemUndo {
    number: u64,
    sets: Mutex<Vec<Weak<SemSet>>>,
}

/// The list of a task, made if it has none.
fn list(task: &Task) -> Arc<SemUndo> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut slot = task.sem_undo.lock();
    slot.get_or_insert_with(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(SemUndo { number, sets: Mutex::new(locks::IPC, Vec::new()) })
    })
    .clone()
}

/// Makes room for the caller's adjustments in a set; the number they are kept under.
pub(super) fn enter(task: &Task, set: &Arc<SemSet>) -> Result<u64> {
    let list = list(task);
    let mut sets = list.sets.lock();
    let mut s = set.state.lock();
    if s.removed {
        return Err(EIDRM);
    }
    if let Entry::Vacant(place) = s.undo.entry(list.number) {
        place.insert(set.new_adjust(task)?);
        drop(s);
        sets.retain(|w| w.strong_count() > 0);
        sets.push(Arc::downgrade(set));
    }
    Ok(list.number)
}

/// A child that shares the undo list of `parent` (clone(2), CLONE_SYSVSEM).
pub fn share_undo(parent: &Task, child: &Task) {
    let shared = list(parent);
    *child.sem_undo.lock() = Some(shared);
}

/// unshare(2) of the list: what it undoes is undone now if nobody else shares it.
pub fn unshare_undo(task: &Task) {
    let undo = task.sem_undo.lock().take();
    leave(task, undo);
}

/// A task gives its list up; the last one undoes.
pub fn leave(task: &Task, undo: Option<Arc<SemUndo>>) {
    let Some(list) = undo.and_then(Arc::into_inner) else { return };
    let sets = std::mem::take(&mut *list.sets.lock());
    let now = task.machine.clock.now().sec;
    for set in sets.iter().filter_map(Weak::upgrade) {
        let mut s = set.state.lock();
        let Some(adjust) = s.undo.remove(&list.number) else { continue };
        for (sem, by) in s.sems.iter_mut().zip(&adjust.by).filter(|(_, by)| **by != 0) {
            let value = i32::from(sem.value) + i32::from(*by);
            sem.value = value.clamp(0, SEMVMX) as u16;
            sem.pid = task.pid();
        }
        s.run_queue(now);
    }
}
