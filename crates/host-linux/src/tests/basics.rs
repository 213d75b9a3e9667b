//! System calls, faults, memory, threads, forks, kicks, deaths.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hal::{Backing, Context, Event, Host, Kicker, MapOp, Prot, errno};

use super::{asm::*, *};
use crate::{context::LinuxContext, engine::Engine, stub::code};

#[test]
fn a_system_call_comes_out_and_its_result_goes_in() {
    let host = host();
    let code = Asm::new()
        .mov(RDI, 1)
        .mov(RSI, 2)
        .mov(RDX, 3)
        .mov(R10, 4)
        .mov(R8, 5)
        .mov(R9, 6)
        .call(777)
        .raw(&[0x48, 0x89, 0xc7]) // mov rdi, rax
        .call(778)
        .build();
    let mut c = program(&host, &code);
    assert_eq!(expect_call(&mut *c, 777), [1, 2, 3, 4, 5, 6]);
    c.set_result(0x1234_5678_9abc);
    let args = expect_call(&mut *c, 778);
    assert_eq!(args[0], 0x1234_5678_9abc);
    let regs = c.regs();
    assert_eq!(regs.rip, TEXT + code.len() as u64);
    assert_eq!(regs.rsp, STACK + LEN - 64);
    c.restart_syscall();
    assert_eq!(expect_call(&mut *c, 778), args);
}

#[test]
fn nothing_of_this_process_lies_where_stubs_have_their_pages() {
    let _host = host();
    let (first, last) = (crate::layout::REGION, crate::layout::REGION + crate::layout::REGION_LEN);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut reserved = 0;
    for line in maps.lines() {
        let mut words = line.split(' ');
        let (from, to) = words.next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        if from < last && first < to {
            assert!(words.next().unwrap().starts_with("---"), "{line}");
            reserved += to.min(last) - from.max(first);
        }
    }
    assert_eq!(reserved, last - first);
}

#[test]
fn faults_come_out_and_can_be_mended() {
    let host = host();
    let code = Asm::new().mov(RBX, DATA + LEN).raw(&[0x48, 0x8b, 0x03]).call(1).raw(&[0x0f, 0x0b]).build();
    let mut c = program(&host, &code);
    match c.run() {
        Event::Exception(e) => {
            assert_eq!((e.signo as i32, e.trapno, e.error, e.addr), (libc::SIGSEGV, 14, 4, DATA + LEN));
        }
        other => panic!("{other:?}"),
    }
    c.space().apply(&[anon(DATA + LEN, 4096, RW)]).unwrap();
    assert_eq!(c.space().write(DATA + LEN, &42u64.to_le_bytes()), 8);
    expect_call(&mut *c, 1);
    match c.run() {
        Event::Exception(e) => assert_eq!((e.signo as i32, e.trapno), (libc::SIGILL, 6)),
        other => panic!("{other:?}"),
    }
    let mut regs = c.regs();
    regs.rip = 0xffff_8000_0000_0000;
    c.set_regs(&regs);
    match c.run() {
        Event::Exception(e) => assert_eq!(e.signo as i32, libc::SIGSEGV),
        other => panic!("{other:?}"),
    }
}

