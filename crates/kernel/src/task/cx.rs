//! What only the task's own host thread touches: its registers, its handles to shared state, guest memory access.

use std::sync::Arc;

use hal::Context;
use smallvec::SmallVec;

use super::{Cred, FsContext, Pid, Task, Work, process::ExitStatus};
use crate::{
    error::Result,
    io::{Sink, Source},
    machine::Machine,
    mm::{Access, Limits, Mm},
    vfs::fdtable::FdTable,
};
use abi::errno::{EFAULT, EINVAL, ENAMETOOLONG, ENOSYS};

/// Longest path a system call takes, its NUL included (PATH_MAX).
pub const PATH_MAX: usize = 4096;

/// The running task. Passed down by mutable reference; never leaves its thread.
pub struct TaskCx {
    pub task: Arc<Task>,
    pub ctx: Box<dyn Context>,
    /// Cached handles of what `task` points at; only the task itself replaces these (and `task`'s copies with them).
    pub mm: Arc<Mm>,
    pub files: Arc<FdTable>,
    /// Absolute deadline of the present system call if it was begun before and interrupted without a handler running
    /// (nanosleep, poll, futex ...). See [`TaskCx::deadline`].
    pub(crate) restart_deadline: Option<u64>,
    /// Mask to put back after the present system call (sigsuspend, ppoll, pselect, epoll_pwait).
    pub(crate) saved_mask: Option<abi::signal::SigSet>,
    /// Set when the task must leave its run loop.
    pub(crate) exiting: bool,
    /// How this thread ends by itself (exit(2)).
    pub(crate) exit_status: Option<ExitStatus>,
    /// The last exception, for the frame of its signal's handler.
    pub(crate) last_fault: Option<hal::Exception>,
    /// The last event was an interruption of guest code.
    pub(crate) kicked: bool,
    /// Processor time of contexts that exec replaced.
    pub(crate) past_cpu_ns: (u64, u64),
    /// Number of the system call being made by a traced task, and what its result register shows meanwhile.
    pub(crate) traced_call: Option<(u64, Option<u64>)>,
    /// A tracer replaced the registers of an interrupted call: it is not begun again by itself.
    pub(crate) call_given_up: bool,
    /// One instruction is to be run (PTRACE_SINGLESTEP).
    pub(crate) step: bool,
    /// The debug registers watch something.
    pub(crate) watching: bool,
    /// How the present system call is to be begun again, where that depends on its arguments.
    pub(crate) restart_as: Option<super::run::Restart>,
    /// The guest thread's futex calls come here.
    pub(crate) sees_futexes: bool,
    /// The stub may answer calls by itself.
    pub(crate) may_lend: bool,
    pub(crate) lent: super::lent::Lent,
    pub(crate) queues: super::queues::Queues,
    pub(crate) ends_told: bool,
    pub(crate) endless: super::endless::EndlessFiles,
    pub(crate) ahead: crate::vfs::ahead::Ahead,
    /// Actions for signals are lent to the stub, and how often the program has asked for a change since they were not.
    pub(crate) actions_lent: bool,
    pub(crate) action_calls: u32,
    /// The parent had its actions lent: children of shells and daemons change theirs first of all.
    pub(crate) wants_actions: bool,
    /// Set by exec and sigreturn: registers are final, no result is to be stored.
    pub regs_final: bool,
}

impl TaskCx {
    /// A task that has not run yet, over the guest thread `ctx` of address space `mm`.
    pub fn new(task: Arc<Task>, ctx: Box<dyn Context>, mm: Arc<Mm>, files: Arc<FdTable>) -> TaskCx {
        TaskCx {
            task,
            ctx,
            mm,
            files,
            restart_deadline: None,
            saved_mask: None,
            exiting: false,
            exit_status: None,
            last_fault: None,
            kicked: false,
            past_cpu_ns: (0, 0),
            traced_call: None,
            call_given_up: false,
            step: false,
            watching: false,
            restart_as: None,
            sees_futexes: false,
            may_lend: false,
            lent: super::lent::Lent::default(),
            queues: super::queues::Queues::default(),
            ends_told: false,
            endless: super::endless::EndlessFiles::default(),
            ahead: crate::vfs::ahead::Ahead::default(),
            actions_lent: false,
            action_calls: 0,
            wants_actions: false,
            regs_final: false,
        }
    }

