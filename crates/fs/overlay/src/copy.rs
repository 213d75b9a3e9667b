//! Copy-up: what is changed moves to the upper tree first.

use std::sync::Arc;

use abi::{
    FileType, OpenFlags,
    errno::{EIO, ENXIO, EROFS},
    fs::S_IALLUGO,
};
use kernel::{
    Result,
    io::{BufSink, BufSource},
    vfs::inode::{AttrChange, Inode, Link},
};

use crate::{
    OvlInode, PRIVATE,
    inode::{COMPLETE, META_ONLY, PURE_LOWER},
};

/// How much of a file must be above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Attributes,
    /// Data up to this size, too (the file is about to be cut there).
    Data(u64),
}

/// Bytes moved at once.
const CHUNK: usize = 256 << 10;

impl OvlInode {
    /// Brings the inode to the upper tree as far as needed; its upper object. EROFS without an upper tree.
    pub(crate) fn copy_up(&self, extent: Extent) -> Result<Arc<dyn Inode>> {
        let enough = if extent == Extent::Attributes { META_ONLY } else { COMPLETE };
        if self.level() >= enough
            && let Some(u) = self.upper_inode()
        {
            return Ok(u);
        }
        if self.shared.upper.is_none() {
            return Err(EROFS);
        }
        let _copying = self.copy.lock();
        if self.level() == PURE_LOWER {
            self.copy_object(extent)?;
        }
        if self.level() < enough {
            let upper = self.upper_inode().ok_or(EIO)?;
            if let Extent::Data(size) = extent {
                self.copy_data(&upper, size)?;
                self.set_level(COMPLETE);
            }
        }
        self.upper_inode().ok_or(EIO)
    }

    /// Makes the upper object and gives it its name.
    fn copy_object(&self, extent: Extent) -> Result<()> {
        let first = self.lowers.first().ok_or(EIO)?;
        let lower = first.inode.clone();
        let a = lower.attr()?;
        self.shared.note_base_as(first, &a);
        let place = self.place();
        // The parent is copied first; it may be the last thing that fails.
        let parent = match place.as_ref().and_then(|p| p.parent.as_ref()) {
            Some(p) => Some(p.copy_up(Extent::Attributes)?),
            None => None,
        };
        let task = self.shared.task()?;
        let layer = self.shared.upper()?;
        let owner = (a.uid, a.gid);
        let mode = a.mode & S_IALLUGO;
        let change = AttrChange {
            mode: Some(mode),
            atime: Some(a.atime),
            mtime: Some(a.mtime),
            ctime: Some(a.ctime),
            ..AttrChange::default()
        };
        if self.kind() == FileType::Regular {
            // Made without a name, so that nobody sees it half done.
            let home = parent.clone().unwrap_or_else(|| layer.root.clone());
            let upper = home.dir().ok_or(EIO)?.tmpfile(mode, owner)?;
            copy_xattrs(&lower, &upper)?;
            let mut level = META_ONLY;
            if let Extent::Data(size) = extent {
                self.copy_data(&upper, size)?;
                level = COMPLETE;
            }
            upper.set_attr(&change)?;
            if a.size == 0 {
                level = COMPLETE;
            }
            return self.install(parent, upper, level, |dir, name, upper| dir.link(name, upper));
        }
        let Some(parent) = parent else { return Err(EIO) };
        let _tree = self.shared.tree.lock();
        let Some(name) = self.place().map(|p| p.name) else { return Err(abi::errno::ENOENT) };
        let dir = parent.dir().ok_or(EIO)?;
        let before = parent.attr()?;
        let upper = match self.kind() {
            FileType::Directory => dir.mkdir(&name, mode, owner)?,
            FileType::Symlink => match lower.read_link(&task).ok_or(EIO)?? {
                Link::Text(t) => dir.symlink(&name, &t, owner)?,
                _ => return Err(EIO),
            },
            kind => dir.mknod(&name, kind.mode() | mode, a.rdev, owner)?,
        };
        copy_xattrs(&lower, &upper)?;
        upper.set_attr(&AttrChange {
            mode: if self.kind() == FileType::Symlink { None } else { change.mode },
            ..change
        })?;
        keep_times(&parent, &before)?;
        self.finish(upper, COMPLETE, true)
    }

