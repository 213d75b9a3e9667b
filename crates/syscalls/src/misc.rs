//! The machine as a whole: sysinfo, getrandom, reboot, syslog; and calls that answer as a kernel built without them.

use abi::{
    cap::{CAP_SYS_ADMIN, CAP_SYS_BOOT, CAP_SYSLOG},
    errno::{EFAULT, EINVAL, ENOSYS, EPERM},
    nr,
    procinfo::Sysinfo,
    sched::*,
};
use kernel::{
    Result,
    machine::End,
    task::{TaskCx, Work},
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_SYSINFO, "sysinfo", sysinfo),
    Row::new(nr::SYS_GETRANDOM, "getrandom", getrandom),
    Row::new(nr::SYS_REBOOT, "reboot", reboot).partial("no kexec, no suspend"),
    Row::new(nr::SYS_SYSLOG, "syslog", syslog),
    // Nobody tells us when the host preempts a thread, so its sequences cannot be restarted.
    Row::new(nr::SYS_RSEQ, "rseq", |_, _| Err(ENOSYS)).partial("not there: ENOSYS"),
];

fn sysinfo(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let m = cx.machine();
    let total = m.config.memory;
    let info = Sysinfo {
        uptime: i64::try_from(m.clock.uptime_ns() / 1_000_000_000).unwrap_or(i64::MAX),
        // Sixteen bits are the fraction.
        loads: m.load.averages().map(|(whole, hundredths)| (whole << 16) + (hundredths << 16) / 100),
        totalram: total,
        freeram: m.memory.free_bytes(),
        sharedram: m.memory.cache_bytes(),
        bufferram: 0,
        totalswap: 0,
        freeswap: 0,
        procs: u16::try_from(m.tree.lock().tasks.len()).unwrap_or(u16::MAX),
        mem_unit: 1,
    };
    cx.copy_out(a.u64(0), &info.encode())?;
    Ok(0)
}

/// Bytes given before signals are looked at.
const CHUNK: usize = 64 << 10;

fn getrandom(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let flags = a.u32(2);
    if flags & !(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) != 0
        || flags & (GRND_RANDOM | GRND_INSECURE) == GRND_RANDOM | GRND_INSECURE
    {
        return Err(EINVAL);
    }
    let len = a.usize(1).min(kernel::task::cx::MAX_RW);
    let mut done = 0;
    let mut buf = vec![0; len.min(CHUNK)];
    while done < len {
        let n = (len - done).min(CHUNK);
        cx.machine().host.entropy(&mut buf[..n]);
        let put = cx.copy_out_some(a.u64(0).wrapping_add(done as u64), &buf[..n]);
        done += put;
        if put < n {
            return if done == 0 { Err(EFAULT) } else { Ok(done as u64) };
        }
        if cx.task.work().intersects(Work::INTERRUPTS) {
            break;
        }
    }
    Ok(done as u64)
}

fn reboot(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if !cx.cred().has(CAP_SYS_BOOT) {
        return Err(EPERM);
    }
    let magics = [LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B, LINUX_REBOOT_MAGIC2C];
    if a.u32(0) != LINUX_REBOOT_MAGIC1 || !magics.contains(&a.u32(1)) {
        return Err(EINVAL);
    }
    let end = match a.u32(2) {
        LINUX_REBOOT_CMD_CAD_ON | LINUX_REBOOT_CMD_CAD_OFF => return Ok(0),
        LINUX_REBOOT_CMD_RESTART => End::Restart,
        LINUX_REBOOT_CMD_RESTART2 => {
            cx.read_cstr(a.u64(3), 256, EINVAL)?;
            End::Restart
        }
        LINUX_REBOOT_CMD_HALT => End::Halt,
        LINUX_REBOOT_CMD_POWER_OFF => End::PowerOff,
        _ => return Err(EINVAL),
    };
    cx.machine().request_end(end);
    // The machine is ending: nobody sees an answer.
    cx.task.wait_on(&[], None, || None::<()>)?;
    Ok(0)
}

// syslog(2) actions.
const READ: i32 = 2;
const READ_ALL: i32 = 3;
const READ_CLEAR: i32 = 4;
const CLEAR: i32 = 5;
const CONSOLE_OFF: i32 = 6;
const CONSOLE_ON: i32 = 7;
const CONSOLE_LEVEL: i32 = 8;
const SIZE_UNREAD: i32 = 9;
const SIZE_BUFFER: i32 = 10;

/// Bytes the log keeps.
const LOG_SIZE: u64 = 256 << 10;

fn syslog(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let action = a.i32(0);
    if !(0..=SIZE_BUFFER).contains(&action) {
        return Err(EINVAL);
    }
    let cred = cx.cred();
    let reading = matches!(action, READ_ALL | SIZE_BUFFER);
    if !reading && !cred.has(CAP_SYSLOG) && !cred.has(CAP_SYS_ADMIN) {
        return Err(EPERM);
    }
    match action {
        READ | READ_ALL | READ_CLEAR => {
            let len = usize::try_from(a.i32(2)).map_err(|_| EINVAL)?;
            if a.u64(1) == 0 {
                return Err(EINVAL);
            }
            read_log(cx, a.u64(1), len)
        }
        CONSOLE_LEVEL if !(1..=8).contains(&a.i32(2)) => Err(EINVAL),
        SIZE_UNREAD => Ok(0),
        SIZE_BUFFER => Ok(LOG_SIZE),
        CLEAR | CONSOLE_OFF | CONSOLE_ON | CONSOLE_LEVEL => Ok(0),
        // Open and close do nothing.
        _ => Ok(0),
    }
}

/// The last whole lines that fit.
fn read_log(cx: &mut TaskCx, addr: u64, len: usize) -> Result<u64> {
    let mut lines = Vec::new();
    let mut total = 0;
    for r in cx.machine().log.since(0).iter().rev() {
        let (s, us) = (r.time_ns / 1_000_000_000, r.time_ns / 1000 % 1_000_000);
        let line = format!("<{}>[{s:5}.{us:06}] {}\n", r.level, r.text);
        if total + line.len() > len {
            break;
        }
        total += line.len();
        lines.push(line);
    }
    lines.reverse();
    let text = lines.concat();
    cx.copy_out(addr, text.as_bytes())?;
    Ok(text.len() as u64)
}
