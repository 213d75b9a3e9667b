//! The platform under small guest programs made by hand.

mod asm;
mod basics;
mod copies;
mod endless;
mod ends;
mod foretold;
mod later;
mod lent;
mod patched;
mod queues;
mod served;
mod texts;

use std::sync::Arc;

use hal::{Backing, Context, Event, Limits, MapOp, Prot, Regs, Space};

use crate::host::LinuxHost;

/// Where tests put code, data and stack.
pub(crate) const TEXT: u64 = 0x40_0000;
pub(crate) const DATA: u64 = 0x50_0000;
pub(crate) const STACK: u64 = 0x60_0000;
pub(crate) const LEN: u64 = 0x1_0000;

pub(crate) fn host() -> Arc<LinuxHost> {
    use hal::Host;
    let host = LinuxHost::new(Limits { cpus: 0 }).unwrap_or_else(|e| panic!("{e}"));
    assert!(host.facts().xstate_size >= 512);
    host
}

pub(crate) const RW: Prot = Prot { read: true, write: true, exec: false };
pub(crate) const RX: Prot = Prot { read: true, write: false, exec: true };

pub(crate) fn anon(addr: u64, len: u64, prot: Prot) -> MapOp {
    MapOp::Map { addr, len, prot, backing: Backing::Anon, huge: false }
}

/// Maps text, data and stack, and puts the code in place.
pub(crate) fn load(space: &dyn Space, code: &[u8]) {
    space.apply(&[anon(TEXT, LEN, RX), anon(DATA, LEN, RW), anon(STACK, LEN, RW)]).unwrap();
    assert_eq!(space.write_forced(TEXT, code), code.len());
}

pub(crate) fn start() -> Regs {
    Regs { rip: TEXT, rsp: STACK + LEN - 64, ..Regs::default() }
}

/// A thread at the start of some code in a space of its own.
pub(crate) fn program(host: &LinuxHost, code: &[u8]) -> Box<dyn Context> {
    use hal::Host;
    let mut context = host.new_context().unwrap();
    load(&*context.space(), code);
    context.set_regs(&start());
    context
}

/// Runs to the next system call, which must have this number.
#[track_caller]
pub(crate) fn expect_call(context: &mut dyn Context, nr: u64) -> [u64; 6] {
    match context.run() {
        Event::Syscall { nr: n, args } if n == nr => args,
        other => panic!("expected system call {nr}, got {other:?} at {:x?}", context.regs()),
    }
}
