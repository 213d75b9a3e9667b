//! The bounded set of open directory handles of one mount.
//!
//! The handle itself is kept in the inode; the ring remembers which inodes have one and takes it away again, second
//! chance for those used since the last look. A handle that is in use stays open until its user is done. Where a directory
//! is opened to be listed, the listing's descriptor serves as the handle: look-ups below move no directory position.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
};

use abi::fs as flags;
use hal::HostFile;
use kernel::Result;

use crate::{HostInode, Key, is_absent, lock};

/// Deepest directory that can be reached again; far beyond what tools can walk.
const MAX_DEPTH: usize = 1 << 16;

pub(crate) struct Ring {
    limit: usize,
    members: Mutex<VecDeque<Weak<HostInode>>>,
}

impl Ring {
    pub(crate) fn new(limit: usize) -> Ring {
        Ring { limit, members: Mutex::default() }
    }

    /// How many may have one.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.members).len()
    }

    /// Notes that an inode has a new handle.
    fn add(&self, inode: &Arc<HostInode>) {
        lock(&self.members).push_back(Arc::downgrade(inode));
        self.shrink(self.limit);
    }

    /// Takes handles away until at most `limit` are left.
    pub(crate) fn shrink(&self, limit: usize) {
        // Handles and inodes are dropped outside the lock: that closes descriptors and may come back here.
        let mut dropped = Vec::new();
        {
            let mut members = lock(&self.members);
            let mut chances = members.len();
            while members.len() > limit {
                let Some(oldest) = members.pop_front() else { break };
                let Some(inode) = oldest.upgrade() else { continue };
                if limit > 0 && chances > 0 && inode.take_used() {
                    chances -= 1;
                    members.push_back(oldest);
                    dropped.push((None, inode));
                } else {
                    dropped.push((inode.take_handle(), inode));
                }
            }
        }
    }
}

/// A handle of a directory inode, opened again by names from the nearest ancestor that has one.
pub(crate) fn handle(inode: &Arc<HostInode>) -> Result<Arc<dyn HostFile>> {
    let mut chain = Vec::new();
    let mut at = inode.clone();
    let mut have = loop {
        if let Some(h) = at.held_handle() {
            break h;
        }
        let (parent, name) = at.place()?;
        let Some(parent) = parent else { break at.fs_ref().root_file.clone() };
        chain.push((at, name));
        if chain.len() > MAX_DEPTH {
            return Err(abi::errno::ELOOP);
        }
        at = parent;
    };
    while let Some((inode, name)) = chain.pop() {
        have = open_named(&inode, &have, &name, flags::O_PATH)?;
    }
    Ok(have)
}

/// A directory opened for listing; the descriptor is the caller's alone. If the directory has no handle yet, the same
/// descriptor becomes it, so that one host call opens both.
pub(crate) fn for_listing(inode: &Arc<HostInode>) -> Result<Arc<dyn HostFile>> {
    let fs = inode.fs_ref();
    let handle = match inode.held_handle() {
        Some(h) => h,
        None => match inode.place()? {
            (Some(parent), name) => return open_named(inode, &handle(&parent)?, &name, flags::O_RDONLY),
            (None, _) => fs.root_file.clone(),
        },
    };
    fs.with_descriptors(|| handle.open_at(b".", flags::O_RDONLY | flags::O_DIRECTORY, 0))
}

/// Opens a directory by its name in another, and keeps it as the inode's handle. ENOENT if the name leads elsewhere now.
fn open_named(
    inode: &Arc<HostInode>,
    dir: &Arc<dyn HostFile>,
    name: &[u8],
    mode: u32,
) -> Result<Arc<dyn HostFile>> {
    let fs = inode.fs_ref();
    let opened = fs.with_descriptors(|| dir.open_at(name, mode | flags::O_DIRECTORY, 0)).and_then(|h| {
        let stat = h.stat()?;
        if Key::of(&stat) != *inode.key() {
            return Err(abi::errno::ENOENT);
        }
        inode.update(&stat);
        Ok(h)
    });
    match opened {
        Ok(h) => {
            inode.hold_handle(h.clone());
            fs.dirs.add(inode);
            Ok(h)
        }
        Err(e) if is_absent(e) => {
            inode.set_gone();
            Err(abi::errno::ENOENT)
        }
        Err(e) => Err(e),
    }
}
