//! Memory objects (memfd_create(2)) and their mappings in the kernel process.
//!
//! What is mapped here is written by other processes at any moment, so it is never lent as a slice: words are reached as
//! atomics, bytes are copied.

use std::{
    ffi::CStr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

use hal::{Result, errno};

use super::file::last_errno;

/// Lets memory objects be mapped executable where the host asks for it by name (Linux 6.3).
const MFD_EXEC: u32 = 0x10;

/// Creates a memory object of the given size. `seal` allows seals to be put on it later.
pub(crate) fn create(name: &CStr, size: u64, seal: bool) -> Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | if seal { libc::MFD_ALLOW_SEALING } else { 0 };
    // SAFETY: the name is a C string; the calls take nothing else by address.
    let mut fd = unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags | MFD_EXEC) };
    if fd < 0 {
        // SAFETY: as above.
        fd = unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) };
    }
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: a descriptor that was just made and is nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: plain numbers.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), size as i64) } != 0 {
        return Err(last_errno());
    }
    Ok(fd)
}

/// Forbids every future change of a memory object.
pub(crate) fn seal(fd: &OwnedFd) -> Result<()> {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: plain numbers.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(last_errno());
    }
    Ok(())
}

/// A shared mapping of a memory object in this process.
pub(crate) struct Window {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread; all access is by atomics and raw copies.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// Maps the first `len` bytes, reserving no memory for them.
    pub(crate) fn map(fd: &OwnedFd, len: u64) -> Result<Window> {
        // SAFETY: a new mapping at an address of the host's choice disturbs nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr() as isize != -1 => Ok(Window { base, len: len as usize }),
            _ => Err(last_errno()),
        }
    }

    /// Bytes mapped.
    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Address of `len` bytes at `offset`, which must lie inside.
    fn at(&self, offset: u64, len: usize) -> *mut u8 {
        let end = offset.checked_add(len as u64);
        assert!(end.is_some_and(|e| e <= self.len as u64), "outside the window: {offset:#x}+{len:#x}");
        // SAFETY: just checked to lie inside the mapping.
        unsafe { self.base.as_ptr().add(offset as usize) }
    }

    /// An aligned 32-bit word.
    pub(crate) fn u32(&self, offset: u64) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4));
        // SAFETY: inside the mapping, aligned, and reached by atomics alone.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4).cast()) }
    }

    /// An aligned 64-bit word.
    pub(crate) fn u64(&self, offset: u64) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8));
        // SAFETY: inside the mapping, aligned, and reached by atomics alone.
        unsafe { AtomicU64::from_ptr(self.at(offset, 8).cast()) }
    }

    /// Copies out of the window.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) {
        let from = self.at(offset, buf.len());
        // SAFETY: inside the mapping, and a Rust buffer is never part of it. What others write meanwhile may be seen in
        // part; every bit pattern is a byte.
        unsafe { std::ptr::copy_nonoverlapping(from, buf.as_mut_ptr(), buf.len()) }
    }

    /// Copies into the window.
    pub(crate) fn write(&self, offset: u64, buf: &[u8]) {
        let to = self.at(offset, buf.len());
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(buf.as_ptr(), to, buf.len()) }
    }

    /// Reads up to `len` bytes of a file (pread(2)) into the window.
    pub(crate) fn pread(&self, at: u64, len: usize, fd: i32, offset: u64) -> Result<usize> {
        let to = self.at(at, len);
        let offset = i64::try_from(offset).map_err(|_| errno::EINVAL)?;
        loop {
            // SAFETY: inside the mapping, of which there are no references but to atomics.
            let done = unsafe { libc::pread(fd, to.cast(), len, offset) };
            match usize::try_from(done) {
                Ok(n) => return Ok(n),
                Err(_) => match last_errno() {
                    errno::EINTR => {}
                    e => return Err(e),
                },
            }
        }
    }

    /// Fills with zeros.
    pub(crate) fn zero(&self, offset: u64, len: usize) {
        let to = self.at(offset, len);
        // SAFETY: as in `read`.
        unsafe { std::ptr::write_bytes(to, 0, len) }
    }

    /// The piece at `offset` as this process sees it, for calls that copy between processes.
    pub(crate) fn iovec(&self, offset: u64, len: usize) -> libc::iovec {
        libc::iovec { iov_base: self.at(offset, len).cast(), iov_len: len }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrowed from it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Keeps `len` bytes at `addr` free of this process's own mappings, for the life of the process. Does nothing where
/// something stands there already: another machine's reservation, say.
pub(crate) fn reserve(addr: u64, len: u64) {
    // SAFETY: MAP_FIXED_NOREPLACE replaces nothing; the new pages can be neither read nor written.
    unsafe {
        libc::mmap(
            addr as *mut libc::c_void,
            len as usize,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
}

/// The host's [vvar]/[vdso] block and the address of the image, where /proc cannot be asked. `None` if there is none, or
/// if it cannot be told from its neighbours.
pub(crate) fn vdso_by_probing() -> Option<(u64, u64, u64)> {
    const PAGE: u64 = 4096;
    // More pages than any host puts before or into the image.
    const MOST: u64 = 16;
    let image = auxv(libc::AT_SYSINFO_EHDR);
    if image == 0 || !image.is_multiple_of(PAGE) {
        return None;
    }
    let mapped = |addr: u64| {
        let mut resident = 0u8;
        // SAFETY: asks about a page and writes one byte about it to ours.
        unsafe { libc::mincore(addr as *mut libc::c_void, PAGE as usize, &raw mut resident) == 0 }
    };
    let mut byte = [0; 1];
    // The image reads as every file does; its data before it are the host's own pages, which calls like this one refuse.
    let mut readable =
        |addr: u64| super::process::vm_read(super::process::own_pid(), addr, &mut byte) == Ok(1);
    let mut header = [0; 64];
    if super::process::vm_read(super::process::own_pid(), image, &mut header) != Ok(64)
        || header[..4] != *b"\x7fELF"
    {
        return None;
    }
    let mut low = image;
    while mapped(low - PAGE) && !readable(low - PAGE) {
        low -= PAGE;
        if image - low > MOST * PAGE {
            return None;
        }
    }
    // The section headers stand at the end of the image (elf(5)).
    let field =
        |at: usize, len: usize| header[at..at + len].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
    let end = field(0x28, 8).checked_add(field(0x3a, 2) * field(0x3c, 2))?;
    let high = image.checked_add(end.next_multiple_of(PAGE))?;
    let whole = end <= MOST * PAGE && (image..high).step_by(PAGE as usize).all(mapped);
    (low < image && whole).then_some((low, high, image))
}

/// Gives pages of a memory object back; they read as zero afterwards.
pub(crate) fn punch(fd: &impl AsRawFd, offset: u64, len: u64) -> Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: plain numbers.
    if unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset as i64, len as i64) } != 0 {
        return Err(last_errno());
    }
    Ok(())
}

/// A value of the auxiliary vector (getauxval(3)).
pub(crate) fn auxv(key: u64) -> u64 {
    // SAFETY: only looks the key up.
    unsafe { libc::getauxval(key) }
}

/// A string of the auxiliary vector.
pub(crate) fn auxv_string(key: u64) -> Option<String> {
    let at = auxv(key) as *const core::ffi::c_char;
    // SAFETY: the host put a C string at the address it names, if it names one.
    (!at.is_null()).then(|| unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned())
}
