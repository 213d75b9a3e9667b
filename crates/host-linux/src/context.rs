//! One guest thread, as the kernel thread of its task drives it.

mod endless;
mod ends;
mod foretold;
mod lent;
mod queues;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use hal::{
    Backing, Borrowed, Context, CpuClock, End, EndWords, Endless, EndlessUse, Errno, Event, Exception,
    FastIds, Foreseen, FutexCall, HostFile, Kicker, Lending, MapOp, Prot, Queue, Regs, Result, SignalWords,
    Space, Told, errno,
};

use crate::{
    engine::{Engine, FrameShape, lock},
    host::StartError,
    layout::{self, PAGE, ctl, file, flag, kind, names, reg, served},
    slots::Slot,
    space::LinuxSpace,
    stub::code,
    sys::process,
    thread::{Futexes, Thread},
    x86_64::{
        frame::{self, Frame, Saved},
        patch::Patches,
    },
};

/// AUDIT_ARCH_X86_64: how a trapped system call was made.
const ARCH_X86_64: u32 = 0xc000_003e;

/// Processor flags of code that nobody has run yet: interrupts enabled, and the bit that is always set.
const PLAIN_FLAGS: u64 = 0x202;

/// Where the registers of the stopped thread are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In a signal frame.
    Frame,
    /// In the control page: it came by a patched site.
    Patched,
}

/// A guest thread.
pub(crate) struct LinuxContext {
    space: Arc<LinuxSpace>,
    thread: Arc<Thread>,
    at: At,
    /// Orders for the next resumption.
    flags: u32,
    /// The guest uses GS itself.
    own_gs: bool,
    /// Number of the system call of the last event.
    nr: u64,
    /// What the stub captured of its arguments: guest address and bytes.
    captured: (u64, usize),
    later: Later,
    /// Where in the slot what is left for later begins: behind what was captured.
    later_at: usize,
    /// And where it must end.
    later_end: usize,
    on_loan: Option<lent::OnLoan>,
    /// What was on loan and may be again.
    kept: Option<lent::OnLoan>,
    /// Names told ahead.
    names_told: usize,
    /// Receive queues stand in the slot, and ends of files.
    tells_queues: bool,
    tells_ends: bool,
    endless: Endless,
    /// The guest took memory away that the call's result was to go to.
    lost: bool,
    /// What is lent to the stub, see [`crate::layout::served`], and whether it may use it.
    lent: u32,
    may_serve: bool,
    /// The stub cannot be used any more.
    died: Option<u8>,
}

/// Bytes that the stub will copy to guest memory when it resumes.
#[derive(Default)]
struct Later {
    count: usize,
    used: usize,
    pieces: [(u64, usize, usize); ctl::OUT_MAX],
}

/// Fills in the control page and the first frame of a slot at an address.
fn prepare(slot: &Slot, addr: u64, shape: Option<&FrameShape>, regs: &Regs, fpu: Option<&[u8]>) {
    slot.set32(ctl::FLAGS, 0);
    slot.set32(ctl::INTERRUPTED, 0);
    slot.set32(ctl::SPIN, 0);
    slot.set32(ctl::FAST_VALID, 0);
    slot.set32(ctl::LENT, 0);
    slot.set32(ctl::ENDS, 0);
    slot.set64(file::EPOCH, 0);
    slot.set64(layout::endless::EPOCH, 0);
    slot.set64(ctl::ENTRY, code::entry());
    slot.set64(ctl::STACK, addr + ctl::STACK_TOP as u64);
    slot.set64(ctl::FS_BASE, regs.fs_base);
    slot.set64(ctl::GS_BASE, addr);
    let frame = Frame::create(slot, addr, shape, &Saved::from_regs(regs));
    match (fpu, shape) {
        (Some(image), Some(shape)) if image.len() == shape.fpu_len => {
            slot.write(shape.fpu, image);
            frame.set_fpu(addr, Some(shape.fpu));
        }
        _ => frame.set_fpu(addr, None),
    }
}

impl LinuxContext {
    fn new(space: Arc<LinuxSpace>, thread: Arc<Thread>, gs_base: u64) -> LinuxContext {
        let flags = flag::FS | flag::GS;
        let mut context = LinuxContext {
            space,
            thread,
            at: At::Frame,
            flags,
            own_gs: false,
            nr: 0,
            captured: (0, 0),
            later: Later::default(),
            later_at: ctl::BUFFER,
            later_end: ctl::BUFFER_END,
            on_loan: None,
            endless: Endless::default(),
            kept: None,
            names_told: 0,
            tells_queues: false,
            tells_ends: false,
            lost: false,
            lent: served::ALWAYS,
            may_serve: false,
            died: None,
        };
        if gs_base != 0 {
            context.set_gs(gs_base);
        }
        context
    }

