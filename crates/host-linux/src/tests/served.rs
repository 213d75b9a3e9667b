//! System calls that the stub answers itself.

use std::time::Duration;

use hal::{Context, EndWord, Event, FastIds, errno};

use super::{asm::*, *};
use crate::layout::{REGION, SLOTS, ctl};

const ARCH_PRCTL: u32 = libc::SYS_arch_prctl as u32;
const SET_FS: u64 = 0x1002;
const GET_FS: u64 = 0x1003;
/// A call that nobody answers: the end of a round.
const END: u32 = 500;
/// The thread's number.
const TID: u32 = 77;

/// Lets the stub answer.
pub(super) fn enable(c: &mut dyn Context) {
    c.set_fast_ids(&FastIds { enabled: true, tid: TID, ..FastIds::default() });
}

/// A loop: a call with these arguments, whose result is the first argument of [`END`].
pub(super) fn rounds(host: &LinuxHost, nr: u32, args: &[u64]) -> Box<dyn Context> {
    let mut code = Asm::new().label(0);
    for (&r, &v) in [RDI, RSI, RDX, R10].iter().zip(args) {
        code = code.mov(r, v);
    }
    // mov rdi, rax
    let code = code.call(nr).raw(&[0x48, 0x89, 0xc7]).call(END).jmp(0).build();
    let mut c = program(host, &code);
    // Until the sites are rewritten.
    for _ in 0..20 {
        let Event::Syscall { nr: n, .. } = c.run() else { panic!() };
        assert!(n == u64::from(nr) || n == u64::from(END));
        c.set_result(0);
    }
    if expect_any(&mut *c) == u64::from(nr) {
        expect_call(&mut *c, u64::from(END));
    }
    enable(&mut *c);
    c
}

fn expect_any(c: &mut dyn Context) -> u64 {
    match c.run() {
        Event::Syscall { nr, .. } => nr,
        other => panic!("{other:?}"),
    }
}

/// The result that the stub gives.
#[track_caller]
pub(super) fn served(c: &mut dyn Context) -> u64 {
    expect_call(c, u64::from(END))[0]
}

/// The stub does not answer: the call comes, as the guest made it.
#[track_caller]
pub(super) fn refused(c: &mut dyn Context, nr: u32, args: &[u64]) {
    assert_eq!(expect_call(c, u64::from(nr))[..args.len()], *args);
    c.set_result(77);
    assert_eq!(expect_call(c, u64::from(END))[0], 77);
}

#[test]
fn the_thread_pointer_is_set_and_told() {
    let host = host();
    let mut c = rounds(&host, ARCH_PRCTL, &[SET_FS, DATA + 64]);
    assert_eq!(served(&mut *c), 0);
    assert_eq!(c.regs().fs_base, DATA + 64);
    // Another one comes from the kernel process, and the stub's again.
    c.set_tls(DATA);
    assert_eq!((served(&mut *c), c.regs().fs_base), (0, DATA + 64));
    let mut c = rounds(&host, ARCH_PRCTL, &[GET_FS, DATA + 8]);
    c.set_tls(0x1234_5678);
    assert_eq!(served(&mut *c), 0);
    let mut word = [0; 8];
    assert_eq!(c.read(DATA + 8, &mut word), 8);
    assert_eq!(u64::from_le_bytes(word), 0x1234_5678);
}

#[test]
fn what_is_unusual_is_refused() {
    let host = host();
    let cases = [
        [SET_FS, REGION],
        [SET_FS, 1 << 47],
        [SET_FS, u64::MAX],
        [0x1001, 0],
        // Addresses that are not there, not writable, or the stub's own.
        [GET_FS, 0],
        [GET_FS, 0x7000_0000],
        [GET_FS, TEXT],
        [GET_FS, DATA + LEN - 4],
        [GET_FS, SLOTS + ctl::LENT as u64],
        [GET_FS, REGION - 4],
    ];
    for args in cases {
        let mut c = rounds(&host, ARCH_PRCTL, &args);
        (0..3).for_each(|_| refused(&mut *c, ARCH_PRCTL, &args));
        assert_eq!(c.regs().fs_base, 0);
    }
}

