//! The x86-64 signal frame on the guest's stack (sigreturn(2), sigaltstack(2)).

use abi::{
    SigAction, SigContext, SigInfo, SigSet, SigStack, Signal, UContext,
    errno::{EFAULT, EINVAL, ENOMEM, EPERM},
    sigframe::{
        FIX_EFLAGS, FP_SW_OFFSET, FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2_SIZE, FRAME_INFO, FRAME_UC, FXSAVE_SIZE,
        FpxSwBytes, RED_ZONE, UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS, USER_CS, USER_SS,
        encode_frame, place,
    },
    signal::{MINSIGSTKSZ, SA_ONSTACK, SA_RESTORER, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK},
};
use hal::Regs;

use super::{AltStack, set_mask};
use crate::{error::Result, task::TaskCx};

/// First address above what a program can run at.
const ADDRESS_END: u64 = 1 << 47;

impl AltStack {
    fn enabled(&self) -> bool {
        self.size != 0
    }
    /// The stack pointer is on it. A stack that disarms itself is never in use.
    fn contains(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && sp > self.sp && sp - self.sp <= self.size
    }
    /// As sigaltstack(2) shows it to a program whose stack pointer is `sp`.
    fn show(&self, sp: u64) -> SigStack {
        let state = if !self.enabled() {
            SS_DISABLE
        } else if self.contains(sp) {
            SS_ONSTACK
        } else {
            0
        };
        SigStack { sp: self.sp, flags: state | self.flags & SS_AUTODISARM, size: self.size }
    }
}

/// The alternate stack as sigaltstack(2) reports it.
pub fn alt_stack(cx: &mut TaskCx) -> SigStack {
    let sp = cx.ctx.regs().rsp;
    cx.task.signals.lock().alt_stack.show(sp)
}

/// sigaltstack(2). EPERM while it is in use, EINVAL for unknown flags, ENOMEM if it is too small.
pub fn set_alt_stack(cx: &mut TaskCx, new: SigStack) -> Result<()> {
    let sp = cx.ctx.regs().rsp;
    set_alt_stack_at(cx, new, sp)
}

fn set_alt_stack_at(cx: &TaskCx, new: SigStack, sp: u64) -> Result<()> {
    let mut s = cx.task.signals.lock();
    if s.alt_stack.enabled() && s.alt_stack.contains(sp) {
        return Err(EPERM);
    }
    let mode = new.flags & !SS_AUTODISARM;
    if !matches!(mode, 0 | SS_ONSTACK | SS_DISABLE) {
        return Err(EINVAL);
    }
    s.alt_stack = if mode == SS_DISABLE {
        AltStack { sp: 0, size: 0, flags: new.flags & SS_AUTODISARM }
    } else {
        if new.size < MINSIGSTKSZ {
            return Err(ENOMEM);
        }
        AltStack { sp: new.sp, size: new.size, flags: new.flags & SS_AUTODISARM }
    };
    Ok(())
}

fn to_context(r: &Regs, mask: SigSet, cx: &TaskCx) -> SigContext {
    let fault = cx.last_fault.unwrap_or_default();
    SigContext {
        r8: r.r8,
        r9: r.r9,
        r10: r.r10,
        r11: r.r11,
        r12: r.r12,
        r13: r.r13,
        r14: r.r14,
        r15: r.r15,
        rdi: r.rdi,
        rsi: r.rsi,
        rbp: r.rbp,
        rbx: r.rbx,
        rdx: r.rdx,
        rax: r.rax,
        rcx: r.rcx,
        rsp: r.rsp,
        rip: r.rip,
        eflags: r.rflags,
        err: fault.error,
        trapno: fault.trapno,
        oldmask: mask.bits(),
        cr2: fault.addr,
        fpstate: 0,
        cs: USER_CS,
        gs: 0,
        fs: 0,
        ss: USER_SS,
    }
}

