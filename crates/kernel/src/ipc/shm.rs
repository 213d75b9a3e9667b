//! Shared memory segments (shmget(2), shmat(2), shmctl(2)).
//!
//! A segment is a page cache of the machine's shared memory; attaching maps a file over it. Each mapping is counted by
//! its vma ([`MapUsers`]), so that fork, exec, munmap and exit need no case of their own.

use std::{
    any::Any,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering},
    },
};

use abi::{
    MapFlags, OpenFlags, PAGE_SIZE,
    cap::CAP_IPC_LOCK,
    errno::{EEXIST, EINVAL, ENOMEM, ENOSPC, EPERM},
    ipc::{
        IPC_PRIVATE, IpcPerm, SHM_DEST, SHM_EXEC, SHM_HUGETLB, SHM_LOCKED, SHM_NORESERVE, SHM_RDONLY,
        SHM_REMAP, SHM_RND, ShmidDs,
    },
};
use ksync::Mutex;

use super::{IpcNs, Object, check, check_owner, load, new_perm, now, set_perm};
use crate::{
    error::Result,
    locks,
    machine::Machine,
    mm::{Limits, MapRequest, MapSource, MapUsers, Mappable, PageCache, Vma, page_cache::MAX_SIZE},
    task::{Task, TaskCx},
    vfs::{
        file::{File, FileOps},
        path::Path,
    },
};

/// One segment.
pub struct Segment {
    id: i32,
    size: u64,
    cache: Arc<PageCache>,
    path: Path,
    ns: Weak<IpcNs>,
    machine: Weak<Machine>,
    me: Weak<Segment>,
    attached: AtomicU64,
    /// Removed; goes with the last mapping.
    dest: AtomicBool,
    atime: AtomicI64,
    dtime: AtomicI64,
    cpid: i32,
    lpid: AtomicI32,
    state: Mutex<State>,
}

struct State {
    perm: IpcPerm,
    ctime: i64,
}

impl Object for Segment {
    fn perm(&self) -> IpcPerm {
        let mut p = self.state.lock().perm;
        if self.dest.load(Ordering::SeqCst) {
            p.mode |= SHM_DEST;
            p.key = IPC_PRIVATE;
        }
        p
    }
    fn id(&self) -> i32 {
        self.id
    }
}

impl Segment {
    /// What IPC_STAT shows.
    pub fn stat(&self) -> ShmidDs {
        ShmidDs {
            perm: self.perm(),
            segsz: self.size,
            atime: self.atime.load(Ordering::Relaxed),
            dtime: self.dtime.load(Ordering::Relaxed),
            ctime: self.state.lock().ctime,
            cpid: self.cpid,
            lpid: self.lpid.load(Ordering::Relaxed),
            nattch: self.attached.load(Ordering::SeqCst),
        }
    }
    /// Bytes in use.
    pub fn resident(&self) -> u64 {
        self.cache.allocated()
    }
    fn pages(&self) -> u64 {
        self.size.div_ceil(PAGE_SIZE)
    }
    fn clock(&self) -> i64 {
        self.machine.upgrade().map_or(0, |m| m.clock.now().sec)
    }

    /// Takes it out of the table if it was removed and nobody maps it.
    fn reap(&self) {
        let (Some(ns), Some(me)) = (self.ns.upgrade(), self.me.upgrade()) else { return };
        let mut table = ns.shm.lock();
        if self.dest.load(Ordering::SeqCst) && self.attached.load(Ordering::SeqCst) == 0 && table.remove(&me)
        {
            table.total -= self.pages();
        }
        drop(table);
    }
}

impl MapUsers for Segment {
    fn opened(&self) {
        self.attached.fetch_add(1, Ordering::SeqCst);
        self.atime.store(self.clock(), Ordering::Relaxed);
    }
    fn closed(&self) {
        self.dtime.store(self.clock(), Ordering::Relaxed);
        if self.attached.fetch_sub(1, Ordering::SeqCst) == 1 && self.dest.load(Ordering::SeqCst) {
            self.reap();
        }
    }
}

/// The file that is mapped.
struct SegmentFile(Arc<Segment>);

impl FileOps for SegmentFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn size(&self) -> Result<u64> {
        Ok(self.0.size)
    }
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        Some(self.0.clone())
    }
}

