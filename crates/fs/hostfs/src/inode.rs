//! Inodes of hostfs: where a host file was last found, what is known of it, and what can be done with it by name.

mod names;
mod xattr;

use std::{
    any::Any,
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use abi::{FileType, OpenFlags, errno, fs as flags};
use hal::{HostFile, HostStat, SetAttr};
use kernel::{
    Result,
    task::{Cred, Task},
    vfs::{
        file::FileOps,
        inode::{Attr, AttrChange, DirOps, FileSystem, Inode, InodeCommon, Link, XattrOps},
    },
};

use crate::{
    HostFs, Key, PROC_MAGIC, dirs, is_absent, lock,
    open::{DirFile, Opened, RegularFile},
    parked,
};

/// Absent names remembered per directory.
const NEGATIVES: usize = 256;

/// Where an inode can be found.
#[derive(Clone)]
pub(crate) struct Place {
    /// `None` for the root.
    parent: Option<Arc<HostInode>>,
    name: Arc<[u8]>,
    /// No name leads there any more (or never did: O_TMPFILE).
    gone: bool,
}

/// A directory, `None` for the root itself, and a name in it.
type Name = (Option<Arc<HostInode>>, Arc<[u8]>);

impl Place {
    pub(crate) fn root() -> Place {
        Place { parent: None, name: Arc::from(&b"."[..]), gone: false }
    }
    pub(crate) fn at(parent: Arc<HostInode>, name: &[u8]) -> Place {
        Place { parent: Some(parent), name: Arc::from(name), gone: false }
    }
    fn nowhere() -> Place {
        Place { gone: true, ..Place::root() }
    }
}

/// What the host last said.
struct Seen {
    stat: HostStat,
    /// Accesses that the host granted to the machine since `stat.ctime`.
    granted: u32,
}

#[derive(Default)]
struct Handle {
    file: Option<Arc<dyn HostFile>>,
    used: bool,
}

/// What only a few inodes have.
#[derive(Default)]
struct Rare {
    /// Open directory handle, under the control of the mount's ring.
    handle: Mutex<Handle>,
    /// Names that were absent, and when.
    negatives: Mutex<HashMap<Box<[u8]>, u64>>,
    /// Keeps the host file of an unnamed file.
    pinned: Mutex<Option<Arc<Opened>>>,
    /// Target of a link; it never changes.
    target: Mutex<Option<Arc<[u8]>>>,
}

/// A host file, directory, link or node.
pub struct HostInode {
    fs: Arc<HostFs>,
    me: Weak<HostInode>,
    common: InodeCommon,
    key: Key,
    kind: FileType,
    /// A host process filesystem starts here; shown empty.
    sealed: AtomicBool,
    /// As guests see it.
    ino: u64,
    place: Mutex<Place>,
    seen: Mutex<Seen>,
    /// When that was ([`hal::Host::coarse_ns`]); 0 = the host must be asked again. Walks read this and `mode` with no lock.
    at_ns: AtomicU64,
    /// `seen.stat.mode`.
    mode: AtomicU32,
    rare: OnceLock<Box<Rare>>,
    /// The open host file that openings share.
    opened: Mutex<Weak<Opened>>,
}

// There may be tens of thousands.
const _: () = assert!(size_of::<HostInode>() <= 352);

impl HostInode {
    pub(crate) fn new(fs: Arc<HostFs>, key: Key, stat: &HostStat, place: Place) -> Arc<HostInode> {
        let at_ns = fs.host.coarse_ns();
        let ino = fs.ino(key.dev, key.ino);
        Arc::new_cyclic(|me| HostInode {
            fs,
            ino,
            at_ns: AtomicU64::new(at_ns),
            mode: AtomicU32::new(stat.mode),
            me: me.clone(),
            common: InodeCommon::new(),
            key,
            kind: FileType::from_mode(stat.mode).unwrap_or(FileType::Regular),
            sealed: AtomicBool::new(false),
            place: Mutex::new(place),
            seen: Mutex::new(Seen { stat: *stat, granted: 0 }),
            rare: OnceLock::new(),
            opened: Mutex::new(Weak::new()),
        })
    }

    pub(crate) fn fs_ref(&self) -> &HostFs {
        &self.fs
    }
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }
    pub(crate) fn host_dev(&self) -> u64 {
        self.key.dev
    }
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Relaxed)
    }
    fn arc(&self) -> Result<Arc<HostInode>> {
        self.me.upgrade().ok_or(errno::ESTALE)
    }

    /// The inode number of the parent directory, for `..`.
    pub(crate) fn parent_ino(&self) -> u64 {
        let place = lock(&self.place).clone();
        place.parent.map_or_else(|| self.ino(), |p| p.ino())
    }

    /// Where it is; ENOENT if no name leads there.
    pub(crate) fn place(&self) -> Result<Name> {
        let place = lock(&self.place).clone();
        if place.gone { Err(errno::ENOENT) } else { Ok((place.parent, place.name)) }
    }

    /// Notes where it was found. A directory that was found below a former child of its own (the host moved both) makes
    /// that child's place stale.
    pub(crate) fn set_place(&self, place: Place) {
        if self.kind == FileType::Directory {
            let mut at = place.parent.clone();
            while let Some(inode) = at {
                let next = lock(&inode.place).clone();
                if next.parent.as_ref().is_some_and(|p| std::ptr::eq(&**p, self)) {
                    let mut stale = lock(&inode.place);
                    let old = std::mem::replace(&mut *stale, Place::nowhere());
                    drop(stale);
                    drop(old);
                    break;
                }
                at = next.parent;
            }
        }
        let mut now = lock(&self.place);
        let old = std::mem::replace(&mut *now, place);
        // Dropping a parent may come back here.
        drop(now);
        drop(old);
    }

    pub(crate) fn set_gone(&self) {
        lock(&self.place).gone = true;
    }

    /// True if this directory still is where it was last found, so that another name that leads to it is an alias (a
    /// bind mount of the host) and not a move.
    fn is_still_there(&self) -> bool {
        self.at_place(|dir, name| dir.stat_at(name)).is_ok_and(|s| Key::of(&s) == self.key)
    }

    /// True for a directory that is found under `place` and under another name too.
    pub(crate) fn has_other_place(&self, place: &Place) -> bool {
        if self.kind != FileType::Directory {
            return false;
        }
        let is_same = {
            let now = lock(&self.place);
            let parents = (now.parent.as_ref().map(Arc::as_ptr), place.parent.as_ref().map(Arc::as_ptr));
            !now.gone && now.name == place.name && parents.0 == parents.1
        };
        !is_same && self.is_still_there()
    }

    fn is_at(&self, parent: &HostInode, name: &[u8]) -> bool {
        let place = lock(&self.place);
        !place.gone
            && *place.name == *name
            && place.parent.as_ref().is_some_and(|p| std::ptr::eq(&**p, parent))
    }

    /// Runs `f` with the directory and the name that lead here.
    fn at_place<T>(&self, f: impl Fn(&dyn HostFile, &[u8]) -> Result<T>) -> Result<T> {
        match self.place()? {
            (None, name) => f(&*self.fs.root_file, &name),
            (Some(parent), name) => f(&*dirs::handle(&parent)?, &name),
        }
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    pub(crate) fn held_handle(&self) -> Option<Arc<dyn HostFile>> {
        let mut h = lock(&self.rare.get()?.handle);
        h.used = true;
        h.file.clone()
    }
    pub(crate) fn hold_handle(&self, file: Arc<dyn HostFile>) {
        let old = std::mem::replace(&mut *lock(&self.rare().handle), Handle { file: Some(file), used: true });
        drop(old);
    }
    pub(crate) fn take_handle(&self) -> Option<Arc<dyn HostFile>> {
        lock(&self.rare.get()?.handle).file.take()
    }
    pub(crate) fn take_used(&self) -> bool {
        self.rare.get().is_some_and(|d| std::mem::take(&mut lock(&d.handle).used))
    }

    /// Takes over what the host says now.
    pub(crate) fn update(&self, stat: &HostStat) {
        let now = self.fs.host.coarse_ns();
        let mut seen = lock(&self.seen);
        if seen.stat.ctime != stat.ctime {
            seen.granted = 0;
        }
        seen.stat = *stat;
        self.mode.store(stat.mode, Ordering::Relaxed);
        self.at_ns.store(now, Ordering::Release);
    }

    /// True if what was last seen may still be believed.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fs.is_fresh(self.at_ns.load(Ordering::Acquire))
    }

    /// The host must be asked before the attributes are believed again.
    pub(crate) fn invalidate(&self) {
        self.at_ns.store(0, Ordering::Release);
        self.fs.host.recall_files();
    }

    /// The size when the host was last asked.
    pub(crate) fn size_seen(&self) -> u64 {
        lock(&self.seen).stat.size
    }

    fn fresh_stat(&self) -> Option<HostStat> {
        self.is_fresh().then(|| lock(&self.seen).stat)
    }

    /// The host file, if somebody has it open.
    fn live(&self) -> Option<Arc<Opened>> {
        lock(&self.opened).upgrade()
    }

    /// The host file that was kept open for reading, if nobody uses it now.
    fn idle(&self) -> Option<Arc<Opened>> {
        self.live().filter(|o| o.readable && Opened::is_idle(o))
    }

    fn stat(&self) -> Result<HostStat> {
        if let Some(stat) = self.fresh_stat() {
            return Ok(stat);
        }
        let stat = match self.live() {
            Some(opened) => opened.file.stat()?,
            None => match self.at_place(|dir, name| dir.stat_at(name)) {
                Ok(stat) if Key::of(&stat) == self.key => stat,
                Err(e) if !is_absent(e) => return Err(e),
                // The last that was known, for a file that only an O_PATH descriptor or a working directory holds.
                _ => {
                    let was_gone = std::mem::replace(&mut lock(&self.place).gone, true);
                    let mut seen = lock(&self.seen);
                    if !was_gone {
                        seen.stat.nlink = 0;
                    }
                    return Ok(seen.stat);
                }
            },
        };
        self.update(&stat);
        Ok(stat)
    }

    /// Marks a host process filesystem, in which the machine process itself could be reached.
    pub(crate) fn seal_if_proc(&self) {
        let Ok(me) = self.arc() else { return };
        let is_proc = dirs::handle(&me).and_then(|h| h.statfs()).is_ok_and(|s| s[0] == PROC_MAGIC);
        if is_proc {
            self.sealed.store(true, Ordering::Relaxed);
        }
    }

    /// Stands in for the root of a tree that is gone.
    pub(crate) fn dead_root(fs: Option<Arc<HostFs>>) -> Arc<dyn Inode> {
        // A filesystem whose root is asked for is held by the caller.
        let Some(fs) = fs else { unreachable!("a filesystem without an owner") };
        let stat = HostStat { mode: flags::S_IFDIR, ..HostStat::default() };
        HostInode::new(fs, Key::of(&stat), &stat, Place::nowhere())
    }

    pub(crate) fn find(&self, name: &[u8]) -> Result<Arc<HostInode>> {
        let me = self.arc()?;
        if self.is_sealed() || self.is_known_absent(name) {
            return Err(errno::ENOENT);
        }
        let dir = dirs::handle(&me)?;
        match dir.stat_at(name) {
            Ok(stat) => self.fs.intern(&stat, &me, name),
            Err(e) => {
                if e == errno::ENOENT {
                    self.note_absent(name);
                }
                Err(e)
            }
        }
    }

    fn note_absent(&self, name: &[u8]) {
        let now = self.fs.host.coarse_ns();
        let mut negatives = lock(&self.rare().negatives);
        if negatives.len() >= NEGATIVES {
            negatives.clear();
        }
        negatives.insert(name.into(), now);
    }

    /// True if the name was absent when the host was last asked, and that may still be believed.
    fn is_known_absent(&self, name: &[u8]) -> bool {
        let at = self.rare.get().and_then(|d| lock(&d.negatives).get(name).copied());
        at.is_some_and(|at| self.fs.is_fresh(at))
    }

    /// The directory's handle, for a change below it.
    fn for_change(&self) -> Result<(Arc<HostInode>, Arc<dyn HostFile>)> {
        let me = self.arc()?;
        if self.is_sealed() {
            return Err(errno::EPERM);
        }
        let dir = dirs::handle(&me)?;
        Ok((me, dir))
    }

    /// The inode that a change just made under `name`.
    fn made(&self, me: &Arc<HostInode>, dir: &dyn HostFile, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.changed();
        let inode = self.fs.intern(&dir.stat_at(name)?, me, name)?;
        Ok(inode)
    }

    fn changed(&self) {
        self.invalidate();
        if let Some(d) = self.rare.get() {
            lock(&d.negatives).clear();
        }
    }

    /// A name that led here is gone.
    fn lost_name(&self, parent: &HostInode, name: &[u8], links_left: bool) {
        let was_here = self.is_at(parent, name);
        let mut seen = lock(&self.seen);
        seen.stat.nlink = if links_left { seen.stat.nlink.saturating_sub(1) } else { 0 };
        drop(seen);
        self.invalidate();
        if was_here {
            self.set_gone();
            drop(self.take_handle());
        }
        if let Some(opened) = self.live() {
            self.fs.parked.remove(&opened);
        }
    }

    /// The open host file for an access; opens it if nobody has it open in a way that allows the access.
    pub(crate) fn open_host(
        self: &Arc<Self>,
        write: bool,
        read: bool,
    ) -> Result<(Arc<HostInode>, Arc<Opened>)> {
        let fits = |o: &Arc<Opened>| (!write || o.writable) && (!read || o.readable);
        if let Some(opened) = self.live().filter(fits) {
            if !Opened::is_idle(&opened) || self.is_unchanged(&opened) {
                return Ok((self.clone(), opened));
            }
            self.fs.parked.remove(&opened);
        }
        let stashed = {
            let mut stash = lock(&self.fs.stash);
            if stash.as_ref().is_some_and(|(key, _)| *key == self.key) { stash.take() } else { None }
        };
        if let Some((_, opened)) = stashed.filter(|(_, o)| fits(o)) {
            *lock(&self.opened) = Arc::downgrade(&opened);
            return Ok((self.clone(), opened));
        }
        let append = if self.fs.options.append { flags::O_APPEND } else { 0 };
        let open = |mode: u32| {
            self.fs.with_descriptors(|| self.at_place(|dir, name| dir.open_at(name, mode | append, 0)))
        };
        let (file, readable) = match open(if write { flags::O_RDWR } else { flags::O_RDONLY }) {
            Err(errno::EACCES) if write && !read => (open(flags::O_WRONLY)?, false),
            other => (other?, true),
        };
        let stat = file.stat()?;
        let opened = Opened::new(file, readable, write, &stat);
        if stat.mode & flags::S_IFMT != flags::S_IFREG {
            // Replaced by something else since it was looked up.
            return Err(errno::ESTALE);
        }
        let inode = if Key::of(&stat) == self.key {
            self.update(&stat);
            self.clone()
        } else {
            // Another file took the name: that is what an opening by name means.
            let (parent, name) = self.place()?;
            let parent = parent.ok_or(errno::ESTALE)?;
            self.set_gone();
            self.fs.intern(&stat, &parent, &name)?
        };
        *lock(&inode.opened) = Arc::downgrade(&opened);
        if write {
            // It may be mapped and change by stores.
            self.fs.host.recall_files();
        }
        if !write && stat.size <= parked::SIZE {
            self.fs.parked.push(&opened);
        }
        Ok((inode, opened))
    }

    /// True if the name still leads to the file that was opened, and nothing of it has changed since.
    fn is_unchanged(&self, opened: &Opened) -> bool {
        match self.at_place(|dir, name| dir.stat_at(name)) {
            Ok(stat) if Key::of(&stat) == self.key && stat.ctime == opened.ctime => {
                self.update(&stat);
                true
            }
            _ => false,
        }
    }
}

