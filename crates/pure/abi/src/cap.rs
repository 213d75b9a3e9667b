//! Capabilities (capabilities(7), capget(2)).

use crate::wire::{get_u32, put_u32, wire_struct};

pub const CAP_CHOWN: u32 = 0;
pub const CAP_DAC_OVERRIDE: u32 = 1;
pub const CAP_DAC_READ_SEARCH: u32 = 2;
pub const CAP_FOWNER: u32 = 3;
pub const CAP_FSETID: u32 = 4;
pub const CAP_KILL: u32 = 5;
pub const CAP_SETGID: u32 = 6;
pub const CAP_SETUID: u32 = 7;
pub const CAP_SETPCAP: u32 = 8;
pub const CAP_LINUX_IMMUTABLE: u32 = 9;
pub const CAP_NET_BIND_SERVICE: u32 = 10;
pub const CAP_NET_BROADCAST: u32 = 11;
pub const CAP_NET_ADMIN: u32 = 12;
pub const CAP_NET_RAW: u32 = 13;
pub const CAP_IPC_LOCK: u32 = 14;
pub const CAP_IPC_OWNER: u32 = 15;
pub const CAP_SYS_MODULE: u32 = 16;
pub const CAP_SYS_RAWIO: u32 = 17;
pub const CAP_SYS_CHROOT: u32 = 18;
pub const CAP_SYS_PTRACE: u32 = 19;
pub const CAP_SYS_PACCT: u32 = 20;
pub const CAP_SYS_ADMIN: u32 = 21;
pub const CAP_SYS_BOOT: u32 = 22;
pub const CAP_SYS_NICE: u32 = 23;
pub const CAP_SYS_RESOURCE: u32 = 24;
pub const CAP_SYS_TIME: u32 = 25;
pub const CAP_SYS_TTY_CONFIG: u32 = 26;
pub const CAP_MKNOD: u32 = 27;
pub const CAP_LEASE: u32 = 28;
pub const CAP_AUDIT_WRITE: u32 = 29;
pub const CAP_AUDIT_CONTROL: u32 = 30;
pub const CAP_SETFCAP: u32 = 31;
pub const CAP_MAC_OVERRIDE: u32 = 32;
pub const CAP_MAC_ADMIN: u32 = 33;
pub const CAP_SYSLOG: u32 = 34;
pub const CAP_WAKE_ALARM: u32 = 35;
pub const CAP_BLOCK_SUSPEND: u32 = 36;
pub const CAP_AUDIT_READ: u32 = 37;
pub const CAP_PERFMON: u32 = 38;
pub const CAP_BPF: u32 = 39;
pub const CAP_CHECKPOINT_RESTORE: u32 = 40;
pub const CAP_LAST_CAP: u32 = 40;

/// All capabilities there are.
pub const CAP_FULL_SET: u64 = (1 << (CAP_LAST_CAP + 1)) - 1;

// Versions of the capget(2) header.
pub const _LINUX_CAPABILITY_VERSION_1: u32 = 0x19980330;
pub const _LINUX_CAPABILITY_VERSION_2: u32 = 0x20071026;
pub const _LINUX_CAPABILITY_VERSION_3: u32 = 0x20080522;

// Secure bits of prctl(2).
pub const SECBIT_NOROOT: u32 = 0x1;
pub const SECBIT_NOROOT_LOCKED: u32 = 0x2;
pub const SECBIT_NO_SETUID_FIXUP: u32 = 0x4;
pub const SECBIT_NO_SETUID_FIXUP_LOCKED: u32 = 0x8;
pub const SECBIT_KEEP_CAPS: u32 = 0x10;
pub const SECBIT_KEEP_CAPS_LOCKED: u32 = 0x20;
pub const SECBIT_NO_CAP_AMBIENT_RAISE: u32 = 0x40;
pub const SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED: u32 = 0x80;

wire_struct! {
    /// Header of capget(2).
    CapHeader [8] {
        /// `_LINUX_CAPABILITY_VERSION_*`.
        version: u32 @ 0,
        /// Thread, 0 for the caller.
        pid: i32 @ 4,
    }
}

/// The sets of capget(2), bit `n` for capability `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapData {
    /// In force.
    pub effective: u64,
    /// Can be put in force.
    pub permitted: u64,
    /// Kept over execve(2).
    pub inheritable: u64,
}

impl CapData {
    /// Size in guest memory for versions 2 and 3, in bytes; version 1 has the first half.
    pub const SIZE: usize = 24;

    /// The sets as the guest sees them: low halves, then high halves.
    pub fn encode(&self) -> [u8; 24] {
        let mut out = [0; 24];
        for (i, set) in [self.effective, self.permitted, self.inheritable].into_iter().enumerate() {
            put_u32(&mut out, 4 * i, set as u32);
            put_u32(&mut out, 12 + 4 * i, (set >> 32) as u32);
        }
        out
    }

    /// Reads the sets out of guest bytes.
    pub fn decode(bytes: &[u8; 24]) -> CapData {
        let set = |i: usize| u64::from(get_u32(bytes, 4 * i)) | u64::from(get_u32(bytes, 12 + 4 * i)) << 32;
        CapData { effective: set(0), permitted: set(1), inheritable: set(2) }
    }
}
