//! sysfs(5): what lscpu, lsblk, udev, libc and language runtimes look up about processors, memory and devices.
//!
//! The tree is made when it is mounted, of rows that name whole paths: [`cpu`] and [`memory`] for what the machine has,
//! [`class`] for the devices of its registry, [`kernel_dir`] for the rest. Adding a file is adding a row.
#![forbid(unsafe_code)]

mod class;
mod cpu;
mod kernel_dir;
mod memory;
mod tree;

use std::sync::Arc;

use abi::{FileType, OpenFlags, Timespec, errno};
use kernel::{
    Machine, Result,
    registry::{FsType, Registry},
    task::{Task, TaskCx},
    vfs::{
        file::FileOps,
        inode::{Attr, FileSystem, Link},
        pseudo::{Entry, Make, Pseudo, Text, Tree},
    },
};

use tree::{Entries, Kind};

/// Adds the filesystem type to a machine.
pub fn register(r: &mut Registry) {
    r.filesystems.insert("sysfs", Arc::new(Type));
}

struct Type;

impl FsType for Type {
    fn name(&self) -> &'static str {
        "sysfs"
    }
    fn mount(
        &self,
        machine: &Arc<Machine>,
        _source: &[u8],
        options: &[u8],
        _read_only: bool,
        _task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>> {
        if !options.is_empty() {
            return Err(errno::EINVAL);
        }
        let mut entries = Entries::default();
        cpu::add(&mut entries, machine);
        memory::add(&mut entries, machine);
        class::add(&mut entries, machine);
        kernel_dir::add(&mut entries);
        Ok(Pseudo::new(machine.new_dev(), SysFs { entries, boot: machine.clock.now() }))
    }
}

/// One instance. A place is the number of an entry.
struct SysFs {
    entries: Entries,
    boot: Timespec,
}

/// st_size of a file: what one read can give at most.
const FILE_SIZE: u64 = 4096;

impl Tree for SysFs {
    type Place = usize;
    const NAME: &'static str = "sysfs";
    const MAGIC: u64 = 0x6265_6572;

    fn root(&self) -> usize {
        0
    }
    fn ino(&self, number: &usize) -> u64 {
        *number as u64 + 1
    }
    fn kind(&self, number: &usize) -> FileType {
        match self.entries.get(*number) {
            Some(Kind::Dir(_)) => FileType::Directory,
            Some(Kind::Link(_)) => FileType::Symlink,
            _ => FileType::Regular,
        }
    }
    fn attr(&self, number: &usize) -> Result<Attr> {
        use abi::fs::{S_IFDIR, S_IFLNK, S_IFREG};
        let (mode, nlink, size) = match self.kind(number) {
            FileType::Directory => (S_IFDIR | 0o755, 2, 0),
            FileType::Symlink => (S_IFLNK | 0o777, 1, 0),
            _ => (S_IFREG | 0o444, 1, FILE_SIZE),
        };
        let (atime, mtime, ctime, btime) = (self.boot, self.boot, self.boot, self.boot);
        Ok(Attr { mode, nlink, size, atime, mtime, ctime, btime, ..Attr::default() })
    }
    fn lookup(&self, dir: &usize, name: &[u8], _: &Task) -> Result<usize> {
        let name = std::str::from_utf8(name).map_err(|_| errno::ENOENT)?;
        match self.entries.get(*dir) {
            Some(Kind::Dir(names)) => names.get(name).copied().ok_or(errno::ENOENT),
            _ => Err(errno::ENOTDIR),
        }
    }
    fn entries(&self, dir: &usize, _: &Task) -> Result<Vec<Entry>> {
        let Some(Kind::Dir(names)) = self.entries.get(*dir) else { return Err(errno::ENOTDIR) };
        let entry = |((name, number), next): ((&String, &usize), u64)| Entry {
            name: name.clone().into_bytes(),
            ino: self.ino(number),
            kind: self.kind(number),
            next,
        };
        Ok(names.iter().zip(3..).map(entry).collect())
    }
    fn open(
        &self,
        fs: Arc<Pseudo<Self>>,
        number: &usize,
        _: OpenFlags,
        _: &Task,
    ) -> Result<Arc<dyn FileOps>> {
        let number = *number;
        let make: Make = Box::new(move |task| match fs.tree().entries.get(number) {
            Some(Kind::File(make)) => Ok(make(&task.machine).into_bytes()),
            _ => Err(errno::EIO),
        });
        Ok(Text::new(FILE_SIZE, make, None))
    }
    fn link(&self, number: &usize, _: &Task) -> Result<Link> {
        match self.entries.get(*number) {
            Some(Kind::Link(target)) => Ok(Link::Text(target.clone().into_bytes())),
            _ => Err(errno::EINVAL),
        }
    }
}
