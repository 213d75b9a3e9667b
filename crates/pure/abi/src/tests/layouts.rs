//! Sizes and offsets of structures: each field is given a value of its own and looked for where the bindings have it.

use core::mem::{offset_of, size_of};

use linux_raw_sys::{general as g, net as n, system as s};

use crate::*;

/// Bytes at the place of a field of a bindings' structure hold a value.
macro_rules! at {
    ($bytes:expr, $ty:ty, $field:ident $(. $rest:ident)*, $value:expr) => {{
        let (at, value) = (offset_of!($ty, $field $(. $rest)*), $value.to_le_bytes());
        assert_eq!(&$bytes[at..at + value.len()], &value[..], "{}.{}", stringify!($ty), stringify!($field));
    }};
}

#[test]
fn sizes() {
    assert_eq!(Stat::SIZE, size_of::<g::stat>());
    assert_eq!(Statx::SIZE, size_of::<g::statx>());
    assert_eq!(Statfs::SIZE, size_of::<g::statfs>());
    assert_eq!(Flock::SIZE, size_of::<g::flock>());
    assert_eq!(stat::OpenHow::SIZE, size_of::<g::open_how>());
    assert_eq!(Timespec::SIZE, size_of::<g::timespec>());
    assert_eq!(Itimerspec::SIZE, size_of::<g::itimerspec>());
    assert_eq!(Itimerval::SIZE, size_of::<g::itimerval>());
    assert_eq!(time::SigEvent::SIZE, size_of::<g::sigevent>());
    assert_eq!(SigInfo::SIZE, size_of::<g::siginfo_t>());
    assert_eq!(SigAction::SIZE, size_of::<g::kernel_sigaction>());
    assert_eq!(SigStack::SIZE, size_of::<g::stack_t>());
    assert_eq!(Termios::SIZE, size_of::<g::termios>());
    assert_eq!(Termios::SIZE2, size_of::<g::termios2>());
    assert_eq!(Winsize::SIZE, size_of::<g::winsize>());
    assert_eq!(EpollEvent::SIZE, size_of::<g::epoll_event>());
    assert_eq!(PollFd::SIZE, size_of::<g::pollfd>());
    assert_eq!(IoVec::SIZE, size_of::<g::iovec>());
    assert_eq!(MsgHdr::SIZE, size_of::<n::msghdr>());
    assert_eq!(net::MMSGHDR_SIZE, size_of::<n::mmsghdr>());
    assert_eq!(net::CMsgHdr::SIZE, size_of::<n::cmsghdr>());
    assert_eq!(UCred::SIZE, size_of::<n::ucred>());
    assert_eq!(net::SOCKADDR_UN_SIZE, size_of::<n::sockaddr_un>());
    assert_eq!(net::SockAddrIn::SIZE, size_of::<n::sockaddr_in>());
    assert_eq!(net::SockAddrIn6::SIZE, size_of::<n::sockaddr_in6>());
    assert_eq!(Rusage::SIZE, size_of::<g::rusage>());
    assert_eq!(Sysinfo::SIZE, size_of::<s::sysinfo>());
    assert_eq!(Utsname::SIZE, size_of::<s::new_utsname>());
    assert_eq!(sched::CloneArgs::SIZE, size_of::<g::clone_args>());
    assert_eq!(sched::RobustListHead::SIZE, size_of::<g::robust_list_head>());
    assert_eq!(sched::FutexWaitv::SIZE, size_of::<g::futex_waitv>());
    assert_eq!(CapData::SIZE, 2 * size_of::<g::__user_cap_data_struct>());
    assert_eq!(CapHeader::SIZE, size_of::<g::__user_cap_header_struct>());
    // The kernel's ucontext and frame as sigreturn(2) expects them on x86-64.
    assert_eq!(UContext::SIZE, 304);
    assert_eq!(sigframe::FRAME_SIZE, 440);
    assert_eq!(sigframe::UC_SIGMASK, 296);
}

fn sample_stat() -> Stat {
    Stat {
        dev: makedev(8, 1),
        ino: 3,
        nlink: 4,
        mode: 0o100644,
        uid: 6,
        gid: 7,
        rdev: makedev(5, 0x12345),
        size: 9,
        blksize: 4096,
        blocks: 11,
        atime: Timespec { sec: 12, nsec: 13 },
        mtime: Timespec { sec: 14, nsec: 15 },
        ctime: Timespec { sec: 16, nsec: 17 },
    }
}

