//! ioctl(2) requests, terminals' settings and window sizes (termios(3), ioctl_tty(2)).

use crate::wire::{get_array, get_u32, put_slice, put_u32, wire_struct};

/// ioctl number: no argument data.
pub const IOC_NONE: u32 = 0;
/// ioctl number: the kernel reads the argument.
pub const IOC_WRITE: u32 = 1;
/// ioctl number: the kernel writes the argument.
pub const IOC_READ: u32 = 2;

/// Composes a request number of direction, type letter, number and argument size.
pub const fn ioc(dir: u32, ty: u8, nr: u8, size: u32) -> u32 {
    (dir & 3) << 30 | (size & 0x3fff) << 16 | (ty as u32) << 8 | nr as u32
}

/// Argument size a request number declares, in bytes.
pub const fn ioc_size(request: u32) -> usize {
    ((request >> 16) & 0x3fff) as usize
}

// Terminal settings.
pub const TCGETS: u32 = 0x5401;
pub const TCSETS: u32 = 0x5402;
pub const TCSETSW: u32 = 0x5403;
pub const TCSETSF: u32 = 0x5404;
pub const TCGETA: u32 = 0x5405;
pub const TCSETA: u32 = 0x5406;
pub const TCSETAW: u32 = 0x5407;
pub const TCSETAF: u32 = 0x5408;
pub const TCSBRK: u32 = 0x5409;
pub const TCXONC: u32 = 0x540a;
pub const TCFLSH: u32 = 0x540b;
pub const TCSBRKP: u32 = 0x5425;
pub const TCGETS2: u32 = 0x802c542a;
pub const TCSETS2: u32 = 0x402c542b;
pub const TCSETSW2: u32 = 0x402c542c;
pub const TCSETSF2: u32 = 0x402c542d;

// Terminals, pseudo terminals, job control.
pub const TIOCEXCL: u32 = 0x540c;
pub const TIOCNXCL: u32 = 0x540d;
pub const TIOCSCTTY: u32 = 0x540e;
pub const TIOCGPGRP: u32 = 0x540f;
pub const TIOCSPGRP: u32 = 0x5410;
pub const TIOCOUTQ: u32 = 0x5411;
pub const TIOCSTI: u32 = 0x5412;
pub const TIOCGWINSZ: u32 = 0x5413;
pub const TIOCSWINSZ: u32 = 0x5414;
pub const TIOCMGET: u32 = 0x5415;
pub const TIOCMBIS: u32 = 0x5416;
pub const TIOCMBIC: u32 = 0x5417;
pub const TIOCMSET: u32 = 0x5418;
pub const TIOCGSOFTCAR: u32 = 0x5419;
pub const TIOCSSOFTCAR: u32 = 0x541a;
pub const TIOCINQ: u32 = 0x541b;
pub const TIOCLINUX: u32 = 0x541c;
pub const TIOCCONS: u32 = 0x541d;
pub const TIOCGSERIAL: u32 = 0x541e;
pub const TIOCSSERIAL: u32 = 0x541f;
pub const TIOCPKT: u32 = 0x5420;
pub const TIOCNOTTY: u32 = 0x5422;
pub const TIOCSETD: u32 = 0x5423;
pub const TIOCGETD: u32 = 0x5424;
pub const TIOCSBRK: u32 = 0x5427;
pub const TIOCCBRK: u32 = 0x5428;
pub const TIOCGSID: u32 = 0x5429;
pub const TIOCGRS485: u32 = 0x542e;
pub const TIOCGPTN: u32 = 0x80045430;
pub const TIOCSPTLCK: u32 = 0x40045431;
pub const TIOCGDEV: u32 = 0x80045432;
pub const TIOCSIG: u32 = 0x40045436;
pub const TIOCVHANGUP: u32 = 0x5437;
pub const TIOCGPKT: u32 = 0x80045438;
pub const TIOCGPTLCK: u32 = 0x80045439;
pub const TIOCGEXCL: u32 = 0x80045440;
pub const TIOCGPTPEER: u32 = 0x5441;
pub const TIOCMIWAIT: u32 = 0x545c;
pub const TIOCGICOUNT: u32 = 0x545d;
pub const TIOCGLCKTRMIOS: u32 = 0x5456;
pub const TIOCSLCKTRMIOS: u32 = 0x5457;

