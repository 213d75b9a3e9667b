//! Texts of files whose sites are rewritten for all who map them.

use std::sync::Arc;

use hal::{Context, Event, Host, HostFile};

use super::{asm::Asm, *};

/// Sites of the program, and bytes of its file.
const SITES: u32 = 8;
const FILE: u64 = 0x3000;
/// Bytes of it that are code; trampolines stand behind.
const CODE: usize = 0x1360;
/// Distance of the sites; the one that has an instruction between number and call, and that: add rdi, 3.
const SITE: usize = 707;
const GAPPED: u32 = 3;
const GAP: [u8; 4] = [0x48, 0x83, 0xc7, 0x03];

/// A file of code with calls 500, 501, ... in a loop; the file has no name any more.
fn file(host: &LinuxHost, name: &str) -> (Arc<dyn HostFile>, Vec<u8>) {
    use std::os::unix::ffi::OsStrExt;
    // The calls stand apart, in two pages, and the last is an identity call.
    let mut code = Asm::new().label(0);
    for i in 0..SITES - 1 {
        let gap = if i == GAPPED { &GAP[..] } else { &[] };
        code = code.eax(500 + i).raw(gap).syscall().raw(&[0x90; 700][gap.len()..]);
    }
    let mut bytes = code.call(39).jmp(0).build();
    bytes.resize(FILE as usize, 0);
    let path = std::env::temp_dir().join(format!("umlaut-text-{name}-{}", std::process::id()));
    std::fs::write(&path, &bytes).unwrap();
    let file = host.open_path(path.as_os_str().as_bytes(), libc::O_RDONLY as u32).unwrap();
    std::fs::remove_file(&path).unwrap();
    (file, bytes)
}

fn text(file: &Arc<dyn HostFile>, addr: u64, len: u64) -> MapOp {
    let backing = Backing::File { file: file.clone(), offset: 0, private: true };
    MapOp::Map { addr, len, prot: RX, backing, huge: false }
}

/// A thread at the start of the file in a new space.
fn runs(host: &LinuxHost, file: &Arc<dyn HostFile>) -> Box<dyn Context> {
    let mut c = host.new_context().unwrap();
    c.space().apply(&[text(file, TEXT, FILE), anon(STACK, LEN, RW)]).unwrap();
    c.set_regs(&start());
    c
}

fn round(c: &mut dyn Context) {
    for i in 0..SITES - 1 {
        expect_call(c, u64::from(500 + i));
        c.set_result(0);
    }
    expect_call(c, 39);
    c.set_result(1);
}

fn code(c: &dyn Context, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; FILE as usize];
    assert_eq!(c.space().read(at, &mut bytes), bytes.len());
    bytes
}

/// Waits until the file is one that does not change.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(3100));
}

#[test]
fn a_file_that_has_just_changed_is_left_alone() {
    let host = host();
    let (file, original) = file(&host, "fresh");
    for _ in 0..5 {
        let mut c = runs(&host, &file);
        assert!(code(&*c, TEXT) == original);
        round(&mut *c);
    }
}

