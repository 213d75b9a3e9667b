//! execve(2): a new program in place of the calling one.
//!
//! Everything that can fail is done before the old program is given up: the file and its interpreter are opened and
//! checked, the strings copied, the credentials computed. Then the other threads end, the address space is emptied (or
//! left to those who share it), and the new program mapped. What fails after that kills the process.

use std::sync::{Arc, atomic::Ordering};

use abi::{
    Signal,
    errno::{EACCES, ELOOP, ENOENT, ENOEXEC},
    fs::AT_FDCWD,
    sched::{ADDR_NO_RANDOMIZE, PER_CLEAR_ON_SETID},
};
use hal::Regs;

pub use super::exec_args::{Strings, limit, read_strings};
use super::{
    TaskCx, cred,
    exec_cred::new_cred,
    exec_image::{Elf, Random, interp_name, load, places, read_at, read_elf, read_interp},
    exec_stack::{Facts, build},
    exit,
    process::ExitStatus,
};
use crate::{
    error::Result,
    mm::{Image, Mm},
    signal,
    vfs::{self, fdtable, file::File, inode::Attr, open::ExecGuard},
};

/// What to run.
pub struct ExecRequest<'a> {
    pub dirfd: i32,
    pub path: &'a [u8],
    /// AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW.
    pub at_flags: u32,
    pub args: Strings,
    pub env: Strings,
}

/// Scripts that may name scripts.
const MAX_DEPTH: u32 = 5;
/// Initial flags register: interrupts on, and the bit that is always one.
const RFLAGS: u64 = 0x202;

/// A program found, with all that can be refused checked.
struct Found {
    file: Arc<File>,
    guard: ExecGuard,
    attr: Attr,
    exe: Elf,
    interp: Option<Elf>,
    args: Strings,
}

/// How the guest names the program: by path, or through its descriptor.
fn name_of(r: &ExecRequest<'_>) -> Vec<u8> {
    if r.dirfd == AT_FDCWD || r.path.starts_with(b"/") {
        r.path.to_vec()
    } else if r.path.is_empty() {
        format!("/dev/fd/{}", r.dirfd).into_bytes()
    } else {
        [format!("/dev/fd/{}/", r.dirfd).as_bytes(), r.path].concat()
    }
}

/// Opens the program, following `#!` lines.
fn find(cx: &TaskCx, r: &mut ExecRequest<'_>, name: &[u8]) -> Result<Found> {
    let mut args = std::mem::take(&mut r.args);
    if args.count == 0 {
        // Programs rely on an argv[0].
        args.push(b"");
    }
    let mut file = vfs::open_exec(&cx.task, r.dirfd, r.path, r.at_flags)?;
    let mut name = name.to_vec();
    // A descriptor that closes on exec cannot be named by an interpreter.
    let unreachable =
        r.dirfd != AT_FDCWD && !r.path.starts_with(b"/") && cx.files.entry(r.dirfd).is_ok_and(|e| e.cloexec);
    for depth in 0.. {
        if depth > MAX_DEPTH {
            return Err(ELOOP);
        }
        let inode = file.inode().ok_or(EACCES)?;
        let guard = ExecGuard::new(&inode)?;
        let mut head = [0; 1024];
        let n = read_at(cx, &file, 0, &mut head)?;
        let head = &head[..n];
        if head.starts_with(b"#!") {
            let s = elf::script(head).ok_or(ENOEXEC)?;
            if unreachable {
                return Err(ENOENT);
            }
            match s.arg {
                Some(a) => args.replace_first(&[s.interp, a, &name]),
                None => args.replace_first(&[s.interp, &name]),
            }
            name = s.interp.to_vec();
            file = vfs::open_exec(&cx.task, AT_FDCWD, s.interp, 0)?;
            continue;
        }
        let exe = read_elf(cx, &file, head)?;
        let interp = match interp_name(cx, &file, head, &exe)? {
            Some(path) => Some(read_interp(cx, &vfs::open_exec(&cx.task, AT_FDCWD, &path, 0)?)?),
            None => None,
        };
        let attr = inode.attr()?;
        return Ok(Found { file, guard, attr, exe, interp, args });
    }
    Err(ELOOP)
}

/// Replaces the program of the running task. On success its registers are those of the new program.
pub fn exec(cx: &mut TaskCx, mut r: ExecRequest<'_>) -> Result<()> {
    let name = name_of(&r);
    let found = find(cx, &mut r, &name)?;
    let new = new_cred(cx, &found.file, &found.attr)?;
    if found.args.size() + r.env.size() > limit(&cx.task) {
        return Err(abi::errno::E2BIG);
    }
    let old_tid = cx.task.tid();
    exit::kill_other_threads(cx)?;
    // From here on there is no way back.
    let done = replace(cx, &name, found, &r.env, new);
    if done.is_err() {
        cx.task.process.group_exit(ExitStatus::Signal { signo: 11, core: false });
        cx.exiting = true;
    } else {
        crate::ptrace::exec_event(cx, old_tid);
    }
    done
}

