//! Records about processes and the machine: getrusage(2), times(2), sysinfo(2), uname(2), getrlimit(2).

use crate::time::Timeval;
use crate::wire::{get_array, get_i64, put_i64, put_slice, put_u16, put_u32, put_u64, wire_struct};

/// Resources a task used: `struct rusage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rusage {
    /// Time in user mode.
    pub utime: Timeval,
    /// Time in the kernel.
    pub stime: Timeval,
    /// Largest resident set, in KiB.
    pub maxrss: i64,
    /// Faults without a transfer.
    pub minflt: i64,
    /// Faults with one.
    pub majflt: i64,
    /// Blocks of 512 bytes read.
    pub inblock: i64,
    /// Blocks of 512 bytes written.
    pub oublock: i64,
    /// Switches it asked for.
    pub nvcsw: i64,
    /// Switches it did not.
    pub nivcsw: i64,
}

impl Rusage {
    /// Size in guest memory, in bytes.
    pub const SIZE: usize = 144;

    /// The record as the guest sees it; fields Linux does not keep are 0.
    pub fn encode(&self) -> [u8; 144] {
        let mut out = [0; 144];
        put_slice(&mut out, 0, &self.utime.encode());
        put_slice(&mut out, 16, &self.stime.encode());
        for (at, value) in [
            (32, self.maxrss),
            (64, self.minflt),
            (72, self.majflt),
            (88, self.inblock),
            (96, self.oublock),
            (128, self.nvcsw),
            (136, self.nivcsw),
        ] {
            put_i64(&mut out, at, value);
        }
        out
    }

    /// Reads a record; fields Linux does not keep are dropped.
    pub fn decode(bytes: &[u8; 144]) -> Rusage {
        Rusage {
            utime: Timeval::decode(&get_array(bytes, 0)),
            stime: Timeval::decode(&get_array(bytes, 16)),
            maxrss: get_i64(bytes, 32),
            minflt: get_i64(bytes, 64),
            majflt: get_i64(bytes, 72),
            inblock: get_i64(bytes, 88),
            oublock: get_i64(bytes, 96),
            nvcsw: get_i64(bytes, 128),
            nivcsw: get_i64(bytes, 136),
        }
    }
}

wire_struct! {
    /// Times of a process and its children in clock ticks: `struct tms`.
    Tms [32] {
        /// In user mode.
        utime: i64 @ 0,
        /// In the kernel.
        stime: i64 @ 8,
        /// Children in user mode.
        cutime: i64 @ 16,
        /// Children in the kernel.
        cstime: i64 @ 24,
    }
}

wire_struct! {
    /// A resource limit: `struct rlimit`, `struct rlimit64`.
    Rlimit [16] {
        /// The limit in force.
        cur: u64 @ 0,
        /// The most it can be raised to.
        max: u64 @ 8,
    }
}

/// State of the machine: `struct sysinfo`. Sizes are in units of `mem_unit` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sysinfo {
    /// Seconds since boot.
    pub uptime: i64,
    /// Load averages of 1, 5 and 15 minutes, times 65536.
    pub loads: [u64; 3],
    /// Memory.
    pub totalram: u64,
    /// Free memory.
    pub freeram: u64,
    /// Shared memory.
    pub sharedram: u64,
    /// Memory in buffers.
    pub bufferram: u64,
    /// Swap space.
    pub totalswap: u64,
    /// Free swap space.
    pub freeswap: u64,
    /// Tasks.
    pub procs: u16,
    /// Bytes in a unit.
    pub mem_unit: u32,
}

impl Sysinfo {
    /// Size in guest memory, in bytes.
    pub const SIZE: usize = 112;

    /// The record as the guest sees it.
    pub fn encode(&self) -> [u8; 112] {
        let mut out = [0; 112];
        put_i64(&mut out, 0, self.uptime);
        let [one, five, fifteen] = self.loads;
        let words = [one, five, fifteen, self.totalram, self.freeram, self.sharedram, self.bufferram];
        let words = words.into_iter().chain([self.totalswap, self.freeswap]);
        for (i, word) in words.enumerate() {
            put_u64(&mut out, 8 + 8 * i, word);
        }
        put_u16(&mut out, 80, self.procs);
        put_u32(&mut out, 104, self.mem_unit);
        out
    }
}

/// Bytes of one field of [`Utsname`], with its NUL.
pub const UTS_LEN: usize = 65;
/// Longest host or domain name sethostname(2) accepts, in bytes.
pub const HOST_NAME_MAX: usize = 64;

/// Names of the system: `struct utsname`. A field longer than 64 bytes is cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Utsname {
    /// `Linux`.
    pub sysname: Vec<u8>,
    /// Host name.
    pub nodename: Vec<u8>,
    /// Kernel release.
    pub release: Vec<u8>,
    /// Build.
    pub version: Vec<u8>,
    /// Instruction set.
    pub machine: Vec<u8>,
    /// NIS domain name.
    pub domainname: Vec<u8>,
}

impl Utsname {
    /// Size in guest memory, in bytes.
    pub const SIZE: usize = 6 * UTS_LEN;

    /// The record as the guest sees it.
    pub fn encode(&self) -> [u8; 390] {
        let mut out = [0; 390];
        let fields =
            [&self.sysname, &self.nodename, &self.release, &self.version, &self.machine, &self.domainname];
        for (i, field) in fields.into_iter().enumerate() {
            put_slice(&mut out, i * UTS_LEN, &field[..field.len().min(UTS_LEN - 1)]);
        }
        out
    }
}
