//! tmpfs: files in the machine's memory. Data lives in the page cache, everything else in the kernel's own memory. Also
//! devtmpfs: a tmpfs that starts with the nodes of all registered devices.
//!
//! Lock order: `INODE` of directories (two by inode number), then leaves (attributes, xattrs, the limits).
#![forbid(unsafe_code)]

mod dev;
mod dir;
mod file;
mod inode;
mod options;
mod xattr;

use std::{
    any::Any,
    sync::{Arc, OnceLock, Weak},
};

use abi::{
    Timespec,
    errno::{EINVAL, ENODEV, ENOSPC},
    fs::{S_IFDIR, TMPFS_MAGIC},
};
use kernel::{
    Machine, Result, locks,
    registry::{FsType, Registry},
    task::TaskCx,
    vfs::inode::{FileSystem, FsStats, Inode},
};
use ksync::Mutex;

pub use inode::TmpInode;
pub use options::Options;

/// Size of the pages that space is counted in.
const PAGE: u64 = 4096;

/// What space and inodes are in use.
#[derive(Default)]
struct Usage {
    /// Bytes of data pages.
    bytes: u64,
    inodes: u64,
    max_bytes: Option<u64>,
    max_inodes: Option<u64>,
}

/// What all inodes of one instance share.
pub(crate) struct Super {
    dev: u64,
    type_name: &'static str,
    machine: Weak<Machine>,
    usage: Mutex<Usage>,
    /// The instance, while it is mounted.
    fs: OnceLock<Weak<TmpFs>>,
}

impl Super {
    fn machine(&self) -> Result<Arc<Machine>> {
        self.machine.upgrade().ok_or(ENODEV)
    }

    fn now(&self) -> Timespec {
        self.machine.upgrade().map(|m| m.clock.now()).unwrap_or_default()
    }

    /// Counts a new inode; ENOSPC.
    fn add_inode(&self) -> Result<()> {
        let mut u = self.usage.lock();
        if u.max_inodes.is_some_and(|max| u.inodes >= max) {
            return Err(ENOSPC);
        }
        u.inodes += 1;
        Ok(())
    }

    fn remove_inode(&self, bytes: u64) {
        let mut u = self.usage.lock();
        u.inodes = u.inodes.saturating_sub(1);
        u.bytes = u.bytes.saturating_sub(bytes);
    }

    /// Bytes that may still be added; `None` without a limit.
    fn room(&self) -> Option<u64> {
        let u = self.usage.lock();
        u.max_bytes.map(|max| max.saturating_sub(u.bytes))
    }

    /// An inode's data pages changed from `old` to `new` bytes.
    fn recount(&self, old: u64, new: u64) {
        let mut u = self.usage.lock();
        u.bytes = u.bytes.saturating_add(new).saturating_sub(old);
    }
}

/// A mounted instance.
pub struct TmpFs {
    sb: Arc<Super>,
    root: Arc<TmpInode>,
}

impl TmpFs {
    /// An empty filesystem.
    pub fn new(machine: &Arc<Machine>, options: Options) -> Arc<TmpFs> {
        TmpFs::with_type(machine, "tmpfs", options)
    }

    pub(crate) fn with_type(machine: &Arc<Machine>, type_name: &'static str, o: Options) -> Arc<TmpFs> {
        let usage = Usage {
            bytes: 0,
            inodes: 1,
            max_bytes: o.size.max_bytes(machine),
            max_inodes: o.inodes.max(machine),
        };
        let sb = Arc::new(Super {
            dev: machine.new_dev(),
            type_name,
            machine: Arc::downgrade(machine),
            usage: Mutex::new(locks::LEAF, usage),
            fs: OnceLock::new(),
        });
        let root =
            TmpInode::new_root(&sb, machine.new_ino(), S_IFDIR | o.mode.unwrap_or(0o1777), o.uid, o.gid);
        let fs = Arc::new(TmpFs { sb: sb.clone(), root });
        let _ = sb.fs.set(Arc::downgrade(&fs));
        fs
    }

    /// The instance an inode belongs to. Mounts keep it alive; for an inode that outlives its mount an empty stand-in.
    pub(crate) fn of(sb: &Arc<Super>) -> Arc<TmpFs> {
        sb.fs.get().and_then(Weak::upgrade).unwrap_or_else(|| {
            let root = TmpInode::new_root(sb, 0, S_IFDIR, 0, 0);
            Arc::new(TmpFs { sb: sb.clone(), root })
        })
    }

    /// The root directory.
    pub fn root_inode(&self) -> &Arc<TmpInode> {
        &self.root
    }
}

impl FileSystem for TmpFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        self.sb.type_name
    }
    fn dev(&self) -> u64 {
        self.sb.dev
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }
    fn stats(&self) -> Result<FsStats> {
        let u = self.sb.usage.lock();
        // Without limits the numbers are 0, as Linux shows it.
        let free = u.max_bytes.map_or(0, |m| m.saturating_sub(u.bytes)) / PAGE;
        Ok(FsStats {
            magic: TMPFS_MAGIC as u64,
            block_size: PAGE,
            blocks: u.max_bytes.unwrap_or(0) / PAGE,
            blocks_free: free,
            blocks_avail: free,
            files: u.max_inodes.unwrap_or(0),
            files_free: u.max_inodes.map_or(0, |m| m.saturating_sub(u.inodes)),
            name_max: 255,
        })
    }
    fn options(&self) -> String {
        let u = self.sb.usage.lock();
        let mut all = Vec::new();
        if let Some(b) = u.max_bytes {
            all.push(format!("size={}k", b / 1024));
        }
        if let Some(n) = u.max_inodes {
            all.push(format!("nr_inodes={n}"));
        }
        drop(u);
        let mode = self.root.permissions();
        if mode != 0o1777 {
            all.push(format!("mode={mode:o}"));
        }
        all.join(",")
    }
    fn remount(&self, options: &str) -> Result<()> {
        let o = Options::parse(options.as_bytes())?;
        let machine = self.sb.machine()?;
        let mut u = self.sb.usage.lock();
        if let Some(max) = o.size.given(&machine) {
            if max.is_some_and(|m| m < u.bytes) {
                return Err(EINVAL);
            }
            u.max_bytes = max;
        }
        if let Some(max) = o.inodes.given() {
            if max.is_some_and(|m| m < u.inodes) {
                return Err(EINVAL);
            }
            u.max_inodes = max;
        }
        Ok(())
    }
}

struct TmpType;

impl FsType for TmpType {
    fn name(&self) -> &'static str {
        "tmpfs"
    }
    fn mount(
        &self,
        machine: &Arc<Machine>,
        _source: &[u8],
        options: &[u8],
        _read_only: bool,
        _task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>> {
        Ok(TmpFs::new(machine, Options::parse(options)?))
    }
}

/// Adds the types tmpfs and devtmpfs.
pub fn register(r: &mut Registry) {
    r.filesystems.insert("tmpfs", Arc::new(TmpType));
    r.filesystems.insert("devtmpfs", Arc::new(dev::DevType));
}
