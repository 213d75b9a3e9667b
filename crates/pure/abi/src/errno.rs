//! Error numbers a system call can answer with (errno(3)).

use core::fmt;
use core::num::NonZeroU16;

/// A Linux error number, always in `1..=4095` and most often one of the named constants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(NonZeroU16);

/// What a guest-visible operation answers.
pub type Result<T> = core::result::Result<T, Errno>;

impl Errno {
    /// The highest number that a return register can carry as an error.
    pub const MAX: i32 = 4095;
    /// Another name of `EAGAIN`.
    pub const EWOULDBLOCK: Errno = Errno::EAGAIN;
    /// Another name of `EOPNOTSUPP`.
    pub const ENOTSUP: Errno = Errno::EOPNOTSUPP;
    /// Another name of `EDEADLK`.
    pub const EDEADLOCK: Errno = Errno::EDEADLK;

    const fn new(n: u16) -> Errno {
        match NonZeroU16::new(n) {
            Some(n) => Errno(n),
            None => panic!("error numbers start at 1"),
        }
    }

    /// The positive number, as in errno(3).
    pub const fn raw(self) -> i32 {
        self.0.get() as i32
    }

    /// The value of the return register: the negated number.
    pub const fn as_ret(self) -> u64 {
        (self.raw() as u64).wrapping_neg()
    }

    /// The error of a positive number; `None` outside `1..=4095`.
    pub const fn from_raw(raw: i32) -> Option<Errno> {
        if raw >= 1 && raw <= Errno::MAX { Some(Errno::new(raw as u16)) } else { None }
    }

    /// The error a return register carries, if it carries one.
    pub const fn from_ret(ret: u64) -> Option<Errno> {
        let positive = ret.wrapping_neg();
        if positive >= 1 && positive <= Errno::MAX as u64 { Errno::from_raw(positive as i32) } else { None }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "E?" => write!(f, "E{}", self.raw()),
            name => f.write_str(name),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.text())
    }
}

impl core::error::Error for Errno {}

macro_rules! errnos {
    ($($nr:literal $name:ident $text:literal,)*) => {
        impl Errno {
            $(
                #[doc = $text]
                pub const $name: Errno = Errno::new($nr);
            )*

            /// The constant's name; `"E?"` for a number that has none.
            pub const fn name(self) -> &'static str {
                match self.0.get() {
                    $($nr => stringify!($name),)*
                    _ => "E?",
                }
            }

            /// A few words on what went wrong.
            pub const fn text(self) -> &'static str {
                match self.0.get() {
                    $($nr => $text,)*
                    _ => "unknown error",
                }
            }
        }
        $(
            #[doc = $text]
            pub const $name: Errno = Errno::$name;
        )*
    };
}

/// Another name of [`EAGAIN`].
pub const EWOULDBLOCK: Errno = EAGAIN;
/// Another name of [`EOPNOTSUPP`].
pub const ENOTSUP: Errno = EOPNOTSUPP;