    /// Replaces the guest thread and its memory (exec); the old thread ends when the returned value is dropped.
    pub fn replace_context(&mut self, ctx: Box<dyn Context>, mm: Arc<Mm>) -> (Box<dyn Context>, Arc<Mm>) {
        self.keep_cpu_time();
        self.take_back_actions();
        let old = (std::mem::replace(&mut self.ctx, ctx), std::mem::replace(&mut self.mm, mm));
        *self.task.mm.write() = Some(self.mm.clone());
        let mm_use = crate::mm::MmUse::new(&self.mm, self.task.pid());
        let before = self.task.mm_use.lock().replace(mm_use);
        drop(before);
        self.attach_context();
        old
    }

    /// Gives the task a descriptor table of its own, if others have its.
    pub fn unshare_files(&mut self) {
        if self.files.is_shared() {
            let own = self.files.fork();
            own.enter();
            *self.task.files.write() = Some(own.clone());
            std::mem::replace(&mut self.files, own).leave(&self.task);
        }
    }

    /// Makes others reach the present guest thread: interruptions, processor time, ids that its stub answers.
    pub(crate) fn attach_context(&mut self) {
        self.endless = super::endless::EndlessFiles::default();
        self.sees_futexes = self.ctx.traps_futexes();
        let kicker = self.ctx.kicker();
        self.task.set_kicker(Some(kicker.clone()));
        let affinity = self.task.sched.lock().affinity;
        kicker.set_affinity(affinity);
        *self.task.cpu_clock.lock() = self.ctx.cpu_clock();
        let hook = self.ctx.set_fast_ppid_later();
        let (tid, pid) = (self.task.tid(), self.task.pid());
        if let Some(node) = self.task.machine.tree.lock().nodes.get_mut(&pid) {
            node.ppid_hooks.retain(|(t, _)| *t != tid);
            node.ppid_hooks.push((tid, hook));
        }
        self.update_fast_ids();
        let words = self.ctx.lend_signals();
        self.task.signals.lock().mask.keep_in(words);
        let words = self.ctx.lend_end_words();
        self.task.at_end.lock().keep_in(words);
        crate::signal::signals_changed(&self.task);
        // A kick between the old context's end and now would be lost.
        if !self.task.work().is_empty() {
            self.task.interrupt();
        }
    }

    /// Gives the stub the ids it may answer by itself. To be called when credentials or the thread id changed.
    pub fn update_fast_ids(&mut self) {
        let c = self.task.cred();
        let pid = self.task.pid();
        let dispatch = &self.task.machine.dispatch;
        let ids = |ppid: Pid| hal::FastIds {
            pid: pid.cast_unsigned(),
            tid: self.task.tid().cast_unsigned(),
            ppid: ppid.cast_unsigned(),
            uid: c.uid,
            euid: c.euid,
            gid: c.gid,
            egid: c.egid,
            enabled: !dispatch.trace() && dispatch.meter().is_none() && self.task.seccomp.mode() == 0,
        };
        let ids = ids(self.task.machine.tree.ppid(pid));
        self.may_lend = ids.enabled;
        // What other credentials were told is not for these.
        self.ctx.foretold_used();
        self.ahead = crate::vfs::ahead::Ahead::default();
        self.ctx.set_fast_ids(&ids);
        // The parent may have changed in between; then its hook ran before our older value.
        let now = self.task.machine.tree.ppid(pid).cast_unsigned();
        if now != ids.ppid {
            self.ctx.set_fast_ids(&hal::FastIds { ppid: now, ..ids });
        }
    }

    /// Whether filters or a tracer must see every call.
    #[inline]
    pub(crate) fn must_see_futexes(&self) -> bool {
        self.task.seccomp.mode() != 0 || self.task.work().contains(Work::TRACED)
    }

    /// Goes on with a guest thread of the kind that is needed now: of one whose futex calls the host serves they cannot
    /// be seen.
    #[cold]
    pub(crate) fn change_futexes(&mut self) {
        match self.ctx.respawn(!self.sees_futexes) {
            Ok(ctx) => {
                let mm = self.mm.clone();
                drop(self.replace_context(ctx, mm));
            }
            // A host of tests has one kind. Otherwise the next turn tries again, but nothing passes a filter meanwhile.
            Err(ENOSYS) => {}
            Err(_) if self.task.seccomp.mode() == 0 => {}
            Err(_) => self.task.process.group_exit(ExitStatus::Signal { signo: 9, core: false }),
        }
    }

    pub fn machine(&self) -> &Arc<Machine> {
        &self.task.machine
    }
    pub fn cred(&self) -> Arc<Cred> {
        self.task.cred()
    }
    pub fn fs(&self) -> Arc<FsContext> {
        self.task.fs()
    }