/// Puts a frame for `info` on the guest's stack and makes `regs` the handler's. EFAULT if the stack cannot take it.
pub(super) fn push(
    cx: &mut TaskCx,
    s: Signal,
    info: &SigInfo,
    action: &SigAction,
    old_mask: SigSet,
    interrupted: &Regs,
) -> Result<()> {
    if action.flags & SA_RESTORER == 0 {
        return Err(EFAULT);
    }
    let alt = cx.task.signals.lock().alt_stack;
    let on_alt = alt.contains(interrupted.rsp);
    let enters_alt = action.flags & SA_ONSTACK != 0 && alt.enabled() && !on_alt;
    let top = if enters_alt { alt.sp.wrapping_add(alt.size) } else { interrupted.rsp.wrapping_sub(RED_ZONE) };
    let fpu = cx.ctx.fpu()?;
    let at = place(top, fpu.len() as u64).ok_or(EFAULT)?;
    // Running over the end of the alternate stack is found here, not where it does damage.
    if (enters_alt || on_alt) && at.frame <= alt.sp {
        return Err(EFAULT);
    }
    let mut context = to_context(interrupted, old_mask, cx);
    context.fpstate = at.fpstate;
    let xstate = if fpu.len() > FXSAVE_SIZE { UC_FP_XSTATE } else { 0 };
    let uc = UContext {
        flags: xstate | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
        link: 0,
        stack: alt.show(interrupted.rsp),
        mcontext: context,
        sigmask: old_mask,
    };
    cx.copy_out(at.fpstate, &fpu)?;
    cx.copy_out(at.frame, &encode_frame(action.restorer, &uc, info))?;
    if alt.flags & SS_AUTODISARM != 0 {
        cx.task.signals.lock().alt_stack = AltStack::default();
    }
    let regs = Regs {
        rip: action.handler,
        rsp: at.frame,
        rdi: u64::from(s.raw().cast_unsigned()),
        rsi: at.frame + FRAME_INFO as u64,
        rdx: at.frame + FRAME_UC as u64,
        rax: 0,
        // Direction, trap and resume flags are cleared for the handler.
        rflags: interrupted.rflags & !(0x400 | 0x100 | 0x1_0000),
        ..*interrupted
    };
    cx.ctx.set_regs(&regs);
    // Handlers begin with fresh floating-point state.
    cx.ctx.set_fpu(None)
}

/// Takes the frame below the stack pointer apart and goes on where it says. EFAULT, EINVAL for a frame that cannot be.
pub(super) fn pop(cx: &mut TaskCx) -> Result<()> {
    let now = cx.ctx.regs();
    // The handler's `ret` has taken the return address off.
    let uc = UContext::decode(&cx.read_array(now.rsp)?);
    let c = uc.mcontext;
    if c.rip >= ADDRESS_END {
        return Err(EFAULT);
    }
    let fpu = if c.fpstate == 0 { None } else { Some(read_fpu(cx, c.fpstate)?) };
    cx.ctx.set_fpu(fpu.as_deref())?;
    cx.ctx.set_regs(&Regs {
        rax: c.rax,
        rbx: c.rbx,
        rcx: c.rcx,
        rdx: c.rdx,
        rsi: c.rsi,
        rdi: c.rdi,
        rbp: c.rbp,
        rsp: c.rsp,
        r8: c.r8,
        r9: c.r9,
        r10: c.r10,
        r11: c.r11,
        r12: c.r12,
        r13: c.r13,
        r14: c.r14,
        r15: c.r15,
        rip: c.rip,
        rflags: now.rflags & !FIX_EFLAGS | c.eflags & FIX_EFLAGS,
        fs_base: now.fs_base,
        gs_base: now.gs_base,
    });
    set_mask(&cx.task, uc.sigmask);
    // A stack that cannot be set again is left as it is, as in Linux.
    let _ = set_alt_stack_at(cx, uc.stack, c.rsp);
    Ok(())
}

/// The vector state of a frame: an extended one if its marks say so, else the old 512 bytes.
fn read_fpu(cx: &mut TaskCx, addr: u64) -> Result<Vec<u8>> {
    let legacy: [u8; FXSAVE_SIZE] = cx.read_array(addr)?;
    let mut sw = [0; FpxSwBytes::SIZE];
    sw.copy_from_slice(&legacy[FP_SW_OFFSET..FP_SW_OFFSET + FpxSwBytes::SIZE]);
    let sw = FpxSwBytes::decode(&sw);
    let most = cx.machine().host.facts().xstate_size as usize;
    let size = sw.xstate_size as usize;
    if sw.magic1 != FP_XSTATE_MAGIC1 || size <= FXSAVE_SIZE || size > most {
        return Ok(legacy.to_vec());
    }
    let mut image = vec![0; size + FP_XSTATE_MAGIC2_SIZE];
    cx.copy_in(addr, &mut image)?;
    Ok(image)
}
