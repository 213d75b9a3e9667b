//! The stub's code: position-independent, copied to [`layout::CODE`] of every stub.
//!
//! Three parts. The *handler* takes the host's signals, publishes the thread and waits to be resumed; it uses no stack
//! beyond the host's frame and no vector register. The *patched path* does the same for system-call sites that were
//! rewritten, without a signal. The *service* loop executes the operations of the request page; it lives in registers
//! alone, because every writable byte of the process belongs to the guest.

use core::arch::global_asm;

use super::served;
use crate::{
    errands,
    layout::{
        self, capture, consts, ctl, endless, ends, errand, file, flag, kind, names, queues, reply, request,
        state,
    },
    sys::process,
};

global_asm!(
    r#"
.pushsection .text.umlaut_stub, "ax", @progbits
.p2align 12
.globl umlaut_stub_begin
umlaut_stub_begin:

// Before an instruction that touches guest memory: where the stub goes on if that faults. The table stands behind the code.
.subsection 1
.p2align 2
.Lstub_excuses:
.subsection 0
.macro on_fault to
.Lexcused\@:
    .subsection 1
    .long .Lexcused\@ - umlaut_stub_begin, \to - umlaut_stub_begin
    .subsection 0
.endm

// Signal handler: edi = signal, rsi = siginfo, rdx = ucontext; on the slot's own stack.
.globl umlaut_stub_handler
umlaut_stub_handler:
    mov rbx, rsp
    and rbx, {slot_mask}
    mov rax, [rdx + {uc_rip}]
    lea rcx, [rip + umlaut_stub_begin]
    mov r8, rax
    sub r8, rcx
    cmp r8, {code_len}
    jae 3f
    // Stub code was interrupted: a kick only leaves a mark, unless the thread was about to leave.
    cmp edi, {sigurg}
    je 1f
    // An instruction of the stub that touches guest memory faulted: the table says where that is said.
    lea r9, [rip + .Lstub_excuses]
7:  mov r10d, [r9]
    mov r11d, [r9 + 4]
    add r9, 8
    test r10d, r10d
    jz 3f
    cmp r10d, r8d
    jne 7b
    add rcx, r11
4:  mov [rdx + {uc_rip}], rcx
    jmp 2f
1:  mov dword ptr [rbx + {interrupted}], 1
    // A futex call that was not begun, or would be begun again, ends.
    lea rcx, [rip + 120f]
    cmp rax, rcx
    jb 5f
    lea rcx, [rip + 121f]
    cmp rax, rcx
    ja 5f
    lea rcx, [rip + 122f]
    jmp 4b
5:
    lea rcx, [rip + umlaut_stub_leave]
    lea r8, [rip + umlaut_stub_leave_end]
    cmp rax, rcx
    jb 2f
    cmp rax, r8
    jae 2f
    mov [rdx + {uc_rip}], rcx
2:  mov rsp, rdx
    mov eax, 15
    jmp 50f
3:  mov ebp, edi
    shl ebp, {kind_shift}
    or ebp, {kernel}
    mov [rbx + {ucontext}], rdx
    rdfsbase rax
    mov [rbx + {fs_base}], rax
    rdgsbase rax
    mov [rbx + {gs_base}], rax
    xor r13d, r13d

// Publishes the event in ebp and waits; rbx = slot, r13 = 1 if the registers are in the control page.
16: mov eax, ebp
    xchg [rbx], eax
    test eax, {kernel_sleeps}
    jz 17f
    mov rdi, rbx
    mov esi, 10
    mov edx, 0x7fffffff
    mov r9d, 2
    mov eax, 202
    syscall
17: mov r12d, [rbx + {spin}]
12: mov eax, [rbx]
    test al, {kernel}
    jz 20f
    dec r12d
    js 14f
    pause
    jmp 12b
14: mov eax, [rbx]
    test al, {kernel}
    jz 20f
    mov edx, eax
    bts edx, 31
    jc 15f
    lock cmpxchg [rbx], edx
    jne 14b
15: mov rdi, rbx
    mov esi, 9
    xor r10d, r10d
    mov r9d, 1
    mov eax, 202
    syscall
    jmp 14b

// Resumed.
20: mov r14d, [rbx + {flags}]
    test r14d, r14d
    jnz 30f
21: test r13d, r13d
    jnz umlaut_stub_leave
22: mov rsp, [rbx + {ucontext}]
.globl umlaut_stub_restorer
umlaut_stub_restorer:
    mov eax, 15
50: syscall
.globl umlaut_stub_sigreturn_ip
umlaut_stub_sigreturn_ip:
    ud2

30: test r14d, {f_exit}
    jz 31f
    mov eax, 60
    xor edi, edi
    syscall
.globl umlaut_stub_exit_ip
umlaut_stub_exit_ip:
    ud2
31: test r14d, {f_errands}
    jz 36f
    mov r12d, [rbx + {errand_count}]
    lea r15, [rbx + {errand_list}]
37: dec r12d
    js 36f
    mov eax, [r15 + {e_nr}]
    mov edx, [r15 + {e_third}]
    mov rdi, [r15 + {e_addr}]
    mov rsi, [r15 + {e_len}]
    mov r10d, {e_flags}
    mov r8, -1
    xor r9d, r9d
    syscall
.globl umlaut_stub_errand_ip
umlaut_stub_errand_ip:
    mov rcx, [r15 + {e_expect}]
    add r15, {e_step}
    cmp rcx, {e_any}
    je 37b
    cmp rcx, rax
    je 37b
    mov ebp, {kind_errand_fault}
    jmp 16b
36: test r14d, {f_copy}
    jz 66f
    mov r12d, [rbx + {out_count}]
    lea r15, [rbx + {out_list}]
65: dec r12d
    js 66f
    mov rdi, [r15]
    mov ecx, [r15 + 8]
    mov esi, [r15 + 12]
    add rsi, rbx
    // What another processor wrote is fetched line by line, but all lines at once.
    lea r8, [rsi + rcx]
    mov r9, rsi
67: prefetcht0 [r9]
    add r9, 64
    cmp r9, r8
    jb 67b
    on_fault .Lcopy_fault
    rep movsb
    add r15, {out_step}
    jmp 65b
.Lcopy_fault:
    mov ebp, {kind_copy_fault}
    jmp 16b
66: test r14d, {f_fs}
    jz 32f
    mov rax, [rbx + {fs_base}]
    wrfsbase rax
32: test r14d, {f_cas}
    jz 33f
    mov rdi, [rbx + {cas_addr}]
    mov eax, [rbx + {cas_old}]
    mov edx, [rbx + {cas_new}]
    xor esi, esi
    on_fault .Lcas_fault
    lock cmpxchg [rdi], edx
    jmp 62f
.Lcas_fault:
    mov esi, 1
62: mov [rbx + {cas_old}], eax
    mov [rbx + {cas_fault}], esi
    mov ebp, {kind_cas}
    jmp 16b
33: test r14d, {f_call}
    jz 35f
// A futex call that the kernel process orders, made outside the handler, so that a kick ends it; rbx = slot.
.globl umlaut_stub_call
umlaut_stub_call:
    mov r13d, 1
    mov rax, [rbx + {call}]
    mov rdi, [rbx + {call} + 8]
    mov rsi, [rbx + {call} + 16]
    mov rdx, [rbx + {call} + 24]
    mov r10, [rbx + {call} + 32]
    mov r8, [rbx + {call} + 40]
    mov r9, [rbx + {call} + 48]
120: cmp dword ptr [rbx + {interrupted}], 0
    jne 122f
121: syscall
.globl umlaut_stub_call_ip
umlaut_stub_call_ip:
    jmp 123f
122: mov rax, {eintr}
123: mov [rbx + {call_result}], rax
    mov ebp, {kind_called}
    jmp 16b
35: test r14d, {f_frame}
    jz 34f
.globl umlaut_stub_trap
umlaut_stub_trap:
    mov eax, -1
    syscall
.globl umlaut_stub_trap_ip
umlaut_stub_trap_ip:
    ud2
34: test r14d, {f_gs}
    jz 21b
    mov rax, [rbx + {gs_base}]
    wrgsbase rax
    jmp 21b

// Patched sites come here: eax = number, rcx = return address, all else as the guest had it.
.globl umlaut_stub_entry
umlaut_stub_entry:
    mov gs:[{regs} + 0x20], rsp
    mov rsp, gs:[{stack}]
    pushfq
    pop r11
    mov gs:[{regs} + 0x00], rax
    mov gs:[{regs} + 0x08], rcx
    mov gs:[{regs} + 0x10], rdx
    mov gs:[{regs} + 0x18], rbx
    mov gs:[{regs} + 0x28], rbp
    mov gs:[{regs} + 0x30], rsi
    mov gs:[{regs} + 0x38], rdi
    mov gs:[{regs} + 0x40], r8
    mov gs:[{regs} + 0x48], r9
    mov gs:[{regs} + 0x50], r10
    mov gs:[{regs} + 0x58], r11
    mov gs:[{regs} + 0x60], r12
    mov gs:[{regs} + 0x68], r13
    mov gs:[{regs} + 0x70], r14
    mov gs:[{regs} + 0x78], r15
    cld
    rdgsbase rbx
    rdfsbase rax
    mov [rbx + {fs_base}], rax
    mov ebp, {kind_patched}
    mov r13d, 1
    // Calls that the stub may answer, if the kernel process lent it what they are about.
    mov eax, gs:[{regs} + 0x00]
    cmp eax, {served_len}
    jae .Lcapture
    movabs rcx, {served}
    movzx ecx, byte ptr [rcx + rax]
    mov eax, [rbx + {lent}]
    bt eax, ecx
    jnc .Lcapture
    lea rax, [rip + .Lhandlers]
    movsxd rcx, dword ptr [rax + rcx * 4]
    add rax, rcx
    jmp rax
    // A handler leaves the call to the kernel process; rbx, rbp and r13 as they were.
.Lrefuse:
    mov rdi, gs:[{regs} + 0x38]
    mov rsi, gs:[{regs} + 0x30]
    mov rdx, gs:[{regs} + 0x10]
    mov r10, gs:[{regs} + 0x50]
.Lcapture:
    // What the call's arguments point to, if the table says so: r10 = its address, r9 = the buffer, r8 = bytes.
    mov eax, gs:[{regs} + 0x00]
    xor r8d, r8d
    cmp eax, {captures_len}
    jae 49f
    movabs rcx, {captures}
    movzx ecx, byte ptr [rcx + rax]
    test ecx, ecx
    jz 49f
    lea r9, [rbx + {cap}]
    cmp ecx, {str_rsi}
    ja 44f
    je 42f
    mov rsi, rdi
42: mov r10, rsi
    cmp rsi, 0x1000
    jb 49f
43:
    on_fault .Lno_capture
    mov al, [rsi]
    mov [r9 + r8], al
    inc rsi
    inc r8d
    test al, al
    jz 49f
    cmp r8d, {str_max}
    jb 43b
    jmp .Lno_capture
44: cmp ecx, {rsi_rdx}
    je 45f
    cmp ecx, {rsi_rdx16}
    je 51f
    cmp ecx, {rdi_rsi8}
    je 52f
    cmp ecx, {rdi_16}
    je 53f
    cmp ecx, {rsi_8}
    je 54f
    cmp ecx, {rsi_32}
    je 55f
    cmp ecx, {rdx_16}
    je 56f
    mov rsi, r10
    mov edx, 12
    jmp 45f
51: cmp rdx, {cap_16}
    ja 49f
    shl edx, 4
    jmp 45f
52: cmp rsi, {cap_8}
    ja 49f
    mov edx, esi
    shl edx, 3
    mov rsi, rdi
    jmp 45f
53: mov rsi, rdi
    mov edx, 16
    jmp 45f
54: mov edx, 8
    jmp 45f
55: mov edx, 32
    jmp 45f
56: mov rsi, rdx
    mov edx, 16
45: cmp rdx, {cap_len_max}
    ja 49f
    cmp rsi, 0x1000
    jb 49f
    mov r10, rsi
    mov rdi, r9
    mov r8d, edx
    mov ecx, edx
    on_fault .Lno_capture
    rep movsb
    jmp 49f
.Lno_capture:
    xor r8d, r8d
49: mov [rbx + {cap_addr}], r10
    mov [rbx + {cap_len}], r8d
    jmp 16b
    // A handler has answered: rax = result.
.Lserved:
    mov gs:[{regs} + 0x00], rax
.globl umlaut_stub_leave
umlaut_stub_leave:
    mov rsp, gs:[{stack}]
    cmp dword ptr gs:[{interrupted}], 0
    je 40f
    mov dword ptr gs:[{interrupted}], 0
    rdgsbase rbx
    mov ebp, {kind_patched_kick}
    mov r13d, 1
    jmp 16b
40: mov rdx, gs:[{regs} + 0x10]
    mov rbx, gs:[{regs} + 0x18]
    mov rbp, gs:[{regs} + 0x28]
    mov rsi, gs:[{regs} + 0x30]
    mov rdi, gs:[{regs} + 0x38]
    mov r8, gs:[{regs} + 0x40]
    mov r9, gs:[{regs} + 0x48]
    mov r10, gs:[{regs} + 0x50]
    mov r12, gs:[{regs} + 0x60]
    mov r13, gs:[{regs} + 0x68]
    mov r14, gs:[{regs} + 0x70]
    mov r15, gs:[{regs} + 0x78]
    mov r11, gs:[{regs} + 0x58]
    push r11
    popfq
    mov rcx, gs:[{regs} + 0x08]
    mov rax, gs:[{regs} + 0x00]
    mov rsp, gs:[{regs} + 0x20]
    jmp qword ptr gs:[{regs} + 0x08]
umlaut_stub_leave_end:
"#,
    served::checks!(),
    served::thread!(),
    served::signals!(),
    served::endless!(),
    served::ends!(),
    served::files!(),
    served::names!(),
    served::queues!(),
    r#"
// From here on is the service thread's: guest threads make no call at any instruction of this part.
.globl umlaut_stub_service
umlaut_stub_service:
// A guest thread begins: rsp in its slot, everything else from registers, all signals blocked. It locks itself down
// before anything that the guest could have written is looked at. r9 = its filter, from the request, or 0: the host keeps
// it from the calls of this part without one.
70: test r9, r9
    jz 71f
    mov eax, 317
    mov edi, 1
    mov esi, 4
    mov rdx, r9
    syscall
    jmp 72f
71: mov eax, 157
    mov edi, {dispatch}
    mov esi, {dispatch_inside}
    lea rdx, [rip + umlaut_stub_service]
    lea r10, [rip + umlaut_stub_service_end]
    sub r10, rdx
    xor r8d, r8d
    syscall
72: test rax, rax
    jnz 99f
    mov rbx, rsp
    and rbx, {slot_mask}
    wrgsbase rbx
    xor r13d, r13d
    jmp 17b

// The first stub begins: three ranges to unmap in rdi/rsi, r12/r13, r14/r15; r8 = offset of its own pages.
.globl umlaut_stub_zygote
umlaut_stub_zygote:
    mov rbp, r8
    mov eax, 11
    syscall
    mov rdi, r12
    mov rsi, r13
    mov eax, 11
    syscall
    mov rdi, r14
    mov rsi, r15
    mov eax, 11
    syscall
    mov r8, rbp
    xor r9d, r9d
    xor esp, esp
    movabs rbx, {request}
    movabs rbp, {reply}

// A stub begins as a copy of another: r8, r9 = offsets of its own pages and of its first slot in the control memory
// (no slot if 0). It takes leave of the other's pages before it does anything else.
80: mov r14, r8
    mov r15, r9
    movabs rax, {consts}
    mov r8, [rax + {c_ro_fd}]
    mov r9, r14
    mov rdi, rbx
    mov esi, 0x1000
    mov edx, 1
    mov r10d, 0x11
    mov eax, 9
    syscall
    cmp rax, rbx
    jne 99f
    movabs rax, {consts}
    mov r8, [rax + {c_fd}]
    lea r9, [r14 + 0x1000]
    mov rdi, rbp
    mov edx, 3
    mov eax, 9
    syscall
    cmp rax, rbp
    jne 99f
    movabs rdi, {slots}
    mov esi, {slot_len}
    test r15, r15
    jz 81f
    mov r9, r15
    mov eax, 9
    syscall
    cmp rax, rdi
    jne 99f
    add rdi, rsi
81: movabs rsi, {slots_rest}
    mov eax, 11
    syscall
    test rax, rax
    jnz 99f
    mov eax, 157
    mov edi, 1
    mov esi, 9
    syscall
    mov eax, 110
    syscall
    movabs rcx, {consts}
    cmp eax, [rcx + {c_owner}]
    jne 99f
    mov eax, 39
    syscall
    mov [rbp + {r_pid}], eax
    xor r12d, r12d

// The service loop: rbx = request page, rbp = reply page, r12 = last sequence number.
90: mov r15d, [rbx + {q_spin}]
91: mov eax, [rbx + {q_seq}]
    cmp eax, r12d
    jne 93f
    dec r15d
    js 92f
    pause
    jmp 91b
92: mov rdi, rbx
    xor esi, esi
    mov edx, r12d
    xor r10d, r10d
    mov eax, 202
    syscall
    jmp 90b
93: mov r12d, eax
    mov r13d, [rbx + {q_count}]
    lea r14, [rbx + {q_ops}]
    lea r15, [rbp + {r_results}]
94: test r13d, r13d
    jz 96f
    mov eax, [r14]
    mov rdi, [r14 + 8]
    mov rsi, [r14 + 16]
    mov rdx, [r14 + 24]
    mov r10, [r14 + 32]
    mov r8, [r14 + 40]
    mov r9, [r14 + 48]
    // Who comes back from a clone knows it by registers alone: the page may hold the next batch by then.
    mov esp, eax
    syscall
.globl umlaut_stub_operation_ip
umlaut_stub_operation_ip:
    cmp rsp, 0x10000
    ja 70b
    cmp esp, 56
    jne 95f
    test rax, rax
    jz 80b
95: mov [r15], rax
    test dword ptr [r14 + 4], {q_any}
    jnz 97f
    cmp rax, [r14 + {q_expect}]
    jne 96f
97: add r14, 64
    add r15, 8
    dec r13d
    jmp 94b
96: sub r14, rbx
    mov [rbp + {r_done}], r14
    // Whom to let go on is read before the fence: afterwards the page may hold the next batch. Nobody goes on after a
    // failure.
    mov r15, [rbx + {q_chain}]
    test r15, r15
    jz 104f
    test r13d, r13d
    jnz 99f
104:
    // The fence: which of four words gets the sequence number says how the batch ended. Registers and the request page
    // are all that goes into it.
    mov r10, rax
    shr r10, 63
    cmp r13d, 1
    sbb ecx, ecx
    inc ecx
    lea r10, [r10 + rcx * 2]
    shl r10, 3
    add r10, [rbx + {q_fence}]
    movabs rax, {consts}
    mov rdi, [rax + {c_fd}]
    mov rsi, rbx
    mov edx, 4
    mov eax, 18
    syscall
    mov eax, r12d
    xchg [rbp], eax
    test eax, eax
    jns 102f
    mov rdi, rbp
    mov esi, 1
    mov edx, 0x7fffffff
    mov eax, 202
    syscall
102:
    test r15, r15
    jz 90b
    mov eax, [r15]
103:
    mov edx, eax
    and edx, {kernel_bits}
    lock cmpxchg [r15], edx
    jne 103b
    test eax, eax
    jns 90b
    mov rdi, r15
    mov esi, 10
    mov edx, 0x7fffffff
    mov r9d, 1
    mov eax, 202
    syscall
    jmp 90b

99: mov eax, 231
    mov edi, 127
    syscall
    ud2
.globl umlaut_stub_service_end
umlaut_stub_service_end:

// The handlers, by their numbers in `layout::served`.
.p2align 2
.Lhandlers:
    .long .Lrefuse - .Lhandlers
    .long .Larch_prctl - .Lhandlers
    .long .Lread_any - .Lhandlers
    .long .Lpread64 - .Lhandlers
    .long .Llseek_told - .Lhandlers
    .long .Lfstat - .Lhandlers
    .long .Lnewfstatat - .Lhandlers
    .long .Lclose - .Lhandlers
    .long .Lfadvise64 - .Lhandlers
    .long .Lioctl - .Lhandlers
    .long .Lstat - .Lhandlers
    .long .Llstat - .Lhandlers
    .long .Lsigprocmask - .Lhandlers
    .long .Lset_robust_list - .Lhandlers
    .long .Lsigaction - .Lhandlers
    .long .Lset_tid_address - .Lhandlers
    .long .Lrseq - .Lhandlers
    .long .Lwrite - .Lhandlers
    .long .Lfcntl - .Lhandlers
    .long .Lgetdents64 - .Lhandlers
    .long .Lrecvfrom - .Lhandlers
// Behind the table.
.subsection 2
    .long 0
.globl umlaut_stub_end
umlaut_stub_end:
.popsection
"#,
    slot_mask = const -(layout::SLOT_LEN as i64),
    slot_len = const layout::SLOT_LEN,
    slots = const layout::SLOTS,
    dispatch = const process::SYSCALL_DISPATCH,
    dispatch_inside = const process::DISPATCH_INSIDE,
    slots_rest = const layout::SLOTS_MAX * layout::SLOT_LEN,
    code_len = const layout::CODE_LEN,
    uc_rip = const 168,
    sigurg = const 23,
    interrupted = const ctl::INTERRUPTED,
    kind_shift = const state::KIND_SHIFT,
    kernel = const state::KERNEL,
    kernel_sleeps = const state::KERNEL_SLEEPS,
    kernel_bits = const state::KERNEL_SLEEPS | state::POKE,
    ucontext = const ctl::UCONTEXT,
    fs_base = const ctl::FS_BASE,
    gs_base = const ctl::GS_BASE,
    spin = const ctl::SPIN,
    flags = const ctl::FLAGS,
    stack = const ctl::STACK,
    regs = const ctl::REGS,
    cas_addr = const ctl::CAS_ADDR,
    cas_old = const ctl::CAS_OLD,
    cas_new = const ctl::CAS_NEW,
    cas_fault = const ctl::CAS_FAULT,
    kind_cas = const kind::CAS << state::KIND_SHIFT | state::KERNEL,
    kind_patched = const kind::PATCHED << state::KIND_SHIFT | state::KERNEL,
    kind_patched_kick = const kind::PATCHED_KICK << state::KIND_SHIFT | state::KERNEL,
    kind_copy_fault = const kind::COPY_FAULT << state::KIND_SHIFT | state::KERNEL,
    f_copy = const flag::COPY,
    f_errands = const flag::ERRANDS,
    errand_count = const ctl::ERRAND_COUNT,
    errand_list = const ctl::ERRANDS,
    e_nr = const errand::NR,
    e_third = const errand::THIRD,
    e_addr = const errand::ADDR,
    e_len = const errand::LEN,
    e_expect = const errand::EXPECT,
    e_step = const errand::STEP,
    e_any = const errand::ANY,
    e_flags = const errands::MAP_FLAGS,
    kind_errand_fault = const kind::ERRAND_FAULT << state::KIND_SHIFT | state::KERNEL,
    out_count = const ctl::OUT_COUNT,
    out_list = const ctl::OUT_LIST,
    out_step = const ctl::OUT_STEP,
    served = const layout::CONSTS + consts::SERVED as u64,
    served_len = const consts::SERVED_LEN,
    lent = const ctl::LENT,
    handlers = const ctl::HANDLERS,
    restorers = const ctl::RESTORERS,
    masks = const ctl::MASKS,
    action_flags = const ctl::ACTION_FLAGS,
    known_flags = const hal::ACTION_FLAGS as i32,
    sigkill = const libc::SIGKILL,
    sigstop = const libc::SIGSTOP,
    blocked = const ctl::BLOCKED,
    pending = const ctl::PENDING,
    blockable = const !(1u64 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1)) as i64,
    set_fs = const served::ARCH_SET_FS,
    robust = const ctl::ROBUST,
    clear_tid = const ctl::CLEAR_TID,
    fast_tid = const ctl::FAST + 4,
    enosys = const -libc::ENOSYS,
    robust_len = const served::ROBUST_HEAD_LEN,
    get_fs = const served::ARCH_GET_FS,
    guest_last = const layout::REGION - 64,
    epoch = const layout::CONSTS + consts::EPOCH as u64,
    file_epoch = const file::EPOCH,
    file_since = const file::SINCE,
    file_time = const file::TIME,
    file_fd = const file::FD,
    file_closed = const file::CLOSED,
    file_pos = const file::POS,
    file_from = const file::FROM,
    file_len = const file::LEN,
    file_at = const file::AT,
    file_ends = const file::ENDS,
    file_reads = const file::READS,
    file_bytes = const file::BYTES,
    file_stat = const file::STAT,
    endless_epoch = const endless::EPOCH,
    endless_null = const endless::NULL,
    endless_zero = const endless::ZERO,
    endless_reads = const endless::READS,
    endless_writes = const endless::WRITES,
    endless_read = const endless::READ,
    endless_written = const endless::WRITTEN,
    endless_read_max = const endless::READ_MAX,
    file_flags = const file::FLAGS,
    file_fd_flags = const file::FD_FLAGS,
    file_free = const file::FREE,
    file_duplicated = const file::DUPLICATED,
    file_listed = const file::LISTED,
    is_directory = const 1 << layout::served::GETDENTS64,
    getfd = const libc::F_GETFD,
    setfd = const libc::F_SETFD,
    getfl = const libc::F_GETFL,
    dupfd_cloexec = const libc::F_DUPFD_CLOEXEC,
    fd_cloexec = const libc::FD_CLOEXEC,
    names_epoch = const names::EPOCH,
    names_since = const names::SINCE,
    names_dirfd = const names::DIRFD,
    names_flags = const names::FLAGS,
    names_left = const names::LEFT,
    names_next = const names::NEXT,
    names_used = const names::USED,
    names_prefix_len = const names::PREFIX_LEN,
    names_prefix = const names::PREFIX,
    names_stat = const names::STAT,
    names_name = const names::NAME,
    names_most = const names::MOST,
    ends = const ends::START,
    ends_told = const ctl::ENDS,
    ends_mask = const ends::PLACES - 1,
    ends_shift = const ends::STEP_SHIFT,
    end_fd = const ends::FD,
    end_count = const ends::COUNT,
    end_value = const ends::VALUE,
    end_size = const ends::SIZE,
    seek_end = const libc::SEEK_END,
    counts = const layout::CONSTS + consts::COUNTS as u64,
    counts_len = const hal::COUNTS,
    queues = const queues::START,
    queues_len = const hal::QUEUES,
    queues_step = const queues::STEP,
    queue_fd = const queues::FD,
    queue_state = const queues::STATE,
    queue_count = const queues::COUNT,
    queue_len = const queues::LEN,
    queue_value = const queues::VALUE,
    queue_bytes = const queues::BYTES,
    queue_most = const queues::MOST,
    queue_given = const queues::GIVEN,
    queue_taken = const queues::TAKEN,
    queue_empty = const queues::EMPTY,
    eagain = const -libc::EAGAIN,
    nofollow = const libc::AT_SYMLINK_NOFOLLOW,
    fdcwd = const libc::AT_FDCWD,
    stat_len = const abi::Stat::SIZE,
    stat_size = const 48,
    read_max = const 0x7fff_f000,
    empty_path = const libc::AT_EMPTY_PATH,
    fadvise_last = const libc::POSIX_FADV_NOREUSE,
    tcgets = const libc::TCGETS,
    enotty = const -libc::ENOTTY,
    captures = const layout::CONSTS + consts::CAPTURES as u64,
    captures_len = const consts::CAPTURES_LEN,
    cap = const ctl::BUFFER,
    cap_addr = const ctl::CAP_ADDR,
    cap_len = const ctl::CAP_LEN,
    cap_len_max = const ctl::CAP_LEN_MAX,
    cap_16 = const ctl::CAP_LEN_MAX / 16,
    cap_8 = const ctl::CAP_LEN_MAX / 8,
    str_max = const capture::STR_MAX,
    str_rsi = const capture::STR_RSI,
    rsi_rdx = const capture::RSI_RDX,
    rsi_rdx16 = const capture::RSI_RDX16,
    rdi_rsi8 = const capture::RDI_RSI8,
    rdi_16 = const capture::RDI_16,
    rsi_8 = const capture::RSI_8,
    rsi_32 = const capture::RSI_32,
    rdx_16 = const capture::RDX_16,
    f_exit = const flag::EXIT,
    f_fs = const flag::FS,
    f_gs = const flag::GS,
    f_cas = const flag::CAS,
    f_call = const flag::CALL,
    call = const ctl::CALL,
    call_result = const ctl::CALL_RESULT,
    kind_called = const kind::CALLED << state::KIND_SHIFT | state::KERNEL,
    eintr = const -libc::EINTR,
    f_frame = const flag::FRAME,
    consts = const layout::CONSTS,
    c_fd = const consts::CTL_FD,
    c_ro_fd = const consts::CTL_RO_FD,
    c_owner = const consts::OWNER,
    request = const layout::REQUEST,
    reply = const layout::REPLY,
    q_seq = const request::SEQ,
    q_spin = const request::SPIN,
    q_count = const request::COUNT,
    q_chain = const request::CHAIN,
    q_fence = const request::FENCE,
    q_ops = const request::OPS,
    q_any = const request::ANY,
    q_expect = const request::OP_EXPECT,
    r_done = const reply::DONE,
    r_pid = const reply::PID,
    r_results = const reply::RESULTS,
);

