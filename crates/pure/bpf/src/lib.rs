//! Classic BPF as seccomp(2) uses it: a program is checked once, then run over the data of one system call.
//!
//! A checked program always ends: jumps lead forward only, the last instruction returns, divisors and shifts by constants are
//! valid, loads from the data are aligned words inside of it, and no scratch word is read that was not written on every way.
#![forbid(unsafe_code)]

/// Most instructions of a program (BPF_MAXINSNS).
pub const MAX_LEN: usize = 4096;
/// Bytes of one instruction (`struct sock_filter`).
pub const INSN_LEN: usize = 8;
/// Words of scratch memory.
const SCRATCH: usize = 16;
/// Bytes of `struct seccomp_data`.
const DATA_LEN: u32 = 64;

/// What a filter looks at (`struct seccomp_data`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The address after the instruction that made the call.
    pub ip: u64,
    pub args: [u64; 6],
}

impl Data {
    /// The word at byte `at`, which is aligned and inside.
    fn word(&self, at: u32) -> u32 {
        let half = |v: u64, high: bool| (if high { v >> 32 } else { v & 0xffff_ffff }) as u32;
        match at {
            0 => self.nr,
            4 => self.arch,
            8 | 12 => half(self.ip, at == 12),
            _ => {
                let i = (at as usize - 16) / 8;
                half(self.args.get(i).copied().unwrap_or(0), at & 4 != 0)
            }
        }
    }
}

/// A value that an instruction takes: its constant, or X.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    K(u32),
    X,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    Lsh,
    Rsh,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Eq,
    Gt,
    Ge,
    Set,
}

/// A checked instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Insn {
    Load(u32),
    Const(u32),
    ConstX(u32),
    Mem(usize),
    MemX(usize),
    Store(usize),
    StoreX(usize),
    Alu(Alu, Operand),
    Neg,
    Jump(usize),
    If(Test, Operand, usize, usize),
    RetK(u32),
    RetA,
    Tax,
    Txa,
}

/// A checked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Box<[Insn]>);

/// The program was refused (EINVAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

// Opcodes: class, then mode or operation.
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const MISC: u16 = 0x07;
const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
/// The operand is X.
const SRC_X: u16 = 0x08;
const RET_A: u16 = 0x10;
const NEG: u16 = 0x80;
const JA: u16 = 0x00;
const TXA: u16 = 0x80;

/// One instruction of a program of `len`, at position `at`.
fn decode(raw: [u8; INSN_LEN], at: usize, len: usize) -> Option<Insn> {
    let code = u16::from_le_bytes([raw[0], raw[1]]);
    let (jt, jf) = (usize::from(raw[2]), usize::from(raw[3]));
    let k = u32::from_le_bytes([raw[4], raw[5], raw[6], raw[7]]);
    let slot = || usize::try_from(k).ok().filter(|s| *s < SCRATCH);
    // Forward, and to an instruction that is there.
    let to = |by: usize| at.checked_add(1)?.checked_add(by).filter(|t| *t < len);
    let operand = if code & SRC_X != 0 { Operand::X } else { Operand::K(k) };
    const LD_IMM: u16 = LD | IMM;
    const LD_ABS: u16 = LD | ABS;
    const LD_MEM: u16 = LD | MEM;
    const LD_LEN: u16 = LD | LEN;
    const LDX_IMM: u16 = LDX | IMM;
    const LDX_MEM: u16 = LDX | MEM;
    const LDX_LEN: u16 = LDX | LEN;
    const RET_ACC: u16 = RET | RET_A;
    const MISC_TXA: u16 = MISC | TXA;
    const ALU_NEG: u16 = ALU | NEG;
    Some(match code {
        LD_IMM => Insn::Const(k),
        LD_ABS if k < DATA_LEN && k.is_multiple_of(4) => Insn::Load(k),
        LD_MEM => Insn::Mem(slot()?),
        LD_LEN => Insn::Const(DATA_LEN),
        LDX_IMM => Insn::ConstX(k),
        LDX_MEM => Insn::MemX(slot()?),
        LDX_LEN => Insn::ConstX(DATA_LEN),
        ST => Insn::Store(slot()?),
        STX => Insn::StoreX(slot()?),
        RET => Insn::RetK(k),
        RET_ACC => Insn::RetA,
        MISC => Insn::Tax,
        MISC_TXA => Insn::Txa,
        ALU_NEG => Insn::Neg,
        _ if code & 0x07 == ALU && code & !(0xf0 | SRC_X) == ALU => {
            let op = match code >> 4 {
                0 => Alu::Add,
                1 => Alu::Sub,
                2 => Alu::Mul,
                3 => Alu::Div,
                4 => Alu::Or,
                5 => Alu::And,
                6 => Alu::Lsh,
                7 => Alu::Rsh,
                10 => Alu::Xor,
                _ => return None,
            };
            match (op, operand) {
                (Alu::Div, Operand::K(0)) => return None,
                (Alu::Lsh | Alu::Rsh, Operand::K(32..)) => return None,
                _ => Insn::Alu(op, operand),
            }
        }
        _ if code == JMP | JA => Insn::Jump(to(usize::try_from(k).ok()?)?),
        _ if code & 0x07 == JMP && code & !(0xf0 | SRC_X) == JMP => {
            let test = match code >> 4 {
                1 => Test::Eq,
                2 => Test::Gt,
                3 => Test::Ge,
                4 => Test::Set,
                _ => return None,
            };
            Insn::If(test, operand, to(jt)?, to(jf)?)
        }
        _ => return None,
    })
}

