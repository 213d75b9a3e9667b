//! System V IPC (sysvipc(7)): shared memory, semaphores, message queues.

use abi::{
    Timespec,
    errno::{E2BIG, EFAULT, EINVAL},
    ipc::*,
    nr,
    wire::{get_i64, put_i64, put_slice},
};
use kernel::{
    Result,
    ipc::{msg, sem, shm},
    task::TaskCx,
};

use crate::{args::Args, table::Row};

pub(crate) const ROWS: &[Row] = &[
    Row::new(nr::SYS_SHMGET, "shmget", shmget).partial("no huge pages"),
    Row::new(nr::SYS_SHMAT, "shmat", shmat),
    Row::new(nr::SYS_SHMDT, "shmdt", shmdt),
    Row::new(nr::SYS_SHMCTL, "shmctl", shmctl).partial("SHM_LOCK is kept, but the host may swap the pages"),
    Row::new(nr::SYS_SEMGET, "semget", semget),
    Row::new(nr::SYS_SEMOP, "semop", semop).no_restart(),
    Row::new(nr::SYS_SEMTIMEDOP, "semtimedop", semtimedop).no_restart(),
    Row::new(nr::SYS_SEMCTL, "semctl", semctl),
    Row::new(nr::SYS_MSGGET, "msgget", msgget),
    Row::new(nr::SYS_MSGSND, "msgsnd", msgsnd).no_restart(),
    Row::new(nr::SYS_MSGRCV, "msgrcv", msgrcv).no_restart(),
    Row::new(nr::SYS_MSGCTL, "msgctl", msgctl),
];

/// Ids are shown as they are; -1 never is one.
fn id(v: i32) -> u64 {
    u64::from(v.cast_unsigned())
}

fn shmget(cx: &mut TaskCx, a: Args) -> Result<u64> {
    shm::get(&cx.task, a.i32(0), a.u64(1), a.u32(2)).map(id)
}

fn shmat(cx: &mut TaskCx, a: Args) -> Result<u64> {
    if a.i32(0) < 0 {
        return Err(EINVAL);
    }
    shm::attach(cx, a.i32(0), a.u64(1), a.u32(2))
}

fn shmdt(cx: &mut TaskCx, a: Args) -> Result<u64> {
    shm::detach(cx, a.u64(0))?;
    Ok(0)
}

/// Arguments that every control call refuses.
fn check_ctl(object: i32, cmd: i32) -> Result<()> {
    if object < 0 || cmd < 0 { Err(EINVAL) } else { Ok(()) }
}

fn shmctl(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (object, cmd, buf) = (a.i32(0), a.i32(1), a.u64(2));
    check_ctl(object, cmd)?;
    match cmd {
        IPC_INFO => {
            let ns = cx.task.ipc();
            let get = |l: &std::sync::atomic::AtomicU64| l.load(std::sync::atomic::Ordering::Relaxed);
            let l = &ns.limits;
            let (max, mni, all) = (get(&l.shmmax), get(&l.shmmni), get(&l.shmall));
            cx.copy_out(buf, &encode_longs::<72>(&[max, 1, mni, mni, all]))?;
            Ok(u64::from(shm::totals(&cx.task).1))
        }
        SHM_INFO => {
            let (used, max, total, resident) = shm::totals(&cx.task);
            let used = i32::try_from(used).unwrap_or(i32::MAX);
            cx.copy_out(buf, &encode_shm_info(used, total, resident))?;
            Ok(u64::from(max))
        }
        IPC_STAT | SHM_STAT | SHM_STAT_ANY => {
            let s = shm::look(&cx.task, object, cmd != IPC_STAT, cmd == SHM_STAT_ANY)?;
            cx.copy_out(buf, &s.stat().encode())?;
            Ok(if cmd == IPC_STAT { 0 } else { id(kernel::ipc::Object::id(&*s)) })
        }
        IPC_SET => {
            let raw: [u8; ShmidDs::SIZE] = cx.read_array(buf)?;
            shm::set(&cx.task, object, &perm_of(&raw)).map(|()| 0)
        }
        IPC_RMID => shm::remove(&cx.task, object).map(|()| 0),
        SHM_LOCK | SHM_UNLOCK => shm::lock(&cx.task, object, cmd == SHM_LOCK).map(|()| 0),
        _ => Err(EINVAL),
    }
}

/// The owner part, which each of the structures begins with.
fn perm_of(raw: &[u8]) -> IpcPerm {
    let mut bytes = [0; IpcPerm::SIZE];
    bytes.copy_from_slice(&raw[..IpcPerm::SIZE]);
    IpcPerm::decode(&bytes)
}

fn semget(cx: &mut TaskCx, a: Args) -> Result<u64> {
    sem::get(&cx.task, a.i32(0), a.i32(1), a.u32(2)).map(id)
}

fn semop(cx: &mut TaskCx, a: Args) -> Result<u64> {
    operate(cx, a, 0)
}

fn semtimedop(cx: &mut TaskCx, a: Args) -> Result<u64> {
    operate(cx, a, a.u64(3))
}

fn operate(cx: &mut TaskCx, a: Args, timeout: u64) -> Result<u64> {
    let count = u64::from(a.u32(2));
    let timeout = match timeout {
        0 => None,
        addr => Some(Timespec::decode(&cx.read_array(addr)?)),
    };
    if count == 0 || a.i32(0) < 0 {
        return Err(EINVAL);
    }
    // The table of a call is bounded even where the limit was raised.
    if count > sem::max_ops(&cx.task).min(1 << 16) {
        return Err(E2BIG);
    }
    let mut raw = vec![0; count as usize * SemBuf::SIZE];
    cx.copy_in(a.u64(1), &mut raw)?;
    let ops = raw.chunks_exact(SemBuf::SIZE).filter_map(|c| c.try_into().ok()).map(SemBuf::decode).collect();
    let timeout = match timeout {
        Some(t) => Some(t.check()?.to_ns().cast_unsigned()),
        None => None,
    };
    sem::operate(cx, a.i32(0), ops, timeout)?;
    Ok(0)
}

