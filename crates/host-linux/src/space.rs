//! A guest address space: one stub process.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering::*},
    },
};

use hal::{Backing, Errno, HostFile, MapOp, Prot, Result, Space, errno};

use crate::{
    engine::{Engine, Stub, lock},
    layout::{self, GUEST_START, PAGE, REGION, REPLY, SLOTS_MAX, reply, request},
    service::{Op, Service},
    shared::OUTSIDE,
    slots::Slot,
    sys::process,
    texts::Mapped,
    thread::{Futexes, Thread},
    x86_64::patch::Patches,
};

/// Parked threads that a space keeps for its next ones.
const PARKED_MAX: usize = 16;
/// Threads of a space whose times stay open to be read: those with the first slots, which are used again first.
const KEPT_TIMES: u32 = 8;
/// Copies to shared memory from this size on are made by the stub: process_vm_readv(2) looks up each page of the other
/// process, which costs as much as half the copying. (The other way round the stub is no quicker.)
const OWN_COPY: usize = 128 << 10;
/// Copies up to this size go through a buffer of the kernel process.
const BOUNCE: usize = 64 << 10;

/// Shared by the contexts and handles of a space. Dropping the last ends the stub.
pub(crate) struct LinuxSpace {
    pub(crate) engine: Arc<Engine>,
    pub(crate) stub: Arc<Stub>,
    pub(crate) service: Mutex<Service>,
    spare: Mutex<Spare>,
    pub(crate) patches: Mutex<Patches>,
    /// Texts are mapped as their files have them.
    plain: AtomicBool,
    /// Threads that have a context.
    threads: AtomicU32,
    /// More than one guest thread has lived here.
    threaded: AtomicBool,
    /// Changes were deferred, or handed over by one of several threads, and may not be done yet.
    lazy: AtomicBool,
}

/// Threads and slots without a user.
#[derive(Default)]
struct Spare {
    parked: Vec<Arc<Thread>>,
    /// Slots whose thread was told to end: mapped in the stub, to be used again there and nowhere else.
    slots: Vec<Arc<Thread>>,
    /// Next slot of the stub that was never used.
    fresh: u32,
}

impl LinuxSpace {
    /// A space with one thread.
    pub(crate) fn new(
        engine: Arc<Engine>,
        stub: Arc<Stub>,
        service: Service,
        patches: Patches,
    ) -> Arc<LinuxSpace> {
        Arc::new(LinuxSpace {
            engine,
            stub,
            service: Mutex::new(service),
            spare: Mutex::new(Spare { fresh: 1, ..Spare::default() }),
            patches: Mutex::new(patches),
            plain: AtomicBool::new(false),
            threads: AtomicU32::new(1),
            threaded: AtomicBool::new(false),
            lazy: AtomicBool::new(false),
        })
    }

