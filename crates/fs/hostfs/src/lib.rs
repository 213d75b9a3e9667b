//! hostfs: a directory tree of the host as a filesystem.
//!
//! Every operation is a host call of the machine process with its own identity; owners and modes are the host's. File
//! contents are not cached here: reads and writes go to the host file, and mappings map it, so that guest and host always
//! see the same bytes. Attributes and the absence of names are remembered for [`ATTR_TTL_NS`], and for ever if the tree
//! was declared immutable; opening a file asks the host again.
//!
//! # Confinement
//! The root is a directory handle. Everything below is reached by single components from a directory handle, following no
//! link ([`hal::HostFile`]); the guest's own path walk follows links, inside the mount. A start directory given in mount
//! options is walked in the same way below the jail of the command line, with `..` and absolute links clamped to it.
//! Host process filesystems are shown empty, as their files lead into the machine process itself.
//!
//! # Descriptors
//! One host descriptor per open guest file, shared by all its openings; the last ones stay open a while ([`parked`]).
//! Directory handles live in a bounded ring ([`dirs`]) and are opened again by the names that led to them.
//!
//! # Locks
//! All locks here are leaves and no other lock is taken and no host call made under them.
#![forbid(unsafe_code)]

mod dirs;
mod inode;
mod open;
mod parked;
mod resolve;

use std::{
    any::Any,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use abi::{errno, fs as flags};
use hal::{Errno, Host, HostFile, HostStat};
use kernel::{
    Machine, Result,
    registry::{FsType, Registry},
    task::TaskCx,
    vfs::inode::{FileSystem, FsStats, Inode},
};
use rustc_hash::{FxBuildHasher, FxHashMap};

pub use inode::HostInode;

/// How long attributes and absent names are believed, in nanoseconds of [`Host::coarse_ns`].
pub const ATTR_TTL_NS: u64 = 100_000_000;
/// `f_type` of hostfs.
const MAGIC: u64 = 0x00c0_ffee;
/// `f_type` of the host's proc (statfs(2)).
const PROC_MAGIC: u64 = 0x9fa0;
/// Directory handles kept open by one mount.
const DIR_HANDLES: usize = 192;

/// Locks without caring about a panic elsewhere (a panic ends the machine anyway).
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a tree is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Host files are opened with O_APPEND, never truncated and never removed.
    pub append: bool,
    /// Nobody changes the tree while it is mounted: what was once seen stays true.
    pub immutable: bool,
    /// The directory as /proc/mounts shows it.
    pub shown: String,
}

/// What tells host files apart. Birth time is part of it because inode numbers are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    dev: u64,
    ino: u64,
    kind: u32,
    btime: (i64, i64),
}

impl Key {
    fn of(s: &HostStat) -> Key {
        Key { dev: s.dev, ino: s.ino, kind: s.mode & flags::S_IFMT, btime: (s.btime.sec, s.btime.nsec) }
    }

    fn digest(&self) -> u64 {
        FxBuildHasher.hash_one(self)
    }
}

