//! Files that the machine was started with: pipes, files, sockets and devices of the host, as descriptors of the first
//! program. They have no name inside; opening one again by its descriptor (`/dev/stdout`, `/proc/self/fd/N`) gives the
//! same file once more, whatever its type.

use std::{
    any::Any,
    sync::{Arc, Weak},
};

use abi::{
    FileType, OpenFlags,
    errno::{EINVAL, EPERM},
};

use super::{
    anon::AnonFs,
    dentry::Dentry,
    file::{File, FileOps},
    inode::{Attr, AttrChange, FileSystem, Inode, InodeCommon},
    path::Path,
};
use crate::{
    error::Result,
    io::{Sink, Source},
    machine::Machine,
    task::Task,
};

/// Operations of a file that is the host's.
pub trait Inherited: FileOps {
    /// Its attributes as they are now: others outside may change them. `dev` and `ino` are replaced.
    fn attr(&self) -> Result<Attr>;
}

/// Positions of a file whose position is kept elsewhere: [`FileOps::is_stream`] is true, and yet it can be sought.
pub trait Seekable {
    /// lseek(2).
    fn seek(&self, offset: i64, whence: u32) -> Result<u64>;
    /// pread(2).
    fn read_at(&self, dst: &mut dyn Sink, pos: u64) -> Result<usize>;
    /// pwrite(2).
    fn write_at(&self, src: &mut dyn Source, pos: u64) -> Result<usize>;
}

/// A regular file opened by the name of its descriptor.
struct Reopened(Arc<dyn Inherited>);

impl FileOps for Reopened {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _: &File, _: &Task, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        self.0.seekable().ok_or(EINVAL)?.read_at(dst, pos)
    }
    fn write(&self, _: &File, _: &Task, src: &mut dyn Source, pos: u64) -> Result<usize> {
        self.0.seekable().ok_or(EINVAL)?.write_at(src, pos)
    }
    fn truncate(&self, size: u64) -> Result<()> {
        self.0.truncate(size)
    }
    fn mappable(&self) -> Option<Arc<dyn crate::mm::Mappable>> {
        self.0.mappable()
    }
}

struct InheritedInode {
    fs: Weak<dyn FileSystem>,
    common: InodeCommon,
    ino: u64,
    dev: u64,
    kind: FileType,
    ops: Arc<dyn Inherited>,
}

impl Inode for InheritedInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn common(&self) -> &InodeCommon {
        &self.common
    }
    fn fs(&self) -> Arc<dyn FileSystem> {
        self.fs.upgrade().unwrap_or_else(|| AnonFs::detached())
    }
    fn ino(&self) -> u64 {
        self.ino
    }
    fn kind(&self) -> FileType {
        self.kind
    }
    fn attr(&self) -> Result<Attr> {
        let mut attr = self.ops.attr()?;
        // Whoever runs the machine owns the file there; in here that is root, and everybody may use what he was given.
        (attr.dev, attr.ino, attr.uid, attr.gid) = (self.dev, self.ino, 0, 0);
        attr.mode |= 0o666;
        Ok(attr)
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        if let Some(size) = change.size {
            self.ops.truncate(size)?;
        }
        // Modes and owners outside are not the guest's to change; times follow from what it does.
        if change.mode.is_some() || change.uid.is_some() || change.gid.is_some() {
            return Err(EPERM);
        }
        Ok(())
    }
    fn open(self: Arc<Self>, _flags: OpenFlags, _task: &Task) -> Result<Arc<dyn FileOps>> {
        // A regular file opened again has a position of its own.
        if self.ops.seekable().is_some() {
            return Ok(Arc::new(Reopened(self.ops.clone())));
        }
        Ok(self.ops.clone())
    }
    fn is_inherited(&self) -> bool {
        true
    }
}

impl super::Vfs {
    /// An open file over a descriptor of the host.
    pub fn inherited_file(
        &self,
        machine: &Machine,
        ops: Arc<dyn Inherited>,
        flags: OpenFlags,
    ) -> Result<Arc<File>> {
        let mount = self.anon_mount(machine);
        let kind = FileType::from_mode(ops.attr()?.mode).unwrap_or(FileType::Fifo);
        let inode = Arc::new(InheritedInode {
            fs: Arc::downgrade(&mount.fs),
            common: InodeCommon::new(),
            ino: machine.new_ino(),
            dev: mount.fs.dev(),
            kind,
            ops: ops.clone(),
        });
        let word = match kind {
            FileType::Fifo => "pipe",
            FileType::Socket => "socket",
            FileType::Char => "device",
            _ => "file",
        };
        let shown = format!("{word}:[{}]", inode.ino);
        let path = Path { mount, dentry: Dentry::new_named(inode, shown.as_bytes()) };
        Ok(File::new(ops, path, flags))
    }
}