    /// The service thread, brought to the caller's processor.
    pub(crate) fn serve(&self) -> MutexGuard<'_, Service> {
        let service = lock(&self.service);
        self.stub.serve_from(self.engine.placement.here());
        service
    }

    /// Whether only one thread can be running guest code here.
    pub(crate) fn is_single(&self) -> bool {
        self.threads.load(SeqCst) <= 1
    }

    /// Leaves changes that cannot fail until a guest thread goes on.
    fn defer(&self, ops: &[Op]) -> Result<()> {
        let mut service = lock(&self.service);
        service.defer(ops)?;
        self.lazy.store(true, SeqCst);
        Ok(())
    }

    /// Does what was deferred: somebody is going to look at the memory.
    fn catch_up(&self) {
        if self.lazy.load(SeqCst) {
            let mut service = self.serve();
            if service.has_deferred() {
                // A failure has killed the stub.
                let _ = service.run(&[]);
            }
        }
    }

    /// Before a stopped thread goes on: leaves what was deferred to itself, if it can see to it.
    pub(crate) fn send_on_errands(&self, thread: &Thread) -> bool {
        if !self.lazy.load(SeqCst) {
            return false;
        }
        let mut service = lock(&self.service);
        let sent = service.has_deferred() && service.send_on_errands(&thread.slot, self.is_single());
        if sent {
            self.lazy.store(false, SeqCst);
        }
        sent
    }

    /// Before a stopped thread goes on: does what was deferred. True if the service thread will let the thread go on
    /// itself.
    pub(crate) fn hand_over(&self, thread: &Thread) -> bool {
        if !self.lazy.load(SeqCst) {
            return false;
        }
        let mut service = self.serve();
        if !service.has_deferred() || thread.seat.is_out() {
            // A thread that is out is quicker let go from here. A failure has killed the stub.
            let _ = if service.has_deferred() { service.run(&[]) } else { service.settle() };
            self.lazy.store(false, SeqCst);
            return false;
        }
        thread.hand_over();
        // What another thread of the space relies on is not done yet.
        self.lazy.store(!self.is_single(), SeqCst);
        // If the stub is dead, the wait for the thread ends by that.
        thread.set_batch(service.chain(thread.state_addr()).unwrap_or(0));
        drop(service);
        thread.handed_over();
        true
    }

    /// The stub's own memory as a file is: writes that the guest may not make.
    pub(crate) fn write_code(&self, addr: u64, code: &[u8]) -> usize {
        let Some(mem) = self.mem(true) else { return 0 };
        if mem.write_all_at(code, addr).is_ok() { code.len() } else { 0 }
    }

    /// A thread that waits in the stub to be resumed; `prepare` fills in its slot.
    pub(crate) fn new_thread(
        &self,
        futexes: Futexes,
        prepare: impl FnOnce(&Slot, u32),
    ) -> Result<Arc<Thread>> {
        self.threads.fetch_add(1, SeqCst);
        self.threaded.store(true, Relaxed);
        let thread = self.thread(futexes, prepare);
        if thread.is_err() {
            self.threads.fetch_sub(1, SeqCst);
        }
        thread
    }

    fn thread(&self, futexes: Futexes, prepare: impl FnOnce(&Slot, u32)) -> Result<Arc<Thread>> {
        let mut spare = lock(&self.spare);
        let parked = spare.parked.iter().rposition(|t| t.futexes == futexes);
        if let Some(thread) = parked.map(|i| spare.parked.swap_remove(i)) {
            prepare(&thread.slot, thread.index);
            thread.take_kick();
            thread.start_over();
            return Ok(thread);
        }
        // A slot is free again when its thread has certainly left it.
        let free = spare.slots.iter().position(|t| t.futexes == futexes && !t.exists());
        let old = free.map(|i| spare.slots.swap_remove(i));
        let index = match &old {
            Some(old) => old.index,
            None if u64::from(spare.fresh) < SLOTS_MAX => {
                spare.fresh += 1;
                spare.fresh - 1
            }
            None => return Err(errno::EAGAIN),
        };
        drop(spare);
        let give_back = |thread: Arc<Thread>, e: Errno| {
            lock(&self.spare).slots.push(thread);
            Err(e)
        };
        let mut service = self.serve();
        let thread = match old {
            Some(thread) => thread,
            None => {
                let slot = self.engine.slots.take()?;
                let fd = u64::from(self.engine.ctl_fd());
                let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
                let flags = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
                let addr = Thread::slot_addr(index);
                let args = [addr, layout::SLOT_LEN, prot, flags, fd, slot.offset()];
                service.run(&[Op::expecting(libc::SYS_mmap, args, addr)])?;
                let thread = Thread::new(self.stub.clone(), slot, index, futexes);
                lock(&self.stub.threads).push(thread.clone());
                thread
            }
        };
        prepare(&thread.slot, index);
        thread.be_born();
        let started = service
            .run(&[Thread::clone_op(index, self.engine.filter(futexes))])
            .and_then(|()| process::from_ret(service.result(0)));
        match started {
            Ok(tid) => {
                thread.set_tid(tid)?;
                thread.inherit_place();
            }
            Err(e) => return give_back(thread, e),
        }
        if self.stub.death().is_some() {
            return Err(errno::ESRCH);
        }
        Ok(thread)
    }

    /// Takes a thread back whose context was dropped.
    pub(crate) fn retire(&self, thread: Arc<Thread>, stopped: bool) {
        self.threads.fetch_sub(1, SeqCst);
        if self.stub.death().is_some() {
            return;
        }
        if thread.is_gone() {
            lock(&self.spare).slots.push(thread);
            return;
        }
        if !stopped {
            return;
        }
        let mut spare = lock(&self.spare);
        if spare.parked.len() < PARKED_MAX {
            spare.parked.push(thread);
        } else {
            thread.end();
            spare.slots.push(thread);
        }
    }

    /// Processor time that the host thread of a guest thread has had, in nanoseconds.
    pub(crate) fn host_time(&self, thread: &Thread) -> u64 {
        if !self.threaded.load(Relaxed) {
            // The whole stub worked for this thread; its clock is much cheaper to read.
            return self.stub.with_pid(process::process_time_ns).unwrap_or(0);
        }
        thread.time_ns(thread.index < KEPT_TIMES)
    }

    fn op(&self, m: &MapOp, out: &mut Vec<Op>) -> Result<()> {
        let fixed = libc::MAP_FIXED as u64;
        match m {
            MapOp::Map { addr, len, prot, backing, huge } => {
                self.check(*addr, *len)?;
                let (flags, fd, offset) = match backing {
                    Backing::Anon => (
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                        u64::from(u32::MAX),
                        0,
                    ),
                    Backing::Shared { offset, private } => {
                        self.stub.maps_shared.store(true, SeqCst);
                        let flags = if *private { libc::MAP_PRIVATE } else { libc::MAP_SHARED };
                        (flags | libc::MAP_NORESERVE, self.engine.guest_mem.raw_fd() as u64, *offset)
                    }
                    Backing::File { file, offset, private: true } if prot.exec && !prot.write => {
                        let (fd, offset) = self.text(file, *addr, *offset, *len)?;
                        (libc::MAP_PRIVATE | libc::MAP_NORESERVE, fd, offset)
                    }
                    Backing::File { file, offset, private } => {
                        let flags = if *private { libc::MAP_PRIVATE } else { libc::MAP_SHARED };
                        let fd = u64::try_from(file.raw_fd()).map_err(|_| errno::ENODEV)?;
                        (flags | libc::MAP_NORESERVE, fd, *offset)
                    }
                };
                let args = [*addr, *len, bits(*prot), flags as u64 | fixed, fd, offset];
                out.push(Op::expecting(libc::SYS_mmap, args, *addr));
                if *huge {
                    let advice = libc::MADV_HUGEPAGE as u64;
                    out.push(Op::any(libc::SYS_madvise, [*addr, *len, advice, 0, 0, 0]));
                }
            }
            MapOp::Unmap { addr, len } => {
                self.check(*addr, *len)?;
                out.push(Op::expecting(libc::SYS_munmap, [*addr, *len, 0, 0, 0, 0], 0));
            }
            MapOp::Protect { addr, len, prot } => {
                self.check(*addr, *len)?;
                out.push(Op::expecting(libc::SYS_mprotect, [*addr, *len, bits(*prot), 0, 0, 0], 0));
            }
            MapOp::Advise { addr, len, advice } => {
                self.check(*addr, *len)?;
                let args = [*addr, *len, u64::from(*advice), 0, 0, 0];
                out.push(Op::expecting(libc::SYS_madvise, args, 0));
            }
            MapOp::Remap { old, old_len, new, new_len, keep } => {
                // Length 0 would duplicate a shared mapping: allowed, as in mremap(2).
                self.check(*old, (*old_len).max(PAGE))?;
                self.check(*new, *new_len)?;
                let mut flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                if *keep {
                    flags |= libc::MREMAP_DONTUNMAP;
                }
                let args = [*old, *old_len, *new_len, flags as u64, *new, 0];
                out.push(Op::expecting(libc::SYS_mremap, args, *new));
            }
        }
        Ok(())
    }

    /// Descriptor and offset to map for a range of a file that holds code.
    fn text(&self, file: &Arc<dyn HostFile>, addr: u64, offset: u64, len: u64) -> Result<(u64, u64)> {
        let fd = u64::try_from(file.raw_fd()).map_err(|_| errno::ENODEV)?;
        let texts = self.engine.texts.as_ref();
        let texts = texts.filter(|_| !self.plain.load(Relaxed) && lock(&self.patches).is_open());
        let Some((texts, (text, copy))) = texts.and_then(|t| Some((t, t.of(&**file, offset, len)?))) else {
            return Ok((fd, offset));
        };
        let place = copy.as_ref().map_or((fd, offset), |c| (texts.raw_fd() as u64, c.at));
        lock(&self.patches).add_text(Mapped { addr, text, copy, restored: false });
        Ok(place)
    }

    /// Refuses what is not the guest's.
    fn check(&self, addr: u64, len: u64) -> Result<()> {
        let end = addr.checked_add(len).ok_or(OUTSIDE)?;
        if !addr.is_multiple_of(PAGE)
            || !len.is_multiple_of(PAGE)
            || len == 0
            || addr < GUEST_START
            || end > REGION
        {
            return Err(OUTSIDE);
        }
        Ok(())
    }

    /// The stub's memory as a file, which page protections do not bind.
    fn mem(&self, write: bool) -> Option<File> {
        let open = |pid| OpenOptions::new().read(true).write(write).open(format!("/proc/{pid}/mem"));
        self.stub.with_pid(open)?.ok()
    }

    /// Bytes of a guest range that lie inside the guest's addresses.
    fn clip(addr: u64, len: usize) -> usize {
        if addr >= REGION { 0 } else { len.min((REGION - addr) as usize) }
    }

    /// Refuses what is no futex of the guest's.
    fn check_word(addr: u64) -> Result<()> {
        if !addr.is_multiple_of(4) {
            return Err(errno::EINVAL);
        }
        if Self::clip(addr, 4) < 4 { Err(errno::EFAULT) } else { Ok(()) }
    }

    /// Runs one operation whose result is a count or an error.
    fn call(&self, nr: i64, args: [u64; 6]) -> Result<u64> {
        let mut service = self.serve();
        service.run(&[Op::any(nr, args)])?;
        process::from_ret(service.result(0))
    }

    /// Copies guest memory to the shared memory by a call of the service thread.
    fn copy_to_shared(&self, addr: u64, offset: u64, len: usize) -> usize {
        let len = Self::clip(addr, len);
        let fd = self.engine.guest_mem.raw_fd() as u64;
        if len == 0 {
            return 0;
        }
        // The count passes through pages that the guest can write.
        self.call(libc::SYS_pwrite64, [fd, addr, len as u64, offset, 0, 0]).map_or(0, |n| len.min(n as usize))
    }

    fn transfer(
        &self,
        file: &dyn HostFile,
        offset: u64,
        addr: u64,
        len: usize,
        write: bool,
    ) -> Result<usize> {
        let len = Self::clip(addr, len);
        if len == 0 {
            return Err(errno::EFAULT);
        }
        let fd = u64::try_from(file.raw_fd()).map_err(|_| errno::EBADF)?;
        let nr = if write { libc::SYS_pwrite64 } else { libc::SYS_pread64 };
        let done = self.call(nr, [fd, addr, len as u64, offset, 0, 0])?;
        // The count passed through pages that the guest can write.
        Ok(len.min(done as usize))
    }
}

