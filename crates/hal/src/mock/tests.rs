use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::{Backing, Interest, MapOp, Prot};

const RW: Prot = Prot { read: true, write: true, exec: false };

fn map(addr: u64, len: u64, backing: Backing) -> MapOp {
    MapOp::Map { addr, len, prot: RW, backing, huge: false }
}

#[test]
fn script_runs_restarts_and_ends() {
    let host = MockHost::new();
    host.push_script(vec![
        Step::syscall(39, &[]),
        Step::code(|regs, _| {
            assert_eq!(regs.rax, 77);
            Event::Kicked
        }),
    ]);
    let mut cx = host.new_context().unwrap();
    let call = Event::Syscall { nr: 39, args: [0; 6] };
    assert_eq!(cx.run(), call);
    cx.restart_syscall();
    assert_eq!(cx.run(), call);
    cx.set_result(77);
    assert_eq!(cx.run(), Event::Kicked);
    assert_eq!(cx.run(), Event::Syscall { nr: 231, args: [0; 6] });
}

#[test]
fn kick_ends_computation() {
    let host = MockHost::new();
    host.push_script(vec![Step::UntilKicked]);
    let mut cx = host.new_context().unwrap();
    let kicker = cx.kicker();
    let t = std::thread::spawn(move || cx.run());
    kicker.kick();
    assert_eq!(t.join().unwrap(), Event::Kicked);
}

#[test]
fn fork_copies_private_and_shares_shared() {
    let host = MockHost::new();
    let mut cx = host.new_context().unwrap();
    let space = cx.space();
    let shared = Backing::Shared { offset: 4096, private: false };
    space.apply(&[map(0x10000, 0x3000, Backing::Anon), map(0x20000, 0x1000, shared)]).unwrap();
    assert_eq!(space.write(0x10ffe, b"abcd"), 4);
    let child = cx.fork(&Regs::default()).unwrap().space();
    assert_eq!(child.write(0x10ffe, b"X"), 1);
    assert_eq!(child.write(0x20000, b"both"), 4);
    let mut buf = [0; 4];
    assert_eq!(space.read(0x10ffe, &mut buf), 4);
    assert_eq!(&buf, b"abcd");
    assert_eq!(space.read(0x20000, &mut buf), 4);
    assert_eq!(&buf, b"both");
    host.shared_mem().read(4096, &mut buf);
    assert_eq!(&buf, b"both");
}

#[test]
fn protections_unmap_and_remap() {
    let host = MockHost::new();
    let space = host.new_context().unwrap().space();
    space.apply(&[map(0x10000, 0x3000, Backing::Anon)]).unwrap();
    assert_eq!(space.write(0x12000, b"moved"), 5);
    space
        .apply(&[MapOp::Protect { addr: 0x11000, len: 0x1000, prot: Prot { read: true, ..Prot::default() } }])
        .unwrap();
    assert_eq!(space.write(0x10ff0, &[1; 32]), 16);
    assert_eq!(space.write_forced(0x11000, &[1; 4]), 4);
    space
        .apply(&[MapOp::Remap { old: 0x12000, old_len: 0x1000, new: 0x40000, new_len: 0x2000, keep: false }])
        .unwrap();
    let mut buf = [0; 5];
    assert_eq!(space.read(0x12000, &mut buf), 0);
    assert_eq!(space.read(0x40000, &mut buf), 5);
    assert_eq!(&buf, b"moved");
    assert_eq!(space.write(0x41000, b"grown"), 5);
    space.apply(&[MapOp::Unmap { addr: 0x10000, len: 0x1000 }]).unwrap();
    assert_eq!(space.read(0x10000, &mut buf), 0);
    assert_eq!(space.read(0x11000, &mut buf), 5);
}

#[test]
fn file_mappings_see_the_file() {
    let host = MockHost::new();
    host.tree().add_file("/bin/prog", b"hello");
    let file = host.open_path(b"/bin/prog", 2).unwrap();
    let space = host.new_context().unwrap().space();
    let backing = |private| Backing::File { file: file.clone(), offset: 0, private };
    space.apply(&[map(0x10000, 0x1000, backing(true)), map(0x20000, 0x2000, backing(false))]).unwrap();
    assert_eq!(space.write(0x10000, b"J"), 1);
    assert_eq!(space.write(0x20001, b"E"), 1);
    let mut buf = [0; 5];
    assert_eq!(file.pread(0, &mut buf), Ok(5));
    assert_eq!(&buf, b"hEllo");
    assert_eq!(space.read(0x10000, &mut buf), 5);
    assert_eq!(&buf, b"Jello");
    assert_eq!(space.read(0x21000, &mut buf), 0, "behind the end of the file");
}

#[test]
fn tree_refuses_paths_and_renames() {
    let host = MockHost::new();
    host.tree().add_file("/a/f", b"1");
    host.tree().add_link("/a/l", "/etc");
    let a = host.open_path(b"/a", 0).unwrap();
    for bad in [&b".."[..], b"", b"x/y", b"x\0"] {
        assert_eq!(a.stat_at(bad), Err(errno::EINVAL));
        assert_eq!(a.open_at(bad, 0, 0).err(), Some(errno::EINVAL));
    }
    assert_eq!(a.open_at(b"l", 0, 0).err(), Some(errno::ELOOP));
    a.mkdir_at(b"d", 0o700).unwrap();
    let d = a.open_at(b"d", 0, 0).unwrap();
    a.rename_at(b"f", &*d, b"g", 0).unwrap();
    assert_eq!(a.stat_at(b"f"), Err(errno::ENOENT));
    assert_eq!(d.stat_at(b"g").unwrap().size, 1);
    assert_eq!(a.unlink_at(b"d", true), Err(errno::ENOTEMPTY));
    let mut list = Vec::new();
    a.read_dir(0, &mut list).unwrap();
    assert_eq!(list.iter().map(|e| e.name.as_slice()).collect::<Vec<_>>(), [b"d".as_slice(), b"l"]);
}

#[test]
fn stream_wakes_watchers_until_dropped() {
    let host = MockHost::new();
    let stream = host.stream(0).unwrap();
    let mock = host.mock_stream(0).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let wake = Box::new(move || {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    let watch = stream.watch(Interest { read: true, write: false }, wake).unwrap();
    assert_eq!(stream.read(&mut [0; 4]), Err(errno::EAGAIN));
    mock.feed(b"key");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(stream.read(&mut [0; 4]), Ok(3));
    drop(watch);
    mock.close_input();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(stream.read(&mut [0; 4]), Ok(0));
}

#[test]
fn exit_is_seen() {
    let host = MockHost::new();
    let other = host.clone();
    std::thread::spawn(move || other.exit(7));
    assert_eq!(host.wait_exit(Duration::from_secs(10)), Some(7));
}
