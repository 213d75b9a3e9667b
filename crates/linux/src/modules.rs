//! The only place that names every module of the kernel. Adding one is adding a line here and a workspace member.

use kernel::registry::Registry;

/// How guests may mount host directories themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMounts {
    /// Not at all: `umlaut` promises that nothing on the host changes.
    Never,
    /// As UML does, below `jail` (`hostfs=DIR[,append]`; empty: the whole host).
    Below { jail: String, append: bool },
}

/// Registers everything but the consoles, which the machine's configuration makes.
pub fn register(r: &mut Registry, host_mounts: &HostMounts) {
    fs_tmpfs::register(r);
    fs_overlay::register(r);
    fs_proc::register(r);
    fs_devpts::register(r);
    fs_mqueue::register(r);
    fs_sysfs::register(r);
    drv_mem::register(r);
    net_unix::register(r);
    if let HostMounts::Below { jail, append } = host_mounts {
        fs_hostfs::register(r, jail.as_bytes(), *append);
    }
}
