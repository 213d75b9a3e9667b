//! Attributes told ahead of being asked for.
//!
//! Programs that look at all files of a directory ask for one name after the other, in the order in which they listed the
//! directory (`tar`, `ls`, `du`), or sorted (`git`). Each question costs two changes of address space, more than its
//! answer. So once a task was seen to ask in such an order, the names that come next are looked up with the present one,
//! and their attributes lent to the guest thread ([`hal::Context::foretell`]), which answers the questions by itself.
//!
//! Told ahead are only attributes that last: those of host files nobody inside has changed ([`super::inode::Inode::attr_lasts`]),
//! below names that lead where they led. Whoever changes one of these, or a directory, a symbolic link or a mount by which
//! a path could lead elsewhere, calls [`hal::Host::recall_files`]. Of changes on the host attributes may be as late as
//! hostfs is.

use std::{
    ops::Range,
    sync::{Arc, Weak, atomic::Ordering},
};

use abi::{
    FileType, OpenFlags, Stat,
    errno::EAGAIN,
    fs::{AT_SYMLINK_NOFOLLOW, R_OK},
};
use hal::Foreseen;

use super::{dentry::Dentry, fdtable, file::File, inode::Inode, open, path::Path, permission};
use crate::{
    error::Result,
    task::{Task, TaskCx},
};

/// Fewest and most names told at once.
const FEWEST: usize = 8;
const MOST: usize = 64;
/// Names of a directory that are remembered; longer listings are not foreseen.
const LISTED: usize = 4096;
/// Listings that are remembered of directories that were left for others: those above, mostly.
const PAST: usize = 4;
/// So many questions in sorted order show that a program asks sorted.
const SORTED: u32 = 2;
/// Batches in vain after which a task is left alone for a while, in questions.
const VAIN: u32 = 3;
const REST: u32 = 256;

/// What a task asked for of late, and what it was told ahead.
#[derive(Default)]
pub(crate) struct Ahead {
    /// The last question: what its path was relative to, its flags, its path up to the last slash.
    dirfd: i32,
    flags: u32,
    prefix: Vec<u8>,
    name: Vec<u8>,
    /// Questions in sorted order until now.
    sorted: u32,
    listing: Option<Listing>,
    past: Vec<Listing>,
    /// What the task lists at the moment.
    reading: Option<Listing>,
    /// Names told with the last answer, without the one that was asked for.
    told: usize,
    /// That one was told, too.
    told_again: bool,
    /// How many are told of a listing at first.
    batch: usize,
    /// It paid to foresee sorted questions: the next directory is probably asked for sorted, too. Or as it was listed.
    is_sorter: bool,
    is_follower: bool,
    /// The same question came twice.
    repeats: bool,
    vain: u32,
    rest: u32,
}

/// Names of a directory in the order in which they are probably asked for.
#[derive(Default)]
struct Listing {
    dir: Weak<Dentry>,
    text: Vec<u8>,
    /// Ends of the names in `text`.
    ends: Vec<usize>,
    /// Index of the name that is expected next.
    next: usize,
    /// Questions that came as expected.
    hits: u32,
    /// How many names are told at once.
    batch: usize,
    is_sorted: bool,
}

impl Listing {
    fn new(dir: &Arc<Dentry>) -> Listing {
        Listing { dir: Arc::downgrade(dir), ..Listing::default() }
    }

    fn push(&mut self, name: &[u8]) {
        self.text.extend_from_slice(name);
        self.ends.push(self.text.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn name(&self, i: usize) -> &[u8] {
        let start = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[i]]
    }

    fn sort(&mut self) {
        if self.is_sorted {
            return;
        }
        let mut names: Vec<&[u8]> = (0..self.len()).map(|i| self.name(i)).collect();
        names.sort_unstable();
        let mut sorted =
            Listing { dir: self.dir.clone(), is_sorted: true, batch: self.batch, ..Listing::default() };
        names.iter().for_each(|n| sorted.push(n));
        *self = sorted;
    }

    fn is_of(&self, dir: &Arc<Dentry>) -> bool {
        std::ptr::eq(self.dir.as_ptr(), Arc::as_ptr(dir))
    }

    /// Notes that `name` was asked for. True if it was expected about now.
    fn asked(&mut self, name: &[u8]) -> bool {
        if self.next > 0 && self.name(self.next - 1) == name {
            // The same again shows nothing.
            return self.hits > 1;
        }
        let ahead = self.next..self.len();
        let Some(at) = ahead.clone().find(|i| self.name(*i) == name) else {
            // Perhaps a second pass.
            let again = (0..ahead.start).find(|i| self.name(*i) == name);
            (self.hits, self.next) = again.map_or((0, 0), |i| (1, i + 1));
            return false;
        };
        // A few may have been passed over: others than regular files, say.
        self.hits = if at - self.next <= FEWEST { self.hits + 1 } else { 0 };
        self.next = at + 1;
        self.hits > 1
    }
}

impl Ahead {
    /// The task lists a directory, from its beginning on if `anew`.
    pub(crate) fn lists(&mut self, dir: &Arc<Dentry>, anew: bool) {
        if anew || !self.reading.as_ref().is_some_and(|r| r.is_of(dir)) {
            self.reading = anew.then(|| Listing::new(dir));
        }
    }

