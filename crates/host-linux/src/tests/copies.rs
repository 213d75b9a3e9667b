//! Memory that the stub copies itself: what it captures with a call's arguments, and what it stores before guest code goes on.

use hal::{Context, Event, Host, MapOp};

use super::{asm::*, *};

/// Most that is captured.
const MOST: u64 = crate::layout::ctl::CAP_LEN_MAX as u64;

/// A loop around stat(2) of the string at DATA; the first calls come by signals.
fn stats(host: &LinuxHost, path: u64) -> Box<dyn Context> {
    let code = Asm::new().label(0).mov(RDI, path).call(libc::SYS_stat as u32).jmp(0).build();
    let mut c = program(host, &code);
    for _ in 0..20 {
        expect_call(&mut *c, libc::SYS_stat as u64);
    }
    c
}

#[test]
fn a_string_is_captured() {
    let host = host();
    let mut c = stats(&host, DATA);
    assert_eq!(c.space().write(DATA, b"/etc/passwd\0"), 12);
    expect_call(&mut *c, libc::SYS_stat as u64);
    let mut buf = [0xff; 64];
    assert_eq!(c.captured(DATA, &mut buf), 12);
    assert_eq!(&buf[..12], b"/etc/passwd\0");
    assert_eq!(c.captured(DATA + 5, &mut buf[..3]), 3);
    assert_eq!(&buf[..3], b"pas");
    assert_eq!((c.captured(DATA + 12, &mut buf), c.captured(DATA - 1, &mut buf)), (0, 0));
    // What is written over it is seen.
    assert_eq!(c.write(DATA + 1, b"var"), 3);
    assert_eq!(c.captured(DATA, &mut buf), 0);
    assert_eq!(c.read(DATA, &mut buf[..4]), 4);
    assert_eq!(&buf[..4], b"/var");
}

#[test]
fn what_cannot_be_captured_is_not() {
    let host = host();
    let mut buf = [0; 64];
    // An address that is not there, the stub's own pages, a string without an end, one that runs off its page.
    for path in [0, 8, 0x7000_0000, crate::layout::CONSTS, crate::layout::CODE, u64::MAX - 2] {
        let mut c = stats(&host, path);
        assert_eq!(c.captured(path, &mut buf), 0, "{path:#x}");
    }
    let mut c = stats(&host, DATA);
    assert_eq!(c.space().write(DATA, &[b'x'; 600]), 600);
    expect_call(&mut *c, libc::SYS_stat as u64);
    assert_eq!(c.captured(DATA, &mut buf), 0);
    let mut c = stats(&host, DATA + LEN - 4);
    assert_eq!(c.space().write(DATA + LEN - 4, b"xxxx"), 4);
    expect_call(&mut *c, libc::SYS_stat as u64);
    assert_eq!(c.captured(DATA + LEN - 4, &mut buf), 0);
}

#[test]
fn buffers_are_captured_by_their_length() {
    let host = host();
    for len in [0u64, 1, 100, 2048, MOST, MOST + 1, u64::MAX] {
        let code =
            Asm::new().label(0).mov(RSI, DATA).mov(RDX, len).call(libc::SYS_write as u32).jmp(0).build();
        let mut c = program(&host, &code);
        assert_eq!(c.space().write(DATA, &vec![7; LEN as usize]), LEN as usize);
        for _ in 0..20 {
            let args = expect_call(&mut *c, libc::SYS_write as u64);
            assert_eq!((args[1], args[2]), (DATA, len));
        }
        let mut buf = vec![0; LEN as usize];
        let want = if len > MOST { 0 } else { len as usize };
        assert_eq!(c.captured(DATA, &mut buf), want);
        assert!(buf[..want].iter().all(|&b| b == 7));
    }
}

#[test]
fn results_arrive_with_the_guest() {
    let host = host();
    // Copies a word from DATA to DATA + 8 between two calls.
    let code =
        Asm::new().label(0).call(500).mov(RBX, DATA).raw(&[0x8b, 0x33, 0x89, 0x73, 0x08]).jmp(0).build();
    let mut c = program(&host, &code);
    for i in 0..40u32 {
        expect_call(&mut *c, 500);
        if i > 0 {
            let mut b = [0; 4];
            assert_eq!(c.space().read(DATA + 8, &mut b), 4);
            assert_eq!(u32::from_le_bytes(b), i - 1, "by a signal at first, by a rewritten site later");
        }
        assert!(c.write_later(DATA, &i.to_le_bytes()));
        assert!(c.write_later(DATA + 0x1000, b"second"));
        c.set_result(0);
    }
    // Not before: the space shows the old word, the context what was left for later.
    assert!(c.write_later(DATA, b"late"));
    let mut b = [0; 4];
    assert_eq!(c.space().read(DATA, &mut b), 4);
    assert_ne!(&b, b"late");
    assert_eq!(c.read(DATA, &mut b), 4);
    assert_eq!(&b, b"late");
    // More than there is room for is refused, and what waited is done.
    assert!(c.write_later(DATA, b"once"));
    assert!(!c.write_later(DATA + 0x100, &[1; 33000]));
    assert_eq!(c.space().read(DATA, &mut b), 4);
    assert_eq!(&b, b"once");
    assert!(!c.write_later(crate::layout::REGION - 2, b"over"));
    // A fork sees it.
    assert!(c.write_later(DATA, b"fork"));
    let regs = c.regs();
    let child = c.fork(&regs).unwrap();
    assert_eq!(child.space().read(DATA, &mut b), 4);
    assert_eq!(&b, b"fork");
}

