//! Behaviour of the helpers: what is encoded decodes to the same, limits hold, bad input is refused.

use crate::errno::EINVAL;
use crate::net::{SockAddrIn, cmsg_len, cmsg_space};
use crate::poll::encode_signalfd;
use crate::signal::*;
use crate::time::{NSEC_PER_SEC, SigEvent};
use crate::wire::{get_i32, get_u16, get_u32, get_u64};
use crate::*;

#[test]
fn signal_sets() {
    let mut set = SigSet::EMPTY;
    assert_eq!(set.first(), None);
    set.add(SIGTERM);
    set.add(SIGSEGV);
    set.add(SIGHUP);
    assert!(set.has(SIGTERM) && !set.has(SIGINT));
    assert_eq!(set.first(), Some(SIGHUP));
    assert_eq!(set.first_to_deliver(), Some(SIGSEGV));
    assert_eq!(set.iter().collect::<Vec<_>>(), [SIGHUP, SIGSEGV, SIGTERM]);
    set.remove(SIGHUP);
    assert_eq!(set, SigSet::of(&[SIGSEGV, SIGTERM]));
    assert_eq!(SigSet::FULL.iter().count(), 64);
    assert_eq!(SigSet::FULL.iter().collect::<SigSet>(), SigSet::FULL);
    assert_eq!(SigSet::decode(&set.encode()), set);
    assert_eq!(Signal::new(0), None);
    assert_eq!(Signal::new(65), None);
    assert_eq!(Signal::check(-1), Err(EINVAL));
    assert_eq!(format!("{:?} {}", Signal::new(34).expect("valid"), SIGKILL), "SIGRT_2 SIGKILL");
    assert!(SIGKILL.is_unblockable() && SIGSTOP.is_unblockable() && !SIGINT.is_unblockable());
}

#[test]
fn siginfo_of_every_kind() {
    let kinds = [
        SigInfo::user(SIGTERM, 12, 1000),
        SigInfo::tkill(SIGUSR1, 12, 1000),
        SigInfo::kernel(SIGSEGV),
        SigInfo::fault(SIGSEGV, SEGV_MAPERR, 0xdead_beef_0000),
        SigInfo::new(SIGALRM, SI_TIMER, SigFields::Timer { id: 3, overrun: 4, value: 5 }),
        SigInfo::new(
            Signal::new(40).expect("valid"),
            SI_QUEUE,
            SigFields::Rt { pid: 1, uid: 2, value: u64::MAX },
        ),
        SigInfo::new(SIGCHLD, CLD_EXITED, SigFields::Chld { pid: 9, uid: 8, status: 7, utime: 6, stime: 5 }),
        SigInfo::new(SIGIO, POLL_IN, SigFields::Poll { band: 0x41, fd: 3 }),
        SigInfo::new(
            SIGSYS,
            SYS_SECCOMP,
            SigFields::Sys { call_addr: 1, nr: 2, arch: sched::AUDIT_ARCH_X86_64 },
        ),
    ];
    for info in kinds {
        assert_eq!(SigInfo::decode(&info.encode()), info);
    }
}

#[test]
fn any_siginfo_keeps_its_bytes() {
    let mut bytes = [0u8; 128];
    for signo in -1..70 {
        for code in [-70, SI_TKILL, SI_TIMER, SI_SIGIO, SI_QUEUE, 0, 1, 6, 7, SI_KERNEL, i32::MAX] {
            bytes[0..4].copy_from_slice(&signo_bytes(signo));
            bytes[8..12].copy_from_slice(&code.to_le_bytes());
            for (i, byte) in bytes[16..48].iter_mut().enumerate() {
                *byte = i as u8 + 1;
            }
            assert_eq!(SigInfo::decode(&bytes).encode(), bytes);
        }
    }
}

fn signo_bytes(signo: i32) -> [u8; 4] {
    signo.to_le_bytes()
}

#[test]
fn signalfd_records() {
    let bytes = encode_signalfd(&SigInfo::user(SIGTERM, 12, 1000));
    assert_eq!((get_i32(&bytes, 0), get_u32(&bytes, 12), get_u32(&bytes, 16)), (15, 12, 1000));
    let fields = SigFields::Rt { pid: 1, uid: 2, value: 0x1_0000_0002 };
    let bytes = encode_signalfd(&SigInfo::new(SIGUSR1, SI_QUEUE, fields));
    assert_eq!((get_i32(&bytes, 44), get_u64(&bytes, 48)), (2, 0x1_0000_0002));
}

