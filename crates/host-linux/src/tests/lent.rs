//! Files on loan to the stub.

use hal::{Borrowed, Contents, Context, Event, FastIds, Host, HostFile, Lending, Regs};

use super::{asm::*, *};
use crate::layout::{REGION, SLOTS, file};

/// A call that nobody answers: the end of a round.
const END: u32 = 500;
const READ: u32 = libc::SYS_read as u32;
const PREAD: u32 = libc::SYS_pread64 as u32;
const SEEK: u32 = libc::SYS_lseek as u32;
const FSTAT: u32 = libc::SYS_fstat as u32;
const STAT_AT: u32 = libc::SYS_newfstatat as u32;
const CLOSE: u32 = libc::SYS_close as u32;
const FCNTL: u32 = libc::SYS_fcntl as u32;
const LIST: u32 = libc::SYS_getdents64 as u32;
/// Where the program stores what nobody reads.
const SPARE: u64 = DATA + LEN - 8;
const TEXT_LEN: usize = 600;
/// Longer than anything is believed, at 1 GHz.
pub(super) const TOO_LONG: std::time::Duration = std::time::Duration::from_millis(600);

/// A program that makes one call over and over, with arguments that it is given.
pub(super) struct Program {
    pub(super) host: Arc<LinuxHost>,
    pub(super) c: Box<dyn Context>,
    nr: u64,
    file: Arc<dyn HostFile>,
}

impl Program {
    pub(super) fn new(nr: u32) -> Program {
        let host = host();
        // It begins with: mov [r8], r9
        let store = [0x4d, 0x89, 0x08];
        let code = Asm::new().label(0).raw(&store).call(nr).raw(&[0x49, 0x89, 0xc7]).call(END).jmp(0).build();
        let mut c = program(&host, &code);
        c.set_regs(&Regs { r8: SPARE, ..start() });
        for _ in 0..20 {
            let Event::Syscall { .. } = c.run() else { panic!() };
            c.set_result(0);
        }
        let text: Vec<u8> = (0..TEXT_LEN).map(|i| (i % 251) as u8).collect();
        let name = format!("/tmp/umlaut-lent-{}-{nr}-{:?}", std::process::id(), std::thread::current().id());
        std::fs::write(&name, text).unwrap();
        let file = host.open_path(name.as_bytes(), libc::O_RDONLY as u32).unwrap();
        std::fs::remove_file(name).unwrap();
        let mut p = Program { host, c, nr: nr.into(), file };
        while p.next() != u64::from(END) {
            p.c.set_result(0);
        }
        p.c.set_fast_ids(&FastIds { enabled: true, ..FastIds::default() });
        p
    }

    fn next(&mut self) -> u64 {
        match self.c.run() {
            Event::Syscall { nr, .. } => nr,
            other => panic!("{other:?}"),
        }
    }

    fn lend(&mut self, fd: i32, pos: u64, most: usize) -> bool {
        let (epoch, file) = (self.host.lending_epoch(), self.file.clone());
        self.c.lend_file(&lending(fd, pos, Contents::File(&*file, most), epoch))
    }

    fn lend_directory(&mut self, contents: Contents<'_>, free: Option<i32>) {
        let epoch = self.host.lending_epoch();
        assert!(self.c.lend_file(&Lending { free, ..lending(5, 0, contents, epoch) }));
    }

    fn back(&mut self) -> Borrowed {
        self.c.take_file_back(false).unwrap()
    }

    /// The answer of the stub, or `None` if the call came here, with its arguments as they were.
    pub(super) fn ask(&mut self, args: [u64; 4]) -> Option<i64> {
        let regs = self.c.regs();
        let stores = regs.r8 != SPARE;
        let [rdi, rsi, rdx, r10] = args;
        self.c.set_regs(&Regs { rdi, rsi, rdx, r10, ..regs });
        self.c.set_result(0);
        let nr = self.next();
        if stores {
            let regs = self.c.regs();
            self.c.set_regs(&Regs { r8: SPARE, ..regs });
        }
        if nr == self.nr {
            let r = self.c.regs();
            assert_eq!([r.rdi, r.rsi, r.rdx, r.r10], args);
            self.c.set_result(77);
            assert_eq!(self.next(), u64::from(END));
            assert_eq!(self.c.regs().r15, 77);
            return None;
        }
        Some(self.c.regs().r15.cast_signed())
    }

