//! Address spaces over the mock host: what guests see must agree with a plain model.

use std::sync::Arc;

use abi::{
    MapFlags,
    errno::{EEXIST, EFAULT, EINVAL, ENOMEM, ENOSYS, EPERM},
    mm::{MADV_DONTNEED, MADV_REMOVE, MREMAP_MAYMOVE},
};
use hal::{Context, Host, Prot, Regs, mock::MockHost};
use proptest::prelude::*;

use super::*;
use crate::{
    MachineConfig, MachineParts,
    machine::Machine,
    registry::Registry,
    task::{
        TaskCx,
        run::{Dispatch, Restart},
    },
};

struct NoCalls;
impl Dispatch for NoCalls {
    fn call(&self, _: &mut TaskCx, _: u64, _: [u64; 6]) -> Result<u64> {
        Err(ENOSYS)
    }
    fn restart_policy(&self, _: u64) -> Restart {
        Restart::IfAllowed
    }
    fn name(&self, _: u64) -> &'static str {
        "?"
    }
}

const P: u64 = PAGE_SIZE;
const RW: Prot = Prot { read: true, write: true, exec: false };
const R: Prot = Prot { read: true, write: false, exec: false };
const MEMORY: u64 = 64 << 20;

struct World {
    machine: Arc<Machine>,
    ctx: Box<dyn Context>,
    mm: Arc<Mm>,
}

fn world() -> World {
    let host = MockHost::new();
    let machine = Machine::new(MachineParts {
        host: Arc::new(host.clone()),
        config: MachineConfig {
            memory: MEMORY,
            cpus: 1,
            hostname: "t".into(),
            cmdline: String::new(),
            no_reboot: false,
        },
        dispatch: Arc::new(NoCalls),
        registry: Registry::default(),
    });
    let ctx = host.new_context().unwrap();
    let mm = Mm::new(ctx.space(), machine.memory.clone());
    World { machine, ctx, mm }
}

impl World {
    fn map(&self, addr: u64, pages: u64, prot: Prot, flags: MapFlags) -> Result<u64> {
        let r = MapRequest {
            addr,
            len: pages * P,
            prot,
            flags: flags | MapFlags::ANONYMOUS,
            file: None,
            offset: 0,
            limits: Limits::NONE,
        };
        self.mm.mmap(&self.machine, &r)
    }
}

fn store(mm: &Mm, addr: u64, b: &[u8]) -> bool {
    mm.space.write(addr, b) == b.len()
        || mm.fault_in(addr, true).is_ok() && mm.space.write(addr, b) == b.len()
}

fn load(mm: &Mm, addr: u64) -> Option<u8> {
    let mut b = [0];
    let got = mm.space.read(addr, &mut b) == 1
        || mm.fault_in(addr, false).is_ok() && mm.space.read(addr, &mut b) == 1;
    got.then_some(b[0])
}

#[test]
fn mappings_are_placed_downward_and_refused_as_mmap_says() {
    let w = world();
    let private = MapFlags::PRIVATE;
    let a = w.map(0, 3, RW, private).unwrap();
    let b = w.map(0, 1, R, private).unwrap();
    assert_eq!(b + P, a);
    assert_eq!(w.map(a, 1, RW, private | MapFlags::FIXED_NOREPLACE), Err(EEXIST));
    assert_eq!(w.map(a + 1, 1, RW, private | MapFlags::FIXED), Err(EINVAL));
    assert_eq!(w.map(0x1000, 1, RW, private | MapFlags::FIXED), Err(EPERM));
    assert_eq!(w.map(1 << 47, 1, RW, private | MapFlags::FIXED), Err(ENOMEM));
    assert_eq!(w.map(0, 0, RW, private), Err(EINVAL));
    assert_eq!(w.map(0, 1, RW, MapFlags::empty()), Err(EINVAL));
    assert_eq!(w.map(0, 1, RW, MapFlags::SHARED | MapFlags::GROWSDOWN), Err(EINVAL));
    let low = w.map(0, 1, RW, private | MapFlags::MAP_32BIT).unwrap();
    assert!(low + P <= 1 << 31);
    assert_eq!(w.map(a, 1, R, private | MapFlags::FIXED), Ok(a));
    // The read-only page joined the one below it.
    assert_eq!(w.mm.map_count(), 3);
    assert_eq!(w.mm.totals().all, 5 * P);
}