impl Space for LinuxSpace {
    fn apply(&self, ops: &[MapOp]) -> Result<()> {
        let mut out = Vec::with_capacity(ops.len() + 1);
        // Those before a bad one are done, as the trait says.
        self.release_sites(ops);
        let bad = ops.iter().try_for_each(|m| self.op(m, &mut out));
        if !out.is_empty() {
            self.serve().run(&out)?;
        }
        bad
    }

    fn apply_lazy(&self, ops: &[MapOp]) -> Result<()> {
        // What is mapped must still be there then, and nobody else may get what is unmapped before it is.
        let own = |m: &MapOp| match m {
            MapOp::Map { backing, prot, .. } => matches!(backing, Backing::Anon) && !prot.exec,
            MapOp::Protect { prot, .. } => !prot.exec,
            MapOp::Unmap { .. } => true,
            MapOp::Advise { advice, .. } => *advice == libc::MADV_DONTNEED as u32,
            MapOp::Remap { .. } => false,
        };
        if !self.engine.maps_freely || !ops.iter().all(own) {
            return self.apply(ops);
        }
        let mut out = Vec::with_capacity(ops.len() + 1);
        self.release_sites(ops);
        ops.iter().try_for_each(|m| self.op(m, &mut out))?;
        self.defer(&out)
    }

