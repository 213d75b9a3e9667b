//! System V IPC (sysvipc(7)) and POSIX message queues (mq_overview(7)).
//!
//! An [`IpcNs`] holds all objects; tasks point at one. A table's lock is held to find, make or remove objects; what happens
//! to an object happens under its own.

pub mod mqueue;
pub mod msg;
pub mod sem;
pub mod shm;
mod undo;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use abi::{
    cap::{CAP_IPC_OWNER, CAP_SYS_ADMIN},
    errno::{EACCES, EEXIST, EIDRM, EINVAL, ENOENT, ENOSPC, EPERM},
    ipc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IpcPerm},
};
use ksync::Mutex;

use crate::{
    error::Result,
    locks,
    task::{Cred, Task},
};

/// Most objects of one kind (IPCMNI).
pub const MAX_OBJECTS: u32 = 32768;
/// Bits of an id that are the index.
const INDEX_BITS: u32 = 15;
/// Indexes are used in turn up to at least this many.
const MIN_CYCLE: u32 = 64;

/// The files of /proc/sys/kernel, with Linux's defaults.
pub struct Limits {
    pub shmmax: AtomicU64,
    /// Pages.
    pub shmall: AtomicU64,
    pub shmmni: AtomicU64,
    /// semmsl, semmns, semopm, semmni.
    pub sem: [AtomicU64; 4],
    pub msgmax: AtomicU64,
    pub msgmnb: AtomicU64,
    pub msgmni: AtomicU64,
}

impl Default for Limits {
    fn default() -> Self {
        let huge = u64::MAX - (1 << 24);
        Limits {
            shmmax: huge.into(),
            shmall: huge.into(),
            shmmni: 4096.into(),
            sem: [32000.into(), 1_024_000_000.into(), 500.into(), 32000.into()],
            msgmax: 8192.into(),
            msgmnb: 16384.into(),
            msgmni: 32000.into(),
        }
    }
}

/// An IPC namespace.
pub struct IpcNs {
    pub limits: Limits,
    pub shm: Mutex<Table<shm::Segment>>,
    pub sem: Mutex<Table<sem::SemSet>>,
    pub msg: Mutex<Table<msg::MsgQueue>>,
    pub mqueue: mqueue::Queues,
    me: Weak<IpcNs>,
}

impl IpcNs {
    /// An empty one.
    pub fn new() -> Arc<IpcNs> {
        Arc::new_cyclic(|me| IpcNs {
            limits: Limits::default(),
            shm: Mutex::new(locks::IPC, Table::default()),
            sem: Mutex::new(locks::IPC, Table::default()),
            msg: Mutex::new(locks::IPC, Table::default()),
            mqueue: mqueue::Queues::default(),
            me: me.clone(),
        })
    }
}

/// What the tables know of their objects.
pub trait Object {
    fn perm(&self) -> IpcPerm;
    fn id(&self) -> i32;
}

/// All objects of one kind.
pub struct Table<T> {
    by_index: BTreeMap<u32, Arc<T>>,
    by_key: BTreeMap<i32, Arc<T>>,
    last: Option<u32>,
    seq: u16,
    /// What the kind counts over all objects: pages of segments, semaphores.
    pub total: u64,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { by_index: BTreeMap::new(), by_key: BTreeMap::new(), last: None, seq: 0, total: 0 }
    }
}

impl<T: Object> Table<T> {
    pub fn len(&self) -> usize {
        self.by_index.len()
    }
    pub fn is_empty(&self) -> bool {
        self.by_index.is_empty()
    }
    /// The highest index in use; 0 if there is none.
    pub fn max_index(&self) -> u32 {
        self.by_index.last_key_value().map_or(0, |(i, _)| *i)
    }
    pub fn all(&self) -> Vec<Arc<T>> {
        self.by_index.values().cloned().collect()
    }

    /// The object of an id. EINVAL if there is none, EIDRM if its index has another one by now.
    pub fn get(&self, id: i32) -> Result<Arc<T>> {
        let n = u32::try_from(id).map_err(|_| EINVAL)?;
        let o = self.by_index.get(&(n & (MAX_OBJECTS - 1))).ok_or(EINVAL)?;
        if o.id() == id { Ok(o.clone()) } else { Err(EIDRM) }
    }
    /// The object at an index (the commands of ipcs(1)).
    pub fn at_index(&self, index: i32) -> Result<Arc<T>> {
        let n = u32::try_from(index).map_err(|_| EINVAL)?;
        self.by_index.get(&(n & (MAX_OBJECTS - 1))).cloned().ok_or(EINVAL)
    }

