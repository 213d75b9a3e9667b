//! Making sockets.

use std::sync::{Arc, atomic::AtomicU32};

use abi::{
    errno::{EPROTONOSUPPORT, ESOCKTNOSUPPORT},
    net::{AF_UNIX, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM},
};
use kernel::{Machine, Result, net::SocketOps, registry::SocketFamily, task::Task};

use crate::{
    names::Abstract,
    passed::InFlight,
    socket::{Kind, UnixSocket, cred_of},
};

/// What all sockets of a machine share.
pub struct Shared {
    pub names: Abstract,
    pub flight: Arc<InFlight>,
    /// Sockets made so far.
    pub made: AtomicU32,
}

/// AF_UNIX.
pub struct Unix {
    shared: Arc<Shared>,
}

impl Unix {
    pub fn new() -> Unix {
        let (names, flight) = (Abstract::new(), Arc::new(InFlight::new()));
        Unix { shared: Arc::new(Shared { names, flight, made: AtomicU32::new(0) }) }
    }
}

fn kind_of(kind: u32, protocol: u32) -> Result<Kind> {
    if protocol != 0 && protocol != u32::from(AF_UNIX) {
        return Err(EPROTONOSUPPORT);
    }
    match kind {
        SOCK_STREAM => Ok(Kind::Stream),
        // Linux takes raw sockets of this family for datagram ones.
        SOCK_DGRAM | SOCK_RAW => Ok(Kind::Dgram),
        SOCK_SEQPACKET => Ok(Kind::Seqpacket),
        _ => Err(ESOCKTNOSUPPORT),
    }
}

impl SocketFamily for Unix {
    fn family(&self) -> u16 {
        AF_UNIX
    }
    fn create(
        &self,
        machine: &Arc<Machine>,
        _task: &Task,
        kind: u32,
        protocol: u32,
    ) -> Result<Arc<dyn SocketOps>> {
        Ok(UnixSocket::new(&self.shared, &machine.host, kind_of(kind, protocol)?))
    }
    fn pair(
        &self,
        machine: &Arc<Machine>,
        task: &Task,
        kind: u32,
        protocol: u32,
    ) -> Result<(Arc<dyn SocketOps>, Arc<dyn SocketOps>)> {
        let kind = kind_of(kind, protocol)?;
        let new = || UnixSocket::new(&self.shared, &machine.host, kind);
        let (a, b) = (new(), new());
        let cred = cred_of(task);
        for (s, peer) in [(&a, &b), (&b, &a)] {
            let mut st = s.state.lock();
            st.peer = Some(Arc::downgrade(peer));
            st.peer_cred = Some(cred.clone());
            st.connected = true;
        }
        Ok((a, b))
    }
}
