//! Files lent to guest code: with the answer to an opening, or to a read, the stub gets what the next calls about the file
//! will ask for (attributes, position, contents), and answers them by itself until it comes to the kernel for whatever
//! reason. Then the kernel *settles*: it takes over the position, and closes the descriptor if the guest has.
//!
//! Of a directory that is the listing, where that is short: programs that walk through trees make a dozen calls about each.
//! One of them is a second descriptor for the same directory, which the stub may give away as long as it knows the
//! lowest that is free; it is made when the loan is settled.
//!
//! Only what nobody else can tell from the real thing is lent: a regular file or a directory of the host, open for reading,
//! of which there is one descriptor, in a table that no other task uses. Whoever changes a host file, opens it for writing or begins
//! to watch files calls [`hal::Host::recall_files`]; after that stubs believe nothing that was lent before. Whoever looks
//! at the descriptors of another task has it settle first ([`Task::files`]).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use abi::{
    FileType, OpenFlags,
    errno::ENOENT,
    fs::{FD_CLOEXEC, O_RDONLY},
    stat::push_dirent64,
};
use hal::{Contents, Lending};

use super::{Task, TaskCx, Work};
use crate::{
    error::Result,
    vfs::{
        fdtable::{NR_OPEN, RLIMIT_NOFILE},
        file::File,
    },
};

/// Most bytes of contents that are lent at once.
const MOST: usize = 12 << 10;
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
    /// Now, or again when the present system call is done.
    file: Option<Loan>,
    /// How often contents were lent in vain of late.
    vain: [u8; 4],
}

struct Loan {
    fd: i32,
    file: Arc<File>,
    epoch: u64,
    /// Whether contents were lent, and which.
    contents: Option<Extent>,
    /// A second descriptor was offered.
    offers: bool,
    /// Some of them were read.
    used: bool,
    /// Guest code does not have it at the moment.
    kept: bool,
}

/// Contents up to the end, a part of them, what comes after a read, and a directory's listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    Part,
    Further,
    Listing,
}