    /// The next round begins with a store to the slot.
    pub(super) fn store(&mut self, at: usize, value: u64) {
        let regs = self.c.regs();
        self.c.set_regs(&Regs { r8: SLOTS + at as u64, r9: value, ..regs });
    }

    pub(super) fn data(&mut self, addr: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        assert_eq!(self.c.read(addr, &mut buf), len);
        buf
    }
}

fn lending(fd: i32, pos: u64, contents: Contents<'_>, epoch: u64) -> Lending<'_> {
    let (flags, fd_flags, free) = (0o100_000, 1, None);
    Lending { fd, pos, stat: [7; 144], flags, fd_flags, free, contents, at_end: false, epoch }
}

fn text(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|i| (i % 251) as u8).collect()
}

#[test]
fn reads_are_answered_up_to_the_end() {
    let mut p = Program::new(READ);
    assert_eq!(p.ask([5, DATA, 100, 0]), None);
    assert!(p.lend(5, 50, 4096));
    // There is one.
    assert!(!p.lend(6, 50, 4096));
    for (want, got, pos) in [(100, 100, 50), (400, 400, 150), (1000, 50, 550), (1000, 0, 600), (0, 0, 600)] {
        assert_eq!(p.ask([5, DATA, want, 0]), Some(got));
        assert_eq!(p.data(DATA, got as usize), text(pos, got as usize));
    }
    assert_eq!(p.back(), Borrowed { pos: 600, closed: false, duplicated: false, reads: 5, bytes: 550 });
    assert_eq!(p.c.take_file_back(false), None);
    assert_eq!(p.ask([5, DATA, 100, 0]), None);
}

#[test]
fn what_was_not_lent_is_not_read() {
    let mut p = Program::new(READ);
    assert!(p.lend(5, 0, 300));
    for args in [
        [6, DATA, 10, 0],
        [u64::MAX, DATA, 10, 0],
        [5, DATA, 301, 0],
        [5, DATA, u64::MAX, 0],
        [5, 0, 10, 0],
        [5, TEXT, 10, 0],
        [5, DATA + LEN - 100, 200, 0],
        [5, REGION - 10, 20, 0],
        [5, REGION + (1 << 31), 20, 0],
        [5, u64::MAX - 8, 20, 0],
    ] {
        assert_eq!(p.ask(args), None);
    }
    assert_eq!(p.ask([5, DATA, 300, 0]), Some(300));
    // Of what comes behind nothing is known.
    assert_eq!(p.ask([5, DATA, 1, 0]), None);
    assert_eq!(p.back(), Borrowed { pos: 300, closed: false, duplicated: false, reads: 1, bytes: 300 });
    // Nor is anything that was recalled, or lent before that.
    assert!(p.lend(5, 0, 300));
    p.host.recall_files();
    assert_eq!(p.ask([5, DATA, 10, 0]), None);
    assert_eq!(p.back().pos, 0);
    let epoch = p.host.lending_epoch();
    p.host.recall_files();
    assert!(p.c.lend_file(&Lending { at_end: true, ..lending(5, 0, Contents::Unread, epoch) }));
    assert_eq!(p.ask([5, DATA, 10, 0]), None);
    p.back();
    // And with time.
    assert!(p.lend(5, 0, 300));
    std::thread::sleep(TOO_LONG);
    assert_eq!(p.ask([5, DATA, 10, 0]), None);
}

