//! Calls about nothing but the thread's own registers, and words of its own.

/// arch_prctl(2): the thread pointer. set_robust_list(2), set_tid_address(2). rseq(2), which is not there.
macro_rules! thread {
    () => {
        r#"
.Larch_prctl:
    movabs rax, {guest_last}
    cmp rsi, rax
    ja .Lrefuse
    cmp edi, {get_fs}
    je 2f
    cmp edi, {set_fs}
    jne .Lrefuse
    wrfsbase rsi
    mov [rbx + {fs_base}], rsi
    jmp 3f
2:  mov rax, [rbx + {fs_base}]
    on_fault .Lrefuse
    mov [rsi], rax
3:  xor eax, eax
    jmp .Lserved
.Lset_robust_list:
    cmp rsi, {robust_len}
    jne .Lrefuse
    mov [rbx + {robust}], rdi
    jmp 3b
.Lset_tid_address:
    mov [rbx + {clear_tid}], rdi
    mov eax, [rbx + {fast_tid}]
    jmp .Lserved
.Lrseq:
    mov rax, {enosys}
    jmp .Lserved
"#
    };
}
pub(crate) use thread;
