//! Arguments and results as text, in the manner of strace(1). What the guest passes is only looked at: bad pointers are
//! shown as numbers, long strings are cut.

use kernel::{Result, task::TaskCx};

use super::calls::{Names, Spec, names};

/// Bytes shown of a buffer.
const BYTES: usize = 32;
/// Bytes shown of a path.
const PATH: usize = 256;
/// Elements shown of an array.
const ELEMENTS: usize = 16;

/// The lower half, as most calls take it.
fn int(a: u64) -> i32 {
    // The upper half is not looked at by the call either.
    i32::from_le_bytes([a as u8, (a >> 8) as u8, (a >> 16) as u8, (a >> 24) as u8])
}

fn pointer(a: u64) -> String {
    if a == 0 { "NULL".into() } else { format!("{a:#x}") }
}

fn octal(a: u64) -> String {
    match a & 0xffff_ffff {
        0 => "0".into(),
        m => format!("0{m:o}"),
    }
}

/// A C string literal; `more`: something was cut off.
fn quoted(bytes: &[u8], more: bool) -> String {
    let mut out = String::from("\"");
    for (i, b) in bytes.iter().enumerate() {
        match b {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x20..0x7f => out.push(char::from(*b)),
            _ => {
                // A digit that follows would belong to the number.
                let digit = bytes.get(i + 1).is_some_and(u8::is_ascii_digit);
                out.push_str(&if digit { format!("\\{b:03o}") } else { format!("\\{b:o}") });
            }
        }
    }
    out.push('"');
    if more {
        out.push_str("...");
    }
    out
}

fn string(cx: &mut TaskCx, at: u64, max: usize) -> String {
    if at == 0 {
        return "NULL".into();
    }
    let mut buf = vec![0; max];
    let got = cx.copy_in_some(at, &mut buf);
    match buf[..got].iter().position(|b| *b == 0) {
        Some(end) => quoted(&buf[..end], false),
        None if got == max => quoted(&buf, true),
        None => pointer(at),
    }
}

fn buffer(cx: &mut TaskCx, at: u64, len: u64) -> String {
    let n = usize::try_from(len).unwrap_or(usize::MAX).min(BYTES);
    let mut buf = vec![0; n];
    let got = cx.copy_in_some(at, &mut buf);
    if got < n { pointer(at) } else { quoted(&buf, len > n as u64) }
}

fn strings(cx: &mut TaskCx, at: u64) -> String {
    let mut all = Vec::new();
    for i in 0.. {
        let Ok(p) = cx.read_u64(at.wrapping_add(8 * i)) else { return pointer(at) };
        if p == 0 {
            break;
        }
        if all.len() == ELEMENTS {
            all.push("...".into());
            break;
        }
        all.push(string(cx, p, PATH));
    }
    format!("[{}]", all.join(", "))
}

fn timespec(cx: &mut TaskCx, at: u64) -> String {
    let mut b = [0; 16];
    if at == 0 || cx.copy_in(at, &mut b).is_err() {
        return pointer(at);
    }
    let [s @ .., _, _, _, _, _, _, _, _] = b;
    let [_, _, _, _, _, _, _, _, ns @ ..] = b;
    format!("{{tv_sec={}, tv_nsec={}}}", i64::from_le_bytes(s), i64::from_le_bytes(ns))
}

fn address(cx: &mut TaskCx, at: u64, len: u64) -> String {
    let mut b = [0; 110];
    let n = usize::try_from(len).unwrap_or(usize::MAX).min(b.len());
    if n < 2 || cx.copy_in_some(at, &mut b[..n]) < n {
        return pointer(at);
    }
    match u16::from_le_bytes([b[0], b[1]]) {
        // A pathname ends at its NUL, an abstract one with the length.
        1 if n > 2 && b[2] != 0 => {
            let end = b[2..n].iter().position(|c| *c == 0).map_or(n, |e| e + 2);
            format!("{{AF_UNIX, {}}}", quoted(&b[2..end], false))
        }
        1 if n > 2 => format!("{{AF_UNIX, @{}}}", quoted(&b[3..n], false)),
        2 if n >= 8 => {
            let port = u16::from_be_bytes([b[2], b[3]]);
            format!("{{AF_INET, {}.{}.{}.{}:{port}}}", b[4], b[5], b[6], b[7])
        }
        family => format!("{{family {family}, {len} bytes}}"),
    }
}