    /// Gives GS to the guest: nothing in this space may rely on it any more.
    fn set_gs(&mut self, gs_base: u64) {
        self.own_gs = true;
        self.space.stop_rewriting();
        self.slot().set64(ctl::GS_BASE, gs_base);
    }

    /// Takes a thread out of a trampoline where it was interrupted. Whether it was in one, but not amid the guest's own
    /// instructions.
    fn leave_trampoline(&self, frame: Frame<'_>) -> bool {
        let Some((at, amid)) = self.space.site_of(frame.get(frame::RIP)) else { return false };
        frame.set(frame::RIP, at);
        !amid
    }

    /// A thread in a new, empty space.
    pub(crate) fn empty(engine: &Arc<Engine>, regs: &Regs) -> Result<LinuxContext> {
        let addr = Thread::slot_addr(0);
        let shape = engine.frame.get();
        let (stub, service, thread) = engine.bear_empty(|slot| prepare(slot, addr, shape, regs, None))?;
        let space = LinuxSpace::new(engine.clone(), stub, service, Patches::new());
        Ok(LinuxContext::new(space, thread, 0))
    }

    /// Lets a stub fault and trap once: measures its signal frames and shows that the platform works on this host.
    /// Returns the bytes of the floating-point state in frames.
    pub(crate) fn probe(engine: &Arc<Engine>) -> core::result::Result<usize, StartError> {
        let refused = |e: Errno| StartError::new(format!("the host refuses a second stub process: {e}"));
        let mut context = LinuxContext::empty(engine, &Regs::default()).map_err(refused)?;
        match context.run() {
            Event::Exception(Exception { trapno: 14, addr: 0, .. }) => {}
            other => {
                return Err(StartError::new(format!("a fault in a stub process came back as {other:?}")));
            }
        }
        let unusable = || StartError::new("the host's signal frames are not as expected");
        let slot = &context.thread.slot;
        let frame = Frame::announced(slot, context.thread.addr()).ok_or_else(unusable)?;
        let at = frame.fpu_addr().wrapping_sub(context.thread.addr());
        let at =
            usize::try_from(at).ok().filter(|&a| a < 0xfe00 && a > frame.offset()).ok_or_else(unusable)?;
        let len = Frame::fpu_len(slot, at);
        if !(frame::FP_LEGACY..0x1_0000 - at + 1).contains(&len) {
            return Err(unusable());
        }
        let mut initial = vec![0; len];
        slot.read(at, &mut initial);
        let shape = FrameShape { ucontext: frame.offset(), fpu: at, fpu_len: len, initial };
        let _ = engine.frame.set(shape);
        let regs = Regs { rip: code::trap(), rsp: PAGE, ..Regs::default() };
        context.set_regs(&regs);
        match context.run() {
            Event::Syscall { .. } => {}
            other => return Err(StartError::new(format!("a trapped system call came back as {other:?}"))),
        }
        // A call of the service thread's, where that makes it. Were it let pass, the stub would fault behind it.
        let rip = code::operation_ip() - 2;
        let nr = libc::SYS_getpid as u64;
        context.set_regs(&Regs { rip, rax: nr, rsp: 32 * PAGE, ..Regs::default() });
        match context.run() {
            Event::Syscall { nr: n, .. } if n == nr => {}
            _ => return Err(StartError::new("the host does not keep guest code from the stub's own calls")),
        }
        context.probe_copying()?;
        Ok(len)
    }

