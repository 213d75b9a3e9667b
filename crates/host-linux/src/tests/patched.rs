//! System-call sites that were rewritten.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    time::{Duration, Instant},
};

use hal::{Context, Event, FastIds, MapOp, Prot};

use super::{asm::*, *};

/// Calls until a site has surely been rewritten.
const MANY: usize = 20;

/// First bytes of the site at `at`.
fn bytes<const N: usize>(c: &dyn Context, at: u64) -> [u8; N] {
    let mut b = [0; N];
    assert_eq!(c.space().read(at, &mut b), N);
    b
}

/// Runs to a system call whose arguments do not matter.
fn call(c: &mut dyn Context, nr: u64) {
    expect_call(c, nr);
}

/// A loop around one call.
fn looping(nr: u32) -> Vec<u8> {
    Asm::new().label(0).call(nr).jmp(0).build()
}

#[test]
fn a_site_is_rewritten_and_keeps_every_register() {
    let host = host();
    let mut c = program(&host, &looping(500));
    let mut want = start();
    for (i, r) in
        [&mut want.rbx, &mut want.rbp, &mut want.rdx, &mut want.rsi, &mut want.rdi].into_iter().enumerate()
    {
        *r = 0x1111_0000_0000 + i as u64;
    }
    for (i, r) in
        [&mut want.r8, &mut want.r9, &mut want.r10, &mut want.r12, &mut want.r13].into_iter().enumerate()
    {
        *r = 0x2222_0000_0000 + i as u64;
    }
    (want.r14, want.r15, want.rflags, want.fs_base) = (14, 15, 0x247, DATA);
    c.set_regs(&want);
    for i in 0..MANY as u64 {
        let args = expect_call(&mut *c, 500);
        assert_eq!(args, [want.rdi, want.rsi, want.rdx, want.r10, want.r8, want.r9]);
        let mut got = c.regs();
        assert_eq!((got.rip, got.rcx, got.rax), (TEXT + 7, TEXT + 7, 500));
        assert_eq!((got.rflags | 0x202, got.r11), (want.rflags, got.rflags));
        if i > 0 {
            c.set_result(i);
        }
        (got.rax, got.rcx, got.r11, got.rip, got.rflags) =
            (want.rax, want.rcx, want.r11, want.rip, want.rflags);
        assert_eq!(got, want, "round {i}");
    }
    assert_eq!(bytes::<1>(&*c, TEXT), [0xe9]);
    assert_eq!(bytes::<2>(&*c, TEXT + 5), [0x0f, 0x05]);
    c.restart_syscall();
    expect_call(&mut *c, 500);
    // New registers, elsewhere.
    let mut regs = c.regs();
    (regs.rip, regs.rdi, regs.rcx) = (TEXT, 77, 5);
    c.set_regs(&regs);
    assert_eq!(expect_call(&mut *c, 500)[0], 77);
    // A fork inherits what was rewritten, and is a copy in this too.
    let regs = c.regs();
    let mut child = c.fork(&regs).unwrap();
    for c in [&mut child, &mut c] {
        (0..MANY).for_each(|_| assert_eq!(expect_call(&mut **c, 500)[0], 77));
    }
}

#[test]
fn read_of_the_c_library_is_rewritten() {
    let host = host();
    // xor eax,eax; syscall; cmp rax,-4096; ja; jmp
    let code = Asm::new()
        .label(0)
        .raw(&[0x31, 0xc0, 0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff])
        .raw(&[0x77, 0x05])
        .jmp(0)
        .call(501)
        .jmp(0)
        .build();
    let mut c = program(&host, &code);
    for i in 0..MANY {
        expect_call(&mut *c, 0);
        assert_eq!(c.regs().rip, TEXT + 4);
        c.set_result(i as u64);
    }
    let now = bytes::<10>(&*c, TEXT);
    assert_eq!((now[0], &now[2..]), (0xe9, &[0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff][..]));
    // The comparison behind it sees the result; going back to the instruction works.
    c.set_result(0u64.wrapping_sub(5));
    expect_call(&mut *c, 501);
    expect_call(&mut *c, 0);
    c.restart_syscall();
    expect_call(&mut *c, 0);
    assert_eq!(c.regs().rip, TEXT + 4);
}

