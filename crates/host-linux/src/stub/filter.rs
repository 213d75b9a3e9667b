//! The seccomp filters: what stub threads may ask of the host.
//!
//! The *service* filter is installed once, in the first stub, and inherited by all: it lists what the service thread
//! does. The *strict* filter is added by each guest thread before it runs anything of the guest; the stricter answer of
//! the two counts. Installing costs time in proportion to the length of the strict filter's common path (the host tries
//! it for every system call number), which is why it opens with four comparisons.

use super::code;

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

/// System calls of the service thread (and those of guest threads, whose strict filter allows fewer).
const SERVICE_CALLS: [i64; 21] = [
    libc::SYS_futex,
    libc::SYS_rt_sigreturn,
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
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_membarrier,
    FUTEX_WAITV,
    FUTEX_WAKE,
    FUTEX_WAIT,
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

/// What the service thread may do; everything else traps (and so kills it, its signals being blocked).
pub(crate) fn service() -> Vec<Insn> {
    let mut f = vec![load(ARCH), jump_eq(AUDIT_ARCH_X86_64, 1, 0), ret(TRAP), load(NR)];
    for (i, &nr) in SERVICE_CALLS.iter().enumerate() {
        f.push(jump_eq(nr as u32, (SERVICE_CALLS.len() - i) as u8, 0));
    }
    f.push(ret(TRAP));
    f.push(ret(ALLOW));
    f
}

/// What guest threads may do: return from the handler and end, at the stub's own instructions alone; wait on and wake
/// futexes; nothing else. futex_requeue(2) names its words in memory that could change under the filter: it traps.
pub(crate) fn strict() -> Vec<Insn> {
    let (sigreturn, exit) = (code::sigreturn_ip(), code::exit_ip());
    let high = (sigreturn >> 32) as u32;
    let futex_op = |op: i32| op as u32;
    vec![
        load(NR),
        jump_eq(libc::SYS_futex as u32, 14, 0),
        jump_eq(libc::SYS_rt_sigreturn as u32, 6, 0),
        jump_eq(libc::SYS_exit as u32, 7, 0),
        jump_ge(FUTEX_WAITV as u32, 1, 0),
        ret(TRAP),
        // 6: later calls
        jump_eq(FUTEX_WAITV as u32, 20, 0),
        jump_eq(FUTEX_WAKE as u32, 19, 0),
        jump_eq(FUTEX_WAIT as u32, 18, 6),
        // 9: rt_sigreturn
        load(IP),
        jump_eq(sigreturn as u32, 2, 4),
        // 11: exit
        load(IP),
        jump_eq(exit as u32, 0, 2),
        // 13: both: the upper half
        load(IP + 4),
        jump_eq(high, 12, 0),
        ret(TRAP),
        // 16: futex: the operation without the clock bit
        load(ARGS + 8),
        and(!(libc::FUTEX_CLOCK_REALTIME as u32)),
        jump_eq(futex_op(libc::FUTEX_REQUEUE | libc::FUTEX_PRIVATE_FLAG), 8, 0),
        jump_eq(futex_op(libc::FUTEX_CMP_REQUEUE | libc::FUTEX_PRIVATE_FLAG), 7, 0),
        jump_eq(futex_op(libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG), 6, 0),
        and(!(libc::FUTEX_PRIVATE_FLAG as u32)),
        jump_eq(futex_op(libc::FUTEX_WAIT), 4, 0),
        jump_eq(futex_op(libc::FUTEX_WAKE), 3, 0),
        jump_eq(futex_op(libc::FUTEX_WAIT_BITSET), 2, 0),
        jump_eq(futex_op(libc::FUTEX_WAKE_BITSET), 1, 0),
        ret(TRAP),
        ret(ALLOW),
    ]
}

/// The same for a guest thread whose futex calls the kernel is to see (seccomp and ptrace inside). They trap, but for the
/// stub's own: its state words lie in its region, and what the kernel process orders is called at one instruction.
pub(crate) fn closed() -> Vec<Insn> {
    let (sigreturn, exit, call) = (code::sigreturn_ip(), code::exit_ip(), code::call_ip());
    let high = (sigreturn >> 32) as u32;
    vec![
        load(NR),
        jump_eq(libc::SYS_futex as u32, 11, 0),
        jump_eq(libc::SYS_rt_sigreturn as u32, 6, 0),
        jump_eq(libc::SYS_exit as u32, 7, 0),
        jump_ge(FUTEX_WAITV as u32, 1, 0),
        ret(TRAP),
        // 6: later calls
        jump_eq(FUTEX_WAITV as u32, 11, 0),
        jump_eq(FUTEX_WAKE as u32, 10, 0),
        jump_eq(FUTEX_WAIT as u32, 9, 13),
        // 9: rt_sigreturn
        load(IP),
        jump_eq(sigreturn as u32, 9, 11),
        // 11: exit
        load(IP),
        jump_eq(exit as u32, 7, 9),
        // 13: futex: an operation as the stub's own code has it, on a word of the region
        load(ARGS + 8),
        jump_eq(libc::FUTEX_WAIT_BITSET as u32, 1, 0),
        jump_eq(libc::FUTEX_WAKE_BITSET as u32, 0, 2),
        load(ARGS + 4),
        jump_eq(high, 5, 0),
        // 18: the call that was ordered
        load(IP),
        jump_eq(call as u32, 0, 2),
        // 20: the upper half
        load(IP + 4),
        jump_eq(high, 1, 0),
        ret(TRAP),
        ret(ALLOW),
    ]
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

    #[test]
    fn strict_filter_allows_what_it_says() {
        let f = strict();
        let at = |nr: i64, ip: u64, op: i32| {
            eval(&f, nr as u32, AUDIT_ARCH_X86_64, ip, [0, op as u64, 0, 0, 0, 0])
        };
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
                let plain =
                    [libc::FUTEX_WAIT, libc::FUTEX_WAKE, libc::FUTEX_WAIT_BITSET, libc::FUTEX_WAKE_BITSET]
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
            let open =
                later || [libc::SYS_futex, libc::SYS_rt_sigreturn, libc::SYS_exit].contains(&i64::from(nr));
            // Nor from the stub's own instructions.
            for ip in [0, code::exit_ip(), code::sigreturn_ip()] {
                if !open {
                    assert_eq!(at(i64::from(nr), ip, 0), TRAP, "{nr} at {ip:#x}");
                }
                assert_eq!(at(i64::from(nr | 0x4000_0000), ip, 0), TRAP, "x32 {nr} at {ip:#x}");
            }
        }
    }

    #[test]
    fn closed_filter_lets_the_stubs_own_futex_calls_pass() {
        let f = closed();
        let at = |nr: i64, ip: u64, word: u64, op: u64| {
            eval(&f, nr as u32, AUDIT_ARCH_X86_64, ip, [word, op, 0, 0, 0, 0])
        };
        let (own, guests, call) = (crate::layout::SLOTS, 0x7000_1000, code::call_ip());
        for op in 0..16u64 {
            for bits in [0, 128, 256, 384] {
                let stub = op | bits == 9 || op | bits == 10;
                for ip in [0, 0x40_1000, code::exit_ip()] {
                    let expected = if stub { ALLOW } else { TRAP };
                    assert_eq!(at(libc::SYS_futex, ip, own, op | bits), expected, "{op} {bits}");
                    assert_eq!(at(libc::SYS_futex, ip, guests, op | bits), TRAP, "{op} {bits}");
                }
                assert_eq!(at(libc::SYS_futex, call, guests, op | bits), ALLOW);
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

    #[test]
    fn service_filter_refuses_other_architectures() {
        let f = service();
        for &nr in &SERVICE_CALLS {
            assert_eq!(eval(&f, nr as u32, AUDIT_ARCH_X86_64, 0, [0; 6]), ALLOW);
            assert_eq!(eval(&f, nr as u32, 0x4000_0003, 0, [0; 6]), TRAP);
            assert_eq!(eval(&f, nr as u32 | 0x4000_0000, AUDIT_ARCH_X86_64, 0, [0; 6]), TRAP);
        }
        assert_eq!(eval(&f, libc::SYS_openat as u32, AUDIT_ARCH_X86_64, 0, [0; 6]), TRAP);
    }
}