#[test]
fn memory_that_went_away_gives_efault() {
    let host = host();
    let code = Asm::new().label(0).call(500).raw(&[0x89, 0xc3]).jmp(0).build();
    for calls in [1, 20] {
        let mut c = program(&host, &code);
        for _ in 0..calls {
            expect_call(&mut *c, 500);
        }
        assert!(c.write_later(DATA, b"lost"));
        c.set_result(4);
        c.space().apply(&[MapOp::Unmap { addr: DATA, len: LEN }]).unwrap();
        expect_call(&mut *c, 500);
        assert_eq!(c.regs().rbx as i32, -libc::EFAULT, "after {calls} calls");
        // And by a flush before the result is known.
        assert!(c.write_later(DATA, b"lost"));
        c.flush();
        c.set_result(4);
        match c.run() {
            Event::Syscall { nr: 500, .. } => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(c.regs().rbx as i32, -libc::EFAULT);
    }
}

#[test]
fn a_host_file_is_read_past_the_kernel_process() {
    let host = host();
    let code = Asm::new().label(0).call(500).mov(RBX, DATA).raw(&[0x8b, 0x33]).jmp(0).build();
    let mut c = program(&host, &code);
    expect_call(&mut *c, 500);
    let path = std::env::temp_dir().join(format!("umlaut-copies-{}", std::process::id()));
    let text: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
    std::fs::write(&path, &text).unwrap();
    let file = host.open_path(path.as_os_str().as_encoded_bytes(), 0).unwrap();
    std::fs::remove_file(&path).unwrap();
    // Two parts that follow each other, the second cut off by the end of the file; nothing behind it.
    assert_eq!(c.read_file_later(&*file, 0, DATA, 4096), Some(Ok(4096)));
    assert_eq!(c.read_file_later(&*file, 4096, DATA + 4096, 4096), Some(Ok(904)));
    assert_eq!(c.read_file_later(&*file, 5000, DATA + 5000, 100), Some(Ok(0)));
    let mut b = vec![0; 5004];
    assert_eq!(c.space().read(DATA, &mut b[..1]), 1);
    assert_eq!(b[0], 0, "not before the guest goes on");
    c.set_result(0);
    expect_call(&mut *c, 500);
    assert_eq!(c.space().read(DATA, &mut b), 5004);
    assert_eq!((&b[..5000], &b[5000..]), (&text[..], &[0; 4][..]));
    // Neither beyond the buffer nor into the stub's own pages.
    assert_eq!(c.read_file_later(&*file, 0, DATA, 33000), None);
    assert_eq!(c.read_file_later(&*file, 0, crate::layout::REGION - 2, 4), None);
}

#[test]
fn the_next_program_finds_nothing_of_the_last() {
    let host = host();
    // Copies what stands in its own slot to the second half of its data (register 1 is rcx).
    let slot = crate::layout::SLOTS + crate::layout::ctl::BUFFER as u64;
    let (half, len) = (DATA + LEN / 2, 12000);
    let copy = |asm: Asm| asm.mov(RSI, slot).mov(RDI, half).mov(1, len).raw(&[0xf3, 0xa4]);
    let code = copy(Asm::new().label(0).call(500)).jmp(0).build();
    let mut c = program(&host, &code);
    expect_call(&mut *c, 500);
    let found = |c: &mut dyn Context| {
        c.set_result(0);
        expect_call(c, 500);
        let mut b = vec![0; len as usize];
        assert_eq!(c.space().read(half, &mut b), b.len());
        b.contains(&0x5a)
    };
    assert!(c.write_later(DATA, &[0x5a; 12000]));
    assert!(found(&mut *c), "the buffer is the guest's to read");
    c.forget_program();
    assert!(!found(&mut *c));
    assert!(c.write_later(DATA, b"new"));
    found(&mut *c);
    let mut b = [0; 3];
    assert_eq!(c.space().read(DATA, &mut b), 3);
    assert_eq!(&b, b"new");
}