impl Drop for HostInode {
    fn drop(&mut self) {
        self.fs.forget(&self.key);
        // Ancestors are let go one after the other: a deep tree must not become a deep recursion.
        let mut parent = self.place.get_mut().unwrap_or_else(|e| e.into_inner()).parent.take();
        while let Some(mut inode) = parent.and_then(Arc::into_inner) {
            parent = inode.place.get_mut().unwrap_or_else(|e| e.into_inner()).parent.take();
        }
    }
}

impl Inode for HostInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn common(&self) -> &InodeCommon {
        &self.common
    }
    fn fs(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }
    fn ino(&self) -> u64 {
        self.ino
    }
    fn kind(&self) -> FileType {
        self.kind
    }
    fn attr_lasts(&self) -> bool {
        matches!(self.kind, FileType::Regular | FileType::Directory | FileType::Symlink)
    }
    fn attr(&self) -> Result<Attr> {
        let s = self.stat()?;
        Ok(Attr {
            dev: self.fs.dev,
            ino: self.ino(),
            mode: s.mode,
            nlink: s.nlink,
            uid: s.uid,
            gid: s.gid,
            rdev: s.rdev,
            size: s.size,
            blocks: s.blocks,
            blksize: s.blksize,
            atime: s.atime,
            mtime: s.mtime,
            ctime: s.ctime,
            btime: s.btime,
        })
    }
    /// What the walk that led here has seen is good enough.
    fn owner_mode(&self) -> Result<(u32, u32, u32)> {
        if self.at_ns.load(Ordering::Acquire) != 0 {
            let seen = lock(&self.seen);
            return Ok((seen.stat.mode, seen.stat.uid, seen.stat.gid));
        }
        self.stat().map(|s| (s.mode, s.uid, s.gid))
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        let size = change.size.filter(|_| !self.fs.options.append);
        let attr = SetAttr {
            mode: change.mode,
            uid: change.uid,
            gid: change.gid,
            size: None,
            atime: change.atime,
            mtime: change.mtime,
        };
        let (live, is_gone) = (self.live(), lock(&self.place).gone);
        let by_name = |attr: &SetAttr| {
            self.at_place(|dir, name| {
                if Key::of(&dir.stat_at(name)?) != self.key {
                    return Err(errno::ENOENT);
                }
                // `.` is the root, which is open.
                if name == b"." { dir.set_attr(attr) } else { dir.set_attr_at(name, attr) }
            })
        };
        if let Some(size) = size {
            match &live {
                Some(o) if o.writable => o.file.truncate(size)?,
                Some(_) if is_gone => return Err(errno::EACCES),
                _ => by_name(&SetAttr { size: Some(size), ..SetAttr::default() })?,
            }
        }
        let rest = [attr.mode, attr.uid, attr.gid].iter().any(Option::is_some)
            || attr.atime.is_some()
            || attr.mtime.is_some();
        let done = match &live {
            _ if !rest => Ok(()),
            Some(o) => o.file.set_attr(&attr),
            None => by_name(&attr),
        };
        self.invalidate();
        done
    }
    fn open(self: Arc<Self>, flags: OpenFlags, _task: &Task) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            FileType::Directory => Ok(Arc::new(DirFile::open(self)?)),
            FileType::Regular => {
                let (inode, opened) = self.open_host(flags.writable(), flags.readable())?;
                Ok(Arc::new(RegularFile { inode, opened }))
            }
            _ => Err(errno::ENXIO),
        }
    }
    fn open_checked(self: Arc<Self>) -> Option<Arc<dyn FileOps>> {
        let opened = self.idle().filter(|o| self.is_unchanged(o))?;
        Some(Arc::new(RegularFile { inode: self, opened }))
    }
    fn dir(&self) -> Option<&dyn DirOps> {
        (self.kind == FileType::Directory).then_some(self)
    }
    fn read_link(&self, _task: &Task) -> Option<Result<Link>> {
        (self.kind == FileType::Symlink).then(|| self.link_target().map(|t| Link::Text(t.to_vec())))
    }
    fn xattr(&self) -> Option<&dyn XattrOps> {
        Some(self)
    }
    /// What the host lets the machine process do. Devices, FIFOs and sockets are the guest's own objects.
    fn host_file(&self) -> Option<Arc<dyn HostFile>> {
        if self.is_sealed() {
            return None;
        }
        self.at_place(|dir, name| dir.open_at(name, flags::O_PATH, 0)).ok()
    }
    fn host_changed(&self) {
        self.changed();
    }
    fn permission(&self, _cred: &Cred, mask: u32) -> Result<()> {
        if mask == 0 || !matches!(self.kind, FileType::Directory | FileType::Regular) {
            return Ok(());
        }
        if self.is_sealed() {
            return if mask & flags::W_OK != 0 { Err(errno::EPERM) } else { Ok(()) };
        }
        // What is open to everybody by its mode is not asked for: should an access list say otherwise, the host refuses
        // the opening itself. Writing also depends on the mount, execution of files too.
        let by_mode =
            mask & flags::W_OK == 0 && (mask & flags::X_OK == 0 || self.kind == FileType::Directory);
        let open_to_all = || {
            let mode = self.mode.load(Ordering::Relaxed);
            by_mode && mode & mode >> 3 & mode >> 6 & mask == mask
        };
        if self.is_fresh() && open_to_all() {
            return Ok(());
        }
        let granted = || self.at_ns.load(Ordering::Acquire) != 0 && lock(&self.seen).granted & mask == mask;
        if granted() {
            return Ok(());
        }
        self.stat()?;
        if granted() || open_to_all() {
            return Ok(());
        }
        match self.at_place(|dir, name| dir.access_at(name, mask)) {
            // Nothing to ask any more; what is open was allowed once.
            Err(errno::ENOENT) => Ok(()),
            Err(e) => Err(e),
            Ok(()) => {
                lock(&self.seen).granted |= mask;
                Ok(())
            }
        }
    }
}

impl HostInode {
    /// Target of the link that this is.
    pub(crate) fn link_target(&self) -> Result<Arc<[u8]>> {
        if let Some(t) = lock(&self.rare().target).clone() {
            return Ok(t);
        }
        let target: Arc<[u8]> = self.at_place(|dir, name| dir.readlink_at(name))?.into();
        *lock(&self.rare().target) = Some(target.clone());
        Ok(target)
    }
}
