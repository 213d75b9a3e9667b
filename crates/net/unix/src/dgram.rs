//! Datagrams and sequenced packets: whole messages.

use std::sync::{Arc, Weak, atomic::Ordering};

use abi::{
    cap::{CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN},
    errno::{ECONNREFUSED, ECONNRESET, EFAULT, EMSGSIZE, ENOTCONN, EPERM, EPIPE, EPROTOTYPE, ESRCH},
    net::{AF_UNSPEC, MSG_PEEK, MSG_TRUNC, UCred},
};
use kernel::{
    Result,
    io::{Sink, Source},
    net::{Control, Received},
    task::Task,
};

use crate::{
    names,
    queue::Record,
    socket::{Kind, MAX_DGRAM_QUEUE, RCV, SND, UnixSocket},
};

/// The credentials a message carries: those of the task, or those it claims and may claim (unix(7)).
pub fn sender_cred(task: &Task, control: &Control) -> Result<UCred> {
    let c = task.cred();
    let Some((pid, uid, gid)) = control.cred else {
        return Ok(UCred { pid: task.pid(), uid: c.uid, gid: c.gid });
    };
    let uid_ok = [c.uid, c.euid, c.suid].contains(&uid) || c.has(CAP_SETUID);
    let gid_ok = [c.gid, c.egid, c.sgid].contains(&gid) || c.has(CAP_SETGID);
    if !(pid == task.pid() || c.has(CAP_SYS_ADMIN)) || !uid_ok || !gid_ok {
        return Err(EPERM);
    }
    if pid != task.pid() && task.machine.tree.task(pid).is_none() {
        return Err(ESRCH);
    }
    Ok(UCred { pid, uid, gid })
}

fn same(peer: Option<&Weak<UnixSocket>>, s: *const UnixSocket) -> bool {
    peer.is_some_and(|p| std::ptr::eq(p.as_ptr(), s))
}

impl UnixSocket {
    /// A datagram socket accepts messages of anybody, or only of its peer.
    fn accepts_from(&self, sender: &UnixSocket) -> bool {
        let st = self.state.lock();
        st.peer.is_none() || same(st.peer.as_ref(), sender)
    }

    /// Its queue takes another message of a sender that is not its peer.
    fn queue_full(&self) -> bool {
        self.rx().records.len() > MAX_DGRAM_QUEUE
    }

    /// A connected datagram socket is ready for writing only while its peer has room.
    pub fn peer_has_room(&self) -> bool {
        let Some(p) = self.peer() else { return true };
        let mutual = same(p.state.lock().peer.as_ref(), self);
        mutual || !p.queue_full()
    }

    pub fn connect_dgram(&self, task: &Task, addr: &[u8]) -> Result<()> {
        let unspec = addr.len() >= 2 && addr[..2] == AF_UNSPEC.to_le_bytes();
        let new = if unspec {
            None
        } else {
            if self.options.passcred() {
                // Before the look-up: a name of its own must be there for the answer.
                abi::net::UnixAddr::decode(addr)?;
                self.autobind()?;
            }
            let target = names::find(self, task, addr)?;
            if target.kind != Kind::Dgram {
                return Err(EPROTOTYPE);
            }
            if !target.accepts_from(self) {
                return Err(EPERM);
            }
            Some(target)
        };
        let old = {
            let mut st = self.state.lock();
            st.peer_name = None;
            std::mem::replace(&mut st.peer, new.as_ref().map(Arc::downgrade))
        };
        if let Some(t) = &new {
            let name = t.state.lock().name.clone();
            self.state.lock().peer_name = name;
            let mut st = t.state.lock();
            st.clients.retain(|c| c.strong_count() > 0 && !std::ptr::eq(c.as_ptr(), self));
            st.clients.push(self.me.clone());
        }
        if let Some(o) = old.and_then(|o| o.upgrade())
            && !new.as_ref().is_some_and(|n| Arc::ptr_eq(n, &o))
        {
            // What the old peer sent is not for the new one.
            let purged = self.rx().drain();
            o.state.lock().clients.retain(|c| !std::ptr::eq(c.as_ptr(), self));
            let mutual = same(o.state.lock().peer.as_ref(), self);
            if !purged.is_empty() && mutual {
                o.error.store(ECONNRESET.raw(), Ordering::SeqCst);
                o.state_changed();
            }
        }
        self.state_changed();
        Ok(())
    }

    /// Where a message goes; `addr` only counts for datagrams.
    fn destination(&self, task: &Task, addr: Option<&[u8]>) -> Result<Arc<UnixSocket>> {
        match addr {
            Some(a) if self.kind == Kind::Dgram => {
                let t = names::find(self, task, a)?;
                if t.kind != Kind::Dgram { Err(EPROTOTYPE) } else { Ok(t) }
            }
            _ => {
                let peer = self.state.lock().peer.clone().ok_or(ENOTCONN)?;
                if let Some(p) = peer.upgrade().filter(|p| !p.is_dead()) {
                    return Ok(p);
                }
                if self.kind == Kind::Seqpacket {
                    return Err(EPIPE);
                }
                // The peer is gone: the connection with it.
                self.state.lock().peer = None;
                Err(ECONNREFUSED)
            }
        }
    }

