//! Orders to a stub's service thread: batches of system calls that it makes on the stub's memory.
//!
//! A batch is waited for ([`Service::run`]), or left alone ([`Service::start`]), or handed over together with a stopped
//! guest thread, which goes on when it is done ([`Service::chain`]): no processor changes address spaces twice then. What
//! need not be done before guest code goes on is collected first ([`Service::defer`]), and mostly left to the guest thread
//! itself ([`Service::send_on_errands`]).

use std::{
    sync::{Arc, atomic::Ordering::*},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use hal::{Result, errno};

use crate::{
    engine::Stub,
    errands,
    layout::{PAGE, ctl, reply, request},
    slots::Slot,
    sys::{futex, process},
};

/// One system call of the service thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub(crate) nr: u64,
    mode: u32,
    pub(crate) args: [u64; 6],
    pub(crate) expect: u64,
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

    /// Whether any result will do.
    pub(crate) fn takes_any(&self) -> bool {
        self.mode & request::ANY != 0
    }
}

/// How long to sleep before looking again whether the stub is alive: guest code can swallow wake-ups.
const LOOK: Duration = Duration::from_millis(100);

/// The same where something else is to be looked at.
const SOON: Duration = Duration::from_millis(5);
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
    /// The last batch was not waited for.
    open: bool,
    /// To be done before guest code goes on.
    deferred: Vec<Op>,
    /// The kernel thread that deferred all of it, if it was one.
    deferrer: Option<ThreadId>,
    /// Where the results of the last [`Service::run`] begin.
    first: usize,
}

impl Service {
    pub(crate) fn new(stub: Arc<Stub>) -> Service {
        let page = &stub.pages;
        page.set64(request::FENCE, page.offset() + request::DONE as u64);
        (0..4).for_each(|i| page.set32(request::DONE + i * request::DONE_STEP, 0));
        Service { stub, seq: 0, open: false, deferred: Vec::new(), deferrer: None, first: 0 }
    }

    pub(crate) fn stub(&self) -> &Arc<Stub> {
        &self.stub
    }

    /// Writes a batch down for a service thread that is not there yet. The one before must have been finished.
    pub(crate) fn prepare(&mut self, ops: &[Op]) {
        self.write(ops, 0);
    }

    /// Hands a batch over without waiting. The one before must have been finished.
    fn post(&mut self, ops: &[Op], chain: u64) {
        self.write(ops, chain);
        futex::wake_all(self.stub.pages.u32(request::SEQ), futex::ANY);
    }

    fn write(&mut self, ops: &[Op], chain: u64) {
        debug_assert!(ops.len() <= request::OPS_MAX && !self.open);
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
        page.set64(request::CHAIN, chain);
        if self.seq >= 0x3fff_ffff {
            self.seq = 0;
            (0..4).for_each(|i| page.set32(request::DONE + i * request::DONE_STEP, 0));
        }
        self.seq += 1;
        page.u32(request::SEQ).store(self.seq, SeqCst);
    }

    /// Waits for a batch that nobody waited for. If it failed, the stub is not what the kernel takes it for: ESRCH.
    pub(crate) fn settle(&mut self) -> Result<()> {
        if !core::mem::take(&mut self.open) {
            return Ok(());
        }
        self.finish()?;
        if self.outcome().is_none_or(|o| o.stopped) {
            self.stub.kill();
            return Err(errno::ESRCH);
        }
        Ok(())
    }

    /// Hands a batch over whose results nobody wants and that cannot fail.
    pub(crate) fn start(&mut self, ops: &[Op]) -> Result<()> {
        if self.has_deferred() {
            return self.run(ops);
        }
        self.settle()?;
        self.post(ops, 0);
        self.open = true;
        Ok(())
    }

    /// Leaves changes that cannot fail for the next batch, or for [`Service::chain`].
    pub(crate) fn defer(&mut self, ops: &[Op]) -> Result<()> {
        if self.deferred.len() + ops.len() > request::OPS_MAX / 2 {
            self.run(&[])?;
        }
        if ops.len() > request::OPS_MAX / 2 {
            return self.run(ops);
        }
        let me = Some(thread::current().id());
        self.deferrer = if self.deferred.is_empty() || self.deferrer == me { me } else { None };
        self.deferred.extend_from_slice(ops);
        Ok(())
    }

