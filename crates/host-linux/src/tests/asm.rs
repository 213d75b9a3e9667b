//! A handful of instructions, enough for the tests' guest programs.

/// Machine code under construction; jumps name labels by number.
#[derive(Default)]
pub(crate) struct Asm {
    pub(crate) code: Vec<u8>,
    labels: Vec<(u32, usize)>,
    jumps: Vec<(u32, usize)>,
}

/// Register numbers as in instructions.
pub(crate) const RDX: u8 = 2;
pub(crate) const RBX: u8 = 3;
pub(crate) const RSI: u8 = 6;
pub(crate) const RDI: u8 = 7;
pub(crate) const R8: u8 = 8;
pub(crate) const R14: u8 = 14;
pub(crate) const R15: u8 = 15;
pub(crate) const RBP: u8 = 5;
pub(crate) const R9: u8 = 9;
pub(crate) const R10: u8 = 10;

impl Asm {
    pub(crate) fn new() -> Asm {
        Asm::default()
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Asm {
        self.code.extend_from_slice(bytes);
        self
    }

    /// mov r64, imm64
    pub(crate) fn mov(self, r: u8, v: u64) -> Asm {
        let mut b = vec![0x48 | r >> 3, 0xb8 | (r & 7)];
        b.extend(v.to_le_bytes());
        self.raw(&b)
    }

    /// mov eax, imm32: the form that compilers put before `syscall`
    pub(crate) fn eax(self, v: u32) -> Asm {
        self.raw(&[0xb8]).raw(&v.to_le_bytes())
    }

    pub(crate) fn syscall(self) -> Asm {
        self.raw(&[0x0f, 0x05])
    }

    /// mov eax, nr; syscall
    pub(crate) fn call(self, nr: u32) -> Asm {
        self.eax(nr).syscall()
    }

    pub(crate) fn label(mut self, n: u32) -> Asm {
        self.labels.push((n, self.code.len()));
        self
    }

    /// A jump with a 32-bit distance, after its opcode bytes.
    fn jump(mut self, opcode: &[u8], label: u32) -> Asm {
        self.code.extend_from_slice(opcode);
        self.jumps.push((label, self.code.len()));
        self.raw(&[0; 4])
    }

    pub(crate) fn jmp(self, label: u32) -> Asm {
        self.jump(&[0xe9], label)
    }

    pub(crate) fn jne(self, label: u32) -> Asm {
        self.jump(&[0x0f, 0x85], label)
    }

    pub(crate) fn build(mut self) -> Vec<u8> {
        for (label, at) in self.jumps {
            let to = self.labels.iter().find(|l| l.0 == label).expect("label").1;
            let rel = (to as i64 - (at as i64 + 4)) as i32;
            self.code[at..at + 4].copy_from_slice(&rel.to_le_bytes());
        }
        self.code
    }
}