// Any file.
pub const FIONREAD: u32 = 0x541b;
pub const FIONBIO: u32 = 0x5421;
pub const FIONCLEX: u32 = 0x5450;
pub const FIOCLEX: u32 = 0x5451;
pub const FIOASYNC: u32 = 0x5452;
pub const FIOQSIZE: u32 = 0x5460;
pub const FIBMAP: u32 = 0x1;
pub const FIGETBSZ: u32 = 0x2;
pub const FICLONE: u32 = 0x40049409;
pub const FICLONERANGE: u32 = 0x4020940d;
pub const FIFREEZE: u32 = 0xc0045877;
pub const FITHAW: u32 = 0xc0045878;
pub const FITRIM: u32 = 0xc0185879;
pub const FS_IOC_GETFLAGS: u32 = 0x80086601;
pub const FS_IOC_SETFLAGS: u32 = 0x40086602;
pub const FS_IOC_GETVERSION: u32 = 0x80087601;
pub const FS_IOC_FSGETXATTR: u32 = 0x801c581f;
pub const FS_IOC_FSSETXATTR: u32 = 0x401c5820;
pub const FS_IOC_FIEMAP: u32 = 0xc020660b;

// File attributes (FS_IOC_GETFLAGS).
pub const FS_SECRM_FL: u32 = 0x1;
pub const FS_SYNC_FL: u32 = 0x8;
pub const FS_IMMUTABLE_FL: u32 = 0x10;
pub const FS_APPEND_FL: u32 = 0x20;
pub const FS_NODUMP_FL: u32 = 0x40;
pub const FS_NOATIME_FL: u32 = 0x80;
pub const FS_DIRSYNC_FL: u32 = 0x10000;
pub const FS_TOPDIR_FL: u32 = 0x20000;

// Block devices.
pub const BLKROSET: u32 = 0x125d;
pub const BLKROGET: u32 = 0x125e;
pub const BLKRRPART: u32 = 0x125f;
pub const BLKGETSIZE: u32 = 0x1260;
pub const BLKFLSBUF: u32 = 0x1261;
pub const BLKRASET: u32 = 0x1262;
pub const BLKRAGET: u32 = 0x1263;
pub const BLKSSZGET: u32 = 0x1268;
pub const BLKBSZGET: u32 = 0x80081270;
pub const BLKBSZSET: u32 = 0x40081271;
pub const BLKGETSIZE64: u32 = 0x80081272;
pub const BLKDISCARD: u32 = 0x1277;
pub const BLKIOMIN: u32 = 0x1278;
pub const BLKIOOPT: u32 = 0x1279;
pub const BLKALIGNOFF: u32 = 0x127a;
pub const BLKPBSZGET: u32 = 0x127b;
pub const BLKDISCARDZEROES: u32 = 0x127c;
pub const BLKSECDISCARD: u32 = 0x127d;
pub const BLKROTATIONAL: u32 = 0x127e;
pub const BLKZEROOUT: u32 = 0x127f;

// Random devices (random(4)).
pub const RNDGETENTCNT: u32 = 0x80045200;
pub const RNDADDTOENTCNT: u32 = 0x40045201;
pub const RNDADDENTROPY: u32 = 0x40085203;
pub const RNDZAPENTCNT: u32 = 0x5204;
pub const RNDCLEARPOOL: u32 = 0x5206;
pub const RNDRESEEDCRNG: u32 = 0x5207;

// Sockets and interfaces (netdevice(7)).
pub const FIOSETOWN: u32 = 0x8901;
pub const SIOCSPGRP: u32 = 0x8902;
pub const FIOGETOWN: u32 = 0x8903;
pub const SIOCGPGRP: u32 = 0x8904;
pub const SIOCATMARK: u32 = 0x8905;
pub const SIOCGSTAMP_OLD: u32 = 0x8906;
pub const SIOCGIFNAME: u32 = 0x8910;
pub const SIOCGIFCONF: u32 = 0x8912;
pub const SIOCGIFFLAGS: u32 = 0x8913;
pub const SIOCSIFFLAGS: u32 = 0x8914;
pub const SIOCGIFADDR: u32 = 0x8915;
pub const SIOCSIFADDR: u32 = 0x8916;
pub const SIOCGIFDSTADDR: u32 = 0x8917;
pub const SIOCGIFBRDADDR: u32 = 0x8919;
pub const SIOCSIFBRDADDR: u32 = 0x891a;
pub const SIOCGIFNETMASK: u32 = 0x891b;
pub const SIOCSIFNETMASK: u32 = 0x891c;
pub const SIOCGIFMETRIC: u32 = 0x891d;
pub const SIOCGIFMTU: u32 = 0x8921;
pub const SIOCSIFMTU: u32 = 0x8922;
pub const SIOCSIFHWADDR: u32 = 0x8924;
pub const SIOCGIFHWADDR: u32 = 0x8927;
pub const SIOCGIFINDEX: u32 = 0x8933;
pub const SIOCGIFTXQLEN: u32 = 0x8942;
pub const SIOCADDRT: u32 = 0x890b;
pub const SIOCDELRT: u32 = 0x890c;
pub const SIOCETHTOOL: u32 = 0x8946;
/// Bytes waiting to be read from a socket.
pub const SIOCINQ: u32 = FIONREAD;
/// Bytes waiting to be sent.
pub const SIOCOUTQ: u32 = TIOCOUTQ;

