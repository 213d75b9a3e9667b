//! Calls about files without contents of their own ([`crate::layout::endless`]), /dev/null and /dev/zero.

/// write(2) to the one, read(2) from the other; all other reads go on to the file on loan.
macro_rules! endless {
    () => {
        r#"
// Goes on if descriptors may still be used, and rdx bytes from rsi on, at most as many as given, can be guest memory.
.macro endless_range most
    movabs rax, {epoch}
    mov rax, [rax]
    cmp rax, [rbx + {endless_epoch}]
    jne .Lrefuse
    cmp rdx, \most
    ja .Lrefuse
    guest_buffer rdx
.endm

.Lwrite:
    cmp edi, [rbx + {endless_null}]
    jne .Lrefuse
    endless_range {read_max}
    mov rax, rdx
    inc dword ptr [rbx + {endless_writes}]
    add [rbx + {endless_written}], rax
    jmp .Lserved

.Lread_any:
    cmp edi, [rbx + {endless_zero}]
    jne .Lread
    endless_range {endless_read_max}
    mov rdi, rsi
    mov rcx, rdx
    xor eax, eax
    on_fault .Lrefuse
    rep stosb
    mov rax, rdx
    inc dword ptr [rbx + {endless_reads}]
    add [rbx + {endless_read}], rax
    jmp .Lserved
"#
    };
}
pub(crate) use endless;
