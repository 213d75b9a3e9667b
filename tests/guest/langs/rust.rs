//! A static Rust program of the standard library alone: threads, files, unix sockets, children, signals, time.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

fn threads() {
    let total = Arc::new(Mutex::new(0u64));
    let handles: Vec<_> = (0..16)
        .map(|_| {
            let total = Arc::clone(&total);
            thread::spawn(move || (0..5000).for_each(|_| *total.lock().unwrap() += 1))
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
    assert_eq!(*total.lock().unwrap(), 80000);

    let (tx, rx) = mpsc::sync_channel(3);
    thread::scope(|scope| {
        for part in 0..8u64 {
            let tx = tx.clone();
            scope.spawn(move || (0..500).for_each(|i| tx.send(part * 500 + i).unwrap()));
        }
        drop(tx);
        assert_eq!(rx.iter().sum::<u64>(), 3999 * 4000 / 2);
    });

    let pair = (Mutex::new(0), Condvar::new());
    let map = RwLock::new(HashMap::new());
    let barrier = Barrier::new(6);
    thread::scope(|scope| {
        for i in 0..6 {
            let (pair, map, barrier) = (&pair, &map, &barrier);
            scope.spawn(move || {
                barrier.wait();
                map.write().unwrap().insert(i, thread::current().id());
                *pair.0.lock().unwrap() += 1;
                pair.1.notify_all();
            });
        }
        let mut done = pair.0.lock().unwrap();
        while *done < 6 {
            done = pair.1.wait(done).unwrap();
        }
    });
    assert_eq!(map.read().unwrap().len(), 6);
    let (_guard, late) = pair.1.wait_timeout(pair.0.lock().unwrap(), Duration::from_millis(20)).unwrap();
    assert!(late.timed_out());

    // Parked and woken; storage of threads is dropped; a panic stays in its thread.
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local!(static OWN: Counted = const { Counted });
    let go = Arc::new(AtomicBool::new(false));
    let parked: Vec<_> = (0..20)
        .map(|_| {
            let go = Arc::clone(&go);
            thread::spawn(move || {
                OWN.with(|_| ());
                while !go.load(Ordering::SeqCst) {
                    thread::park();
                }
            })
        })
        .collect();
    go.store(true, Ordering::SeqCst);
    parked.iter().for_each(|h| h.thread().unpark());
    parked.into_iter().for_each(|h| h.join().unwrap());
    assert_eq!(DROPPED.load(Ordering::SeqCst), 20);
    panic::set_hook(Box::new(|_| ()));
    assert!(thread::spawn(|| panic!("on purpose")).join().is_err());
    let _ = panic::take_hook();
    assert!(thread::available_parallelism().unwrap().get() >= 1);
}

fn files() {
    let dir = format!("rust-{}", std::process::id());
    fs::create_dir(&dir).unwrap();
    thread::scope(|scope| {
        for i in 0..8 {
            let dir = &dir;
            scope.spawn(move || {
                for j in 0..25 {
                    fs::write(format!("{dir}/{i}-{j}"), vec![b'x'; i * j]).unwrap();
                }
            });
        }
    });
    let sizes = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum::<u64>();
    assert_eq!(sizes, 28 * 300);
    let path = format!("{dir}/file");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    let again = OpenOptions::new().write(true).create_new(true).open(&path).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    file.write_all(b"0123456789").unwrap();
    file.write_all_at(b"ab", 4).unwrap();
    file.seek(SeekFrom::End(-8)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "23ab6789");
    file.set_len(3).unwrap();
    file.sync_all().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(&path, format!("{dir}/hard")).unwrap();
    symlink("file", format!("{dir}/soft")).unwrap();
    let facts = fs::metadata(format!("{dir}/soft")).unwrap();
    assert_eq!((facts.len(), facts.mode() & 0o777, facts.nlink()), (3, 0o640, 2));
    assert_eq!(fs::copy(&path, format!("{dir}/copy")).unwrap(), 3);
    fs::rename(format!("{dir}/copy"), format!("{dir}/moved")).unwrap();
    let gone = File::open(format!("{dir}/copy")).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    fs::remove_dir_all(&dir).unwrap();
    assert!(!fs::exists(&dir).unwrap());
}

fn sockets() {
    let name = format!("rust-sock-{}", std::process::id());
    let listener = UnixListener::bind(&name).unwrap();
    let server = thread::spawn(move || {
        let clients: Vec<_> = (0..20)
            .map(|_| {
                let (mut stream, _) = listener.accept().unwrap();
                thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap())
            })
            .collect();
        clients.into_iter().map(|c| c.join().unwrap()).sum::<u64>()
    });
    let clients: Vec<_> = (0..20)
        .map(|i| {
            let name = name.clone();
            thread::spawn(move || {
                let mut stream = UnixStream::connect(&name).unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                for j in 0..50 {
                    writeln!(stream, "{i:02} {j:02}").unwrap();
                    let mut line = String::new();
                    lines.read_line(&mut line).unwrap();
                    assert_eq!(line, format!("{i:02} {j:02}\n"));
                }
                stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
                assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
            })
        })
        .collect();
    clients.into_iter().for_each(|c| c.join().unwrap());
    assert_eq!(server.join().unwrap(), 20 * 50 * 6);
    assert_eq!(UnixStream::connect(&name).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    fs::remove_file(&name).unwrap();
    let (left, right) = UnixDatagram::pair().unwrap();
    left.send(b"one").unwrap();
    left.send(b"two").unwrap();
    let mut room = [0; 10];
    assert_eq!((right.recv(&mut room).unwrap(), right.recv(&mut room).unwrap(), &room[..3]), (3, 3, &b"two"[..]));
    // Written to without a reader: an error, as the runtime ignores SIGPIPE.
    let (mut a, b) = UnixStream::pair().unwrap();
    drop(b);
    assert_eq!(a.write_all(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

fn children() {
    let output = Command::new("sh").args(["-c", "echo out; echo err >&2; exit 7"]).output().unwrap();
    assert_eq!((output.stdout, output.stderr, output.status.code()), (b"out\n".into(), b"err\n".into(), Some(7)));
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = thread::spawn(move || input.write_all(&[b'z'; 300_000]).unwrap());
    let mut all = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    writer.join().unwrap();
    assert!(child.wait().unwrap().success() && all.len() == 300_000);
    let mut sleeper = Command::new("sleep").arg("100").process_group(0).spawn().unwrap();
    assert!(sleeper.try_wait().unwrap().is_none());
    sleeper.kill().unwrap();
    assert_eq!(sleeper.wait().unwrap().signal(), Some(9));
    assert_eq!(Command::new("/no/such/program").spawn().unwrap_err().kind(), ErrorKind::NotFound);
    let statuses: Vec<_> = (0..20)
        .map(|i| thread::spawn(move || Command::new("sh").arg("-c").arg(format!("exit {i}")).status().unwrap()))
        .map(|h| h.join().unwrap().code().unwrap())
        .collect();
    assert_eq!(statuses, (0..20).collect::<Vec<_>>());
}

/// The state letter of a process in /proc.
fn state(process: u32) -> char {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    text.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

fn signals() {
    let send = |signal: &str, process: u32| {
        assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
    };
    for (name, number) in [("-HUP", 1), ("-INT", 2), ("-KILL", 9), ("-USR1", 10), ("-ALRM", 14), ("-TERM", 15)] {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        send(name, child.id());
        assert_eq!(child.wait().unwrap().signal(), Some(number));
    }
    let mut child = Command::new("sleep").arg("100").spawn().unwrap();
    for (name, expected) in [("-STOP", 'T'), ("-CONT", 'S'), ("-STOP", 'T')] {
        send(name, child.id());
        let until = Instant::now() + Duration::from_secs(10);
        while state(child.id()) != expected {
            assert!(Instant::now() < until, "{name}: {}", state(child.id()));
            thread::sleep(Duration::from_millis(1));
        }
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    // Too deep a stack is told by the runtime's own handler, on its own stack.
    let me = std::env::current_exe().unwrap();
    let deep = Command::new(me).arg("--deep").stderr(Stdio::piped()).output().unwrap();
    assert_eq!(deep.status.signal(), Some(6));
    assert!(String::from_utf8_lossy(&deep.stderr).contains("overflowed its stack"));
}

fn time() {
    let start = Instant::now();
    thread::sleep(Duration::from_millis(30));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(30) && took < Duration::from_secs(10), "{took:?}");
    assert!(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() > 1_600_000_000);
    let (tx, rx) = mpsc::channel::<()>();
    assert!(rx.recv_timeout(Duration::from_millis(20)).is_err());
    drop(tx);
}

#[allow(unconditional_recursion)]
fn deep(n: u64) -> u64 {
    let room = std::hint::black_box([n; 100]);
    deep(n + 1) + room[50]
}

fn main() {
    if std::env::args().any(|a| a == "--deep") {
        deep(0);
    }
    let tests: [(&str, fn()); 6] = [
        ("threads", threads),
        ("files", files),
        ("sockets", sockets),
        ("children", children),
        ("signals", signals),
        ("time", time),
    ];
    for (name, test) in tests {
        test();
        println!("ok {name}");
    }
}
