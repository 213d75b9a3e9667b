//! Saving what changed: the upper tree as a layer ([`layer`]), told to whoever writes it.
//!
//! The walk goes through the overlay's own inodes, as they know what the upper tree alone does not say: which lower object
//! a moved directory shows, and whether a file's data are still below. What was moved is saved whole.

use std::sync::Arc;

use abi::{
    FileType, OpenFlags, Timespec,
    errno::{EIO, ENAMETOOLONG, ENXIO},
};
use kernel::{
    Result,
    io::BufSink,
    task::Task,
    vfs::inode::{Attr, Inode, Link, XattrOps},
};
use layer::{Content, Gone, Node, Stamp};
use rustc_hash::FxHashMap;

use crate::{Lower, Overlay, OvlInode, Shared, entry, inode::COMPLETE, is_whiteout, list::read_all};

/// Takes a layer piece by piece, in the order of the format.
pub trait Changes {
    fn gone(&mut self, gone: &Gone) -> Result<()>;
    fn node(&mut self, node: &Node) -> Result<()>;
    /// Data of the node before, at most [`layer::MAX_DATA`] bytes.
    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
}

/// Where saving failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaveError {
    pub path: Vec<u8>,
    pub error: abi::Errno,
}

fn time(t: Timespec) -> layer::Time {
    // What is no nanosecond stands for the second.
    (t.sec, u32::try_from(t.nsec).ok().filter(|n| *n < 1_000_000_000).unwrap_or(0))
}

/// What a layer remembers of a lower object.
pub(crate) fn stamp(a: &Attr) -> Stamp {
    Stamp {
        mode: a.mode,
        uid: a.uid,
        gid: a.gid,
        nlink: a.nlink,
        size: a.size,
        mtime: time(a.mtime),
        ctime: time(a.ctime),
    }
}

fn join(dir: &[u8], name: &[u8]) -> Result<Vec<u8>> {
    let path = if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() };
    if path.len() > layer::MAX_PATH { Err(ENAMETOOLONG) } else { Ok(path) }
}

impl Shared {
    /// From now on remembers what lower objects were when they were first touched.
    pub(crate) fn keep_bases(&self) {
        self.bases.lock().get_or_insert_default();
    }

    /// A lower object is about to be hidden.
    pub(crate) fn note_base(&self, lower: &Lower) {
        let wanted =
            self.bases.lock().as_ref().is_some_and(|b| !b.contains_key(&(lower.layer, lower.inode.ino())));
        if wanted && let Ok(a) = lower.inode.attr() {
            self.note_base_as(lower, &a);
        }
    }

    /// A lower object, which has these attributes, is about to be copied up.
    pub(crate) fn note_base_as(&self, lower: &Lower, a: &Attr) {
        if let Some(b) = &mut *self.bases.lock() {
            b.entry((lower.layer, lower.inode.ino())).or_insert_with(|| stamp(a));
        }
    }

    fn base(&self, lower: &Lower) -> Result<Stamp> {
        let known =
            self.bases.lock().as_ref().and_then(|b| b.get(&(lower.layer, lower.inode.ino())).copied());
        match known {
            Some(s) => Ok(s),
            None => lower.inode.attr().map(|a| stamp(&a)),
        }
    }
}

/// A directory to walk.
struct Visit {
    dir: Arc<OvlInode>,
    path: Vec<u8>,
    /// The lower directory that stands at this path in the tree, if it is the one that shows.
    natural: Option<Lower>,
}

struct Walk<'a> {
    shared: &'a Arc<Shared>,
    task: Arc<Task>,
    out: &'a mut dyn Changes,
    /// Paths of files with several names, by inode number.
    links: FxHashMap<u64, Vec<u8>>,
    /// New names of such files: they come last, when it is known where the tree's own name is.
    later: Vec<(Arc<OvlInode>, Vec<u8>)>,
    at: Vec<u8>,
}

impl Overlay {
    /// Remembers from now on what is needed for [`Overlay::save`]. Call before anything changes.
    pub fn keep_bases(&self) {
        self.shared.keep_bases();
    }

    /// Tells all that differs from the lower tree. `task` is who looks; nobody else may change the overlay.
    pub fn save(&self, task: &Arc<Task>, out: &mut dyn Changes) -> core::result::Result<(), SaveError> {
        *self.shared.task.lock() = Arc::downgrade(task);
        let mut walk = Walk {
            shared: &self.shared,
            task: task.clone(),
            out,
            links: FxHashMap::default(),
            later: Vec::new(),
            at: Vec::new(),
        };
        walk.run(&self.root).map_err(|error| SaveError { path: walk.at, error })
    }
}

