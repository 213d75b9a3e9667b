//! Orders to a stub's service thread: batches of system calls that it makes on the stub's memory.

use std::{
    sync::{Arc, atomic::Ordering::*},
    time::{Duration, Instant},
};

use hal::{Result, errno};

use crate::{
    engine::Stub,
    layout::{PAGE, reply, request},
    sys::{futex, process},
};

/// One system call of the service thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    nr: u64,
    mode: u32,
    args: [u64; 6],
    expect: u64,
}

impl Op {
    /// A call that must return `expect`; the batch stops if it does not.
    pub(crate) fn expecting(nr: i64, args: [u64; 6], expect: u64) -> Op {
        Op { nr: nr as u64, mode: 0, args, expect }
    }

    /// A call whose result is for the caller to judge.
    pub(crate) fn any(nr: i64, args: [u64; 6]) -> Op {
        Op { nr: nr as u64, mode: request::ANY, args, expect: 0 }
    }
}

/// How long to sleep before looking again whether the stub is alive: guest code can swallow wake-ups.
const LOOK: Duration = Duration::from_millis(100);

/// How long a stub may go on whose reply is there and whose fence is not: only hostile code makes that happen.
const FORGED_LIMIT: Duration = Duration::from_secs(1);
/// How long the end of a killed stub is waited for.
const DEATH_LIMIT: Duration = Duration::from_secs(5);

/// How a batch ended, as the fence tells it, which guest code cannot forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// An operation did not return what it should, and the batch stopped there.
    pub(crate) stopped: bool,
    /// The result of the last operation made was an error.
    pub(crate) error: bool,
}

/// The kernel's end of the request and reply pages. One batch at a time.
pub(crate) struct Service {
    stub: Arc<Stub>,
    seq: u32,
}

impl Service {
    pub(crate) fn new(stub: Arc<Stub>) -> Service {
        let page = &stub.pages;
        page.set64(request::FENCE, page.offset() + request::DONE as u64);
        (0..4).for_each(|i| page.set32(request::DONE + i * request::DONE_STEP, 0));
        Service { stub, seq: 0 }
    }

    pub(crate) fn stub(&self) -> &Arc<Stub> {
        &self.stub
    }

    /// Hands a batch over without waiting. The one before must have been finished.
    pub(crate) fn post(&mut self, ops: &[Op]) {
        debug_assert!(ops.len() <= request::OPS_MAX);
        let page = &self.stub.pages;
        for (i, op) in ops.iter().enumerate().take(request::OPS_MAX) {
            let at = request::OPS + i * request::OP_LEN;
            page.set32(at, op.nr as u32);
            page.set32(at + request::OP_MODE, op.mode);
            for (j, &a) in op.args.iter().enumerate() {
                page.set64(at + request::OP_ARGS + j * 8, a);
            }
            page.set64(at + request::OP_EXPECT, op.expect);
        }
        page.set32(request::COUNT, ops.len() as u32);
        if self.seq >= 0x3fff_ffff {
            self.seq = 0;
            (0..4).for_each(|i| page.set32(request::DONE + i * request::DONE_STEP, 0));
        }
        self.seq += 1;
        page.u32(request::SEQ).store(self.seq, SeqCst);
        futex::wake_all(page.u32(request::SEQ), futex::ANY);
    }

    /// Waits until the posted batch is done. ESRCH if the stub dies first.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.await_reply(None)
    }

    /// As [`Service::finish`], giving up with ETIMEDOUT.
    pub(crate) fn finish_within(&mut self, limit: Duration) -> Result<()> {
        self.await_reply(Some(Instant::now() + limit))
    }

    /// How the posted batch ended, if it has.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let page = &self.stub.pages;
        let word = |i: usize| page.u32(request::DONE + i * request::DONE_STEP).load(SeqCst);
        let i = (0..4).find(|&i| word(i) == self.seq)?;
        Some(Outcome { stopped: i & 2 != 0, error: i & 1 != 0 })
    }

    /// Sleeps on the reply word, which guest code can write, and believes the fence alone. A page must not be filled
    /// with the next batch, nor memory given away, before this one has certainly been done.
    fn await_reply(&mut self, deadline: Option<Instant>) -> Result<()> {
        let page = &self.stub.pages;
        let word = page.u32(PAGE as usize + reply::SEQ);
        let mut forged = None;
        loop {
            let found = word.load(SeqCst);
            if self.outcome().is_some() {
                return Ok(());
            }
            if self.stub.death().is_some() {
                return Err(errno::ESRCH);
            }
            if deadline.is_some_and(|d| Instant::now() > d) {
                return Err(errno::ETIMEDOUT);
            }
            if found & !reply::SLEEPS == self.seq {
                // The fence comes before the reply.
                if forged.get_or_insert_with(Instant::now).elapsed() > FORGED_LIMIT {
                    self.stub.kill();
                    self.stub.await_death(DEATH_LIMIT);
                    return Err(errno::ESRCH);
                }
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let sleeping = found | reply::SLEEPS;
            if found == sleeping || word.compare_exchange(found, sleeping, SeqCst, SeqCst).is_ok() {
                futex::wait(word, sleeping, futex::ANY, Some(LOOK));
                // Again, in case somebody took the first.
                if word.load(SeqCst) == sleeping {
                    futex::wake_all(page.u32(request::SEQ), futex::ANY);
                }
            }
        }
    }

    /// Runs a batch of any length in order, stopping at the first operation that does not return what it should; its
    /// error comes back. ESRCH if the stub is dead.
    pub(crate) fn run(&mut self, ops: &[Op]) -> Result<()> {
        let mut chunks = ops.chunks(request::OPS_MAX);
        // An empty batch is a question whether anybody is there.
        let mut next = Some(chunks.next().unwrap_or(&[]));
        while let Some(chunk) = next {
            self.post(chunk);
            self.finish()?;
            if self.outcome().is_none_or(|o| o.stopped) {
                let done =
                    self.stub.pages.get64(PAGE as usize + reply::DONE).wrapping_sub(request::OPS as u64);
                process::from_ret(self.result((done / request::OP_LEN as u64) as usize))?;
                // Not an error number, though there was one: somebody forged it.
                return Err(errno::ENOMEM);
            }
            next = chunks.next();
        }
        Ok(())
    }

    /// Result of an operation of the last batch. Guest code may have forged it.
    pub(crate) fn result(&self, index: usize) -> u64 {
        let index = index.min(request::OPS_MAX - 1);
        self.stub.pages.get64(PAGE as usize + reply::RESULTS + index * 8)
    }

    /// Bytes that the last batch left in the reply page.
    pub(crate) fn bytes(&self, out: &mut [u8]) {
        let len = out.len().min(reply::BYTES_LEN);
        self.stub.pages.read(PAGE as usize + reply::BYTES, &mut out[..len]);
    }
}
