//! File handles (name_to_handle_at(2)): numbers by which a file is found again.
//!
//! A handle names filesystem and inode. The files whose handles were asked for are remembered, as long as they are in
//! memory anyway: for what the kernel has let go of, and for what has no name any more, a handle is stale.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use abi::errno::ESTALE;
use ksync::Mutex;

use super::{dentry::Dentry, inode::Inode, mount::Mount, path::Path};
use crate::{error::Result, locks};

/// Handles remembered at once; with more, those of files that are gone are forgotten, then all.
const MOST: usize = 65_536;

/// What tells a file from all others of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    pub dev: u64,
    pub ino: u64,
}

struct Known {
    inode: Weak<dyn Inode>,
    dentry: Weak<Dentry>,
}

/// The files whose handles are out.
pub struct Handles {
    known: Mutex<HashMap<FileId, Known>>,
}

impl Default for Handles {
    fn default() -> Handles {
        Handles { known: Mutex::new(locks::LEAF, HashMap::new()) }
    }
}

impl Handles {
    /// The handle of what stands at a place.
    pub fn name(&self, at: &Path) -> Result<FileId> {
        let inode = at.inode()?;
        let id = FileId { dev: inode.fs().dev(), ino: inode.ino() };
        let new = Known { inode: Arc::downgrade(inode), dentry: Arc::downgrade(&at.dentry) };
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.retain(|_, k| k.inode.strong_count() > 0);
            if known.len() >= MOST {
                known.clear();
            }
        }
        let old = known.insert(id, new);
        drop(known);
        drop(old);
        Ok(id)
    }

    /// Finds the file again, on a mount of its filesystem; ESTALE.
    pub fn find(&self, id: FileId, mount: &Arc<Mount>) -> Result<Path> {
        if mount.fs.dev() != id.dev {
            return Err(ESTALE);
        }
        let (inode, dentry) = {
            let known = self.known.lock();
            let k = known.get(&id).ok_or(ESTALE)?;
            (k.inode.upgrade(), k.dentry.upgrade())
        };
        let inode = inode.ok_or(ESTALE)?;
        if inode.attr().map_err(|_| ESTALE)?.nlink == 0 {
            return Err(ESTALE);
        }
        // Where the name is known it leads up the tree too; a directory without one would lead nowhere.
        let dentry = match dentry.filter(|d| !d.is_removed()) {
            Some(d) => d,
            None if inode.dir().is_some() => return Err(ESTALE),
            None => Dentry::new_named(inode, b"/"),
        };
        Ok(Path { mount: mount.clone(), dentry })
    }
}
