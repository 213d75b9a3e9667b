//! Calls about the file or directory that is on loan ([`crate::layout::file`]): nothing is answered about any other, nor once files were
//! recalled or some time has passed.

/// read(2), pread64(2), lseek(2), fstat(2), newfstatat(2) of the descriptor, close(2), fadvise64(2), isatty(3), some of
/// fcntl(2), and getdents64(2).
macro_rules! files {
    () => {
        r#"
// Goes on if the descriptor in edi is the one on loan, and still may be; rax and r8 are lost.
.macro on_loan
    cmp edi, [rbx + {file_fd}]
    jne .Lrefuse
    movabs rax, {epoch}
    mov rax, [rax]
    cmp rax, [rbx + {file_epoch}]
    jne .Lrefuse
    mov r8, rdx
    rdtsc
    shl rdx, 32
    or rax, rdx
    mov rdx, r8
    sub rax, [rbx + {file_since}]
    shr rax, {file_time}
    jnz .Lrefuse
.endm

.Lpread64:
    on_loan
    xor r12d, r12d
    jmp 2f
.Lread:
    on_loan
    test dword ptr [rbx + {lent}], {is_directory}
    jnz .Lrefuse
    mov r12d, 1
    mov r10, [rbx + {file_pos}]
    // r10 = position; rax = how many bytes there are, of which the first is number rcx.
2:  mov rcx, r10
    sub rcx, [rbx + {file_from}]
    jb .Lrefuse
    mov eax, [rbx + {file_len}]
    sub rax, rcx
    jb .Lrefuse
    cmp rdx, {read_max}
    ja .Lrefuse
    guest_buffer rdx
    cmp rdx, rax
    jbe 3f
    cmp dword ptr [rbx + {file_ends}], 0
    je .Lrefuse
3:  cmp rax, rdx
    cmova rax, rdx
    mov rdi, rsi
    mov esi, [rbx + {file_at}]
    add rsi, rbx
    add rsi, rcx
    mov rcx, rax
    on_fault .Lrefuse
    rep movsb
    add [rbx + {file_bytes}], rax
    inc dword ptr [rbx + {file_reads}]
    test r12d, r12d
    jz .Lserved
    add [rbx + {file_pos}], rax
    jmp .Lserved

.Lnewfstatat:
    cmp r10d, {empty_path}
    jne .Lstat_name
    on_loan
    movabs r9, {guest_last}
    cmp rsi, r9
    ja .Lrefuse
    on_fault .Lrefuse
    cmp byte ptr [rsi], 0
    jne .Lrefuse
    mov rsi, rdx
    jmp 2f
.Lfstat:
    on_loan
2:  movabs r9, {guest_last} - {stat_len}
    cmp rsi, r9
    ja .Lrefuse
    mov rdi, rsi
    lea rsi, [rbx + {file_stat}]
    mov ecx, {stat_len} / 8
    on_fault .Lrefuse
    rep movsq
    xor eax, eax
    jmp .Lserved

.Llseek:
    on_loan
    xor eax, eax
    test edx, edx
    jz 2f
    mov rax, [rbx + {file_pos}]
    dec edx
    jz 2f
    mov rax, [rbx + {file_stat} + {stat_size}]
    dec edx
    jnz .Lrefuse
2:  add rax, rsi
    jo .Lrefuse
    js .Lrefuse
    mov [rbx + {file_pos}], rax
    jmp .Lserved

.Lfadvise64:
    on_loan
    test rdx, rdx
    js .Lrefuse
    cmp r10d, {fadvise_last}
    ja .Lrefuse
    xor eax, eax
    jmp .Lserved

.Lioctl:
    cmp esi, {tcgets}
    jne .Lrefuse
    on_loan
    mov rax, {enotty}
    jmp .Lserved

.Lfcntl:
    on_loan
    cmp esi, {getfl}
    jne 2f
    mov eax, [rbx + {file_flags}]
    jmp .Lserved
2:  mov eax, [rbx + {file_fd_flags}]
    cmp esi, {getfd}
    je .Lserved
    cmp esi, {setfd}
    jne 2f
    and edx, {fd_cloexec}
    cmp edx, eax
    jne .Lrefuse
    xor eax, eax
    jmp .Lserved
2:  cmp esi, {dupfd_cloexec}
    jne .Lrefuse
    // The lowest that is free is the one from every number on that is not above it.
    mov eax, [rbx + {file_free}]
    test eax, eax
    js .Lrefuse
    cmp edx, eax
    ja .Lrefuse
    mov dword ptr [rbx + {file_free}], -1
    mov dword ptr [rbx + {file_duplicated}], 1
    jmp .Lserved

    // All that is left at once, or nothing.
.Lgetdents64:
    on_loan
    cmp dword ptr [rbx + {file_ends}], 0
    je .Lrefuse
    mov ecx, [rbx + {file_len}]
    cmp edx, ecx
    jb .Lrefuse
    guest_buffer rcx
    mov eax, ecx
    mov rdi, rsi
    mov esi, [rbx + {file_at}]
    add rsi, rbx
    on_fault .Lrefuse
    rep movsb
    mov dword ptr [rbx + {file_len}], 0
    mov rcx, [rbx + {file_listed}]
    mov [rbx + {file_pos}], rcx
    inc dword ptr [rbx + {file_reads}]
    jmp .Lserved

.Lclose:
    on_loan
    mov dword ptr [rbx + {file_closed}], 1
    // Nor are names below a directory known any more by paths that begin at its descriptor, which may be in /proc.
    test dword ptr [rbx + {lent}], {is_directory}
    jz 2f
    mov dword ptr [rbx + {names_left}], 0
2:
    // No epoch is 0.
    mov [rbx + {file_epoch}], rax
    xor eax, eax
    jmp .Lserved
"#
    };
}
pub(crate) use files;