/// No scratch word is read that some way there has not written.
fn scratch_is_written(code: &[Insn]) -> bool {
    // What is written for sure when an instruction is reached; ways that never meet it do not count.
    let mut known = vec![u16::MAX; code.len()];
    if let Some(first) = known.first_mut() {
        *first = 0;
    }
    for (i, insn) in code.iter().enumerate() {
        let mut now = known[i];
        let mut flows: [Option<usize>; 2] = [Some(i + 1), None];
        match *insn {
            Insn::Store(s) | Insn::StoreX(s) => now |= 1 << s,
            Insn::Mem(s) | Insn::MemX(s) if now >> s & 1 == 0 => return false,
            Insn::Jump(t) => flows = [Some(t), None],
            Insn::If(_, _, t, f) => flows = [Some(t), Some(f)],
            Insn::RetK(_) | Insn::RetA => flows = [None, None],
            _ => {}
        }
        for to in flows.into_iter().flatten() {
            if let Some(k) = known.get_mut(to) {
                *k &= now;
            }
        }
    }
    true
}

impl Program {
    /// Checks the bytes of an array of `struct sock_filter`.
    pub fn new(bytes: &[u8]) -> Result<Program, Invalid> {
        let len = bytes.len() / INSN_LEN;
        if len == 0 || len > MAX_LEN || !bytes.len().is_multiple_of(INSN_LEN) {
            return Err(Invalid);
        }
        let insns = bytes.chunks_exact(INSN_LEN).enumerate().map(|(at, c)| {
            let mut raw = [0; INSN_LEN];
            raw.copy_from_slice(c);
            decode(raw, at, len).ok_or(Invalid)
        });
        let code: Box<[Insn]> = insns.collect::<Result<_, _>>()?;
        if !matches!(code.last(), Some(Insn::RetK(_) | Insn::RetA)) || !scratch_is_written(&code) {
            return Err(Invalid);
        }
        Ok(Program(code))
    }

    /// Instructions.
    #[allow(clippy::len_without_is_empty)] // None is empty.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What the program returns for a call; 0 when it divides by zero.
    pub fn run(&self, data: &Data) -> u32 {
        let (mut a, mut x) = (0u32, 0u32);
        let mut mem = [0u32; SCRATCH];
        let mut pc = 0;
        while let Some(insn) = self.0.get(pc) {
            pc += 1;
            let value = |o: Operand| if let Operand::K(k) = o { k } else { x };
            match *insn {
                Insn::Load(at) => a = data.word(at),
                Insn::Const(k) => a = k,
                Insn::ConstX(k) => x = k,
                Insn::Mem(s) => a = mem[s],
                Insn::MemX(s) => x = mem[s],
                Insn::Store(s) => mem[s] = a,
                Insn::StoreX(s) => mem[s] = x,
                Insn::Neg => a = a.wrapping_neg(),
                Insn::Tax => x = a,
                Insn::Txa => a = x,
                Insn::RetK(k) => return k,
                Insn::RetA => return a,
                Insn::Jump(t) => pc = t,
                Insn::If(test, o, t, f) => {
                    let v = value(o);
                    let holds = match test {
                        Test::Eq => a == v,
                        Test::Gt => a > v,
                        Test::Ge => a >= v,
                        Test::Set => a & v != 0,
                    };
                    pc = if holds { t } else { f };
                }
                Insn::Alu(op, o) => {
                    let v = value(o);
                    a = match op {
                        Alu::Add => a.wrapping_add(v),
                        Alu::Sub => a.wrapping_sub(v),
                        Alu::Mul => a.wrapping_mul(v),
                        Alu::Div => match a.checked_div(v) {
                            Some(q) => q,
                            None => return 0,
                        },
                        Alu::Or => a | v,
                        Alu::And => a & v,
                        // Only five bits of a count in X are looked at.
                        Alu::Lsh => a.wrapping_shl(v),
                        Alu::Rsh => a.wrapping_shr(v),
                        Alu::Xor => a ^ v,
                    };
                }
            }
        }
        // Not reached: the last instruction returns.
        0
    }
}

#[cfg(test)]
mod tests;