// Labels of the code above. Never called here: only their distance from the beginning is used.
unsafe extern "C" {
    fn umlaut_stub_begin();
    fn umlaut_stub_end();
    fn umlaut_stub_handler();
    fn umlaut_stub_restorer();
    fn umlaut_stub_sigreturn_ip();
    fn umlaut_stub_exit_ip();
    fn umlaut_stub_errand_ip();
    fn umlaut_stub_call();
    fn umlaut_stub_call_ip();
    fn umlaut_stub_trap();
    fn umlaut_stub_trap_ip();
    fn umlaut_stub_entry();
    fn umlaut_stub_service();
    fn umlaut_stub_service_end();
    fn umlaut_stub_operation_ip();
    fn umlaut_stub_zygote();
}

/// Address in the stub of a label of the code above.
fn placed(label: unsafe extern "C" fn()) -> u64 {
    let begin: unsafe extern "C" fn() = umlaut_stub_begin;
    layout::CODE + (label as usize as u64 - begin as usize as u64)
}

/// The code's bytes.
pub(crate) fn bytes() -> &'static [u8] {
    let (begin, end): (unsafe extern "C" fn(), unsafe extern "C" fn()) = (umlaut_stub_begin, umlaut_stub_end);
    let (begin, end) = (begin as usize, end as usize);
    // SAFETY: both labels stand in one section of this image, which is mapped readable for the life of the process.
    unsafe { core::slice::from_raw_parts(begin as *const u8, end - begin) }
}