    /// Whether the memory of stubs can be reached.
    fn probe_copying(&self) -> core::result::Result<(), StartError> {
        let addr = 0x10_0000;
        let prot = Prot { read: true, write: true, exec: false };
        let map = MapOp::Map { addr, len: PAGE, prot, backing: Backing::Anon, huge: false };
        let refused = |e: Errno| StartError::new(format!("the host refuses memory for a stub process: {e}"));
        self.space.apply(&[map]).map_err(refused)?;
        let probe = |pid| process::vm_write(pid, addr, b"probe");
        let failed = match self.space.stub.with_pid(probe) {
            Some(Ok(5)) => None,
            Some(Err(e)) => Some(format!("the host refuses process_vm_writev on stub processes: {e}")),
            _ => Some("memory of stub processes cannot be written".into()),
        };
        let mut back = [0; 5];
        let failed = failed.or_else(|| match self.space.read_forced(addr, &mut back) {
            5 if &back == b"probe" => None,
            _ => Some("the host refuses /proc/PID/mem of stub processes".into()),
        });
        match failed {
            None => Ok(()),
            Some(cause) => {
                let yama = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
                let hint = match yama.trim() {
                    s @ ("2" | "3") => format!(" (kernel.yama.ptrace_scope is {s}; 0 or 1 is needed)"),
                    _ => String::new(),
                };
                Err(StartError::new(cause + &hint))
            }
        }
    }

    fn slot(&self) -> &Slot {
        &self.thread.slot
    }

    /// Changes what the stub may always answer from its next turn on.
    pub(crate) fn lend(&mut self, lent: u32) {
        self.lent = lent;
        self.show_lent();
    }

    /// Tells the stub what it may answer: that, and what is asked of a file on loan and of names told ahead.
    fn show_lent(&self) {
        let files = self.on_loan.as_ref().map_or(0, |loan| loan.serves);
        let names = if self.names_told != 0 { served::NAMES } else { 0 };
        let ends = if self.tells_ends { 1 << served::LSEEK } else { 0 };
        let served = self.lent | files | names | ends | self.endless_served();
        self.slot().set32(ctl::LENT, if self.may_serve { served } else { 0 });
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.space.engine
    }