    /// The absolute deadline (monotonic ns) of a timed system call: computed once, kept if the call is begun again after
    /// a stop or freeze. `None` waits for ever.
    pub fn deadline(&mut self, timeout_ns: Option<u64>) -> Option<u64> {
        let t = timeout_ns?;
        if let Some(d) = self.restart_deadline {
            return Some(d);
        }
        let d = self.machine().clock.monotonic_ns().saturating_add(t);
        self.restart_deadline = Some(d);
        Some(d)
    }

    /// Does what a fault of the program at `addr` would do, within its limits: a bad address does not make a stack of
    /// whatever length. EFAULT.
    pub(crate) fn fault_in(&self, addr: u64, write: bool) -> Result<()> {
        let access = if write { Access::Write } else { Access::Read };
        let dying = || self.task.dying.load(std::sync::atomic::Ordering::Relaxed);
        self.mm.fault(addr, access, &Limits::of(&self.task), &dying).map_err(|_| EFAULT)
    }

    /// Copies guest memory in. EFAULT unless all of it is readable.
    pub fn copy_in(&mut self, addr: u64, buf: &mut [u8]) -> Result<()> {
        if self.copy_in_some(addr, buf) == buf.len() { Ok(()) } else { Err(EFAULT) }
    }

    /// Copies in what is readable; returns the bytes copied.
    pub fn copy_in_some(&mut self, addr: u64, buf: &mut [u8]) -> usize {
        let mut done = self.ctx.read(addr, buf);
        while done < buf.len() && self.fault_in(addr.wrapping_add(done as u64), false).is_ok() {
            let n = self.ctx.read(addr.wrapping_add(done as u64), &mut buf[done..]);
            if n == 0 {
                break;
            }
            done += n;
        }
        done
    }

    /// Copies to guest memory. EFAULT unless all of it is writable.
    ///
    /// Small pieces may reach it only when the task goes on, or by [`Context::flush`], which is due before anything by
    /// which another task of the same memory could know of them.
    pub fn copy_out(&mut self, addr: u64, buf: &[u8]) -> Result<()> {
        if self.copy_out_some(addr, buf) == buf.len() { Ok(()) } else { Err(EFAULT) }
    }

    /// Copies out what is writable; returns the bytes copied.
    pub fn copy_out_some(&mut self, addr: u64, buf: &[u8]) -> usize {
        if buf.len() <= LATER && self.mm.is_plain(addr, buf.len()) && self.ctx.write_later(addr, buf) {
            return buf.len();
        }
        let mut done = self.ctx.write(addr, buf);
        while done < buf.len() && self.fault_in(addr.wrapping_add(done as u64), true).is_ok() {
            let n = self.ctx.write(addr.wrapping_add(done as u64), &buf[done..]);
            if n == 0 {
                break;
            }
            done += n;
        }
        done
    }

    /// Leaves bytes of shared memory for the stub to copy; how many.
    fn put_shared_later(&mut self, mem: &dyn hal::SharedMem, offset: u64, addr: u64, len: usize) -> usize {
        if len > LATER || !self.mm.is_plain(addr, len) {
            return 0;
        }
        let mut buf = [0; STEP];
        let mut done = 0;
        while done < len {
            let n = STEP.min(len - done);
            mem.read(offset + done as u64, &mut buf[..n]);
            if !self.ctx.write_later(addr + done as u64, &buf[..n]) {
                break;
            }
            done += n;
        }
        done
    }

    /// Moves to shared memory what the stub captured of the bytes from `addr` on; how many.
    fn take_captured(&mut self, mem: &dyn hal::SharedMem, offset: u64, addr: u64, len: usize) -> usize {
        let mut buf = [0; STEP];
        let mut done = 0;
        while done < len {
            let want = STEP.min(len - done);
            let n = self.ctx.captured(addr + done as u64, &mut buf[..want]);
            if n == 0 {
                break;
            }
            mem.write(offset + done as u64, &buf[..n]);
            done += n;
        }
        done
    }

