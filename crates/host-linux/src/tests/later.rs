//! Changes that are left until a guest thread goes on.

use hal::{Event, MapOp, errno};

use super::{
    DATA, LEN, RW, anon,
    asm::{Asm, RDI},
    expect_call, host, program, start,
};

/// Stores at the next page of its data and makes call 3, again and again.
fn walker() -> Vec<u8> {
    // mov [rdi], rdi; add rdi, 4096
    let step = [0x48, 0x89, 0x3f, 0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00];
    Asm::new().mov(RDI, DATA).label(0).raw(&step).call(3).jmp(0).build()
}

fn page(i: u64) -> u64 {
    DATA + i * 4096
}

#[test]
fn they_are_done_when_it_goes_on() {
    let host = host();
    let mut c = program(&host, &walker());
    let s = c.space();
    // Before and after its site is rewritten.
    for i in 0..20 {
        s.apply_lazy(&[MapOp::Unmap { addr: page(i), len: 4096 }, anon(page(i), 4096, RW)]).unwrap();
        assert_eq!(expect_call(&mut *c, 3)[0], page(i + 1));
        s.apply_lazy(&[MapOp::Unmap { addr: page(i + 1), len: 4096 }]).unwrap();
        match c.run() {
            Event::Exception(e) => assert_eq!((e.trapno, e.addr), (14, page(i + 1))),
            other => panic!("{other:?}"),
        }
    }
    // An interruption in between loses nothing.
    for i in 20..40 {
        s.apply_lazy(&[anon(page(i), 4096, RW)]).unwrap();
        c.kicker().kick();
        assert_eq!(c.run(), Event::Kicked);
        assert_eq!(expect_call(&mut *c, 3)[0], page(i + 1));
    }
}

#[test]
fn protections_are_changed_when_it_goes_on() {
    let host = host();
    let mut c = program(&host, &walker());
    let s = c.space();
    let read = hal::Prot { write: false, ..RW };
    for (i, prot) in [read, hal::Prot::default(), read].into_iter().enumerate() {
        let i = i as u64;
        s.apply_lazy(&[MapOp::Protect { addr: page(i), len: 4096, prot }]).unwrap();
        match c.run() {
            Event::Exception(e) => assert_eq!((e.trapno, e.addr), (14, page(i))),
            other => panic!("{other:?}"),
        }
        s.apply_lazy(&[MapOp::Protect { addr: page(i), len: 4096, prot: RW }]).unwrap();
        assert_eq!(expect_call(&mut *c, 3)[0], page(i + 1));
    }
}

#[test]
fn who_looks_sees_them_done() {
    let host = host();
    let mut c = program(&host, &walker());
    let s = c.space();
    let far = DATA + 4 * LEN;
    s.apply_lazy(&[anon(far, 8192, RW)]).unwrap();
    assert_eq!(s.write(far, b"there"), 5);
    s.apply_lazy(&[MapOp::Protect { addr: far, len: 4096, prot: Default::default() }]).unwrap();
    assert_eq!(s.read(far, &mut [0; 5]), 0);
    assert_eq!(s.read_forced(far, &mut [0; 5]), 5);
    // A copy of the space has them, and what comes after in the same batch counts its results from there.
    s.apply_lazy(&[MapOp::Unmap { addr: far, len: 8192 }]).unwrap();
    let mut child = c.fork(&start()).unwrap();
    assert_eq!(child.space().read_forced(far, &mut [0; 5]), 0);
    assert_eq!(expect_call(&mut *child, 3)[0], page(1));
    s.apply_lazy(&[anon(far, 8192, RW)]).unwrap();
    let hole = MapOp::Protect { addr: far + LEN, len: 4096, prot: RW };
    assert_eq!(s.apply(&[anon(far, 4096, RW), hole]), Err(errno::ENOMEM));
    // More than fit one request.
    for i in 0..200 {
        s.apply_lazy(&[anon(far + i * 8192, 4096, RW)]).unwrap();
    }
    assert_eq!(s.write(far + 199 * 8192, b"x"), 1);
    // Everything goes, and what comes next is there.
    s.clear().unwrap();
    s.apply(&[anon(far, 4096, RW)]).unwrap();
    assert_eq!((s.write(DATA, b"x"), s.write(far, b"x")), (0, 1));
}

#[test]
fn threads_wait_for_each_others() {
    let host = host();
    let mut c = program(&host, &walker());
    let s = c.space();
    let mut other = c.spawn_thread(&start()).unwrap();
    for i in 0..30 {
        s.apply_lazy(&[MapOp::Unmap { addr: page(i), len: 4096 }, anon(page(i), 4096, RW)]).unwrap();
        // The one hands the change over, the other relies on it.
        let (first, second) = if i % 2 == 0 { (&mut c, &mut other) } else { (&mut other, &mut c) };
        assert_eq!(expect_call(&mut **first, 3)[0], page(i + 1));
        assert_eq!(expect_call(&mut **second, 3)[0], page(i + 1));
    }
    // A wake-up nobody waits for is done all the same.
    s.futex_wake_later(DATA).unwrap();
    assert_eq!(s.futex_wake(DATA, 1, true), Ok(0));
    assert_eq!(s.futex_wake_later(1), Err(errno::EINVAL));
}

#[test]
fn a_change_that_fails_ends_the_space() {
    let host = host();
    let mut c = program(&host, &walker());
    let s = c.space();
    s.apply_lazy(&[MapOp::Protect { addr: DATA + 8 * LEN, len: 4096, prot: RW }]).unwrap();
    assert!(matches!(c.run(), Event::Died { .. }));
}

#[test]
fn an_errand_that_fails_ends_the_space() {
    let host = host();
    let mut c = program(&host, &walker());
    let s = c.space();
    s.allow_data(1 << 20);
    s.apply_lazy(&[anon(DATA + (64 << 20), 4 << 20, RW)]).unwrap();
    assert!(matches!(c.run(), Event::Died { .. }));
}

#[test]
fn the_host_maps_no_more_than_is_allowed() {
    let host = host();
    let mut c = program(&host, &walker());
    let s = c.space();
    let far = |i: u64| DATA + (4 + 16 * i) * (4 << 20);
    s.allow_data(1 << 20);
    assert_eq!(s.apply(&[anon(far(0), 4 << 20, RW)]), Err(errno::ENOMEM));
    s.allow_data(8 << 20);
    s.apply(&[anon(far(0), 4 << 20, RW)]).unwrap();
    assert_eq!(s.apply(&[anon(far(1), 4 << 20, RW)]), Err(errno::ENOMEM));
    // Memory that cannot be written does not count, and a copy of the space is allowed the same.
    s.apply(&[anon(far(1), 4 << 20, hal::Prot { write: false, ..RW })]).unwrap();
    let child = c.fork(&start()).unwrap().space();
    let protect =
        |space: &dyn hal::Space| space.apply(&[MapOp::Protect { addr: far(1), len: 4 << 20, prot: RW }]);
    assert_eq!((protect(&*child), protect(&*s)), (Err(errno::ENOMEM), Err(errno::ENOMEM)));
    child.allow_data(16 << 20);
    assert_eq!((protect(&*child), protect(&*s)), (Ok(()), Err(errno::ENOMEM)));
}
