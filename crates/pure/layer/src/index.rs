//! What a file says as a whole: its frames checked against each other. Data stay in the file.

use std::collections::HashMap;

use abi::FileType;

use crate::{Content, Error, Frame, Gone, Node, split};

/// A piece of a file's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it belongs.
    pub offset: u64,
    pub len: u64,
    /// Where it stands in the saved file.
    pub at: u64,
}

/// One object, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Gone(Gone),
    Node(Box<Node>, Vec<Extent>),
}

/// A whole saved layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// The tree that it was saved over.
    pub tree: Vec<u8>,
    /// When, in seconds since 1970.
    pub saved: i64,
    pub entries: Vec<Entry>,
}

/// Takes frames one after another.
#[derive(Debug, Default)]
pub struct Index {
    layer: Layer,
    frames: u64,
    ended: bool,
    /// Position of the node of each path.
    nodes: HashMap<Vec<u8>, usize>,
    gone: HashMap<Vec<u8>, FileType>,
}

impl Index {
    /// The next frame, which stands at `at` in the file.
    pub fn add(&mut self, frame: Frame<'_>, at: u64) -> Result<(), Error> {
        if self.ended {
            return Err(Error::Bad("something after the end"));
        }
        match frame {
            Frame::Header { tree, saved } if self.frames == 0 => {
                self.layer.tree = tree;
                self.layer.saved = saved;
            }
            Frame::Header { .. } => return Err(Error::Bad("two headers")),
            _ if self.frames == 0 => return Err(Error::Bad("no header")),
            Frame::Gone(g) => self.add_gone(g)?,
            Frame::Node(n) => self.add_node(n)?,
            Frame::Data { offset, bytes, at: inside } => {
                let len = bytes.len() as u64;
                let Some(Entry::Node(node, extents)) = self.layer.entries.last_mut() else {
                    return Err(Error::Bad("data of nothing"));
                };
                let Content::File { size } = node.content else { return Err(Error::Bad("data of no file")) };
                let before = extents.last().map_or(0, |e| e.offset + e.len);
                if offset < before || offset.checked_add(len).is_none_or(|end| end > size) {
                    return Err(Error::Bad("data out of place"));
                }
                let at = at.checked_add(inside as u64).ok_or(Error::Bad("data out of place"))?;
                extents.push(Extent { offset, len, at });
            }
            Frame::End { frames } if frames == self.frames => self.ended = true,
            Frame::End { .. } => return Err(Error::Bad("frames are missing")),
        }
        self.frames += 1;
        Ok(())
    }

    /// The layer, if the end was seen.
    pub fn finish(self) -> Result<Layer, Error> {
        if self.ended { Ok(self.layer) } else { Err(Error::Truncated) }
    }

    fn add_gone(&mut self, g: Gone) -> Result<(), Error> {
        let kind = FileType::from_mode(g.base.mode).ok_or(Error::Bad("a mode"))?;
        let Some((parent, _)) = split(&g.path) else { return Err(Error::Bad("a removed root")) };
        // Below a new object there is nothing of the tree.
        if self.gone.get(parent).is_some_and(|k| *k != FileType::Directory)
            || (!self.gone.contains_key(parent) && self.is_new(parent))
            || self.nodes.contains_key(&g.path)
        {
            return Err(Error::Bad("a removed path"));
        }
        if self.gone.insert(g.path.clone(), kind).is_some() {
            return Err(Error::Bad("a path removed twice"));
        }
        self.layer.entries.push(Entry::Gone(g));
        Ok(())
    }

    fn node(&self, path: &[u8]) -> Option<&Node> {
        match self.nodes.get(path).and_then(|at| self.layer.entries.get(*at)) {
            Some(Entry::Node(n, _)) => Some(n),
            _ => None,
        }
    }

    fn is_new(&self, path: &[u8]) -> bool {
        self.node(path).is_some_and(|n| n.base.is_none())
    }

    fn add_node(&mut self, n: Box<Node>) -> Result<(), Error> {
        let kind = n.kind().ok_or(Error::Bad("a mode"))?;
        let fits = match &n.content {
            Content::Dir => kind == FileType::Directory,
            Content::File { .. } => kind == FileType::Regular,
            Content::Base => n.base.is_some() && kind == FileType::Regular,
            Content::Symlink(_) => kind == FileType::Symlink,
            Content::Special(_) => {
                matches!(kind, FileType::Char | FileType::Block | FileType::Fifo | FileType::Socket)
            }
            Content::Link(to) => {
                kind != FileType::Directory
                    && self
                        .node(to)
                        .is_some_and(|t| t.kind() == Some(kind) && !matches!(t.content, Content::Link(_)))
            }
        };
        if !fits || n.base.is_some_and(|b| FileType::from_mode(b.mode) != Some(kind)) {
            return Err(Error::Bad("a node"));
        }
        match split(&n.path) {
            None => {
                if kind != FileType::Directory || n.base.is_none() {
                    return Err(Error::Bad("the root"));
                }
            }
            Some((parent, _)) => {
                let inside = match self.node(parent) {
                    Some(p) => {
                        let shows = p.base.is_some();
                        p.kind() == Some(FileType::Directory) && (shows || n.base.is_none())
                    }
                    // The tree's own, not changed itself; it must still be there.
                    None => !self.gone.contains_key(parent),
                };
                if !inside || (n.base.is_some() && self.gone.contains_key(&n.path)) {
                    return Err(Error::Bad("a node in no directory"));
                }
            }
        }
        if self.nodes.insert(n.path.clone(), self.layer.entries.len()).is_some() {
            return Err(Error::Bad("a path twice"));
        }
        self.layer.entries.push(Entry::Node(n, Vec::new()));
        Ok(())
    }
}

impl Layer {
    /// Reads a whole file from memory.
    pub fn parse(file: &[u8]) -> Result<Layer, Error> {
        let mut rest = file.strip_prefix(&crate::MAGIC).ok_or(Error::NotALayer)?;
        let mut index = Index::default();
        while !rest.is_empty() {
            let at = (file.len() - rest.len()) as u64;
            let Some((frame, len)) = crate::next_frame(rest)? else { return Err(Error::Truncated) };
            index.add(frame, at)?;
            rest = &rest[len..];
        }
        index.finish()
    }
}
