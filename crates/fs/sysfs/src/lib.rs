//! sysfs(5): what lscpu, lsblk, udev, libc and language runtimes look up about processors, memory and devices.
//!
//! The tree is made when it is mounted, of rows that name whole paths: [`cpu`] and [`memory`] for what the machine has,
//! [`class`] for the devices of its registry, [`kernel_dir`] for the rest. Adding a file is adding a row.
#![forbid(unsafe_code)]

mod class;
mod cpu;
mod kernel_dir;
mod memory;
mod node;
mod tree;

use std::{
    any::Any,
    sync::{Arc, OnceLock, Weak},
};

use abi::{Timespec, errno};
use kernel::{
    Machine, Result,
    registry::{FsType, Registry},
    task::TaskCx,
    vfs::inode::{FileSystem, FsStats, Inode},
};

use node::Node;
use tree::Tree;

/// f_type of sysfs (statfs(2)).
const MAGIC: u64 = 0x6265_6572;

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
        let mut tree = Tree::default();
        cpu::add(&mut tree, machine);
        memory::add(&mut tree, machine);
        class::add(&mut tree, machine);
        kernel_dir::add(&mut tree);
        Ok(Arc::new_cyclic(|me| SysFs {
            me: me.clone(),
            dev: machine.new_dev(),
            tree,
            root: OnceLock::new(),
            boot: machine.clock.now(),
        }))
    }
}

/// One instance.
pub(crate) struct SysFs {
    me: Weak<SysFs>,
    dev: u64,
    tree: Tree,
    root: OnceLock<Arc<Node>>,
    boot: Timespec,
}

impl FileSystem for SysFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "sysfs"
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root.get_or_init(|| Node::new(self.me.clone(), 0)).clone()
    }
    fn stats(&self) -> Result<FsStats> {
        Ok(FsStats { magic: MAGIC, block_size: 4096, name_max: 255, ..FsStats::default() })
    }
}