#[test]
fn identity_is_answered_in_the_stub() {
    let host = host();
    // 1000 times getppid; then the last answer in rdi
    let code = Asm::new()
        .label(1)
        .mov(RBX, 1000)
        .label(0)
        .call(110)
        .raw(&[0xff, 0xcb]) // dec ebx
        .jne(0)
        .raw(&[0x48, 0x89, 0xc7])
        .call(502)
        .jmp(1)
        .build();
    let mut c = program(&host, &code);
    let ids = FastIds { pid: 1, tid: 2, ppid: 3, uid: 4, euid: 5, gid: 6, egid: 7, enabled: true };
    c.set_fast_ids(&ids);
    let round = |c: &mut dyn Context| {
        let mut asked = 0;
        loop {
            match c.run() {
                Event::Syscall { nr: 110, .. } => {
                    asked += 1;
                    c.set_result(3);
                }
                Event::Syscall { nr: 502, args } => return (asked, args[0]),
                other => panic!("{other:?}"),
            }
        }
    };
    let (asked, answer) = round(&mut *c);
    assert!(asked > 0 && asked < 20 && answer == 3, "{asked} {answer}");
    assert_eq!(round(&mut *c), (0, 3));
    c.set_fast_ppid_later()(99);
    assert_eq!(round(&mut *c), (0, 99));
    c.set_fast_ids(&FastIds { enabled: false, ..ids });
    assert_eq!(round(&mut *c), (1000, 3));
}

#[test]
fn vector_state_is_there_at_a_rewritten_site() {
    let host = host();
    // movq xmm5, rdi; 0: call 503; movq rsi, xmm5; jmp 0
    let code = Asm::new()
        .raw(&[0x66, 0x48, 0x0f, 0x6e, 0xef])
        .label(0)
        .call(503)
        .raw(&[0x66, 0x48, 0x0f, 0x7e, 0xee])
        .jmp(0)
        .build();
    let mut c = program(&host, &code);
    let mut regs = start();
    regs.rdi = 0xabcd;
    c.set_regs(&regs);
    expect_call(&mut *c, 503);
    (0..MANY).for_each(|_| assert_eq!(expect_call(&mut *c, 503)[1], 0xabcd));
    let (before, image) = (c.regs(), c.fpu().unwrap());
    assert_eq!(c.regs(), before);
    let mut thread = c.spawn_thread(&before).unwrap();
    c.set_fpu(None).unwrap();
    assert_eq!(expect_call(&mut *c, 503)[1], 0);
    assert_eq!(expect_call(&mut *thread, 503)[1], 0xabcd);
    c.set_fpu(Some(&image)).unwrap();
    assert_eq!(expect_call(&mut *c, 503)[1], 0xabcd);
    assert_eq!(c.compare_exchange_u32(DATA, 0, 5), Ok(0));
    assert_eq!(expect_call(&mut *c, 503)[1], 0xabcd);
    // A thread that ends at a rewritten site, and the one that gets its place.
    drop(thread);
    let mut thread = c.spawn_thread(&before).unwrap();
    assert_eq!(expect_call(&mut *thread, 503)[1], 0xabcd);
}

#[test]
fn a_guest_may_have_gs() {
    let host = host();
    // 0: call 504; mov rsi, gs:[0]; jmp 0
    let code = Asm::new().label(0).call(504).raw(&[0x65, 0x48, 0x8b, 0x34, 0x25, 0, 0, 0, 0]).jmp(0).build();
    let mut c = program(&host, &code);
    c.space().write(DATA, &0x5555u64.to_le_bytes());
    for _ in 0..MANY {
        expect_call(&mut *c, 504);
    }
    let mut regs = c.regs();
    assert_eq!(regs.gs_base, 0);
    regs.gs_base = DATA;
    c.set_regs(&regs);
    for _ in 0..MANY {
        assert_eq!(expect_call(&mut *c, 504)[1], 0x5555);
        assert_eq!(c.regs().gs_base, DATA);
    }
    assert_eq!(bytes::<1>(&*c, TEXT), [0xb8]);
    let regs = c.regs();
    let mut child = c.fork(&regs).unwrap();
    assert_eq!(expect_call(&mut *child, 504)[1], 0x5555);
    // By itself: swapped in by wrgsbase at a rewritten site.
    let code = Asm::new()
        .label(0)
        .call(505)
        .raw(&[0x48, 0x85, 0xff, 0x0f, 0x84]) // test rdi,rdi; je 0
        .raw(&(-16i32).to_le_bytes())
        .raw(&[0xf3, 0x48, 0x0f, 0xae, 0xdf]) // wrgsbase rdi
        .jmp(0)
        .build();
    let mut c = program(&host, &code);
    for _ in 0..MANY {
        expect_call(&mut *c, 505);
    }
    let mut regs = c.regs();
    regs.rdi = 0x7000_0000;
    c.set_regs(&regs);
    for _ in 0..MANY {
        expect_call(&mut *c, 505);
    }
    assert_eq!(c.regs().gs_base, 0x7000_0000);
}