    pub fn read_u32(&mut self, addr: u64) -> Result<u32> {
        let mut b = [0; 4];
        self.copy_in(addr, &mut b)?;
        Ok(u32::from_le_bytes(b))
    }
    pub fn read_u64(&mut self, addr: u64) -> Result<u64> {
        let mut b = [0; 8];
        self.copy_in(addr, &mut b)?;
        Ok(u64::from_le_bytes(b))
    }
    pub fn read_array<const N: usize>(&mut self, addr: u64) -> Result<[u8; N]> {
        let mut b = [0; N];
        self.copy_in(addr, &mut b)?;
        Ok(b)
    }
    pub fn write_u32(&mut self, addr: u64, v: u32) -> Result<()> {
        self.copy_out(addr, &v.to_le_bytes())
    }
    pub fn write_u64(&mut self, addr: u64, v: u64) -> Result<()> {
        self.copy_out(addr, &v.to_le_bytes())
    }

    /// A NUL-terminated string of at most `max - 1` bytes; `too_long` if there is no NUL within `max`.
    pub fn read_cstr(&mut self, addr: u64, max: usize, too_long: abi::Errno) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut at = addr;
        // First what the stub captured; then what is likely a whole path, never crossing into a page that may be unreadable before the NUL is seen.
        let mut chunk = [0u8; 256];
        let got = self.ctx.captured(addr, &mut chunk);
        if let Some(end) = chunk[..got].iter().position(|b| *b == 0)
            && end < max
        {
            return Ok(chunk[..end].to_vec());
        }
        while out.len() < max {
            let in_page = (hal::PAGE_SIZE - at % hal::PAGE_SIZE) as usize;
            let n = in_page.min(chunk.len()).min(max - out.len());
            let got = self.copy_in_some(at, &mut chunk[..n]);
            if got == 0 {
                return Err(EFAULT);
            }
            if let Some(end) = chunk[..got].iter().position(|b| *b == 0) {
                out.extend_from_slice(&chunk[..end]);
                return Ok(out);
            }
            out.extend_from_slice(&chunk[..got]);
            at = at.wrapping_add(got as u64);
        }
        Err(too_long)
    }

    /// A path argument.
    pub fn read_path(&mut self, addr: u64) -> Result<Vec<u8>> {
        self.read_cstr(addr, PATH_MAX, ENAMETOOLONG)
    }

    /// An iovec array (readv(2)): at most 1024 entries, total length limited to `isize::MAX`.
    pub fn read_iovecs(&mut self, addr: u64, count: u64) -> Result<SmallVec<[(u64, usize); 4]>> {
        if count > 1024 {
            return Err(EINVAL);
        }
        let mut raw = vec![0; count as usize * 16];
        self.copy_in(addr, &mut raw)?;
        let mut out = SmallVec::new();
        let mut total = 0u64;
        for e in raw.chunks_exact(16) {
            let base = u64::from_le_bytes([e[0], e[1], e[2], e[3], e[4], e[5], e[6], e[7]]);
            let len = u64::from_le_bytes([e[8], e[9], e[10], e[11], e[12], e[13], e[14], e[15]]);
            total = total.checked_add(len).filter(|t| *t <= i64::MAX as u64).ok_or(EINVAL)?;
            out.push((base, (len as usize).min(MAX_RW)));
        }
        Ok(out)
    }

    /// Guest memory as a sink and source for file operations.
    pub fn user_io(&mut self, iov: &[(u64, usize)]) -> UserIo<'_> {
        UserIo::new(self, iov)
    }
}

/// Most bytes one read or write moves (MAX_RW_COUNT).
pub const MAX_RW: usize = 0x7fff_f000;

/// Pieces of guest memory, in order.
pub struct UserIo<'a> {
    cx: &'a mut TaskCx,
    iov: SmallVec<[(u64, usize); 4]>,
    next: usize,
    left: usize,
}