// TIOCMGET bits.
pub const TIOCM_LE: u32 = 0x1;
pub const TIOCM_DTR: u32 = 0x2;
pub const TIOCM_RTS: u32 = 0x4;
pub const TIOCM_CTS: u32 = 0x20;
pub const TIOCM_CAR: u32 = 0x40;
pub const TIOCM_RNG: u32 = 0x80;
pub const TIOCM_DSR: u32 = 0x100;

// TIOCPKT status bits (ioctl_tty(2)).
pub const TIOCPKT_DATA: u8 = 0x0;
pub const TIOCPKT_FLUSHREAD: u8 = 0x1;
pub const TIOCPKT_FLUSHWRITE: u8 = 0x2;
pub const TIOCPKT_STOP: u8 = 0x4;
pub const TIOCPKT_START: u8 = 0x8;
pub const TIOCPKT_NOSTOP: u8 = 0x10;
pub const TIOCPKT_DOSTOP: u8 = 0x20;
pub const TIOCPKT_IOCTL: u8 = 0x40;

// tcflush(3), tcflow(3).
pub const TCIFLUSH: u64 = 0;
pub const TCOFLUSH: u64 = 1;
pub const TCIOFLUSH: u64 = 2;
pub const TCOOFF: u64 = 0;
pub const TCOON: u64 = 1;
pub const TCIOFF: u64 = 2;
pub const TCION: u64 = 3;