#[test]
fn contexts() {
    let mut uc =
        UContext { flags: sigframe::UC_FP_XSTATE, sigmask: SigSet::of(&[SIGINT]), ..Default::default() };
    uc.mcontext.r8 = 1;
    uc.mcontext.rip = 2;
    uc.mcontext.cs = sigframe::USER_CS;
    uc.mcontext.ss = sigframe::USER_SS;
    uc.mcontext.fpstate = 3;
    assert_eq!(UContext::decode(&uc.encode()), uc);
    let frame = sigframe::encode_frame(7, &uc, &SigInfo::kernel(SIGSEGV));
    // Absolute places as gdb and libgcc's unwinder know them.
    assert_eq!(get_u64(&frame, 0), 7);
    assert_eq!(get_u64(&frame, 8 + 40), 1);
    assert_eq!(get_u64(&frame, 8 + 40 + 128), 2);
    assert_eq!(get_u16(&frame, 8 + 40 + 144), 0x33);
    assert_eq!(get_u64(&frame, 8 + 40 + 184), 3);
    assert_eq!(get_u64(&frame, 8 + 296), 2);
    assert_eq!(get_i32(&frame, 312), 11);
    for top in [0x7fff_0000_1237, 0x1000] {
        let place = sigframe::place(top, 836).expect("room");
        assert_eq!((place.frame % 16, place.fpstate % 64), (8, 0));
        assert!(place.frame + 440 <= place.fpstate && place.fpstate + 836 <= top);
    }
    assert_eq!(sigframe::place(1000, 836), None);
}

#[test]
fn device_numbers() {
    assert_eq!(makedev(8, 1), 0x801);
    for (a, b) in
        [(0, 0), (4, 64), (0xfff, 0xfffff), (0x1000, 0x100), (u32::MAX, u32::MAX), (0xabcd_1234, 0x4321_dcba)]
    {
        assert_eq!((major(makedev(a, b)), minor(makedev(a, b))), (a, b));
    }
}

#[test]
fn file_types() {
    for kind in [
        FileType::Fifo,
        FileType::Char,
        FileType::Directory,
        FileType::Block,
        FileType::Regular,
        FileType::Symlink,
        FileType::Socket,
    ] {
        assert_eq!(FileType::from_mode(kind.mode() | 0o7777), Some(kind));
        assert_eq!(FileType::from_d_type(kind.d_type()), Some(kind));
    }
    assert_eq!(FileType::Directory.d_type(), fs::DT_DIR);
    assert_eq!(FileType::from_mode(0o644), None);
    assert_eq!(FileType::from_d_type(fs::DT_WHT), None);
    assert_eq!(FileType::from_d_type(16 + 4), None);
}

#[test]
fn access_modes() {
    let flags = OpenFlags::from_bits_retain(fs::O_RDWR | fs::O_APPEND);
    assert!(flags.readable() && flags.writable());
    assert!(OpenFlags::empty().readable() && !OpenFlags::empty().writable());
    assert!(!OpenFlags::from_bits_retain(3).readable());
    assert!(!OpenFlags::PATH.readable());
    assert_eq!(OpenFlags::all().bits() & fs::O_TMPFILE, fs::O_TMPFILE);
    assert_eq!(OpenFlags::all().bits() & fs::O_SYNC, fs::O_SYNC);
}

#[test]
fn directory_records() {
    let mut out = Vec::new();
    assert!(stat::push_dirent64(&mut out, 48, 1, 2, fs::DT_REG, b"abcd"));
    assert_eq!((out.len(), get_u16(&out, 16), out[18]), (24, 24, fs::DT_REG));
    assert_eq!(&out[19..24], b"abcd\0");
    assert!(!stat::push_dirent64(&mut out, 48, 1, 2, fs::DT_REG, b"abcde-x"));
    assert_eq!(out.len(), 24);
    assert!(stat::push_dirent64(&mut out, 48, 5, 6, fs::DT_DIR, b""));
    assert_eq!((get_u64(&out, 24), get_u64(&out, 32)), (5, 6));
    assert!(!stat::push_dirent64(&mut out, usize::MAX, 1, 2, fs::DT_REG, &[b'a'; 65536]));
    let mut old = Vec::new();
    assert!(stat::push_dirent(&mut old, 24, 1, 2, fs::DT_LNK, b"abcd"));
    assert_eq!((old.len(), old[23], &old[18..23]), (24, fs::DT_LNK, &b"abcd\0"[..]));
    assert!(stat::push_dirent(&mut old, 64, 1, 2, fs::DT_LNK, b"abcde"));
    assert_eq!((old.len(), get_u16(&old, 24 + 16)), (56, 32));
}

#[test]
fn inotify_records() {
    assert_eq!(stat::encode_inotify_event(1, 2, 3, b"").len(), 16);
    let event = stat::encode_inotify_event(1, 2, 3, b"0123456789abcdef");
    assert_eq!((event.len(), get_u32(&event, 12)), (48, 32));
}

