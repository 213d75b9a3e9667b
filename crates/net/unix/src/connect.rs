//! bind, listen, connect, accept.

use std::sync::Arc;

use abi::{
    errno::{ECONNREFUSED, EINVAL, EISCONN, EOPNOTSUPP, EPROTOTYPE},
    net::{SOMAXCONN, UnixAddr},
};
use kernel::{Result, net::SocketOps, task::Task, vfs::file::File};

use crate::{
    names,
    socket::{Kind, RCV, UnixSocket, cred_of},
};

/// bind(2); an address of only the family gives a free abstract name.
pub fn bind(s: &UnixSocket, task: &Task, addr: &[u8]) -> Result<()> {
    let addr = UnixAddr::decode(addr)?;
    if addr == UnixAddr::Unnamed {
        return s.autobind();
    }
    if s.state.lock().name.is_some() {
        return Err(EINVAL);
    }
    let name = match addr {
        UnixAddr::Path(p) => names::bind_path(task, &p, s)?,
        UnixAddr::Abstract(n) => s.shared.names.bind(&n, s)?,
        UnixAddr::Unnamed => return Err(EINVAL),
    };
    let mut st = s.state.lock();
    if st.name.is_some() {
        // Another thread was first; the node stays, as on Linux after a lost race it would have to be unlinked.
        drop(st);
        return Err(EINVAL);
    }
    st.name = Some(Arc::new(name));
    st.owns_name = true;
    Ok(())
}

/// listen(2).
pub fn listen(s: &UnixSocket, task: &Task, backlog: i32) -> Result<()> {
    if s.kind == Kind::Dgram {
        return Err(EOPNOTSUPP);
    }
    // Negative means as much as there may be.
    let backlog = usize::try_from(backlog).unwrap_or(usize::MAX).min(SOMAXCONN as usize);
    let grown = {
        let mut st = s.state.lock();
        if st.connected || st.name.is_none() {
            return Err(EINVAL);
        }
        let grown = backlog > st.backlog;
        st.listening = true;
        st.backlog = backlog;
        st.peer_cred = Some(cred_of(task));
        grown
    };
    if grown {
        s.budget.wait.wake_all(0);
    }
    Ok(())
}

/// connect(2) of streams and packet sockets.
pub fn connect(s: &UnixSocket, file: &File, task: &Task, addr: &[u8]) -> Result<()> {
    // Looks at the address first, as Linux does.
    if UnixAddr::decode(addr)? == UnixAddr::Unnamed {
        return Err(EINVAL);
    }
    if s.options.passcred() {
        s.autobind()?;
    }
    let nonblocking = file.nonblocking();
    let Some(me) = s.me.upgrade() else { return Err(EINVAL) };
    let cred = cred_of(task);
    let server = UnixSocket::new(&s.shared, &s.host, s.kind);
    let target = names::find(s, task, addr)?;
    if target.kind != s.kind {
        return Err(EPROTOTYPE);
    }
    // The listener wakes its budget's queue when a place in its backlog becomes free.
    let queue = target.budget.wait.clone();
    let result = s.wait(task, &queue, nonblocking, &s.options.send_timeout, || {
        try_connect(s, &me, &server, &target, &cred).transpose()
    });
    drop(me);
    result??;
    target.data_arrived();
    Ok(())
}

/// `Ok(None)`: the backlog is full.
fn try_connect(
    s: &UnixSocket,
    me: &Arc<UnixSocket>,
    server: &Arc<UnixSocket>,
    target: &Arc<UnixSocket>,
    cred: &crate::socket::PeerCred,
) -> Result<Option<()>> {
    if Arc::ptr_eq(me, target) {
        return Err(if s.state.lock().listening { EINVAL } else { ECONNREFUSED });
    }
    // Two sockets that connect to each other at once: the lower address is locked first.
    let (mut mine, mut theirs);
    if Arc::as_ptr(me) < Arc::as_ptr(target) {
        mine = s.state.lock();
        theirs = target.state.lock();
    } else {
        theirs = target.state.lock();
        mine = s.state.lock();
    }
    if mine.connected {
        return Err(EISCONN);
    }
    if mine.listening {
        return Err(EINVAL);
    }
    if !theirs.listening || target.is_shut(RCV) {
        return Err(ECONNREFUSED);
    }
    if theirs.pending.len() > theirs.backlog {
        return Ok(None);
    }
    {
        let mut st = server.state.lock();
        st.name = theirs.name.clone();
        st.peer = Some(s.me.clone());
        st.peer_name = mine.name.clone();
        st.peer_cred = Some(cred.clone());
        st.connected = true;
    }
    server.options.inherit(&target.options);
    mine.peer = Some(Arc::downgrade(server));
    mine.peer_name = theirs.name.clone();
    mine.peer_cred = theirs.peer_cred.clone();
    mine.connected = true;
    theirs.pending.push_back(server.clone());
    Ok(Some(()))
}

/// accept(2).
pub fn accept(s: &UnixSocket, file: &File, task: &Task) -> Result<(Arc<dyn SocketOps>, Vec<u8>)> {
    if s.kind == Kind::Dgram {
        return Err(EOPNOTSUPP);
    }
    let new = s.wait(task, &s.read_wait, file.nonblocking(), &s.options.receive_timeout, || {
        let mut st = s.state.lock();
        if !st.listening {
            return Some(Err(EINVAL));
        }
        match st.pending.pop_front() {
            Some(n) => Some(Ok(n)),
            // Shut down: no connection will come.
            None if s.is_shut(RCV) => Some(Err(EINVAL)),
            None => None,
        }
    })??;
    s.budget.wait.wake_all(0);
    let addr = {
        let st = new.state.lock();
        names::encode(st.peer_name.as_deref())
    };
    Ok((new, addr))
}
