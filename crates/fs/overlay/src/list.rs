//! Listing directories: what is above, and what is below and not hidden.

use std::{any::Any, sync::Arc};

use abi::{
    FileType, OpenFlags,
    errno::{EISDIR, ENOTEMPTY},
    fs::{DT_CHR, DT_UNKNOWN},
};
use kernel::{
    Result,
    io::{Sink, Source},
    locks,
    task::Task,
    vfs::{
        file::{DirSink, File, FileOps},
        inode::Inode,
    },
};
use ksync::Mutex;
use rustc_hash::FxHashSet;

use crate::{OvlInode, UPPER_INO, entry, inode::PURE_LOWER, is_whiteout};

/// One entry of a merged listing.
struct Item {
    name: Box<[u8]>,
    ino: u64,
    kind: u8,
}

/// An open directory.
pub(crate) struct OvlDir {
    inode: Arc<OvlInode>,
    /// The open directory below, if nothing is above.
    lower: Mutex<Option<Arc<dyn FileOps>>>,
    /// The merged listing, as it was when reading began at its start.
    merged: Mutex<Option<Arc<Vec<Item>>>>,
}

impl OvlDir {
    pub(crate) fn new(inode: Arc<OvlInode>) -> OvlDir {
        OvlDir { inode, lower: Mutex::new(locks::LEAF, None), merged: Mutex::new(locks::LEAF, None) }
    }

    fn parent_ino(&self) -> u64 {
        self.inode.place().and_then(|p| p.parent).map_or_else(|| self.inode.ino(), |p| p.ino())
    }

    /// A directory that only exists below is listed as it is there.
    fn list_lower(&self, file: &File, task: &Task, pos: u64, sink: &mut DirSink<'_>) -> Result<u64> {
        let Some(lower) = self.inode.lowers.first() else { return Ok(pos) };
        let opened = self.lower.lock().clone();
        let ops = match opened {
            Some(ops) => ops,
            None => {
                let ops = lower.inode.clone().open(OpenFlags::DIRECTORY, task)?;
                *self.lower.lock() = Some(ops.clone());
                ops
            }
        };
        let shared = &self.inode.shared;
        let (me, parent) = (self.inode.ino(), self.parent_ino());
        ops.read_dir(file, task, pos, &mut |name, ino, kind, next| {
            let ino = match name {
                b"." => me,
                b".." => parent,
                _ => shared.lower_ino(lower.layer, ino),
            };
            sink(name, ino, kind, next)
        })
    }
}

impl OvlInode {
    /// All entries, without `.` and `..`, but with whiteouts left out.
    fn collect(&self, task: &Task) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut seen: FxHashSet<Box<[u8]>> = FxHashSet::default();
        if let Some(upper) = self.upper_inode() {
            let layer = self.shared.upper()?;
            let mut raw = Vec::new();
            read_all(layer, &upper, task, &mut |name, ino, kind| {
                raw.push((Box::<[u8]>::from(name), ino, kind))
            })?;
            for (name, ino, kind) in raw {
                let hides = matches!(kind, DT_CHR | DT_UNKNOWN)
                    && entry(&upper, &name, task)?.is_some_and(|i| is_whiteout(&*i));
                if !hides {
                    let ino = self.shared.find((0, ino)).map_or(ino | UPPER_INO, |i| i.ino());
                    items.push(Item { name: name.clone(), ino, kind });
                }
                seen.insert(name);
            }
        }
        for lower in &self.lowers {
            let layer = self.shared.layer(lower);
            let mut raw = Vec::new();
            read_all(layer, &lower.inode, task, &mut |name, ino, kind| {
                raw.push((Box::<[u8]>::from(name), ino, kind));
            })?;
            for (name, ino, kind) in raw {
                if seen.contains(&name) {
                    continue;
                }
                let hides = kind == DT_CHR
                    && self.lowers.len() > 1
                    && entry(&lower.inode, &name, task)?.is_some_and(|i| is_whiteout(&*i));
                if !hides {
                    let ino = self.shared.lower_ino(lower.layer, ino);
                    items.push(Item { name: name.clone(), ino, kind });
                }
                seen.insert(name);
            }
        }
        Ok(items)
    }

    /// The names that show.
    pub(crate) fn names_shown(&self, task: &Task) -> Result<impl Iterator<Item = Vec<u8>>> {
        Ok(self.collect(task)?.into_iter().map(|i| i.name.into_vec()))
    }

    /// ENOTEMPTY if the directory has entries.
    pub(crate) fn check_empty(&self, task: &Task) -> Result<()> {
        if self.collect(task)?.is_empty() { Ok(()) } else { Err(ENOTEMPTY) }
    }
}

/// Reads a whole directory of a layer.
pub(crate) fn read_all(
    layer: &crate::Layer,
    dir: &Arc<dyn Inode>,
    task: &Task,
    add: &mut dyn FnMut(&[u8], u64, u8),
) -> Result<()> {
    let file = layer.open(dir, OpenFlags::DIRECTORY, task)?;
    let mut pos = 0;
    loop {
        let mut count = 0;
        let next = file.ops.read_dir(&file, task, pos, &mut |name, ino, kind, _| {
            count += 1;
            if name != b"." && name != b".." {
                add(name, ino, kind);
            }
            true
        })?;
        if count == 0 || next == pos {
            return Ok(());
        }
        pos = next;
    }
}

impl FileOps for OvlDir {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _file: &File, _task: &Task, _dst: &mut dyn Sink, _pos: u64) -> Result<usize> {
        Err(EISDIR)
    }
    fn write(&self, _file: &File, _task: &Task, _src: &mut dyn Source, _pos: u64) -> Result<usize> {
        Err(EISDIR)
    }
    fn can_poll(&self) -> bool {
        false
    }
    fn sync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn size(&self) -> Result<u64> {
        Ok(i64::MAX as u64)
    }

    fn read_dir(&self, file: &File, task: &Task, mut pos: u64, sink: &mut DirSink<'_>) -> Result<u64> {
        // A listing that began below goes on there: its positions mean nothing elsewhere.
        if pos == 0 {
            let old = self.merged.lock().take();
            drop(old);
            if self.inode.level() != PURE_LOWER {
                let old = self.lower.lock().take();
                drop(old);
            }
        }
        let below = self.inode.level() == PURE_LOWER || self.lower.lock().is_some();
        if below && self.merged.lock().is_none() && self.inode.lowers.len() == 1 {
            return self.list_lower(file, task, pos, sink);
        }
        let known = self.merged.lock().clone();
        let items = match known {
            Some(items) => items,
            None => {
                let items = Arc::new(self.inode.collect(task)?);
                *self.merged.lock() = Some(items.clone());
                items
            }
        };
        let dir = FileType::Directory.d_type();
        if pos == 0 {
            if !sink(b".", self.inode.ino(), dir, 1) {
                return Ok(0);
            }
            pos = 1;
        }
        if pos == 1 {
            if !sink(b"..", self.parent_ino(), dir, 2) {
                return Ok(1);
            }
            pos = 2;
        }
        let start = usize::try_from(pos - 2).unwrap_or(usize::MAX);
        for item in items.iter().skip(start) {
            if !sink(&item.name, item.ino, item.kind, pos + 1) {
                return Ok(pos);
            }
            pos += 1;
        }
        Ok(pos)
    }
}
