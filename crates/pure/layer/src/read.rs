//! Bytes to frames.

use crate::{Content, Error, Gone, MAX_BODY, MAX_DATA, MAX_XATTRS, Node, Stamp, Time, check_path};

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Header {
        tree: Vec<u8>,
        saved: i64,
    },
    Gone(Gone),
    Node(Box<Node>),
    /// `at` is where in the frame the bytes begin.
    Data {
        offset: u64,
        bytes: &'a [u8],
        at: usize,
    },
    End {
        frames: u64,
    },
}

/// The first frame of `buf` and its length; `None` if more bytes are needed.
pub fn next_frame(buf: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Error> {
    let Some((head, rest)) = buf.split_first_chunk::<8>() else { return Ok(None) };
    let [a, b, c, d, e, f, g, h] = *head;
    let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).map_err(|_| Error::Bad("a length"))?;
    if len == 0 || len > MAX_BODY {
        return Err(Error::Bad("a length"));
    }
    let Some(body) = rest.get(..len) else { return Ok(None) };
    if crc32fast::hash(body) != u32::from_le_bytes([e, f, g, h]) {
        return Err(Error::Damaged);
    }
    Ok(Some((parse(body)?, 8 + len)))
}

struct Fields<'a> {
    left: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.left.split_first_chunk().ok_or(Error::Bad("a short frame"))?;
        self.left = rest;
        Ok(*head)
    }
    fn u8(&mut self) -> Result<u8, Error> {
        self.take().map(|[b]: [u8; 1]| b)
    }
    fn u32(&mut self) -> Result<u32, Error> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Result<u64, Error> {
        self.take().map(u64::from_le_bytes)
    }
    /// A size or an offset, as files have them.
    fn size(&mut self) -> Result<u64, Error> {
        let v = self.u64()?;
        if i64::try_from(v).is_ok() { Ok(v) } else { Err(Error::Bad("a size")) }
    }
    fn time(&mut self) -> Result<Time, Error> {
        let t = (i64::from_le_bytes(self.take()?), self.u32()?);
        if t.1 < 1_000_000_000 { Ok(t) } else { Err(Error::Bad("a time")) }
    }
    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let len = usize::try_from(self.u32()?).map_err(|_| Error::Bad("a length"))?;
        if len > self.left.len() {
            return Err(Error::Bad("a length"));
        }
        let (b, rest) = self.left.split_at(len);
        self.left = rest;
        Ok(b)
    }
    fn path(&mut self) -> Result<Vec<u8>, Error> {
        let p = self.bytes()?;
        check_path(p)?;
        Ok(p.to_vec())
    }
    fn mode(&mut self) -> Result<u32, Error> {
        let mode = self.u32()?;
        let known = abi::fs::S_IFMT | abi::fs::S_IALLUGO;
        if mode & !known == 0 && abi::FileType::from_mode(mode).is_some() {
            Ok(mode)
        } else {
            Err(Error::Bad("a mode"))
        }
    }
    fn id(&mut self) -> Result<u32, Error> {
        // That number means "leave alone" to chown(2).
        self.u32().and_then(|v| if v == u32::MAX { Err(Error::Bad("an owner")) } else { Ok(v) })
    }
    fn stamp(&mut self) -> Result<Stamp, Error> {
        Ok(Stamp {
            mode: self.mode()?,
            uid: self.id()?,
            gid: self.id()?,
            nlink: self.u32()?,
            size: self.size()?,
            mtime: self.time()?,
            ctime: self.time()?,
        })
    }
    fn xattrs(&mut self) -> Result<crate::Xattrs, Error> {
        let count = self.u32()?;
        let mut all = crate::Xattrs::new();
        let mut total = 0;
        for _ in 0..count {
            let (name, value) = (self.bytes()?, self.bytes()?);
            total += name.len() + value.len() + 1;
            if name.is_empty() || name.len() > 255 || name.contains(&0) || value.len() > 64 << 10 {
                return Err(Error::Bad("an extended attribute"));
            }
            if total > MAX_XATTRS {
                return Err(Error::Bad("extended attributes"));
            }
            all.push((name.to_vec(), value.to_vec()));
        }
        Ok(all)
    }
    fn content(&mut self) -> Result<Content, Error> {
        Ok(match self.u8()? {
            0 => Content::Dir,
            1 => Content::File { size: self.size()? },
            2 => Content::Base,
            3 => {
                let t = self.bytes()?;
                if t.is_empty() || t.len() > 4095 || t.contains(&0) {
                    return Err(Error::Bad("a symbolic link"));
                }
                Content::Symlink(t.to_vec())
            }
            4 => Content::Special(self.u64()?),
            5 => Content::Link(self.path()?),
            _ => return Err(Error::Bad("a kind of content")),
        })
    }
}

fn parse(body: &[u8]) -> Result<Frame<'_>, Error> {
    let mut f = Fields { left: body };
    let frame = match f.u8()? {
        1 => {
            let tree = f.bytes()?;
            if tree.len() > MAX_DATA || tree.contains(&0) {
                return Err(Error::Bad("the tree's name"));
            }
            Frame::Header { tree: tree.to_vec(), saved: f.u64()?.cast_signed() }
        }
        2 => Frame::Gone(Gone { path: f.path()?, base: f.stamp()? }),
        3 => {
            let path = f.path()?;
            let (mode, uid, gid) = (f.mode()?, f.id()?, f.id()?);
            let (atime, mtime, xattrs) = (f.time()?, f.time()?, f.xattrs()?);
            let base = match f.u8()? {
                0 => None,
                1 => Some(f.stamp()?),
                _ => return Err(Error::Bad("a base")),
            };
            let content = f.content()?;
            Frame::Node(Box::new(Node { path, mode, uid, gid, atime, mtime, xattrs, base, content }))
        }
        4 => {
            let offset = f.size()?;
            let bytes = f.bytes()?;
            if bytes.is_empty() || bytes.len() > MAX_DATA {
                return Err(Error::Bad("data"));
            }
            // Header, tag, offset, length.
            Frame::Data { offset, bytes, at: 8 + 1 + 8 + 4 }
        }
        5 => Frame::End { frames: f.u64()? },
        _ => return Err(Error::Bad("a kind of frame")),
    };
    if f.left.is_empty() { Ok(frame) } else { Err(Error::Bad("a long frame")) }
}
