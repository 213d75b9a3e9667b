//! Odds and ends of a process: prctl, arch_prctl, personality.

use abi::{
    cap::*,
    errno::{EINVAL, EPERM},
    nr,
    sched::*,
};
use kernel::{
    Result,
    futex::EndWord,
    task::{Cred, TaskCx},
};
use std::sync::atomic::Ordering;

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_PRCTL, "prctl", prctl).partial("options that other families or architectures own"),
    Row::new(nr::SYS_ARCH_PRCTL, "arch_prctl", arch_prctl).partial("thread pointers only"),
    Row::new(nr::SYS_PERSONALITY, "personality", personality).partial("Linux only"),
];

fn flag(v: bool) -> Result<u64> {
    Ok(u64::from(v))
}

fn prctl(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let zero = |from: usize| (from..5).all(|i| a.u64(i) == 0);
    let arg = a.u64(1);
    match a.i32(0) {
        PR_SET_PDEATHSIG => {
            let s = u8::try_from(arg).ok().filter(|s| *s <= 64).ok_or(EINVAL)?;
            cx.task.sched.lock().pdeath_signal = s;
            Ok(0)
        }
        PR_GET_PDEATHSIG => {
            let s = cx.task.sched.lock().pdeath_signal;
            cx.write_u32(arg, u32::from(s))?;
            Ok(0)
        }
        PR_GET_DUMPABLE => Ok(u64::from(cx.task.process.state.lock().dumpable)),
        PR_SET_DUMPABLE => {
            if arg > 1 {
                return Err(EINVAL);
            }
            cx.task.process.state.lock().dumpable = u8::from(arg == 1);
            Ok(0)
        }
        PR_GET_KEEPCAPS => flag(cx.task.sched.lock().keep_caps),
        PR_SET_KEEPCAPS => {
            if arg > 1 {
                return Err(EINVAL);
            }
            if cx.cred().securebits & SECBIT_KEEP_CAPS_LOCKED != 0 {
                return Err(EPERM);
            }
            cx.task.sched.lock().keep_caps = arg == 1;
            Ok(0)
        }
        PR_SET_NAME => {
            // Up to 15 bytes; the rest is cut off.
            let mut name = Vec::with_capacity(TASK_COMM_LEN);
            for i in 0..TASK_COMM_LEN as u64 - 1 {
                let [b] = cx.read_array(arg.wrapping_add(i))?;
                if b == 0 {
                    break;
                }
                name.push(b);
            }
            *cx.task.comm.lock() = name;
            Ok(0)
        }
        PR_GET_NAME => {
            let mut out = [0; TASK_COMM_LEN];
            {
                let name = cx.task.comm.lock();
                let n = name.len().min(TASK_COMM_LEN - 1);
                out[..n].copy_from_slice(&name[..n]);
            }
            cx.copy_out(arg, &out)?;
            Ok(0)
        }
        PR_GET_SECCOMP => Ok(u64::from(cx.task.seccomp.mode())),
        PR_SET_SECCOMP => crate::seccomp::set_by_prctl(cx, arg, a.u64(2)),
        PR_CAPBSET_READ => {
            let cap = u32::try_from(arg).ok().filter(|c| *c <= CAP_LAST_CAP).ok_or(EINVAL)?;
            flag(cx.cred().cap_bounding >> cap & 1 != 0)
        }
        PR_CAPBSET_DROP => capbset_drop(cx, arg),
        PR_GET_SECUREBITS => Ok(u64::from(cx.cred().securebits)),
        PR_SET_SECUREBITS => set_securebits(cx, arg),
        PR_SET_TIMERSLACK => {
            // 0 asks for the default.
            cx.task.sched.lock().timer_slack_ns = if arg == 0 { 50_000 } else { arg };
            Ok(0)
        }
        PR_GET_TIMERSLACK => Ok(cx.task.sched.lock().timer_slack_ns),
        PR_GET_TIMING => Ok(0),
        PR_SET_TIMING => {
            if arg == 0 {
                Ok(0)
            } else {
                Err(EINVAL)
            }
        }
        PR_GET_TSC => {
            cx.write_u32(arg, PR_TSC_ENABLE.cast_unsigned())?;
            Ok(0)
        }
        PR_SET_TSC => {
            if arg == u64::from(PR_TSC_ENABLE.cast_unsigned()) {
                Ok(0)
            } else {
                Err(EINVAL)
            }
        }
        PR_SET_CHILD_SUBREAPER => {
            cx.task.process.state.lock().child_subreaper = arg != 0;
            Ok(0)
        }
        PR_GET_CHILD_SUBREAPER => {
            let v = cx.task.process.state.lock().child_subreaper;
            cx.write_u32(arg, u32::from(v))?;
            Ok(0)
        }
        PR_SET_NO_NEW_PRIVS => {
            if arg != 1 || !zero(2) {
                return Err(EINVAL);
            }
            cx.task.sched.lock().no_new_privs = true;
            Ok(0)
        }
        PR_GET_NO_NEW_PRIVS => {
            if !zero(1) {
                return Err(EINVAL);
            }
            flag(cx.task.sched.lock().no_new_privs)
        }
        PR_GET_TID_ADDRESS => {
            let v = cx.task.at_end.lock().get(EndWord::ClearTid);
            cx.write_u64(arg, v)?;
            Ok(0)
        }
        PR_GET_THP_DISABLE => {
            if !zero(1) {
                return Err(EINVAL);
            }
            Ok(0)
        }
        PR_CAP_AMBIENT => ambient(cx, a),
        PR_GET_SPECULATION_CTRL => {
            if arg <= 2 && zero(2) {
                Ok(0)
            } else {
                Err(EINVAL)
            }
        }
        PR_MCE_KILL_GET => {
            if zero(1) {
                Ok(2)
            } else {
                Err(EINVAL)
            }
        }
        _ => Err(EINVAL),
    }
}

