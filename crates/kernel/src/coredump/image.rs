//! What a core dump holds.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use abi::{SigInfo, Signal};
use elf::coredump::{self as core, Load, MappedFile, PrPsInfo, PrStatus};
use hal::PAGE_SIZE;

use super::registers;
use crate::{
    error::{ERESTART, Result},
    io::BufSource,
    mm::{MapLine, Mm, VmaFlags},
    ptrace,
    task::{TaskCx, Work, exec_image::read_at},
    vfs::{self, file::File},
};

// Bits of /proc/PID/coredump_filter.
const ANON_PRIVATE: u32 = 1;
const ANON_SHARED: u32 = 1 << 1;
const FILE_PRIVATE: u32 = 1 << 2;
const FILE_SHARED: u32 = 1 << 3;
const ELF_HEADERS: u32 = 1 << 4;

/// Bytes moved at a time.
const CHUNK: u64 = 1 << 20;
/// In mappings of this size and more, pages that the host does not hold are not asked for: there may be terabytes.
const SPARSE: u64 = 64 << 20;
/// Most bytes of file names in the note about them (as Linux).
const FILES_MAX: usize = 4 << 20;
/// Arguments shown.
const ARGS_MAX: u64 = 80;

/// What a thread leaves of itself.
pub(super) struct Thread {
    pub(super) comm: Vec<u8>,
    status: PrStatus,
    fpu: Vec<u8>,
}

impl Thread {
    /// The running task.
    pub(super) fn of(cx: &mut TaskCx) -> Thread {
        let task = cx.task.clone();
        let regs = registers(cx);
        let fpu = cx.ctx.fpu().unwrap_or_default();
        let (pending, blocked) = {
            let s = task.signals.lock();
            (s.pending.set(), s.mask.get())
        };
        let usage = task.usage();
        let status = PrStatus {
            pending: pending.bits(),
            blocked: blocked.bits(),
            pid: task.tid(),
            times: [usage.user_ns, usage.system_ns, 0, 0],
            regs,
            ..PrStatus::default()
        };
        Thread { comm: task.comm.lock().clone(), status, fpu }
    }
}

/// Headers, notes, and the plan of what memory follows.
pub(super) struct Image {
    head: Vec<u8>,
    loads: Vec<Load>,
}

impl Image {
    pub(super) fn new(cx: &TaskCx, s: Signal, info: &SigInfo, me: &Thread, others: &[Thread]) -> Image {
        let maps = cx.mm.maps();
        let filter = cx.task.process.coredump_filter.load(Ordering::Relaxed);
        let mut loads: Vec<Load> = maps.iter().map(|m| load(cx, m, filter)).collect();
        loads.truncate(core::LOADS_MAX);
        let notes = notes(cx, s, info, me, others, &maps);
        Image { head: core::headers(&notes, &loads), loads }
    }

    /// Writes it, up to `limit` bytes that are no holes.
    pub(super) fn write(&self, cx: &TaskCx, file: &Arc<File>, limit: u64, abort: &AtomicBool) -> Result<()> {
        let mut out = Out { cx, file, pos: 0, left: limit, abort };
        if !out.put(&self.head)? {
            return Ok(());
        }
        for l in self.loads.iter().filter(|l| l.kept > 0) {
            if !out.memory(&cx.mm, l)? {
                break;
            }
        }
        // What ends in a hole is as long as it says.
        vfs::attr::truncate_file(&cx.task, file, out.pos)
    }
}

/// The file being written.
struct Out<'a> {
    cx: &'a TaskCx,
    file: &'a Arc<File>,
    pos: u64,
    left: u64,
    abort: &'a AtomicBool,
}

impl Out<'_> {
    /// False if the limit is reached: the dump is cut there.
    fn put(&mut self, mut data: &[u8]) -> Result<bool> {
        let fits = (data.len() as u64) <= self.left;
        data = &data[..data.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))];
        self.left -= data.len() as u64;
        while !data.is_empty() {
            let n = self.file.ops.write(self.file, &self.cx.task, &mut BufSource(data), self.pos)?;
            if n == 0 {
                return Err(abi::errno::EIO);
            }
            self.pos += n as u64;
            data = &data[n..];
        }
        Ok(fits)
    }

    fn memory(&mut self, mm: &Mm, l: &Load) -> Result<bool> {
        let sparse = l.kept >= SPARSE;
        let mut buf = vec![0; CHUNK as usize];
        let mut held = vec![0; (CHUNK / PAGE_SIZE) as usize];
        let end = l.start + l.kept;
        let mut at = l.start;
        while at < end {
            if self.abort.load(Ordering::SeqCst) {
                return Err(ERESTART);
            }
            if self.cx.task.work().contains(Work::FREEZE) {
                self.cx.machine().freezer.park(&self.cx.task);
            }
            let len = CHUNK.min(end - at) as usize;
            let pages = len / PAGE_SIZE as usize;
            let absent = sparse
                && mm.space.mincore(at, &mut held[..pages]).is_ok()
                && held[..pages].iter().all(|p| p & 1 == 0);
            if absent {
                self.pos += len as u64;
            } else {
                fetch(mm, at, &mut buf[..len]);
                for page in buf[..len].chunks(PAGE_SIZE as usize) {
                    if page.iter().all(|b| *b == 0) {
                        self.pos += page.len() as u64;
                    } else if !self.put(page)? {
                        return Ok(false);
                    }
                }
            }
            at += len as u64;
        }
        Ok(true)
    }
}