    /// The signal frame; without one that can be believed the stub is ended.
    fn frame(&self) -> Option<Frame<'_>> {
        Frame::announced(self.slot(), self.thread.addr())
    }

    /// The end of this thread.
    fn dead(&mut self) -> Event {
        // A thread that is gone may be the first that is seen of the end of its process.
        for _ in 0..50 {
            if self.died.is_some() || self.space.stub.death().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let signo = match (self.died, self.space.stub.death()) {
            (Some(s), _) | (None, Some(s)) => s,
            (None, None) => 0,
        };
        self.died = Some(signo);
        Event::Died { signo }
    }

    /// Ends a stub whose pages hold what only hostile code puts there.
    fn forged(&mut self) -> Event {
        self.space.stub.kill();
        self.died = Some(libc::SIGKILL as u8);
        Event::Died { signo: libc::SIGKILL as u8 }
    }

    /// The thread stopped for something else than what it was resumed for, or is dead: the stub is of no more use. ESRCH.
    fn astray(&mut self, event: Option<u32>) -> Errno {
        match event {
            Some(_) => self.forged(),
            None => self.dead(),
        };
        errno::ESRCH
    }

    /// Copies the pieces left for later now, from the kernel; false if the guest has taken their memory away.
    fn copy_pieces(&mut self) -> bool {
        let mut whole = true;
        for i in 0..core::mem::take(&mut self.later.count) {
            let (addr, len, at) = self.later.pieces[i];
            let mut buf = [0; PAGE as usize];
            for done in (0..len).step_by(buf.len()) {
                let n = buf.len().min(len - done);
                self.slot().read(at + done, &mut buf[..n]);
                whole &= self.space.write(addr + done as u64, &buf[..n]) == n;
            }
        }
        self.later.used = 0;
        whole
    }

    /// Leaves the copying to the stub, which is about to be resumed.
    fn hand_pieces(&mut self) -> u32 {
        if self.later.count == 0 {
            return 0;
        }
        let slot = self.slot();
        for (i, &(addr, len, at)) in self.later.pieces[..self.later.count].iter().enumerate() {
            let entry = ctl::OUT_LIST + i * ctl::OUT_STEP;
            slot.set64(entry, addr);
            slot.set32(entry + 8, len as u32);
            slot.set32(entry + 12, at as u32);
        }
        slot.set32(ctl::OUT_COUNT, self.later.count as u32);
        flag::COPY
    }

    /// Resumes the thread with the orders given and waits for it to stop.
    fn turn(&mut self, flags: u32) -> Option<u32> {
        let slot = self.slot();
        slot.set32(ctl::INTERRUPTED, 0);
        let errands = if self.space.send_on_errands(&self.thread) { flag::ERRANDS } else { 0 };
        slot.set32(ctl::FLAGS, flags | errands);
        let placement = &self.engine().placement;
        placement.before_resume(&self.thread, self.thread.is_asleep());
        if !self.space.hand_over(&self.thread) {
            self.thread.resume();
        }
        self.thread.wait(placement)
    }

    /// What an event means; `None` if the guest goes on at once.
    fn decode(&mut self, event: u32) -> Option<Event> {
        match event {
            kind::PATCHED => {
                self.at = At::Patched;
                let len = self.slot().get32(ctl::CAP_LEN) as usize;
                let len = len.min(ctl::CAP_LEN_MAX);
                self.captured = (self.slot().get64(ctl::CAP_ADDR), len);
                self.later_at = ctl::BUFFER + len.next_multiple_of(64);
                let r = self.patched();
                self.nr = r.gprs[reg::RAX];
                Some(Event::Syscall { nr: self.nr, args: args(&r) })
            }
            kind::PATCHED_KICK => {
                self.at = At::Patched;
                self.thread.take_kick();
                Some(Event::Kicked)
            }
            _ => {
                self.at = At::Frame;
                let Some(frame) = Frame::announced(&self.thread.slot, self.thread.addr()) else {
                    return Some(self.forged());
                };
                match event as i32 {
                    libc::SIGSYS if frame.arch() != ARCH_X86_64 => {
                        // 32-bit system calls are answered as by a host that does not have them.
                        frame.set(frame::RAX, errno::ENOSYS.as_ret());
                        None
                    }
                    libc::SIGSYS => {
                        let r = frame.load();
                        self.nr = r.gprs[reg::RAX];
                        self.space.visit_site(r.rip, self.nr);
                        Some(Event::Syscall { nr: self.nr, args: args(&r) })
                    }
                    libc::SIGURG => {
                        self.leave_trampoline(frame);
                        self.thread.take_kick();
                        Some(Event::Kicked)
                    }
                    signo @ (libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP) => {
                        let left = self.leave_trampoline(frame);
                        if signo == libc::SIGSEGV && !self.own_gs && left {
                            // The guest has changed GS by itself.
                            let gs_base = self.slot().get64(ctl::GS_BASE);
                            self.set_gs(gs_base);
                            return None;
                        }
                        let trapno = frame.trapno();
                        let at = frame.get(frame::RIP).wrapping_sub(1);
                        if trapno == 3 && self.space.is_changing(at) {
                            frame.set(frame::RIP, at);
                            return None;
                        }
                        let addr = if trapno == 14 { frame.cr2() } else { 0 };
                        Some(Event::Exception(Exception {
                            signo: signo as u8,
                            code: frame.code(),
                            trapno,
                            error: frame.error(),
                            addr,
                        }))
                    }
                    _ => Some(self.forged()),
                }
            }
        }
    }

    /// Registers in the control page.
    fn patched(&self) -> Saved {
        let mut gprs = [0; 16];
        for (i, g) in gprs.iter_mut().enumerate() {
            *g = self.slot().get64(ctl::REGS + i * 8);
        }
        Saved { gprs, rip: gprs[reg::RCX], rflags: gprs[reg::R11] }
    }

    fn saved(&self) -> Saved {
        match self.at {
            At::Patched => self.patched(),
            At::Frame => self.frame().map(|f| f.load()).unwrap_or_default(),
        }
    }

    /// Makes sure that the registers are in a signal frame, which holds the vector state too.
    fn ensure_frame(&mut self) -> Result<()> {
        if self.died.is_some() {
            return Err(errno::ESRCH);
        }
        self.flush();
        if self.at == At::Frame {
            return Ok(());
        }
        let saved = self.patched();
        let got = self.turn(flag::FRAME);
        let frame = self.frame();
        match (got, frame) {
            (Some(event), Some(frame))
                if event as i32 == libc::SIGSYS && frame.get(frame::RIP) == code::trap_ip() =>
            {
                frame.store(&saved);
                self.at = At::Frame;
                Ok(())
            }
            (other, _) => Err(self.astray(other)),
        }
    }

    /// The vector state, of the length that frames have here.
    fn image(&mut self) -> Result<Option<Vec<u8>>> {
        self.ensure_frame()?;
        let addr = self.thread.addr();
        let Some(shape) = self.space.engine.frame.get() else { return Ok(None) };
        let Some(at) = self.frame().and_then(|f| f.fpu(addr, shape)) else { return Ok(None) };
        let mut image = vec![0; shape.fpu_len];
        self.slot().read(at, &mut image);
        Ok(Some(image))
    }

    /// The memory behind what was captured changes.
    fn forget_captured(&mut self, addr: u64, len: usize) {
        let (from, n) = self.captured;
        if addr < from.saturating_add(n as u64) && from < addr.saturating_add(len as u64) {
            self.captured = (0, 0);
        }
    }

    /// Where in the slot the next piece of `len` bytes for `addr` may stand; `None` if there is no room, or the memory is
    /// not the guest's.
    fn room(&self, addr: u64, len: usize) -> Option<usize> {
        let at = self.later_at + self.later.used;
        let inside = addr.checked_add(len as u64).is_some_and(|end| end <= self.space.range().1);
        let fits =
            len <= ctl::OUT_LEN_MAX.min(self.later_end.saturating_sub(at)) && self.piece(addr) < ctl::OUT_MAX;
        (inside && fits && self.died.is_none()).then_some(at)
    }

    /// The piece that bytes for `addr` become part of: the last, if they follow it, or a new one.
    fn piece(&self, addr: u64) -> usize {
        let Later { count, pieces, .. } = &self.later;
        match count.checked_sub(1).map(|last| pieces[last]) {
            Some((from, len, _)) if from + len as u64 == addr => count - 1,
            _ => *count,
        }
    }

    /// Notes that `len` bytes for `addr` stand at `at`, where there was room.
    fn add_piece(&mut self, addr: u64, len: usize, at: usize) {
        let i = self.piece(addr);
        if i == self.later.count {
            self.later.pieces[i] = (addr, 0, at);
            self.later.count += 1;
        }
        self.later.pieces[i].1 += len;
        self.later.used += len;
        self.forget_captured(addr, len);
    }

    fn shape(&self) -> Result<FrameShape> {
        self.engine().frame.get().cloned().ok_or(errno::EAGAIN)
    }
}