#[test]
fn times() {
    let bad = [(-1, 0), (0, -1), (0, NSEC_PER_SEC)];
    for (sec, nsec) in bad {
        assert_eq!(Timespec { sec, nsec }.check(), Err(EINVAL));
    }
    assert_eq!(Timespec { sec: i64::MAX, nsec: 0 }.to_ns(), i64::MAX);
    assert_eq!(Timespec { sec: i64::MAX, nsec: 0 }.checked_ns(), None);
    assert_eq!(Timespec { sec: i64::MIN, nsec: -1 }.to_ns(), i64::MIN);
    for ns in [0, 1, -1, 1_500_000_000, i64::MAX, i64::MIN] {
        assert_eq!(Timespec::from_ns(ns).to_ns(), ns);
    }
    assert_eq!(Timeval::from_ns(1_000_001_999), Timeval { sec: 1, usec: 1 });
    assert_eq!(Timeval { sec: 1, usec: 1_000_000 }.check(), Err(EINVAL));
    assert_eq!(Timeval { sec: i64::MAX, usec: i64::MAX }.to_ns(), i64::MAX);
    let timer = Itimerspec { interval: Timespec::from_ns(5), value: Timespec::from_ns(7) };
    assert_eq!(Itimerspec::decode(&timer.encode()).check(), Ok(timer));
    let event = SigEvent { value: 1, signo: 2, notify: 4, tid: 5 };
    assert_eq!(SigEvent::decode(&event.encode()), event);
}

#[test]
fn terminals() {
    let sane = Termios::SANE;
    assert_eq!(Termios::decode(&sane.encode()), sane);
    assert_eq!(Termios::decode2(&sane.encode2()), sane);
    assert_eq!(sane.cc[ioctl::VERASE], 0x7f);
    assert_eq!((sane.cc[ioctl::VSUSP], sane.cc[ioctl::VLNEXT]), (0x1a, 0x16));
    // As `stty -g` shows a fresh terminal.
    assert_eq!((sane.iflag, sane.oflag, sane.cflag, sane.lflag), (0x500, 5, 0x4bf, 0x8a3b));
    let other = Termios { cflag: ioctl::BOTHER | ioctl::CS8, ispeed: 0, ospeed: 0, ..sane };
    assert_eq!(sane.updated(&other.encode()).ospeed, 38400);
    let fast = Termios { cflag: ioctl::B115200 | ioctl::CS8, ..sane };
    assert_eq!(sane.updated(&fast.encode()).ospeed, 115_200);
    assert_eq!(ioctl::ioc(ioctl::IOC_READ, b'T', 0x30, 4), ioctl::TIOCGPTN);
    assert_eq!(ioctl::ioc_size(ioctl::TCGETS2), Termios::SIZE2);
}

#[test]
fn unix_addresses() {
    let decode = |tail: &[u8]| UnixAddr::decode(&[&[1, 0], tail].concat());
    assert_eq!(decode(b""), Ok(UnixAddr::Unnamed));
    assert_eq!(decode(b"/a\0junk"), Ok(UnixAddr::Path(b"/a".to_vec())));
    assert_eq!(decode(b"\0a\0b"), Ok(UnixAddr::Abstract(b"a\0b".to_vec())));
    assert_eq!(decode(&[b'x'; 108]), Ok(UnixAddr::Path(vec![b'x'; 108])));
    assert_eq!(decode(&[b'x'; 109]), Err(EINVAL));
    assert_eq!(UnixAddr::decode(&[1]), Err(EINVAL));
    assert_eq!(UnixAddr::decode(&[2, 0, b'/']), Err(EINVAL));
    for addr in [UnixAddr::Unnamed, UnixAddr::Path(b"/run/x".to_vec()), UnixAddr::Abstract(b"x\0".to_vec())] {
        assert_eq!(UnixAddr::decode(&addr.encode()), Ok(addr));
    }
    let inet = SockAddrIn { port: 0x1234, addr: [127, 0, 0, 1] };
    assert_eq!(inet.encode()[..8], [2, 0, 0x12, 0x34, 127, 0, 0, 1]);
    assert_eq!(SockAddrIn::decode(&inet.encode()), inet);
}

#[test]
fn control_messages() {
    assert_eq!((cmsg_len(4), cmsg_space(4), cmsg_space(0)), (20, 24, 16));
    assert_eq!(cmsg_space(usize::MAX), usize::MAX & !7);
}

#[test]
fn names_of_the_system() {
    let names = Utsname { sysname: b"Linux".to_vec(), domainname: vec![b'd'; 100], ..Default::default() };
    let bytes = names.encode();
    assert_eq!(&bytes[..6], b"Linux\0");
    assert_eq!((bytes[325], bytes[388], bytes[389]), (b'd', b'd', 0));
}

#[test]
fn capabilities() {
    let data = CapData { effective: cap::CAP_FULL_SET, permitted: 1 << 40, inheritable: 1 };
    assert_eq!(cap::CAP_FULL_SET, 0x1ff_ffff_ffff);
    assert_eq!(CapData::decode(&data.encode()), data);
    assert_eq!(get_u32(&data.encode(), 12), 0x1ff);
}

#[test]
fn wait_words() {
    assert_eq!(sched::wait_exited(0x103), 0x300);
    assert_eq!(sched::wait_signaled(11, true), 0x8b);
    assert_eq!(sched::wait_stopped(19), 0x137f);
}

#[test]
fn pages() {
    assert_eq!(mm::page_up(1), Some(4096));
    assert_eq!(mm::page_up(u64::MAX), None);
    assert_eq!(mm::page_down(8191), 4096);
    assert_eq!(Prot::RWX.bits(), 7);
}