pub(crate) fn handler() -> u64 {
    placed(umlaut_stub_handler)
}

pub(crate) fn restorer() -> u64 {
    placed(umlaut_stub_restorer)
}

/// Instruction pointer that a filter sees at the stub's own `rt_sigreturn`.
pub(crate) fn sigreturn_ip() -> u64 {
    placed(umlaut_stub_sigreturn_ip)
}

/// The same of the stub's own `exit`.
pub(crate) fn exit_ip() -> u64 {
    placed(umlaut_stub_exit_ip)
}

/// The same of the stub's errands.
pub(crate) fn errand_ip() -> u64 {
    placed(umlaut_stub_errand_ip)
}

/// Where a futex call is made that the kernel process orders.
pub(crate) fn call() -> u64 {
    placed(umlaut_stub_call)
}

/// Instruction pointer that a filter sees there.
pub(crate) fn call_ip() -> u64 {
    placed(umlaut_stub_call_ip)
}

/// Code that traps.
pub(crate) fn trap() -> u64 {
    placed(umlaut_stub_trap)
}

/// Instruction pointer after the instruction that traps.
pub(crate) fn trap_ip() -> u64 {
    placed(umlaut_stub_trap_ip)
}

/// Where patched sites enter.
pub(crate) fn entry() -> u64 {
    placed(umlaut_stub_entry)
}

/// The part that is the service thread's: its first address and the one behind.
pub(crate) fn service() -> (u64, u64) {
    (placed(umlaut_stub_service), placed(umlaut_stub_service_end))
}

/// Instruction pointer that a filter sees where the service thread makes the calls that it is asked for.
pub(crate) fn operation_ip() -> u64 {
    placed(umlaut_stub_operation_ip)
}

pub(crate) fn zygote() -> u64 {
    placed(umlaut_stub_zygote)
}
