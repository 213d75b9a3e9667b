//! The seccomp filters: what stub threads may ask of the host.
//!
//! The *common* filter is installed once, in the first stub, and inherited by all. It judges a call by where it is made: in
//! the service thread's part of the stub's code it lists what that thread does, everywhere else what guest threads may
//! do. Each guest thread is kept from the first part before it runs anything of the guest: by the host's dispatch of
//! system calls (prctl(2), PR_SYS_DISPATCH_INCLUSIVE_ON), or where the host lacks that by the *strict* filter. A guest thread
//! whose futex calls the kernel is to see has the *closed* filter instead. The stricter answer of two filters counts. As the host
//! compiles a filter anew for each thread that installs one, those of threads are short.

use super::code;
use crate::errands;

/// One instruction, as `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Insn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

impl Insn {
    /// The bytes of `struct sock_filter`.
    pub(crate) fn encode(self) -> [u8; 8] {
        let mut out = [0; 8];
        out[..2].copy_from_slice(&self.code.to_ne_bytes());
        out[2] = self.jt;
        out[3] = self.jf;
        out[4..].copy_from_slice(&self.k.to_ne_bytes());
        out
    }
}

pub(crate) const ALLOW: u32 = 0x7fff_0000;
pub(crate) const TRAP: u32 = 0x0003_0000;
pub(crate) const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

// Offsets in `struct seccomp_data`.
pub(crate) const NR: u32 = 0;
pub(crate) const ARCH: u32 = 4;
const IP: u32 = 8;
pub(crate) const ARGS: u32 = 16;

/// System calls of the service thread, and of a guest thread before it is one.
const SERVICE_CALLS: [i64; 16] = [
    libc::SYS_futex,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_mincore,
    libc::SYS_clone,
    libc::SYS_prctl,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_seccomp,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_exit_group,
    libc::SYS_membarrier,
];

/// Futex calls that say all in their registers or only wait (futex2, Linux 5.16 and 6.7); older hosts answer ENOSYS.
pub(crate) const FUTEX_WAITV: i64 = 449;
pub(crate) const FUTEX_WAKE: i64 = 454;
pub(crate) const FUTEX_WAIT: i64 = 455;

pub(crate) fn load(offset: u32) -> Insn {
    Insn { code: 0x20, jt: 0, jf: 0, k: offset }
}

pub(crate) fn jump_eq(k: u32, jt: u8, jf: u8) -> Insn {
    Insn { code: 0x15, jt, jf, k }
}

fn jump_ge(k: u32, jt: u8, jf: u8) -> Insn {
    Insn { code: 0x35, jt, jf, k }
}

pub(crate) fn and(k: u32) -> Insn {
    Insn { code: 0x54, jt: 0, jf: 0, k }
}

pub(crate) fn ret(k: u32) -> Insn {
    Insn { code: 0x06, jt: 0, jf: 0, k }
}

