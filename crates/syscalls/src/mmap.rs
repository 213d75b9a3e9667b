//! Memory: mmap, munmap, mprotect, mremap, brk, madvise, msync, mincore, mlock and kin, membarrier, protection keys.

use abi::{
    MapFlags, PAGE_SIZE, Prot,
    errno::{EBADF, EINVAL, ENOMEM, ENOSPC},
    mm::*,
    nr,
};
use kernel::{
    Result,
    mm::{Limits, MapRequest, RemapRequest, VmaFlags},
    task::TaskCx,
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_MMAP, "mmap", mmap),
    Row::new(nr::SYS_MUNMAP, "munmap", munmap),
    Row::new(nr::SYS_MPROTECT, "mprotect", mprotect),
    Row::new(nr::SYS_MREMAP, "mremap", mremap),
    Row::new(nr::SYS_BRK, "brk", brk),
    Row::new(nr::SYS_MADVISE, "madvise", madvise).partial("no MADV_COLLAPSE, no KSM"),
    Row::new(nr::SYS_MSYNC, "msync", msync),
    Row::new(nr::SYS_MINCORE, "mincore", mincore),
    Row::new(nr::SYS_MLOCK, "mlock", mlock).partial("the host may swap the pages"),
    Row::new(nr::SYS_MLOCK2, "mlock2", mlock2).partial("the host may swap the pages"),
    Row::new(nr::SYS_MUNLOCK, "munlock", munlock),
    Row::new(nr::SYS_MLOCKALL, "mlockall", mlockall).partial("the host may swap the pages"),
    Row::new(nr::SYS_MUNLOCKALL, "munlockall", munlockall),
    Row::new(nr::SYS_MEMBARRIER, "membarrier", membarrier).partial("no restartable sequences"),
    Row::new(nr::SYS_PKEY_ALLOC, "pkey_alloc", pkey_alloc).partial("no keys, as on processors without them"),
    Row::new(nr::SYS_PKEY_FREE, "pkey_free", pkey_free).partial("no keys, as on processors without them"),
    Row::new(nr::SYS_PKEY_MPROTECT, "pkey_mprotect", pkey_mprotect).partial("only key -1"),
];

fn prot_of(bits: u32) -> hal::Prot {
    hal::Prot { read: bits & PROT_READ != 0, write: bits & PROT_WRITE != 0, exec: bits & PROT_EXEC != 0 }
}

/// Page sizes (log2) of MAP_HUGETLB that x86 knows; 0 is the usual one.
const HUGE_SHIFTS: [u32; 3] = [0, 21, 30];

fn mmap(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (addr, len, prot, bits, fd, offset) = (a.u64(0), a.u64(1), a.u32(2), a.u32(3), a.i32(4), a.u64(5));
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(EINVAL);
    }
    let flags = MapFlags::from_bits_retain(bits);
    let file = if flags.contains(MapFlags::ANONYMOUS) {
        if flags.contains(MapFlags::HUGETLB) {
            // There are no huge pages to be had.
            let shift = bits >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;
            return Err(if HUGE_SHIFTS.contains(&shift) { ENOMEM } else { EINVAL });
        }
        None
    } else {
        let f = cx.files.get_io(fd).map_err(|_| EBADF)?;
        if flags.contains(MapFlags::HUGETLB) {
            return Err(EINVAL);
        }
        Some(f)
    };
    // Who is not the dynamic linker maps code to look at it: valgrind, emulators.
    if file.is_some() && prot & Prot::EXEC.bits() != 0 && !cx.mm.is_linker(cx.ctx.regs().rip) {
        cx.mm.space.map_plain_texts();
    }
    let request = MapRequest {
        addr,
        len,
        prot: prot_of(prot),
        flags,
        file: file.as_ref(),
        offset,
        limits: Limits::of(&cx.task),
    };
    let machine = cx.machine().clone();
    cx.mm.mmap(&machine, &request)
}

fn munmap(cx: &mut TaskCx, a: Args) -> Result<u64> {
    cx.mm.munmap(a.u64(0), a.u64(1))?;
    Ok(0)
}

fn protect(cx: &mut TaskCx, addr: u64, len: u64, bits: u32) -> Result<u64> {
    let grows = bits & (PROT_GROWSDOWN | PROT_GROWSUP);
    if grows == PROT_GROWSDOWN | PROT_GROWSUP
        || grows == PROT_GROWSUP
        || bits & !(Prot::RWX.bits() | PROT_SEM | grows) != 0
    {
        return Err(EINVAL);
    }
    cx.mm.mprotect(addr, len, prot_of(bits), grows == PROT_GROWSDOWN)?;
    Ok(0)
}

fn mprotect(cx: &mut TaskCx, a: Args) -> Result<u64> {
    protect(cx, a.u64(0), a.u64(1), a.u32(2))
}

fn mremap(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let limits = Limits::of(&cx.task);
    cx.mm.mremap(&RemapRequest {
        old: a.u64(0),
        old_len: a.u64(1),
        new_len: a.u64(2),
        flags: a.u32(3),
        new: a.u64(4),
        limits,
    })
}

fn brk(cx: &mut TaskCx, a: Args) -> Result<u64> {
    Ok(cx.mm.brk(a.u64(0), &Limits::of(&cx.task)))
}