fn named(n: &Names, v: u64) -> String {
    let value = v & n.value_mask;
    let mut parts = Vec::new();
    let mut left = v & !n.value_mask;
    if n.value_mask != 0 {
        match n.names.iter().find(|(x, _)| *x == value && x & !n.value_mask == 0) {
            Some((_, name)) => parts.push((*name).to_owned()),
            // No signal, no type: there is nothing to name.
            None if value == 0 && n.bits => {}
            None => parts.push(format!("{value:#x}")),
        }
    }
    if n.bits {
        for (x, name) in n.names.iter().filter(|(x, _)| *x != 0 && x & n.value_mask == 0) {
            if left & x == *x {
                parts.push((*name).to_owned());
                left &= !x;
            }
        }
        if left != 0 {
            parts.push(format!("{left:#x}"));
        }
    }
    if parts.is_empty() {
        let zero = n.names.iter().find(|(x, _)| *x == 0).map_or("0", |(_, name)| name);
        parts.push(zero.to_owned());
    }
    parts.join("|")
}

fn signal(a: u64) -> String {
    match abi::Signal::new(int(a)) {
        Some(s) => format!("{s}"),
        None => int(a).to_string(),
    }
}

/// Arguments before the call; what the call fills in is empty.
pub fn before(cx: &mut TaskCx, spec: Spec, args: [u64; 6]) -> Vec<String> {
    let next = |i: usize| args.get(i + 1).copied().unwrap_or(0);
    let mut out = Vec::new();
    for (i, (letter, a)) in spec.0.chars().zip(args).enumerate() {
        out.push(match letter {
            'd' if int(a) == abi::fs::AT_FDCWD => "AT_FDCWD".into(),
            'f' | 'd' | 'i' => int(a).to_string(),
            'p' => string(cx, a, PATH),
            'v' => strings(cx, a),
            'w' => buffer(cx, a, next(i)),
            'r' | '2' => String::new(),
            'u' => a.to_string(),
            'h' => format!("{a:#x}"),
            'm' => octal(a),
            's' => signal(a),
            'T' => timespec(cx, a),
            'a' => address(cx, a, next(i)),
            l => match names(l) {
                Some(n) => named(n, a & 0xffff_ffff),
                None => pointer(a),
            },
        });
    }
    // Nobody passes a mode to an open that makes nothing.
    if spec.0.ends_with("Om") {
        let flags = args.get(out.len() - 2).copied().unwrap_or(0);
        if flags & u64::from(abi::fs::O_CREAT) == 0 && flags & 0o20000000 == 0 {
            out.pop();
        }
    }
    out
}

/// Adds what the call filled in.
pub fn after(
    cx: &mut TaskCx,
    spec: Spec,
    args: [u64; 6],
    mut shown: Vec<String>,
    result: &Result<u64>,
) -> Vec<String> {
    for ((letter, a), text) in spec.0.chars().zip(args).zip(&mut shown) {
        match (letter, result) {
            ('r', Ok(n)) => *text = buffer(cx, a, *n),
            ('2', Ok(_)) => {
                *text = match cx.read_u64(a) {
                    Ok(v) => format!("[{}, {}]", int(v), int(v >> 32)),
                    Err(_) => pointer(a),
                }
            }
            ('r' | '2', Err(_)) => *text = pointer(a),
            _ => {}
        }
    }
    shown
}

/// The result of a call that succeeded.
pub fn result(spec: Spec, v: u64) -> String {
    match spec.1 {
        'x' => format!("{v:#x}"),
        'm' => octal(v),
        _ => v.cast_signed().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(letter: char, v: u64) -> String {
        named(names(letter).unwrap(), v)
    }

    #[test]
    fn flags_have_names() {
        assert_eq!(flags('O', 0), "O_RDONLY");
        assert_eq!(flags('O', 0o2101101), "O_WRONLY|O_CREAT|O_TRUNC|O_LARGEFILE|O_CLOEXEC");
        assert_eq!(flags('O', 0o20200002), "O_RDWR|O_TMPFILE");
        assert_eq!(flags('O', 1 << 31), "O_RDONLY|0x80000000");
        assert_eq!(flags('P', 3), "PROT_READ|PROT_WRITE");
        assert_eq!(flags('P', 0), "PROT_NONE");
        assert_eq!(flags('M', 0x22), "MAP_PRIVATE|MAP_ANONYMOUS");
        assert_eq!(flags('W', 2), "SEEK_END");
        assert_eq!(flags('W', 9), "0x9");
        assert_eq!(flags('F', 0x80), "FUTEX_WAIT|FUTEX_PRIVATE_FLAG");
        assert_eq!(flags('C', 0x4111), "SIGCHLD|CLONE_VM|CLONE_VFORK");
        assert_eq!(flags('C', 0), "0");
        assert_eq!(flags('y', 0o2000001), "SOCK_STREAM|SOCK_CLOEXEC");
    }

    #[test]
    fn strings_are_quoted() {
        assert_eq!(quoted(b"a\"b\\\n\x00001\x1b", false), "\"a\\\"b\\\\\\n\\000001\\33\"");
        assert_eq!(quoted(b"ab", true), "\"ab\"...");
    }
}