#[test]
fn positions_are_read_at_and_sought() {
    let mut p = Program::new(PREAD);
    assert!(p.lend(5, 100, 4096));
    assert_eq!(p.ask([5, DATA, 10, 300]), Some(10));
    assert_eq!(p.data(DATA, 10), text(300, 10));
    assert_eq!(p.ask([5, DATA, 10, 595]), Some(5));
    assert_eq!(p.ask([5, DATA, 10, 600]), Some(0));
    for pos in [0, 99, 601, u64::MAX] {
        assert_eq!(p.ask([5, DATA, 10, pos]), None);
    }
    assert_eq!(p.back(), Borrowed { pos: 100, closed: false, duplicated: false, reads: 3, bytes: 15 });
    let mut p = Program::new(SEEK);
    let mut stat = [0; 144];
    stat[48..56].copy_from_slice(&600u64.to_le_bytes());
    let epoch = p.host.lending_epoch();
    assert!(p.c.lend_file(&Lending { stat, ..lending(5, 9, Contents::Unread, epoch) }));
    assert_eq!(p.ask([5, 50, 0, 0]), Some(50));
    assert_eq!(p.ask([5, 7, 1, 0]), Some(57));
    assert_eq!(p.ask([5, 58u64.wrapping_neg(), 1, 0]), None);
    assert_eq!(p.ask([5, 20u64.wrapping_neg(), 2, 0]), Some(580));
    assert_eq!(p.ask([5, i64::MAX as u64, 1, 0]), None);
    assert_eq!(p.ask([5, 0, 3, 0]), None);
    assert_eq!(p.ask([5, 1 << 40, 0, 0]), Some(1 << 40));
    assert_eq!(p.back().pos, 1 << 40);
}

#[test]
fn attributes_are_told_by_both_calls() {
    let mut p = Program::new(FSTAT);
    assert!(p.lend(5, 0, 10));
    assert_eq!(p.ask([5, DATA + 3, 0, 0]), Some(0));
    assert_eq!(p.data(DATA + 3, 144), vec![7; 144]);
    for at in [0, TEXT, DATA + LEN - 143, REGION - 143, u64::MAX] {
        assert_eq!(p.ask([5, at, 0, 0]), None);
    }
    let mut p = Program::new(STAT_AT);
    p.c.write(DATA + 500, b"\0x");
    assert!(p.lend(5, 0, 10));
    let empty = libc::AT_EMPTY_PATH as u64;
    assert_eq!(p.ask([5, DATA + 500, DATA, empty]), Some(0));
    assert_eq!(p.data(DATA, 144), vec![7; 144]);
    for args in [
        [5, DATA + 501, DATA, empty],
        [5, DATA + 500, DATA, 0],
        [5, 0, DATA, empty],
        [6, DATA + 500, DATA, empty],
        [5, u64::MAX, DATA, empty],
        [5, DATA + 500, 0, empty],
    ] {
        assert_eq!(p.ask(args), None);
    }
}

#[test]
fn a_closed_file_is_on_loan_no_more() {
    let mut p = Program::new(CLOSE);
    assert!(p.lend(5, 0, 10));
    assert_eq!(p.ask([4, 0, 0, 0]), None);
    assert_eq!(p.ask([5, 0, 0, 0]), Some(0));
    assert_eq!(p.ask([5, 0, 0, 0]), None);
    assert!(p.back().closed);
    // Nobody answers for who is to see all calls.
    p.c.set_fast_ids(&FastIds::default());
    assert!(!p.lend(5, 0, 10));
}

#[test]
fn a_listing_is_given_once_and_then_its_end() {
    let mut p = Program::new(LIST);
    p.lend_directory(Contents::Listing(&text(0, 320), 999), None);
    let bad = [[6, DATA, 4096], [5, DATA, 319], [5, TEXT, 320], [5, REGION - 10, 320], [5, u64::MAX, 320]];
    for [fd, at, len] in bad {
        assert_eq!(p.ask([fd, at, len, 0]), None);
    }
    assert_eq!(p.ask([5, DATA, 320 | 1 << 40, 0]), Some(320));
    assert_eq!(p.data(DATA, 320), text(0, 320));
    assert_eq!(p.ask([5, DATA, 8, 0]), Some(0));
    assert_eq!(p.back(), Borrowed { pos: 999, reads: 2, ..Borrowed::default() });
    p.lend_directory(Contents::Unlisted, None);
    assert_eq!(p.ask([5, DATA, 4096, 0]), None);
    p.back();
    // A file has none, and a directory no bytes.
    assert!(p.lend(5, 0, 4096));
    assert_eq!(p.ask([5, DATA, 4096, 0]), None);
    let mut p = Program::new(READ);
    p.lend_directory(Contents::Listing(&text(0, 320), 999), None);
    assert_eq!(p.ask([5, DATA, 4096, 0]), None);
}