#[test]
fn memory_that_the_machine_does_not_have_is_refused() {
    let w = world();
    let pages = MEMORY / P + 1;
    assert_eq!(w.map(0, pages, RW, MapFlags::PRIVATE), Err(ENOMEM));
    assert!(w.map(0, pages, RW, MapFlags::PRIVATE | MapFlags::NORESERVE).is_ok());
    let hole = w.map(0, pages, R, MapFlags::PRIVATE).unwrap();
    assert_eq!(w.mm.mprotect(hole, pages * P, RW, false), Err(ENOMEM));
    let limits = Limits { address_space: 4 * P, ..Limits::NONE };
    let r = MapRequest {
        addr: 0,
        len: P,
        prot: RW,
        flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS,
        file: None,
        offset: 0,
        limits,
    };
    assert_eq!(w.mm.mmap(&w.machine, &r), Err(ENOMEM));
}

#[test]
fn shared_memory_is_shared_over_fork_and_private_memory_is_not() {
    let mut w = world();
    let s = w.map(0, 2, RW, MapFlags::SHARED).unwrap();
    let p = w.map(0, 2, RW, MapFlags::PRIVATE).unwrap();
    assert!(store(&w.mm, s, b"a") && store(&w.mm, p, b"a"));
    let (child, _ctx) = w.mm.fork(&mut *w.ctx, &Regs::default()).unwrap();
    assert!(store(&child, s, b"b") && store(&child, p, b"b"));
    assert_eq!((load(&w.mm, s), load(&w.mm, p)), (Some(b'b'), Some(b'a')));
    assert_eq!((load(&child, s), load(&child, p)), (Some(b'b'), Some(b'b')));
    assert_eq!(child.totals(), w.mm.totals());
    // MADV_REMOVE empties it for both.
    w.mm.madvise(s, 2 * P, MADV_REMOVE, false).unwrap();
    assert_eq!(load(&child, s), Some(0));
    w.mm.madvise(p, P, MADV_DONTNEED, false).unwrap();
    assert_eq!((load(&w.mm, p), load(&child, p)), (Some(0), Some(b'b')));
}

#[test]
fn truncated_pages_are_a_bus_error_until_they_are_back() {
    let mut w = world();
    let s = w.map(0, 4, RW, MapFlags::SHARED).unwrap();
    assert!(store(&w.mm, s + 2 * P, b"x"));
    let (child, _ctx) = w.mm.fork(&mut *w.ctx, &Regs::default()).unwrap();
    let cache = w.mm.lock().vmas.find(s).and_then(|v| v.cache().cloned()).unwrap();
    cache.resize(P).unwrap();
    for mm in [&w.mm, &child] {
        assert_eq!(load(mm, s), Some(0));
        assert_eq!(load(mm, s + 2 * P), None);
        assert_eq!(mm.fault(s + 2 * P, Access::Write, &Limits::NONE, &|| false), Err(Fault::NoPage));
    }
    cache.resize(3 * P).unwrap();
    assert_eq!(load(&child, s + 2 * P), Some(0));
    assert!(store(&w.mm, s + 2 * P, b"y"));
    assert_eq!((load(&child, s + 2 * P), load(&child, s + 3 * P)), (Some(b'y'), None));
}

#[test]
fn faults_are_told_apart() {
    let w = world();
    let a = w.map(0, 1, R, MapFlags::PRIVATE).unwrap();
    let l = &Limits::NONE;
    assert_eq!(w.mm.fault(a, Access::Read, l, &|| false), Ok(()));
    assert_eq!(w.mm.fault(a, Access::Write, l, &|| false), Err(Fault::Forbidden));
    assert_eq!(w.mm.fault(a, Access::Exec, l, &|| false), Err(Fault::Forbidden));
    assert_eq!(w.mm.fault(a + P, Access::Read, l, &|| false), Err(Fault::NotMapped));
}

#[test]
fn stacks_grow_to_their_limit() {
    let w = world();
    let top = 0x10_0000_0000;
    w.map(top - P, 1, RW, MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::GROWSDOWN).unwrap();
    let limits = Limits { stack: 64 * P, ..Limits::NONE };
    assert_eq!(w.mm.fault(top - 64 * P, Access::Write, &limits, &|| false), Ok(()));
    assert_eq!(w.mm.fault(top - 65 * P, Access::Write, &limits, &|| false), Err(Fault::NotMapped));
    assert_eq!(w.mm.totals().all, 64 * P);
    assert!(store(&w.mm, top - 10 * P, b"s"));
}

