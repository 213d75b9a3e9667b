//! The switch's sockets: made, guarded against a second server, and removed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use switchproto::SockAddr;

/// Wanted size of the data socket's send buffer in bytes.
const SEND_BUFFER: usize = 8 << 20;

/// Socket files that are removed when this goes.
#[derive(Debug, Default)]
pub struct Files(Vec<PathBuf>);

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.0 {
            // Somebody may have removed it already.
            let _ = fs::remove_file(path);
        }
    }
}

/// Listens at `path`; a socket there that nobody serves is replaced.
///
/// # Errors
/// One line, or a few for a socket that is served.
pub fn listen(path: &Path, what: &str, files: &mut Files) -> Result<UnixListener, String> {
    let bad = |e: io::Error| format!("cannot listen on '{}': {e}", path.display());
    let listener = match UnixListener::bind(path) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            if !fs::symlink_metadata(path).map_err(bad)?.file_type().is_socket() {
                return Err(format!("'{}' is there and is not a socket", path.display()));
            }
            match UnixStream::connect(path) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(e) => return Err(bad(e)),
                Ok(_) => {
                    return Err(format!(
                        "The {what} socket '{}' has another server attached to it\n\
                         Stop that server, or name another socket",
                        path.display()
                    ));
                }
            }
            fs::remove_file(path).map_err(bad)?;
            UnixListener::bind(path).map_err(bad)?
        }
        other => other.map_err(bad)?,
    };
    files.0.push(std::path::absolute(path).map_err(bad)?);
    listener.set_nonblocking(true).map_err(bad)?;
    Ok(listener)
}

/// The data socket and its address: a file, or an abstract name of our own.
///
/// # Errors
/// One line.
pub fn data(path: Option<&Path>, files: &mut Files) -> Result<(UnixDatagram, SockAddr), String> {
    let (socket, addr) = match path {
        None => abstract_data()?,
        Some(path) => named_data(path, files)?,
    };
    socket.set_nonblocking(true).map_err(|e| format!("data socket: {e}"))?;
    // What clients have not read yet stays in here. More than the limit of this machine only root may have.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, SEND_BUFFER);
    Ok((socket, addr))
}

fn named_data(path: &Path, files: &mut Files) -> Result<(UnixDatagram, SockAddr), String> {
    let bad = |e: io::Error| format!("cannot bind the data socket '{}': {e}", path.display());
    let addr = SockAddr::path(path.as_os_str().as_bytes())
        .ok_or_else(|| format!("'{}' is not a name for a socket", path.display()))?;
    // The control socket is ours by now, so a data socket of this name is left over.
    if fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
        fs::remove_file(path).map_err(bad)?;
    }
    let socket = UnixDatagram::bind(path).map_err(bad)?;
    files.0.push(std::path::absolute(path).map_err(bad)?);
    Ok((socket, addr))
}

fn abstract_data() -> Result<(UnixDatagram, SockAddr), String> {
    bind_abstract(0).map_err(|e| format!("cannot bind the data socket: {e}"))
}

/// A data socket connected to a client's, and its address: for port number `serial` of all there ever were, from 1.
///
/// # Errors
/// Of socket(2), bind(2) and connect(2); when there is no descriptor left, or the client has no such socket.
pub fn own_data(client: &SockAddr, serial: u64) -> io::Result<(UnixDatagram, SockAddr)> {
    let (socket, addr) = bind_abstract(serial)?;
    socket.set_nonblocking(true)?;
    connect(&socket, client)?;
    Ok((socket, addr))
}

/// Connects a data socket to a client's.
///
/// # Errors
/// Of connect(2).
pub fn connect(socket: &UnixDatagram, client: &SockAddr) -> io::Result<()> {
    let addr = match (client.as_abstract(), client.as_path()) {
        (Some(name), _) => SocketAddr::from_abstract_name(name)?,
        (None, Some(path)) => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
        (None, None) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    socket.connect_addr(&addr)
}

fn bind_abstract(serial: u64) -> io::Result<(UnixDatagram, SockAddr)> {
    let mut tries = 0u32;
    loop {
        // The layout of the original: three bytes of padding, process id, microseconds; then which socket it is.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_micros();
        let mut name = [0; 107];
        name[3..7].copy_from_slice(&std::process::id().to_ne_bytes());
        name[7..11].copy_from_slice(&time.wrapping_add(tries).to_ne_bytes());
        name[11..19].copy_from_slice(&serial.to_ne_bytes());
        let addr = SockAddr::abstract_name(&name).ok_or(io::ErrorKind::InvalidInput)?;
        match SocketAddr::from_abstract_name(name).and_then(|a| UnixDatagram::bind_addr(&a)) {
            Ok(socket) => return Ok((socket, addr)),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && tries < 100 => tries += 1,
            Err(e) => return Err(e),
        }
    }
}
