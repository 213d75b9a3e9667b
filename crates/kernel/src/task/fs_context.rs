//! Root, working directory and umask of a task (shared with CLONE_FS).

use ksync::Mutex;
use std::sync::Arc;

use crate::{
    locks,
    vfs::{mount::MountNs, path::Path},
};

/// Where path walks begin.
pub struct FsContext {
    inner: Mutex<Places>,
    /// The mount namespace walks happen in.
    pub mounts: Arc<MountNs>,
}

#[derive(Clone)]
struct Places {
    root: Path,
    cwd: Path,
    umask: u32,
}

impl FsContext {
    pub fn new(root: Path, cwd: Path, umask: u32, mounts: Arc<MountNs>) -> Arc<FsContext> {
        Arc::new(FsContext { inner: Mutex::new(locks::LEAF, Places { root, cwd, umask }), mounts })
    }
    /// A copy for a new process.
    pub fn fork(&self) -> Arc<FsContext> {
        let p = self.inner.lock().clone();
        FsContext::new(p.root, p.cwd, p.umask, self.mounts.clone())
    }
    pub fn root(&self) -> Path {
        self.inner.lock().root.clone()
    }
    pub fn cwd(&self) -> Path {
        self.inner.lock().cwd.clone()
    }
    pub fn set_root(&self, p: Path) {
        let old = std::mem::replace(&mut self.inner.lock().root, p);
        drop(old);
    }
    pub fn set_cwd(&self, p: Path) {
        let old = std::mem::replace(&mut self.inner.lock().cwd, p);
        drop(old);
    }
    pub fn umask(&self) -> u32 {
        self.inner.lock().umask
    }
    /// Sets the umask and returns the old one.
    pub fn set_umask(&self, m: u32) -> u32 {
        std::mem::replace(&mut self.inner.lock().umask, m & 0o777)
    }
}