#[test]
fn memory_is_copied_mapped_and_unmapped() {
    let host = host();
    let c = host.new_context().unwrap();
    let s = c.space();
    let mem = host.shared_mem();
    s.apply(&[anon(DATA, 2 * 4096, RW)]).unwrap();
    let data: Vec<u8> = (0..8192u32).map(|i| i as u8).collect();
    assert_eq!(s.write(DATA, &data), 8192);
    let mut back = vec![0; 8192];
    assert_eq!(s.read(DATA, &mut back), 8192);
    assert_eq!(data, back);
    // Copies stop at the end of what is mapped.
    assert_eq!(s.write(DATA + 4096, &data), 4096);
    assert_eq!(s.read(DATA + 8192, &mut back), 0);
    // Protection holds for plain copies and not for forced ones.
    s.apply(&[MapOp::Protect { addr: DATA, len: 4096, prot: Prot::default() }]).unwrap();
    assert_eq!(s.read(DATA, &mut back[..8]), 0);
    assert_eq!(s.read_forced(DATA, &mut back[..8]), 8);
    assert_eq!(back[..8], data[..8]);
    assert_eq!(s.write_forced(DATA, b"forced"), 6);
    // Shared memory is one for all.
    let at = 1 << 40;
    let shared = |private| Backing::Shared { offset: at, private };
    let map = |addr, private| MapOp::Map { addr, len: 4096, prot: RW, backing: shared(private), huge: false };
    mem.write(at, b"hello");
    s.apply(&[map(TEXT, false), map(STACK, true)]).unwrap();
    assert_eq!(s.read(TEXT, &mut back[..5]), 5);
    assert_eq!(&back[..5], b"hello");
    assert_eq!(s.write(TEXT, b"HE"), 2);
    assert_eq!(s.write(STACK, b"private"), 7);
    mem.read(at, &mut back[..5]);
    assert_eq!(&back[..5], b"HEllo");
    assert_eq!(s.read_to_shared(STACK, at + 100, 7), 7);
    mem.read(at + 100, &mut back[..7]);
    assert_eq!(&back[..7], b"private");
    assert_eq!(s.write_from_shared(STACK + 16, at, 5), 5);
    assert_eq!(s.read(STACK + 16, &mut back[..5]), 5);
    assert_eq!(&back[..5], b"HEllo");
    assert_eq!(mem.allocated(), 4096);
    assert_eq!(mem.seek(0, 1 << 41, true), Some(at));
    mem.discard(at, 4096);
    assert_eq!((mem.allocated(), mem.seek(0, 1 << 41, true)), (0, None));
    // Much at once, as far as there is something.
    let (far, much) = (TEXT + (16 << 20), 1 << 20);
    s.apply(&[anon(far, much as u64, RW)]).unwrap();
    let bytes: Vec<u8> = (0..much as u32).map(|i| (i % 249) as u8).collect();
    assert_eq!(s.write(far, &bytes), much);
    assert_eq!(s.read_to_shared(far + 5, at + 3, much), much - 5);
    let mut copy = vec![0; much - 5];
    mem.read(at + 3, &mut copy);
    assert!(copy == bytes[5..]);
    assert_eq!(s.read_to_shared(far + much as u64, at, much), 0);
    mem.discard(at, 2 << 20);
    s.apply(&[MapOp::Unmap { addr: far, len: much as u64 }]).unwrap();
    // Moving, residency.
    s.apply(&[MapOp::Remap { old: DATA, old_len: 8192, new: DATA + LEN, new_len: 16384, keep: false }])
        .expect_err("two protections");
    s.apply(&[MapOp::Protect { addr: DATA, len: 4096, prot: RW }]).unwrap();
    let mut there = [9; 2];
    s.mincore(DATA, &mut there).unwrap();
    assert_eq!(there, [1, 1]);
    s.apply(&[MapOp::Remap { old: DATA, old_len: 8192, new: DATA + LEN, new_len: 16384, keep: false }])
        .unwrap();
    assert_eq!(s.read(DATA, &mut back[..6]), 0);
    assert_eq!(s.read(DATA + LEN, &mut back[..6]), 6);
    assert_eq!(&back[..6], b"forced");
    assert!(s.resident_bytes().0 >= 8192);
    // What is not the guest's is refused, and the host's errors come through.
    let (start, end) = s.range();
    for addr in [0, start - 4096, end, end - 4096, crate::layout::REQUEST, 1 << 62, 123] {
        assert!(s.apply(&[anon(addr, 8192, RW)]).is_err(), "{addr:#x}");
        assert!(s.apply(&[MapOp::Unmap { addr, len: 8192 }]).is_err(), "{addr:#x}");
    }
    let hole = MapOp::Protect { addr: 0x7000_0000, len: 4096, prot: RW };
    assert_eq!(s.apply(&[anon(DATA, 4096, RW), hole, anon(DATA + 4096, 4096, RW)]), Err(errno::ENOMEM));
    assert_eq!(s.write(DATA, &data), 4096, "the first was done, the third was not");
    s.clear().unwrap();
    assert_eq!(s.write(DATA, &data), 0);
    // Long batches.
    let many: Vec<MapOp> = (0..300).map(|i| anon(DATA + i * 8192, 4096, RW)).collect();
    s.apply(&many).unwrap();
    assert_eq!(s.write(DATA + 299 * 8192, b"x"), 1);
}

