//! The signal frames in which the host leaves a stopped thread, and those we make up to start one (sigreturn(2)).
//!
//! A frame lies in memory that guest code can write. All reads are bounds-checked and believed as little as registers
//! are; a mangled frame harms the guest that mangled it.

use hal::{Errno, Regs, errno};

use crate::{
    engine::FrameShape,
    layout::{FRAME_LOWEST, SLOT_LEN, ctl, reg},
    slots::Slot,
};

/// Offsets in `ucontext`.
const UC_FLAGS: usize = 0;
const UC_STACK: usize = 16;
const UC_REGS: usize = 40;
const UC_MASK: usize = 296;
/// Bytes of `ucontext` up to the end of the mask.
const UC_LEN: usize = 304;
/// `siginfo` follows it.
const INFO_CODE: usize = UC_LEN + 8;
const INFO_ARCH: usize = UC_LEN + 28;

/// Indices of the machine context's words.
const GPRS: [(usize, usize); 16] = [
    (reg::R8, 0),
    (reg::R9, 1),
    (reg::R10, 2),
    (reg::R11, 3),
    (reg::R12, 4),
    (reg::R13, 5),
    (reg::R14, 6),
    (reg::R15, 7),
    (reg::RDI, 8),
    (reg::RSI, 9),
    (reg::RBP, 10),
    (reg::RBX, 11),
    (reg::RDX, 12),
    (reg::RAX, 13),
    (reg::RCX, 14),
    (reg::RSP, 15),
];
pub(crate) const RAX: usize = 13;
pub(crate) const RIP: usize = 16;
const EFLAGS: usize = 17;
const SEGMENTS: usize = 18;
const ERROR: usize = 19;
const TRAPNO: usize = 20;
const CR2: usize = 22;
const FPSTATE: usize = 23;

/// Selectors of 64-bit user code and of its stack.
const USER_SEGMENTS: u64 = 0x002b_0000_0000_0033;
/// UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
const FLAGS: u64 = 7;
/// Interrupt flag and the bit that always stands.
const START_FLAGS: u64 = 0x202;

/// `fpstate`: software bytes and XSAVE header.
const FP_MXCSR: usize = 24;
const FP_MXCSR_MASK: usize = 28;
const FP_SW: usize = 464;
const FP_XFEATURES: usize = FP_SW + 8;
const FP_HEADER: usize = 512;
const FP_MAGIC1: u32 = 0x4650_5853;
const FP_MAGIC2: u32 = 0x4650_5845;
/// Bytes of the shortest image.
pub(crate) const FP_LEGACY: usize = 512;

/// A frame in a slot.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    slot: &'a Slot,
    at: usize,
}

impl<'a> Frame<'a> {
    /// The frame that the stub's handler announced; `None` if the address is none that a frame can have.
    pub(crate) fn announced(slot: &'a Slot, slot_addr: u64) -> Option<Frame<'a>> {
        let at = slot.get64(ctl::UCONTEXT).wrapping_sub(slot_addr);
        let inside = at >= FRAME_LOWEST as u64 && at < SLOT_LEN - 1024 && at.is_multiple_of(8);
        inside.then_some(Frame { slot, at: at as usize })
    }

    /// Offset in the slot.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn get(&self, word: usize) -> u64 {
        self.slot.get64(self.at + UC_REGS + word * 8)
    }

    pub(crate) fn set(&self, word: usize, value: u64) {
        self.slot.set64(self.at + UC_REGS + word * 8, value);
    }

    pub(crate) fn trapno(&self) -> u64 {
        self.get(TRAPNO)
    }

    pub(crate) fn error(&self) -> u64 {
        self.get(ERROR)
    }

    pub(crate) fn cr2(&self) -> u64 {
        self.get(CR2)
    }

    /// `si_code`.
    pub(crate) fn code(&self) -> i32 {
        self.slot.get32(self.at + INFO_CODE) as i32
    }

    /// `si_arch` of a SIGSYS.
    pub(crate) fn arch(&self) -> u32 {
        self.slot.get32(self.at + INFO_ARCH)
    }

    /// General registers in the processor's order, instruction pointer and flags.
    pub(crate) fn load(&self) -> Saved {
        let mut gprs = [0; 16];
        GPRS.iter().for_each(|&(r, word)| gprs[r] = self.get(word));
        Saved { gprs, rip: self.get(RIP), rflags: self.get(EFLAGS) }
    }

    /// Replaces them.
    pub(crate) fn store(&self, saved: &Saved) {
        // A frame of guest code's making must not outlive it: the next program of this thread can be kicked, traps, and
        // runs 64-bit code.
        self.slot.set64(self.at + UC_MASK, 0);
        self.set(SEGMENTS, USER_SEGMENTS);
        GPRS.iter().for_each(|&(r, word)| self.set(word, saved.gprs[r]));
        self.set(RIP, saved.rip);
        self.set(EFLAGS, saved.rflags);
    }

    /// Where its floating-point state stands in the slot, if there is one in the expected size.
    pub(crate) fn fpu(&self, slot_addr: u64, shape: &FrameShape) -> Option<usize> {
        let at = self.get(FPSTATE);
        let at =
            at.checked_sub(slot_addr).filter(|&a| a >= FRAME_LOWEST as u64 && a.is_multiple_of(64))? as usize;
        (at.checked_add(shape.fpu_len)? as u64 <= SLOT_LEN).then_some(at)
    }

    /// Bytes of the state at `at` as it describes itself, end magic included.
    pub(crate) fn fpu_len(slot: &Slot, at: usize) -> usize {
        if slot.get32(at + FP_SW) == FP_MAGIC1 {
            // `extended_size` counts the end magic.
            slot.get32(at + FP_SW + 4) as usize
        } else {
            FP_LEGACY
        }
    }

