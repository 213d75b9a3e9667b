//! Files without contents of their own, /dev/null and /dev/zero: the stub answers about them by itself, for as long as their
//! descriptors stay what they are.
//!
//! That is certain while no other task uses the table of descriptors, as then only a system call of this task can change
//! it, and after each that changed its version the descriptors are looked at. A watch on any file recalls files, after which the stub asks again.

use std::sync::atomic::Ordering;

use super::{TaskCx, Work};
use crate::vfs::file::{Endless, File};

/// What is lent, and of which version of the table.
#[derive(Default)]
pub(crate) struct EndlessFiles {
    lent: hal::Endless,
    version: (u64, u32),
}

impl TaskCx {
    /// Lends a descriptor that was read from or written to, if its file is one of those.
    pub fn lend_endless(&mut self, fd: i32, file: &File) {
        let Some(kind) = file.ops.endless() else { return };
        let epoch = self.task.machine.host.lending_epoch();
        if !self.may_lend_endless() {
            return;
        }
        let version = self.files.version();
        let same = self.endless.version == version && self.endless.lent.epoch == epoch;
        let mut lent = if same { self.endless.lent } else { hal::Endless { epoch, ..Default::default() } };
        match kind {
            Endless::Null => lent.null = Some(fd),
            Endless::Zero => lent.zero = Some(fd),
        }
        self.endless = EndlessFiles { lent, version };
        self.ctx.lend_endless(&lent);
    }

    fn may_lend_endless(&self) -> bool {
        self.may_lend
            && !self.files.is_shared()
            && !self.task.machine.vfs.is_watched()
            && !self.task.work().contains(Work::TRACED)
    }

    /// Before the guest goes on: takes back what may have changed.
    #[inline]
    pub(crate) fn check_endless(&mut self) {
        if self.endless.lent.epoch == 0 {
            return;
        }
        let used = self.ctx.endless_used();
        let io = &self.task.stats.io;
        io[0].fetch_add(used.read, Ordering::Relaxed);
        io[1].fetch_add(used.written, Ordering::Relaxed);
        io[2].fetch_add(used.reads.into(), Ordering::Relaxed);
        io[3].fetch_add(used.writes.into(), Ordering::Relaxed);
        let version = self.files.version();
        let same = version == self.endless.version || self.is_still_so();
        if same && self.may_lend_endless() {
            self.endless.version = version;
        } else {
            self.endless = EndlessFiles::default();
            self.ctx.lend_endless(&hal::Endless::default());
        }
    }

    /// Each descriptor is of a file as it was lent for, if not of the same.
    fn is_still_so(&self) -> bool {
        let is = |fd: Option<i32>, kind, usable: fn(&File) -> bool| {
            let file = |fd| self.files.get_io(fd).is_ok_and(|f| f.ops.endless() == Some(kind) && usable(&f));
            fd.is_none_or(file)
        };
        let lent = &self.endless.lent;
        is(lent.null, Endless::Null, File::writable) && is(lent.zero, Endless::Zero, File::readable)
    }
}
