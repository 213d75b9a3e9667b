//! Registers of a stopped tracee.

use abi::{
    errno::{EINVAL, EIO},
    ptrace::*,
    sigframe::{FP_SW_OFFSET, FP_XSTATE_MAGIC2_SIZE, FXSAVE_SIZE, USER_CS, USER_SS},
};
use hal::Regs;

use super::{
    Kind,
    stop::{stopped, with_stopped},
};
use crate::{
    error::Result,
    task::{Pid, TaskCx},
};

/// Flags that a tracer may change: those of arithmetic, direction, trap, nested task, resume, alignment.
const FLAGS: u64 = 0x5_4dd5;
/// First address above what a program can run at.
const ADDRESS_END: u64 = 1 << 47;
/// Of the software bytes: the features in the image, where ptrace has them and where signal frames do.
const SHOWN_FEATURES: usize = FP_SW_OFFSET;
const FRAME_FEATURES: usize = FP_SW_OFFSET + 8;

/// The register file of the running task as its tracer sees it.
pub(crate) fn shown(cx: &mut TaskCx) -> UserRegs {
    let r = cx.ctx.regs();
    let mut u = [0; USER_REGS];
    (u[R15], u[R14], u[R13], u[R12]) = (r.r15, r.r14, r.r13, r.r12);
    (u[RBP], u[RBX], u[R11], u[R10]) = (r.rbp, r.rbx, r.r11, r.r10);
    (u[R9], u[R8], u[RAX], u[RCX]) = (r.r9, r.r8, r.rax, r.rcx);
    (u[RDX], u[RSI], u[RDI], u[RIP]) = (r.rdx, r.rsi, r.rdi, r.rip);
    (u[CS], u[EFLAGS], u[RSP], u[SS]) = (u64::from(USER_CS), r.rflags, r.rsp, u64::from(USER_SS));
    (u[FS_BASE], u[GS_BASE]) = (r.fs_base, r.gs_base);
    u[ORIG_RAX] = u64::MAX;
    if let Some((nr, rax)) = cx.traced_call {
        (u[ORIG_RAX], u[RAX]) = (nr, rax.unwrap_or(r.rax));
    }
    u
}

/// Makes what the tracer wrote the task's registers.
pub(super) fn take_over(cx: &mut TaskCx, kind: Kind, u: &UserRegs) {
    let mut r = Regs {
        rax: u[RAX],
        rbx: u[RBX],
        rcx: u[RCX],
        rdx: u[RDX],
        rsi: u[RSI],
        rdi: u[RDI],
        rbp: u[RBP],
        rsp: u[RSP],
        r8: u[R8],
        r9: u[R9],
        r10: u[R10],
        r11: u[R11],
        r12: u[R12],
        r13: u[R13],
        r14: u[R14],
        r15: u[R15],
        rip: u[RIP],
        rflags: u[EFLAGS],
        fs_base: u[FS_BASE],
        gs_base: u[GS_BASE],
    };
    let restart = [SHOWN_RESTARTSYS, SHOWN_RESTARTNOINTR, SHOWN_RESTARTNOHAND, SHOWN_RESTART_BLOCK];
    if matches!(kind, Kind::Signal | Kind::Group) {
        if u[ORIG_RAX].cast_signed() >= 0 && restart.contains(&u[RAX].cast_signed()) {
            // Registers of an interrupted call: it is begun again.
            (r.rip, r.rax) = (r.rip.wrapping_sub(2), u[ORIG_RAX]);
        }
        // Whatever call was interrupted, these registers count now.
        cx.call_given_up = true;
    }
    cx.ctx.set_regs(&r);
}

/// PTRACE_GETREGS.
pub fn regs(cx: &TaskCx, tid: Pid) -> Result<UserRegs> {
    stopped(cx, tid, |s| Ok(s.regs))
}

/// PTRACE_SETREGS. EIO for what the processor could not run with.
pub fn set_regs(cx: &TaskCx, tid: Pid, new: &UserRegs) -> Result<()> {
    stopped(cx, tid, |s| {
        let mut n = *new;
        let bad = |sel: u64| sel & 3 != 3;
        if bad(n[CS]) || bad(n[SS]) || n[RIP] >= ADDRESS_END {
            return Err(EIO);
        }
        if n[FS_BASE] >= ADDRESS_END || n[GS_BASE] >= ADDRESS_END {
            return Err(EIO);
        }
        n[EFLAGS] = s.regs[EFLAGS] & !FLAGS | n[EFLAGS] & FLAGS;
        (n[CS], n[SS]) = (s.regs[CS], s.regs[SS]);
        n[GS_BASE + 1..].copy_from_slice(&s.regs[GS_BASE + 1..]);
        s.regs = n;
        Ok(())
    })
}