    /// The object of a key, by the rules of the get calls; `None` if one is to be made.
    fn look(
        &self,
        cred: &Cred,
        key: i32,
        flags: u32,
        fits: impl Fn(&T) -> Result<()>,
    ) -> Result<Option<Arc<T>>> {
        if key == IPC_PRIVATE {
            return Ok(None);
        }
        let Some(o) = self.by_key.get(&key) else {
            return if flags & IPC_CREAT != 0 { Ok(None) } else { Err(ENOENT) };
        };
        if flags & (IPC_CREAT | IPC_EXCL) == IPC_CREAT | IPC_EXCL {
            return Err(EEXIST);
        }
        fits(o)?;
        check(cred, &o.perm(), flags)?;
        Ok(Some(o.clone()))
    }

    /// Makes an object and gives it an index. ENOSPC if there are `limit` already.
    fn add(&mut self, key: i32, limit: u64, make: impl FnOnce(i32, u16) -> Arc<T>) -> Result<Arc<T>> {
        let used = self.by_index.len() as u32;
        if u64::from(used) >= limit.min(u64::from(MAX_OBJECTS)) {
            return Err(ENOSPC);
        }
        let cycle = MIN_CYCLE.max(used + used / 2).max(used + 1).min(MAX_OBJECTS);
        let from = self.last.map_or(0, |l| l + 1);
        let free = |i: &u32| !self.by_index.contains_key(i);
        let index = (from..cycle).find(free).or_else(|| (0..MAX_OBJECTS).find(free)).ok_or(ENOSPC)?;
        if self.last.is_some_and(|l| index <= l) {
            self.seq = self.seq.wrapping_add(1);
        }
        self.last = Some(index);
        let id = (u32::from(self.seq) << INDEX_BITS | index) & 0x7fff_ffff;
        let o = make(id.cast_signed(), self.seq);
        self.by_index.insert(index, o.clone());
        if key != IPC_PRIVATE {
            self.by_key.insert(key, o.clone());
        }
        Ok(o)
    }

    /// The key no longer leads to the object.
    fn hide(&mut self, o: &Arc<T>) {
        self.by_key.retain(|_, x| !Arc::ptr_eq(x, o));
    }

    /// Takes an object out; false if it was not in.
    fn remove(&mut self, o: &Arc<T>) -> bool {
        let index = o.id().cast_unsigned() & (MAX_OBJECTS - 1);
        if !self.by_index.get(&index).is_some_and(|x| Arc::ptr_eq(x, o)) {
            return false;
        }
        self.by_index.remove(&index);
        self.hide(o);
        true
    }
}

/// A new owner and mode. `mode`: of the flags only the permission bits count.
fn new_perm(cred: &Cred, key: i32, mode: u32, seq: u16) -> IpcPerm {
    let (uid, gid) = (cred.euid, cred.egid);
    IpcPerm { key, uid, gid, cuid: uid, cgid: gid, mode: mode & 0o777, seq }
}

/// May the caller do what the permission bits of `wanted` say (for any class)? EACCES.
pub fn check(cred: &Cred, p: &IpcPerm, wanted: u32) -> Result<()> {
    let wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7;
    let granted = if cred.euid == p.cuid || cred.euid == p.uid {
        p.mode >> 6
    } else if cred.in_group(p.cgid) || cred.in_group(p.gid) {
        p.mode >> 3
    } else {
        p.mode
    };
    if wanted & !granted != 0 && !cred.has(CAP_IPC_OWNER) { Err(EACCES) } else { Ok(()) }
}

/// May the caller change or remove the object? EPERM.
fn check_owner(cred: &Cred, p: &IpcPerm) -> Result<()> {
    let owner = cred.euid == p.cuid || cred.euid == p.uid;
    if owner || cred.has(CAP_SYS_ADMIN) { Ok(()) } else { Err(EPERM) }
}

/// What IPC_SET changes. EINVAL for ids that are none.
fn set_perm(p: &mut IpcPerm, new: &IpcPerm) -> Result<()> {
    if new.uid == u32::MAX || new.gid == u32::MAX {
        return Err(EINVAL);
    }
    (p.uid, p.gid) = (new.uid, new.gid);
    p.mode = p.mode & !0o777 | new.mode & 0o777;
    Ok(())
}

/// Seconds since the epoch.
fn now(task: &Task) -> i64 {
    task.machine.clock.now().sec
}

fn load(limit: &AtomicU64) -> u64 {
    limit.load(Ordering::Relaxed)
}

/// A limit as the `int` of an old structure.
fn int(limit: &AtomicU64) -> i32 {
    i32::try_from(load(limit)).unwrap_or(i32::MAX)
}

/// Kernel memory that guests make us keep: it counts as theirs.
pub(crate) struct Charged {
    charge: Arc<crate::mm::charge::Charge>,
    bytes: u64,
}

impl Charged {
    /// ENOMEM if the machine is full.
    pub(crate) fn new(task: &Task, bytes: u64) -> Result<Charged> {
        let charge = task.machine.memory.clone();
        charge.add_cache(bytes)?;
        Ok(Charged { charge, bytes })
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.charge.sub_cache(self.bytes);
    }
}