impl Mappable for Segment {
    fn map_source(&self, _shared_write: bool) -> Result<MapSource> {
        Ok(MapSource::Cache(self.cache.clone()))
    }
    fn users(&self) -> Option<Arc<dyn MapUsers>> {
        self.me.upgrade().map(|s| s as Arc<dyn MapUsers>)
    }
}

/// shmget(2).
pub fn get(task: &Task, key: i32, size: u64, flags: u32) -> Result<i32> {
    let ns = task.ipc();
    let cred = task.cred();
    let fits = |s: &Segment| if size > s.size { Err(EINVAL) } else { Ok(()) };
    if let Some(s) = ns.shm.lock().look(&cred, key, flags, fits)? {
        return Ok(s.id);
    }
    if size == 0 || size > load(&ns.limits.shmmax) {
        return Err(EINVAL);
    }
    let pages = size.div_ceil(PAGE_SIZE);
    if size > i64::MAX as u64 {
        return Err(ENOSPC);
    }
    if ns.shm.lock().total.saturating_add(pages) > load(&ns.limits.shmall) {
        return Err(ENOSPC);
    }
    if flags & SHM_HUGETLB != 0 {
        // There are no huge pages to be had.
        return Err(if cred.has(CAP_IPC_LOCK) { ENOMEM } else { EPERM });
    }
    if size > MAX_SIZE {
        return Err(ENOMEM);
    }
    if flags & SHM_NORESERVE == 0 {
        task.machine.memory.check_commit(size)?;
    }
    let cache = PageCache::new(&task.machine);
    cache.resize(size.next_multiple_of(PAGE_SIZE))?;
    let vfs = &task.machine.vfs;
    let mut table = ns.shm.lock();
    // Somebody may have been faster.
    if let Some(s) = table.look(&cred, key, flags, fits)? {
        return Ok(s.id);
    }
    let total = table.total.saturating_add(pages);
    let limit = load(&ns.limits.shmall);
    if total > limit {
        return Err(ENOSPC);
    }
    let made = table.add(key, load(&ns.limits.shmmni), |id, seq| {
        let name = format!("/SYSV{:08x} (deleted)", key.cast_unsigned());
        let path = vfs.hidden_path(&task.machine, name.as_bytes(), u64::from(id.cast_unsigned()));
        let perm = new_perm(&cred, key, flags, seq);
        Arc::new_cyclic(|me| Segment {
            id,
            size,
            cache,
            path,
            ns: ns.me.clone(),
            machine: Arc::downgrade(&task.machine),
            me: me.clone(),
            attached: AtomicU64::new(0),
            dest: AtomicBool::new(false),
            atime: AtomicI64::new(0),
            dtime: AtomicI64::new(0),
            cpid: task.pid(),
            lpid: AtomicI32::new(0),
            state: Mutex::new(locks::IPC_OBJECT, State { perm, ctime: now(task) }),
        })
    })?;
    table.total = total;
    Ok(made.id)
}

/// Where shmat(2) is to map: the address, and its mmap(2) flags.
fn place(addr: u64, flags: u32) -> Result<(u64, MapFlags)> {
    let shared = MapFlags::from_bits_retain(abi::mm::MAP_SHARED);
    if addr == 0 {
        return if flags & SHM_REMAP != 0 { Err(EINVAL) } else { Ok((0, shared)) };
    }
    let mut at = addr;
    if !addr.is_multiple_of(PAGE_SIZE) {
        if flags & SHM_RND == 0 {
            return Err(EINVAL);
        }
        at -= at % PAGE_SIZE;
        if at == 0 && flags & SHM_REMAP != 0 {
            return Err(EINVAL);
        }
    }
    let how = if flags & SHM_REMAP != 0 { MapFlags::FIXED } else { MapFlags::FIXED_NOREPLACE };
    Ok((at, shared | how))
}

/// shmat(2); the address.
pub fn attach(cx: &mut TaskCx, id: i32, addr: u64, flags: u32) -> Result<u64> {
    let (addr, how) = place(addr, flags)?;
    let ns = cx.task.ipc();
    let cred = cx.cred();
    let (write, exec) = (flags & SHM_RDONLY == 0, flags & SHM_EXEC != 0);
    let wanted = 0o444 | if write { 0o222 } else { 0 } | if exec { 0o111 } else { 0 };
    let counted = {
        let table = ns.shm.lock();
        let s = table.get(id)?;
        check(&cred, &s.perm(), wanted)?;
        // From here on it cannot go.
        Held::new(s)
    };
    let segment = counted.0.clone();
    let access = if write { OpenFlags::RDWR } else { OpenFlags::empty() };
    let file = File::new(Arc::new(SegmentFile(segment.clone())), segment.path.clone(), access);
    let prot = hal::Prot { read: true, write, exec };
    let request = MapRequest {
        addr,
        len: segment.size,
        prot,
        flags: how,
        file: Some(&file),
        offset: 0,
        limits: Limits::of(&cx.task),
    };
    let machine = cx.machine().clone();
    let at = cx.mm.mmap(&machine, &request).map_err(|e| if e == EEXIST { EINVAL } else { e })?;
    segment.lpid.store(cx.task.pid(), Ordering::Relaxed);
    Ok(at)
}