impl Walk<'_> {
    fn run(&mut self, root: &Arc<OvlInode>) -> Result<()> {
        let natural = root.lowers.first().cloned();
        self.emit(root, &[], natural.as_ref())?;
        let mut stack = vec![Visit { dir: root.clone(), path: Vec::new(), natural }];
        while let Some(v) = stack.pop() {
            self.directory(&v, &mut stack)?;
        }
        for (inode, path) in std::mem::take(&mut self.later) {
            self.emit(&inode, &path, None)?;
        }
        Ok(())
    }

    fn directory(&mut self, v: &Visit, stack: &mut Vec<Visit>) -> Result<()> {
        self.at.clone_from(&v.path);
        let mut names: Vec<Vec<u8>> = Vec::new();
        if v.natural.is_some() {
            let Some(upper) = v.dir.upper_inode() else { return Ok(()) };
            read_all(self.shared.upper()?, &upper, &self.task, &mut |name, _, _| names.push(name.to_vec()))?;
        } else {
            names.extend(v.dir.names_shown(&self.task)?);
        }
        names.sort_unstable();
        for name in names {
            let path = join(&v.path, &name)?;
            self.at.clone_from(&path);
            let below = match &v.natural {
                Some(dir) => {
                    entry(&dir.inode, &name, &self.task)?.map(|inode| Lower { layer: dir.layer, inode })
                }
                None => None,
            };
            let upper = v.dir.upper_inode();
            let above = match &upper {
                Some(u) if v.natural.is_some() => entry(u, &name, &self.task)?,
                _ => None,
            };
            if above.is_some_and(|i| is_whiteout(&*i)) {
                if let Some(b) = below {
                    self.gone(b, path)?;
                }
                continue;
            }
            let child = v.dir.child(&name, &self.task)?;
            let same = |b: &Lower| {
                child.lowers.first().is_some_and(|l| l.layer == b.layer && l.inode.ino() == b.inode.ino())
            };
            let natural = match below {
                Some(b) if same(&b) => Some(b),
                Some(b) => {
                    self.gone(b, path.clone())?;
                    None
                }
                None => None,
            };
            let is_dir = child.kind() == FileType::Directory;
            if !is_dir && natural.is_none() && child.attr()?.nlink > 1 {
                self.later.push((child, path));
                continue;
            }
            self.emit(&child, &path, natural.as_ref())?;
            if is_dir {
                stack.push(Visit { dir: child, path, natural });
            }
        }
        Ok(())
    }

    /// A lower object that is hidden, with all that is in it.
    fn gone(&mut self, lower: Lower, path: Vec<u8>) -> Result<()> {
        let mut stack = vec![(lower, path)];
        while let Some((l, path)) = stack.pop() {
            self.at.clone_from(&path);
            self.out.gone(&Gone { path: path.clone(), base: self.shared.base(&l)? })?;
            if l.inode.kind() != FileType::Directory {
                continue;
            }
            let mut names: Vec<Vec<u8>> = Vec::new();
            let layer = self.shared.layer(&l);
            read_all(layer, &l.inode, &self.task, &mut |name, _, _| names.push(name.to_vec()))?;
            names.sort_unstable();
            for name in names.into_iter().rev() {
                if let Some(inode) = entry(&l.inode, &name, &self.task)? {
                    stack.push((Lower { layer: l.layer, inode }, join(&path, &name)?));
                }
            }
        }
        Ok(())
    }

    /// One object that is above, or moved.
    fn emit(&mut self, inode: &Arc<OvlInode>, path: &[u8], natural: Option<&Lower>) -> Result<()> {
        self.at = path.to_vec();
        let a = inode.attr()?;
        let kind = inode.kind();
        let base = match natural {
            Some(l) => Some(self.shared.base(l)?),
            None => None,
        };
        let several = kind != FileType::Directory && a.nlink > 1;
        let mut has_data = false;
        let content = if let Some(first) = self.links.get(&a.ino).filter(|_| several) {
            Content::Link(first.clone())
        } else {
            match kind {
                FileType::Directory => Content::Dir,
                FileType::Regular if base.is_some() && inode.level() != COMPLETE => Content::Base,
                FileType::Regular => {
                    has_data = true;
                    Content::File { size: a.size }
                }
                FileType::Symlink => match inode.read_link(&self.task).ok_or(EIO)?? {
                    Link::Text(t) => Content::Symlink(t),
                    _ => return Err(EIO),
                },
                _ => Content::Special(a.rdev),
            }
        };
        if several && !matches!(content, Content::Link(_)) {
            self.links.insert(a.ino, path.to_vec());
        }
        let mut xattrs = layer::Xattrs::new();
        for name in XattrOps::list(&**inode).unwrap_or_default() {
            if let Ok(value) = XattrOps::get(&**inode, &name) {
                xattrs.push((name, value));
            }
        }
        let (atime, mtime) = (time(a.atime), time(a.mtime));
        let (mode, uid, gid) = (a.mode, a.uid, a.gid);
        self.out.node(&Node { path: path.to_vec(), mode, uid, gid, atime, mtime, xattrs, base, content })?;
        if has_data { self.data(inode, a.size) } else { Ok(()) }
    }

    fn data(&mut self, inode: &Arc<OvlInode>, size: u64) -> Result<()> {
        let ops = inode.clone().open(OpenFlags::NOATIME, &self.task)?;
        let file = self.shared.upper()?.file(inode.clone(), ops, OpenFlags::NOATIME);
        let mut buf = vec![0; layer::MAX_DATA];
        let mut pos = 0;
        while pos < size {
            // Where a filesystem cannot say where data is, all is data.
            match file.ops.seek_data(pos, true) {
                Ok(data) => pos = data.max(pos),
                Err(ENXIO) => break,
                Err(_) => {}
            }
            let until = file.ops.seek_data(pos, false).ok().filter(|h| *h > pos).unwrap_or(size).min(size);
            while pos < until {
                let want = usize::try_from(until - pos).unwrap_or(buf.len()).min(buf.len());
                let mut sink = BufSink::new(&mut buf[..want]);
                let n = file.ops.read(&file, &self.task, &mut sink, pos)?;
                if n == 0 {
                    // Shorter than it said: it shrank below us.
                    return Ok(());
                }
                self.out.data(pos, &buf[..n])?;
                pos += n as u64;
            }
        }
        Ok(())
    }
}
