//! Robust futexes: locks whose owner ends are given up (set_robust_list(2)). What else is looked at then.

use std::sync::Arc;

use abi::{
    errno::EINVAL,
    sched::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS},
};

use hal::{EndWord, EndWords};

use super::compare_exchange;
use crate::{error::Result, task::TaskCx};

/// Entries looked at (ROBUST_LIST_LIMIT): the list may be a ring, or damaged.
const LIMIT: u32 = 2048;

/// Addresses that a task's end looks at. While the task has a guest thread, whose stub may change them, they are kept there.
#[derive(Default)]
pub struct AtEnd {
    robust_head: u64,
    clear_tid: u64,
    lent: Option<Arc<dyn EndWords>>,
}

impl AtEnd {
    pub fn get(&self, word: EndWord) -> u64 {
        match (&self.lent, word) {
            (Some(lent), _) => lent.get(word),
            (None, EndWord::RobustHead) => self.robust_head,
            (None, EndWord::ClearTid) => self.clear_tid,
        }
    }

    /// Only the task itself changes them.
    pub fn set(&mut self, word: EndWord, addr: u64) {
        match (&self.lent, word) {
            (Some(lent), _) => lent.set(word, addr),
            (None, EndWord::RobustHead) => self.robust_head = addr,
            (None, EndWord::ClearTid) => self.clear_tid = addr,
        }
    }

    /// Takes one for the last time.
    pub(crate) fn take(&mut self, word: EndWord) -> u64 {
        let addr = self.get(word);
        self.set(word, 0);
        addr
    }

    /// Keeps them with a guest thread from now on, or (`None`) with none: before the present one ends.
    pub(crate) fn keep_in(&mut self, lent: Option<Arc<dyn EndWords>>) {
        let words = [EndWord::RobustHead, EndWord::ClearTid].map(|w| (w, self.get(w)));
        self.lent = lent;
        words.into_iter().for_each(|(w, addr)| self.set(w, addr));
    }
}

/// Gives up the robust futexes of a task that ends. What the list says is not trusted: the walk ends at the first address
/// that cannot be read.
pub fn exit_robust(cx: &mut TaskCx) {
    let head = cx.task.at_end.lock().take(EndWord::RobustHead);
    if head != 0 {
        // A broken list is the program's affair.
        let _ = walk(cx, head);
    }
}

/// An entry's address, and whether its lock is a priority-inheriting one.
fn entry(word: u64) -> (u64, bool) {
    (word & !1, word & 1 != 0)
}

fn walk(cx: &mut TaskCx, head: u64) -> Result<()> {
    let h: [u8; 24] = cx.read_array(head)?;
    let word = |i: usize| h[8 * i..8 * i + 8].iter().rev().fold(0u64, |a, b| a << 8 | u64::from(*b));
    let (mut at, offset, pending) = (entry(word(0)), word(1), entry(word(2)));
    for _ in 0..LIMIT {
        if at.0 == head {
            break;
        }
        // The entry may leave the list once its lock is given up.
        let next = cx.read_u64(at.0);
        if at.0 != pending.0 {
            give_up(cx, at.0.wrapping_add(offset), at.1, false)?;
        }
        at = entry(next?);
    }
    if pending.0 != 0 {
        give_up(cx, pending.0.wrapping_add(offset), pending.1, true)?;
    }
    Ok(())
}

fn give_up(cx: &mut TaskCx, addr: u64, pi: bool, pending: bool) -> Result<()> {
    if !addr.is_multiple_of(4) {
        return Err(EINVAL);
    }
    loop {
        let found = cx.read_u32(addr)?;
        let owner = found & FUTEX_TID_MASK;
        if pending && !pi && owner == 0 {
            // It ended between the unlock and the wake.
            let _ = cx.mm.space.futex_wake(addr, 1, true);
            return Ok(());
        }
        if owner != cx.task.tid().cast_unsigned() {
            return Ok(());
        }
        // Waiters of a priority-inheriting lock are served when the task's locks are looked through.
        if compare_exchange(cx, addr, found, found & FUTEX_WAITERS | FUTEX_OWNER_DIED)? == found {
            if !pi && found & FUTEX_WAITERS != 0 {
                let _ = cx.mm.space.futex_wake(addr, 1, true);
            }
            return Ok(());
        }
    }
}