/// Arguments of a system call.
fn args(r: &Saved) -> [u64; 6] {
    let g = &r.gprs;
    [g[reg::RDI], g[reg::RSI], g[reg::RDX], g[reg::R10], g[reg::R8], g[reg::R9]]
}

impl Context for LinuxContext {
    fn run(&mut self) -> Event {
        loop {
            if self.died.is_some() || self.thread.is_dead() {
                return self.dead();
            }
            if self.thread.take_kick() {
                return Event::Kicked;
            }
            let own = if self.own_gs { flag::GS } else { 0 };
            let flags = self.flags | own;
            (self.captured, self.later_at, self.lost) = ((0, 0), ctl::BUFFER, false);
            let copy = self.hand_pieces();
            let got = self.turn(flags | copy);
            if copy != 0 && got == Some(kind::COPY_FAULT) {
                // Of the orders none but the copying was begun.
                if !self.copy_pieces() {
                    self.set_result(errno::EFAULT.as_ret());
                }
                continue;
            }
            self.flags = 0;
            self.later = Later::default();
            match got {
                None => return self.dead(),
                Some(event) => {
                    if let Some(event) = self.decode(event) {
                        return event;
                    }
                }
            }
        }
    }

    fn make_way(&mut self) {
        self.thread.seat.make_way();
    }

    fn place(&self) -> (u64, u32) {
        self.thread.seat.place()
    }

    fn woken_from(&mut self, place: (u64, u32)) {
        self.thread.seat.woken_from(place);
    }

    fn regs(&mut self) -> Regs {
        let gs_base = if self.own_gs { self.slot().get64(ctl::GS_BASE) } else { 0 };
        self.saved().to_regs(self.slot().get64(ctl::FS_BASE), gs_base)
    }

    fn set_regs(&mut self, regs: &Regs) {
        let saved = Saved::from_regs(regs);
        if regs.fs_base != self.slot().get64(ctl::FS_BASE) {
            self.set_tls(regs.fs_base);
        }
        let fits = saved.gprs[reg::RCX] == saved.rip && saved.gprs[reg::R11] == saved.rflags;
        if regs.gs_base != 0 || self.own_gs {
            // From the patched path it could not be installed.
            if self.ensure_frame().is_err() {
                return;
            }
            self.set_gs(regs.gs_base);
        }
        if self.at == At::Patched && fits {
            for (i, g) in saved.gprs.iter().enumerate() {
                self.slot().set64(ctl::REGS + i * 8, *g);
            }
        } else if self.ensure_frame().is_ok()
            && let Some(frame) = self.frame()
        {
            frame.store(&saved);
        }
    }

