//! Mount options of tmpfs(5).

use std::sync::Arc;

use abi::errno::EINVAL;
use kernel::{Machine, Result};

/// `size=` or `nr_blocks=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// Half of the machine's memory.
    #[default]
    Default,
    Unlimited,
    Bytes(u64),
    Percent(u64),
}

impl Size {
    pub(crate) fn max_bytes(self, machine: &Arc<Machine>) -> Option<u64> {
        let memory = machine.config.memory;
        let pages = |b: u64| b.div_ceil(crate::PAGE).saturating_mul(crate::PAGE);
        match self {
            Size::Default => Some(pages(memory / 2)),
            Size::Unlimited => None,
            Size::Bytes(b) => Some(pages(b)),
            Size::Percent(p) => Some(pages((memory / 100).saturating_mul(p))),
        }
    }
    /// The limit, if one was given.
    pub(crate) fn given(self, machine: &Arc<Machine>) -> Option<Option<u64>> {
        (self != Size::Default).then(|| self.max_bytes(machine))
    }
}

/// `nr_inodes=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inodes {
    /// Half the number of the machine's pages.
    #[default]
    Default,
    Unlimited,
    Count(u64),
}

impl Inodes {
    pub(crate) fn max(self, machine: &Arc<Machine>) -> Option<u64> {
        match self {
            Inodes::Default => Some((machine.config.memory / crate::PAGE / 2).max(1024)),
            Inodes::Unlimited => None,
            Inodes::Count(n) => Some(n),
        }
    }
    pub(crate) fn given(self) -> Option<Option<u64>> {
        match self {
            Inodes::Default => None,
            Inodes::Unlimited => Some(None),
            Inodes::Count(n) => Some(Some(n)),
        }
    }
}

/// How an instance is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub size: Size,
    pub inodes: Inodes,
    /// Permissions of the root; 1777 unless given.
    pub mode: Option<u32>,
    pub uid: u32,
    pub gid: u32,
}

/// A number with an optional k, m, g, t suffix.
fn number(text: &str) -> Result<u64> {
    let lower = text.to_ascii_lowercase();
    let (digits, shift) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 10),
        Some(b'm') => (&lower[..lower.len() - 1], 20),
        Some(b'g') => (&lower[..lower.len() - 1], 30),
        Some(b't') => (&lower[..lower.len() - 1], 40),
        _ => (&lower[..], 0),
    };
    let n: u64 = digits.parse().map_err(|_| EINVAL)?;
    n.checked_mul(1 << shift).ok_or(EINVAL)
}

impl Options {
    /// Parses `size=64m,nr_inodes=1k,mode=0755,uid=0,gid=0`; EINVAL for what is not known.
    pub fn parse(text: &[u8]) -> Result<Options> {
        let text = std::str::from_utf8(text).map_err(|_| EINVAL)?;
        let mut o = Options::default();
        for item in text.split(',').filter(|i| !i.is_empty()) {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            match key {
                "size" => {
                    o.size = match value.strip_suffix('%') {
                        Some(p) => Size::Percent(p.parse().map_err(|_| EINVAL)?),
                        None => match number(value)? {
                            0 => Size::Unlimited,
                            n => Size::Bytes(n),
                        },
                    }
                }
                "nr_blocks" => {
                    o.size = match number(value)? {
                        0 => Size::Unlimited,
                        n => Size::Bytes(n.checked_mul(crate::PAGE).ok_or(EINVAL)?),
                    }
                }
                "nr_inodes" => {
                    o.inodes = match number(value)? {
                        0 => Inodes::Unlimited,
                        n => Inodes::Count(n),
                    }
                }
                "mode" => {
                    o.mode = Some(u32::from_str_radix(value, 8).map_err(|_| EINVAL)? & abi::fs::S_IALLUGO);
                }
                "uid" => o.uid = value.parse().map_err(|_| EINVAL)?,
                "gid" => o.gid = value.parse().map_err(|_| EINVAL)?,
                // Memory policy, huge pages and inode width make no difference here.
                "mpol" | "huge" | "inode64" | "inode32" | "noswap" => {}
                _ => return Err(EINVAL),
            }
        }
        Ok(o)
    }
}
