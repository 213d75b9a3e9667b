//! Message queues of System V (msgget(2), msgop(2), msgctl(2)).

use std::{collections::VecDeque, sync::Arc};

use abi::{
    cap::CAP_SYS_RESOURCE,
    errno::{E2BIG, EAGAIN, EIDRM, EINVAL, ENOMSG, EPERM},
    ipc::{IPC_NOWAIT, IpcPerm, MSG_COPY, MSG_EXCEPT, MSG_NOERROR, MsqidDs},
};
use ksync::{Mutex, WaitQueue};

use super::{Charged, Object, check, check_owner, int, load, new_perm, now, set_perm};
use crate::{error::Result, locks, task::Task};

/// One message.
pub struct Message {
    pub kind: i64,
    pub data: Vec<u8>,
    _charged: Option<Charged>,
}

struct State {
    removed: bool,
    perm: IpcPerm,
    stime: i64,
    rtime: i64,
    ctime: i64,
    bytes: u64,
    max_bytes: u64,
    lspid: i32,
    lrpid: i32,
    messages: VecDeque<Message>,
}

/// One queue.
pub struct MsgQueue {
    id: i32,
    state: Mutex<State>,
    readers: WaitQueue,
    writers: WaitQueue,
}

impl Object for MsgQueue {
    fn perm(&self) -> IpcPerm {
        self.state.lock().perm
    }
    fn id(&self) -> i32 {
        self.id
    }
}

impl MsgQueue {
    pub fn stat(&self) -> MsqidDs {
        let s = self.state.lock();
        MsqidDs {
            perm: s.perm,
            stime: s.stime,
            rtime: s.rtime,
            ctime: s.ctime,
            cbytes: s.bytes,
            qnum: s.messages.len() as u64,
            qbytes: s.max_bytes,
            lspid: s.lspid,
            lrpid: s.lrpid,
        }
    }
}

/// msgget(2).
pub fn get(task: &Task, key: i32, flags: u32) -> Result<i32> {
    let ns = task.ipc();
    let cred = task.cred();
    let mut table = ns.msg.lock();
    if let Some(q) = table.look(&cred, key, flags, |_| Ok(()))? {
        return Ok(q.id);
    }
    let made = table.add(key, load(&ns.limits.msgmni), |id, seq| {
        let state = State {
            removed: false,
            perm: new_perm(&cred, key, flags, seq),
            stime: 0,
            rtime: 0,
            ctime: now(task),
            bytes: 0,
            max_bytes: load(&ns.limits.msgmnb),
            lspid: 0,
            lrpid: 0,
            messages: VecDeque::new(),
        };
        Arc::new(MsgQueue {
            id,
            state: Mutex::new(locks::IPC_OBJECT, state),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
        })
    })?;
    Ok(made.id)
}

/// Longest message.
pub fn max_size(task: &Task) -> u64 {
    load(&task.ipc().limits.msgmax)
}

/// msgsnd(2), its arguments checked.
pub fn send(task: &Task, id: i32, kind: i64, data: Vec<u8>, flags: u32) -> Result<()> {
    let queue = task.ipc().msg.lock().get(id)?;
    let len = data.len() as u64;
    let charged = Some(Charged::new(task, len + 64)?);
    let mut message = Some(Message { kind, data, _charged: charged });
    let mut attempt = || -> Option<Result<()>> {
        let mut s = queue.state.lock();
        if let Err(e) = check(&task.cred(), &s.perm, 0o222) {
            return Some(Err(e));
        }
        if s.removed {
            return Some(Err(EIDRM));
        }
        // As many messages as bytes: empty ones need room too.
        if s.bytes + len > s.max_bytes || s.messages.len() as u64 + 1 > s.max_bytes {
            return None;
        }
        s.messages.extend(message.take());
        s.bytes += len;
        s.lspid = task.pid();
        s.stime = now(task);
        Some(Ok(()))
    };
    let done = if flags & IPC_NOWAIT != 0 {
        attempt().unwrap_or(Err(EAGAIN))
    } else {
        task.wait_on(&[&queue.writers], None, attempt)?
    };
    if done.is_ok() {
        queue.readers.wake_all(0);
    }
    done
}

/// Which message msgrcv(2) takes.
fn find(messages: &VecDeque<Message>, kind: i64, flags: u32) -> Option<usize> {
    if flags & MSG_COPY != 0 {
        return usize::try_from(kind).ok().filter(|n| *n < messages.len());
    }
    if kind == 0 {
        return (!messages.is_empty()).then_some(0);
    }
    if kind > 0 {
        let except = flags & MSG_EXCEPT != 0;
        return messages.iter().position(|m| (m.kind == kind) != except);
    }
    let limit = kind.checked_neg().unwrap_or(i64::MAX);
    let best = messages.iter().enumerate().filter(|(_, m)| m.kind <= limit).min_by_key(|(n, m)| (m.kind, *n));
    best.map(|(n, _)| n)
}

