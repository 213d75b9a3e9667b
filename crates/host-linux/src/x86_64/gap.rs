//! Lengths of the instructions that stand between a system call's number and the `syscall`: those that compilers put
//! there and that do the same at another address. Anything else is unknown, and its site is left alone.

/// Bytes of the instruction that `code` begins with, and where in it an offset from the instruction pointer stands.
fn length(code: &[u8]) -> Option<(usize, Option<usize>)> {
    let mut at = 0;
    let mut next = || {
        let byte = code.get(at).copied();
        at += 1;
        byte
    };
    let mut byte = next()?;
    let wide = matches!(byte, 0x66 | 0xf2 | 0xf3);
    if wide {
        byte = next()?;
    }
    let rex = if (0x40..=0x4f).contains(&byte) { byte } else { 0 };
    if rex != 0 {
        byte = next()?;
    }
    // Bytes of the immediate operand; `None`: there is no ModRM byte either.
    let imm = match byte {
        // Arithmetic and test between register and memory; movslq; mov; lea.
        0x00..=0x3b if byte & 7 <= 3 => 0,
        0x84 | 0x85 | 0x63 | 0x88..=0x8b | 0x8d => 0,
        // The same with a number; shifts; mov of a number.
        0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => 1,
        0x81 | 0xc7 if !wide => 4,
        0xd0..=0xd3 => 0,
        // push, pop.
        0x50..=0x5f if !wide => return Some((at, None)),
        // mov of a number to a register.
        0xb8..=0xbf if !wide => return Some((at + if rex & 8 != 0 { 8 } else { 4 }, None)),
        0xb0..=0xb7 if !wide => return Some((at + 1, None)),
        0x0f => match next()? {
            // Vector moves and unpacking, cmov, set, movz, movs, nop.
            0x10..=0x17 | 0x1f | 0x28 | 0x29 | 0x40..=0x4f | 0x57 | 0x6c | 0x6e | 0x6f | 0x7e | 0x7f => 0,
            0x90..=0x9f | 0xb6 | 0xb7 | 0xbe | 0xbf | 0xd6 | 0xef => 0,
            _ => return None,
        },
        _ => return None,
    };
    let modrm = next()?;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    let mut offset = None;
    let mut displacement = match mode {
        1 => 1,
        2 => 4,
        0 if rm == 5 => {
            offset = Some(at);
            4
        }
        _ => 0,
    };
    if mode != 3 && rm == 4 {
        let sib = *code.get(at)?;
        at += 1;
        if mode == 0 && sib & 7 == 5 {
            displacement = 4;
        }
    }
    Some((at + displacement + imm, offset))
}

/// The instructions as they must stand `moved` bytes further up; `None` if they cannot all be told, or do not reach.
pub(crate) fn relocate(code: &[u8], moved: i64) -> Option<Vec<u8>> {
    let mut out = code.to_vec();
    let mut at = 0;
    while at < code.len() {
        let (len, offset) = length(&code[at..])?;
        if at + len > code.len() {
            return None;
        }
        if let Some(offset) = offset {
            let place = at + offset..at + offset + 4;
            let old = i32::from_le_bytes(code[place.clone()].try_into().ok()?);
            let new = i32::try_from(i64::from(old) - moved).ok()?;
            out[place].copy_from_slice(&new.to_le_bytes());
        }
        at += len;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_assemblers() {
        for code in [
            &[0x31, 0xff][..],                           // xor %edi,%edi
            &[0x40, 0x80, 0xf6, 0x80],                   // xor $0x80,%sil
            &[0x48, 0xc7, 0x04, 0x24, 0x20, 0, 0, 0],    // movq $0x20,(%rsp)
            &[0x41, 0x8b, 0x70, 0x10],                   // mov 0x10(%r8),%esi
            &[0x48, 0x0f, 0x46, 0xf0],                   // cmovbe %rax,%rsi
            &[0x48, 0x83, 0xec, 0x08],                   // sub $8,%rsp
            &[0x48, 0x81, 0xec, 0x08, 0x10, 0, 0],       // sub $0x1008,%rsp
            &[0x41, 0x54],                               // push %r12
            &[0xbf, 2, 0, 0, 0],                         // mov $2,%edi
            &[0x48, 0xbe, 1, 2, 3, 4, 5, 6, 7, 8],       // movabs $..,%rsi
            &[0x66, 0x48, 0x0f, 0x6e, 0xc7],             // movq %rdi,%xmm0
            &[0x0f, 0x11, 0x83, 0xd8, 2, 0, 0],          // movups %xmm0,0x2d8(%rbx)
            &[0x41, 0xc7, 0x44, 0x90, 0x08, 0, 0, 0, 0], // movl $0,8(%r8,%rdx,4)
            &[0x8b, 0x34, 0x25, 1, 2, 3, 4],             // mov 0x4030201,%esi
            &[0x40, 0x0f, 0x95, 0xc6],                   // setne %sil
            &[0xc1, 0xe6, 0x07],                         // shl $7,%esi
        ] {
            assert_eq!(length(code), Some((code.len(), None)), "{code:x?}");
            for short in 1..code.len() {
                assert_eq!(relocate(&code[..short], 0), None, "{code:x?} {short}");
            }
        }
        let lea = [0x48, 0x8d, 0x35, 0x10, 0, 0, 0];
        assert_eq!(length(&lea), Some((7, Some(3))));
        assert_eq!(relocate(&lea, 0x10), Some(vec![0x48, 0x8d, 0x35, 0, 0, 0, 0]));
        assert_eq!(relocate(&lea, i64::from(i32::MIN)), None);
        // Control flow, and what is not known.
        for code in [
            &[0xe9, 0, 0, 0, 0][..],
            &[0x74, 5],
            &[0xff, 0xd0],
            &[0xc3],
            &[0x0f, 0x05],
            &[0xcc],
            &[0xe8, 0, 0, 0, 0],
        ] {
            assert_eq!(relocate(code, 0), None, "{code:x?}");
        }
    }
}
