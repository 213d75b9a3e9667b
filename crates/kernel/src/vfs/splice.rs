//! Moving bytes between pipes and other files without guest memory (splice(2), tee(2)).

use std::sync::Arc;

use abi::{
    OpenFlags,
    errno::{EBADF, EINVAL, ESPIPE},
};

use super::{
    file::File,
    pipe::PipeEnd,
    rw::{self, Append},
};
use crate::{
    error::Result,
    io::{BufSink, BufSource, Sink, Source},
    task::Task,
};

/// Bytes moved at once.
const CHUNK: usize = 65_536;

fn pipe_of(file: &File) -> Option<&PipeEnd> {
    file.ops.as_any().downcast_ref::<PipeEnd>()
}

/// splice(2): up to `len` bytes from one file to the other, one of which is a pipe. A position that is given is used and
/// advanced instead of the file's own. `nonblocking` is about the pipes only.
pub fn splice(
    task: &Task,
    from: &Arc<File>,
    from_pos: Option<&mut u64>,
    to: &Arc<File>,
    to_pos: Option<&mut u64>,
    len: usize,
    nonblocking: bool,
) -> Result<usize> {
    if !from.readable() || !to.writable() {
        return Err(EBADF);
    }
    match (pipe_of(from), pipe_of(to)) {
        (Some(_), _) if from_pos.is_some() => Err(ESPIPE),
        (_, Some(_)) if to_pos.is_some() => Err(ESPIPE),
        (Some(a), Some(b)) => {
            let wait_in = nonblocking || from.nonblocking();
            let wait_out = nonblocking || to.nonblocking();
            between(task, a, wait_in, b, wait_out, len, true)
        }
        (Some(p), None) => out_of_pipe(task, p, nonblocking || from.nonblocking(), to, to_pos, len),
        (None, Some(p)) => into_pipe(task, from, from_pos, p, nonblocking || to.nonblocking(), len),
        (None, None) => Err(EINVAL),
    }
}

/// tee(2): copies what is in one pipe to another, and leaves it there.
pub fn tee(task: &Task, from: &File, to: &File, len: usize, nonblocking: bool) -> Result<usize> {
    if !from.readable() || !to.writable() {
        return Err(EBADF);
    }
    let (Some(a), Some(b)) = (pipe_of(from), pipe_of(to)) else { return Err(EINVAL) };
    between(task, a, nonblocking || from.nonblocking(), b, nonblocking || to.nonblocking(), len, false)
}

/// vmsplice(2) into a pipe: as much as fits once there is room. EBADF if it is none to write to.
pub fn from_memory(task: &Task, src: &mut dyn Source, to: &File, nonblocking: bool) -> Result<usize> {
    let pipe = pipe_of(to).filter(|_| to.writable()).ok_or(EBADF)?;
    let mut done = 0;
    while src.remaining() > 0 {
        let space = match pipe.wait_space(task, nonblocking || to.nonblocking() || done > 0) {
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        let mut buf = vec![0; src.remaining().min(space).min(CHUNK)];
        let got = match src.take(&mut buf) {
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        // Another writer may have been faster; what was taken goes in.
        let mut put = 0;
        while put < got {
            put += pipe.push(&buf[put..got]);
            if put < got {
                match pipe.wait_space(task, false) {
                    Ok(_) => {}
                    Err(e) => return if done + put > 0 { Ok(done + put) } else { Err(e) },
                }
            }
        }
        done += got;
        if got < buf.len() {
            break;
        }
    }
    Ok(done)
}

/// vmsplice(2) out of a pipe: what is there, once there is something. EBADF if it is none to read from.
pub fn to_memory(task: &Task, from: &File, dst: &mut dyn Sink, nonblocking: bool) -> Result<usize> {
    let pipe = pipe_of(from).filter(|_| from.readable()).ok_or(EBADF)?;
    drain(task, pipe, nonblocking || from.nonblocking(), dst.remaining(), |data| dst.put(data))
}

/// Gives up to `len` bytes of a pipe to `put`, piece by piece; what it does not take stays. Waits for the first bytes only.
fn drain(
    task: &Task,
    from: &PipeEnd,
    nonblocking: bool,
    len: usize,
    mut put: impl FnMut(&[u8]) -> Result<usize>,
) -> Result<usize> {
    let mut done = 0;
    while done < len {
        match from.wait_data(task, nonblocking || done > 0) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
        let data = from.take((len - done).min(CHUNK));
        let result = put(&data);
        let n = *result.as_ref().unwrap_or(&0);
        if n < data.len() {
            from.put_back(&data[n..]);
        }
        done += n;
        match result {
            Ok(n) if n == data.len() => {}
            Ok(_) => break,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// From pipe to pipe, as much as there is and as fits, once.
fn between(
    task: &Task,
    from: &PipeEnd,
    from_nonblocking: bool,
    to: &PipeEnd,
    to_nonblocking: bool,
    len: usize,
    take: bool,
) -> Result<usize> {
    if Arc::ptr_eq(from.pipe(), to.pipe()) {
        return Err(EINVAL);
    }
    if len == 0 || !from.wait_data(task, from_nonblocking)? {
        return Ok(0);
    }
    let space = to.wait_space(task, to_nonblocking)?;
    let data = if take { from.take(len.min(space)) } else { from.peek(len.min(space)) };
    let n = to.push(&data);
    if take && n < data.len() {
        from.put_back(&data[n..]);
    }
    Ok(n)
}

fn out_of_pipe(
    task: &Task,
    from: &PipeEnd,
    nonblocking: bool,
    to: &Arc<File>,
    mut pos: Option<&mut u64>,
    len: usize,
) -> Result<usize> {
    if to.flags().contains(OpenFlags::APPEND) {
        return Err(EINVAL);
    }
    if pos.is_some() && to.ops.is_stream() {
        return Err(ESPIPE);
    }
    drain(task, from, nonblocking, len, |data| {
        let mut src = BufSource(data);
        match &mut pos {
            Some(p) => rw::pwrite(task, to, &mut src, **p, Append::AsOpened).inspect(|n| **p += *n as u64),
            None => rw::write(task, to, &mut src),
        }
    })
}

fn into_pipe(
    task: &Task,
    from: &Arc<File>,
    mut pos: Option<&mut u64>,
    to: &PipeEnd,
    nonblocking: bool,
    len: usize,
) -> Result<usize> {
    if pos.is_some() && from.ops.is_stream() {
        return Err(ESPIPE);
    }
    let mut done = 0;
    while done < len {
        let space = match to.wait_space(task, nonblocking || done > 0) {
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        // A stream may make one wait; what has come so far is enough.
        if done > 0 && from.ops.is_stream() {
            break;
        }
        let mut buf = vec![0; space.min(len - done).min(CHUNK)];
        let mut dst = BufSink::new(&mut buf);
        let result = match &mut pos {
            Some(p) => rw::pread(task, from, &mut dst, **p).inspect(|n| **p += *n as u64),
            None => rw::read(task, from, &mut dst),
        };
        let n = match result {
            Ok(n) => n,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        // Another writer may have been faster: the rest waits for its turn.
        let mut put = 0;
        while put < n {
            put += to.push(&buf[put..n]);
            if put < n {
                to.wait_space(task, false)?;
            }
        }
        done += n;
        if n < buf.len() {
            break;
        }
    }
    Ok(done)
}