/// A mounted host tree.
pub struct HostFs {
    me: Weak<HostFs>,
    host: Arc<dyn Host>,
    dev: u64,
    root_file: Arc<dyn HostFile>,
    options: Options,
    /// Inodes in use by [`Key::digest`]; who finds one compares its key.
    inodes: Mutex<FxHashMap<u64, Weak<HostInode>>>,
    /// Host devices seen; the position is part of inode numbers.
    devs: Mutex<Vec<u64>>,
    dirs: dirs::Ring,
    parked: parked::Parked,
    /// The host file of the last creation, for the opening that follows it.
    stash: Mutex<Option<(Key, Arc<open::Opened>)>>,
    /// Buffers of past reads, for the next.
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl HostFs {
    /// Shows the tree below an open directory. `dev` is the device number that guests see.
    pub fn new(
        host: Arc<dyn Host>,
        dev: u64,
        root: Arc<dyn HostFile>,
        options: Options,
    ) -> Result<Arc<HostFs>> {
        let stat = root.stat()?;
        if stat.mode & flags::S_IFMT != flags::S_IFDIR {
            return Err(errno::ENOTDIR);
        }
        let parked = parked::Parked::new(host.file_limit());
        Ok(Arc::new_cyclic(|me| HostFs {
            me: me.clone(),
            host,
            dev,
            root_file: root,
            options,
            inodes: Mutex::default(),
            devs: Mutex::new(vec![stat.dev]),
            dirs: dirs::Ring::new(DIR_HANDLES),
            parked,
            stash: Mutex::default(),
            buffers: Mutex::default(),
        }))
    }

    /// Shows the directory that the command line named by `path`.
    pub fn open(machine: &Arc<Machine>, path: &[u8], options: Options) -> Result<Arc<HostFs>> {
        let root = machine.host.open_path(path, flags::O_PATH | flags::O_DIRECTORY)?;
        HostFs::new(machine.host.clone(), machine.new_dev(), root, options)
    }

    fn arc(&self) -> Result<Arc<HostFs>> {
        self.me.upgrade().ok_or(errno::ESTALE)
    }

    /// True if what was seen at `at_ns` (0 = never) may still be believed.
    fn is_fresh(&self, at_ns: u64) -> bool {
        at_ns != 0 && (self.options.immutable || self.host.coarse_ns().saturating_sub(at_ns) <= ATTR_TTL_NS)
    }

    /// The guest's inode number: the host's, made different for each host filesystem below the root by an exclusive or.
    fn ino(&self, dev: u64, ino: u64) -> u64 {
        let mut devs = lock(&self.devs);
        let at = devs.iter().position(|&d| d == dev).unwrap_or_else(|| {
            devs.push(dev);
            devs.len() - 1
        }) as u64;
        ino ^ at.rotate_right(16)
    }

    /// The inode of a host file; the same value as long as somebody holds it.
    fn intern(&self, stat: &HostStat, parent: &Arc<HostInode>, name: &[u8]) -> Result<Arc<HostInode>> {
        let place = inode::Place::at(parent.clone(), name);
        let (inode, is_new) = self.intern_at(stat, place)?;
        if is_new && stat.dev != parent.host_dev() && stat.mode & flags::S_IFMT == flags::S_IFDIR {
            inode.seal_if_proc();
        }
        Ok(inode)
    }

    fn intern_at(&self, stat: &HostStat, place: inode::Place) -> Result<(Arc<HostInode>, bool)> {
        let key = Key::of(stat);
        let found = self.known(&key);
        if let Some(inode) = &found
            && !inode.has_other_place(&place)
        {
            inode.update(stat);
            inode.set_place(place);
            return Ok((inode.clone(), false));
        }
        let new = HostInode::new(self.arc()?, key, stat, place);
        if found.is_some() {
            // A second way to a directory: it gets an inode of its own, that only its dentry knows.
            return Ok((new, true));
        }
        let mut inodes = lock(&self.inodes);
        // Somebody else may have been faster.
        if let Some(inode) = inodes.get(&key.digest()).and_then(Weak::upgrade) {
            drop(inodes);
            // One digest of two keys: the second inode is known to its dentry alone.
            return Ok(if *inode.key() == key { (inode, false) } else { (new, true) });
        }
        inodes.insert(key.digest(), Arc::downgrade(&new));
        drop(inodes);
        Ok((new, true))
    }

    /// Forgets an inode that is being dropped, unless its key has a new one already.
    fn forget(&self, key: &Key) {
        let mut inodes = lock(&self.inodes);
        let digest = key.digest();
        if inodes.get(&digest).is_some_and(|w| w.strong_count() == 0) {
            inodes.remove(&digest);
        }
    }

    fn known(&self, key: &Key) -> Option<Arc<HostInode>> {
        let found = lock(&self.inodes).get(&key.digest()).and_then(Weak::upgrade);
        found.filter(|i| i.key() == key)
    }

    /// Runs something that opens a host file; when descriptors are short, gives back those that nobody needs now first.
    fn with_descriptors<T>(&self, f: impl Fn() -> Result<T>) -> Result<T> {
        match f() {
            Err(errno::EMFILE | errno::ENFILE) => {
                self.dirs.shrink(0);
                self.parked.clear();
                f().map_err(|e| if e == errno::EMFILE { errno::ENFILE } else { e })
            }
            done => done,
        }
    }

    fn root_inode(&self) -> Result<Arc<HostInode>> {
        let stat = self.root_file.stat()?;
        let (inode, is_new) = self.intern_at(&stat, inode::Place::root())?;
        if is_new {
            inode.seal_if_proc();
        }
        Ok(inode)
    }
}

impl FileSystem for HostFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "hostfs"
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn root(&self) -> Arc<dyn Inode> {
        match self.root_inode() {
            Ok(inode) => inode,
            // The host took the directory away: an empty one stands in.
            Err(_) => HostInode::dead_root(self.me.upgrade()),
        }
    }
    fn stats(&self) -> Result<FsStats> {
        let [_, block_size, blocks, free, avail, files, files_free, name_max] = self.root_file.statfs()?;
        Ok(FsStats {
            magic: MAGIC,
            block_size,
            blocks,
            blocks_free: free,
            blocks_avail: avail,
            files,
            files_free,
            name_max,
        })
    }
    fn options(&self) -> String {
        let mut s = self.options.shown.clone();
        for (on, word) in [(self.options.append, "append"), (self.options.immutable, "immutable")] {
            if on {
                if !s.is_empty() {
                    s.push(',');
                }
                s.push_str(word);
            }
        }
        s
    }
}

