//! Receive queues and what senders pay for them.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use abi::net::UCred;
use hal::Told;
use kernel::vfs::poll::PollEvents;
use ksync::WaitQueue;

use crate::{names::Name, passed::Passed};

/// What a record costs beyond its bytes.
pub const OVERHEAD: usize = 256;
/// A small write to a stream is added to the last record while that is shorter than this.
const MERGE: usize = 16 << 10;

/// What a socket may have under way to others (SO_SNDBUF).
pub struct Budget {
    used: AtomicUsize,
    limit: AtomicUsize,
    /// Woken when there is room again, and when sending has become pointless.
    pub wait: Arc<WaitQueue>,
}

impl Budget {
    pub fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            wait: Arc::new(WaitQueue::new()),
        })
    }
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.wait.wake_all(PollEvents::OUT.bits());
    }
    pub fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }
    /// Ready for poll: at least three quarters are free.
    pub fn writable(&self) -> bool {
        self.used().saturating_mul(4) <= self.limit()
    }
    /// Pays for a record of `bytes`; like Linux, the last record may go beyond the limit.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let cost = bytes + OVERHEAD;
        let limit = self.limit();
        let pay = |used: usize| (used < limit).then(|| used + cost);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, pay).ok()?;
        Some(Charge { budget: self.clone(), cost })
    }
}

/// A record's share of its sender's budget; given back when the record is gone.
pub struct Charge {
    budget: Arc<Budget>,
    cost: usize,
}

impl Charge {
    fn absorb(&mut self, mut other: Charge) {
        self.cost += std::mem::take(&mut other.cost);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.cost > 0 {
            self.budget.used.fetch_sub(self.cost, Ordering::SeqCst);
            self.budget.wait.wake_all((PollEvents::OUT | PollEvents::WRNORM).bits());
        }
    }
}

/// Whether a record of a stream is its out-of-band byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    None,
    /// It is, and nobody has read it.
    Urgent,
    /// It was read: only its place is left.
    Read,
}

/// A message, or a piece of a stream with the same sender and ancillary data.
pub struct Record {
    pub mark: Mark,
    data: Vec<u8>,
    /// Bytes already read.
    at: usize,
    pub cred: UCred,
    pub from: Option<Arc<Name>>,
    pub passed: Option<Passed>,
    charge: Charge,
}

impl Record {
    pub fn new(
        data: Vec<u8>,
        cred: UCred,
        from: Option<Arc<Name>>,
        passed: Option<Passed>,
        charge: Charge,
    ) -> Record {
        Record { mark: Mark::None, data, at: 0, cred, from, passed, charge }
    }
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.at..]
    }
    /// Takes bytes from the front.
    pub fn advance(&mut self, n: usize) {
        self.at = (self.at + n).min(self.data.len());
    }
}

/// A receive queue.
#[derive(Default)]
pub struct Rx {
    pub records: VecDeque<Record>,
    /// Bytes not read yet.
    pub bytes: usize,
    /// Who was told of the first bytes, and how many: they may be read by now.
    pub told: Option<(Arc<dyn Told>, usize)>,
}

/// What [`Rx::take`] found.
pub enum Taken {
    /// A whole record, out of the queue.
    Whole(Record),
    /// The first bytes of a record that stays, with the ancillary data it had.
    Part(Vec<u8>, Option<Passed>),
}

impl Rx {
    /// Appends a message.
    pub fn push(&mut self, r: Record) {
        self.bytes += r.bytes().len();
        self.records.push_back(r);
    }

    /// Appends to a stream.
    pub fn push_stream(&mut self, r: Record) {
        if r.passed.is_none()
            && r.mark == Mark::None
            && let Some(last) = self.records.back_mut()
            && last.passed.is_none()
            && last.mark == Mark::None
            && last.cred == r.cred
            && last.data.len() + r.data.len() <= MERGE
        {
            self.bytes += r.data.len();
            last.data.extend_from_slice(&r.data);
            last.charge.absorb(r.charge);
            // The second record's own overhead is not there.
            return;
        }
        self.push(r);
    }