#[test]
fn heaps_grow_and_shrink() {
    let w = world();
    let start = 0x5000_0000;
    w.mm.set_layout(Layout { mmap_base: w.mm.range().1, brk_start: start, brk: start });
    let l = Limits::NONE;
    assert_eq!(w.mm.brk(0, &l), start);
    assert_eq!(w.mm.brk(start + 5000, &l), start + 5000);
    assert!(store(&w.mm, start + 8191, b"h"));
    assert_eq!(w.mm.brk(start + 100, &l), start + 100);
    assert_eq!(w.mm.totals().all, P);
    w.map(start + 4 * P, 1, RW, MapFlags::PRIVATE | MapFlags::FIXED).unwrap();
    assert_eq!(w.mm.brk(start + 4 * P, &l), start + 100);
    assert_eq!(w.mm.brk(start + 3 * P, &Limits { data: P, ..l }), start + 100);
    assert_eq!(w.mm.brk(start - 1, &l), start + 100);
}

/// A machine that has no memory left: everything private is withheld until it is stored to.
fn short_world() -> World {
    let w = world();
    w.machine.memory.force(MEMORY);
    w
}

#[test]
fn remapping_moves_contents() {
    remapping(&world());
    remapping(&short_world());
}

#[test]
fn what_the_machine_may_not_have_is_asked_for() {
    let w = world();
    let charge = &w.machine.memory;
    let half = MEMORY / 2 / P;
    let first = w.map(0, half, RW, MapFlags::PRIVATE).unwrap();
    let beyond = w.map(0, 3 * half, RW, MapFlags::PRIVATE | MapFlags::NORESERVE).unwrap();
    let exposed = || w.mm.lock().exposed;
    assert_eq!(exposed(), half * P);
    assert_eq!(w.mm.space.write(first, b"a"), 1);
    // It reads as zeros, and a store exposes a little, and more when it goes on there.
    assert_eq!((w.mm.space.write(beyond, b"b"), load(&w.mm, beyond)), (0, Some(0)));
    assert!(store(&w.mm, beyond, b"b"));
    let piece = exposed() - half * P;
    assert!(piece > 0 && piece <= 1 << 20, "{piece}");
    assert_eq!(w.mm.space.write(beyond + piece - 1, b"c"), 1);
    assert_eq!(w.mm.space.write(beyond + piece, b"c"), 0);
    for page in 0..half {
        assert!(store(&w.mm, beyond + page * P, b"d"));
    }
    assert!(exposed() <= MEMORY + (4 << 20));
    // A change of protection that gives the right to write asks as well; one that takes it gives up the claim.
    w.mm.mprotect(first, half * P, R, false).unwrap();
    w.mm.mprotect(beyond, 3 * half * P, R, false).unwrap();
    assert_eq!(exposed(), 0);
    w.mm.mprotect(beyond, 3 * half * P, RW, false).unwrap();
    assert_eq!((exposed(), w.mm.space.write(beyond, b"e")), (0, 0));
    assert!(store(&w.mm, beyond, b"e"));
    assert_eq!(load(&w.mm, beyond + P), Some(b'd'));
    // A child has what its parent has, and asks for all of it.
    w.mm.munmap(beyond, 3 * half * P).unwrap();
    // What was allowed once counts until a sample has passed.
    w.mm.mprotect(first, half * P, RW, false).unwrap();
    assert_eq!(exposed(), 0);
    w.mm.mprotect(first, half * P, R, false).unwrap();
    w.mm.allow_less(false);
    w.mm.mprotect(first, half * P, RW, false).unwrap();
    assert_eq!((exposed(), charge.since()), (half * P, half * P));
    charge.force(1);
    let mut ctx = w.ctx;
    let (child, _ctx) = w.mm.fork(&mut *ctx, &Regs::default()).unwrap();
    assert_eq!((child.space.write(first, b"f"), w.mm.space.write(first, b"g")), (0, 1));
    assert_eq!(load(&child, first), Some(b'a'));
    assert!(store(&child, first, b"f"));
    drop(child);
    drop(w.mm);
    assert_eq!(charge.since(), 0);
}