/// PTRACE_PEEKUSER: a word of `struct user`. EIO outside of it.
pub fn user_word(cx: &TaskCx, tid: Pid, at: u64) -> Result<u64> {
    with_stopped(cx, tid, |t| {
        if !at.is_multiple_of(8) || at >= USER_SIZE {
            return Err(EIO);
        }
        let i = (at / 8) as usize;
        if at >= USER_DEBUGREG {
            return Ok(t.debug.get(i - (USER_DEBUGREG / 8) as usize));
        }
        Ok(t.stop.as_ref().and_then(|s| s.regs.get(i)).copied().unwrap_or(0))
    })
}

/// PTRACE_POKEUSER: a register, or a debug register (EINVAL for a watch that cannot be had).
pub fn set_user_word(cx: &TaskCx, tid: Pid, at: u64, v: u64) -> Result<()> {
    if at.is_multiple_of(8) && (USER_DEBUGREG..USER_SIZE).contains(&at) {
        let i = ((at - USER_DEBUGREG) / 8) as usize;
        return with_stopped(cx, tid, |t| t.debug.set(i, v));
    }
    let mut r = regs(cx, tid)?;
    let i = (at / 8) as usize;
    if !at.is_multiple_of(8) || i >= USER_REGS {
        return Err(EIO);
    }
    r[i] = v;
    set_regs(cx, tid, &r)
}

/// PTRACE_GETFPREGS: the image of FXSAVE.
pub fn fp_regs(cx: &TaskCx, tid: Pid) -> Result<Vec<u8>> {
    stopped(cx, tid, |s| fp_image(&s.fpu))
}

/// The image of FXSAVE in the state of a signal frame.
pub(crate) fn fp_image(fpu: &[u8]) -> Result<Vec<u8>> {
    let mut b = fpu.get(..FXSAVE_SIZE).ok_or(EIO)?.to_vec();
    b[FP_SW_OFFSET..].fill(0);
    Ok(b)
}

/// PTRACE_SETFPREGS. EINVAL for an image that the processor would refuse.
pub fn set_fp_regs(cx: &TaskCx, tid: Pid, image: &[u8]) -> Result<()> {
    stopped(cx, tid, |s| {
        let new = image.get(..FP_SW_OFFSET).ok_or(EINVAL)?;
        if s.fpu.len() < FXSAVE_SIZE {
            return Err(EIO);
        }
        s.fpu[..FP_SW_OFFSET].copy_from_slice(new);
        if s.fpu.len() > FXSAVE_SIZE + 8 {
            // The legacy parts are there now.
            s.fpu[FXSAVE_SIZE] |= 3;
        }
        s.fpu_changed = true;
        Ok(())
    })
}

/// The extended state as register sets and core dumps have it, from that of a signal frame.
pub(crate) fn xstate_of(fpu: &[u8]) -> Result<Vec<u8>> {
    if fpu.len() <= FXSAVE_SIZE + 64 {
        return Err(EINVAL);
    }
    let mut b = fpu[..fpu.len() - FP_XSTATE_MAGIC2_SIZE].to_vec();
    b.copy_within(FRAME_FEATURES..FRAME_FEATURES + 8, SHOWN_FEATURES);
    b[SHOWN_FEATURES + 8..FXSAVE_SIZE].fill(0);
    Ok(b)
}

/// The set NT_X86_XSTATE.
pub fn xstate(cx: &TaskCx, tid: Pid) -> Result<Vec<u8>> {
    stopped(cx, tid, |s| xstate_of(&s.fpu))
}

/// Replaces the set NT_X86_XSTATE. EINVAL for an image of another size or with features that are not there.
pub fn set_xstate(cx: &TaskCx, tid: Pid, image: &[u8]) -> Result<()> {
    stopped(cx, tid, |s| {
        let body = s.fpu.len().checked_sub(FP_XSTATE_MAGIC2_SIZE).ok_or(EIO)?;
        if image.len() != body || body <= FXSAVE_SIZE + 64 {
            return Err(EINVAL);
        }
        let (have, want) = (&s.fpu[FRAME_FEATURES..FRAME_FEATURES + 8], &image[FXSAVE_SIZE..FXSAVE_SIZE + 8]);
        if want.iter().zip(have).any(|(w, h)| w & !h != 0) {
            return Err(EINVAL);
        }
        s.fpu[..FP_SW_OFFSET].copy_from_slice(&image[..FP_SW_OFFSET]);
        s.fpu[FXSAVE_SIZE..body].copy_from_slice(&image[FXSAVE_SIZE..]);
        s.fpu_changed = true;
        Ok(())
    })
}