/// Copies memory in; what cannot be read is zero.
fn fetch(mm: &Mm, at: u64, buf: &mut [u8]) {
    let mut done = mm.space.read_forced(at, buf);
    while done < buf.len() {
        let from = at + done as u64;
        let n = ((PAGE_SIZE - from % PAGE_SIZE) as usize).min(buf.len() - done);
        let got = ptrace::transfer(mm, from, &mut buf[done..done + n], false, true);
        buf[done + got..done + n].fill(0);
        done += n;
        if done < buf.len() {
            done += mm.space.read_forced(at + done as u64, &mut buf[done..]);
        }
    }
}

/// How much of a mapping is dumped.
fn load(cx: &TaskCx, m: &MapLine, filter: u32) -> Load {
    let on = |bit: u32| filter & bit != 0;
    let all = m.end - m.start;
    let kept = match &m.file {
        _ if m.flags.contains(VmaFlags::DONTDUMP) => 0,
        None if m.shared => all * u64::from(on(ANON_SHARED)),
        None => all * u64::from(on(ANON_PRIVATE)),
        Some(f) if m.shared => {
            let named = f.path.inode().and_then(|i| i.attr()).is_ok_and(|a| a.nlink > 0);
            all * u64::from(if named { on(FILE_SHARED) } else { on(ANON_SHARED) })
        }
        Some(f) => {
            // A private page that was written is no longer the file's.
            if on(FILE_PRIVATE) || on(ANON_PRIVATE) && (m.prot.write || differs(cx, m, f)) {
                all
            } else if on(ELF_HEADERS) && m.offset == 0 && m.prot.read && begins_elf(&cx.mm, m.start) {
                PAGE_SIZE
            } else {
                0
            }
        }
    };
    Load { start: m.start, end: m.end, read: m.prot.read, write: m.prot.write, exec: m.prot.exec, kept }
}

fn begins_elf(mm: &Mm, at: u64) -> bool {
    let mut magic = [0; 4];
    mm.space.read_forced(at, &mut magic) == 4 && magic == *b"\x7fELF"
}

/// The memory of a private mapping is not what its file holds.
fn differs(cx: &TaskCx, m: &MapLine, file: &File) -> bool {
    let (mut here, mut there) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
    let mut at = m.start;
    while at < m.end {
        let len = CHUNK.min(m.end - at) as usize;
        let Ok(n) = read_at(cx, file, m.offset + (at - m.start), &mut there[..len]) else { return true };
        // Beyond the end of the file the last page is zero, and further ones cannot be touched.
        let used = n.next_multiple_of(PAGE_SIZE as usize).min(len);
        there[n..used].fill(0);
        fetch(&cx.mm, at, &mut here[..used]);
        if here[..used] != there[..used] {
            return true;
        }
        if n < len {
            return false;
        }
        at += len as u64;
    }
    false
}

fn notes(
    cx: &TaskCx,
    s: Signal,
    info: &SigInfo,
    me: &Thread,
    others: &[Thread],
    maps: &[MapLine],
) -> Vec<u8> {
    let task = &cx.task;
    let (ppid, pgrp, sid) = {
        let tree = cx.machine().tree.lock();
        tree.nodes.get(&task.pid()).map_or((0, 0, 0), |n| (n.parent, n.pgid, n.sid))
    };
    let cred = task.cred();
    let image = cx.mm.image();
    let mut args = vec![0; image.arg.1.saturating_sub(image.arg.0).min(ARGS_MAX) as usize];
    let n = cx.mm.space.read(image.arg.0, &mut args);
    args.truncate(n);
    let args: Vec<u8> = args.into_iter().map(|b| if b == 0 { b' ' } else { b }).collect();
    let mut out = Vec::new();
    let thread = |out: &mut Vec<u8>, t: &Thread| {
        let status = PrStatus { ppid, pgrp, sid, cursig: s.raw() as i16, ..t.status };
        core::note(out, "CORE", core::NT_PRSTATUS, &status.encode());
    };
    let vector = |out: &mut Vec<u8>, t: &Thread| {
        if let Ok(f) = ptrace::fp_image(&t.fpu) {
            core::note(out, "CORE", core::NT_FPREGSET, &f);
        }
        if let Ok(x) = ptrace::xstate_of(&t.fpu) {
            core::note(out, "LINUX", core::NT_X86_XSTATE, &x);
        }
    };
    // Debuggers take the first thread for the one that died.
    let status = PrStatus { signo: info.signo, code: info.code, errno: info.errno, ..me.status };
    thread(&mut out, &Thread { comm: Vec::new(), status, fpu: Vec::new() });
    let process = PrPsInfo {
        nice: task.sched.lock().nice.clamp(-20, 19) as i8,
        uid: cred.uid,
        gid: cred.gid,
        pid: task.pid(),
        ppid,
        pgrp,
        sid,
        name: &me.comm,
        args: &args,
    };
    core::note(&mut out, "CORE", core::NT_PRPSINFO, &process.encode());
    core::note(&mut out, "CORE", core::NT_SIGINFO, &info.encode());
    core::note(&mut out, "CORE", core::NT_AUXV, &image.auxv);
    let files = files(cx, maps);
    if !files.is_empty() {
        core::note(&mut out, "CORE", core::NT_FILE, &core::files(&files));
    }
    vector(&mut out, me);
    for t in others {
        thread(&mut out, t);
        vector(&mut out, t);
    }
    out
}

fn files(cx: &TaskCx, maps: &[MapLine]) -> Vec<MappedFile> {
    let root = cx.task.fs().root();
    let mut room = FILES_MAX;
    let named = maps.iter().filter_map(|m| {
        let name = m.file.as_ref()?.path.display(&root);
        Some(MappedFile { start: m.start, end: m.end, offset: m.offset, name })
    });
    named
        .take_while(|f| {
            room = room.saturating_sub(f.name.len() + 25);
            room > 0
        })
        .collect()
}