/// The filesystem type: `mount -t hostfs none DIR -o /host/dir`.
pub struct HostFsType {
    /// Put before every path (`hostfs=DIR` of the command line); empty = the whole host.
    jail: Vec<u8>,
    append: bool,
}

/// Registers the type. `jail` and `append` are those of the command line's `hostfs=DIR[,append]`.
pub fn register(registry: &mut Registry, jail: &[u8], append: bool) {
    let ty: Arc<dyn FsType> = Arc::new(HostFsType { jail: jail.to_vec(), append });
    registry.filesystems.insert(ty.name(), ty);
}

/// Splits mount options into the start directory and what we understand. Everything else is part of the path, as
/// paths may hold commas.
fn parse_options(options: &[u8], append: bool) -> (Vec<u8>, Options) {
    let mut parsed = Options { append, ..Options::default() };
    let mut path: Vec<u8> = Vec::new();
    for word in options.split(|&b| b == b',') {
        match word {
            b"append" => parsed.append = true,
            b"immutable" => parsed.immutable = true,
            _ => {
                if !path.is_empty() {
                    path.push(b',');
                }
                path.extend_from_slice(word.strip_prefix(b"hostfs=").unwrap_or(word));
            }
        }
    }
    if !path.is_empty() && !path.starts_with(b"/") {
        path.insert(0, b'/');
    }
    parsed.shown = String::from_utf8_lossy(&path).into_owned();
    (path, parsed)
}

impl FsType for HostFsType {
    fn name(&self) -> &'static str {
        "hostfs"
    }
    fn mount(
        &self,
        machine: &Arc<Machine>,
        _source: &[u8],
        options: &[u8],
        _read_only: bool,
        _task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>> {
        let (path, options) = parse_options(options, self.append);
        let jail: &[u8] = if self.jail.is_empty() { b"/" } else { &self.jail };
        let jail = machine.host.open_path(jail, flags::O_PATH | flags::O_DIRECTORY)?;
        let root = resolve::beneath(jail, &path)?;
        let fs = HostFs::new(machine.host.clone(), machine.new_dev(), root, options)?;
        Ok(fs)
    }
}

/// For `matches!` on results of host calls.
fn is_absent(e: Errno) -> bool {
    matches!(e, errno::ENOENT | errno::ENOTDIR)
}

#[cfg(test)]
mod tests;