    /// It came to this name.
    pub(crate) fn listed(&mut self, name: &[u8]) {
        match &mut self.reading {
            Some(r) if r.len() < LISTED => {
                if name != b"." && name != b".." {
                    r.push(name);
                }
            }
            _ => self.reading = None,
        }
    }

    /// Takes a question in. True if those that will come next are worth foreseeing.
    fn ask(&mut self, dirfd: i32, flags: u32, prefix: &[u8], name: &[u8]) -> bool {
        if (dirfd, flags) != (self.dirfd, self.flags) || prefix != self.prefix {
            (self.dirfd, self.flags) = (dirfd, flags);
            self.prefix.clear();
            self.prefix.extend_from_slice(prefix);
            self.sorted = 0;
            self.leave();
        } else if name == self.name {
            self.repeats = true;
        } else {
            self.sorted = if *name > *self.name { self.sorted + 1 } else { 0 };
        }
        self.name.clear();
        self.name.extend_from_slice(name);
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        true
    }

    /// The names in the listing that are worth telling with the answer about this one.
    fn expects(&mut self, name: &[u8]) -> Range<usize> {
        let sorted = self.sorted >= SORTED || self.is_sorter;
        let Some(l) = &mut self.listing else { return 0..0 };
        if l.hits == 0 && sorted {
            l.sort();
        }
        let first = l.next == 0;
        // Who went through the last directory in an order goes through this one so, too.
        let goes_on = l.asked(name) || (first && l.next == 1 && (self.is_sorter || self.is_follower));
        if first {
            l.batch = self.batch.max(FEWEST);
        }
        if goes_on { l.next..l.len().min(l.next + l.batch) } else { 0..0 }
    }

    /// The task asks for names of another directory.
    fn leave(&mut self) {
        if let Some(left) = self.listing.take() {
            self.past.retain(|l| !std::ptr::eq(l.dir.as_ptr(), left.dir.as_ptr()));
            if self.past.len() == PAST {
                self.past.remove(0);
            }
            self.past.push(left);
        }
    }

    /// The listing of a directory that the task comes back to, or has just made.
    fn listing_of(&mut self, dir: &Arc<Dentry>) -> Option<Listing> {
        if self.reading.as_ref().is_some_and(|r| r.is_of(dir)) {
            return self.reading.take();
        }
        let at = self.past.iter().position(|l| l.is_of(dir))?;
        Some(self.past.remove(at))
    }

    /// What became of the names that were told last.
    fn settle(&mut self, used: usize) {
        let told = std::mem::take(&mut self.told);
        let again = std::mem::take(&mut self.told_again);
        self.repeats &= !again || used > 0;
        if told == 0 {
            return;
        }
        let used = used - used.min(usize::from(again));
        let paid = used * 2 >= told;
        if let Some(l) = &mut self.listing {
            // One that is left for others again and again soon tells no more than the name that is asked for.
            l.batch = if paid { (told * 2).clamp(FEWEST, MOST) } else { l.batch / 4 };
            (self.is_sorter, self.is_follower) = (paid && l.is_sorted, paid && !l.is_sorted);
        }
        if paid {
            self.vain = 0;
            self.batch = (told * 2).clamp(FEWEST, MOST);
        } else {
            self.vain += 1;
            self.batch = FEWEST;
        }
        if self.vain == VAIN {
            self.vain = 0;
            self.rest = REST;
        }
    }
}

/// Something changed about an inode that paths may lead through: what was told of names behind it counts no more.
pub(super) fn leads_elsewhere(task: &Task, inode: &dyn Inode) {
    if matches!(inode.kind(), FileType::Directory | FileType::Symlink) {
        task.machine.host.recall_files();
    }
}

/// A path goes through a descriptor's link in /proc: from now on whoever closes one of a directory recalls. What is told
/// with the answer about the first such path is recalled now, as the descriptor may be closed already.
pub(super) fn walks_descriptor(task: &Task) {
    if !task.machine.vfs.walks_descriptors.swap(true, Ordering::SeqCst) {
        task.machine.host.recall_files();
    }
}

/// Whether the attributes may be told ahead.
fn lasts(inode: &dyn Inode) -> bool {
    inode.attr_lasts() && inode.common().made().is_none_or(|parts| parts.is_quiet())
}

impl TaskCx {
    /// The guest lists a directory, from its beginning if `anew`.
    pub fn lists(&mut self, dir: &File, anew: bool) {
        if self.may_lend {
            self.ahead.lists(&dir.path.dentry, anew);
            self.listing_pays();
        }
    }

