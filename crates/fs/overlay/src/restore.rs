//! Putting a saved layer back over its tree: the changes are done again, through the overlay's own operations.

use std::sync::Arc;

use abi::{
    Errno, FileType, OpenFlags, Timespec,
    errno::{EEXIST, EIO, ENOENT, ENOTDIR, ESTALE},
    fs::S_IALLUGO,
};
use kernel::{
    Result,
    io::BufSource,
    task::Task,
    vfs::inode::{AttrChange, DirOps, Inode, XattrOps},
};
use layer::{Content, Entry, Extent, Layer, Node};

use crate::{Overlay, OvlInode, copy, save::stamp};

/// Where restoring stopped. ESTALE: the tree has changed there since the layer was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreError {
    pub path: Vec<u8>,
    pub error: Errno,
}

/// Reads bytes of the saved file.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> Result<()> + 'a;

impl Overlay {
    /// Does again what a layer says. Call before anybody uses the overlay. The layer may be hostile: it reaches nothing but
    /// this overlay, and fails where it does not fit.
    pub fn restore(
        &self,
        task: &Arc<Task>,
        layer: &Layer,
        read: &mut ReadAt<'_>,
    ) -> core::result::Result<(), RestoreError> {
        *self.shared.task.lock() = Arc::downgrade(task);
        let mut dirs: Vec<&Node> = Vec::new();
        for e in &layer.entries {
            let (path, done) = match e {
                Entry::Gone(g) => (&g.path, self.hide(g, task)),
                Entry::Node(n, extents) => {
                    if n.content == Content::Dir {
                        dirs.push(n);
                    }
                    (&n.path, self.put(n, extents, task, read))
                }
            };
            done.map_err(|error| RestoreError { path: path.clone(), error })?;
        }
        // Times of directories, now that nothing is put into them any more.
        for n in dirs.into_iter().rev() {
            let set = self.walk(&n.path, task).and_then(|d| d.set_attr(&times(n)));
            set.map_err(|error| RestoreError { path: n.path.clone(), error })?;
        }
        Ok(())
    }

    /// The overlay's inode of a path, no link followed.
    fn walk(&self, path: &[u8], task: &Task) -> Result<Arc<OvlInode>> {
        let mut at = self.root.clone();
        for name in layer::components(path) {
            if at.kind() != FileType::Directory {
                return Err(ENOTDIR);
            }
            at = at.child(name, task)?;
        }
        Ok(at)
    }

    fn hide(&self, g: &layer::Gone, task: &Task) -> Result<()> {
        let (dir, name) = layer::split(&g.path).ok_or(EIO)?;
        let dir = match self.walk(dir, task) {
            Ok(d) => d,
            // It went with its directory.
            Err(ENOENT) => return Ok(()),
            Err(e) => return Err(e),
        };
        let child = match dir.child(name, task) {
            Ok(c) => c,
            // The tree lost it by itself.
            Err(ENOENT) => return Err(ESTALE),
            Err(e) => return Err(e),
        };
        check(&child, &g.base)?;
        if child.kind() == FileType::Directory {
            return dir.hide_tree(name, &child);
        }
        let child: Arc<dyn Inode> = child;
        dir.unlink(name, &child)
    }