    /// Gives a new upper file its name (if the overlay file still has one) and takes it over.
    fn install(
        &self,
        parent: Option<Arc<dyn Inode>>,
        upper: Arc<dyn Inode>,
        level: u8,
        link: impl FnOnce(&dyn kernel::vfs::inode::DirOps, &[u8], &Arc<dyn Inode>) -> Result<()>,
    ) -> Result<()> {
        let _tree = self.shared.tree.lock();
        // The place may have changed while data was copied: names change under the tree's lock.
        let now = self.place();
        let parent = match now.as_ref().and_then(|p| p.parent.as_ref()) {
            // A parent that is not above yet cannot have become the parent: a rename copies it up.
            Some(p) => p.upper_inode().or(parent),
            None => None,
        };
        let named = match (&now, &parent) {
            (Some(place), Some(dir)) => {
                let before = dir.attr()?;
                link(dir.dir().ok_or(EIO)?, &place.name, &upper)?;
                keep_times(dir, &before)?;
                true
            }
            _ => false,
        };
        self.finish(upper, level, named)
    }

    /// The upper object is ready.
    fn finish(&self, upper: Arc<dyn Inode>, level: u8, named: bool) -> Result<()> {
        let me = self.arc()?;
        let key = (0, upper.ino());
        let old = self.upper.write().replace(upper);
        drop(old);
        if named {
            // One name of the lower file is covered by the upper one now.
            self.hide_name();
        }
        self.set_level(level);
        self.shared.remember(key, me.clone());
        if named {
            self.shared.pin(&me);
        }
        Ok(())
    }

    /// Copies the lower file's data, holes left out.
    fn copy_data(&self, upper: &Arc<dyn Inode>, limit: u64) -> Result<()> {
        let lower = self.lowers.first().ok_or(EIO)?;
        let size = lower.inode.attr()?.size;
        let end = size.min(limit);
        if end == 0 {
            return Ok(());
        }
        let times = upper.attr()?;
        let task = self.shared.task()?;
        let from = self.shared.layer(lower).open(&lower.inode, OpenFlags::empty(), &task)?;
        let to = self.shared.upper()?.open(upper, OpenFlags::RDWR, &task)?;
        let mut buf = vec![0; CHUNK.min(usize::try_from(end).unwrap_or(CHUNK))];
        let mut pos = 0;
        while pos < end {
            // Where the lower filesystem cannot say where data is, all is data.
            match from.ops.seek_data(pos, true) {
                Ok(data) => pos = data.max(pos),
                Err(ENXIO) => break,
                Err(_) => {}
            }
            let until = from.ops.seek_data(pos, false).ok().filter(|h| *h > pos).unwrap_or(end).min(end);
            while pos < until {
                let want = usize::try_from(until - pos).unwrap_or(CHUNK).min(buf.len());
                let mut sink = BufSink::new(&mut buf[..want]);
                let n = from.ops.read(&from, &task, &mut sink, pos)?;
                if n == 0 {
                    // Shorter than it said: it shrank below us.
                    pos = end;
                    break;
                }
                let mut src = BufSource(&buf[..n]);
                let mut done = 0;
                while done < n {
                    let m = to.ops.write(&to, &task, &mut src, pos + done as u64)?;
                    if m == 0 {
                        return Err(EIO);
                    }
                    done += m;
                }
                pos += n as u64;
            }
        }
        upper.set_attr(&AttrChange {
            size: Some(end),
            mode: Some(times.mode & S_IALLUGO),
            atime: Some(times.atime),
            mtime: Some(times.mtime),
            ctime: Some(times.ctime),
            ..AttrChange::default()
        })
    }
}

/// A copy-up is no change of the directory.
pub(crate) fn keep_times(dir: &Arc<dyn Inode>, before: &kernel::vfs::inode::Attr) -> Result<()> {
    dir.set_attr(&AttrChange {
        mtime: Some(before.mtime),
        ctime: Some(before.ctime),
        ..AttrChange::default()
    })
}

/// Copies the attributes that the upper filesystem takes.
fn copy_xattrs(from: &Arc<dyn Inode>, to: &Arc<dyn Inode>) -> Result<()> {
    let (Some(from), Some(to)) = (from.xattr(), to.xattr()) else { return Ok(()) };
    let Ok(names) = from.list() else { return Ok(()) };
    for name in names {
        if name.starts_with(PRIVATE) {
            continue;
        }
        let Ok(value) = from.get(&name) else { continue };
        match to.set(&name, &value, 0) {
            Ok(()) | Err(abi::errno::EOPNOTSUPP) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
