//! Names told ahead: what of them stands in the slot, for the stub to answer from.

use hal::Foreseen;

use super::LinuxContext;
use crate::{layout::names, x86_64::cycles};

impl LinuxContext {
    /// Puts as many answers into the slot as there is room for.
    pub(super) fn tell_names(&mut self, foreseen: &Foreseen<'_>) -> usize {
        if !self.may_serve || self.died.is_some() || foreseen.prefix.len() > names::PREFIX_MAX {
            return 0;
        }
        let slot = self.slot();
        let (mut at, mut told) = (names::ANSWERS, 0);
        for (name, stat) in foreseen.answers.iter().take(names::MOST) {
            let len = (names::NAME + name.len() + 1).next_multiple_of(8);
            if at + len > names::END {
                break;
            }
            slot.set32(at, len as u32);
            slot.write(at + names::STAT, stat);
            slot.write(at + names::NAME, name);
            slot.write(at + names::NAME + name.len(), &[0]);
            at += len;
            told += 1;
        }
        slot.write(names::PREFIX, foreseen.prefix);
        slot.set32(names::PREFIX_LEN, foreseen.prefix.len() as u32);
        slot.set32(names::DIRFD, foreseen.dirfd.cast_unsigned());
        slot.set32(names::FLAGS, foreseen.flags);
        slot.set32(names::LEFT, told as u32);
        slot.set32(names::NEXT, names::ANSWERS as u32);
        slot.set32(names::USED, 0);
        slot.set64(names::SINCE, cycles());
        slot.set64(names::EPOCH, foreseen.epoch);
        self.names_told = told;
        self.show_lent();
        told
    }

    /// Ends that; how many answers the guest says it used.
    pub(super) fn forget_names(&mut self) -> usize {
        let told = std::mem::take(&mut self.names_told);
        if told == 0 {
            return 0;
        }
        let slot = self.slot();
        let used = (slot.get32(names::USED) as usize).min(told);
        slot.set32(names::LEFT, 0);
        self.show_lent();
        used
    }
}