errnos! {
    1 EPERM "operation not permitted",
    2 ENOENT "no such file or directory",
    3 ESRCH "no such process",
    4 EINTR "interrupted by a signal",
    5 EIO "input/output error",
    6 ENXIO "no such device or address",
    7 E2BIG "argument list too long",
    8 ENOEXEC "not an executable format",
    9 EBADF "bad file descriptor",
    10 ECHILD "no child processes",
    11 EAGAIN "try again later",
    12 ENOMEM "out of memory",
    13 EACCES "permission denied",
    14 EFAULT "bad address",
    15 ENOTBLK "block device required",
    16 EBUSY "device or resource busy",
    17 EEXIST "file exists",
    18 EXDEV "link across filesystems",
    19 ENODEV "no such device",
    20 ENOTDIR "not a directory",
    21 EISDIR "is a directory",
    22 EINVAL "invalid argument",
    23 ENFILE "too many open files in the system",
    24 EMFILE "too many open files in the process",
    25 ENOTTY "not a terminal or unknown ioctl",
    26 ETXTBSY "executable file is busy",
    27 EFBIG "file too large",
    28 ENOSPC "no space left on device",
    29 ESPIPE "not seekable",
    30 EROFS "read-only filesystem",
    31 EMLINK "too many links",
    32 EPIPE "no reader on the pipe",
    33 EDOM "argument outside the domain",
    34 ERANGE "result out of range",
    35 EDEADLK "would deadlock",
    36 ENAMETOOLONG "file name too long",
    37 ENOLCK "no locks available",
    38 ENOSYS "not implemented",
    39 ENOTEMPTY "directory not empty",
    40 ELOOP "too many symbolic links",
    42 ENOMSG "no message of that type",
    43 EIDRM "identifier removed",
    44 ECHRNG "channel number out of range",
    45 EL2NSYNC "level 2 not synchronized",
    46 EL3HLT "level 3 halted",
    47 EL3RST "level 3 reset",
    48 ELNRNG "link number out of range",
    49 EUNATCH "protocol driver not attached",
    50 ENOCSI "no CSI structure",
    51 EL2HLT "level 2 halted",
    52 EBADE "invalid exchange",
    53 EBADR "invalid request descriptor",
    54 EXFULL "exchange full",
    55 ENOANO "no anode",
    56 EBADRQC "invalid request code",
    57 EBADSLT "invalid slot",
    59 EBFONT "bad font file",
    60 ENOSTR "not a stream",
    61 ENODATA "no data",
    62 ETIME "timer expired",
    63 ENOSR "out of streams resources",
    64 ENONET "not on the network",
    65 ENOPKG "package not installed",
    66 EREMOTE "object is remote",
    67 ENOLINK "link severed",
    68 EADV "advertise error",
    69 ESRMNT "srmount error",
    70 ECOMM "communication error on send",
    71 EPROTO "protocol error",
    72 EMULTIHOP "multihop attempted",
    73 EDOTDOT "RFS specific error",
    74 EBADMSG "bad message",
    75 EOVERFLOW "value too large for its type",
    76 ENOTUNIQ "name not unique on network",
    77 EBADFD "descriptor in bad state",
    78 EREMCHG "remote address changed",
    79 ELIBACC "shared library missing",
    80 ELIBBAD "shared library corrupted",
    81 ELIBSCN "library section corrupted",
    82 ELIBMAX "too many shared libraries",
    83 ELIBEXEC "shared library executed directly",
    84 EILSEQ "invalid byte sequence",
    85 ERESTART "call should be restarted",
    86 ESTRPIPE "streams pipe error",
    87 EUSERS "too many users",
    88 ENOTSOCK "not a socket",
    89 EDESTADDRREQ "destination address required",
    90 EMSGSIZE "message too long",
    91 EPROTOTYPE "wrong protocol type for socket",
    92 ENOPROTOOPT "protocol option not available",
    93 EPROTONOSUPPORT "protocol not supported",
    94 ESOCKTNOSUPPORT "socket type not supported",
    95 EOPNOTSUPP "operation not supported",
    96 EPFNOSUPPORT "protocol family not supported",
    97 EAFNOSUPPORT "address family not supported",
    98 EADDRINUSE "address already in use",
    99 EADDRNOTAVAIL "address not available",
    100 ENETDOWN "network is down",
    101 ENETUNREACH "network unreachable",
    102 ENETRESET "network dropped the connection",
    103 ECONNABORTED "connection aborted",
    104 ECONNRESET "connection reset by peer",
    105 ENOBUFS "no buffer space",
    106 EISCONN "already connected",
    107 ENOTCONN "not connected",
    108 ESHUTDOWN "endpoint was shut down",
    109 ETOOMANYREFS "too many references",
    110 ETIMEDOUT "timed out",
    111 ECONNREFUSED "connection refused",
    112 EHOSTDOWN "host is down",
    113 EHOSTUNREACH "no route to host",
    114 EALREADY "already in progress",
    115 EINPROGRESS "now in progress",
    116 ESTALE "stale file handle",
    117 EUCLEAN "structure needs cleaning",
    118 ENOTNAM "not a XENIX named file",
    119 ENAVAIL "no XENIX semaphores",
    120 EISNAM "is a named file",
    121 EREMOTEIO "remote input/output error",
    122 EDQUOT "disk quota exceeded",
    123 ENOMEDIUM "no medium",
    124 EMEDIUMTYPE "wrong medium type",
    125 ECANCELED "canceled",
    126 ENOKEY "key not available",
    127 EKEYEXPIRED "key expired",
    128 EKEYREVOKED "key revoked",
    129 EKEYREJECTED "key rejected",
    130 EOWNERDEAD "lock owner died",
    131 ENOTRECOVERABLE "state not recoverable",
    132 ERFKILL "blocked by radio switch",
    133 EHWPOISON "memory page has a hardware error",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for raw in 1..=Errno::MAX {
            let e = Errno::from_raw(raw).expect("in range");
            assert_eq!(e.raw(), raw);
            assert_eq!(e.as_ret() as i64, -i64::from(raw));
            assert_eq!(Errno::from_ret(e.as_ret()), Some(e));
        }
        assert_eq!(Errno::from_raw(0), None);
        assert_eq!(Errno::from_raw(-1), None);
        assert_eq!(Errno::from_raw(4096), None);
        assert_eq!(Errno::from_ret(0), None);
        assert_eq!(Errno::from_ret(4096u64.wrapping_neg()), None);
    }

    #[test]
    fn prints() {
        assert_eq!(format!("{ENOENT:?}"), "ENOENT");
        assert_eq!(ENOENT.to_string(), "ENOENT (no such file or directory)");
        assert_eq!(format!("{:?}", Errno::from_raw(41).expect("in range")), "E41");
    }
}