// Input flags.
pub const IGNBRK: u32 = 0o1;
pub const BRKINT: u32 = 0o2;
pub const IGNPAR: u32 = 0o4;
pub const PARMRK: u32 = 0o10;
pub const INPCK: u32 = 0o20;
pub const ISTRIP: u32 = 0o40;
pub const INLCR: u32 = 0o100;
pub const IGNCR: u32 = 0o200;
pub const ICRNL: u32 = 0o400;
pub const IUCLC: u32 = 0o1000;
pub const IXON: u32 = 0o2000;
pub const IXANY: u32 = 0o4000;
pub const IXOFF: u32 = 0o10000;
pub const IMAXBEL: u32 = 0o20000;
pub const IUTF8: u32 = 0o40000;
// Output flags.
pub const OPOST: u32 = 0o1;
pub const OLCUC: u32 = 0o2;
pub const ONLCR: u32 = 0o4;
pub const OCRNL: u32 = 0o10;
pub const ONOCR: u32 = 0o20;
pub const ONLRET: u32 = 0o40;
pub const OFILL: u32 = 0o100;
pub const OFDEL: u32 = 0o200;
pub const NLDLY: u32 = 0o400;
pub const CRDLY: u32 = 0o3000;
pub const TABDLY: u32 = 0o14000;
pub const TAB3: u32 = 0o14000;
pub const XTABS: u32 = 0o14000;
pub const BSDLY: u32 = 0o20000;
pub const VTDLY: u32 = 0o40000;
pub const FFDLY: u32 = 0o100000;
// Control flags.
pub const CBAUD: u32 = 0o10017;
pub const CBAUDEX: u32 = 0o10000;
pub const CIBAUD: u32 = 0o2003600000;
pub const BOTHER: u32 = 0o10000;
pub const CSIZE: u32 = 0o60;
pub const CS5: u32 = 0o0;
pub const CS6: u32 = 0o20;
pub const CS7: u32 = 0o40;
pub const CS8: u32 = 0o60;
pub const CSTOPB: u32 = 0o100;
pub const CREAD: u32 = 0o200;
pub const PARENB: u32 = 0o400;
pub const PARODD: u32 = 0o1000;
pub const HUPCL: u32 = 0o2000;
pub const CLOCAL: u32 = 0o4000;
pub const CMSPAR: u32 = 0o10000000000;
pub const CRTSCTS: u32 = 0o20000000000;
pub const ADDRB: u32 = 0o4000000000;
// Speeds.
pub const B0: u32 = 0o0;
pub const B50: u32 = 0o1;
pub const B75: u32 = 0o2;
pub const B110: u32 = 0o3;
pub const B134: u32 = 0o4;
pub const B150: u32 = 0o5;
pub const B200: u32 = 0o6;
pub const B300: u32 = 0o7;
pub const B600: u32 = 0o10;
pub const B1200: u32 = 0o11;
pub const B1800: u32 = 0o12;
pub const B2400: u32 = 0o13;
pub const B4800: u32 = 0o14;
pub const B9600: u32 = 0o15;
pub const B19200: u32 = 0o16;
pub const B38400: u32 = 0o17;
pub const B57600: u32 = 0o10001;
pub const B115200: u32 = 0o10002;
pub const B230400: u32 = 0o10003;
pub const B460800: u32 = 0o10004;
pub const B500000: u32 = 0o10005;
pub const B576000: u32 = 0o10006;
pub const B921600: u32 = 0o10007;
pub const B1000000: u32 = 0o10010;
pub const B1152000: u32 = 0o10011;
pub const B1500000: u32 = 0o10012;
pub const B2000000: u32 = 0o10013;
pub const B2500000: u32 = 0o10014;
pub const B3000000: u32 = 0o10015;
pub const B3500000: u32 = 0o10016;
pub const B4000000: u32 = 0o10017;
// Local flags.
pub const ISIG: u32 = 0o1;
pub const ICANON: u32 = 0o2;
pub const XCASE: u32 = 0o4;
pub const ECHO: u32 = 0o10;
pub const ECHOE: u32 = 0o20;
pub const ECHOK: u32 = 0o40;
pub const ECHONL: u32 = 0o100;
pub const NOFLSH: u32 = 0o200;
pub const TOSTOP: u32 = 0o400;
pub const ECHOCTL: u32 = 0o1000;
pub const ECHOPRT: u32 = 0o2000;
pub const ECHOKE: u32 = 0o4000;
pub const FLUSHO: u32 = 0o10000;
pub const PENDIN: u32 = 0o40000;
pub const IEXTEN: u32 = 0o100000;
pub const EXTPROC: u32 = 0o200000;

// Indices of control characters.
pub const VINTR: usize = 0;
pub const VQUIT: usize = 1;
pub const VERASE: usize = 2;
pub const VKILL: usize = 3;
pub const VEOF: usize = 4;
pub const VTIME: usize = 5;
pub const VMIN: usize = 6;
pub const VSWTC: usize = 7;
pub const VSTART: usize = 8;
pub const VSTOP: usize = 9;
pub const VSUSP: usize = 10;
pub const VEOL: usize = 11;
pub const VREPRINT: usize = 12;
pub const VDISCARD: usize = 13;
pub const VWERASE: usize = 14;
pub const VLNEXT: usize = 15;
pub const VEOL2: usize = 16;
/// Number of control characters in the kernel's structure.
pub const NCCS: usize = 19;
/// A control character of this value is switched off.
pub const DISABLED_CHAR: u8 = 0;

// Line disciplines (TIOCSETD).
pub const N_TTY: i32 = 0;
pub const N_SLIP: i32 = 1;
pub const N_PPP: i32 = 3;

/// Terminal settings (termios(3)); both kernel layouts are encodings of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termios {
    /// Input flags.
    pub iflag: u32,
    /// Output flags.
    pub oflag: u32,
    /// Control flags.
    pub cflag: u32,
    /// Local flags.
    pub lflag: u32,
    /// Line discipline.
    pub line: u8,
    /// Control characters, indexed by `V*`.
    pub cc: [u8; NCCS],
    /// Input speed in baud, only in `termios2`.
    pub ispeed: u32,
    /// Output speed in baud, only in `termios2`.
    pub ospeed: u32,
}

