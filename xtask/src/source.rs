//! Rules that are read off the sources: `unsafe`, host access, file length.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::Metadata;

use crate::Finding;

/// No source file is longer than this.
const MAX_LINES: usize = 1000;

/// The one crate that may hold `unsafe`.
const HOST_CRATE: &str = "crates/host-linux/";

/// Paths whose code runs in the kernel and reaches the host only through `hal`.
const KERNEL_SIDE: &[&str] =
    &["crates/kernel/", "crates/syscalls/", "crates/fs/", "crates/net/", "crates/drv/"];

/// What kernel-side code may not name, and why.
const HOST_NAMES: &[(&str, &str)] = &[
    ("std::fs", "files are reached through hal"),
    ("std::net", "the network is reached through hal"),
    ("std::process", "processes are started through hal"),
    ("std::os", "host types stay behind hal"),
    ("std::env", "the environment is the command line's"),
    ("thread::spawn", "threads are started through hal"),
    ("thread::Builder", "threads are started through hal"),
    ("thread::sleep", "waiting goes through the one wait primitive"),
    ("Instant::now", "the clock is read through hal"),
    ("SystemTime", "the clock is read through hal"),
];

/// Modules of std that kernel-side code may not import in a group either.
const STD_MODULES: &[&str] = &["fs", "net", "process", "os", "env"];

/// Checks all sources of the workspace.
pub fn check(root: &Path, metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        for target in &package.targets {
            let Ok(place) = target.src_path.strip_prefix(root) else { continue };
            let place = place.as_str();
            if place.starts_with(HOST_CRATE) {
                continue;
            }
            let text = fs::read_to_string(&target.src_path).with_context(|| place.to_string())?;
            let code: String = blank(&text).split_whitespace().collect();
            if !code.contains("#![forbid(unsafe_code)]") {
                findings.push(Finding::new(place, "unsafe: the crate root lacks #![forbid(unsafe_code)]"));
            }
        }
    }
    let mut files = Vec::new();
    for top in ["crates", "tools", "tests", "benches", "xtask", "fuzz"] {
        collect(&root.join(top), &mut files)?;
    }
    for file in files {
        let place = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).with_context(|| place.clone())?;
        findings.extend(check_text(&place, &text));
    }
    Ok(findings)
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "rs" || e == "c" || e == "h") {
            into.push(path);
        }
    }
    into.sort();
    Ok(())
}

/// Checks one file, `place` being its path from the workspace root.
fn check_text(place: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        findings.push(Finding::new(place, format!("length: {lines} lines, limit {MAX_LINES}")));
    }
    if !place.ends_with(".rs") {
        return findings;
    }
    let code = blank(text);
    if !place.starts_with(HOST_CRATE) {
        for line in token_lines(&code, "unsafe") {
            findings.push(Finding::new(format!("{place}:{line}"), "unsafe: only host-linux may hold it"));
        }
    }
    let is_test_file = place.ends_with("/tests.rs") || place.contains("/tests/");
    if KERNEL_SIDE.iter().any(|side| place.starts_with(side)) && !is_test_file {
        let code = blank_tests(&code);
        for (name, why) in HOST_NAMES {
            for line in token_lines(&code, name) {
                findings.push(Finding::new(format!("{place}:{line}"), format!("host: {name}: {why}")));
            }
        }
        for (line, module) in grouped_imports(&code) {
            findings.push(Finding::new(format!("{place}:{line}"), format!("host: std::{module} in a group")));
        }
    }
    findings
}

