//! Calls about signals.

/// rt_sigprocmask(2) and rt_sigaction(2). Mask and actions are in the slot; who sends a signal first says that one is pending,
/// then looks at the mask. A new action has no such race: what is sent at the same time may find the old one.
macro_rules! signals {
    () => {
        r#"
.Lsigprocmask:
    cmp r10, 8
    jne .Lrefuse
    mov r8, [rbx + {blocked}]
    movabs r11, {guest_last}
    test rsi, rsi
    jz 4f
    cmp dword ptr [rbx + {pending}], 0
    jne .Lrefuse
    cmp rsi, r11
    ja .Lrefuse
    on_fault .Lrefuse
    mov rcx, [rsi]
    mov r9, r8
    cmp edi, 1
    jb 1f
    je 2f
    cmp edi, 2
    jne .Lrefuse
    mov r9, rcx
    jmp 3f
1:  or r9, rcx
    jmp 3f
2:  not rcx
    and r9, rcx
3:  and r9, {blockable}
    xchg [rbx + {blocked}], r9
    cmp dword ptr [rbx + {pending}], 0
    jne .Lsigprocmask_undo
4:  test rdx, rdx
    jz 5f
    cmp rdx, r11
    ja .Lsigprocmask_undo
    on_fault .Lsigprocmask_undo
    mov [rdx], r8
5:  xor eax, eax
    jmp .Lserved
    // The kernel process looks at what is pending before it does the call.
.Lsigprocmask_undo:
    mov [rbx + {blocked}], r8
    jmp .Lrefuse

.Lsigaction:
    cmp r10, 8
    jne .Lrefuse
    lea eax, [rdi - 1]
    cmp eax, 64
    jae .Lrefuse
    cmp eax, {sigkill} - 1
    je .Lrefuse
    cmp eax, {sigstop} - 1
    je .Lrefuse
    movabs r11, {guest_last}
    cmp rsi, r11
    ja .Lrefuse
    cmp rdx, r11
    ja .Lrefuse
    lea r12, [rbx + rax * 8]
    lea r14, [rbx + rax * 4]
    mov r8, [r12 + {handlers}]
    mov r9, [r12 + {restorers}]
    mov r10, [r12 + {masks}]
    mov r15d, [r14 + {action_flags}]
    test rsi, rsi
    jz 6f
    // Should the old one not be stored in the end, the new one must still be there.
    mov rax, rdx
    sub rax, rsi
    add rax, 31
    cmp rax, 62
    jbe .Lrefuse
    // Ignoring a signal takes away what is pending of it.
    cmp dword ptr [rbx + {pending}], 0
    jne .Lrefuse
    on_fault .Lrefuse
    mov rax, [rsi]
    on_fault .Lrefuse
    mov rcx, [rsi + 8]
    on_fault .Lrefuse
    mov rdi, [rsi + 16]
    on_fault .Lrefuse
    mov rsi, [rsi + 24]
    and ecx, {known_flags}
    and rsi, {blockable}
    mov [r12 + {handlers}], rax
    mov [r12 + {restorers}], rdi
    mov [r12 + {masks}], rsi
    mov [r14 + {action_flags}], ecx
6:  test rdx, rdx
    jz 7f
    on_fault .Lsigaction_undo
    mov [rdx], r8
    on_fault .Lsigaction_undo
    mov [rdx + 8], r15
    on_fault .Lsigaction_undo
    mov [rdx + 16], r9
    on_fault .Lsigaction_undo
    mov [rdx + 24], r10
7:  xor eax, eax
    jmp .Lserved
.Lsigaction_undo:
    mov [r12 + {handlers}], r8
    mov [r12 + {restorers}], r9
    mov [r12 + {masks}], r10
    mov [r14 + {action_flags}], r15d
    jmp .Lrefuse
"#
    };
}
pub(crate) use signals;