/// Keeps a segment while it is being attached, without being seen as a mapping that comes or goes.
struct Held(Arc<Segment>);

impl Held {
    fn new(s: Arc<Segment>) -> Held {
        s.attached.fetch_add(1, Ordering::SeqCst);
        Held(s)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.attached.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.reap();
        }
    }
}

/// The segment behind a counted mapping.
fn segment_of(v: &Vma) -> Option<Arc<Segment>> {
    let file = v.file()?;
    file.ops.as_any().downcast_ref::<SegmentFile>().map(|f| f.0.clone())
}

/// shmdt(2).
pub fn detach(cx: &mut TaskCx, addr: u64) -> Result<()> {
    let pid = cx.task.pid();
    cx.mm.detach_segment(addr, |v| {
        let s = segment_of(v)?;
        s.lpid.store(pid, Ordering::Relaxed);
        Some(s.size)
    })
}

/// The last task of an address space left this mapping.
pub(crate) fn left_by(v: &Vma, pid: i32) {
    if let Some(s) = segment_of(v) {
        s.lpid.store(pid, Ordering::Relaxed);
    }
}

/// A segment by id, or by index as ipcs(1) asks; for who may read it unless `any`.
pub fn look(task: &Task, id: i32, by_index: bool, any: bool) -> Result<Arc<Segment>> {
    let ns = task.ipc();
    let table = ns.shm.lock();
    let s = if by_index { table.at_index(id)? } else { table.get(id)? };
    if !any {
        check(&task.cred(), &s.perm(), 0o444)?;
    }
    Ok(s)
}

/// IPC_SET.
pub fn set(task: &Task, id: i32, new: &IpcPerm) -> Result<()> {
    let ns = task.ipc();
    let table = ns.shm.lock();
    let s = table.get(id)?;
    let mut state = s.state.lock();
    check_owner(&task.cred(), &state.perm)?;
    set_perm(&mut state.perm, new)?;
    state.ctime = now(task);
    Ok(())
}

/// IPC_RMID.
pub fn remove(task: &Task, id: i32) -> Result<()> {
    let ns = task.ipc();
    let s = {
        let mut table = ns.shm.lock();
        let s = table.get(id)?;
        check_owner(&task.cred(), &s.perm())?;
        s.dest.store(true, Ordering::SeqCst);
        table.hide(&s);
        s
    };
    if s.attached.load(Ordering::SeqCst) == 0 {
        s.reap();
    }
    Ok(())
}

/// SHM_LOCK and SHM_UNLOCK: kept and shown; the host decides what it swaps.
pub fn lock(task: &Task, id: i32, on: bool) -> Result<()> {
    let ns = task.ipc();
    let table = ns.shm.lock();
    let s = table.get(id)?;
    let mut state = s.state.lock();
    let cred = task.cred();
    if !cred.has(CAP_IPC_LOCK) {
        let p = &state.perm;
        if cred.euid != p.uid && cred.euid != p.cuid {
            return Err(EPERM);
        }
        if on {
            let limit = task.process.rlimit(abi::sched::RLIMIT_MEMLOCK as usize);
            if limit == 0 {
                return Err(EPERM);
            }
            if s.size > limit {
                return Err(ENOMEM);
            }
        }
    }
    if on {
        state.perm.mode |= SHM_LOCKED;
    } else {
        state.perm.mode &= !SHM_LOCKED;
    }
    Ok(())
}

/// Segments in use and the highest index, pages in all, and pages resident.
pub fn totals(task: &Task) -> (usize, u32, u64, u64) {
    let ns = task.ipc();
    let (all, total, max) = {
        let t = ns.shm.lock();
        (t.all(), t.total, t.max_index())
    };
    let resident = all.iter().map(|s| s.resident() / PAGE_SIZE).sum();
    (all.len(), max, total, resident)
}