#[test]
fn garbage_about_a_listing_harms_the_guest_alone() {
    let mut p = Program::new(LIST);
    for (at, value) in [
        (file::LEN, u64::MAX),
        (file::LEN, 0xffff_ffff),
        (file::AT, 0xffff_ffff_7fff_0000),
        (file::LISTED, 1 << 63),
        (file::FREE, 3 | 1 << 32),
    ] {
        p.lend_directory(Contents::Listing(&text(0, 320), 999), None);
        p.store(at, value);
        let _ = p.ask([5, DATA, 4096, 0]);
        let _ = p.ask([5, DATA, 0xffff_ffff, 0]);
        assert!(p.back().pos <= i64::MAX as u64);
    }
}

#[test]
fn flags_are_answered_and_one_more_descriptor_given() {
    let mut p = Program::new(FCNTL);
    let [getfl, getfd, setfd, dup] =
        [libc::F_GETFL, libc::F_GETFD, libc::F_SETFD, libc::F_DUPFD_CLOEXEC].map(|c| c as u64);
    p.lend_directory(Contents::Unlisted, Some(7));
    for (cmd, arg, result) in [
        (getfl, 0, Some(0o100_000)),
        (getfd, 0, Some(1)),
        (setfd, 1, Some(0)),
        (setfd, 0, None),
        (libc::F_SETFL as u64, 0, None),
        (libc::F_DUPFD as u64, 3, None),
        (dup, 8, None),
        (dup, u64::MAX, None),
        (dup, 3, Some(7)),
        (dup, 3, None),
    ] {
        assert_eq!(p.ask([5, cmd, arg, 0]), result, "{cmd} {arg}");
    }
    assert_eq!(p.ask([6, getfl, 0, 0]), None);
    assert_eq!(p.back(), Borrowed { duplicated: true, ..Borrowed::default() });
    p.lend_directory(Contents::Unlisted, None);
    assert_eq!(p.ask([5, dup, 3, 0]), None);
    assert!(!p.back().duplicated);
    assert!(p.lend(5, 0, 4096));
    assert_eq!(p.ask([5, getfl, 0, 0]), Some(0o100_000));
}

#[test]
fn results_left_for_later_and_contents_share_the_buffer() {
    let mut p = Program::new(READ);
    let later = vec![9; 10_000];
    assert!(p.c.write_later(DATA, &later));
    assert!(p.lend(5, 0, 4096));
    assert!(!p.c.write_later(DATA + 20_000, &[1; 12_000]));
    assert!(p.c.write_later(DATA + 20_000, &[1; 4_000]));
    assert_eq!(p.ask([5, DATA + 40_000, 600, 0]), Some(600));
    assert_eq!(p.data(DATA, 10_000), later);
    assert_eq!(p.data(DATA + 20_000, 4_000), vec![1; 4_000]);
    assert_eq!(p.data(DATA + 40_000, 600), text(0, 600));
    p.back();
    assert!(p.c.write_later(DATA, &[2; 16_000]));
    assert!(!p.lend(5, 0, 16 << 10));
}