fn remapping(w: &World) {
    let request = |old, old_len, new_len, flags| RemapRequest {
        old,
        old_len: old_len * P,
        new_len: new_len * P,
        flags,
        new: 0,
        limits: Limits::NONE,
    };
    for kind in [MapFlags::PRIVATE, MapFlags::SHARED] {
        let a = w.map(0, 2, RW, kind).unwrap();
        // Something right behind, so that it cannot grow in place.
        let _ = w.map(a + 2 * P, 1, R, MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE);
        assert!(store(&w.mm, a + P, b"m"));
        assert_eq!(w.mm.mremap(&request(a, 2, 4, 0)), Err(ENOMEM));
        let b = w.mm.mremap(&request(a, 2, 4, MREMAP_MAYMOVE)).unwrap();
        assert_ne!(a, b);
        assert_eq!((load(&w.mm, a), load(&w.mm, b + P)), (None, Some(b'm')));
        // A shared object does not grow with its mapping.
        assert_eq!(load(&w.mm, b + 3 * P), if kind == MapFlags::PRIVATE { Some(0) } else { None });
        assert_eq!(w.mm.mremap(&request(b, 4, 1, 0)), Ok(b));
        assert_eq!(load(&w.mm, b + P), None);
    }
    assert_eq!(w.mm.mremap(&request(0x7000_0000, 1, 2, 0)), Err(EFAULT));
}

#[derive(Clone, Debug)]
enum Op {
    Map { at: u64, pages: u64, shared: bool },
    Unmap { at: u64, pages: u64 },
    Protect { at: u64, pages: u64, write: bool },
    Store { at: u64, value: u8 },
    Fork,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let range = || (0u64..40, 1u64..8);
    let one = prop_oneof![
        3 => (range(), any::<bool>()).prop_map(|((at, pages), shared)| Op::Map { at, pages, shared }),
        2 => range().prop_map(|(at, pages)| Op::Unmap { at, pages }),
        2 => (range(), any::<bool>()).prop_map(|((at, pages), write)| Op::Protect { at, pages, write }),
        6 => (0u64..48, 1u8..255).prop_map(|(at, value)| Op::Store { at, value }),
        1 => Just(Op::Fork),
    ];
    prop::collection::vec(one, 1..50)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// One byte per page: `Some((value, writable))` where something is mapped.
    #[test]
    fn a_guest_sees_what_the_model_says(ops in ops(), short in any::<bool>()) {
        const BASE: u64 = 0x2000_0000;
        let mut w = if short { short_world() } else { world() };
        let mut model: Vec<Option<(u8, bool)>> = vec![None; 48];
        let mut keep = Vec::new();
        for op in ops {
            match op {
                Op::Map { at, pages, shared } => {
                    let kind = if shared { MapFlags::SHARED } else { MapFlags::PRIVATE };
                    w.map(BASE + at * P, pages, RW, kind | MapFlags::FIXED).unwrap();
                    model[at as usize..(at + pages) as usize].fill(Some((0, true)));
                }
                Op::Unmap { at, pages } => {
                    w.mm.munmap(BASE + at * P, pages * P).unwrap();
                    model[at as usize..(at + pages) as usize].fill(None);
                }
                Op::Protect { at, pages, write } => {
                    let part = &mut model[at as usize..(at + pages) as usize];
                    let hole = part.iter().position(Option::is_none);
                    let done = w.mm.mprotect(BASE + at * P, pages * P, if write { RW } else { R }, false);
                    prop_assert_eq!(done, if hole.is_some() { Err(ENOMEM) } else { Ok(()) });
                    let to = hole.unwrap_or(part.len());
                    part[..to].iter_mut().flatten().for_each(|p| p.1 = write);
                }
                Op::Store { at, value } => {
                    let can = store(&w.mm, BASE + at * P, &[value]);
                    prop_assert_eq!(can, matches!(model[at as usize], Some((_, true))));
                    if let Some(p) = model[at as usize].as_mut().filter(|p| p.1) {
                        p.0 = value;
                    }
                }
                Op::Fork => {
                    let (child, ctx) = w.mm.fork(&mut *w.ctx, &Regs::default()).unwrap();
                    // Life goes on in the child; the parent stays as a second owner.
                    keep.push((std::mem::replace(&mut w.mm, child), std::mem::replace(&mut w.ctx, ctx)));
                }
            }
            for (i, m) in model.iter().enumerate() {
                prop_assert_eq!(load(&w.mm, BASE + i as u64 * P), m.map(|m| m.0));
            }
        }
        drop(keep);
        w.mm.munmap(BASE, 48 * P).unwrap();
        prop_assert_eq!(w.mm.totals(), Totals::default());
        prop_assert_eq!(w.machine.memory.committed_bytes(), 0);
        let i = w.mm.lock();
        prop_assert_eq!((i.exposed, i.withheld.bytes()), (0, 0));
    }
}