/// What the threads of a stub may do. The service thread: its calls; everything else traps (and so kills it, its signals
/// being blocked). Guest threads: return from the handler, end, and change their memory as [`errands`] says, at the stub's
/// own instructions alone; wait on and wake futexes; nothing else. futex_requeue(2) names its words in memory that could
/// change under the filter: it traps.
pub(crate) fn common() -> Vec<Insn> {
    use Step::*;
    let (sigreturn, exit, errand) = (code::sigreturn_ip(), code::exit_ip(), code::errand_ip());
    let high = (sigreturn >> 32) as u32;
    let mut f = vec![Do(load(ARCH)), JumpEq(AUDIT_ARCH_X86_64, "", "trap")];
    f.extend(in_service("service", "guest"));
    f.extend([Label("service"), Do(load(NR))]);
    f.extend(SERVICE_CALLS.map(|nr| JumpEq(nr as u32, "allow", "")));
    f.extend([
        Do(ret(TRAP)),
        Label("guest"),
        Do(load(NR)),
        JumpGe(libc::SYS_madvise as u32 + 1, "later", "early"),
        Label("later"),
        JumpEq(libc::SYS_futex as u32, "futex", ""),
        JumpEq(libc::SYS_exit as u32, "exit", ""),
        JumpEq(FUTEX_WAITV as u32, "allow", ""),
        JumpEq(FUTEX_WAKE as u32, "allow", ""),
        JumpEq(FUTEX_WAIT as u32, "allow", "trap"),
        Label("early"),
        JumpEq(libc::SYS_rt_sigreturn as u32, "sigreturn", ""),
        JumpEq(libc::SYS_munmap as u32, "errand", ""),
        JumpEq(libc::SYS_mprotect as u32, "mprotect", ""),
        JumpEq(libc::SYS_mmap as u32, "mmap", ""),
        JumpEq(libc::SYS_madvise as u32, "madvise", "trap"),
        Label("futex"),
        // The operation without the clock bit.
        Do(load(ARGS + 8)),
        Do(and(!(libc::FUTEX_CLOCK_REALTIME as u32))),
        JumpEq((libc::FUTEX_REQUEUE | libc::FUTEX_PRIVATE_FLAG) as u32, "allow", ""),
        JumpEq((libc::FUTEX_CMP_REQUEUE | libc::FUTEX_PRIVATE_FLAG) as u32, "allow", ""),
        JumpEq((libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG) as u32, "allow", ""),
        Do(and(!(libc::FUTEX_PRIVATE_FLAG as u32))),
        JumpEq(libc::FUTEX_WAIT as u32, "allow", ""),
        JumpEq(libc::FUTEX_WAKE as u32, "allow", ""),
        JumpEq(libc::FUTEX_WAIT_BITSET as u32, "allow", ""),
        JumpEq(libc::FUTEX_WAKE_BITSET as u32, "allow", "trap"),
        Label("sigreturn"),
        Do(load(IP)),
        JumpEq(sigreturn as u32, "high", "trap"),
        Label("exit"),
        Do(load(IP)),
        JumpEq(exit as u32, "high", "trap"),
        Label("high"),
        Do(load(IP + 4)),
        JumpEq(high, "allow", "trap"),
        Label("mmap"),
        Do(load(ARGS + 3 * 8)),
        JumpEq(errands::MAP_FLAGS, "", "trap"),
        Do(load(ARGS + 3 * 8 + 4)),
        JumpEq(0, "errand", "trap"),
        Label("mprotect"),
        Do(load(ARGS + 2 * 8)),
    ]);
    f.extend(errands::PROTS.map(|p| JumpEq(p, "errand", "")));
    f.extend([Do(ret(TRAP)), Label("madvise"), Do(load(ARGS + 2 * 8))]);
    f.extend(errands::ADVICE.map(|a| JumpEq(a, "errand", "")));
    f.extend([
        Do(ret(TRAP)),
        Label("errand"),
        Do(load(IP)),
        JumpEq(errand as u32, "", "trap"),
        Do(load(IP + 4)),
        JumpEq(high, "", "trap"),
        Do(load(ARGS + 4)),
        JumpGe(errands::ADDR_HIGH, "trap", ""),
        Do(load(ARGS + 8 + 4)),
        JumpEq(0, "allow", "trap"),
    ]);
    finish(f)
}

/// Keeps a guest thread from the service thread's calls, on a host that has no better means.
pub(crate) fn strict() -> Vec<Insn> {
    finish(in_service("trap", "allow").into())
}

/// The same for a guest thread whose futex calls the kernel is to see (seccomp and ptrace inside). They trap, but for the
/// stub's own: its state words lie in its region, and what the kernel process orders is called at one instruction.
pub(crate) fn closed() -> Vec<Insn> {
    use Step::*;
    let call = code::call_ip();
    let mut f: Vec<Step> = in_service("trap", "guest").into();
    f.extend([
        Label("guest"),
        Do(load(NR)),
        JumpEq(libc::SYS_futex as u32, "futex", ""),
        JumpGe(FUTEX_WAITV as u32, "ordered", "allow"),
        Label("futex"),
        // An operation as the stub's own code has it, on a word of the region.
        Do(load(ARGS + 8)),
        JumpEq(libc::FUTEX_WAIT_BITSET as u32, "word", ""),
        JumpEq(libc::FUTEX_WAKE_BITSET as u32, "word", "ordered"),
        Label("word"),
        Do(load(ARGS + 4)),
        JumpEq((call >> 32) as u32, "allow", ""),
        Label("ordered"),
        Do(load(IP)),
        JumpEq(call as u32, "", "trap"),
        Do(load(IP + 4)),
        JumpEq((call >> 32) as u32, "allow", "trap"),
    ]);
    finish(f)
}

/// Whether a call is made in the service thread's part of the code.
fn in_service(yes: &'static str, no: &'static str) -> [Step; 5] {
    use Step::*;
    let (from, to) = code::service();
    [
        Do(load(IP + 4)),
        JumpEq((from >> 32) as u32, "", no),
        Do(load(IP)),
        JumpGe(from as u32, "", no),
        JumpGe(to as u32, no, yes),
    ]
}