    fn is_reusable(&self) -> bool {
        // A thread that is taken to be stopped may wait in stub code, by a state word or a frame that its guest code
        // made up, and would go on in the next program.
        !self.threaded.load(Relaxed)
    }

    fn map_plain_texts(&self) {
        self.plain.store(true, Relaxed);
    }

    fn clear(&self) -> Result<()> {
        self.plain.store(false, Relaxed);
        let mut ops = vec![Op::expecting(libc::SYS_munmap, [0, REGION, 0, 0, 0, 0], 0)];
        ops.extend(self.forget_sites());
        if self.engine.maps_freely && !self.stub.maps_shared.load(SeqCst) {
            // Nothing of it can be given to anybody else: the next program's mappings may go with it.
            return self.defer(&ops);
        }
        self.serve().run(&ops)?;
        self.stub.maps_shared.store(false, SeqCst);
        Ok(())
    }

    fn range(&self) -> (u64, u64) {
        (GUEST_START, REGION)
    }

    fn vdso(&self) -> u64 {
        self.engine.vdso
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.catch_up();
        let len = Self::clip(addr, buf.len());
        let copy = |pid| process::vm_read(pid, addr, &mut buf[..len]).unwrap_or(0);
        self.stub.with_pid(copy).unwrap_or(0)
    }

    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        self.catch_up();
        let len = Self::clip(addr, buf.len());
        let copy = |pid| process::vm_write(pid, addr, &buf[..len]).unwrap_or(0);
        self.stub.with_pid(copy).unwrap_or(0)
    }

    fn read_forced(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.catch_up();
        if !self.engine.has_proc {
            return self.read(addr, buf);
        }
        let len = Self::clip(addr, buf.len());
        let Some(mem) = self.mem(false) else { return 0 };
        let mut done = 0;
        while done < len {
            match mem.read_at(&mut buf[done..len], addr + done as u64) {
                Ok(n) if n > 0 => done += n,
                _ => break,
            }
        }
        done
    }

    fn write_forced(&self, addr: u64, buf: &[u8]) -> usize {
        self.catch_up();
        if !self.engine.has_proc {
            return self.write(addr, buf);
        }
        let len = Self::clip(addr, buf.len());
        let Some(mem) = self.mem(true) else { return 0 };
        let mut done = 0;
        while done < len {
            match mem.write_at(&buf[done..len], addr + done as u64) {
                Ok(n) if n > 0 => done += n,
                _ => break,
            }
        }
        done
    }

    fn read_to_shared(&self, addr: u64, offset: u64, len: usize) -> usize {
        if len >= OWN_COPY {
            return self.copy_to_shared(addr, offset, len);
        }
        self.catch_up();
        let piece = self.engine.guest_mem.window().iovec(offset, Self::clip(addr, len));
        self.stub.with_pid(|pid| process::vm_read_into(pid, addr, piece).unwrap_or(0)).unwrap_or(0)
    }

    fn write_from_shared(&self, addr: u64, offset: u64, len: usize) -> usize {
        self.catch_up();
        let piece = self.engine.guest_mem.window().iovec(offset, Self::clip(addr, len));
        self.stub.with_pid(|pid| process::vm_write_from(pid, addr, piece).unwrap_or(0)).unwrap_or(0)
    }

    fn read_file(&self, file: &dyn HostFile, offset: u64, addr: u64, len: usize) -> Result<usize> {
        if len > BOUNCE || len == 0 {
            return self.transfer(file, offset, addr, len, false);
        }
        let mut buf = vec![0; len];
        let n = file.pread(offset, &mut buf)?;
        match self.write(addr, &buf[..n]) {
            0 if n > 0 => Err(errno::EFAULT),
            done => Ok(done),
        }
    }

    fn write_file(&self, file: &dyn HostFile, offset: u64, addr: u64, len: usize) -> Result<usize> {
        if len > BOUNCE || len == 0 {
            return self.transfer(file, offset, addr, len, true);
        }
        let mut buf = vec![0; len];
        match self.read(addr, &mut buf) {
            0 => Err(errno::EFAULT),
            n => file.pwrite(offset, &buf[..n]),
        }
    }

    fn futex_wake(&self, addr: u64, count: u32, shared: bool) -> Result<u32> {
        Self::check_word(addr)?;
        let op = libc::FUTEX_WAKE | private(shared);
        let args = [addr, op as u64, u64::from(count.min(i32::MAX as u32)), 0, 0, 0];
        self.call(libc::SYS_futex, args).map(|n| n as u32)
    }

    fn futex_wake_later(&self, addr: u64) -> Result<()> {
        Self::check_word(addr)?;
        let args = [addr, libc::FUTEX_WAKE as u64, 1, 0, 0, 0];
        self.serve().start(&[Op::any(libc::SYS_futex, args)])
    }

    fn futex_requeue(
        &self,
        addr: u64,
        count: u32,
        to: u64,
        moved: u32,
        expected: Option<u32>,
        shared: bool,
    ) -> Result<u32> {
        // Both words are the guest's own: waiters of the kernel process stand in the region, where a guest that could
        // move them would leave it waiting for ever.
        Self::check_word(addr)?;
        Self::check_word(to)?;
        let op = expected.map_or(libc::FUTEX_REQUEUE, |_| libc::FUTEX_CMP_REQUEUE) | private(shared);
        let most = i32::MAX as u32;
        let (count, moved) = (u64::from(count.min(most)), u64::from(moved.min(most)));
        let args = [addr, op as u64, count, moved, to, u64::from(expected.unwrap_or(0))];
        self.call(libc::SYS_futex, args).map(|n| n as u32)
    }

    fn membarrier(&self, command: u32) -> Result<u32> {
        // From the service thread, which is one of the space's: what it registers and orders is the space's.
        self.call(libc::SYS_membarrier, [u64::from(command), 0, 0, 0, 0, 0]).map(|n| n as u32)
    }

    fn mincore(&self, addr: u64, out: &mut [u8]) -> Result<()> {
        let mut addr = addr;
        for piece in out.chunks_mut(reply::BYTES_LEN) {
            let len = piece.len() as u64 * PAGE;
            self.check(addr, len)?;
            let mut service = self.serve();
            let to = REPLY + reply::BYTES as u64;
            service.run(&[Op::expecting(libc::SYS_mincore, [addr, len, to, 0, 0, 0], 0)])?;
            service.bytes(piece);
            addr += len;
        }
        Ok(())
    }

    fn page_bits(&self, addr: u64, out: &mut [u64]) {
        self.catch_up();
        let mut raw = vec![0; size_of_val(out)];
        let read = |pid| {
            let file = File::open(format!("/proc/{pid}/pagemap"))?;
            file.read_exact_at(&mut raw, addr / PAGE * size_of::<u64>() as u64)
        };
        if !matches!(self.stub.with_pid(read), Some(Ok(()))) {
            raw.fill(0);
        }
        // Below are places in the host's memory and swap.
        let told = u64::MAX << 55;
        for (bits, raw) in out.iter_mut().zip(raw.as_chunks().0) {
            *bits = u64::from_le_bytes(*raw) & told;
        }
    }

    fn resident_bytes(&self) -> (u64, u64) {
        self.catch_up();
        let read = |pid| std::fs::read_to_string(format!("/proc/{pid}/statm"));
        let Some(Ok(line)) = self.stub.with_pid(read) else { return (0, 0) };
        let mut pages = line.split(' ').skip(1).map(|w| w.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
        (resident.saturating_sub(shared) * PAGE, shared * PAGE)
    }

    fn proportional_bytes(&self) -> u64 {
        let read = |pid| std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let text = self.stub.with_pid(read).and_then(std::io::Result::ok);
        let line = text.as_deref().and_then(|t| t.lines().find_map(|l| l.strip_prefix("Pss_Anon:")));
        let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        kib.map_or_else(|| self.resident_bytes().0, |kib| kib << 10)
    }

    fn allow_data(&self, bytes: u64) {
        // Refused where the host allows less anyhow.
        let _ = self.stub.with_pid(|pid| process::limit_data(pid, bytes, self.engine.data_limit));
    }

    fn is_settled(&self) -> bool {
        // Errands count as done when the thread comes back; alone in its space, it makes them before anything else.
        !self.lazy.load(SeqCst)
    }

    fn watch(&self, on: bool) {
        self.watch_code(on);
    }

    fn kill(&self) {
        self.stub.kill();
    }
}

impl Drop for LinuxSpace {
    fn drop(&mut self) {
        self.stub.kill();
    }
}

/// The bit of a futex operation whose words only one space uses.
fn private(shared: bool) -> i32 {
    if shared { 0 } else { libc::FUTEX_PRIVATE_FLAG }
}

/// Protection as mmap(2) takes it.
fn bits(prot: Prot) -> u64 {
    let bit = |on, b: i32| if on { b as u64 } else { 0 };
    bit(prot.read, libc::PROT_READ) | bit(prot.write, libc::PROT_WRITE) | bit(prot.exec, libc::PROT_EXEC)
}

// A batch with its advice must fit a request.
const _: () = assert!(request::OPS + request::OPS_MAX * request::OP_LEN <= PAGE as usize);
