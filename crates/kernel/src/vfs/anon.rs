//! Files without a name: pipes, sockets, eventfds and their like, on a mount that nobody sees.

use std::{
    any::Any,
    sync::{Arc, Weak},
};

use abi::{
    FileType, OpenFlags,
    errno::{ENODEV, ENXIO},
    fs::{ANON_INODE_FS_MAGIC, S_IALLUGO, S_IFIFO, S_IFSOCK},
};
use ksync::Mutex;

use super::{
    dentry::Dentry,
    file::{File, FileOps},
    inode::{Attr, AttrChange, FileSystem, FsStats, Inode, InodeCommon},
    mount::Mount,
    path::Path,
};
use crate::{error::Result, locks, machine::Machine, task::Task};

/// The filesystem of anonymous files.
pub(super) struct AnonFs {
    dev: u64,
    me: Weak<AnonFs>,
}

impl AnonFs {
    pub(super) fn mount(machine: &Machine) -> Arc<Mount> {
        let fs = Arc::new_cyclic(|me| AnonFs { dev: machine.new_dev(), me: me.clone() });
        let root = fs.inode(machine, S_IFSOCK, machine.new_ino());
        Mount::new(fs, Dentry::new_root(root), b"none", 0)
    }

    /// What an inode that outlives its machine stands on.
    pub(super) fn detached() -> Arc<dyn FileSystem> {
        Arc::new_cyclic(|me| AnonFs { dev: 0, me: me.clone() })
    }

    fn inode(&self, machine: &Machine, mode: u32, ino: u64) -> Arc<dyn Inode> {
        let now = machine.clock.now();
        let attr = Attr {
            dev: self.dev,
            ino,
            mode,
            nlink: 1,
            blksize: 4096,
            atime: now,
            mtime: now,
            ctime: now,
            ..Attr::default()
        };
        Arc::new(AnonInode {
            fs: self.me.clone(),
            common: InodeCommon::new(),
            ino: attr.ino,
            attr: Mutex::new(locks::LEAF, attr),
        })
    }
}

impl FileSystem for AnonFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "anon_inodefs"
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn root(&self) -> Arc<dyn Inode> {
        // Nothing walks here.
        Arc::new(AnonInode {
            fs: self.me.clone(),
            common: InodeCommon::new(),
            ino: 0,
            attr: Mutex::new(locks::LEAF, Attr::default()),
        })
    }
    fn stats(&self) -> Result<FsStats> {
        Ok(FsStats {
            magic: ANON_INODE_FS_MAGIC as u64,
            block_size: 4096,
            name_max: 255,
            ..FsStats::default()
        })
    }
}

struct AnonInode {
    fs: Weak<AnonFs>,
    common: InodeCommon,
    ino: u64,
    attr: Mutex<Attr>,
}

impl Inode for AnonInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn common(&self) -> &InodeCommon {
        &self.common
    }
    fn fs(&self) -> Arc<dyn FileSystem> {
        match self.fs.upgrade() {
            Some(fs) => fs,
            None => AnonFs::detached(),
        }
    }
    fn ino(&self) -> u64 {
        self.ino
    }
    fn kind(&self) -> FileType {
        // eventfds and the like have no type bits; nothing opens them by name.
        FileType::from_mode(self.attr.lock().mode).unwrap_or(FileType::Socket)
    }
    fn attr(&self) -> Result<Attr> {
        Ok(*self.attr.lock())
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        let mut a = self.attr.lock();
        if let Some(m) = change.mode {
            a.mode = a.mode & !S_IALLUGO | m & S_IALLUGO;
        }
        a.uid = change.uid.unwrap_or(a.uid);
        a.gid = change.gid.unwrap_or(a.gid);
        a.atime = change.atime.unwrap_or(a.atime);
        a.mtime = change.mtime.unwrap_or(a.mtime);
        a.ctime = change.ctime.unwrap_or(a.ctime);
        Ok(())
    }
    fn open(self: Arc<Self>, _flags: OpenFlags, _task: &Task) -> Result<Arc<dyn FileOps>> {
        Err(if self.kind() == FileType::Socket { ENXIO } else { ENODEV })
    }
}

