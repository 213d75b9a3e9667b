//! System V IPC (sysvipc(7)) and POSIX message queues (mq_overview(7)).

use crate::wire::{put_i32, put_i64, put_slice, put_u64, wire_struct};

/// A key that names nothing: always a new object.
pub const IPC_PRIVATE: i32 = 0;
// Flags of the get calls, beside the nine permission bits.
pub const IPC_CREAT: u32 = 0o1000;
pub const IPC_EXCL: u32 = 0o2000;
pub const IPC_NOWAIT: u32 = 0o4000;
// Commands of the control calls.
pub const IPC_RMID: i32 = 0;
pub const IPC_SET: i32 = 1;
pub const IPC_STAT: i32 = 2;
pub const IPC_INFO: i32 = 3;

// shmget(2), shmat(2), shmctl(2).
pub const SHM_HUGETLB: u32 = 0o4000;
pub const SHM_NORESERVE: u32 = 0o10000;
pub const SHM_RDONLY: u32 = 0o10000;
pub const SHM_RND: u32 = 0o20000;
pub const SHM_REMAP: u32 = 0o40000;
pub const SHM_EXEC: u32 = 0o100000;
pub const SHM_LOCK: i32 = 11;
pub const SHM_UNLOCK: i32 = 12;
pub const SHM_STAT: i32 = 13;
pub const SHM_INFO: i32 = 14;
pub const SHM_STAT_ANY: i32 = 15;
/// In the mode: removed, but still attached.
pub const SHM_DEST: u32 = 0o1000;
/// In the mode: locked in memory.
pub const SHM_LOCKED: u32 = 0o2000;

// semop(2), semctl(2).
pub const SEM_UNDO: i16 = 0x1000;
pub const SEM_GETPID: i32 = 11;
pub const SEM_GETVAL: i32 = 12;
pub const SEM_GETALL: i32 = 13;
pub const SEM_GETNCNT: i32 = 14;
pub const SEM_GETZCNT: i32 = 15;
pub const SEM_SETVAL: i32 = 16;
pub const SEM_SETALL: i32 = 17;
pub const SEM_STAT: i32 = 18;
pub const SEM_INFO: i32 = 19;
pub const SEM_STAT_ANY: i32 = 20;
/// Largest value of a semaphore.
pub const SEMVMX: i32 = 32767;

// msgrcv(2), msgctl(2).
pub const MSG_NOERROR: u32 = 0o10000;
pub const MSG_EXCEPT: u32 = 0o20000;
pub const MSG_COPY: u32 = 0o40000;
pub const MSG_STAT: i32 = 11;
pub const MSG_INFO: i32 = 12;
pub const MSG_STAT_ANY: i32 = 13;

/// Priorities of POSIX messages are below this.
pub const MQ_PRIO_MAX: u32 = 32768;

wire_struct! {
    /// Owner and mode of an object.
    IpcPerm [48] {
        /// The key it was made with.
        key: i32 @ 0,
        /// Owner.
        uid: u32 @ 4,
        /// Group of the owner.
        gid: u32 @ 8,
        /// Creator.
        cuid: u32 @ 12,
        /// Group of the creator.
        cgid: u32 @ 16,
        /// Permission bits, and state bits of shared memory.
        mode: u32 @ 20,
        /// Which use of its index this is.
        seq: u16 @ 24,
    }
}

wire_struct! {
    /// One operation of semop(2).
    SemBuf [6] {
        /// Number in the set.
        num: u16 @ 0,
        /// What to add; 0 waits for zero.
        op: i16 @ 2,
        /// `IPC_NOWAIT`, `SEM_UNDO`.
        flags: i16 @ 4,
    }
}

/// `struct shmid64_ds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShmidDs {
    pub perm: IpcPerm,
    /// Bytes.
    pub segsz: u64,
    pub atime: i64,
    pub dtime: i64,
    pub ctime: i64,
    pub cpid: i32,
    pub lpid: i32,
    pub nattch: u64,
}

impl ShmidDs {
    pub const SIZE: usize = 112;

    pub fn encode(&self) -> [u8; 112] {
        let mut out = [0; 112];
        put_slice(&mut out, 0, &self.perm.encode());
        put_u64(&mut out, 48, self.segsz);
        put_i64(&mut out, 56, self.atime);
        put_i64(&mut out, 64, self.dtime);
        put_i64(&mut out, 72, self.ctime);
        put_i32(&mut out, 80, self.cpid);
        put_i32(&mut out, 84, self.lpid);
        put_u64(&mut out, 88, self.nattch);
        out
    }
}

