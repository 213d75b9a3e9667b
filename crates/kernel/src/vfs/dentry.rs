//! The dentry cache: names already looked up.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU32},
};

use ksync::{Mutex, RwLock};

use super::inode::Inode;
use crate::locks;

/// One name in the cache. `inode` is `None` for a name known not to exist.
pub struct Dentry {
    pub(super) name: RwLock<Arc<[u8]>>,
    pub(super) parent: RwLock<Option<Arc<Dentry>>>,
    pub(super) inode: RwLock<Option<Arc<dyn Inode>>>,
    /// Guards the entries of this directory, and changes to it.
    pub(super) children: Mutex<HashMap<Arc<[u8]>, Arc<Dentry>>>,
    /// Mounts on this dentry, in any namespace.
    pub(super) mounted: AtomicU32,
}

impl Dentry {
    pub fn new_root(inode: Arc<dyn Inode>) -> Arc<Dentry> {
        Arc::new(Dentry {
            name: RwLock::new(locks::LEAF, Arc::from(&b"/"[..])),
            parent: RwLock::new(locks::LEAF, None),
            inode: RwLock::new(locks::LEAF, Some(inode)),
            children: Mutex::new(locks::DENTRY_DIR, HashMap::new()),
            mounted: AtomicU32::new(0),
        })
    }
    pub fn inode(&self) -> Option<Arc<dyn Inode>> {
        self.inode.read().clone()
    }
    pub fn name(&self) -> Arc<[u8]> {
        self.name.read().clone()
    }
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.parent.read().clone()
    }
}
