//! Where file operations put and take their bytes: guest memory or the kernel's own.
//!
//! A file operation sees a [`Sink`] or a [`Source`] and never a guest address. The guest may change its memory at any
//! moment, so each byte is moved exactly once.

use hal::HostFile;

use crate::error::Result;

/// Destination of a read.
pub trait Sink {
    /// Bytes still wanted.
    fn remaining(&self) -> usize;
    /// Stores bytes; returns how many were taken (fewer only at the end of the request or where guest memory ends
    /// after some were stored). EFAULT if none could be.
    fn put(&mut self, data: &[u8]) -> Result<usize>;
    /// Stores `len` bytes of the machine's shared memory from `offset` (no bounce).
    fn put_shared(&mut self, mem: &dyn hal::SharedMem, offset: u64, len: usize) -> Result<usize> {
        let mut buf = vec![0; len.min(self.remaining()).min(1 << 16)];
        mem.read(offset, &mut buf);
        self.put(&buf)
    }
    /// Stores up to `len` bytes of a host file from `offset`; 0 at its end.
    fn put_file(&mut self, file: &dyn HostFile, offset: u64, len: usize) -> Result<usize> {
        let mut buf = vec![0; len.min(self.remaining()).min(1 << 16)];
        let n = file.pread(offset, &mut buf)?;
        self.put(&buf[..n])
    }
}

/// Origin of a write.
pub trait Source {
    /// Bytes still offered.
    fn remaining(&self) -> usize;
    /// Takes bytes; fewer than asked only at the end of the request or where guest memory ends after some were taken.
    /// EFAULT if none could be.
    fn take(&mut self, buf: &mut [u8]) -> Result<usize>;
    /// Takes `len` bytes into the machine's shared memory at `offset` (no bounce).
    fn take_shared(&mut self, mem: &dyn hal::SharedMem, offset: u64, len: usize) -> Result<usize> {
        let mut buf = vec![0; len.min(self.remaining()).min(1 << 16)];
        let n = self.take(&mut buf)?;
        mem.write(offset, &buf[..n]);
        Ok(n)
    }
    /// Takes up to `len` bytes into a host file at `offset`.
    fn take_file(&mut self, file: &dyn HostFile, offset: u64, len: usize) -> Result<usize> {
        let mut buf = vec![0; len.min(self.remaining()).min(1 << 16)];
        let n = self.take(&mut buf)?;
        file.pwrite(offset, &buf[..n])
    }
}

/// A kernel buffer as a sink.
pub struct BufSink<'a> {
    buf: &'a mut [u8],
    pub filled: usize,
}

impl<'a> BufSink<'a> {
    pub fn new(buf: &'a mut [u8]) -> Self {
        BufSink { buf, filled: 0 }
    }
}

impl Sink for BufSink<'_> {
    fn remaining(&self) -> usize {
        self.buf.len() - self.filled
    }
    fn put(&mut self, data: &[u8]) -> Result<usize> {
        let n = data.len().min(self.remaining());
        self.buf[self.filled..self.filled + n].copy_from_slice(&data[..n]);
        self.filled += n;
        Ok(n)
    }
}

/// A kernel buffer as a source.
pub struct BufSource<'a>(pub &'a [u8]);

impl Source for BufSource<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.0.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}