impl super::Vfs {
    /// The mount of all anonymous files.
    pub(super) fn anon_mount(&self, machine: &Machine) -> Arc<Mount> {
        self.anon.get_or_init(|| AnonFs::mount(machine)).clone()
    }

    /// A place for an anonymous file. `name` "pipe" and "socket" give inodes of that type, shown as `pipe:[INO]`; any other
    /// is shown as `anon_inode:NAME` (Linux writes most names in brackets: "[eventfd]").
    pub fn anon_path(&self, machine: &Machine, name: &str) -> Path {
        let mount = self.anon_mount(machine);
        let mode = match name {
            "pipe" => S_IFIFO | 0o600,
            "socket" => S_IFSOCK | 0o777,
            _ => 0o600,
        };
        let fs = mount.fs.as_any().downcast_ref::<AnonFs>();
        let inode = match fs {
            Some(fs) => fs.inode(machine, mode, machine.new_ino()),
            None => mount.fs.root(),
        };
        let shown = match name {
            "pipe" | "socket" => format!("{name}:[{}]", inode.ino()),
            other => format!("anon_inode:{other}"),
        };
        Path { mount, dentry: Dentry::new_named(inode, shown.as_bytes()) }
    }

    /// A place that /proc shows by this very name and number (System V shared memory).
    pub fn hidden_path(&self, machine: &Machine, shown: &[u8], ino: u64) -> Path {
        let mount = self.anon.get_or_init(|| AnonFs::mount(machine)).clone();
        let inode = match mount.fs.as_any().downcast_ref::<AnonFs>() {
            Some(fs) => fs.inode(machine, abi::fs::S_IFREG | 0o600, ino),
            None => mount.fs.root(),
        };
        Path { mount, dentry: Dentry::new_named(inode, shown) }
    }

    /// An open anonymous file (see [`super::Vfs::anon_path`]; the ends of a pipe share one place).
    pub fn anon_file(
        &self,
        machine: &Machine,
        name: &str,
        ops: Arc<dyn FileOps>,
        flags: OpenFlags,
    ) -> Arc<File> {
        File::new(ops, self.anon_path(machine, name), flags)
    }

    /// Who made an anonymous file owns it.
    pub fn own_anon(&self, path: &Path, task: &Task) {
        let cred = task.cred();
        let change = AttrChange { uid: Some(cred.fsuid), gid: Some(cred.fsgid), ..AttrChange::default() };
        if let Ok(inode) = path.inode() {
            let _ = inode.set_attr(&change);
        }
    }
}

impl super::Vfs {
    /// A new file of memory without a name (memfd_create(2)). ENOSYS if no tmpfs is registered.
    pub fn memfd(&self, task: &Task, name: &[u8], mode: u32) -> Result<Arc<File>> {
        let fs = match self.memfds.get() {
            Some(fs) => fs.clone(),
            None => {
                let kind = task.machine.registry.filesystems.get("tmpfs").ok_or(abi::errno::ENOSYS)?;
                let fs = kind.mount(&task.machine, b"memfd", b"", false, None)?;
                self.memfds.get_or_init(|| fs).clone()
            }
        };
        let cred = task.cred();
        let root = fs.root();
        let inode = root.dir().ok_or(ENODEV)?.tmpfile(mode, (cred.fsuid, cred.fsgid))?;
        let flags = OpenFlags::RDWR | OpenFlags::LARGEFILE;
        let ops = inode.clone().open(flags, task)?;
        let shown = [b"/memfd:", name, b" (deleted)"].concat();
        let dentry = Dentry::new_named(inode, &shown);
        let mount = Mount::new(fs, Dentry::new_root(root), b"memfd", 0);
        Ok(File::new(ops, Path { mount, dentry }, flags))
    }
}
