//! What several handlers look at first.

macro_rules! checks {
    () => {
        r#"
// Goes on if len bytes from rsi on can be guest memory; r8 and r9 are lost.
.macro guest_buffer len
    movabs r9, {guest_last}
    cmp rsi, r9
    ja .Lrefuse
    lea r8, [rsi + \len]
    cmp r8, r9
    ja .Lrefuse
.endm

// Goes on if the count of the number at `number` still has the value at `value`, and at `other` if not, or if there is no such
// count; rax and rcx are lost.
.macro count_holds number, value, other
    mov ecx, [\number]
    cmp ecx, {counts_len}
    jae \other
    movabs rax, {counts}
    mov rax, [rax + rcx * 8]
    cmp rax, [\value]
    jne \other
.endm
"#
    };
}
pub(crate) use checks;