impl Termios {
    /// Size of `struct termios` in guest memory, in bytes.
    pub const SIZE: usize = 36;
    /// Size of `struct termios2` in guest memory, in bytes.
    pub const SIZE2: usize = 44;

    /// What a new terminal starts with: canonical mode with echo, 38400 baud.
    pub const SANE: Termios = Termios {
        iflag: ICRNL | IXON,
        oflag: OPOST | ONLCR,
        cflag: B38400 | CS8 | CREAD | HUPCL,
        lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        line: 0,
        // ^C ^\ DEL ^U ^D, VTIME 0, VMIN 1, off, ^Q ^S ^Z, off, ^R ^O ^W ^V, off.
        cc: [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0],
        ispeed: 38400,
        ospeed: 38400,
    };

    /// `struct termios`, as TCGETS answers.
    pub fn encode(&self) -> [u8; 36] {
        get_array(&self.encode2(), 0)
    }

    /// `struct termios2`, as TCGETS2 answers.
    pub fn encode2(&self) -> [u8; 44] {
        let mut out = [0; 44];
        put_u32(&mut out, 0, self.iflag);
        put_u32(&mut out, 4, self.oflag);
        put_u32(&mut out, 8, self.cflag);
        put_u32(&mut out, 12, self.lflag);
        out[16] = self.line;
        put_slice(&mut out, 17, &self.cc);
        put_u32(&mut out, 36, self.ispeed);
        put_u32(&mut out, 40, self.ospeed);
        out
    }

    /// Reads `struct termios`; the speeds follow from `cflag` (0 if it names none).
    pub fn decode(bytes: &[u8; 36]) -> Termios {
        let mut long = [0; 44];
        put_slice(&mut long, 0, bytes);
        let mut termios = Termios::decode2(&long);
        let speed = speed_of(termios.cflag).unwrap_or(0);
        termios.ispeed = speed;
        termios.ospeed = speed;
        termios
    }

    /// These settings replaced by a `struct termios`, as TCSETS does; with `BOTHER` the speeds stay as they are.
    pub fn updated(&self, bytes: &[u8; 36]) -> Termios {
        let mut new = Termios::decode(bytes);
        if speed_of(new.cflag).is_none() {
            new.ispeed = self.ispeed;
            new.ospeed = self.ospeed;
        }
        new
    }

    /// Reads `struct termios2`.
    pub fn decode2(bytes: &[u8; 44]) -> Termios {
        Termios {
            iflag: get_u32(bytes, 0),
            oflag: get_u32(bytes, 4),
            cflag: get_u32(bytes, 8),
            lflag: get_u32(bytes, 12),
            line: bytes[16],
            cc: get_array(bytes, 17),
            ispeed: get_u32(bytes, 36),
            ospeed: get_u32(bytes, 40),
        }
    }
}

impl Default for Termios {
    fn default() -> Termios {
        Termios::SANE
    }
}

/// Baud rate of the speed bits in `cflag`; `None` for `BOTHER` and unknown codes.
pub const fn speed_of(cflag: u32) -> Option<u32> {
    Some(match cflag & CBAUD {
        B0 => 0,
        B50 => 50,
        B75 => 75,
        B110 => 110,
        B134 => 134,
        B150 => 150,
        B200 => 200,
        B300 => 300,
        B600 => 600,
        B1200 => 1200,
        B1800 => 1800,
        B2400 => 2400,
        B4800 => 4800,
        B9600 => 9600,
        B19200 => 19200,
        B38400 => 38400,
        B57600 => 57600,
        B115200 => 115_200,
        B230400 => 230_400,
        B460800 => 460_800,
        B500000 => 500_000,
        B576000 => 576_000,
        B921600 => 921_600,
        B1000000 => 1_000_000,
        B1152000 => 1_152_000,
        B1500000 => 1_500_000,
        B2000000 => 2_000_000,
        B2500000 => 2_500_000,
        B3000000 => 3_000_000,
        B3500000 => 3_500_000,
        B4000000 => 4_000_000,
        _ => return None,
    })
}

wire_struct! {
    /// Size of a terminal's window (ioctl_tty(2)).
    Winsize [8] {
        /// Rows of characters.
        row: u16 @ 0,
        /// Columns of characters.
        col: u16 @ 2,
        /// Width in pixels, unused.
        xpixel: u16 @ 4,
        /// Height in pixels, unused.
        ypixel: u16 @ 6,
    }
}