/// Adds the two answers and resolves the names.
fn finish(mut steps: Vec<Step>) -> Vec<Insn> {
    use Step::*;
    steps.extend([Label("trap"), Do(ret(TRAP)), Label("allow"), Do(ret(ALLOW))]);
    assemble(&steps)
}

/// A line of a filter with names for the places that are jumped to; the empty name is the next instruction.
enum Step {
    Do(Insn),
    JumpEq(u32, &'static str, &'static str),
    JumpGe(u32, &'static str, &'static str),
    Label(&'static str),
}

/// Resolves the names. All jumps lead forward.
fn assemble(steps: &[Step]) -> Vec<Insn> {
    let is_label = |s: &Step| matches!(s, Step::Label(_));
    let distance = |from: usize, to: &str| {
        let skipped = |s: &&Step| !is_label(s);
        let end = |s: &Step| matches!(s, Step::Label(l) if *l == to);
        let rest = &steps[from + 1..];
        let at = if to.is_empty() { 0 } else { rest.iter().position(end).expect("a label further down") };
        u8::try_from(rest[..at].iter().filter(skipped).count()).expect("a short jump")
    };
    let insn = |(i, step): (usize, &Step)| match *step {
        Step::Do(insn) => Some(insn),
        Step::JumpEq(k, t, f) => Some(jump_eq(k, distance(i, t), distance(i, f))),
        Step::JumpGe(k, t, f) => Some(jump_ge(k, distance(i, t), distance(i, f))),
        Step::Label(_) => None,
    };
    steps.iter().enumerate().filter_map(insn).collect()
}

/// Runs a filter as the host would.
#[cfg(test)]
pub(crate) fn eval(f: &[Insn], nr: u32, arch: u32, ip: u64, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(nr.to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend(ip.to_le_bytes());
    args.iter().for_each(|a| data.extend(a.to_le_bytes()));
    let (mut pc, mut acc) = (0, 0u32);
    loop {
        let i = f[pc];
        pc += 1;
        match i.code {
            0x20 => {
                let k = i.k as usize;
                acc = u32::from_le_bytes(data[k..k + 4].try_into().unwrap());
            }
            0x15 => pc += usize::from(if acc == i.k { i.jt } else { i.jf }),
            0x35 => pc += usize::from(if acc >= i.k { i.jt } else { i.jf }),
            0x54 => acc &= i.k,
            0x06 => return i.k,
            c => panic!("instruction {c:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What keeps a guest thread from the service thread's calls.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Guard {
        Dispatch,
        Strict,
        Closed,
    }

    const GUARDS: [Guard; 3] = [Guard::Dispatch, Guard::Strict, Guard::Closed];

    impl Guard {
        /// What becomes of a guest thread's call.
        fn judge(self, nr: u32, ip: u64, args: [u64; 6]) -> u32 {
            let (from, to) = code::service();
            let own = match self {
                // As the host does it: inside the range the call is dispatched.
                Guard::Dispatch if (from..to).contains(&ip) => TRAP,
                Guard::Dispatch => ALLOW,
                Guard::Strict => eval(&strict(), nr, AUDIT_ARCH_X86_64, ip, args),
                Guard::Closed => eval(&closed(), nr, AUDIT_ARCH_X86_64, ip, args),
            };
            // The stricter answer counts.
            own.min(eval(&common(), nr, AUDIT_ARCH_X86_64, ip, args))
        }
    }

    #[test]
    fn guest_threads_may_do_what_the_filter_says() {
        for guard in [Guard::Dispatch, Guard::Strict] {
            let at = |nr: i64, ip: u64, op: i32| guard.judge(nr as u32, ip, [0, op as u64, 0, 0, 0, 0]);
            assert_eq!(at(libc::SYS_rt_sigreturn, code::sigreturn_ip(), 0), ALLOW);
            assert_eq!(at(libc::SYS_exit, code::exit_ip(), 0), ALLOW);
            for (nr, ip) in [
                (libc::SYS_rt_sigreturn, code::exit_ip()),
                (libc::SYS_exit, code::sigreturn_ip()),
                (libc::SYS_rt_sigreturn, code::sigreturn_ip() & 0xffff_ffff),
                (libc::SYS_exit, code::exit_ip() + (1 << 32)),
                (libc::SYS_exit_group, code::exit_ip()),
                (libc::SYS_mmap, code::sigreturn_ip()),
            ] {
                assert_eq!(at(nr, ip, 0), TRAP, "{nr} at {ip:#x}");
            }
            for op in 0..16 {
                for bits in [0, libc::FUTEX_PRIVATE_FLAG] {
                    let plain = [
                        libc::FUTEX_WAIT,
                        libc::FUTEX_WAKE,
                        libc::FUTEX_WAIT_BITSET,
                        libc::FUTEX_WAKE_BITSET,
                    ]
                    .contains(&op);
                    let private =
                        [libc::FUTEX_REQUEUE, libc::FUTEX_CMP_REQUEUE, libc::FUTEX_WAKE_OP].contains(&op);
                    let expected = if plain || (private && bits != 0) { ALLOW } else { TRAP };
                    assert_eq!(at(libc::SYS_futex, 0, op | bits), expected, "futex {op} {bits}");
                    let clock = at(libc::SYS_futex, 0, op | bits | libc::FUTEX_CLOCK_REALTIME);
                    assert_eq!(clock, expected, "futex {op} {bits} realtime");
                }
                assert_eq!(at(libc::SYS_futex, 0, op | 0x4000_0000), TRAP);
            }
            for nr in 0..600u32 {
                let later = [FUTEX_WAITV, FUTEX_WAKE, FUTEX_WAIT].contains(&i64::from(nr));
                if later {
                    assert_eq!(at(i64::from(nr), 0, 0), ALLOW, "{nr}");
                }
                let open = later
                    || [libc::SYS_futex, libc::SYS_rt_sigreturn, libc::SYS_exit].contains(&i64::from(nr));
                // Nor from the stub's own instructions.
                for ip in [0, code::exit_ip(), code::sigreturn_ip()] {
                    if !open {
                        assert_eq!(at(i64::from(nr), ip, 0), TRAP, "{nr} at {ip:#x}");
                    }
                    assert_eq!(at(i64::from(nr | 0x4000_0000), ip, 0), TRAP, "x32 {nr} at {ip:#x}");
                }
            }
        }
    }

    #[test]
    fn guest_threads_make_no_call_of_the_service_thread() {
        let (from, to) = code::service();
        let args = [0x40_0000, 0x1000, 7, u64::from(errands::MAP_FLAGS), 0, 0];
        let bytes = code::bytes();
        let at = |ip: u64| &bytes[(ip - crate::layout::CODE) as usize - 2..][..2];
        for guard in GUARDS {
            for nr in 0..600 {
                for ip in from..to {
                    // What the filter sees is behind the instruction.
                    assert_eq!(guard.judge(nr, ip, args), TRAP, "{guard:?}: {nr} at {ip:#x}");
                }
            }
            // No `syscall` straddles an end of the part, nor do instructions made of others' bytes.
            for ip in [from, from + 1, to] {
                assert_ne!(at(ip), [0x0f, 0x05], "{ip:#x}");
            }
        }
        for nr in 0..600u32 {
            let open = SERVICE_CALLS.contains(&i64::from(nr));
            for ip in [code::operation_ip(), from, to - 1] {
                let f = eval(&common(), nr, AUDIT_ARCH_X86_64, ip, args);
                assert_eq!(f, if open { ALLOW } else { TRAP }, "{nr}");
                assert_eq!(eval(&common(), nr, 0x4000_0003, ip, args), TRAP, "{nr}");
                assert_eq!(eval(&common(), nr | 0x4000_0000, AUDIT_ARCH_X86_64, ip, args), TRAP, "{nr}");
            }
        }
        // Nor does the service thread have its calls elsewhere.
        for &nr in SERVICE_CALLS.iter().filter(|&&nr| nr != libc::SYS_futex) {
            for ip in [0, from - 1, to, from & 0xffff_ffff, code::operation_ip() + (1 << 32)] {
                assert_eq!(eval(&common(), nr as u32, AUDIT_ARCH_X86_64, ip, args), TRAP, "{nr} at {ip:#x}");
            }
        }
    }

    #[test]
    fn errands_end_below_the_region() {
        GUARDS.into_iter().for_each(errands_end_below);
    }

    fn errands_end_below(guard: Guard) {
        let call = |nr: i64, args: [u64; 6]| guard.judge(nr as u32, code::errand_ip(), args);
        let flags = u64::from(errands::MAP_FLAGS);
        let most = (u64::from(errands::ADDR_HIGH) << 32) - 0x1000;
        assert!(most + 0x1_0000_0000 < crate::layout::REGION);
        for (addr, len, expected) in [
            (0, 0, ALLOW),
            (0x40_0000, 0x1000, ALLOW),
            (most, 0xffff_ffff, ALLOW),
            (most, 0x1_0000_0000, TRAP),
            (most + 0x1000, 0x1000, TRAP),
            (crate::layout::REGION, 0x1000, TRAP),
            (0x7fff_ffff_0000, 0x1000, TRAP),
            (u64::MAX - 0xfff, 0x2000, TRAP),
            (0, u64::MAX - 0xfff, TRAP),
        ] {
            let args = |third: u64, flags: u64| [addr, len, third, flags, u64::MAX, 0];
            assert_eq!(call(libc::SYS_munmap, args(0, 0)), expected, "{addr:#x} {len:#x}");
            assert_eq!(call(libc::SYS_mmap, args(7, flags)), expected, "{addr:#x} {len:#x}");
            for advice in 0..64 {
                let known = errands::ADVICE.contains(&(advice as u32));
                let expected = if known { expected } else { TRAP };
                assert_eq!(call(libc::SYS_madvise, args(advice, 0)), expected, "{addr:#x} {len:#x} {advice}");
            }
            for prot in 0..64 {
                let known = errands::PROTS.contains(&(prot as u32));
                let expected = if known { expected } else { TRAP };
                assert_eq!(call(libc::SYS_mprotect, args(prot, 0)), expected, "{addr:#x} {len:#x} {prot}");
            }
            for ip in [0, 0x40_0000, code::errand_ip() & 0xffff_ffff, code::sigreturn_ip()] {
                for nr in [libc::SYS_mmap, libc::SYS_munmap, libc::SYS_madvise, libc::SYS_mprotect] {
                    assert_eq!(guard.judge(nr as u32, ip, args(4, flags)), TRAP);
                    assert_eq!(guard.judge(nr as u32, ip, args(1, flags)), TRAP);
                }
            }
            for bit in 0..64 {
                assert_eq!(call(libc::SYS_mmap, args(3, flags ^ 1 << bit)), TRAP, "{bit}");
            }
        }
        for nr in [libc::SYS_mremap, libc::SYS_brk, libc::SYS_shmat, libc::SYS_pread64] {
            assert_eq!(call(nr, [0x40_0000, 0x1000, 7, flags, 0, 0]), TRAP);
        }
    }

    #[test]
    fn closed_filter_lets_the_stubs_own_futex_calls_pass() {
        let at =
            |nr: i64, ip: u64, word: u64, op: u64| Guard::Closed.judge(nr as u32, ip, [word, op, 0, 0, 0, 0]);
        let (own, guests, call) = (crate::layout::SLOTS, 0x7000_1000, code::call_ip());
        for op in 0..16u64 {
            for bits in [0, 128, 256, 384] {
                let stub = op | bits == 9 || op | bits == 10;
                for ip in [0, 0x40_1000, code::exit_ip()] {
                    let expected = if stub { ALLOW } else { TRAP };
                    assert_eq!(at(libc::SYS_futex, ip, own, op | bits), expected, "{op} {bits}");
                    assert_eq!(at(libc::SYS_futex, ip, guests, op | bits), TRAP, "{op} {bits}");
                }
                let open = Guard::Strict.judge(libc::SYS_futex as u32, call, [guests, op | bits, 0, 0, 0, 0]);
                assert_eq!(at(libc::SYS_futex, call, guests, op | bits), open);
                assert_eq!(at(libc::SYS_futex, call + (1 << 32), guests, op | bits), TRAP);
            }
        }
        for nr in 0..600 {
            let later = [FUTEX_WAITV, FUTEX_WAKE, FUTEX_WAIT].contains(&nr);
            for (ip, open) in [
                (0, false),
                (call, later),
                (code::sigreturn_ip(), nr == libc::SYS_rt_sigreturn),
                (code::exit_ip(), nr == libc::SYS_exit),
            ] {
                if nr != libc::SYS_futex {
                    assert_eq!(at(nr, ip, own, 9), if open { ALLOW } else { TRAP }, "{nr} at {ip:#x}");
                }
                assert_eq!(at(nr | 0x4000_0000, ip, own, 9), TRAP, "x32 {nr}");
            }
        }
    }
}