    /// It came to this name.
    pub fn listed(&mut self, name: &[u8]) {
        self.ahead.listed(name);
    }

    /// Does what closing means for a file that was taken out of the task's table. Of names below a descriptor in a table of
    /// one task only that task was told.
    pub fn close(&mut self, fd: i32, file: Arc<File>) {
        let alone = Arc::strong_count(&self.files) == 2;
        if !alone || self.task.machine.vfs.walks_descriptors.load(Ordering::SeqCst) {
            return fdtable::close(&self.task, &self.files, file);
        }
        if self.ahead.dirfd == fd {
            self.ctx.foretold_used();
            (self.ahead.told, self.ahead.told_again) = (0, false);
        }
        fdtable::close_unnoticed(&self.task, &self.files, file);
    }

    /// The attributes of `found` were asked for, by `path`; more of its directory may be told with the answer. `epoch` is the
    /// host's from before the walk.
    pub fn foresee(&mut self, dirfd: i32, flags: u32, path: &[u8], found: &Path, epoch: u64) {
        if !self.may_lend {
            return;
        }
        let slash = path.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        let (prefix, name) = path.split_at(slash);
        if self.ahead.told > 0 || self.ahead.told_again {
            let used = self.ctx.foretold_used();
            self.ahead.settle(used);
        }
        if name.is_empty() || name == b"." || name == b".." || !self.ahead.ask(dirfd, flags, prefix, name) {
            return;
        }
        // Where the walk went through a link or a mount at its end, the directory is another one.
        let Some(dir) = found.dentry.parent() else { return };
        if *found.dentry.name() != *name || Arc::ptr_eq(&found.dentry, &found.mount.root) {
            return;
        }
        if self.task.machine.vfs.is_watched() {
            return;
        }
        let _ = self.tell_ahead(&Path { mount: found.mount.clone(), dentry: dir }, found, name, epoch);
    }

    fn tell_ahead(&mut self, dir: &Path, found: &Path, name: &[u8], epoch: u64) -> Result<()> {
        let ahead = &mut self.ahead;
        if ahead.listing.is_none() {
            if let Some(listing) = ahead.listing_of(&dir.dentry) {
                ahead.listing = Some(listing);
            } else if ahead.sorted >= SORTED || ahead.is_sorter {
                let listing = self.list(dir);
                // An empty one where that is not to be done.
                self.ahead.listing = Some(listing.unwrap_or_else(|_| Listing::new(&dir.dentry)));
            }
        }
        let ahead = &mut self.ahead;
        if ahead.listing.as_ref().is_some_and(|l| !l.is_of(&dir.dentry)) {
            ahead.listing = None;
        }
        let next = ahead.expects(name);
        let inode = found.inode()?;
        let again = ahead.repeats && lasts(&**inode);
        if next.is_empty() && !again {
            return Ok(());
        }
        let follow = ahead.flags & AT_SYMLINK_NOFOLLOW == 0;
        let mut answers: Vec<(&[u8], [u8; Stat::SIZE])> = Vec::with_capacity(next.len() + 1);
        if again {
            answers.push((name, inode.attr()?.as_stat().encode()));
        }
        for i in next {
            let Some(name) = ahead.listing.as_ref().map(|l| l.name(i)) else { break };
            let Ok(entry) = dir.dentry.lookup(name, &self.task) else { break };
            let Some(inode) = entry.inode_ref() else { continue };
            let elsewhere = entry.is_mount_point() || (follow && inode.kind() == FileType::Symlink);
            if elsewhere || !lasts(&**inode) {
                continue;
            }
            answers.push((name, inode.attr()?.as_stat().encode()));
        }
        if answers.is_empty() {
            return Ok(());
        }
        let foreseen = Foreseen {
            dirfd: ahead.dirfd,
            flags: ahead.flags,
            prefix: &ahead.prefix,
            answers: &answers,
            epoch,
        };
        let told = self.ctx.foretell(&foreseen);
        (ahead.told, ahead.told_again) = (told.saturating_sub(usize::from(again)), again);
        Ok(())
    }