#[test]
fn files_are_mapped_and_transferred() {
    let host = host();
    let c = host.new_context().unwrap();
    let s = c.space();
    let path = std::env::temp_dir().join(format!("umlaut-platform-{}", std::process::id()));
    let content: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    use std::os::unix::ffi::OsStrExt;
    let file = host.open_path(path.as_os_str().as_bytes(), libc::O_RDWR as u32).unwrap();
    std::fs::remove_file(&path).unwrap();
    let backing = Backing::File { file: file.clone(), offset: 4096, private: true };
    s.apply(&[MapOp::Map { addr: DATA, len: 8192, prot: RW, backing, huge: false }]).unwrap();
    let mut back = vec![0; 200_000];
    assert_eq!(s.read(DATA, &mut back[..8192]), 8192);
    assert_eq!(back[..8192], content[4096..12288]);
    s.apply(&[anon(DATA, 0x4_0000, RW)]).unwrap();
    for len in [100, 150_000, 250_000] {
        let want = len.min(200_000);
        assert_eq!(s.read_file(&*file, 0, DATA, len), Ok(want));
        assert_eq!(s.read(DATA, &mut back[..want]), want);
        assert!(back[..want] == content[..want]);
        assert_eq!(s.read_file(&*file, 0, 0x7000_0000, len), Err(errno::EFAULT));
        assert_eq!(s.write_file(&*file, 0, 0x7000_0000, len), Err(errno::EFAULT));
    }
    assert_eq!(s.write_file(&*file, 200_000, DATA, 100_000), Ok(100_000));
    assert_eq!(file.stat().unwrap().size, 300_000);
    assert_eq!(s.read_file(&*file, 1 << 40, DATA, 100), Ok(0));
}

#[test]
fn a_fork_is_a_copy() {
    let host = host();
    let code = Asm::new().call(57).raw(&[0x48, 0x8b, 0x3c, 0x25, 0, 0, 0x50, 0]).call(2).build(); // mov rdi, [DATA]
    let mut c = program(&host, &code);
    c.space().write(DATA, &7u64.to_le_bytes());
    expect_call(&mut *c, 57);
    let mut regs = c.regs();
    regs.rax = 0;
    regs.fs_base = DATA + 0x100;
    let mut child = c.fork(&regs).unwrap();
    c.set_result(1234);
    c.space().write(DATA, &8u64.to_le_bytes());
    assert_eq!(expect_call(&mut *child, 2)[0], 7);
    assert_eq!(child.regs().fs_base, DATA + 0x100);
    assert_eq!(expect_call(&mut *c, 2)[0], 8);
    child.space().write(DATA, &9u64.to_le_bytes());
    let mut b = [0; 8];
    c.space().read(DATA, &mut b);
    assert_eq!(u64::from_le_bytes(b), 8);
    // A grandchild, whose parent is gone.
    let mut regs = child.regs();
    regs.rip = TEXT + 7;
    let mut grandchild = child.fork(&regs).unwrap();
    drop(child);
    assert_eq!(expect_call(&mut *grandchild, 2)[0], 9);
}

#[test]
fn threads_share_their_space() {
    let host = host();
    let code = Asm::new().raw(&[0x48, 0x89, 0x3f]).call(3).jmp(0).label(0).jmp(0).build(); // mov [rdi], rdi
    let mut c = program(&host, &code);
    let mut regs = c.regs();
    let mut threads = Vec::new();
    for round in 0..3 {
        for i in 0..40u64 {
            regs = start();
            regs.rdi = DATA + i * 8;
            regs.fs_base = i << 12;
            threads.push(c.spawn_thread(&regs).unwrap());
        }
        for (i, t) in threads.iter_mut().enumerate() {
            assert_eq!(expect_call(&mut **t, 3)[0], DATA + i as u64 * 8, "round {round}");
            assert_eq!(t.regs().fs_base, (i as u64) << 12);
        }
        let mut b = [0; 320];
        c.space().read(DATA, &mut b);
        assert_eq!(b[312..320], (DATA + 312).to_le_bytes());
        threads.clear();
    }
    let _ = regs;
}