#[test]
fn who_sees_all_calls_sees_them() {
    let host = host();
    let args = [SET_FS, DATA];
    let mut c = rounds(&host, ARCH_PRCTL, &args);
    assert_eq!(served(&mut *c), 0);
    c.set_fast_ids(&FastIds::default());
    refused(&mut *c, ARCH_PRCTL, &args);
    enable(&mut *c);
    assert_eq!(served(&mut *c), 0);
}

#[test]
fn every_register_comes_back() {
    let host = host();
    // Loop of calls until rbx counts to 0, without a trap in between.
    let code = Asm::new()
        .label(0)
        .call(ARCH_PRCTL)
        .raw(&[0x48, 0xff, 0xcb]) // dec rbx
        .jne(0)
        .call(END)
        .jmp(0)
        .build();
    let mut c = program(&host, &code);
    enable(&mut *c);
    let mut want = start();
    (want.rdi, want.rsi, want.rdx, want.rbp) = (SET_FS, DATA, 3, 4);
    (want.r8, want.r9, want.r10, want.r12) = (8, 9, 10, 12);
    (want.r13, want.r14, want.r15) = (13, 14, 15);
    want.rbx = 1000;
    c.set_regs(&want);
    let mut asked = 0;
    loop {
        match c.run() {
            Event::Syscall { nr, .. } if nr == u64::from(ARCH_PRCTL) => {
                asked += 1;
                c.set_result(0);
            }
            Event::Syscall { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(asked < 20);
    let got = c.regs();
    (want.rax, want.rbx, want.rip, want.fs_base) = (u64::from(END), 0, got.rip, DATA);
    (want.rcx, want.r11, want.rflags) = (got.rcx, got.r11, got.rflags);
    assert_eq!(got, want);
}

/// A kick never passes by a thread that is answered all the time.
#[test]
fn kicks_are_not_lost_in_a_handler() {
    let host = host();
    let code = Asm::new().label(0).call(ARCH_PRCTL).jmp(0).build();
    let mut c = program(&host, &code);
    let mut regs = start();
    (regs.rdi, regs.rsi) = (SET_FS, DATA);
    c.set_regs(&regs);
    for _ in 0..20 {
        expect_call(&mut *c, u64::from(ARCH_PRCTL));
        c.set_result(0);
    }
    enable(&mut *c);
    let kicker = c.kicker();
    std::thread::scope(|scope| {
        let (told, tell) = std::sync::mpsc::channel();
        scope.spawn(move || {
            for i in 0..2000u64 {
                kicker.kick();
                if tell.recv_timeout(Duration::from_secs(5)).is_err() {
                    panic!("kick {i} was lost");
                }
            }
        });
        for _ in 0..2000 {
            assert_eq!(c.run(), Event::Kicked);
            let got = c.regs();
            assert_eq!((got.rdi, got.rsi, got.rsp), (SET_FS, DATA, regs.rsp));
            told.send(()).unwrap();
        }
    });
}

const SIGPROCMASK: u32 = libc::SYS_rt_sigprocmask as u32;

fn word(c: &mut dyn Context, at: u64) -> u64 {
    let mut b = [0; 8];
    assert_eq!(c.read(at, &mut b), 8);
    u64::from_le_bytes(b)
}

fn put(c: &mut dyn Context, at: u64, v: u64) {
    assert_eq!(c.write(at, &v.to_le_bytes()), 8);
}

#[test]
fn signals_are_blocked_in_the_stub() {
    let host = host();
    let (set, old) = (DATA, DATA + 8);
    let run = |how: u64, before: u64, given: u64| {
        let mut c = rounds(&host, SIGPROCMASK, &[how, set, old, 8]);
        let words = c.lend_signals().unwrap();
        words.set_blocked(before);
        put(&mut *c, set, given);
        assert_eq!(served(&mut *c), 0);
        assert_eq!(word(&mut *c, old), before);
        words.blocked()
    };
    assert_eq!(run(0, 0b0011, 0b0110), 0b0111);
    assert_eq!(run(1, 0b0011, 0b0110), 0b0001);
    assert_eq!(run(2, 0b0011, 0b0110), 0b0110);
    // Neither SIGKILL nor SIGSTOP.
    assert_eq!(run(2, 0, u64::MAX), !(1 << 8 | 1 << 18));
    // One and the same place for both, none for either.
    let mut c = rounds(&host, SIGPROCMASK, &[2, set, set, 8]);
    let words = c.lend_signals().unwrap();
    put(&mut *c, set, 5);
    assert_eq!((served(&mut *c), words.blocked(), word(&mut *c, set)), (0, 5, 0));
    assert_eq!((served(&mut *c), words.blocked(), word(&mut *c, set)), (0, 0, 5));
    let mut c = rounds(&host, SIGPROCMASK, &[99, 0, old, 8]);
    let words = c.lend_signals().unwrap();
    words.set_blocked(9);
    words.set_pending(true);
    assert_eq!((served(&mut *c), word(&mut *c, old)), (0, 9));
    let mut c = rounds(&host, SIGPROCMASK, &[0, set, 0, 8]);
    let words = c.lend_signals().unwrap();
    put(&mut *c, set, 4);
    assert_eq!((served(&mut *c), words.blocked()), (0, 4));
}

#[test]
fn a_mask_that_matters_now_is_the_kernels() {
    let host = host();
    let args = [2, DATA, DATA + 8, 8];
    let mut c = rounds(&host, SIGPROCMASK, &args);
    // Not lent yet.
    refused(&mut *c, SIGPROCMASK, &args);
    let words = c.lend_signals().unwrap();
    words.set_pending(true);
    put(&mut *c, DATA, 6);
    refused(&mut *c, SIGPROCMASK, &args);
    assert_eq!((words.blocked(), word(&mut *c, DATA + 8)), (0, 0));
    words.set_pending(false);
    assert_eq!((served(&mut *c), words.blocked()), (0, 6));
    // Faults of both places, bad numbers: nothing has changed.
    for args in [
        [2, DATA, 0x7000_0000, 8],
        [2, DATA, TEXT, 8],
        [2, DATA, REGION - 8, 8],
        [2, 0x7000_0000, DATA + 8, 8],
        [2, SLOTS, DATA + 8, 8],
        [2, DATA, SLOTS, 8],
        [3, DATA, DATA + 8, 8],
        [u64::MAX, DATA, 0, 8],
        [2, DATA, DATA + 8, 4],
        [2, DATA, DATA + 8, 128],
    ] {
        let mut c = rounds(&host, SIGPROCMASK, &args);
        let words = c.lend_signals().unwrap();
        words.set_blocked(1);
        put(&mut *c, DATA, 6);
        (0..3).for_each(|_| refused(&mut *c, SIGPROCMASK, &args));
        assert_eq!((words.blocked(), word(&mut *c, DATA + 8)), (1, 0), "{args:x?}");
    }
}

const SIGACTION: u32 = libc::SYS_rt_sigaction as u32;

fn put_action(c: &mut dyn Context, at: u64, action: [u64; 4]) {
    (0..).zip(action).for_each(|(i, w)| put(c, at + i * 8, w));
}

fn action(c: &mut dyn Context, at: u64) -> [u64; 4] {
    [0, 1, 2, 3].map(|i| word(c, at + i * 8))
}

#[test]
fn actions_are_changed_in_the_stub() {
    let host = host();
    let (new, old) = (DATA, DATA + 64);
    for signo in [1, 10, 31, 32, 64] {
        let mut c = rounds(&host, SIGACTION, &[signo, new, old, 8]);
        let words = c.lend_signals().unwrap();
        // Not lent yet.
        refused(&mut *c, SIGACTION, &[signo, new, old, 8]);
        c.lend_actions(true);
        let (before, i) = ([0x1000, 4, 0x2000, 0x30], signo as usize - 1);
        words.set_action(i, before);
        put_action(&mut *c, new, [0x3000, u64::MAX, 0x4000, u64::MAX]);
        assert_eq!(served(&mut *c), 0);
        assert_eq!(action(&mut *c, old), before);
        let kept = [0x3000, u64::from(hal::ACTION_FLAGS), 0x4000, !(1 << 8 | 1 << 18)];
        assert_eq!(words.action(i), kept);
        assert_eq!(served(&mut *c), 0);
        assert_eq!(action(&mut *c, old), kept);
        c.lend_actions(false);
        refused(&mut *c, SIGACTION, &[signo, new, old, 8]);
    }
    // Asking changes nothing, whatever is pending.
    let mut c = rounds(&host, SIGACTION, &[10, 0, old, 8]);
    let words = c.lend_signals().unwrap();
    c.lend_actions(true);
    words.set_pending(true);
    words.set_action(9, [1, 2, 3, 4]);
    assert_eq!(served(&mut *c), 0);
    assert_eq!((action(&mut *c, old), words.action(9)), ([1, 2, 3, 4], [1, 2, 3, 4]));
}

#[test]
fn an_action_that_matters_now_is_the_kernels() {
    let host = host();
    let (new, old) = (DATA, DATA + 64);
    let before = [0x1000, 4, 0x2000, 0x30];
    for (pending, args) in [
        (true, [10, new, old, 8]),
        (false, [9, new, old, 8]),
        (false, [19, 0, old, 8]),
        (false, [0, new, old, 8]),
        (false, [65, new, old, 8]),
        (false, [10, new, old, 4]),
        (false, [10, new, new, 8]),
        (false, [10, new, new + 16, 8]),
        (false, [10, new + 31, new, 8]),
        (false, [10, 0x7000_0000, old, 8]),
        (false, [10, DATA + LEN - 16, old, 8]),
        (false, [10, SLOTS, old, 8]),
        // The old one cannot be stored, or only half of it.
        (false, [10, new, 0x7000_0000, 8]),
        (false, [10, new, TEXT, 8]),
        (false, [10, new, DATA + LEN - 16, 8]),
        (false, [10, new, SLOTS, 8]),
        (false, [10, 0, TEXT, 8]),
    ] {
        let mut c = rounds(&host, SIGACTION, &args);
        let words = c.lend_signals().unwrap();
        c.lend_actions(true);
        (0..64).for_each(|i| words.set_action(i, before));
        words.set_pending(pending);
        put_action(&mut *c, new, [0x3000, 0, 0x4000, 0]);
        (0..3).for_each(|_| refused(&mut *c, SIGACTION, &args));
        assert!((0..64).all(|i| words.action(i) == before), "{args:x?}");
        assert_eq!(action(&mut *c, old), [0; 4], "{args:x?}");
    }
}

#[test]
fn what_is_looked_at_at_the_end_is_noted() {
    const SET_ROBUST_LIST: u32 = libc::SYS_set_robust_list as u32;
    const SET_TID_ADDRESS: u32 = libc::SYS_set_tid_address as u32;
    let host = host();
    let args = [0x1234_5678, 24];
    for (nr, word, other, result) in [
        (SET_ROBUST_LIST, EndWord::RobustHead, EndWord::ClearTid, 0),
        (SET_TID_ADDRESS, EndWord::ClearTid, EndWord::RobustHead, u64::from(TID)),
    ] {
        let mut c = rounds(&host, nr, &args);
        // Not lent yet.
        refused(&mut *c, nr, &args);
        let words = c.lend_end_words().unwrap();
        words.set(other, 5);
        assert_eq!((served(&mut *c), words.get(word), words.get(other)), (result, args[0], 5));
    }
    for len in [0, 23, 25, 24 | 1 << 32] {
        let args = [0x1234_5678, len];
        let mut c = rounds(&host, SET_ROBUST_LIST, &args);
        let words = c.lend_end_words().unwrap();
        words.set(EndWord::RobustHead, 8);
        refused(&mut *c, SET_ROBUST_LIST, &args);
        assert_eq!(words.get(EndWord::RobustHead), 8, "{len:#x}");
    }
}

#[test]
fn sequences_are_not_there() {
    let host = host();
    let mut c = rounds(&host, libc::SYS_rseq as u32, &[DATA, 32, 0, 0x5305_3053]);
    assert_eq!(served(&mut *c), errno::ENOSYS.as_ret());
}
