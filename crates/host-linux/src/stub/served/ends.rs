//! Ends of files that the thread was told of ([`crate::layout::ends`]).

/// lseek(2) to the end, where the position is already. Others are for the file on loan.
macro_rules! ends {
    () => {
        r#"
.Llseek_told:
    test rsi, rsi
    jnz .Llseek
    cmp edx, {seek_end}
    jne .Llseek
    cmp dword ptr [rbx + {ends_told}], 0
    je .Llseek
    mov ecx, edi
    and ecx, {ends_mask}
    shl ecx, {ends_shift}
    lea r11, [rbx + rcx + {ends}]
    cmp edi, [r11 + {end_fd}]
    jne .Llseek
    count_holds "r11 + {end_count}", "r11 + {end_value}", .Llseek
    mov rax, [r11 + {end_size}]
    jmp .Lserved
"#
    };
}
pub(crate) use ends;
