//! Descriptors of files without contents of their own that the stub may answer about.

use hal::{Endless, EndlessUse};

use super::LinuxContext;
use crate::layout::{endless, served};

impl LinuxContext {
    /// What the stub may answer of them.
    pub(super) fn endless_served(&self) -> u32 {
        if self.endless == Endless::default() { 0 } else { served::ENDLESS }
    }

    pub(super) fn put_endless(&mut self, files: &Endless) {
        let slot = self.slot();
        // No epoch is 0, and no descriptor negative: a call that names one is refused by the epoch, too.
        slot.set64(endless::EPOCH, files.epoch);
        slot.set32(endless::NULL, files.null.unwrap_or(-1).cast_unsigned());
        slot.set32(endless::ZERO, files.zero.unwrap_or(-1).cast_unsigned());
        self.endless = *files;
        self.show_lent();
    }

    pub(super) fn take_endless_use(&mut self) -> EndlessUse {
        let slot = self.slot();
        let used = EndlessUse {
            reads: slot.get32(endless::READS),
            writes: slot.get32(endless::WRITES),
            read: slot.get64(endless::READ),
            written: slot.get64(endless::WRITTEN),
        };
        if used != EndlessUse::default() {
            slot.set32(endless::READS, 0);
            slot.set32(endless::WRITES, 0);
            slot.set64(endless::READ, 0);
            slot.set64(endless::WRITTEN, 0);
        }
        used
    }
}
