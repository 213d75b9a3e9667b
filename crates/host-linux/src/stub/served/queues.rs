//! Receiving from sockets whose queues the thread was told of ([`crate::layout::queues`]): nothing is answered once the count
//! has moved under which that was told.

/// recvfrom(2) without flags and address: all bytes that are there, or EAGAIN.
macro_rules! queues {
    () => {
        r#"
.Lrecvfrom:
    test r10d, r10d
    jnz .Lrefuse
    test r8, r8
    jnz .Lrefuse
    test rdx, rdx
    jz .Lrefuse
    lea r11, [rbx + {queues}]
    mov ecx, {queues_len}
2:  cmp edi, [r11 + {queue_fd}]
    jne 3f
    mov r9d, [r11 + {queue_state}]
    test r9d, r9d
    jnz 4f
3:  add r11, {queues_step}
    dec ecx
    jnz 2b
    jmp .Lrefuse
4:  count_holds "r11 + {queue_count}", "r11 + {queue_value}", .Lrefuse
    mov rax, {eagain}
    cmp r9d, {queue_empty}
    je .Lserved
    cmp r9d, {queue_given}
    jne .Lrefuse
    mov r12d, [r11 + {queue_len}]
    cmp r12d, {queue_most}
    ja .Lrefuse
    cmp r12, rdx
    ja .Lrefuse
    movabs rcx, {guest_last} - {queue_most}
    cmp rsi, rcx
    ja .Lrefuse
    mov rdi, rsi
    lea rsi, [r11 + {queue_bytes}]
    mov ecx, r12d
    on_fault .Lrefuse
    rep movsb
    // Theirs from here on, unless the kernel process has taken them back.
    mov eax, {queue_given}
    mov ecx, {queue_taken}
    lock cmpxchg [r11 + {queue_state}], ecx
    jne .Lrefuse
    mov eax, r12d
    jmp .Lserved
"#
    };
}
pub(crate) use queues;