fn capbset_drop(cx: &mut TaskCx, arg: u64) -> Result<u64> {
    let old = cx.cred();
    if !old.has(CAP_SETPCAP) {
        return Err(EPERM);
    }
    let cap = u32::try_from(arg).ok().filter(|c| *c <= CAP_LAST_CAP).ok_or(EINVAL)?;
    let mut new = (*old).clone();
    new.cap_bounding &= !(1 << cap);
    kernel::task::cred::commit(cx, new);
    Ok(0)
}

/// All bits of securebits and their locks.
const SECURE_ALL: u32 = 0xff;
/// The locks among them.
const SECURE_LOCKS: u32 = 0xaa;

fn set_securebits(cx: &mut TaskCx, arg: u64) -> Result<u64> {
    let old = cx.cred();
    let bits = u32::try_from(arg).map_err(|_| EPERM)?;
    let locked = old.securebits & SECURE_LOCKS;
    let changes_locked = (locked >> 1) & (old.securebits ^ bits) != 0 || locked & !bits != 0;
    if bits & !SECURE_ALL != 0 || changes_locked || !old.has(CAP_SETPCAP) {
        return Err(EPERM);
    }
    let new = Cred { securebits: bits, ..(*old).clone() };
    kernel::task::cred::commit(cx, new);
    Ok(0)
}

fn ambient(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let old = cx.cred();
    let mut new = (*old).clone();
    if a.u64(3) != 0 || a.u64(4) != 0 {
        return Err(EINVAL);
    }
    if a.i32(1) == PR_CAP_AMBIENT_CLEAR_ALL {
        if a.u64(2) != 0 {
            return Err(EINVAL);
        }
        new.cap_ambient = 0;
        kernel::task::cred::commit(cx, new);
        return Ok(0);
    }
    let cap = u32::try_from(a.u64(2)).ok().filter(|c| *c <= CAP_LAST_CAP).ok_or(EINVAL)?;
    let bit = 1u64 << cap;
    match a.i32(1) {
        PR_CAP_AMBIENT_IS_SET => return flag(old.cap_ambient & bit != 0),
        PR_CAP_AMBIENT_RAISE => {
            if old.cap_permitted & old.cap_inheritable & bit == 0
                || old.securebits & SECBIT_NO_CAP_AMBIENT_RAISE != 0
            {
                return Err(EPERM);
            }
            new.cap_ambient |= bit;
        }
        PR_CAP_AMBIENT_LOWER => new.cap_ambient &= !bit,
        _ => return Err(EINVAL),
    }
    kernel::task::cred::commit(cx, new);
    Ok(0)
}

fn arch_prctl(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let addr = a.u64(1);
    match a.i32(0) {
        ARCH_SET_FS => {
            if addr >= 1 << 47 {
                return Err(EPERM);
            }
            cx.ctx.set_tls(addr);
            Ok(0)
        }
        ARCH_GET_FS => {
            let v = cx.ctx.regs().fs_base;
            cx.write_u64(addr, v)?;
            Ok(0)
        }
        ARCH_SET_GS => {
            if addr >= 1 << 47 {
                return Err(EPERM);
            }
            let mut regs = cx.ctx.regs();
            regs.gs_base = addr;
            regs.rax = 0;
            cx.ctx.set_regs(&regs);
            Ok(0)
        }
        ARCH_GET_GS => {
            let v = cx.ctx.regs().gs_base;
            cx.write_u64(addr, v)?;
            Ok(0)
        }
        ARCH_GET_CPUID => Ok(1),
        _ => Err(EINVAL),
    }
}

/// Reading the present value.
const PER_QUERY: u32 = 0xffff_ffff;

fn personality(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let new = a.u32(0);
    let p = &cx.task.process.personality;
    if new == PER_QUERY {
        return Ok(u64::from(p.load(Ordering::Relaxed)));
    }
    Ok(u64::from(p.swap(new, Ordering::Relaxed)))
}
