//! Receive queues that the stub was told of.

use hal::{Context, Host, QUEUE_BYTES, Queue, Told};

use super::{
    served::{enable, refused, rounds, served},
    *,
};
use crate::layout::SLOTS;

const RECV: u32 = libc::SYS_recvfrom as u32;
const EAGAIN: u64 = (-libc::EAGAIN as i64) as u64;
const ROOM: u64 = 100;
const ARGS: [u64; 4] = [5, DATA, ROOM, 0];

struct Asker {
    host: Arc<LinuxHost>,
    c: Box<dyn Context>,
    args: [u64; 4],
}

impl Asker {
    fn new(args: [u64; 4]) -> Asker {
        let host = host();
        let c = rounds(&host, RECV, &args);
        Asker { host, c, args }
    }

    fn tell(&mut self, place: usize, fd: i32, count: u32, bytes: &[u8]) -> Option<Arc<dyn Told>> {
        let value = self.host.raised(count);
        self.c.tell_queue(place, &Queue { fd, count, value, bytes })
    }

    #[track_caller]
    fn refused(&mut self) {
        refused(&mut *self.c, RECV, &self.args);
    }

    fn text(&mut self, len: usize) -> Vec<u8> {
        let mut text = vec![0; len];
        assert_eq!(self.c.read(DATA, &mut text), len);
        text
    }
}

#[test]
fn bytes_are_given_once() {
    let mut a = Asker::new(ARGS);
    a.refused();
    let told = a.tell(0, 5, 7, b"hello").unwrap();
    assert_eq!((served(&mut *a.c), a.text(5).as_slice()), (5, &b"hello"[..]));
    a.refused();
    assert!(told.take_back());
    // Once they are back, nobody has them.
    let told = a.tell(3, 5, 7, b"again").unwrap();
    assert!(!told.take_back());
    a.refused();
    assert!(!told.take_back());
}

#[test]
fn nothing_there_is_said_until_the_count_moves() {
    let mut a = Asker::new(ARGS);
    for count in [0, hal::COUNTS - 1] {
        a.tell(1, 5, count, &[]).unwrap();
        (0..3).for_each(|_| assert_eq!(served(&mut *a.c), EAGAIN));
        a.host.raise(count ^ 1);
        assert_eq!(served(&mut *a.c), EAGAIN);
        a.host.raise(count);
        a.refused();
    }
    assert!(a.tell(1, 5, hal::COUNTS, &[]).is_none());
    // Bytes, too, are not given once more may have come.
    let told = a.tell(1, 5, 3, b"abc").unwrap();
    a.host.raise(3);
    a.refused();
    assert!(!told.take_back());
}

#[test]
fn other_questions_are_refused() {
    let end = SLOTS - 8;
    let read_only = TEXT;
    for args in [
        [6, DATA, ROOM, 0],
        [5, DATA, ROOM, libc::MSG_PEEK as u64],
        [5, DATA, ROOM, libc::MSG_DONTWAIT as u64],
        [5, DATA, 0, 0],
        [5, DATA, 2, 0],
        [5, 0, ROOM, 0],
        [5, end, ROOM, 0],
        [5, u64::MAX, ROOM, 0],
        [5, read_only, ROOM, 0],
        [5, DATA + LEN - 2, ROOM, 0],
    ] {
        let mut a = Asker::new(args);
        let told = a.tell(2, 5, 0, b"abc").unwrap();
        (0..2).for_each(|_| a.refused());
        assert!(!told.take_back(), "{args:x?}");
    }
}

#[test]
fn what_is_too_long_is_not_told_and_a_program_is_forgotten() {
    let mut a = Asker::new([5, DATA, 0x1000, 0]);
    assert!(a.tell(0, 5, 0, &[1; QUEUE_BYTES + 1]).is_none());
    assert!(a.tell(hal::QUEUES, 5, 0, b"a").is_none());
    a.tell(0, 5, 0, &[3; QUEUE_BYTES]).unwrap();
    assert_eq!(served(&mut *a.c), QUEUE_BYTES as u64);
    assert_eq!(a.text(QUEUE_BYTES), [3; QUEUE_BYTES]);
    a.tell(0, 5, 0, &[]).unwrap();
    assert_eq!(served(&mut *a.c), EAGAIN);
    a.c.set_fast_ids(&hal::FastIds::default());
    a.refused();
    enable(&mut *a.c);
    assert_eq!(served(&mut *a.c), EAGAIN);
    a.c.forget_program();
    a.refused();
}