    /// Appends a stream's out-of-band byte; an earlier one that nobody has read becomes one like others.
    pub fn push_urgent(&mut self, mut r: Record) {
        if let Some(old) = self.records.iter_mut().find(|r| r.mark == Mark::Urgent) {
            old.mark = Mark::None;
        }
        r.mark = Mark::Urgent;
        self.push(r);
    }

    /// The out-of-band byte that nobody has read.
    pub fn urgent(&mut self) -> Option<&mut Record> {
        self.records.iter_mut().find(|r| r.mark == Mark::Urgent)
    }

    /// Takes the byte out of the stream; its place stays as a mark.
    pub fn take_urgent(&mut self) {
        if let Some(r) = self.urgent() {
            r.mark = Mark::Read;
            let n = r.bytes().len();
            r.advance(n);
            self.bytes -= n;
        }
    }

    /// Is there something that recv(2) gives?
    pub fn has_ordinary(&self, inline: bool) -> bool {
        self.records.iter().any(|r| r.mark == Mark::None || r.mark == Mark::Urgent && inline)
    }

    /// Does reading stand at the mark?
    pub fn at_mark(&self) -> bool {
        let unread = self.records.iter().position(|r| r.mark == Mark::Urgent);
        match self.records.front().map(|r| r.mark) {
            Some(Mark::Urgent) => true,
            Some(Mark::Read) => unread.is_none_or(|i| i == 1),
            _ => false,
        }
    }

    /// Brings an ordinary record to the front for one who has read `begun` already; false if he has to stop here. A byte
    /// out of band that he did not ask for is skipped, unless it is to come `inline`; the caller drops it with no lock held.
    pub fn pass_mark(&mut self, begun: bool, inline: bool, skipped: &mut Vec<Record>) -> bool {
        let newer = self.urgent().is_some();
        while let Some(first) = self.records.front_mut() {
            match first.mark {
                Mark::None => break,
                Mark::Urgent if begun => return false,
                Mark::Urgent if inline => first.mark = Mark::None,
                Mark::Read if begun && !newer => return false,
                Mark::Urgent | Mark::Read => skipped.extend(self.pop()),
            }
        }
        true
    }

    /// Takes the first record or, of a longer one, `max` bytes.
    pub fn take(&mut self, max: usize) -> Option<Taken> {
        let first = self.records.front_mut()?;
        if first.bytes().len() <= max {
            let r = self.records.pop_front()?;
            self.bytes -= r.bytes().len();
            return Some(Taken::Whole(r));
        }
        let part = first.bytes()[..max].to_vec();
        first.advance(max);
        self.bytes -= max;
        Some(Taken::Part(part, first.passed.take()))
    }

    /// All that there is, if recv(2) would give it at once and nothing beside, and the sender does not wait for its room.
    pub fn plain(&self) -> Option<&[u8]> {
        let first = self.records.front().filter(|_| self.records.len() == 1)?;
        let plain = first.mark == Mark::None && first.passed.is_none() && first.charge.budget.writable();
        Some(first.bytes()).filter(|b| plain && !b.is_empty())
    }

    /// Takes back what somebody was told of, and out of the queue if it was read; the caller drops it with no lock held.
    pub fn settle(&mut self) -> Option<Taken> {
        let (told, n) = self.told.take()?;
        if told.take_back() { self.take(n) } else { None }
    }

    /// Takes the first message.
    pub fn pop(&mut self) -> Option<Record> {
        let r = self.records.pop_front()?;
        self.bytes -= r.bytes().len();
        Some(r)
    }

    /// Puts back what could not be delivered.
    pub fn unread(&mut self, mut r: Record, delivered: usize) {
        r.advance(delivered);
        self.bytes += r.bytes().len();
        self.records.push_front(r);
    }

    /// Puts back the end of a part taken from the first record.
    pub fn unread_part(&mut self, tail: &[u8]) {
        if let Some(first) = self.records.front_mut() {
            let mut data = tail.to_vec();
            data.extend_from_slice(first.bytes());
            first.data = data;
            first.at = 0;
            self.bytes += tail.len();
        }
    }

    /// Empties the queue; the caller drops the records with no lock held.
    pub fn drain(&mut self) -> VecDeque<Record> {
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }
}