    fn set_result(&mut self, value: u64) {
        let value = if core::mem::take(&mut self.lost) { errno::EFAULT.as_ret() } else { value };
        match self.at {
            At::Patched => self.slot().set64(ctl::REGS + reg::RAX * 8, value),
            At::Frame => {
                if let Some(frame) = self.frame() {
                    frame.set(frame::RAX, value);
                }
            }
        }
    }

    fn set_tls(&mut self, fs_base: u64) {
        self.slot().set64(ctl::FS_BASE, fs_base);
        self.flags |= flag::FS;
    }

    fn restart_syscall(&mut self) {
        let nr = self.nr;
        match self.at {
            At::Patched => {
                // The instruction itself was left in place behind the patch.
                let slot = self.slot();
                let back = slot.get64(ctl::REGS + reg::RCX * 8).wrapping_sub(2);
                slot.set64(ctl::REGS + reg::RCX * 8, back);
                slot.set64(ctl::REGS + reg::RAX * 8, nr);
            }
            At::Frame => {
                if let Some(frame) = self.frame() {
                    frame.set(frame::RIP, frame.get(frame::RIP).wrapping_sub(2));
                    frame.set(frame::RAX, nr);
                }
            }
        }
    }

    fn fpu(&mut self) -> Result<Vec<u8>> {
        match self.image()? {
            Some(image) => Ok(image),
            None => Ok(self.shape()?.initial),
        }
    }

    fn set_fpu(&mut self, image: Option<&[u8]>) -> Result<()> {
        let shape = self.shape()?;
        let image = image.map(|i| frame::check_image(i, &shape.initial)).transpose()?;
        self.ensure_frame()?;
        let addr = self.thread.addr();
        if let Some(image) = &image {
            self.slot().write(shape.fpu, image);
        }
        let frame = self.frame().ok_or(errno::ESRCH)?;
        frame.set_fpu(addr, image.is_some().then_some(shape.fpu));
        Ok(())
    }

    fn cpu(&self) -> Option<u32> {
        self.engine().placement.number(&self.thread.seat)
    }

    fn space(&self) -> Arc<dyn Space> {
        self.space.clone()
    }

    fn kicker(&self) -> Arc<dyn Kicker> {
        self.thread.clone()
    }

    fn spawn_thread(&mut self, regs: &Regs) -> Result<Box<dyn Context>> {
        let image = self.image()?;
        let shape = self.shape()?;
        let thread = self.space.new_thread(self.thread.futexes, |slot, index| {
            prepare(slot, Thread::slot_addr(index), Some(&shape), regs, image.as_deref());
        })?;
        Ok(Box::new(LinuxContext::new(self.space.clone(), thread, regs.gs_base)))
    }

    fn respawn(&mut self, trap: bool) -> Result<Box<dyn Context>> {
        let image = self.image()?;
        let shape = self.shape()?;
        let regs = self.regs();
        let futexes = if trap { Futexes::Trap } else { Futexes::Host };
        let thread = self.space.new_thread(futexes, |slot, index| {
            prepare(slot, Thread::slot_addr(index), Some(&shape), &regs, image.as_deref());
        })?;
        Ok(Box::new(LinuxContext::new(self.space.clone(), thread, regs.gs_base)))
    }

    fn traps_futexes(&self) -> bool {
        self.thread.futexes == Futexes::Trap
    }

    fn host_futex(&mut self, call: &FutexCall) -> Result<u64> {
        self.flush();
        if self.died.is_some() || self.thread.is_dead() {
            return Err(errno::ESRCH);
        }
        if self.thread.take_kick() {
            return Err(errno::EINTR);
        }
        let slot = self.slot();
        slot.set64(ctl::CALL, call.nr);
        for (i, a) in call.args.iter().enumerate() {
            slot.set64(ctl::CALL + 8 + i * 8, *a);
        }
        if let Some((sec, nsec)) = call.time {
            slot.set64(ctl::CALL_TIME, sec.cast_unsigned());
            slot.set64(ctl::CALL_TIME + 8, nsec.cast_unsigned());
            slot.set64(ctl::CALL + 32, self.thread.addr() + ctl::CALL_TIME as u64);
        }
        let regs = self.regs();
        let order = if self.at == At::Frame {
            // Kicks are blocked in the handler: it returns to the call.
            let Some(frame) = self.frame() else {
                self.forged();
                return Err(errno::ESRCH);
            };
            let mut gprs = [0; 16];
            gprs[reg::RBX] = self.thread.addr();
            gprs[reg::RSP] = self.thread.addr() + ctl::STACK_TOP as u64;
            frame.store(&Saved { gprs, rip: code::call(), rflags: PLAIN_FLAGS });
            0
        } else {
            flag::CALL
        };
        match self.turn(order) {
            Some(kind::CALLED) => {
                // As if it had come by a patched site, whichever way it did.
                self.at = At::Patched;
                self.set_regs(&regs);
                let result = process::from_ret(self.slot().get64(ctl::CALL_RESULT));
                if result == Err(errno::EINTR) {
                    self.thread.take_kick();
                }
                result
            }
            other => Err(self.astray(other)),
        }
    }

