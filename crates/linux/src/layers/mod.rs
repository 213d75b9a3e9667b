//! Saved layers: `umlaut run --save`, `run --load`, `diff` and `commit`. The format is [`layer`]'s, what changed is the
//! overlay's to tell; here the file is written and read, and the host's tree is compared and changed.
//!
//! A layer is hostile when it is read. The tree is reached by single components from directory handles, following no
//! link ([`hal::HostFile`]), so nothing outside of it can be named.

mod commit;
mod diff;
mod file;
mod tree;

pub use commit::commit;
pub use diff::{Change, changes, list, patch};
pub use file::{SaveFile, Saved, place};
pub use tree::Tree;

/// A path of a layer for the user: absolute, nothing in it that a terminal would obey.
pub fn shown(path: &[u8]) -> String {
    let mut out = String::from("/");
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' { out.extend(c.escape_default()) } else { out.push(c) }
        }
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod shown_tests {
    use super::shown;

    #[test]
    fn paths_are_shown_harmless() {
        assert_eq!(shown(b"a/\x1b[2Jb\nc"), "/a/\\u{1b}[2Jb\\nc");
        assert_eq!(shown("ä/\u{9b}x".as_bytes()), "/ä/\\u{9b}x");
        assert_eq!(shown(b"a\xff"), "/a\\xff");
    }
}