fn madvise(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let privileged = cx.cred().has(abi::cap::CAP_SYS_ADMIN);
    cx.mm.madvise(a.u64(0), a.u64(1), a.i32(2), privileged)?;
    Ok(0)
}

fn msync(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (addr, len, flags) = (a.u64(0), a.u64(1), a.u32(2));
    let both = MS_ASYNC | MS_SYNC;
    if flags & !(both | MS_INVALIDATE) != 0 || flags & both == both || !addr.is_multiple_of(PAGE_SIZE) {
        return Err(EINVAL);
    }
    let (files, result) = cx.mm.msync_files(addr, len, flags & MS_INVALIDATE != 0)?;
    if flags & MS_SYNC != 0 {
        for f in files {
            // Files that cannot be synced have nothing to write.
            match f.ops.sync(true) {
                Ok(()) | Err(EINVAL) => {}
                Err(e) => return Err(e),
            }
        }
    }
    result.map(|()| 0)
}

/// Pages looked at in one step.
const MINCORE_STEP: u64 = 1 << 16;

fn mincore(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (mut addr, len, mut out) = (a.u64(0), a.u64(1), a.u64(2));
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(EINVAL);
    }
    let end = addr.checked_add(page_up(len).ok_or(ENOMEM)?).filter(|e| *e <= TASK_SIZE).ok_or(ENOMEM)?;
    while addr < end {
        let n = (end - addr).min(MINCORE_STEP * PAGE_SIZE);
        let pages = cx.mm.mincore(addr, n)?;
        cx.copy_out(out, &pages)?;
        addr += n;
        out += pages.len() as u64;
    }
    Ok(0)
}

fn lock(cx: &mut TaskCx, a: Args, flags: VmaFlags) -> Result<u64> {
    cx.mm.mlock(a.u64(0), a.u64(1), flags, &Limits::of(&cx.task))?;
    Ok(0)
}

fn mlock(cx: &mut TaskCx, a: Args) -> Result<u64> {
    lock(cx, a, VmaFlags::LOCKED)
}

fn mlock2(cx: &mut TaskCx, a: Args) -> Result<u64> {
    match a.u32(2) {
        0 => lock(cx, a, VmaFlags::LOCKED),
        MLOCK_ONFAULT => lock(cx, a, VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT),
        _ => Err(EINVAL),
    }
}

fn munlock(cx: &mut TaskCx, a: Args) -> Result<u64> {
    lock(cx, a, VmaFlags::empty())
}

fn mlockall(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let bits = a.u32(0);
    if bits == 0 || bits & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 || bits == MCL_ONFAULT {
        return Err(EINVAL);
    }
    let mut flags = VmaFlags::LOCKED;
    flags.set(VmaFlags::LOCK_ON_FAULT, bits & MCL_ONFAULT != 0);
    let now = (bits & MCL_CURRENT != 0).then_some(flags);
    let later = if bits & MCL_FUTURE != 0 { flags } else { VmaFlags::empty() };
    cx.mm.mlockall(now, later, &Limits::of(&cx.task))?;
    Ok(0)
}

fn munlockall(cx: &mut TaskCx, _: Args) -> Result<u64> {
    cx.mm.mlockall(Some(VmaFlags::empty()), VmaFlags::empty(), &Limits::NONE)?;
    Ok(0)
}

/// Commands that the host does for one space, or for all there are.
const BARRIERS: u32 = MEMBARRIER_CMD_GLOBAL
    | MEMBARRIER_CMD_PRIVATE_EXPEDITED
    | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED
    | MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE
    | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE;
/// Commands that are answered by a stronger one, as their registration would be the host's and not the guest's.
const GLOBAL_EXPEDITED: u32 = MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;

fn membarrier(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (command, flags) = (a.u32(0), a.u32(1));
    if flags != 0 {
        return Err(EINVAL);
    }
    let offered = cx.mm.space.membarrier(MEMBARRIER_CMD_QUERY)? & BARRIERS;
    let global = if offered & MEMBARRIER_CMD_GLOBAL != 0 { GLOBAL_EXPEDITED } else { 0 };
    match command {
        MEMBARRIER_CMD_QUERY => Ok(u64::from(offered | global)),
        MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED if global != 0 => Ok(0),
        MEMBARRIER_CMD_GLOBAL_EXPEDITED if global != 0 => {
            cx.mm.space.membarrier(MEMBARRIER_CMD_GLOBAL).map(u64::from)
        }
        // One command at a time.
        c if c.is_power_of_two() && c & offered != 0 => cx.mm.space.membarrier(c).map(u64::from),
        _ => Err(EINVAL),
    }
}

fn pkey_alloc(_: &mut TaskCx, a: Args) -> Result<u64> {
    if a.u64(0) != 0 || a.u64(1) & !u64::from(PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE) != 0 {
        return Err(EINVAL);
    }
    Err(ENOSPC)
}

fn pkey_free(_: &mut TaskCx, _: Args) -> Result<u64> {
    Err(EINVAL)
}

fn pkey_mprotect(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.i32(3) != -1 {
        return Err(EINVAL);
    }
    protect(cx, a.u64(0), a.u64(1), a.u32(2))
}
