//! Files lent to guest code: with the answer to an opening, or to a read, the stub gets what the next calls about the file
//! will ask for (attributes, position, contents), and answers them by itself until it comes to the kernel for whatever
//! reason. Then the kernel *settles*: it takes over the position, and closes the descriptor if the guest has.
//!
//! Only what nobody else can tell from the real thing is lent: a regular file of the host, open for reading, of which
//! there is one descriptor, in a table that no other task uses. Whoever changes a host file, opens it for writing or begins
//! to watch files calls [`hal::Host::recall_files`]; after that stubs believe nothing that was lent before. Whoever looks
//! at the descriptors of another task has it settle first ([`Task::files`]).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use abi::{OpenFlags, fs::O_RDONLY};
use hal::Lending;

use super::{Task, TaskCx, Work};
use crate::vfs::{fdtable, file::File};

/// Most bytes of contents that are lent at once.
const MOST: usize = 16 << 10;
/// Who reads so little at a time will read on.
const SMALL: usize = 4 << 10;
/// After so many times in vain contents are lent no more, until somebody reads.
const VAIN: u8 = 2;

/// How an open file came to be lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Opening,
    /// A read of so many bytes, of which fewer came if `short`.
    Reading {
        wanted: usize,
        short: bool,
    },
}

/// What is lent, and what experience says of contents.
#[derive(Default)]
pub(crate) struct Lent {
    file: Option<(i32, Arc<File>)>,
    /// Whether contents were lent: all up to the end, or a part.
    contents: Option<Extent>,
    /// How often contents were lent in vain of late.
    vain: [u8; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    Part,
}

impl TaskCx {
    /// Lends an open file that the guest is about to use, if that can be done and is likely to pay.
    pub fn lend(&mut self, fd: i32, file: &Arc<File>, after: After) {
        if !self.may_lend || file.flags().access() != O_RDONLY {
            return;
        }
        let machine = self.task.machine.clone();
        // Before anything is looked at that somebody might be changing.
        let epoch = machine.host.lending_epoch();
        let alone = Arc::strong_count(&self.files) == 2 && Arc::strong_count(file) == 2;
        let odd = OpenFlags::PATH | OpenFlags::DIRECT | OpenFlags::ASYNC;
        if !alone
            || file.flags().intersects(odd)
            || machine.vfs.is_watched()
            || self.task.work().contains(Work::TRACED)
        {
            return;
        }
        let Some(host_file) = file.ops.host_contents() else { return };
        let Ok(inode) = file.path.inode() else { return };
        if !inode.common().made().is_none_or(|parts| parts.is_quiet()) {
            return;
        }
        let Ok(attr) = inode.attr() else { return };
        let pos = *file.pos();
        let left = usize::try_from(attr.size.saturating_sub(pos)).unwrap_or(usize::MAX);
        let extent = if left < MOST { Extent::Whole } else { Extent::Part };
        let wanted = match after {
            After::Opening => self.lent.vain[extent as usize] < VAIN,
            After::Reading { wanted, short } => {
                if wanted <= MOST || attr.size < MOST as u64 {
                    let read = if attr.size < MOST as u64 { Extent::Whole } else { Extent::Part };
                    self.lent.vain[read as usize] = 0;
                }
                !short && left > 0 && wanted <= SMALL
            }
        };
        // One more byte than there are shows the end.
        let contents = wanted.then(|| (&*host_file, MOST.min(left.saturating_add(1))));
        let lending = Lending {
            fd,
            pos,
            stat: attr.as_stat().encode(),
            contents,
            at_end: matches!(after, After::Reading { short: true, .. }),
            epoch,
        };
        if self.ctx.lend_file(&lending) {
            self.lent.file = Some((fd, file.clone()));
            self.lent.contents = wanted.then_some(extent);
            self.task.lent.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Takes back what was lent.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if let Some((fd, file)) = self.lent.file.take() {
            self.settle_file(fd, file);
        }
    }

    fn settle_file(&mut self, fd: i32, file: Arc<File>) {
        let back = self.ctx.take_file_back();
        self.task.lent.fetch_add(1, Ordering::SeqCst);
        let Some(back) = back else { return };
        *file.pos() = back.pos;
        if let Some(extent) = self.lent.contents.take() {
            let vain = &mut self.lent.vain[extent as usize];
            *vain = if back.reads == 0 { vain.saturating_add(1) } else { 0 };
        }
        let io = &self.task.stats.io;
        io[0].fetch_add(back.bytes, Ordering::Relaxed);
        io[2].fetch_add(u64::from(back.reads), Ordering::Relaxed);
        drop(file);
        if back.closed
            && let Ok(file) = self.files.remove(fd)
        {
            fdtable::close(&self.task, &self.files, file);
        }
    }
}

/// How often, and how long each time, a task is waited for that is to settle: a tenth of a second.
const TRIES: u32 = 1000;
const TRY: Duration = Duration::from_micros(100);

impl Task {
    /// Has the task settle what its guest code was lent before now.
    pub fn recall_file(&self) {
        let seen = self.lent.load(Ordering::SeqCst);
        if seen.is_multiple_of(2) {
            return;
        }
        self.interrupt();
        for _ in 0..TRIES {
            if self.lent.load(Ordering::SeqCst) != seen {
                break;
            }
            self.machine.host.sleep(TRY);
        }
    }
}