#[test]
fn garbage_in_the_slot_harms_the_guest_alone() {
    let mut p = Program::new(READ);
    for (at, value) in [
        (file::FROM, 1 << 60),
        (file::LEN, u64::MAX),
        (file::AT, 0xffff_ffff_7fff_0000),
        (file::POS, 1 << 63),
        (file::SINCE, 0),
        (file::EPOCH, 12345),
    ] {
        assert!(p.lend(5, 10, 4096));
        p.store(at, value);
        let _ = p.ask([5, DATA, 10, 0]);
        let _ = p.ask([5, DATA, 5000, 0]);
        let back = p.back();
        assert!(back.pos <= i64::MAX as u64 && back.bytes <= 3 * 600);
    }
    assert!(p.lend(5, 10, 4096));
    p.store(file::BYTES, u64::MAX);
    assert_eq!(p.ask([5, DATA, 0, 0]), Some(0));
    p.store(file::CLOSED, 2 | 10 << 32);
    assert_eq!(p.ask([5, DATA, 0, 0]), Some(0));
    assert_eq!(p.back(), Borrowed { pos: 10, closed: false, duplicated: false, reads: 2, bytes: 2 * 590 });
}

#[test]
fn what_was_kept_is_lent_again() {
    let mut p = Program::new(READ);
    assert!(!p.c.lend_file_again());
    assert!(p.lend(5, 0, 12 << 10));
    assert_eq!(p.ask([5, DATA, 200, 0]), Some(200));
    // As a call that is captured whole would leave it.
    assert_eq!(
        p.c.take_file_back(true),
        Some(Borrowed { pos: 200, closed: false, duplicated: false, reads: 1, bytes: 200 })
    );
    assert!(!p.c.write_later(DATA, &[1; 16 << 10]));
    assert!(p.c.lend_file_again());
    assert_eq!(p.ask([5, DATA, 1000, 0]), Some(400));
    assert_eq!(p.data(DATA, 400), text(200, 400));
    assert_eq!(p.c.take_file_back(true).map(|b| (b.pos, b.reads)), Some((600, 1)));
    assert_eq!(p.ask([5, DATA, 10, 0]), None);
    // Not after a recall, nor when it is given up.
    p.host.recall_files();
    assert!(p.c.lend_file_again());
    assert_eq!(p.ask([5, DATA, 10, 0]), None);
    p.c.take_file_back(true);
    assert_eq!(p.c.take_file_back(false), None);
    assert!(!p.c.lend_file_again());
    assert!(p.c.write_later(DATA, &[1; 16 << 10]));
    let mut p = Program::new(CLOSE);
    assert!(p.lend(5, 0, 10));
    assert_eq!(p.ask([5, 0, 0, 0]), Some(0));
    assert!(p.c.take_file_back(true).is_some_and(|b| b.closed));
    assert!(!p.c.lend_file_again());
}

/// A kick in the midst of reads: what was read is read once.
#[test]
fn kicks_lose_and_repeat_nothing() {
    let mut p = Program::new(READ);
    // Without the call that ends a round.
    let code = Asm::new().label(0).call(READ).raw(&[0x49, 0x01, 0xc7]).jmp(0).build();
    assert_eq!(p.c.space().write_forced(TEXT + 0x800, &code), code.len());
    let regs = p.c.regs();
    p.c.set_regs(&Regs { rip: TEXT + 0x800, r15: 0, rdi: 5, rsi: DATA, rdx: 1, ..regs });
    for _ in 0..20 {
        assert_eq!(p.next(), u64::from(READ));
        p.c.set_result(0);
    }
    let kicker = p.c.kicker();
    let mut total = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Not for so long that the watchdog takes it for one kick that is never obeyed.
            for i in 0..300 {
                std::thread::sleep(std::time::Duration::from_micros(i % 7 * 100));
                kicker.kick();
            }
        });
        for _ in 0..300 {
            assert!(p.lend(5, 0, 4096));
            let event = p.c.run();
            let back = p.back();
            total += back.bytes;
            assert_eq!(back.bytes, back.pos);
            match event {
                Event::Kicked => {}
                Event::Syscall { nr, .. } => {
                    assert_eq!(nr, u64::from(READ));
                    p.c.set_result(0);
                }
                other => panic!("{other:?}"),
            }
            // Where the result is not added yet, it is in its register.
            let regs = p.c.regs();
            let pending = if regs.rip == TEXT + 0x807 { regs.rax } else { 0 };
            assert_eq!(regs.r15 + pending, total);
        }
    });
}