/// An empty address space: the present one if nobody shares it and no thread of the old program can linger there.
fn empty_space(cx: &mut TaskCx) -> Result<()> {
    // Held by the task twice: in its context and in what others see of it.
    if Arc::strong_count(&cx.mm) == 2 && cx.mm.space.is_reusable() {
        cx.mm.clear()?;
        cx.ctx.set_fpu(None)?;
        cx.ctx.forget_program();
    } else {
        let ctx = cx.machine().host.new_context()?;
        let mm = Mm::new(ctx.space(), cx.machine().memory.clone());
        let old = cx.replace_context(ctx, mm);
        drop(old);
    }
    Ok(())
}

fn replace(
    cx: &mut TaskCx,
    name: &[u8],
    found: Found,
    env: &Strings,
    new: super::exec_cred::NewCred,
) -> Result<()> {
    crate::futex::leave_memory(cx);
    empty_space(cx)?;
    if cx.task.work().contains(super::Work::TRACED) {
        crate::ptrace::watch_space(&cx.task);
    }
    // Before the parent can learn of it, by the end of vfork or by a descriptor that closes: setpgid(2) has refused by then.
    cx.task.process.state.lock().did_exec = true;
    cx.task.release_vfork();

    // Who gains rights chooses no places, and keeps none of the modes that make attacks easier.
    let personality = &cx.task.process.personality;
    if new.secure {
        personality.fetch_and(!PER_CLEAR_ON_SETID, Ordering::Relaxed);
    }
    let fixed = personality.load(Ordering::Relaxed) & ADDR_NO_RANDOMIZE != 0;
    let mut random = Random::new(cx, !fixed);
    let stack_limit = cx.task.process.rlimit(abi::sched::RLIMIT_STACK as usize);
    let places = places(cx.mm.range().1, stack_limit, &mut random);
    let loaded = load(&cx.mm, &found.exe, found.interp.as_ref(), &places, &mut random)?;
    let mut seed = [0; 16];
    cx.machine().host.entropy(&mut seed);
    let facts = Facts {
        loaded: &loaded,
        cred: &new.cred,
        secure: new.secure,
        vdso: cx.mm.space.vdso(),
        host: cx.machine().host.facts(),
        random: seed,
        name,
    };
    // Some lines of the cache at random, as processors share them.
    let top = places.stack_top - if fixed { 0 } else { 16 * u64::from(seed[0] & 0x1f) };
    let stack = build(top, &found.args, env, &facts);
    if !cx.mm.store(stack.sp, &stack.bytes) {
        return Err(abi::errno::EFAULT);
    }
    let comm = comm_of(name);
    cx.mm.set_image(Image {
        exe: Some(found.file.clone()),
        guard: Some(Arc::new(found.guard)),
        start_code: loaded.code.0,
        end_code: loaded.code.1,
        interp: (loaded.interp_base, loaded.interp_end),
        start_data: loaded.data.0,
        end_data: loaded.data.1,
        start_stack: stack.sp,
        arg: stack.arg,
        env: stack.env,
        auxv: stack.auxv,
    });
    settle(cx, new, comm);
    cx.ctx.set_regs(&Regs { rip: loaded.entry, rsp: stack.sp, rflags: RFLAGS, ..Regs::default() });
    cx.regs_final = true;
    Ok(())
}

/// The name of a task: the last component of the path it was started with.
fn comm_of(name: &[u8]) -> Vec<u8> {
    let last = name.rsplit(|b| *b == b'/').next().unwrap_or_default();
    last[..last.len().min(15)].to_vec()
}

/// What of the process does not outlive its program.
fn settle(cx: &mut TaskCx, new: super::exec_cred::NewCred, comm: Vec<u8>) {
    let task = cx.task.clone();
    let process = &task.process;
    *task.comm.lock() = comm;
    close_on_exec(cx);
    cx.take_back_actions();
    signal::exec_reset(process);
    task.signals.lock().alt_stack = Default::default();
    crate::time::exec_timers(&task.machine, process);
    let old = task.cred();
    let changed = *old != new.cred;
    if changed {
        cred::commit(cx, new.cred);
    }
    let same_ids = {
        let c = task.cred();
        c.euid == c.uid && c.egid == c.gid
    };
    {
        let mut s = process.state.lock();
        s.dumpable = u8::from(same_ids && !new.secure);
    }
    if new.secure {
        task.sched.lock().pdeath_signal = 0;
    }
    process.exec_generation.fetch_add(1, Ordering::Relaxed);
    task.exit_signal.store(Signal::SIGCHLD.raw().cast_unsigned(), Ordering::Relaxed);
    if let Some(node) = task.machine.tree.lock().nodes.get_mut(&task.pid()) {
        node.exit_signal = Signal::SIGCHLD.raw().cast_unsigned();
    }
}

fn close_on_exec(cx: &mut TaskCx) {
    cx.unshare_files();
    for file in cx.files.take_cloexec() {
        fdtable::close(&cx.task, &cx.files, file);
    }
}

/// Loads the first program of a machine into a task made by [`super::init::new_init`].
pub fn load_init(cx: &mut TaskCx, path: &[u8], args: &[&[u8]], env: &[&[u8]]) -> Result<()> {
    let request = ExecRequest {
        dirfd: AT_FDCWD,
        path,
        at_flags: 0,
        args: Strings::of(args.iter().copied()),
        env: Strings::of(env.iter().copied()),
    };
    exec(cx, request)
}
