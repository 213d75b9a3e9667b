//! The calls by which a process gives up rights: no_new_privs, Landlock (landlock(7)), seccomp(2).

use std::{
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use hal::Result;

use super::file::last_errno;
use crate::stub::filter::Insn;

/// Forbids this process and those it makes to gain rights by execve(2).
pub(crate) fn no_new_privs() -> Result<()> {
    // SAFETY: plain numbers.
    match unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// Version of the host's Landlock; 0 without.
pub(crate) fn landlock_version() -> u32 {
    // SAFETY: with this flag the call takes no memory.
    let v = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0usize, 1u32) };
    u32::try_from(v).unwrap_or(0)
}

/// `struct landlock_ruleset_attr`.
#[repr(C)]
pub(crate) struct RulesetAttr {
    pub(crate) fs: u64,
    pub(crate) net: u64,
    pub(crate) scoped: u64,
}

/// A new ruleset; `version` says how much of the structure the host knows.
pub(crate) fn ruleset(attr: &RulesetAttr, version: u32) -> Result<OwnedFd> {
    let len: usize = match version {
        0..4 => 8,
        4..6 => 16,
        _ => 24,
    };
    // SAFETY: the structure is at least `len` bytes long and lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::from_ref(attr), len, 0u32) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: a descriptor just made, nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// Allows accesses to and below what a descriptor stands for.
pub(crate) fn allow_beneath(ruleset: &OwnedFd, parent: BorrowedFd<'_>, allowed: u64) -> Result<()> {
    let rule = PathBeneath { allowed, parent: parent.as_raw_fd() };
    // SAFETY: the structure is the one of this rule type and lives through the call.
    let r = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            1u32,
            ptr::from_ref(&rule).cast::<u8>(),
            0u32,
        )
    };
    if r == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Puts the calling thread, and all it starts from now on, under a ruleset.
pub(crate) fn restrict(ruleset: &OwnedFd) -> Result<()> {
    // SAFETY: plain numbers.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Insn,
}

/// Puts every thread of the process under a filter.
pub(crate) fn filter_all_threads(filter: &[Insn]) -> Result<()> {
    let len = u16::try_from(filter.len()).map_err(|_| hal::errno::E2BIG)?;
    let program = Program { len, filter: filter.as_ptr() };
    // Mode 1 is SET_MODE_FILTER; flags: TSYNC, and no speculation barriers to pay for.
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the program and its instructions live through the call.
    match unsafe { libc::syscall(libc::SYS_seccomp, 1u32, flags, &raw const program) } {
        0 => Ok(()),
        r if r > 0 => Err(hal::errno::ESRCH),
        _ => Err(last_errno()),
    }
}

/// Numbers already reported, one bit each: a refusal is said once.
static REPORTED: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// Runs where a refused call was made: says so in one line and lets the call fail with EPERM.
extern "C" fn refused(_signo: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the host hands SA_SIGINFO handlers valid pointers; only plain words are read and written.
    let nr = unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        let rax = &mut context.uc_mcontext.gregs[libc::REG_RAX as usize];
        // A SIGSYS that somebody sent is no refused call (SYS_SECCOMP is 1).
        if (*info).si_code != 1 {
            return;
        }
        let nr = *rax;
        *rax = -i64::from(libc::EPERM);
        nr
    };
    let known = usize::try_from(nr).ok().filter(|n| *n < 1024);
    if let Some(n) = known
        && REPORTED[n / 64].fetch_or(1 << (n % 64), Ordering::Relaxed) & 1 << (n % 64) != 0
    {
        return;
    }
    // No allocation, no lock: the thread may hold any.
    let mut line = [0u8; 96];
    let mut at = 0;
    let mut put = |text: &[u8]| {
        for b in text.iter().take(line.len() - at) {
            line[at] = *b;
            at += 1;
        }
    };
    put(b"umlaut: refused to make host call ");
    let mut digits = [0u8; 20];
    let mut left = nr.unsigned_abs();
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    put(&digits[first..]);
    if let Some(name) = u32::try_from(nr).ok().and_then(abi::nr::name) {
        put(b" (");
        put(name.as_bytes());
        put(b")");
    }
    put(b"\n");
    // SAFETY: writes the bytes filled in above; errno is of no interest to the interrupted code, whose own call has just
    // been answered, but is put back.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(2, line.as_ptr().cast(), at);
        *libc::__errno_location() = errno;
    }
}

/// Makes refused calls be reported.
pub(crate) fn report_refusals() -> Result<()> {
    // SAFETY: an all-zero sigaction is valid; the handler has the signature that SA_SIGINFO asks for and does only what
    // signal handlers may.
    let r = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = refused as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigaction(libc::SIGSYS, &action, ptr::null_mut())
    };
    if r == 0 { Ok(()) } else { Err(last_errno()) }
}