    fn fork(&mut self, regs: &Regs) -> Result<Box<dyn Context>> {
        let image = self.image()?;
        let shape = self.shape()?;
        // Held until the copy is made: what is rewritten and what is known of it must agree.
        let mut patches = lock(&self.space.patches);
        self.space.rewrite_for_children(&mut patches);
        let mut service = lock(&self.space.service);
        let engine = self.engine().clone();
        let (stub, service, thread) = engine.bear(&mut service, self.thread.futexes, |slot| {
            prepare(slot, Thread::slot_addr(0), Some(&shape), regs, image.as_deref());
        })?;
        let space = LinuxSpace::new(engine, stub, service, patches.for_child());
        Ok(Box::new(LinuxContext::new(space, thread, regs.gs_base)))
    }

    fn set_fast_ids(&mut self, ids: &FastIds) {
        let values = [ids.pid, ids.tid, ids.ppid, ids.uid, ids.euid, ids.gid, ids.egid];
        for (i, v) in values.into_iter().enumerate() {
            self.slot().set32(ctl::FAST + i * 4, v);
        }
        self.slot().set32(ctl::FAST_VALID, u32::from(ids.enabled));
        self.may_serve = ids.enabled;
        self.show_lent();
    }

    fn set_fast_ppid_later(&self) -> Arc<dyn Fn(u32) + Send + Sync> {
        let thread = self.thread.clone();
        Arc::new(move |ppid| thread.slot.set32(ctl::FAST + 8, ppid))
    }

    fn lend_signals(&mut self) -> Option<Arc<dyn SignalWords>> {
        self.lend(self.lent | 1 << served::SIGPROCMASK);
        Some(self.thread.clone())
    }

    fn lend_actions(&mut self, lend: bool) {
        let bit = 1 << served::SIGACTION;
        self.lend(if lend { self.lent | bit } else { self.lent & !bit });
    }

    fn lend_end_words(&mut self) -> Option<Arc<dyn EndWords>> {
        self.lend(self.lent | 1 << served::SET_ROBUST_LIST | 1 << served::SET_TID_ADDRESS);
        Some(self.thread.clone())
    }

    fn read(&mut self, addr: u64, buf: &mut [u8]) -> usize {
        if self.captured(addr, buf) == buf.len() {
            return buf.len();
        }
        self.flush();
        self.space.read(addr, buf)
    }

    fn write(&mut self, addr: u64, buf: &[u8]) -> usize {
        self.flush();
        self.forget_captured(addr, buf.len());
        self.space.write(addr, buf)
    }

    fn captured(&mut self, addr: u64, buf: &mut [u8]) -> usize {
        let (from, len) = self.captured;
        let Some(skip) = addr.checked_sub(from).map(|s| s as usize).filter(|&s| s < len) else { return 0 };
        // What lies outside the guest's addresses is not to be had this way either.
        let n = buf.len().min(len - skip);
        if addr.checked_add(n as u64).is_none_or(|end| end > self.space.range().1) {
            return 0;
        }
        self.slot().read(ctl::BUFFER + skip, &mut buf[..n]);
        n
    }

    fn write_later(&mut self, addr: u64, buf: &[u8]) -> bool {
        let Some(at) = self.room(addr, buf.len()) else {
            self.flush();
            return false;
        };
        self.slot().write(at, buf);
        self.add_piece(addr, buf.len(), at);
        true
    }