#[test]
fn trampolines_give_way() {
    let host = host();
    let mut c = program(&host, &looping(506));
    (0..MANY).for_each(|_| call(&mut *c, 506));
    let jump = bytes::<5>(&*c, TEXT);
    assert_eq!(jump[0], 0xe9);
    let to = (TEXT + 5).wrapping_add_signed(i64::from(i32::from_le_bytes(jump[1..].try_into().unwrap())));
    let s = c.space();
    s.apply(&[anon(to & !0xfff, 4096, RW)]).unwrap();
    assert_eq!(bytes::<1>(&*c, TEXT), [0xb8]);
    assert_eq!(bytes::<8>(&*c, to), [0; 8]);
    (0..1100).for_each(|_| call(&mut *c, 506));
    assert_eq!(bytes::<1>(&*c, TEXT), [0xe9], "it found another place");
    // Code that moves is put back first.
    s.apply(&[MapOp::Remap { old: TEXT, old_len: LEN, new: TEXT + 4 * LEN, new_len: LEN, keep: false }])
        .unwrap();
    assert_eq!(bytes::<1>(&*c, TEXT + 4 * LEN), [0xb8]);
    let mut regs = c.regs();
    regs.rip = TEXT + 4 * LEN;
    c.set_regs(&regs);
    (0..MANY).for_each(|_| call(&mut *c, 506));
    // Another program in the same space.
    s.clear().unwrap();
    load(&*s, &looping(507));
    c.set_regs(&start());
    (0..MANY).for_each(|_| call(&mut *c, 507));
    assert_eq!(bytes::<1>(&*c, TEXT), [0xe9]);
    s.apply(&[MapOp::Protect { addr: TEXT, len: LEN, prot: Prot { read: true, write: true, exec: true } }])
        .unwrap();
    expect_call(&mut *c, 507);
}

/// Counts up in a register over two sites, one of each kind, under a hail of kicks; the count and all else must agree.
#[test]
fn kicks_disturb_nothing() {
    let host = host();
    let code = Asm::new()
        .label(0)
        .raw(&[0x49, 0xff, 0xc4]) // inc r12
        .raw(&[0x66, 0x49, 0x0f, 0x6e, 0xdc]) // movq xmm3, r12
        .call(508)
        .raw(&[0x49, 0xff, 0xc5]) // inc r13
        .call(39)
        .raw(&[0x66, 0x49, 0x0f, 0x7e, 0xd9]) // movq r9, xmm3
        .raw(&[0x49, 0x89, 0xc0]) // mov r8, rax
        .jmp(0)
        .build();
    let mut c = program(&host, &code);
    let ids = FastIds { pid: 4321, enabled: true, ..FastIds::default() };
    c.set_fast_ids(&ids);
    let mut regs = start();
    for (i, r) in [R14, R15, RBP, RBX].into_iter().enumerate() {
        let v = 0xdead_0000 + i as u64;
        match r {
            R14 => regs.r14 = v,
            R15 => regs.r15 = v,
            RBP => regs.rbp = v,
            _ => regs.rbx = v,
        }
    }
    c.set_regs(&regs);
    let (stop, kicker) = (AtomicBool::new(false), c.kicker());
    let mut kicks = 0u64;
    let mut calls = 0u64;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pause = 1u32;
            while !stop.load(SeqCst) {
                kicker.kick();
                pause = pause.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                std::thread::sleep(Duration::from_micros(u64::from(pause >> 24)));
            }
        });
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            match c.run() {
                Event::Kicked => kicks += 1,
                Event::Syscall { nr: 508, .. } => {
                    calls += 1;
                    let r = c.regs();
                    assert_eq!((r.r12, r.r13), (calls, calls - 1));
                    assert!(calls < 3 || (r.r8 == 4321 && r.r9 == calls - 1), "{r:x?} after {calls}");
                    assert_eq!((r.r14, r.r15, r.rbp, r.rbx), (regs.r14, regs.r15, regs.rbp, regs.rbx));
                    assert_eq!(r.rsp, regs.rsp);
                }
                Event::Syscall { nr: 39, .. } => c.set_result(4321),
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, SeqCst);
    });
    assert!(kicks > 100 && calls > 1000, "{kicks} kicks, {calls} calls");
}