    /// Lists the directory as one who may read it sees it.
    fn list(&self, dir: &Path) -> Result<Listing> {
        let cred = self.task.cred();
        permission::check(&**dir.inode()?, &cred, R_OK)?;
        if self.task.machine.vfs.is_watched() {
            return Err(EAGAIN);
        }
        let file = open::open_place(&self.task, &cred, dir, OpenFlags::DIRECTORY)?;
        let mut listing = Listing::new(&dir.dentry);
        let mut pos = 0;
        loop {
            let mut any = false;
            let next = file.ops.read_dir(&file, &self.task, pos, &mut |name, _, _, _| {
                any = true;
                if name != b"." && name != b".." {
                    listing.push(name);
                }
                listing.len() < LISTED
            })?;
            if listing.len() >= LISTED {
                return Err(EAGAIN);
            }
            if !any || next == pos {
                break;
            }
            pos = next;
        }
        Ok(listing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let mut l = Listing::default();
        names.iter().for_each(|n| l.push(n.as_bytes()));
        l
    }

    #[test]
    fn names_are_kept_and_sorted() {
        let mut l = listing(&["b", "aa", "", "c"]);
        assert_eq!((0..4).map(|i| l.name(i)).collect::<Vec<_>>(), [&b"b"[..], b"aa", b"", b"c"]);
        l.sort();
        assert_eq!((0..4).map(|i| l.name(i)).collect::<Vec<_>>(), [&b""[..], b"aa", b"b", b"c"]);
    }

    #[test]
    fn questions_in_order_are_expected() {
        let mut l = listing(&["a", "b", "c", "d", "e"]);
        assert!(!l.asked(b"a"), "one question shows nothing");
        assert!(l.asked(b"b") && l.asked(b"d"));
        assert_eq!(l.next, 4);
        assert!(!l.asked(b"x"));
        assert!(!l.asked(b"a"), "from the beginning");
        assert!(l.asked(b"b"));
    }

    #[test]
    fn a_question_elsewhere_begins_anew() {
        let mut a = Ahead::default();
        for (name, sorted) in [("1", 0), ("10", 1), ("100", 2), ("11", 3), ("1", 0), ("2", 1)] {
            assert!(a.ask(-100, 0, b"d/", name.as_bytes()));
            assert_eq!(a.sorted, sorted, "{name}");
        }
        for (dirfd, flags, prefix) in [(-100, 256, "d/"), (3, 256, "d/"), (3, 256, "e/")] {
            a.listing = Some(listing(&["x"]));
            assert!(a.ask(dirfd, flags, prefix.as_bytes(), b"z"));
            assert!(a.listing.is_none() && a.sorted == 0);
            assert_eq!(a.past.len(), 1);
        }
    }

    #[test]
    fn who_followed_one_listing_will_follow_the_next() {
        let mut a = Ahead { listing: Some(listing(&["a", "b", "c"])), ..Ahead::default() };
        assert_eq!(a.expects(b"a"), 0..0);
        assert_eq!(a.expects(b"b"), 2..3);
        a.told = 1;
        a.settle(1);
        a.listing = Some(listing(&["d", "e", "f"]));
        assert_eq!(a.expects(b"d"), 1..3);
        // The same question again is about the same.
        assert_eq!(a.expects(b"d"), 0..0);
        assert_eq!(a.expects(b"e"), 2..3);
    }

    #[test]
    fn a_listing_that_is_left_again_and_again_tells_little() {
        let mut a = Ahead { listing: Some(listing(&["a"; 40])), is_follower: true, ..Ahead::default() };
        let mut told = Vec::new();
        for _ in 0..4 {
            let names = a.expects(b"a");
            told.push(names.len());
            a.told = names.len();
            a.settle(0);
            (a.is_follower, a.vain) = (true, 0);
            let next = a.listing.as_ref().unwrap().next;
            a.listing.as_mut().unwrap().hits = 2;
            assert!(next < 20);
        }
        assert_eq!(told, [8, 2, 0, 0]);
    }

    #[test]
    fn who_asks_twice_is_told_the_same_again() {
        let mut a = Ahead::default();
        a.ask(3, 0, b"", b"n");
        assert!(!a.repeats);
        a.ask(3, 0, b"", b"n");
        assert!(a.repeats);
        a.told_again = true;
        a.settle(1);
        assert!(a.repeats);
        a.told_again = true;
        a.settle(0);
        assert!(!a.repeats);
    }

    #[test]
    fn who_asks_for_little_is_left_alone() {
        let mut a = Ahead::default();
        let mut batches = Vec::new();
        for _ in 0..4 {
            a.told = a.batch.max(FEWEST);
            a.settle(a.told);
            batches.push(a.batch);
        }
        assert_eq!(batches, [16, 32, 64, 64]);
        for _ in 0..VAIN {
            assert!(a.ask(-100, 0, b"", b"n"));
            a.told = 48;
            a.settle(3);
        }
        assert_eq!((0..REST).filter(|_| a.ask(-100, 0, b"", b"n")).count(), 0);
        assert!(a.ask(-100, 0, b"", b"n"));
    }
}