/// msgrcv(2): the message, cut to `size`.
pub fn receive(task: &Task, id: i32, size: usize, kind: i64, flags: u32) -> Result<Message> {
    if flags & MSG_COPY != 0 && (flags & MSG_EXCEPT != 0 || flags & IPC_NOWAIT == 0) {
        return Err(EINVAL);
    }
    let queue = task.ipc().msg.lock().get(id)?;
    let attempt = || -> Option<Result<Message>> {
        let mut s = queue.state.lock();
        if let Err(e) = check(&task.cred(), &s.perm, 0o444) {
            return Some(Err(e));
        }
        if s.removed {
            return Some(Err(EIDRM));
        }
        let n = find(&s.messages, kind, flags)?;
        let found = s.messages.get(n)?;
        if found.data.len() > size && flags & MSG_NOERROR == 0 {
            return Some(Err(E2BIG));
        }
        if flags & MSG_COPY != 0 {
            let data = found.data[..found.data.len().min(size)].to_vec();
            return Some(Ok(Message { kind: found.kind, data, _charged: None }));
        }
        let mut m = s.messages.remove(n)?;
        s.bytes -= m.data.len() as u64;
        s.lrpid = task.pid();
        s.rtime = now(task);
        m.data.truncate(size);
        Some(Ok(m))
    };
    let done = if flags & IPC_NOWAIT != 0 {
        attempt().unwrap_or(Err(ENOMSG))
    } else {
        task.wait_on(&[&queue.readers], None, attempt)?
    };
    if done.is_ok() && flags & MSG_COPY == 0 {
        queue.writers.wake_all(0);
    }
    done
}

/// A queue by id, or by index as ipcs(1) asks; for who may read it unless `any`.
pub fn look(task: &Task, id: i32, by_index: bool, any: bool) -> Result<Arc<MsgQueue>> {
    let ns = task.ipc();
    let table = ns.msg.lock();
    let q = if by_index { table.at_index(id)? } else { table.get(id)? };
    if !any {
        check(&task.cred(), &q.perm(), 0o444)?;
    }
    Ok(q)
}

/// IPC_SET.
pub fn set(task: &Task, id: i32, new: &IpcPerm, max_bytes: u64) -> Result<()> {
    let ns = task.ipc();
    let queue = ns.msg.lock().get(id)?;
    let cred = task.cred();
    let mut s = queue.state.lock();
    check_owner(&cred, &s.perm)?;
    if max_bytes > load(&ns.limits.msgmnb) && !cred.has(CAP_SYS_RESOURCE) {
        return Err(EPERM);
    }
    set_perm(&mut s.perm, new)?;
    s.max_bytes = max_bytes;
    s.ctime = now(task);
    drop(s);
    // Who waits may have lost the right to, or found room.
    queue.readers.wake_all(0);
    queue.writers.wake_all(0);
    Ok(())
}

/// IPC_RMID.
pub fn remove(task: &Task, id: i32) -> Result<()> {
    let ns = task.ipc();
    let queue = {
        let mut table = ns.msg.lock();
        let q = table.get(id)?;
        check_owner(&task.cred(), &q.perm())?;
        table.remove(&q);
        q
    };
    let gone = {
        let mut s = queue.state.lock();
        s.removed = true;
        std::mem::take(&mut s.messages)
    };
    drop(gone);
    queue.readers.wake_all(0);
    queue.writers.wake_all(0);
    Ok(())
}

/// The highest index in use, and IPC_INFO's (or MSG_INFO's) numbers.
pub fn info(task: &Task, in_use: bool) -> (u32, [i32; 8]) {
    let ns = task.ipc();
    let l = &ns.limits;
    let (max, all) = {
        let t = ns.msg.lock();
        (t.max_index(), if in_use { t.all() } else { Vec::new() })
    };
    let number = |n: u64| i32::try_from(n).unwrap_or(i32::MAX);
    let (pool, map, tql) = if in_use {
        let stats: Vec<MsqidDs> = all.iter().map(|q| q.stat()).collect();
        let messages = number(stats.iter().map(|s| s.qnum).sum());
        (number(stats.len() as u64), messages, number(stats.iter().map(|s| s.cbytes).sum()))
    } else {
        (int(&l.msgmni).saturating_mul(int(&l.msgmnb) / 1024), int(&l.msgmnb), int(&l.msgmnb))
    };
    (max, [pool, map, int(&l.msgmax), int(&l.msgmnb), int(&l.msgmni), 16, tql, 0xffff])
}
