//! What modules add to the kernel: filesystem types, character and block devices, socket families. The kernel names no
//! module; the assembler of a machine registers them at boot.

use std::{collections::BTreeMap, sync::Arc};

use abi::OpenFlags;

use crate::{
    error::Result,
    machine::Machine,
    task::{Task, TaskCx},
    vfs::{
        file::FileOps,
        inode::{FileSystem, Inode},
    },
};

/// A filesystem that can be mounted.
pub trait FsType: Send + Sync {
    /// As mount(2) and /proc/filesystems name it.
    fn name(&self) -> &'static str;
    /// Needs a block device.
    fn needs_device(&self) -> bool {
        false
    }
    /// Makes an instance. `source` and `options` are mount(2)'s; generic flags are handled by the VFS. `task` is who
    /// mounts (for paths in options); `None` at boot.
    fn mount(
        &self,
        machine: &Arc<Machine>,
        source: &[u8],
        options: &[u8],
        read_only: bool,
        task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>>;
}

/// A character or block device driver.
pub trait DeviceDriver: Send + Sync {
    fn name(&self) -> &'static str;
    /// Opens the device behind a node. ENXIO if there is no such minor.
    fn open(
        &self,
        rdev: u64,
        inode: &Arc<dyn Inode>,
        flags: OpenFlags,
        task: &Task,
    ) -> Result<Arc<dyn FileOps>>;
}

/// A node that devtmpfs shows.
#[derive(Clone, Debug)]
pub struct DeviceNode {
    /// Path below /dev ("null", "pts/ptmx").
    pub name: String,
    /// Type and permission bits.
    pub mode: u32,
    pub rdev: u64,
}

/// A socket family (AF_*). Sockets are files; their operations beyond read, write and poll are in [`SocketOps`].
pub trait SocketFamily: Send + Sync {
    fn family(&self) -> u16;
    /// EPROTONOSUPPORT, ESOCKTNOSUPPORT as socket(2) says. `kind` without the SOCK_* flags.
    fn create(
        &self,
        machine: &Arc<Machine>,
        task: &Task,
        kind: u32,
        protocol: u32,
    ) -> Result<Arc<dyn SocketOps>>;
    /// EOPNOTSUPP where the family has none.
    fn pair(
        &self,
        machine: &Arc<Machine>,
        task: &Task,
        kind: u32,
        protocol: u32,
    ) -> Result<(Arc<dyn SocketOps>, Arc<dyn SocketOps>)>;
}

pub use crate::net::SocketOps;

/// All that was registered.
#[derive(Default)]
pub struct Registry {
    pub filesystems: BTreeMap<&'static str, Arc<dyn FsType>>,
    /// By major and minor number; a minor of `None` takes the rest of its major.
    pub char_drivers: BTreeMap<(u32, Option<u32>), Arc<dyn DeviceDriver>>,
    pub block_drivers: BTreeMap<(u32, Option<u32>), Arc<dyn DeviceDriver>>,
    pub device_nodes: Vec<DeviceNode>,
    pub socket_families: BTreeMap<u16, Arc<dyn SocketFamily>>,
}

impl Registry {
    /// The driver of a character device.
    pub fn char_driver(&self, rdev: u64) -> Option<&Arc<dyn DeviceDriver>> {
        driver(&self.char_drivers, rdev)
    }
    /// The driver of a block device.
    pub fn block_driver(&self, rdev: u64) -> Option<&Arc<dyn DeviceDriver>> {
        driver(&self.block_drivers, rdev)
    }
}

fn driver(
    map: &BTreeMap<(u32, Option<u32>), Arc<dyn DeviceDriver>>,
    rdev: u64,
) -> Option<&Arc<dyn DeviceDriver>> {
    let (major, minor) = (abi::major(rdev), abi::minor(rdev));
    map.get(&(major, Some(minor))).or_else(|| map.get(&(major, None)))
}