#[test]
fn stat_fields() {
    let st = sample_stat();
    let b = st.encode();
    at!(b, g::stat, st_dev, st.dev);
    at!(b, g::stat, st_ino, st.ino);
    at!(b, g::stat, st_nlink, st.nlink);
    at!(b, g::stat, st_mode, st.mode);
    at!(b, g::stat, st_uid, st.uid);
    at!(b, g::stat, st_gid, st.gid);
    at!(b, g::stat, st_rdev, st.rdev);
    at!(b, g::stat, st_size, st.size);
    at!(b, g::stat, st_blksize, st.blksize);
    at!(b, g::stat, st_blocks, st.blocks);
    at!(b, g::stat, st_atime, 12i64);
    at!(b, g::stat, st_atime_nsec, 13i64);
    at!(b, g::stat, st_mtime, 14i64);
    at!(b, g::stat, st_mtime_nsec, 15i64);
    at!(b, g::stat, st_ctime, 16i64);
    at!(b, g::stat, st_ctime_nsec, 17i64);
}

#[test]
fn statx_fields() {
    let x = Statx {
        attributes: 21,
        attributes_mask: 22,
        btime: Timespec { sec: 23, nsec: 24 },
        mnt_id: 25,
        dio_mem_align: 26,
        dio_offset_align: 27,
        ..Statx::from_stat(sample_stat())
    };
    let b = x.encode();
    at!(b, g::statx, stx_mask, fs::STATX_BASIC_STATS);
    at!(b, g::statx, stx_blksize, 4096u32);
    at!(b, g::statx, stx_attributes, 21u64);
    at!(b, g::statx, stx_nlink, 4u32);
    at!(b, g::statx, stx_uid, 6u32);
    at!(b, g::statx, stx_gid, 7u32);
    at!(b, g::statx, stx_mode, 0o100644u16);
    at!(b, g::statx, stx_ino, 3u64);
    at!(b, g::statx, stx_size, 9u64);
    at!(b, g::statx, stx_blocks, 11u64);
    at!(b, g::statx, stx_attributes_mask, 22u64);
    at!(b, g::statx, stx_atime.tv_sec, 12i64);
    at!(b, g::statx, stx_atime.tv_nsec, 13u32);
    at!(b, g::statx, stx_btime.tv_sec, 23i64);
    at!(b, g::statx, stx_btime.tv_nsec, 24u32);
    at!(b, g::statx, stx_ctime.tv_sec, 16i64);
    at!(b, g::statx, stx_mtime.tv_sec, 14i64);
    at!(b, g::statx, stx_rdev_major, 5u32);
    at!(b, g::statx, stx_rdev_minor, 0x12345u32);
    at!(b, g::statx, stx_dev_major, 8u32);
    at!(b, g::statx, stx_dev_minor, 1u32);
    at!(b, g::statx, stx_mnt_id, 25u64);
    at!(b, g::statx, stx_dio_mem_align, 26u32);
    at!(b, g::statx, stx_dio_offset_align, 27u32);
}

#[test]
fn statfs_and_lock_fields() {
    let sf = Statfs {
        kind: 1,
        bsize: 2,
        blocks: 3,
        bfree: 4,
        bavail: 5,
        files: 6,
        ffree: 7,
        fsid: 8,
        namelen: 9,
        frsize: 10,
        flags: 11,
    };
    let b = sf.encode();
    at!(b, g::statfs, f_type, 1u64);
    at!(b, g::statfs, f_bsize, 2u64);
    at!(b, g::statfs, f_blocks, 3u64);
    at!(b, g::statfs, f_bfree, 4u64);
    at!(b, g::statfs, f_bavail, 5u64);
    at!(b, g::statfs, f_files, 6u64);
    at!(b, g::statfs, f_ffree, 7u64);
    at!(b, g::statfs, f_fsid, 8u64);
    at!(b, g::statfs, f_namelen, 9u64);
    at!(b, g::statfs, f_frsize, 10u64);
    at!(b, g::statfs, f_flags, 11u64);
    let lock = Flock { kind: 1, whence: 2, start: 3, len: 4, pid: 5 }.encode();
    at!(lock, g::flock, l_type, 1u16);
    at!(lock, g::flock, l_whence, 2u16);
    at!(lock, g::flock, l_start, 3u64);
    at!(lock, g::flock, l_len, 4u64);
    at!(lock, g::flock, l_pid, 5u32);
}

