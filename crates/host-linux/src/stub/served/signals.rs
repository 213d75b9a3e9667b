//! Calls about signals.

/// rt_sigprocmask(2). The mask is in the slot; who sends a signal first says that one is pending, then looks at the mask.
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
"#
    };
}
pub(crate) use signals;