fn semctl(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (object, num, cmd, arg) = (a.i32(0), a.i32(1), a.i32(2), a.u64(3));
    if object < 0 {
        return Err(EINVAL);
    }
    match cmd {
        IPC_INFO | SEM_INFO => {
            let info = sem::info(&cx.task, cmd == SEM_INFO);
            cx.copy_out(arg, &encode_ints::<40>(&info))?;
            Ok(u64::from(sem::totals(&cx.task).1))
        }
        IPC_STAT | SEM_STAT | SEM_STAT_ANY => {
            let s = sem::look(&cx.task, object, cmd != IPC_STAT, cmd == SEM_STAT_ANY)?;
            cx.copy_out(arg, &s.stat().encode())?;
            Ok(if cmd == IPC_STAT { 0 } else { id(kernel::ipc::Object::id(&*s)) })
        }
        SEM_GETALL => {
            let values = sem::values(&cx.task, object)?;
            cx.copy_out(arg, &encode_shorts(&values))?;
            Ok(0)
        }
        SEM_GETVAL => sem::ask(&cx.task, object, num, sem::Ask::Value).map(id),
        SEM_GETPID => sem::ask(&cx.task, object, num, sem::Ask::Pid).map(id),
        SEM_GETNCNT => sem::ask(&cx.task, object, num, sem::Ask::Waiting).map(id),
        SEM_GETZCNT => sem::ask(&cx.task, object, num, sem::Ask::WaitingZero).map(id),
        SEM_SETALL => {
            let count = sem::count_to_set(&cx.task, object)?;
            let mut raw = vec![0; count * 2];
            cx.copy_in(arg, &mut raw)?;
            sem::assign(&cx.task, object, None, &decode_shorts(&raw)).map(|()| 0)
        }
        SEM_SETVAL => {
            // An int in the low half of the union.
            let value = u16::try_from(a.i32(3)).map_err(|_| abi::errno::ERANGE)?;
            sem::assign(&cx.task, object, Some(num), &[value]).map(|()| 0)
        }
        IPC_SET => {
            let raw: [u8; SemidDs::SIZE] = cx.read_array(arg)?;
            sem::set(&cx.task, object, &perm_of(&raw)).map(|()| 0)
        }
        IPC_RMID => sem::remove(&cx.task, object).map(|()| 0),
        _ => Err(EINVAL),
    }
}

fn msgget(cx: &mut TaskCx, a: Args) -> Result<u64> {
    msg::get(&cx.task, a.i32(0), a.u32(1)).map(id)
}

fn msgsnd(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (queue, buf, len, flags) = (a.i32(0), a.u64(1), a.u64(2), a.u32(3));
    let kind = get_i64(&cx.read_array::<8>(buf)?, 0);
    if len > msg::max_size(&cx.task) || queue < 0 || kind < 1 {
        return Err(EINVAL);
    }
    let len = usize::try_from(len).map_err(|_| EINVAL)?;
    // Grown as it is read: the limit may have been raised to more than there is.
    let mut data = Vec::new();
    let mut at = buf.checked_add(8).ok_or(EFAULT)?;
    while data.len() < len {
        let n = (len - data.len()).min(1 << 20);
        let from = data.len();
        data.resize(from + n, 0);
        cx.copy_in(at, &mut data[from..])?;
        at = at.checked_add(n as u64).ok_or(EFAULT)?;
    }
    msg::send(&cx.task, queue, kind, data, flags)?;
    Ok(0)
}

fn msgrcv(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (queue, buf, size, kind, flags) = (a.i32(0), a.u64(1), a.i64(2), a.i64(3), a.u32(4));
    if queue < 0 {
        return Err(EINVAL);
    }
    let size = usize::try_from(size).map_err(|_| EINVAL)?;
    let m = msg::receive(&cx.task, queue, size, kind, flags)?;
    let mut out = vec![0; 8 + m.data.len()];
    put_i64(&mut out, 0, m.kind);
    put_slice(&mut out, 8, &m.data);
    cx.copy_out(buf, &out)?;
    Ok(m.data.len() as u64)
}

fn msgctl(cx: &mut TaskCx, a: Args) -> Result<u64> {
    let (object, cmd, buf) = (a.i32(0), a.i32(1), a.u64(2));
    check_ctl(object, cmd)?;
    match cmd {
        IPC_INFO | MSG_INFO => {
            let (max, info) = msg::info(&cx.task, cmd == MSG_INFO);
            cx.copy_out(buf, &encode_ints::<32>(&info))?;
            Ok(u64::from(max))
        }
        IPC_STAT | MSG_STAT | MSG_STAT_ANY => {
            let q = msg::look(&cx.task, object, cmd != IPC_STAT, cmd == MSG_STAT_ANY)?;
            cx.copy_out(buf, &q.stat().encode())?;
            Ok(if cmd == IPC_STAT { 0 } else { id(kernel::ipc::Object::id(&*q)) })
        }
        IPC_SET => {
            let (perm, max_bytes) = MsqidDs::decode_set(&cx.read_array(buf)?);
            msg::set(&cx.task, object, &perm, max_bytes).map(|()| 0)
        }
        IPC_RMID => msg::remove(&cx.task, object).map(|()| 0),
        _ => Err(EINVAL),
    }
}
