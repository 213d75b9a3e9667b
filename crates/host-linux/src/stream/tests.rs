use std::{
    fs::File,
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::mpsc,
    time::Duration,
};

use super::*;

fn streams() -> Arc<Streams> {
    Streams::new(Arc::default())
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn status_flags(fd: &impl AsFd) -> OFlags {
    fs::fcntl_getfl(fd).unwrap()
}

#[test]
fn pipes_do_not_block_and_keep_their_flags() {
    let (rx, tx) = pipe();
    let host = streams();
    let reader = host.inherited(rx.as_raw_fd()).unwrap();
    let writer = host.inherited(tx.as_raw_fd()).unwrap();
    assert_eq!(reader.read(&mut [0; 8]), Err(errno::EAGAIN));
    assert!(!reader.ready().read);
    assert_eq!(writer.write(b"hello"), Ok(5));
    assert!(reader.ready().read);
    assert_eq!(reader.read(&mut [0; 8]), Ok(5));
    let mut total = 0;
    let full = loop {
        match writer.write(&[0; 10_000]) {
            Ok(n) => total += n,
            Err(e) => break e,
        }
        assert!(total < 100 << 20, "a pipe that is never full");
    };
    assert_eq!(full, errno::EAGAIN);
    assert!(!writer.ready().write);
    assert!(!status_flags(&rx).contains(OFlags::NONBLOCK));
    assert!(!status_flags(&tx).contains(OFlags::NONBLOCK));
    drop((writer, tx));
    let mut buf = vec![0; 1 << 20];
    while total > 0 {
        total -= reader.read(&mut buf).unwrap();
    }
    assert_eq!(reader.read(&mut buf), Ok(0), "end of file after the last writer");
    assert_eq!(host.inherited(1_000_000).err(), Some(errno::EBADF));
}

#[test]
fn polled_pipes_move_small_pieces() {
    let (rx, tx) = pipe();
    let stream = |fd: OwnedFd| LinuxStream {
        streams: streams(),
        fd,
        own: None,
        kind: Kind::Polled(PIECE_PIPE),
        tty: None,
        raw: Mutex::new(false),
    };
    let (reader, writer) = (stream(rx), stream(tx));
    assert_eq!(reader.read(&mut [0; 8]), Err(errno::EAGAIN));
    while writer.write(&[0; 10_000]).is_ok() {}
    assert_eq!(writer.write(&[0]), Err(errno::EAGAIN));
    assert_eq!(reader.read(&mut [0; 5000]), Ok(5000));
}

#[test]
fn sockets_do_not_block_and_keep_their_flags() {
    let (mut here, there) = UnixStream::pair().unwrap();
    let stream = streams().inherited(there.as_raw_fd()).unwrap();
    assert_eq!(stream.read(&mut [0; 8]), Err(errno::EAGAIN));
    here.write_all(b"abc").unwrap();
    assert_eq!(stream.read(&mut [0; 8]), Ok(3));
    assert_eq!(stream.write(b"xy"), Ok(2));
    assert_eq!(stream.lseek(0, 1), Err(errno::ESPIPE));
    drop(here);
    assert!(stream.ready().hangup);
    assert_eq!(stream.write(b"x"), Err(errno::EPIPE));
    assert!(!status_flags(&there).contains(OFlags::NONBLOCK));
}

#[test]
fn regular_files_share_their_position() {
    let fd = fs::memfd_create("stream", fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(b"one\ntwo\n").unwrap();
    let stream = streams().inherited(file.as_raw_fd()).unwrap();
    assert!(stream.is_regular() && !stream.is_terminal());
    assert_eq!(stream.lseek(0, 0), Ok(0));
    assert_eq!(stream.read(&mut [0; 4]), Ok(4));
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "two\n");
    assert_eq!(stream.lseek(-1, 0), Err(errno::EINVAL));
    assert_eq!(stream.set_raw(), Err(errno::ENOTTY));
    assert_eq!(stream.stat().unwrap().size, 8);
    // What cannot be polled is ready.
    let (tx, rx) = mpsc::channel();
    let wake = move || tx.send(()).unwrap_or(());
    let _watch = stream.watch(Interest { read: true, write: false }, Box::new(wake)).unwrap();
    rx.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn watches_wake_each_time_until_dropped() {
    let (rx, tx) = pipe();
    let host = streams();
    let stream = host.inherited(rx.as_raw_fd()).unwrap();
    let watch = |events: mpsc::Sender<()>| {
        let interest = Interest { read: true, write: false };
        stream.watch(interest, Box::new(move || events.send(()).unwrap_or(()))).unwrap()
    };
    let ((tx1, rx1), (tx2, rx2)) = (mpsc::channel(), mpsc::channel());
    let (first, _second) = (watch(tx1), watch(tx2));
    let mut tx = File::from(tx);
    for _ in 0..3 {
        tx.write_all(b"x").unwrap();
        rx1.recv_timeout(Duration::from_secs(10)).unwrap();
        rx2.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(stream.read(&mut [0; 8]), Ok(1));
    }
    drop(first);
    tx.write_all(b"x").unwrap();
    rx2.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(rx1.recv_timeout(Duration::from_millis(50)).is_err(), "a dropped watch");
    drop(tx);
    rx2.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn pty_carries_bytes_untouched() {
    let host = streams();
    let (master, path) = host.new_pty().unwrap();
    assert!(path.starts_with("/dev/pts/"));
    let mut slave = File::options().read(true).write(true).open(&path).unwrap();
    assert_eq!(master.read(&mut [0; 8]), Err(errno::EAGAIN));
    slave.write_all(b"a\nb").unwrap();
    let mut buf = [0; 8];
    assert_eq!(master.read(&mut buf), Ok(3));
    assert_eq!(&buf[..3], b"a\nb");
    assert_eq!(master.write(b"\x03\r"), Ok(2));
    assert_eq!(slave.read(&mut buf).unwrap(), 2);
    assert_eq!(&buf[..2], b"\x03\r");
    drop(slave);
    assert!(master.ready().hangup);
}

/// A terminal as a machine inherits it: the slave of a pty in the usual mode.
fn terminal() -> (OwnedFd, OwnedFd) {
    let master = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
    pty::unlockpt(&master).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = fs::open(pty::ptsname(&master, Vec::new()).unwrap(), flags, Mode::empty()).unwrap();
    (master, slave)
}

fn is_canonical(fd: &impl AsFd) -> bool {
    termios::tcgetattr(fd).unwrap().local_modes.contains(termios::LocalModes::ICANON)
}

#[test]
fn raw_mode_is_counted_and_restored() {
    let (_master, slave) = terminal();
    let host = streams();
    let (a, b) = (host.inherited(slave.as_raw_fd()).unwrap(), host.inherited(slave.as_raw_fd()).unwrap());
    assert!(a.is_terminal());
    a.set_raw().unwrap();
    a.set_raw().unwrap();
    b.set_raw().unwrap();
    assert!(!is_canonical(&slave));
    drop(a);
    assert!(!is_canonical(&slave), "the other user still wants it raw");
    b.restore();
    assert!(is_canonical(&slave));
    b.set_raw().unwrap();
    assert!(!is_canonical(&slave));
    drop(b);
    assert!(is_canonical(&slave));
    assert!(!status_flags(&slave).contains(OFlags::NONBLOCK));
}

#[test]
fn terminals_do_not_block() {
    let (master, slave) = terminal();
    let stream = streams().inherited(slave.as_raw_fd()).unwrap();
    assert_eq!(stream.read(&mut [0; 8]), Err(errno::EAGAIN));
    io::write(&master, b"line\n").unwrap();
    assert_eq!(stream.read(&mut [0; 8]), Ok(5));
    let size = termios::Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(&master, size).unwrap();
    assert_eq!(stream.win_size().map(|w| (w.rows, w.cols)), Some((33, 99)));
    // A dead reader: output stops, the writer does not.
    let mut written = 0;
    while let Ok(n) = stream.write(&[b'x'; 4096]) {
        written += n;
        assert!(written < 16 << 20, "a terminal that is never full");
    }
    // The host makes room for some more behind our back.
    let refused = (0..1 << 20).find_map(|_| stream.write(b"x").err());
    assert_eq!(refused, Some(errno::EAGAIN));
    let polled = LinuxStream {
        streams: streams(),
        fd: slave,
        own: None,
        kind: Kind::Polled(PIECE_TTY),
        tty: None,
        raw: Mutex::new(false),
    };
    assert_eq!(polled.write(&[b'x'; 4096]), Err(errno::EAGAIN));
}
