//! The kernel's own directory, and those that others mount on.

use crate::tree::Entries;

pub(crate) fn add(t: &mut Entries) {
    for dir in [
        "bus",
        "firmware",
        "fs/cgroup",
        "fs/fuse/connections",
        "kernel/config",
        "kernel/debug",
        "kernel/security",
        "kernel/tracing",
        "module",
        "power",
    ] {
        t.dir(dir);
    }
    t.line("kernel/fscaps", "1");
    t.line("kernel/kexec_loaded", "0");
    t.line("kernel/kexec_crash_loaded", "0");
    t.line("kernel/profiling", "0");
    t.line("kernel/uevent_seqnum", "0");
    t.line("kernel/uevent_helper", "");
}