/// System calls that have nothing to do with a file that is open for reading, and leave no long results: what was lent
/// before is lent again after.
fn spares_loans(nr: u64) -> bool {
    use abi::nr::*;
    let Ok(nr) = u32::try_from(nr) else { return false };
    matches!(
        nr,
        SYS_WRITE
            | SYS_WRITEV
            | SYS_MMAP
            | SYS_MPROTECT
            | SYS_MUNMAP
            | SYS_BRK
            | SYS_STAT
            | SYS_LSTAT
            | SYS_NEWFSTATAT
            | SYS_ACCESS
            | SYS_RT_SIGACTION
    )
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
        let Ok(inode) = file.path.inode() else { return };
        if !inode.common().made().is_none_or(|parts| parts.is_quiet()) {
            return;
        }
        if inode.kind() == FileType::Directory {
            // What cannot be lent is asked for as ever.
            let _ = self.lend_directory(fd, file, epoch);
            return;
        }
        let Some(host_file) = file.ops.host_contents() else { return };
        let Ok(attr) = inode.attr() else { return };
        let pos = *file.pos();
        let left = usize::try_from(attr.size.saturating_sub(pos)).unwrap_or(usize::MAX);
        let first = if attr.size < MOST as u64 { Extent::Whole } else { Extent::Part };
        let vain = &mut self.lent.vain;
        let (extent, wanted) = match after {
            After::Opening => {
                vain[Extent::Further as usize] = 0;
                (first, vain[first as usize] < VAIN)
            }
            After::Reading { wanted, short } => {
                if wanted <= MOST || first == Extent::Whole {
                    vain[first as usize] = 0;
                }
                let likely = wanted <= SMALL || wanted <= MOST && vain[Extent::Further as usize] < VAIN;
                (Extent::Further, !short && left > 0 && likely)
            }
        };
        // One more byte than there are shows the end.
        let contents = if wanted {
            Contents::File(&*host_file, MOST.min(left.saturating_add(1)))
        } else {
            Contents::Unread
        };
        let lending = Lending {
            fd,
            pos,
            stat: attr.as_stat().encode(),
            flags: file.flags().bits(),
            fd_flags: self.fd_flags(fd),
            free: None,
            contents,
            at_end: matches!(after, After::Reading { short: true, .. }),
            epoch,
        };
        self.put_on_loan(&lending, file, wanted.then_some(extent));
    }

    fn fd_flags(&self, fd: i32) -> u32 {
        if self.files.entry(fd).is_ok_and(|e| e.cloexec) { FD_CLOEXEC } else { 0 }
    }

    /// [`TaskCx::lend`] for a directory that was just opened.
    fn lend_directory(&mut self, fd: i32, file: &Arc<File>, epoch: u64) -> Result<()> {
        let inode = file.path.inode()?;
        if !inode.attr_lasts() || file.path.dentry.is_removed() {
            return Err(ENOENT);
        }
        let attr = inode.attr()?;
        let likely = self.lent.vain[Extent::Listing as usize] < VAIN && attr.size <= MOST as u64;
        let listing = if likely { self.list_for_loan(file)? } else { None };
        let lending = Lending {
            fd,
            pos: 0,
            stat: attr.as_stat().encode(),
            flags: file.flags().bits(),
            fd_flags: self.fd_flags(fd),
            free: self.files.free(self.task.process.rlimit(RLIMIT_NOFILE)),
            contents: match &listing {
                Some((entries, end)) => Contents::Listing(entries, *end),
                None => Contents::Unlisted,
            },
            at_end: false,
            epoch,
        };
        self.put_on_loan(&lending, file, listing.is_some().then_some(Extent::Listing));
        Ok(())
    }

    /// What getdents64(2) gives of a directory, and the position behind; `None` if it is much.
    fn list_for_loan(&mut self, file: &Arc<File>) -> Result<Option<(Vec<u8>, u64)>> {
        let task = self.task.clone();
        let mut entries = Vec::with_capacity(SMALL);
        let (mut pos, mut full) = (0, false);
        self.ahead.lists(&file.path.dentry, true);
        loop {
            let next = file.ops.read_dir(file, &task, pos, &mut |name, ino, kind, next| {
                full = !push_dirent64(&mut entries, MOST, ino, next.cast_signed(), kind, name);
                if !full {
                    self.ahead.listed(name);
                }
                !full
            })?;
            if full {
                return Ok(None);
            }
            if next == pos {
                return Ok(Some((entries, pos)));
            }
            pos = next;
        }
    }

    fn put_on_loan(&mut self, lending: &Lending<'_>, file: &Arc<File>, contents: Option<Extent>) {
        if self.ctx.lend_file(lending) {
            self.lent.file = Some(Loan {
                fd: lending.fd,
                file: file.clone(),
                epoch: lending.epoch,
                contents,
                offers: lending.free.is_some(),
                used: false,
                kept: false,
            });
            self.task.lent.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Directories are listed.
    pub(crate) fn listing_pays(&mut self) {
        self.lent.vain[Extent::Listing as usize] = 0;
    }

    /// Takes back what was lent. `nr`: the system call that came, if one did.
    #[inline]
    pub(crate) fn settle(&mut self, nr: Option<u64>) {
        if let Some(loan) = self.lent.file.take() {
            self.settle_loan(loan, nr);
        }
    }

    fn settle_loan(&mut self, mut loan: Loan, nr: Option<u64>) {
        let keep = nr.is_some_and(spares_loans);
        let back = self.ctx.take_file_back(keep);
        let closed = back.is_some_and(|b| b.closed);
        if let Some(back) = back {
            *loan.file.pos() = back.pos;
            loan.used |= back.reads > 0;
            // Listing is not reading.
            if loan.contents != Some(Extent::Listing) {
                let io = &self.task.stats.io;
                io[0].fetch_add(back.bytes, Ordering::Relaxed);
                io[2].fetch_add(u64::from(back.reads), Ordering::Relaxed);
            }
            if back.duplicated && std::mem::take(&mut loan.offers) {
                // The number that was offered: nobody else changes the table. Whether it is below the limit was looked at.
                let _ = self.files.alloc(0, NR_OPEN, loan.file.clone(), true);
            }
        }
        let was_out = !std::mem::replace(&mut loan.kept, true);
        if keep && !closed {
            self.lent.file = Some(loan);
        } else {
            if let Some(extent) = loan.contents {
                let vain = &mut self.lent.vain[extent as usize];
                *vain = if loan.used { 0 } else { vain.saturating_add(1) };
            }
            let fd = loan.fd;
            drop(loan);
            if closed && let Ok(file) = self.files.remove(fd) {
                self.close(fd, file);
            }
        }
        if was_out {
            self.task.lent.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Lends again what was kept, if nothing has changed: whatever could is followed by a recall.
    #[inline]
    pub(crate) fn lend_again(&mut self) {
        let Some(loan) = &mut self.lent.file else { return };
        if !loan.kept {
            return;
        }
        let same = self.may_lend
            && Arc::strong_count(&self.files) == 2
            && Arc::strong_count(&loan.file) == 2
            && !self.task.work().contains(Work::TRACED)
            && loan.epoch == self.task.machine.host.lending_epoch();
        if same && self.ctx.lend_file_again() {
            loan.kept = false;
            self.task.lent.fetch_add(1, Ordering::SeqCst);
        } else {
            self.settle(None);
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