fn is_ident(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_of(code: &str, at: usize) -> usize {
    code.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
}

/// Lines (from 1) on which `token` stands by itself, not inside a longer name.
fn token_lines(code: &str, token: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    code.match_indices(token)
        .filter(|(at, _)| {
            let before = at.checked_sub(1).map(|i| bytes[i]);
            let after = bytes.get(at + token.len()).copied();
            !before.is_some_and(is_ident) && !after.is_some_and(is_ident)
        })
        .map(|(at, _)| line_of(code, at))
        .collect()
}

/// Forbidden modules named at the first level of `std::{..}`, with their lines.
fn grouped_imports(code: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (start, opening) in code.match_indices("std::{") {
        let body = start + opening.len();
        let mut depth = 1;
        let mut at_item = true;
        for (offset, c) in code[body..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => at_item = true,
                c if depth == 1 && at_item && !c.is_whitespace() => {
                    at_item = false;
                    let rest = &code[body + offset..];
                    let word = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next();
                    if let Some(module) = STD_MODULES.iter().find(|m| Some(**m) == word) {
                        found.push((line_of(code, body + offset), *module));
                    }
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// `code` with the items under `#[cfg(test)]` replaced by blanks.
fn blank_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for (start, _) in code.match_indices("#[cfg(test)]") {
        let mut depth = 0usize;
        for slot in out.iter_mut().skip(start + "#[cfg(test)]".len()) {
            let byte = *slot;
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if byte != b'\n' {
                *slot = b' ';
            }
            if depth == 0 && matches!(byte, b'}' | b';') {
                break;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `text` with comments, strings and character literals replaced by blanks of the same length.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => {
                at + bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - at)
            }
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' if at == 0 || !is_ident(bytes[at - 1]) || bytes[at - 1] == b'b' || bytes[at - 1] == b'c' => {
                raw_string_end(bytes, at).unwrap_or(at)
            }
            b'\'' => char_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|b| **b == b'#').count();
    let body = start + 1 + hashes;
    if bytes.get(body) != Some(&b'"') {
        return None;
    }
    let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let length = bytes[body + 1..].windows(closing.len()).position(|w| w == closing)?;
    Some(body + 1 + length + closing.len())
}

/// The end of a character literal, or `None` for a lifetime.
fn char_end(bytes: &[u8], start: usize) -> Option<usize> {
    let first = *bytes.get(start + 1)?;
    if first == b'\\' {
        let close = bytes.get(start + 3..)?.iter().take(12).position(|b| *b == b'\'')?;
        return Some(start + 3 + close + 1);
    }
    let width = match first {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    (bytes.get(start + 1 + width) == Some(&b'\'')).then_some(start + 2 + width)
}

#[cfg(test)]
mod tests {
    use super::{blank, check_text};

    fn rules(place: &str, text: &str) -> Vec<String> {
        check_text(place, text).into_iter().map(|f| format!("{} {}", f.place, f.what)).collect()
    }

    #[test]
    fn words_in_comments_and_strings_do_not_count() {
        let text = "// unsafe\n/* unsafe /* */ unsafe */ let a = \"unsafe\\\" unsafe\"; let b = r#\"unsafe\"#;\n\
                    #![forbid(unsafe_code)] let c = '\"'; let d: &'static str = \"\"; let e = '\\''; \n";
        assert_eq!(rules("crates/kernel/src/x.rs", text), Vec::<String>::new());
        assert_eq!(blank(text).len(), text.len());
    }

    #[test]
    fn the_token_is_found() {
        let found = rules("crates/kernel/src/x.rs", "fn a() {\n    unsafe { b() }\n}\n");
        assert_eq!(found, ["crates/kernel/src/x.rs:2 unsafe: only host-linux may hold it"]);
        assert!(rules("crates/host-linux/src/x.rs", "unsafe fn a() {}").is_empty());
    }

    #[test]
    fn host_access_is_found() {
        for bad in [
            "use std::fs::File;",
            "use std::{sync::Arc, fs};",
            "use std::{\n collections::{self, os},\n process::Command,\n};",
            "let t = Instant::now();",
            "std::thread::spawn(f);",
        ] {
            assert_eq!(rules("crates/fs/tmpfs/src/lib.rs", bad).len(), 1, "{bad}");
            assert!(rules("crates/linux/src/main.rs", bad).is_empty(), "{bad}");
        }
        for good in ["use std::{sync::Arc, collections::{fs, net}};", "let fs = kernel::fs::x();"] {
            assert!(rules("crates/fs/tmpfs/src/lib.rs", good).is_empty(), "{good}");
        }
    }

    #[test]
    fn test_code_may_use_the_host() {
        let text = "#[cfg(test)]\nmod tests {\n fn a() { std::thread::spawn(f); }\n}\nuse std::fs;\n";
        assert_eq!(rules("crates/kernel/src/x.rs", text).len(), 1);
        assert!(rules("crates/kernel/src/task/tests.rs", "use std::fs;").is_empty());
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(rules("crates/kernel/src/x.rs", &"\n".repeat(1001)).len(), 1);
        assert!(rules("tests/guest/a/b.c", &"\n".repeat(1000)).is_empty());
    }
}