#[test]
fn message_and_event_fields() {
    let m = MsgHdr { name: 1, namelen: 2, iov: 3, iovlen: 4, control: 5, controllen: 6, flags: 7 }.encode();
    at!(m, n::msghdr, msg_name, 1u64);
    at!(m, n::msghdr, msg_namelen, 2u32);
    at!(m, n::msghdr, msg_iov, 3u64);
    at!(m, n::msghdr, msg_iovlen, 4u64);
    at!(m, n::msghdr, msg_control, 5u64);
    at!(m, n::msghdr, msg_controllen, 6u64);
    at!(m, n::msghdr, msg_flags, 7u32);
    assert_eq!(net::MMSGHDR_LEN, offset_of!(n::mmsghdr, msg_len));
    let c = net::CMsgHdr { len: 1, level: 2, kind: 3 }.encode();
    at!(c, n::cmsghdr, cmsg_len, 1u64);
    at!(c, n::cmsghdr, cmsg_level, 2u32);
    at!(c, n::cmsghdr, cmsg_type, 3u32);
    let e = EpollEvent { events: 1, data: 2 }.encode();
    at!(e, g::epoll_event, events, 1u32);
    at!(e, g::epoll_event, data, 2u64);
    let p = PollFd { fd: 1, events: 2, revents: 3 }.encode();
    at!(p, g::pollfd, fd, 1u32);
    at!(p, g::pollfd, events, 2u16);
    at!(p, g::pollfd, revents, 3u16);
}

#[test]
fn terminal_fields() {
    let t = Termios { iflag: 1, oflag: 2, cflag: 3, lflag: 4, line: 5, cc: [6; 19], ispeed: 7, ospeed: 8 };
    let b = t.encode2();
    at!(b, g::termios2, c_iflag, 1u32);
    at!(b, g::termios2, c_oflag, 2u32);
    at!(b, g::termios2, c_cflag, 3u32);
    at!(b, g::termios2, c_lflag, 4u32);
    at!(b, g::termios2, c_line, 5u8);
    at!(b, g::termios2, c_cc, 6u8);
    at!(b, g::termios2, c_ispeed, 7u32);
    at!(b, g::termios2, c_ospeed, 8u32);
    assert_eq!(t.encode(), b[..36]);
    let w = Winsize { row: 1, col: 2, xpixel: 3, ypixel: 4 }.encode();
    at!(w, g::winsize, ws_row, 1u16);
    at!(w, g::winsize, ws_col, 2u16);
}

#[test]
fn process_fields() {
    let r = Rusage {
        utime: Timeval { sec: 1, usec: 2 },
        stime: Timeval { sec: 3, usec: 4 },
        maxrss: 5,
        minflt: 6,
        majflt: 7,
        inblock: 8,
        oublock: 9,
        nvcsw: 10,
        nivcsw: 11,
    };
    let b = r.encode();
    at!(b, g::rusage, ru_utime.tv_usec, 2u64);
    at!(b, g::rusage, ru_stime.tv_sec, 3u64);
    at!(b, g::rusage, ru_maxrss, 5u64);
    at!(b, g::rusage, ru_minflt, 6u64);
    at!(b, g::rusage, ru_majflt, 7u64);
    at!(b, g::rusage, ru_inblock, 8u64);
    at!(b, g::rusage, ru_oublock, 9u64);
    at!(b, g::rusage, ru_nvcsw, 10u64);
    at!(b, g::rusage, ru_nivcsw, 11u64);
    assert_eq!(Rusage::decode(&b), r);
    let i = Sysinfo {
        uptime: 1,
        loads: [2, 3, 4],
        totalram: 5,
        freeram: 6,
        sharedram: 7,
        bufferram: 8,
        totalswap: 9,
        freeswap: 10,
        procs: 11,
        mem_unit: 12,
    };
    let b = i.encode();
    at!(b, s::sysinfo, uptime, 1u64);
    at!(b, s::sysinfo, loads, 2u64);
    at!(b, s::sysinfo, totalram, 5u64);
    at!(b, s::sysinfo, bufferram, 8u64);
    at!(b, s::sysinfo, freeswap, 10u64);
    at!(b, s::sysinfo, procs, 11u16);
    at!(b, s::sysinfo, mem_unit, 12u32);
    let c = sched::CloneArgs { flags: 1, exit_signal: 5, tls: 8, cgroup: 11, ..Default::default() }.encode();
    at!(c, g::clone_args, flags, 1u64);
    at!(c, g::clone_args, exit_signal, 5u64);
    at!(c, g::clone_args, tls, 8u64);
    at!(c, g::clone_args, cgroup, 11u64);
}

#[test]
fn signal_fields() {
    let a = SigAction { handler: 1, flags: 2, restorer: 3, mask: SigSet(4) }.encode();
    at!(a, g::kernel_sigaction, sa_handler_kernel, 1u64);
    at!(a, g::kernel_sigaction, sa_flags, 2u64);
    at!(a, g::kernel_sigaction, sa_restorer, 3u64);
    at!(a, g::kernel_sigaction, sa_mask, 4u64);
    let k = SigStack { sp: 1, flags: 2, size: 3 }.encode();
    at!(k, g::stack_t, ss_sp, 1u64);
    at!(k, g::stack_t, ss_flags, 2u32);
    at!(k, g::stack_t, ss_size, 3u64);
}