/// `struct semid64_ds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SemidDs {
    pub perm: IpcPerm,
    pub otime: i64,
    pub ctime: i64,
    pub nsems: u64,
}

impl SemidDs {
    pub const SIZE: usize = 104;

    pub fn encode(&self) -> [u8; 104] {
        let mut out = [0; 104];
        put_slice(&mut out, 0, &self.perm.encode());
        put_i64(&mut out, 48, self.otime);
        put_i64(&mut out, 64, self.ctime);
        put_u64(&mut out, 80, self.nsems);
        out
    }
}

/// `struct msqid64_ds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsqidDs {
    pub perm: IpcPerm,
    pub stime: i64,
    pub rtime: i64,
    pub ctime: i64,
    /// Bytes in the queue.
    pub cbytes: u64,
    /// Messages in the queue.
    pub qnum: u64,
    /// Most bytes in the queue.
    pub qbytes: u64,
    pub lspid: i32,
    pub lrpid: i32,
}

impl MsqidDs {
    pub const SIZE: usize = 120;

    pub fn encode(&self) -> [u8; 120] {
        let mut out = [0; 120];
        put_slice(&mut out, 0, &self.perm.encode());
        put_i64(&mut out, 48, self.stime);
        put_i64(&mut out, 56, self.rtime);
        put_i64(&mut out, 64, self.ctime);
        put_u64(&mut out, 72, self.cbytes);
        put_u64(&mut out, 80, self.qnum);
        put_u64(&mut out, 88, self.qbytes);
        put_i32(&mut out, 96, self.lspid);
        put_i32(&mut out, 100, self.lrpid);
        out
    }
    /// What `IPC_SET` takes of it: owner, group, mode and `qbytes`.
    pub fn decode_set(bytes: &[u8; 120]) -> (IpcPerm, u64) {
        let (mut perm, mut qbytes) = ([0; 48], [0; 8]);
        perm.copy_from_slice(&bytes[..48]);
        qbytes.copy_from_slice(&bytes[88..96]);
        (IpcPerm::decode(&perm), u64::from_le_bytes(qbytes))
    }
}

/// A list of `int`s: `struct seminfo`, `struct msginfo`.
pub fn encode_ints<const N: usize>(values: &[i32]) -> [u8; N] {
    let mut out = [0; N];
    for (i, v) in values.iter().enumerate() {
        put_i32(&mut out, 4 * i, *v);
    }
    out
}

/// A list of `unsigned long`s: `struct shminfo64`.
pub fn encode_longs<const N: usize>(values: &[u64]) -> [u8; N] {
    let mut out = [0; N];
    for (i, v) in values.iter().enumerate() {
        put_u64(&mut out, 8 * i, *v);
    }
    out
}

/// `struct mq_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MqAttr {
    /// `O_NONBLOCK` or nothing.
    pub flags: i64,
    pub maxmsg: i64,
    pub msgsize: i64,
    pub curmsgs: i64,
}

impl MqAttr {
    pub const SIZE: usize = 64;

    pub fn encode(&self) -> [u8; 64] {
        let mut out = [0; 64];
        for (i, v) in [self.flags, self.maxmsg, self.msgsize, self.curmsgs].into_iter().enumerate() {
            put_i64(&mut out, 8 * i, v);
        }
        out
    }
    pub fn decode(bytes: &[u8; 64]) -> MqAttr {
        let at = |i: usize| crate::wire::get_i64(bytes, 8 * i);
        MqAttr { flags: at(0), maxmsg: at(1), msgsize: at(2), curmsgs: at(3) }
    }
}

/// The C library's `int` values in an array of `unsigned short` (SETALL).
pub fn decode_shorts(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect()
}

/// The array that GETALL gives.
pub fn encode_shorts(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// `SHM_INFO`: segments, then pages in all and resident.
pub fn encode_shm_info(used: i32, total: u64, resident: u64) -> [u8; 48] {
    let mut out = [0; 48];
    put_i32(&mut out, 0, used);
    put_u64(&mut out, 8, total);
    put_u64(&mut out, 16, resident);
    out
}
