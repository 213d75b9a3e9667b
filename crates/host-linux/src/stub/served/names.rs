//! Attributes of names that the kernel process told ahead ([`crate::layout::names`]): those of the next one that is asked for
//! in their order, passing over some if need be, and again as long as no other is. Nothing is answered once files were recalled or some time has passed.

/// newfstatat(2), stat(2) and lstat(2) by a path.
macro_rules! names {
    () => {
        r#"
.Lstat:
    xor r10d, r10d
    jmp 1f
.Llstat:
    mov r10d, {nofollow}
1:  mov rdx, rsi
    mov rsi, rdi
    mov edi, {fdcwd}
.Lstat_name:
    cmp edi, [rbx + {names_dirfd}]
    jne .Lrefuse
    cmp r10d, [rbx + {names_flags}]
    jne .Lrefuse
    mov r11d, [rbx + {names_left}]
    cmp r11d, {names_most}
    ja .Lrefuse
    movabs rax, {epoch}
    mov rax, [rax]
    cmp rax, [rbx + {names_epoch}]
    jne .Lrefuse
    mov r8, rdx
    rdtsc
    shl rdx, 32
    or rax, rdx
    sub rax, [rbx + {names_since}]
    shr rax, {file_time}
    jnz .Lrefuse
    movabs rax, {guest_last} - {stat_len}
    cmp r8, rax
    ja .Lrefuse
    cmp rsi, rax
    ja .Lrefuse
    // The path begins with the directory's.
    mov ecx, [rbx + {names_prefix_len}]
    lea r9, [rbx + {names_prefix}]
2:  dec ecx
    js 3f
    on_fault .Lrefuse
    mov al, [rsi]
    on_fault .Lrefuse
    cmp al, [r9]
    jne .Lrefuse
    inc rsi
    inc r9
    jmp 2b
    // r9 = offset of the next answer, r11 = how many there are. Where a guest changed them they may lead anywhere.
3:  mov r9d, [rbx + {names_next}]
4:  dec r11d
    js .Lrefuse
    lea r14, [rbx + r9]
    lea r12, [r14 + {names_name}]
    mov rdi, rsi
5:  on_fault .Lrefuse
    mov al, [rdi]
    on_fault .Lrefuse
    cmp al, [r12]
    jne 6f
    inc rdi
    inc r12
    test al, al
    jnz 5b
    mov rdi, r8
    lea rsi, [r14 + {names_stat}]
    mov ecx, {stat_len} / 8
    on_fault .Lrefuse
    rep movsq
    mov [rbx + {names_next}], r9d
    inc r11d
    mov [rbx + {names_left}], r11d
    inc dword ptr [rbx + {names_used}]
    xor eax, eax
    jmp .Lserved
6:  on_fault .Lrefuse
    add r9d, [r14]
    jmp 4b
"#
    };
}
pub(crate) use names;