    fn read_file_later(
        &mut self,
        file: &dyn HostFile,
        offset: u64,
        addr: u64,
        len: usize,
    ) -> Option<Result<usize>> {
        let fd = file.raw_fd();
        let at = self.room(addr, len).filter(|_| fd >= 0)?;
        let done = self.slot().pread(at, len, fd, offset);
        if let Ok(n @ 1..) = done {
            self.add_piece(addr, n, at);
        }
        Some(done)
    }

    fn lend_file(&mut self, lending: &Lending<'_>) -> bool {
        self.put_on_loan(lending)
    }

    fn take_file_back(&mut self, keep: bool) -> Option<Borrowed> {
        self.take_from_loan(keep)
    }

    fn lend_file_again(&mut self) -> bool {
        self.put_on_loan_again()
    }

    fn lend_endless(&mut self, files: &Endless) {
        self.put_endless(files);
    }

    fn endless_used(&mut self) -> EndlessUse {
        self.take_endless_use()
    }

    fn foretell(&mut self, foreseen: &Foreseen<'_>) -> usize {
        self.tell_names(foreseen)
    }

    fn foretold_used(&mut self) -> usize {
        self.forget_names()
    }

    fn tell_queue(&mut self, place: usize, queue: &Queue<'_>) -> Option<Arc<dyn Told>> {
        self.put_queue(place, queue)
    }

    fn tell_end(&mut self, end: &End) -> bool {
        self.put_end(end)
    }

    fn forget_ends(&mut self, fd: Option<i32>) {
        self.drop_ends(fd);
    }

    fn forget_program(&mut self) {
        self.flush();
        self.drop_ends(None);
        self.forget_queues();
        self.captured = (0, 0);
        if self.names_told != 0 {
            self.forget_names();
            self.slot().wipe(names::START, names::END);
        }
        self.slot().wipe(ctl::BUFFER, ctl::BUFFER_END);
    }

    fn flush(&mut self) {
        if self.later.count != 0 && !self.copy_pieces() {
            self.set_result(errno::EFAULT.as_ret());
            self.lost = true;
        }
    }

    fn compare_exchange_u32(&mut self, addr: u64, old: u32, new: u32) -> Result<u32> {
        self.flush();
        let (start, end) = self.space.range();
        if !addr.is_multiple_of(4) {
            return Err(errno::EINVAL);
        }
        if addr < start || addr > end - 4 {
            return Err(errno::EFAULT);
        }
        if self.died.is_some() || self.thread.is_dead() {
            return Err(errno::ESRCH);
        }
        let slot = self.slot();
        slot.set64(ctl::CAS_ADDR, addr);
        slot.set32(ctl::CAS_OLD, old);
        slot.set32(ctl::CAS_NEW, new);
        match self.turn(flag::CAS) {
            Some(kind::CAS) if self.slot().get32(ctl::CAS_FAULT) == 0 => Ok(self.slot().get32(ctl::CAS_OLD)),
            Some(kind::CAS) => Err(errno::EFAULT),
            other => Err(self.astray(other)),
        }
    }

    fn cpu_time_ns(&self) -> (u64, u64) {
        let total = self.space.host_time(&self.thread);
        (self.thread.used_since_birth(total), 0)
    }

    /// To be called on the kernel thread of the task, whose time counts as system time from now on.
    fn cpu_clock(&self) -> Option<Arc<dyn CpuClock>> {
        let clock = process::own_thread_clock();
        Some(Arc::new(TaskClock {
            space: Arc::downgrade(&self.space),
            thread: self.thread.clone(),
            kernel: clock,
            kernel_start: process::clock_ns(clock),
        }))
    }
}

/// Reads the time of a guest thread and of the kernel thread that drives it.
struct TaskClock {
    space: Weak<LinuxSpace>,
    thread: Arc<Thread>,
    kernel: i32,
    kernel_start: u64,
}

impl CpuClock for TaskClock {
    fn cpu_time_ns(&self) -> (u64, u64) {
        let user =
            self.space.upgrade().map_or(0, |s| self.thread.used_since_birth(s.host_time(&self.thread)));
        (user, process::clock_ns(self.kernel).saturating_sub(self.kernel_start))
    }
}

impl Drop for LinuxContext {
    fn drop(&mut self) {
        // The last context of a space takes the stub with it unless somebody else holds the space.
        if Arc::strong_count(&self.space) > 1 && self.died.is_none() && !self.space.stub.is_killed() {
            let stopped = self.ensure_frame().is_ok();
            self.space.retire(self.thread.clone(), stopped);
        }
    }
}
