//! Frames to bytes.

use crate::{Content, Gone, MAGIC, Node, Stamp, Time};

struct Body(Vec<u8>);

impl Body {
    fn new(tag: u8) -> Body {
        Body(vec![tag])
    }
    fn u8(&mut self, v: u8) {
        self.0.push(v);
    }
    fn u32(&mut self, v: u32) {
        self.0.extend(v.to_le_bytes());
    }
    fn u64(&mut self, v: u64) {
        self.0.extend(v.to_le_bytes());
    }
    fn time(&mut self, t: Time) {
        self.0.extend(t.0.to_le_bytes());
        self.u32(t.1);
    }
    /// Longer strings than 4 GiB do not come up: the reader's limits are far below.
    fn bytes(&mut self, b: &[u8]) {
        self.u32(u32::try_from(b.len()).unwrap_or(u32::MAX));
        self.0.extend(b);
    }
    fn stamp(&mut self, s: &Stamp) {
        for v in [s.mode, s.uid, s.gid, s.nlink] {
            self.u32(v);
        }
        self.u64(s.size);
        self.time(s.mtime);
        self.time(s.ctime);
    }
    fn finish(self, out: &mut Vec<u8>) {
        out.extend(u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(crc32fast::hash(&self.0).to_le_bytes());
        out.extend(self.0);
    }
}

/// The beginning of a file: of which tree it is, and when it was saved.
pub fn header(out: &mut Vec<u8>, tree: &[u8], saved: i64) {
    out.extend(MAGIC);
    let mut b = Body::new(1);
    b.bytes(tree);
    b.u64(saved.cast_unsigned());
    b.finish(out);
}

pub fn gone(out: &mut Vec<u8>, g: &Gone) {
    let mut b = Body::new(2);
    b.bytes(&g.path);
    b.stamp(&g.base);
    b.finish(out);
}

pub fn node(out: &mut Vec<u8>, n: &Node) {
    let mut b = Body::new(3);
    b.bytes(&n.path);
    for v in [n.mode, n.uid, n.gid] {
        b.u32(v);
    }
    b.time(n.atime);
    b.time(n.mtime);
    b.u32(u32::try_from(n.xattrs.len()).unwrap_or(u32::MAX));
    for (name, value) in &n.xattrs {
        b.bytes(name);
        b.bytes(value);
    }
    match &n.base {
        None => b.u8(0),
        Some(s) => {
            b.u8(1);
            b.stamp(s);
        }
    }
    match &n.content {
        Content::Dir => b.u8(0),
        Content::File { size } => {
            b.u8(1);
            b.u64(*size);
        }
        Content::Base => b.u8(2),
        Content::Symlink(t) => {
            b.u8(3);
            b.bytes(t);
        }
        Content::Special(rdev) => {
            b.u8(4);
            b.u64(*rdev);
        }
        Content::Link(p) => {
            b.u8(5);
            b.bytes(p);
        }
    }
    b.finish(out);
}

/// Data of the node before, at most [`crate::MAX_DATA`] bytes.
pub fn data(out: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let mut b = Body::new(4);
    b.u64(offset);
    b.bytes(bytes);
    b.finish(out);
}

/// The end, after so many frames.
pub fn end(out: &mut Vec<u8>, frames: u64) {
    let mut b = Body::new(5);
    b.u64(frames);
    b.finish(out);
}