#[test]
fn what_traps_in_some_is_rewritten_for_all() {
    let host = host();
    let (file, original) = file(&host, "all");
    settle();
    for _ in 0..3 {
        let mut c = runs(&host, &file);
        assert!(code(&*c, TEXT) == original);
        round(&mut *c);
    }
    let mut c = runs(&host, &file);
    let changed = code(&*c, TEXT);
    for i in 0..SITES as usize {
        let gap = if i == GAPPED as usize { &GAP[..] } else { &[] };
        let behind = [gap, &[0x0f, 0x05]].concat();
        let site = &changed[i * SITE..];
        assert_eq!((site[0], &site[5..5 + behind.len()]), (0xe9, &behind[..]), "site {i}");
    }
    (0..10).for_each(|_| round(&mut *c));
    // A copy of the space, a restart, an interruption in between.
    let regs = c.regs();
    let mut child = c.fork(&regs).unwrap();
    for c in [&mut c, &mut child] {
        for i in 0..200 {
            if i % 5 == 0 {
                c.kicker().kick();
                assert_eq!(c.run(), Event::Kicked);
            }
            let before = c.regs().rdi;
            round(&mut **c);
            assert_eq!(c.regs().rdi, before + 3);
        }
        expect_call(&mut **c, 500);
        c.restart_syscall();
        expect_call(&mut **c, 500);
        c.set_result(0);
        for i in 1..SITES - 1 {
            expect_call(&mut **c, u64::from(500 + i));
        }
        expect_call(&mut **c, 39);
    }
    // Elsewhere it is the same code.
    let other = TEXT + 0x10_0000;
    c.space().apply(&[text(&file, other, FILE)]).unwrap();
    assert!(code(&*c, other) == changed);
    let mut regs = c.regs();
    regs.rip = other;
    c.set_regs(&regs);
    (0..5).for_each(|_| round(&mut *c));
    // Who wants to read code gets it as the file has it, until the next program.
    child.space().map_plain_texts();
    child.space().apply(&[text(&file, other, FILE)]).unwrap();
    assert!(code(&*child, other) == original);
    // Before a debugger it is as the file has it, and what is mapped meanwhile, too.
    c.space().watch(true);
    assert!(code(&*c, TEXT)[..CODE] == original[..CODE] && code(&*c, other)[..CODE] == original[..CODE]);
    c.space().apply(&[text(&file, other + 0x10_0000, FILE)]).unwrap();
    assert!(code(&*c, other + 0x10_0000) == original);
    (0..5).for_each(|_| round(&mut *c));
    // The child is on its own.
    assert!(code(&*child, TEXT) == changed);
    (0..5).for_each(|_| round(&mut *child));
}

#[test]
fn a_text_that_goes_in_part_becomes_the_files() {
    let host = host();
    let (file, original) = file(&host, "part");
    settle();
    for _ in 0..3 {
        round(&mut *runs(&host, &file));
    }
    let c = runs(&host, &file);
    assert!(code(&*c, TEXT) != original);
    c.space().apply(&[MapOp::Unmap { addr: TEXT + 0x2000, len: 0x1000 }]).unwrap();
    let mut rest = vec![0; 0x2000];
    assert_eq!(c.space().read(TEXT, &mut rest), rest.len());
    assert!(rest[..CODE] == original[..CODE]);
    // One that moves, too.
    let mut c = runs(&host, &file);
    let to = TEXT + 0x10_0000;
    let remap = MapOp::Remap { old: TEXT, old_len: FILE, new: to, new_len: FILE, keep: false };
    c.space().apply(&[remap]).unwrap();
    assert!(code(&*c, to)[..CODE] == original[..CODE]);
    let mut regs = c.regs();
    regs.rip = to;
    c.set_regs(&regs);
    (0..5).for_each(|_| round(&mut *c));
    // One that goes as a whole leaves nothing behind: other code may stand there.
    let mut c = runs(&host, &file);
    c.space().apply(&[anon(TEXT, FILE, RX)]).unwrap();
    assert!(code(&*c, TEXT) == vec![0; FILE as usize]);
    c.space().write_forced(TEXT, &original);
    (0..10).for_each(|_| round(&mut *c));
}

#[test]
fn what_only_children_visit_is_rewritten_before_a_fork() {
    let host = host();
    let (file, original) = file(&host, "children");
    let mut c = runs(&host, &file);
    // The parent stays before the first site.
    let mut regs = start();
    regs.rip = TEXT + SITE as u64;
    for i in 0..4 {
        let mut child = c.fork(&regs).unwrap();
        let changed = if i < 3 { original.clone() } else { code(&*c, TEXT) };
        assert!(code(&*child, TEXT) == changed, "child {i}");
        assert_eq!(changed[SITE], if i < 3 { 0xb8 } else { 0xe9 }, "child {i}");
        for i in 1..SITES - 1 {
            expect_call(&mut *child, u64::from(500 + i));
        }
    }
    // Nothing was visited by itself, and what is there works.
    assert_eq!(code(&*c, TEXT)[..SITE], original[..SITE]);
    round(&mut *c);
    // A child that has other code there tells nothing.
    let far = TEXT + 0x10_0000;
    c.space().apply(&[text(&file, far, FILE)]).unwrap();
    regs.rip = far + SITE as u64;
    for _ in 0..6 {
        let mut child = c.fork(&regs).unwrap();
        child.space().apply(&[anon(far, FILE, RX)]).unwrap();
        child.space().write_forced(far, &original);
        expect_call(&mut *child, 501);
    }
    assert!(code(&*c, far) == original);
}