    /// Gives what was deferred to the guest thread that goes on, if it can see to it: alone in its space, or by calls of
    /// its own that other threads do not depend on.
    pub(crate) fn send_on_errands(&mut self, slot: &Slot, single: bool) -> bool {
        let own = single || self.deferrer == Some(thread::current().id());
        let mut ops = self.deferred.iter();
        let fits = self.deferred.len() <= ctl::ERRANDS_MAX;
        if !own || !fits || !ops.all(|op| errands::suits(op) && (single || errands::is_timeless(op))) {
            return false;
        }
        // What was handed over before comes before.
        if self.settle().is_err() {
            return false;
        }
        errands::give(slot, &self.deferred);
        self.deferred.clear();
        true
    }

    /// Whether changes were deferred and not handed over.
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Hands over what was deferred, and a stopped thread by the address of its state word. The batch's number.
    pub(crate) fn chain(&mut self, state: u64) -> Result<u32> {
        self.settle()?;
        let ops = core::mem::take(&mut self.deferred);
        self.post(&ops, state);
        self.open = true;
        // Its room is used again.
        self.deferred = ops;
        self.deferred.clear();
        Ok(self.seq)
    }

    /// Waits until the posted batch is done. ESRCH if the stub dies first.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.await_reply(None, LOOK, || false)
    }

    /// As [`Service::finish`], giving up with ETIMEDOUT.
    pub(crate) fn finish_within(&mut self, limit: Duration) -> Result<()> {
        self.await_reply(Some(Instant::now() + limit), LOOK, || false)
    }

    /// As [`Service::finish_within`], giving up with ECANCELED some milliseconds after there is nothing to be expected any
    /// more.
    pub(crate) fn finish_unless(&mut self, hopeless: impl Fn() -> bool, limit: Duration) -> Result<()> {
        self.await_reply(Some(Instant::now() + limit), SOON, hopeless)
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
    fn await_reply(
        &mut self,
        deadline: Option<Instant>,
        look: Duration,
        hopeless: impl Fn() -> bool,
    ) -> Result<()> {
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
            if hopeless() {
                return Err(errno::ECANCELED);
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
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            let sleeping = found | reply::SLEEPS;
            if found == sleeping || word.compare_exchange(found, sleeping, SeqCst, SeqCst).is_ok() {
                futex::wait(word, sleeping, futex::ANY, Some(look));
                // Again, in case somebody took the first.
                if word.load(SeqCst) == sleeping {
                    futex::wake_all(page.u32(request::SEQ), futex::ANY);
                }
            }
        }
    }

    /// Runs a batch of any length in order, stopping at the first operation that does not return what it should; its
    /// error comes back. What was deferred is done before. ESRCH if the stub is dead.
    pub(crate) fn run(&mut self, ops: &[Op]) -> Result<()> {
        self.settle()?;
        self.first = 0;
        let mut deferred = core::mem::take(&mut self.deferred);
        if deferred.is_empty() {
            return self.run_all(ops, 0);
        }
        let before = deferred.len();
        if before + ops.len() > request::OPS_MAX {
            self.run_all(&deferred, before)?;
            return self.run_all(ops, 0);
        }
        deferred.extend_from_slice(ops);
        self.first = before;
        self.run_all(&deferred, before)
    }

    /// Runs operations of which the first `sure` cannot fail.
    fn run_all(&mut self, ops: &[Op], sure: usize) -> Result<()> {
        let mut chunks = ops.chunks(request::OPS_MAX);
        // An empty batch is a question whether anybody is there.
        let mut next = Some(chunks.next().unwrap_or(&[]));
        while let Some(chunk) = next {
            self.post(chunk, 0);
            self.finish()?;
            if self.outcome().is_none_or(|o| o.stopped) {
                let done =
                    self.stub.pages.get64(PAGE as usize + reply::DONE).wrapping_sub(request::OPS as u64);
                let done = (done / request::OP_LEN as u64) as usize;
                if done < sure {
                    self.stub.kill();
                    return Err(errno::ESRCH);
                }
                process::from_ret(self.reply(done))?;
                // Not an error number, though there was one: somebody forged it.
                return Err(errno::ENOMEM);
            }
            next = chunks.next();
        }
        Ok(())
    }

    /// Result of an operation of the last [`Service::run`]. Guest code may have forged it.
    pub(crate) fn result(&self, index: usize) -> u64 {
        self.reply(self.first + index)
    }

    fn reply(&self, index: usize) -> u64 {
        let index = index.min(request::OPS_MAX - 1);
        self.stub.pages.get64(PAGE as usize + reply::RESULTS + index * 8)
    }

    /// Bytes that the last batch left in the reply page.
    pub(crate) fn bytes(&self, out: &mut [u8]) {
        let len = out.len().min(reply::BYTES_LEN);
        self.stub.pages.read(PAGE as usize + reply::BYTES, &mut out[..len]);
    }
}
