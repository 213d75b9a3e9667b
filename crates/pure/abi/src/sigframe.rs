//! The frame a signal handler finds on its stack: `struct rt_sigframe` of x86-64 with its floating point state
//! (sigreturn(2)).
//!
//! From low to high addresses: the frame (return address, [`UContext`], [`SigInfo`]), then the floating point state,
//! then the red zone of the interrupted code.

use crate::signal::{SigInfo, SigSet, SigStack};
use crate::wire::{get_array, get_u16, get_u64, put_slice, put_u16, put_u64, wire_struct};

/// Offset of the return address, which holds the restorer.
pub const FRAME_PRETCODE: usize = 0;
/// Offset of the `ucontext` in the frame.
pub const FRAME_UC: usize = 8;
/// Offset of the siginfo in the frame.
pub const FRAME_INFO: usize = FRAME_UC + UContext::SIZE;
/// Size of the frame, in bytes.
pub const FRAME_SIZE: usize = FRAME_INFO + SigInfo::SIZE;

/// Offset of `uc_flags` in the ucontext.
pub const UC_FLAGS: usize = 0;
/// Offset of `uc_link` in the ucontext.
pub const UC_LINK: usize = 8;
/// Offset of `uc_stack` in the ucontext.
pub const UC_STACK: usize = 16;
/// Offset of `uc_mcontext` in the ucontext.
pub const UC_MCONTEXT: usize = 40;
/// Offset of `uc_sigmask` in the ucontext.
pub const UC_SIGMASK: usize = UC_MCONTEXT + SigContext::SIZE;

/// `uc_flags`: the floating point state is in xsave format.
pub const UC_FP_XSTATE: u64 = 1;
/// `uc_flags`: the saved `ss` is meaningful.
pub const UC_SIGCONTEXT_SS: u64 = 2;
/// `uc_flags`: sigreturn restores `ss` even if it is bad.
pub const UC_STRICT_RESTORE_SS: u64 = 4;

/// Bytes below the stack pointer that belong to the interrupted function.
pub const RED_ZONE: u64 = 128;
/// Size of the legacy fxsave image, in bytes.
pub const FXSAVE_SIZE: usize = 512;
/// Offset of [`FpxSwBytes`] in the fxsave image.
pub const FP_SW_OFFSET: usize = 464;
/// Offset of the xsave header, which follows the fxsave image.
pub const XSAVE_HEADER: usize = 512;
/// Size of the xsave header, in bytes.
pub const XSAVE_HEADER_SIZE: usize = 64;
/// First magic number, in [`FpxSwBytes`].
pub const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// Second magic number, in the 4 bytes after the xsave image.
pub const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Size of the second magic number, in bytes.
pub const FP_XSTATE_MAGIC2_SIZE: usize = 4;

// x86 trap numbers for `trapno`.
/// Divide error.
pub const TRAP_DE: u64 = 0;
/// Debug.
pub const TRAP_DB: u64 = 1;
/// Breakpoint.
pub const TRAP_BP: u64 = 3;
/// Invalid opcode.
pub const TRAP_UD: u64 = 6;
/// General protection.
pub const TRAP_GP: u64 = 13;
/// Page fault.
pub const TRAP_PF: u64 = 14;
/// x87 floating point error.
pub const TRAP_MF: u64 = 16;
/// Alignment check.
pub const TRAP_AC: u64 = 17;
/// SIMD floating point error.
pub const TRAP_XF: u64 = 19;

/// Page fault error code: the page was present and the access not allowed.
pub const PF_PROT: u64 = 1;
/// Page fault error code: a write.
pub const PF_WRITE: u64 = 2;
/// Page fault error code: from user mode.
pub const PF_USER: u64 = 4;
/// Page fault error code: an instruction fetch.
pub const PF_INSTR: u64 = 16;

/// Selector of the 64-bit user code segment.
pub const USER_CS: u16 = 0x33;
/// Selector of the user data segment.
pub const USER_SS: u16 = 0x2b;
/// Bits of `rflags` which sigreturn takes from the frame: AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF.
pub const FIX_EFLAGS: u64 = 0x0005_0dd5;

wire_struct! {
    /// Software-reserved bytes of the fxsave image which describe the xsave state behind it.
    FpxSwBytes [48] {
        /// [`FP_XSTATE_MAGIC1`].
        magic1: u32 @ 0,
        /// Bytes of the whole state, [`FP_XSTATE_MAGIC2`] included.
        extended_size: u32 @ 4,
        /// State components saved.
        xfeatures: u64 @ 8,
        /// Bytes of the xsave image.
        xstate_size: u32 @ 16,
    }
}