    fn put(&self, n: &Node, extents: &[Extent], task: &Arc<Task>, read: &mut ReadAt<'_>) -> Result<()> {
        let inode = match (&n.base, layer::split(&n.path)) {
            (Some(base), _) => {
                let inode = match self.walk(&n.path, task) {
                    Err(ENOENT | ENOTDIR) => return Err(ESTALE),
                    other => other?,
                };
                // A second name of what was put already has changed with it.
                if let Content::Link(to) = &n.content {
                    let same = Arc::ptr_eq(&self.walk(to, task)?, &inode);
                    return if same { Ok(()) } else { Err(ESTALE) };
                }
                check(&inode, base)?;
                inode
            }
            (None, None) => return Err(EIO),
            (None, Some((dir, name))) => {
                let dir = self.walk(dir, task)?;
                if dir.kind() != FileType::Directory {
                    return Err(ENOTDIR);
                }
                match dir.child(name, task) {
                    // The tree has something there that was not seen then.
                    Ok(_) => return Err(ESTALE),
                    Err(ENOENT) => {}
                    Err(e) => return Err(e),
                }
                let owner = (n.uid, n.gid);
                let mode = n.mode & S_IALLUGO;
                match &n.content {
                    Content::Dir => dir.mkdir(name, mode, owner),
                    Content::File { .. } => dir.create(name, mode, owner),
                    Content::Symlink(t) => dir.symlink(name, t, owner),
                    Content::Special(rdev) => dir.mknod(name, n.mode, *rdev, owner),
                    Content::Link(to) => {
                        let to: Arc<dyn Inode> = self.walk(to, task)?;
                        return dir.link(name, &to);
                    }
                    Content::Base => return Err(EIO),
                }
                .map_err(|e| if e == EEXIST { ESTALE } else { e })?;
                dir.child(name, task)?
            }
        };
        if let Content::File { size } = n.content {
            self.fill(&inode, size, extents, task, read)?;
        }
        let upper = inode.copy_up(copy::Extent::Attributes)?;
        if let Some(x) = upper.xattr() {
            for name in x.list()? {
                if !name.starts_with(crate::PRIVATE) && !n.xattrs.iter().any(|a| a.0 == name) {
                    x.remove(&name)?;
                }
            }
            for (name, value) in &n.xattrs {
                XattrOps::set(&*inode, name, value, 0)?;
            }
        }
        let change = AttrChange {
            mode: (n.kind() != Some(FileType::Symlink)).then_some(n.mode & S_IALLUGO),
            uid: Some(n.uid),
            gid: Some(n.gid),
            ..times(n)
        };
        inode.set_attr(&change)
    }

    fn fill(
        &self,
        inode: &Arc<OvlInode>,
        size: u64,
        extents: &[Extent],
        task: &Arc<Task>,
        read: &mut ReadAt<'_>,
    ) -> Result<()> {
        inode.set_attr(&AttrChange { size: Some(0), ..AttrChange::default() })?;
        let upper = inode.copy_up(copy::Extent::Data(0))?;
        let to = self.shared.upper()?.open(&upper, OpenFlags::RDWR, task)?;
        let mut buf = Vec::new();
        for e in extents {
            buf.resize(usize::try_from(e.len).unwrap_or(0).min(layer::MAX_DATA), 0);
            read(e.at, &mut buf)?;
            let mut src = BufSource(&buf);
            let mut done = 0;
            while done < buf.len() {
                let n = to.ops.write(&to, task, &mut src, e.offset + done as u64)?;
                if n == 0 {
                    return Err(EIO);
                }
                done += n;
            }
        }
        inode.set_attr(&AttrChange { size: Some(size), ..AttrChange::default() })
    }
}

fn times(n: &Node) -> AttrChange {
    let time = |t: layer::Time| Some(Timespec { sec: t.0, nsec: i64::from(t.1) });
    AttrChange { atime: time(n.atime), mtime: time(n.mtime), ..AttrChange::default() }
}

/// ESTALE unless what shows is the lower object as it was then.
fn check(inode: &OvlInode, base: &layer::Stamp) -> Result<()> {
    let lower = inode.lowers.first().ok_or(ESTALE)?;
    if base.holds(&stamp(&lower.inode.attr()?)) { Ok(()) } else { Err(ESTALE) }
}

impl OvlInode {
    /// Hides a whole lower directory, which nobody uses yet.
    fn hide_tree(&self, name: &[u8], child: &OvlInode) -> Result<()> {
        if child.upper_inode().is_some() {
            return Err(EIO);
        }
        let upper = self.copy_up(copy::Extent::Attributes)?;
        let _tree = self.shared.tree.lock();
        if let Some(l) = child.lowers.first() {
            self.shared.note_base(l);
        }
        OvlInode::put_whiteout(&upper, name)?;
        child.hide_name();
        child.set_place(None);
        Ok(())
    }
}