/// Many threads and forks at once, each counting through rewritten sites.
#[test]
fn crowds_keep_their_registers() {
    let host = host();
    let code = Asm::new().label(0).raw(&[0x49, 0xff, 0xc4]).call(509).jmp(0).build(); // inc r12
    let mut c = program(&host, &code);
    expect_call(&mut *c, 509);
    let mut all: Vec<Box<dyn Context>> = Vec::new();
    for i in 0..12u64 {
        let mut regs = start();
        regs.r12 = i << 32;
        let new = if i % 2 == 0 { c.spawn_thread(&regs) } else { c.fork(&regs) };
        all.push(new.unwrap());
    }
    std::thread::scope(|scope| {
        for (i, mut c) in all.into_iter().enumerate() {
            scope.spawn(move || {
                let kicker = c.kicker();
                let mut count = (i as u64) << 32;
                for n in 0..3000 {
                    if n % 97 == 0 {
                        kicker.kick();
                    }
                    match c.run() {
                        Event::Kicked => {}
                        Event::Syscall { nr: 509, .. } => {
                            count += 1;
                            assert_eq!(c.regs().r12, count);
                        }
                        other => panic!("{other:?}"),
                    }
                    if n == 1500 {
                        let regs = c.regs();
                        let mut child = c.fork(&regs).unwrap();
                        expect_call(&mut *child, 509);
                        assert_eq!(child.regs().r12, count + 1);
                    }
                }
            });
        }
    });
}

#[test]
fn what_stands_before_the_instruction_is_done_once() {
    let host = host();
    // mov eax, 500; push rbx; add rdi, 3; pop rbx; lea rsi, [rip + 0x10]; syscall
    let gap = [0x53, 0x48, 0x83, 0xc7, 0x03, 0x5b, 0x48, 0x8d, 0x35, 0x10, 0, 0, 0];
    let code = Asm::new().label(0).eax(500).raw(&gap).syscall().jmp(0).build();
    let mut c = program(&host, &code);
    let after = TEXT + 5 + gap.len() as u64;
    let start = c.regs().rdi;
    for i in 1..=MANY as u64 * 10 {
        // Interruptions on the way neither repeat nor leave out anything.
        if i % 3 == 0 {
            c.kicker().kick();
            assert_eq!(c.run(), Event::Kicked);
        }
        let args = expect_call(&mut *c, 500);
        assert_eq!(args[..2], [start + 3 * i, after + 0x10]);
        assert_eq!(c.regs().rip, after + 2);
    }
    assert_eq!(bytes::<1>(&*c, TEXT), [0xe9]);
    assert_eq!(bytes::<15>(&*c, TEXT + 5)[..13], gap);
    c.restart_syscall();
    assert_eq!(expect_call(&mut *c, 500)[0], start + 3 * MANY as u64 * 10);
    // A fault amid is reported where the guest has the instruction: mov esi, [rdi]
    let code = Asm::new().label(0).eax(501).raw(&[0x8b, 0x37]).syscall().jmp(0).build();
    let mut c = program(&host, &code);
    let mut regs = c.regs();
    regs.rdi = DATA;
    c.set_regs(&regs);
    (0..MANY).for_each(|_| call(&mut *c, 501));
    assert_eq!(bytes::<1>(&*c, TEXT), [0xe9]);
    c.space().apply(&[MapOp::Unmap { addr: DATA, len: 4096 }]).unwrap();
    match c.run() {
        Event::Exception(e) => assert_eq!((e.trapno, e.addr, c.regs().rip), (14, DATA, TEXT + 5)),
        other => panic!("{other:?}"),
    }
    assert_eq!(bytes::<1>(&*c, TEXT), [0xe9]);
}

#[test]
fn a_site_changes_while_others_run_it() {
    let host = host();
    // The number crosses a word of the processor's: it does not change in one store.
    let code = Asm::new().raw(&[0x90; 6]).label(0).call(500).jmp(0).build();
    let mut c = program(&host, &code);
    let mut others: Vec<_> = (0..3).map(|_| c.spawn_thread(&start()).unwrap()).collect();
    let changed = AtomicBool::new(false);
    let space = c.space();
    std::thread::scope(|scope| {
        for other in &mut others {
            scope.spawn(|| {
                while !changed.load(SeqCst) {
                    call(&mut **other, 500);
                }
                (0..100).for_each(|_| call(&mut **other, 500));
            });
        }
        let begin = Instant::now();
        while bytes::<1>(&*c, TEXT + 6) != [0xe9] && begin.elapsed() < Duration::from_secs(20) {
            call(&mut *c, 500);
        }
        changed.store(true, SeqCst);
    });
    assert_eq!(bytes::<1>(&*c, TEXT + 6), [0xe9]);
    // And back, while they run.
    std::thread::scope(|scope| {
        for other in &mut others {
            scope.spawn(|| (0..3000).for_each(|_| call(&mut **other, 500)));
        }
        for i in 0..10 {
            space.watch(i % 2 == 0);
            (0..100).for_each(|_| call(&mut *c, 500));
        }
        space.watch(true);
    });
    assert_eq!(bytes::<7>(&*c, TEXT + 6), [0xb8, 0xf4, 1, 0, 0, 0x0f, 0x05]);
}