    pub fn send_message(
        &self,
        task: &Task,
        src: &mut dyn Source,
        addr: Option<&[u8]>,
        control: Control,
        nonblocking: bool,
    ) -> Result<usize> {
        if self.kind == Kind::Seqpacket {
            if let Some(e) = self.take_error() {
                return Err(e);
            }
            if !self.state.lock().connected {
                return Err(ENOTCONN);
            }
        }
        let cred = sender_cred(task, &control)?;
        if self.kind == Kind::Dgram && self.options.passcred() {
            self.autobind()?;
        }
        let len = src.remaining();
        if len > self.budget.limit().saturating_sub(32) {
            return Err(EMSGSIZE);
        }
        let target = self.destination(task, addr)?;
        if let Some(e) = self.take_error() {
            return Err(e);
        }
        let check = || -> Result<()> {
            if self.is_shut(SND) {
                return Err(EPIPE);
            }
            if self.kind == Kind::Dgram && !target.accepts_from(self) {
                return Err(EPERM);
            }
            if target.is_dead() && self.kind == Kind::Dgram {
                return Err(ECONNREFUSED);
            }
            if target.is_shut(RCV) { Err(EPIPE) } else { Ok(()) }
        };
        check()?;
        let timeout = &self.options.send_timeout;
        let charge = self.wait(task, &self.budget.wait, nonblocking, timeout, || match check() {
            Err(e) => Some(Err(e)),
            Ok(()) => self.budget.charge(len).map(Ok),
        })??;
        let mut data = vec![0; len];
        let mut n = 0;
        while n < len {
            let m = src.take(&mut data[n..])?;
            if m == 0 {
                return Err(EFAULT);
            }
            n += m;
        }
        let passed = match control.files {
            f if f.is_empty() => None,
            f => Some(self.shared.flight.send(task, f)?),
        };
        let from = self.state.lock().name.clone();
        let mut record = Some(Record::new(data, cred, from, passed, charge));
        let limited = self.kind == Kind::Dgram;
        self.wait(task, &target.budget.wait, nonblocking, timeout, || {
            if let Err(e) = check() {
                return Some(Err(e));
            }
            let mutual = !limited || same(target.state.lock().peer.as_ref(), self);
            let mut rx = target.rx();
            if !mutual && rx.records.len() > MAX_DGRAM_QUEUE {
                return None;
            }
            if let Some(r) = record.take() {
                rx.push(r);
            }
            Some(Ok(()))
        })??;
        target.data_arrived();
        Ok(len)
    }

    pub fn recv_message(
        &self,
        task: &Task,
        dst: &mut dyn Sink,
        flags: u32,
        nonblocking: bool,
        want_control: bool,
    ) -> Result<Received> {
        if self.kind == Kind::Seqpacket && !self.state.lock().connected {
            return Err(ENOTCONN);
        }
        let peek = flags & MSG_PEEK != 0;
        let mut got = Received::default();
        let want = dst.remaining();
        let waited =
            self.wait(task, &self.read_wait, nonblocking, &self.options.receive_timeout, || {
                if let Some(e) = self.take_error() {
                    return Some(Err(e));
                }
                let mut rx = self.rx();
                if peek {
                    if let Some(r) = rx.records.front() {
                        let n = r.bytes().len().min(want);
                        let files = r.passed.as_ref().map_or_else(Vec::new, |p| p.peek());
                        let head = r.bytes()[..n].to_vec();
                        return Some(Ok(Some((head, r.bytes().len(), r.cred, r.from.clone(), files, None))));
                    }
                } else if let Some(r) = rx.pop() {
                    return Some(Ok(Some((
                        Vec::new(),
                        r.bytes().len(),
                        r.cred,
                        r.from.clone(),
                        Vec::new(),
                        Some(r),
                    ))));
                }
                // The end: for packets always, for datagrams only where one would wait for ever.
                (self.is_shut(RCV) && (self.kind == Kind::Seqpacket || !nonblocking)).then_some(Ok(None))
            })??;
        let Some((head, len, cred, from, files, record)) = waited else { return Ok(got) };
        if self.kind == Kind::Dgram && !peek {
            self.room_made();
        }
        got.control.files = files;
        got.bytes = match record {
            None => dst.put(&head)?,
            Some(mut r) => {
                let n = r.bytes().len().min(want);
                let put = if n == 0 { 0 } else { dst.put(&r.bytes()[..n])? };
                if put < n {
                    return Err(EFAULT);
                }
                got.control.files = r.passed.take().map_or_else(Vec::new, |p| p.take());
                put
            }
        };
        got.full_len = len;
        if len > got.bytes {
            got.flags |= MSG_TRUNC;
        }
        if self.kind == Kind::Dgram
            && let Some(name) = from
        {
            got.addr = name.encode();
        }
        self.finish_control(&mut got, Some(cred), want_control);
        Ok(got)
    }

    /// Wakes senders that found the queue full.
    fn room_made(&self) {
        self.budget.wait.wake_all(0);
        if self.rx().records.len() != MAX_DGRAM_QUEUE {
            return;
        }
        let clients: Vec<Arc<UnixSocket>> =
            self.state.lock().clients.iter().filter_map(Weak::upgrade).collect();
        for c in &clients {
            c.budget.wait.wake_all(kernel::vfs::poll::PollEvents::OUT.bits());
        }
    }
}
