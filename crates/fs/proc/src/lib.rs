//! proc(5): what ps, top, libc and shells read of the machine and its processes.
//!
//! Every file is a row of a table ([`system`] for the machine, [`process`] for tasks, [`sysctl`] for /proc/sys) with a
//! function that prints it; nothing is stored. Adding a file is adding a row.
#![forbid(unsafe_code)]

mod detail;
mod devices;
mod fd;
mod mem;
mod memory;
mod mounts;
mod node;
mod process;
mod sysctl;
mod system;
mod sysvipc;
mod text;
mod tree;

use std::{
    any::Any,
    sync::{Arc, OnceLock, Weak},
};

use abi::Timespec;
use kernel::{
    Machine, Result,
    registry::{FsType, Registry},
    task::TaskCx,
    vfs::inode::{FileSystem, FsStats, Inode},
};

use node::{Node, What};

/// f_type of proc (statfs(2)).
const MAGIC: u64 = 0x9fa0;

/// Adds the filesystem type to a machine.
pub fn register(r: &mut Registry) {
    r.filesystems.insert("proc", Arc::new(Type));
}

struct Type;

impl FsType for Type {
    fn name(&self) -> &'static str {
        "proc"
    }
    fn mount(
        &self,
        machine: &Arc<Machine>,
        _source: &[u8],
        options: &[u8],
        _read_only: bool,
        _task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>> {
        for opt in options.split(|b| *b == b',').filter(|o| !o.is_empty()) {
            // hidepid=0 is what we do; the others would hide nothing: refused.
            if !matches!(opt, b"hidepid=0" | b"hidepid=off") && !opt.starts_with(b"gid=") {
                return Err(abi::errno::EINVAL);
            }
        }
        Ok(Arc::new_cyclic(|me| ProcFs {
            me: me.clone(),
            machine: Arc::downgrade(machine),
            dev: machine.new_dev(),
            root: OnceLock::new(),
            boot: machine.clock.now(),
        }))
    }
}

/// One instance.
struct ProcFs {
    me: Weak<ProcFs>,
    machine: Weak<Machine>,
    dev: u64,
    root: OnceLock<Arc<Node>>,
    boot: Timespec,
}

impl ProcFs {
    fn machine(&self) -> Result<Arc<Machine>> {
        self.machine.upgrade().ok_or(abi::errno::ENODEV)
    }
    fn node(&self, what: What) -> Arc<Node> {
        Node::new(self.me.clone(), what)
    }
}

impl FileSystem for ProcFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "proc"
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root.get_or_init(|| self.node(What::Root)).clone()
    }
    fn stats(&self) -> Result<FsStats> {
        Ok(FsStats { magic: MAGIC, block_size: 4096, name_max: 255, ..FsStats::default() })
    }
}
