//! devtmpfs: a tmpfs that starts with a node for each registered device.

use std::sync::Arc;

use abi::{
    FileType,
    errno::{EEXIST, EINVAL},
    fs::{S_IALLUGO, S_IFMT},
};
use kernel::{
    Machine, Result,
    registry::FsType,
    task::TaskCx,
    vfs::inode::{DirOps, FileSystem},
};

use crate::{Options, TmpFs, TmpInode};

/// Links that programs expect in /dev.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

pub(crate) struct DevType;

impl FsType for DevType {
    fn name(&self) -> &'static str {
        "devtmpfs"
    }
    fn mount(
        &self,
        machine: &Arc<Machine>,
        _source: &[u8],
        options: &[u8],
        _read_only: bool,
        _task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>> {
        let mut o = Options::parse(options)?;
        o.mode.get_or_insert(0o755);
        let fs = TmpFs::with_type(machine, "devtmpfs", o);
        let root = fs.root_inode();
        for node in &machine.registry.device_nodes {
            add_node(root, &node.name, node.mode, node.rdev)?;
        }
        for (name, target) in LINKS {
            root.symlink(name.as_bytes(), target.as_bytes(), (0, 0))?;
        }
        for (name, mode) in [("pts", 0o755), ("shm", 0o1777)] {
            directory(root, name.as_bytes(), mode)?;
        }
        Ok(fs)
    }
}

/// The directory of that name, made if it is not there.
fn directory(parent: &Arc<TmpInode>, name: &[u8], mode: u32) -> Result<Arc<TmpInode>> {
    match parent.mkdir(name, mode, (0, 0)) {
        Ok(_) | Err(EEXIST) => {}
        Err(e) => return Err(e),
    }
    parent.entries()?.get(name).cloned().ok_or(EINVAL)
}

fn add_node(root: &Arc<TmpInode>, path: &str, mode: u32, rdev: u64) -> Result<()> {
    let mut dir = root.clone();
    let mut parts = path.split('/').filter(|p| !p.is_empty()).peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_some() {
            dir = directory(&dir, part.as_bytes(), 0o755)?;
            continue;
        }
        let kind = FileType::from_mode(mode & S_IFMT).unwrap_or(FileType::Char);
        match dir.mknod(part.as_bytes(), kind.mode() | mode & S_IALLUGO, rdev, (0, 0)) {
            // Two drivers may name the same node.
            Ok(_) | Err(EEXIST) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