/// Kicks after a moment from another thread.
fn kick_later(c: &dyn Context) -> std::thread::JoinHandle<()> {
    let kicker = c.kicker();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        kicker.kick();
    })
}

#[test]
fn kicks_arrive() {
    let host = host();
    let code = Asm::new().label(0).jmp(0).build();
    let mut c = program(&host, &code);
    let t = kick_later(&*c);
    assert_eq!(c.run(), Event::Kicked);
    t.join().unwrap();
    assert_eq!(c.regs().rip, TEXT);
    // Before it runs.
    c.kicker().kick();
    assert_eq!(c.run(), Event::Kicked);
    // In a futex wait that the host does.
    let wait = Asm::new().mov(RDI, DATA).mov(RSI, 128).mov(RDX, 0).mov(R10, 0).call(202).call(4).build();
    let mut c = program(&host, &wait);
    let t = kick_later(&*c);
    assert_eq!(c.run(), Event::Kicked);
    t.join().unwrap();
    let regs = c.regs();
    assert_eq!((regs.rax, regs.rip), (202, TEXT + 45));
    // It waits again, and a wake-up ends it.
    let s = c.space();
    let t = std::thread::spawn(move || {
        while s.futex_wake(DATA, 1, false) == Ok(0) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    loop {
        match c.run() {
            Event::Kicked => {}
            Event::Syscall { nr: 4, .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(c.regs().rax, 4);
    t.join().unwrap();
}

#[test]
fn a_killed_stub_is_reported() {
    let host = host();
    let code = Asm::new().label(0).jmp(0).build();
    let mut c = program(&host, &code);
    let s = c.space();
    let t = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        s.kill();
    });
    assert_eq!(c.run(), Event::Died { signo: libc::SIGKILL as u8 });
    assert_eq!(c.run(), Event::Died { signo: libc::SIGKILL as u8 });
    t.join().unwrap();
    assert!(c.fork(&start()).is_err());
    assert!(c.spawn_thread(&start()).is_err());
    assert!(c.space().apply(&[anon(DATA, 4096, RW)]).is_err());
    assert_eq!(c.space().read(DATA, &mut [0]), 0);
    c.kicker().kick();
}

#[test]
fn words_are_swapped_atomically() {
    let host = host();
    let mut c = program(&host, &Asm::new().call(5).call(6).build());
    expect_call(&mut *c, 5);
    c.space().write(DATA, &7u32.to_le_bytes());
    assert_eq!(c.compare_exchange_u32(DATA, 7, 9), Ok(7));
    assert_eq!(c.compare_exchange_u32(DATA, 7, 11), Ok(9));
    assert_eq!(c.compare_exchange_u32(DATA + 2, 7, 11), Err(errno::EINVAL));
    assert_eq!(c.compare_exchange_u32(0x7000_0000, 7, 11), Err(errno::EFAULT));
    assert_eq!(c.compare_exchange_u32(TEXT, 0, 0), Err(errno::EFAULT));
    assert_eq!(c.compare_exchange_u32(crate::layout::REPLY, 0, 0), Err(errno::EFAULT));
    expect_call(&mut *c, 6);
}

#[test]
fn vector_state_survives_and_can_be_replaced() {
    let host = host();
    // movq xmm5, rdi; syscall 7; movq rsi, xmm5; syscall 8
    let code = Asm::new()
        .raw(&[0x66, 0x48, 0x0f, 0x6e, 0xef])
        .call(7)
        .raw(&[0x66, 0x48, 0x0f, 0x7e, 0xee])
        .call(8)
        .build();
    let mut c = program(&host, &code);
    let mut regs = start();
    regs.rdi = 0xfeed_beef;
    c.set_regs(&regs);
    expect_call(&mut *c, 7);
    let image = c.fpu().unwrap();
    assert_eq!(image.len() as u32, host.facts().xstate_size);
    // Inherited by threads and forks.
    let at = c.regs();
    let mut child = c.fork(&at).unwrap();
    let mut thread = c.spawn_thread(&at).unwrap();
    for c in [&mut c, &mut child, &mut thread] {
        assert_eq!(expect_call(&mut **c, 8)[1], 0xfeed_beef);
    }
    // Replaced: from an earlier image, by a reset.
    let mut t = c.regs();
    t.rip = TEXT + 12;
    child.set_fpu(None).unwrap();
    child.set_regs(&t);
    assert_eq!(expect_call(&mut *child, 8)[1], 0);
    child.set_fpu(Some(&image)).unwrap();
    child.set_regs(&t);
    assert_eq!(expect_call(&mut *child, 8)[1], 0xfeed_beef);
    // Refused: what the processor would refuse.
    let mut bad = image.clone();
    bad[26] = 0xff;
    assert_eq!(c.set_fpu(Some(&bad)), Err(errno::EINVAL));
    let mut bad = image.clone();
    if bad.len() > 600 {
        bad[519] = 0xff;
        assert_eq!(c.set_fpu(Some(&bad)), Err(errno::EINVAL));
        let mut bad = image.clone();
        bad[520] = 1;
        assert_eq!(c.set_fpu(Some(&bad)), Err(errno::EINVAL));
    }
    assert_eq!(c.set_fpu(Some(&image[..100])), Err(errno::EINVAL));
    c.set_regs(&t);
    assert_eq!(expect_call(&mut *c, 8)[1], 0xfeed_beef);
}

#[test]
fn nothing_is_left_behind() {
    let host = host();
    let wait_for = |what: &dyn Fn() -> bool| {
        let end = Instant::now() + Duration::from_secs(20);
        while !what() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        let left = (host.engine().population(), host.engine().slots.used());
        assert!(what(), "{left:?} left");
    };
    // What stays is the first stub, with one slot for its pages.
    let alone = || host.engine().population() == 1 && host.engine().slots.used() == 1;
    wait_for(&alone);
    let code = Asm::new().call(9).build();
    for i in 0..100 {
        let mut c = program(&host, &code);
        if i % 3 == 0 {
            expect_call(&mut *c, 9);
            let _child = c.fork(&start()).unwrap();
            let _thread = c.spawn_thread(&start()).unwrap();
        }
    }
    wait_for(&alone);
    let kicker: Arc<dyn Kicker> = program(&host, &code).kicker();
    drop(host);
    kicker.kick();
}

#[test]
fn two_hosts_live_side_by_side() {
    let (a, b) = (host(), host());
    let mut x = program(&a, &Asm::new().call(10).build());
    let mut y = program(&b, &Asm::new().call(11).build());
    expect_call(&mut *x, 10);
    drop(a);
    assert!(matches!(x.run(), Event::Died { .. }));
    expect_call(&mut *y, 11);
}

#[test]
fn hosts_without_dispatch_confine_by_filters() {
    let engine = Engine::start_guarded(0, false).unwrap_or_else(|e| panic!("{e}"));
    // Among other things, a guest thread tries a call of the service thread's.
    let probed = LinuxContext::probe(&engine);
    engine.close();
    assert!(probed.is_ok_and(|len| len >= 512));
}

#[test]
fn no_guest_thread_makes_the_service_threads_calls() {
    let host = host();
    let mut first = program(&host, &Asm::new().call(777).build());
    let nr = libc::SYS_getpid as u64;
    let there = Regs { rip: code::operation_ip() - 2, rax: nr, rsp: STACK + LEN - 64, ..Regs::default() };
    let thread = first.spawn_thread(&there).unwrap();
    let fork = first.fork(&there).unwrap();
    first.set_regs(&there);
    let closed = first.respawn(true).unwrap();
    for mut context in [first, thread, fork, closed] {
        expect_call(&mut *context, nr);
    }
}