impl<'a> UserIo<'a> {
    fn new(cx: &'a mut TaskCx, iov: &[(u64, usize)]) -> UserIo<'a> {
        let left = iov.iter().fold(0usize, |a, v| a.saturating_add(v.1)).min(MAX_RW);
        UserIo { cx, iov: SmallVec::from_slice(iov), next: 0, left }
    }

    /// The task whose memory this is.
    pub fn task(&self) -> Arc<Task> {
        self.cx.task.clone()
    }

    /// The next piece, at most `max` bytes.
    fn piece(&mut self, max: usize) -> Option<(u64, usize)> {
        while self.iov.get(self.next)?.1 == 0 {
            self.next += 1;
        }
        let (addr, len) = self.iov[self.next];
        let n = len.min(max).min(self.left);
        if n == 0 { None } else { Some((addr, n)) }
    }

    fn advance(&mut self, n: usize) {
        self.left -= n;
        let e = &mut self.iov[self.next];
        e.0 += n as u64;
        e.1 -= n;
    }

    /// Moves up to `total` bytes piecewise by `f(cx, addr, len, done) -> moved`; stops at the first short move.
    fn each(
        &mut self,
        total: usize,
        mut f: impl FnMut(&mut TaskCx, u64, usize, usize) -> Result<usize>,
    ) -> Result<usize> {
        let mut done = 0;
        while done < total {
            let Some((addr, n)) = self.piece(total - done) else { break };
            match f(self.cx, addr, n, done) {
                Ok(m) => {
                    self.advance(m);
                    done += m;
                    if m < n {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        Ok(done)
    }
}

fn some(n: usize) -> Result<usize> {
    if n == 0 { Err(EFAULT) } else { Ok(n) }
}

/// Most bytes that are left for the stub to copy.
const LATER: usize = 16 << 10;
/// Bytes at a time between what the stub captures or copies and shared memory.
const STEP: usize = 4096;
/// Transfers of at least this size go past the kernel's bounce buffers.
const DIRECT: usize = 16 << 10;

impl Sink for UserIo<'_> {
    fn remaining(&self) -> usize {
        self.left
    }
    fn put(&mut self, data: &[u8]) -> Result<usize> {
        self.each(data.len(), |cx, addr, n, done| some(cx.copy_out_some(addr, &data[done..done + n])))
    }
    fn put_shared(&mut self, mem: &dyn hal::SharedMem, offset: u64, len: usize) -> Result<usize> {
        self.each(len, |cx, addr, n, done| {
            let mut moved = cx.put_shared_later(mem, offset + done as u64, addr, n);
            if moved == n {
                return Ok(n);
            }
            cx.ctx.flush();
            moved +=
                cx.mm.space.write_from_shared(addr + moved as u64, offset + (done + moved) as u64, n - moved);
            while moved < n && cx.fault_in(addr + moved as u64, true).is_ok() {
                let m = cx.mm.space.write_from_shared(
                    addr + moved as u64,
                    offset + (done + moved) as u64,
                    n - moved,
                );
                if m == 0 {
                    break;
                }
                moved += m;
            }
            some(moved)
        })
    }
    fn put_file(&mut self, file: &dyn hal::HostFile, offset: u64, len: usize) -> Result<usize> {
        let mut bounce = Vec::new();
        self.each(len, |cx, addr, n, done| {
            let at = offset + done as u64;
            if n <= LATER
                && cx.mm.is_plain(addr, n)
                && let Some(done) = cx.ctx.read_file_later(file, at, addr, n)
            {
                return done;
            }
            if n >= DIRECT {
                cx.ctx.flush();
                match cx.mm.space.read_file(file, at, addr, n) {
                    Err(EFAULT) => {}
                    other => return other,
                }
            }
            bounce.resize(n.min(256 << 10), 0);
            let got = file.pread(at, &mut bounce)?;
            if got == 0 { Ok(0) } else { some(cx.copy_out_some(addr, &bounce[..got])) }
        })
    }
}

impl Source for UserIo<'_> {
    fn remaining(&self) -> usize {
        self.left
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        self.each(buf.len(), |cx, addr, n, done| some(cx.copy_in_some(addr, &mut buf[done..done + n])))
    }
    fn take_shared(&mut self, mem: &dyn hal::SharedMem, offset: u64, len: usize) -> Result<usize> {
        self.each(len, |cx, addr, n, done| {
            let mut moved = cx.take_captured(mem, offset + done as u64, addr, n);
            if moved == n {
                return Ok(n);
            }
            moved +=
                cx.mm.space.read_to_shared(addr + moved as u64, offset + (done + moved) as u64, n - moved);
            while moved < n && cx.fault_in(addr + moved as u64, false).is_ok() {
                let m = cx.mm.space.read_to_shared(
                    addr + moved as u64,
                    offset + (done + moved) as u64,
                    n - moved,
                );
                if m == 0 {
                    break;
                }
                moved += m;
            }
            some(moved)
        })
    }
    fn take_file(&mut self, file: &dyn hal::HostFile, offset: u64, len: usize) -> Result<usize> {
        let mut bounce = Vec::new();
        self.each(len, |cx, addr, n, done| {
            let at = offset + done as u64;
            if n >= DIRECT {
                match cx.mm.space.write_file(file, at, addr, n) {
                    Err(EFAULT) => {}
                    other => return other,
                }
            }
            bounce.resize(n.min(256 << 10), 0);
            let got = some(cx.copy_in_some(addr, &mut bounce))?;
            file.pwrite(at, &bounce[..got])
        })
    }
}
