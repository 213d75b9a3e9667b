//! Open files whose data is still below. Once somebody has copied the file up, reads see the upper data.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use abi::OpenFlags;
use kernel::{
    Result,
    io::{Sink, Source},
    mm::Mappable,
    task::{Task, TaskCx},
    vfs::{
        file::{File, FileOps},
        inode::Inode,
    },
};

use crate::{
    OvlInode,
    inode::{COMPLETE, PURE_LOWER},
};

/// A file opened for reading.
pub(crate) struct OvlFile {
    inode: Arc<OvlInode>,
    lower: Arc<dyn FileOps>,
    /// Opened when the file was found to be above.
    upper: OnceLock<Arc<dyn FileOps>>,
}

impl OvlFile {
    pub(crate) fn new(inode: Arc<OvlInode>, lower: Arc<dyn FileOps>) -> OvlFile {
        OvlFile { inode, lower, upper: OnceLock::new() }
    }

    /// Where the data is now.
    fn ops(&self) -> &Arc<dyn FileOps> {
        if self.inode.level() != COMPLETE {
            return &self.lower;
        }
        if let Some(u) = self.upper.get() {
            return u;
        }
        let opened = self.inode.upper_inode().and_then(|u| {
            let task = self.inode.shared.task().ok()?;
            u.open(OpenFlags::empty(), &task).ok()
        });
        match opened {
            Some(ops) => self.upper.get_or_init(|| ops),
            None => &self.lower,
        }
    }
}

impl FileOps for OvlFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, file: &File, task: &Task, dst: &mut dyn Sink, pos: u64) -> Result<usize> {
        self.ops().read(file, task, dst, pos)
    }
    fn write(&self, _file: &File, _task: &Task, _src: &mut dyn Source, _pos: u64) -> Result<usize> {
        Err(abi::errno::EBADF)
    }
    fn size(&self) -> Result<u64> {
        self.ops().size()
    }
    fn size_count(&self) -> Option<u32> {
        self.ops().size_count()
    }
    fn seek_data(&self, pos: u64, data: bool) -> Result<u64> {
        self.ops().seek_data(pos, data)
    }
    fn host_contents(&self) -> Option<Arc<dyn hal::HostFile>> {
        if self.inode.level() == PURE_LOWER { self.lower.host_contents() } else { None }
    }
    fn can_poll(&self) -> bool {
        false
    }
    fn ioctl(&self, file: &File, cx: &mut TaskCx, cmd: u32, arg: u64) -> Result<u64> {
        self.ops().ioctl(file, cx, cmd, arg)
    }
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        self.ops().mappable()
    }
    fn sync(&self, data_only: bool) -> Result<()> {
        // What is below is not ours to write back.
        if self.inode.level() == COMPLETE { self.ops().sync(data_only) } else { Ok(()) }
    }
    fn truncate(&self, size: u64) -> Result<()> {
        let change = kernel::vfs::inode::AttrChange { size: Some(size), ..Default::default() };
        self.inode.set_attr(&change)
    }
}
