//! The host's tree that a layer lies over.

use std::{cell::RefCell, sync::Arc};

use abi::fs::{O_DIRECTORY, O_PATH, O_RDONLY, S_IFDIR, S_IFMT};
use hal::{HostFile, HostStat, Result, errno};
use host_linux::LinuxFile;
use layer::Stamp;

/// A host directory and what is below.
pub struct Tree {
    root: Arc<dyn HostFile>,
    /// The directory asked for last.
    last: RefCell<(Vec<u8>, Arc<dyn HostFile>)>,
}

/// What a layer remembers of a host object.
pub fn stamp(s: &HostStat) -> Stamp {
    let time = |t: abi::Timespec| (t.sec, u32::try_from(t.nsec).unwrap_or(0));
    Stamp {
        mode: s.mode,
        uid: s.uid,
        gid: s.gid,
        nlink: s.nlink,
        size: s.size,
        mtime: time(s.mtime),
        ctime: time(s.ctime),
    }
}

impl Tree {
    pub fn open(path: &[u8]) -> Result<Tree> {
        let root = LinuxFile::open_path(path, O_PATH | O_DIRECTORY)?;
        Ok(Tree { last: RefCell::new((Vec::new(), root.clone())), root })
    }

    /// A directory of the tree, by single components that are no links.
    pub fn dir(&self, path: &[u8]) -> Result<Arc<dyn HostFile>> {
        if self.last.borrow().0 == path {
            return Ok(self.last.borrow().1.clone());
        }
        let mut at = self.root.clone();
        for name in layer::components(path) {
            at = at.open_at(name, O_PATH | O_DIRECTORY, 0)?;
        }
        *self.last.borrow_mut() = (path.to_vec(), at.clone());
        Ok(at)
    }

    /// Directories may have been moved: none is remembered.
    pub fn forget(&self) {
        *self.last.borrow_mut() = (Vec::new(), self.root.clone());
    }

    /// The directory that an object is in, and its name there; the root is `.` in itself.
    pub fn place<'a>(&self, path: &'a [u8]) -> Result<(Arc<dyn HostFile>, &'a [u8])> {
        match layer::split(path) {
            None => Ok((self.root.clone(), b".")),
            Some((dir, name)) => Ok((self.dir(dir)?, name)),
        }
    }

    /// What an object is now; `None` if there is none.
    pub fn stat(&self, path: &[u8]) -> Result<Option<HostStat>> {
        let found = match layer::split(path) {
            None => self.root.stat(),
            Some((dir, name)) => self.dir(dir).and_then(|d| d.stat_at(name)),
        };
        match found {
            Ok(s) => Ok(Some(s)),
            Err(errno::ENOENT | errno::ENOTDIR | errno::ELOOP) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Names in a directory.
    pub fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (dir, name) = self.place(path)?;
        list(&*dir, name)
    }

    /// Removes an object and all that is in it.
    pub fn remove_all(dir: &Arc<dyn HostFile>, name: &[u8]) -> Result<()> {
        // Directories to empty, outermost first.
        let mut stack: Vec<(Arc<dyn HostFile>, Vec<u8>)> = vec![(dir.clone(), name.to_vec())];
        while let Some((dir, name)) = stack.last().cloned() {
            if dir.stat_at(&name)?.mode & S_IFMT != S_IFDIR {
                dir.unlink_at(&name, false)?;
                stack.pop();
                continue;
            }
            match dir.unlink_at(&name, true) {
                Ok(()) => {
                    stack.pop();
                }
                Err(errno::ENOTEMPTY | errno::EEXIST) => {
                    let below = dir.open_at(&name, O_PATH | O_DIRECTORY, 0)?;
                    for entry in list(&*dir, &name)? {
                        stack.push((below.clone(), entry));
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn list(dir: &dyn HostFile, name: &[u8]) -> Result<Vec<Vec<u8>>> {
    let open = dir.open_at(name, O_RDONLY | O_DIRECTORY, 0)?;
    let mut names = Vec::new();
    let mut from = 0;
    loop {
        let mut entries = Vec::new();
        open.read_dir(from, &mut entries)?;
        let Some(last) = entries.last() else { return Ok(names) };
        from = last.next;
        names.extend(entries.into_iter().map(|e| e.name));
    }
}