macro_rules! sigcontext {
    ($($(#[$meta:meta])* $reg:ident @ $at:literal,)*) => {
        /// Registers of the interrupted code: `struct sigcontext`, the `uc_mcontext`.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct SigContext {
            $($(#[$meta])* pub $reg: u64,)*
            /// Code segment.
            pub cs: u16,
            /// `gs` selector.
            pub gs: u16,
            /// `fs` selector.
            pub fs: u16,
            /// Stack segment, meaningful with [`UC_SIGCONTEXT_SS`].
            pub ss: u16,
        }

        impl SigContext {
            /// Size in guest memory, in bytes.
            pub const SIZE: usize = 256;

            /// The registers as the guest sees them.
            pub fn encode(&self) -> [u8; 256] {
                let mut out = [0; 256];
                $(put_u64(&mut out, $at, self.$reg);)*
                put_u16(&mut out, 144, self.cs);
                put_u16(&mut out, 146, self.gs);
                put_u16(&mut out, 148, self.fs);
                put_u16(&mut out, 150, self.ss);
                out
            }

            /// Reads the registers out of guest bytes.
            pub fn decode(bytes: &[u8; 256]) -> SigContext {
                SigContext {
                    $($reg: get_u64(bytes, $at),)*
                    cs: get_u16(bytes, 144),
                    gs: get_u16(bytes, 146),
                    fs: get_u16(bytes, 148),
                    ss: get_u16(bytes, 150),
                }
            }
        }
    };
}

sigcontext! {
    /// General register.
    r8 @ 0,
    /// General register.
    r9 @ 8,
    /// General register.
    r10 @ 16,
    /// General register.
    r11 @ 24,
    /// General register.
    r12 @ 32,
    /// General register.
    r13 @ 40,
    /// General register.
    r14 @ 48,
    /// General register.
    r15 @ 56,
    /// General register.
    rdi @ 64,
    /// General register.
    rsi @ 72,
    /// General register.
    rbp @ 80,
    /// General register.
    rbx @ 88,
    /// General register.
    rdx @ 96,
    /// General register.
    rax @ 104,
    /// General register.
    rcx @ 112,
    /// Stack pointer.
    rsp @ 120,
    /// Instruction pointer.
    rip @ 128,
    /// Flags.
    eflags @ 136,
    /// Error code of the last fault.
    err @ 152,
    /// Number of the last fault, `TRAP_*`.
    trapno @ 160,
    /// The low word of the blocked signals.
    oldmask @ 168,
    /// Address of the last page fault.
    cr2 @ 176,
    /// Guest address of the floating point state, 0 for none.
    fpstate @ 184,
}

/// The `ucontext` of a frame, in the kernel's layout (its signal mask is 8 bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UContext {
    /// `UC_*` bits.
    pub flags: u64,
    /// Always 0.
    pub link: u64,
    /// The alternate stack at the time of delivery.
    pub stack: SigStack,
    /// Registers.
    pub mcontext: SigContext,
    /// Signals that were blocked.
    pub sigmask: SigSet,
}

impl UContext {
    /// Size in guest memory, in bytes.
    pub const SIZE: usize = 304;

    /// The context as the guest sees it.
    pub fn encode(&self) -> [u8; 304] {
        let mut out = [0; 304];
        put_u64(&mut out, UC_FLAGS, self.flags);
        put_u64(&mut out, UC_LINK, self.link);
        put_slice(&mut out, UC_STACK, &self.stack.encode());
        put_slice(&mut out, UC_MCONTEXT, &self.mcontext.encode());
        put_u64(&mut out, UC_SIGMASK, self.sigmask.0);
        out
    }

    /// Reads the context out of guest bytes.
    pub fn decode(bytes: &[u8; 304]) -> UContext {
        UContext {
            flags: get_u64(bytes, UC_FLAGS),
            link: get_u64(bytes, UC_LINK),
            stack: SigStack::decode(&get_array(bytes, UC_STACK)),
            mcontext: SigContext::decode(&get_array(bytes, UC_MCONTEXT)),
            sigmask: SigSet(get_u64(bytes, UC_SIGMASK)),
        }
    }
}

/// The whole frame as the guest sees it, without the floating point state.
pub fn encode_frame(restorer: u64, uc: &UContext, info: &SigInfo) -> [u8; FRAME_SIZE] {
    let mut out = [0; FRAME_SIZE];
    put_u64(&mut out, FRAME_PRETCODE, restorer);
    put_slice(&mut out, FRAME_UC, &uc.encode());
    put_slice(&mut out, FRAME_INFO, &info.encode());
    out
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Address of the frame, the handler's stack pointer: 8 below a multiple of 16, as after a `call`.
    pub frame: u64,
    /// Address of the floating point state, a multiple of 64.
    pub fpstate: u64,
}

/// Places a frame and `fp_size` bytes of floating point state below `top`; `None` if that wraps below 0.
///
/// `top` is the end of the alternate stack, or the interrupted stack pointer less [`RED_ZONE`].
pub fn place(top: u64, fp_size: u64) -> Option<Placement> {
    let fpstate = top.checked_sub(fp_size)? & !63;
    let frame = (fpstate.checked_sub(FRAME_SIZE as u64)? & !15).checked_sub(8)?;
    Some(Placement { frame, fpstate })
}
