//! The file format of a saved layer: what a machine changed over a tree (`umlaut run --save`).
//!
//! # Format
//! The eight bytes [`MAGIC`], then frames. A frame is two little-endian words, the length of its body and the CRC-32 of
//! it (as in zlib), and the body: a tag byte and fields. Numbers are little-endian, byte strings a 32-bit length and the
//! bytes. Paths are relative to the tree, components joined with `/`; the root is the empty path.
//!
//! | tag | frame | fields |
//! |---|---|---|
//! | 1 | header, the first | tree, seconds when saved |
//! | 2 | gone | path, stamp |
//! | 3 | node | path, mode, uid, gid, atime, mtime, xattrs, base, content |
//! | 4 | data of the last node | offset, bytes |
//! | 5 | end, the last | number of frames before it |
//!
//! A *stamp* tells what the tree had: mode, uid, gid, size, links, mtime, ctime. *Gone* names an object of the tree that
//! is hidden: removed, or replaced if a node of the same path follows. A whole removed directory is listed, parents first.
//! A *node* with a base is the tree's own object, changed; one without is new. Parents come before what is in them. A file's
//! data are its extents in rising order, holes left out; a node's content may also be the base's, or another node's (a
//! hard link). A directory in which nothing of the tree shows (opaque) is a new one: all of the old is gone.
//!
//! Everything read is hostile: [`Index`] accepts only what this page allows, in bounded memory for each byte of the file.
#![forbid(unsafe_code)]

mod index;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use index::{Entry, Extent, Index, Layer};
pub use read::{Frame, next_frame};
pub use write::{data, end, gone, header, node};

/// How a file begins.
pub const MAGIC: [u8; 8] = *b"UMLAYER1";
/// Longest body of a frame.
pub const MAX_BODY: usize = 1 << 20;
/// Most bytes of data in one frame.
pub const MAX_DATA: usize = 256 << 10;
/// Longest path. Longer ones than PATH_MAX can be made, one directory at a time.
pub const MAX_PATH: usize = 64 << 10;
/// Longest name of a directory entry.
pub const MAX_NAME: usize = 255;
/// Most bytes of names and values of extended attributes of one object.
pub const MAX_XATTRS: usize = 512 << 10;

/// A point of time: seconds and nanoseconds.
pub type Time = (i64, u32);

/// What the tree had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Type and permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub size: u64,
    pub mtime: Time,
    pub ctime: Time,
}

impl Stamp {
    /// Does an object that looks like `now` still have the contents and attributes it had? Entries of a directory are
    /// told apart one by one, so only its own attributes count.
    pub fn holds(&self, now: &Stamp) -> bool {
        let same = (self.mode, self.uid, self.gid) == (now.mode, now.uid, now.gid);
        if abi::FileType::from_mode(self.mode) == Some(abi::FileType::Directory) {
            return same;
        }
        same && self.size == now.size && self.mtime == now.mtime && self.ctime == now.ctime
    }
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Dir,
    /// A regular file; its data follow.
    File {
        size: u64,
    },
    /// The data of its base.
    Base,
    Symlink(Vec<u8>),
    /// A device (with its number), FIFO or socket.
    Special(u64),
    /// Another name of the node at this path, which came before.
    Link(Vec<u8>),
}

/// Extended attributes: names and values.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// An object of the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub path: Vec<u8>,
    /// Type and permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub atime: Time,
    pub mtime: Time,
    pub xattrs: Xattrs,
    /// The object of the tree that this is, if it is not new.
    pub base: Option<Stamp>,
    pub content: Content,
}

impl Node {
    pub fn kind(&self) -> Option<abi::FileType> {
        abi::FileType::from_mode(self.mode)
    }
}

/// An object of the tree that is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    pub path: Vec<u8>,
    pub base: Stamp,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    NotALayer,
    /// It ends too early.
    Truncated,
    /// A checksum is wrong.
    Damaged,
    /// A frame that says nothing sensible; what it should have been.
    Bad(&'static str),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NotALayer => f.write_str("not a saved layer"),
            Error::Truncated => f.write_str("the file ends too early"),
            Error::Damaged => f.write_str("the file is damaged (checksum)"),
            Error::Bad(what) => write!(f, "the file is damaged ({what})"),
        }
    }
}

impl std::error::Error for Error {}

/// Splits a path into its parent and its last component; `None` for the root.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => Some((&path[..at], &path[at + 1..])),
        None => Some((&[], path)),
    }
}

/// The components of a path.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty())
}

/// Refuses what could leave the tree, or is no path at all.
fn check_path(path: &[u8]) -> Result<(), Error> {
    let good = |c: &[u8]| !matches!(c, b"" | b"." | b"..") && c.len() <= MAX_NAME && !c.contains(&0);
    if path.len() <= MAX_PATH && (path.is_empty() || path.split(|b| *b == b'/').all(good)) {
        Ok(())
    } else {
        Err(Error::Bad("a path"))
    }
}