    /// Points to floating-point state at an offset of the slot; `None` resets it on return.
    pub(crate) fn set_fpu(&self, slot_addr: u64, at: Option<usize>) {
        self.set(FPSTATE, at.map_or(0, |a| slot_addr + a as u64));
    }

    /// The state's address as the frame has it.
    pub(crate) fn fpu_addr(&self) -> u64 {
        self.get(FPSTATE)
    }

    /// Makes a frame up in a slot whose frame area holds nothing of value, and announces it.
    pub(crate) fn create(
        slot: &'a Slot,
        slot_addr: u64,
        shape: Option<&FrameShape>,
        saved: &Saved,
    ) -> Frame<'a> {
        let at = shape.map_or(SLOT_LEN as usize - 0x4000, |s| s.ucontext);
        slot.zero(at, UC_LEN);
        slot.set64(at + UC_FLAGS, FLAGS);
        // `uc_stack`: on return the host makes the slot the thread's signal stack.
        slot.set64(at + UC_STACK, slot_addr + FRAME_LOWEST as u64);
        slot.set64(at + UC_STACK + 16, SLOT_LEN - FRAME_LOWEST as u64);
        let frame = Frame { slot, at };
        frame.store(saved);
        slot.set64(ctl::UCONTEXT, slot_addr + at as u64);
        frame
    }
}

/// Registers of a stopped thread without its segment bases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) gprs: [u64; 16],
    pub(crate) rip: u64,
    pub(crate) rflags: u64,
}

impl Saved {
    pub(crate) fn from_regs(r: &Regs) -> Saved {
        let mut gprs = [0; 16];
        gprs[reg::RAX] = r.rax;
        gprs[reg::RBX] = r.rbx;
        gprs[reg::RCX] = r.rcx;
        gprs[reg::RDX] = r.rdx;
        gprs[reg::RSI] = r.rsi;
        gprs[reg::RDI] = r.rdi;
        gprs[reg::RBP] = r.rbp;
        gprs[reg::RSP] = r.rsp;
        gprs[reg::R8] = r.r8;
        gprs[reg::R9] = r.r9;
        gprs[reg::R10] = r.r10;
        gprs[reg::R11] = r.r11;
        gprs[reg::R12] = r.r12;
        gprs[reg::R13] = r.r13;
        gprs[reg::R14] = r.r14;
        gprs[reg::R15] = r.r15;
        Saved { gprs, rip: r.rip, rflags: if r.rflags == 0 { START_FLAGS } else { r.rflags } }
    }

    pub(crate) fn to_regs(self, fs_base: u64, gs_base: u64) -> Regs {
        let g = &self.gprs;
        Regs {
            rax: g[reg::RAX],
            rbx: g[reg::RBX],
            rcx: g[reg::RCX],
            rdx: g[reg::RDX],
            rsi: g[reg::RSI],
            rdi: g[reg::RDI],
            rbp: g[reg::RBP],
            rsp: g[reg::RSP],
            r8: g[reg::R8],
            r9: g[reg::R9],
            r10: g[reg::R10],
            r11: g[reg::R11],
            r12: g[reg::R12],
            r13: g[reg::R13],
            r14: g[reg::R14],
            r15: g[reg::R15],
            rip: self.rip,
            rflags: self.rflags,
            fs_base,
            gs_base,
        }
    }
}

/// Checks an image that shall become a thread's state, and makes it what the host accepts: the host would kill the stub
/// over an invalid one. `own` is a valid image of this host, whose software bytes are taken over. EINVAL if it is not
/// one that the processor could have saved.
pub(crate) fn check_image(image: &[u8], own: &[u8]) -> Result<Vec<u8>, Errno> {
    let word = |b: &[u8], at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
    let long = |b: &[u8], at: usize| u64::from(word(b, at)) | u64::from(word(b, at + 4)) << 32;
    if image.len() < FP_LEGACY || own.len() < FP_LEGACY {
        return Err(errno::EINVAL);
    }
    let mask = match word(own, FP_MXCSR_MASK) {
        0 => 0xffbf,
        m => m,
    };
    if word(image, FP_MXCSR) & !mask != 0 {
        return Err(errno::EINVAL);
    }
    let mut out = own.to_vec();
    let extended = word(own, FP_SW) == FP_MAGIC1 && own.len() >= FP_HEADER + 64 + 4;
    if !extended {
        out[..FP_LEGACY].copy_from_slice(&image[..FP_LEGACY]);
        return Ok(out);
    }
    out[..FP_SW].copy_from_slice(&image[..FP_SW]);
    let features = long(own, FP_XFEATURES);
    let body = own.len() - 4;
    if word(image, FP_SW) == FP_MAGIC1 && image.len() > FP_HEADER + 64 {
        let present = long(image, FP_HEADER);
        let reserved = &image[FP_HEADER + 8..FP_HEADER + 64];
        if present & !features != 0 || reserved.iter().any(|&b| b != 0) {
            return Err(errno::EINVAL);
        }
        // A shorter image may not claim what it does not hold.
        if image.len() < body && present & !3 != 0 {
            return Err(errno::EINVAL);
        }
        let n = body.min(image.len());
        out[FP_HEADER..n].copy_from_slice(&image[FP_HEADER..n]);
    } else {
        // An image without extension: the rest is reset.
        out[FP_HEADER..body].fill(0);
        out[FP_HEADER..FP_HEADER + 8].copy_from_slice(&3u64.to_le_bytes());
    }
    out[body..].copy_from_slice(&FP_MAGIC2.to_le_bytes());
    Ok(out)
}
