//! Names of sockets: paths, and the abstract name space.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use abi::{
    FileType,
    errno::{EADDRINUSE, ECONNREFUSED, EEXIST, EINVAL, ENOSPC},
    fs::{AT_FDCWD, S_IFSOCK, W_OK},
    net::UnixAddr,
};
use kernel::{
    Result, locks,
    task::Task,
    vfs::{self, LookupFlags, Path, permission},
};
use ksync::Mutex;

use crate::socket::{Kind, UnixSocket};

/// What a socket is bound to.
pub enum Name {
    /// The path as it was given to bind(2), and the node made there, kept so that its inode stays.
    Path(Vec<u8>, #[expect(dead_code, reason = "held, not read")] Path),
    Abstract(Vec<u8>),
}

impl Name {
    /// As `sockaddr_un`.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Name::Path(p, _) => UnixAddr::Path(p.clone()).encode(),
            Name::Abstract(n) => UnixAddr::Abstract(n.clone()).encode(),
        }
    }
}

/// The address of a socket that may have no name.
pub fn encode(name: Option<&Name>) -> Vec<u8> {
    name.map_or_else(|| UnixAddr::Unnamed.encode(), Name::encode)
}

/// Who has an abstract name, by type of socket.
type ByName = HashMap<(Kind, Vec<u8>), Weak<UnixSocket>>;

/// Abstract names in use.
pub struct Abstract {
    names: Mutex<ByName>,
    next: AtomicU32,
}

impl Abstract {
    pub fn new() -> Abstract {
        Abstract { names: Mutex::new(locks::LEAF, HashMap::new()), next: AtomicU32::new(0) }
    }

    /// Takes a name; EADDRINUSE.
    pub fn bind(&self, name: &[u8], socket: &UnixSocket) -> Result<Name> {
        let mut names = self.names.lock();
        let key = (socket.kind, name.to_vec());
        if names.get(&key).is_some_and(|s| s.strong_count() > 0) {
            return Err(EADDRINUSE);
        }
        names.insert(key, socket.me.clone());
        Ok(Name::Abstract(name.to_vec()))
    }

    /// Takes a free name of five hexadecimal digits.
    pub fn autobind(&self, socket: &UnixSocket) -> Result<Name> {
        for _ in 0..1 << 20 {
            let n = self.next.fetch_add(1, Ordering::Relaxed) & 0xf_ffff;
            match self.bind(format!("{n:05x}").as_bytes(), socket) {
                Err(EADDRINUSE) => {}
                other => return other,
            }
        }
        Err(ENOSPC)
    }

    fn find(&self, kind: Kind, name: &[u8]) -> Option<Arc<UnixSocket>> {
        let found = self.names.lock().get(&(kind, name.to_vec())).cloned();
        found?.upgrade()
    }

    /// Gives a name back (its socket is gone).
    pub fn unbind(&self, kind: Kind, name: &[u8], socket: *const UnixSocket) {
        let mut names = self.names.lock();
        let key = (kind, name.to_vec());
        if names.get(&key).is_some_and(|s| std::ptr::eq(s.as_ptr(), socket)) {
            names.remove(&key);
        }
    }
}

/// Makes the node of a path and ties the socket to it. EADDRINUSE if the name is taken.
pub fn bind_path(task: &Task, path: &[u8], socket: &UnixSocket) -> Result<Name> {
    let place = vfs::mknod(task, AT_FDCWD, path, S_IFSOCK | 0o777, 0)
        .map_err(|e| if e == EEXIST { EADDRINUSE } else { e })?;
    *place.inode()?.common().socket.lock() = Some(socket.me.clone());
    Ok(Name::Path(path.to_vec(), place))
}

/// The socket an address leads to. ECONNREFUSED if nobody is bound there.
pub fn find(socket: &UnixSocket, task: &Task, addr: &[u8]) -> Result<Arc<UnixSocket>> {
    let found = match UnixAddr::decode(addr)? {
        UnixAddr::Unnamed => return Err(EINVAL),
        UnixAddr::Abstract(name) => socket.shared.names.find(socket.kind, &name).ok_or(ECONNREFUSED)?,
        UnixAddr::Path(path) => {
            let place = vfs::resolve(task, AT_FDCWD, &path, LookupFlags::FOLLOW)?;
            let inode = place.inode()?;
            permission::check_on(&place.mount, &**inode, &task.cred(), W_OK)?;
            if inode.kind() != FileType::Socket {
                return Err(ECONNREFUSED);
            }
            let bound = inode.common().socket.lock().clone();
            let any = bound.and_then(|w| w.upgrade()).ok_or(ECONNREFUSED)?;
            any.downcast::<UnixSocket>().map_err(|_| ECONNREFUSED)?
        }
    };
    if found.is_dead() { Err(ECONNREFUSED) } else { Ok(found) }
}
