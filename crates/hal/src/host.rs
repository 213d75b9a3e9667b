//! The host as a whole.

use std::{sync::Arc, time::Duration};

use crate::{Context, FileChange, HostFile, Result, SharedMem, Stream, Watch};

/// What the host is, found once at start.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// Processors the machine may use.
    pub cpus: u32,
    /// Host memory in bytes.
    pub memory: u64,
    /// AT_HWCAP, AT_HWCAP2 as the guest should see them.
    pub hwcap: u64,
    pub hwcap2: u64,
    /// AT_MINSIGSTKSZ.
    pub minsigstksz: u64,
    /// Bytes of the XSAVE image in signal frames, without the end magic.
    pub xstate_size: u32,
    /// AT_PLATFORM.
    pub platform: String,
    /// Host `uname -a`-like line.
    pub uname: String,
    /// The processors.
    pub cpu_info: Vec<CpuInfo>,
    /// Host user and group of the machine process.
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
}

/// One processor, as /proc/cpuinfo shows it.
#[derive(Clone, Debug, Default)]
pub struct CpuInfo {
    pub vendor: String,
    pub family: u32,
    pub model: u32,
    pub model_name: String,
    pub stepping: u32,
    pub mhz: u32,
    pub cache_kib: u32,
    pub flags: String,
}

/// Start parameters of the platform.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Host processors to use at once; 0 = all.
    pub cpus: u32,
}

/// Everything else the kernel asks of the host.
pub trait Host: Send + Sync {
    fn facts(&self) -> &HostFacts;
    /// A new, empty address space with one thread that has not run yet.
    fn new_context(&self) -> Result<Box<dyn Context>>;
    fn shared_mem(&self) -> Arc<dyn SharedMem>;

    /// CLOCK_MONOTONIC in nanoseconds.
    fn monotonic_ns(&self) -> u64;
    /// As [`Host::monotonic_ns`], but up to a few milliseconds behind where that is cheaper: for ages of cached facts.
    fn coarse_ns(&self) -> u64 {
        self.monotonic_ns()
    }
    /// How many descriptors of the host may be open (RLIMIT_NOFILE).
    fn file_limit(&self) -> u64 {
        1024
    }
    /// CLOCK_REALTIME in nanoseconds since 1970.
    fn realtime_ns(&self) -> u64;
    /// CLOCK_BOOTTIME in nanoseconds.
    fn boottime_ns(&self) -> u64;
    /// Fills the buffer with unpredictable bytes.
    fn entropy(&self, buf: &mut [u8]);
    /// Starts a host thread for kernel work.
    fn spawn(&self, name: &str, f: Box<dyn FnOnce() + Send>) -> Result<()>;
    /// Sleeps (kernel threads only; tasks wait on queues).
    fn sleep(&self, d: Duration);

    /// Files that are lent to guest threads ([`Context::lend_file`]) are lent no more from the moment on when this returns:
    /// something has changed about files of the host, or about who looks at them.
    fn recall_files(&self) {}
    /// How often [`Host::recall_files`] was called.
    fn lending_epoch(&self) -> u64 {
        0
    }

    /// Raises one of [`crate::COUNTS`] counts, which stubs look at before they answer by themselves what they were told
    /// under it. To be done after each change of what the answer would be, and before anybody can know of that.
    fn raise(&self, _count: u32) {}
    /// How often that was done.
    fn raised(&self, _count: u32) -> u64 {
        0
    }

    /// Opens a host directory or file by absolute path, following links: only for what the command line named.
    fn open_path(&self, path: &[u8], flags: u32) -> Result<Arc<dyn HostFile>>;
    /// Calls `tell`, from a host thread, for each change of the file (contents, attributes, names, moves, its end), by
    /// whomever it was made, until the watch is dropped. ENOSYS if the host tells of none, ENOSPC at its limit.
    fn watch_file(
        &self,
        _file: &dyn HostFile,
        _tell: Box<dyn Fn(&FileChange) + Send + Sync>,
    ) -> Result<Box<dyn Watch>> {
        Err(crate::errno::ENOSYS)
    }
    /// An inherited descriptor as a byte stream.
    fn stream(&self, fd: i32) -> Result<Arc<dyn Stream>>;
    /// A new host pty: its master as a stream, and the slave's path.
    fn new_pty(&self) -> Result<(Arc<dyn Stream>, String)>;
    /// A line for the user's error output (kernel reports); never blocks for long.
    fn report(&self, line: &str);
    /// Ends the whole machine process after cleaning up (terminals, stubs).
    fn exit(&self, status: i32) -> !;
}
