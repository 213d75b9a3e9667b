//! Mounting by mount(2): `lowerdir=a:b,upperdir=u,workdir=w`.

use std::sync::Arc;

use abi::{
    errno::{EINVAL, ENOTDIR, EROFS},
    fs::AT_FDCWD,
};
use kernel::{
    Machine, Result,
    registry::FsType,
    task::TaskCx,
    vfs::{LookupFlags, inode::FileSystem, resolve},
};

use crate::{Layer, Overlay};

pub(crate) struct OverlayType;

fn layer(cx: &TaskCx, path: &[u8]) -> Result<Layer> {
    let at = resolve(&cx.task, AT_FDCWD, path, LookupFlags::FOLLOW | LookupFlags::DIRECTORY)?;
    let root = at.inode()?.clone();
    if root.dir().is_none() {
        return Err(ENOTDIR);
    }
    Ok(Layer::new(root, at.mount.fs.clone()))
}

/// Splits at colons that no backslash protects.
fn split_lowers(value: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let mut bytes = value.iter().peekable();
    while let Some(b) = bytes.next() {
        match b {
            b'\\' if bytes.peek().is_some() => {
                if let (Some(last), Some(next)) = (all.last_mut(), bytes.next()) {
                    last.push(*next);
                }
            }
            b':' => all.push(Vec::new()),
            _ => {
                if let Some(last) = all.last_mut() {
                    last.push(*b);
                }
            }
        }
    }
    all.retain(|p| !p.is_empty());
    all
}

impl FsType for OverlayType {
    fn name(&self) -> &'static str {
        "overlay"
    }
    fn mount(
        &self,
        machine: &Arc<Machine>,
        _source: &[u8],
        options: &[u8],
        read_only: bool,
        task: Option<&TaskCx>,
    ) -> Result<Arc<dyn FileSystem>> {
        let cx = task.ok_or(EINVAL)?;
        let (mut lower, mut upper, mut work) = (None, None, None);
        for item in options.split(|b| *b == b',').filter(|i| !i.is_empty()) {
            let at = item.iter().position(|b| *b == b'=').unwrap_or(item.len());
            let value = item.get(at + 1..).unwrap_or_default();
            match &item[..at] {
                b"lowerdir" => lower = Some(value),
                b"upperdir" => upper = Some(value),
                b"workdir" => work = Some(value),
                // How it is always done here, or makes no difference.
                b"index" | b"redirect_dir" | b"metacopy" | b"xino" | b"nfs_export" | b"volatile"
                | b"userxattr" => {}
                _ => return Err(EINVAL),
            }
        }
        let lowers = split_lowers(lower.ok_or(EINVAL)?);
        let lowers = lowers.iter().map(|p| layer(cx, p)).collect::<Result<Vec<_>>>()?;
        let upper = match upper {
            Some(path) => {
                if work.is_none() {
                    return Err(EINVAL);
                }
                let l = layer(cx, path)?;
                if l.fs.type_name() == "proc" {
                    return Err(EROFS);
                }
                Some(l)
            }
            None => None,
        };
        if upper.is_none() && lowers.len() < 2 && !read_only {
            return Err(EINVAL);
        }
        Ok(Overlay::build(machine, upper, lowers, String::from_utf8_lossy(options).into_owned())?)
    }
}

#[cfg(test)]
mod tests {
    use super::split_lowers;

    #[test]
    fn lower_paths_are_split_at_bare_colons() {
        assert_eq!(split_lowers(b"/a:/b\\:c::/d"), [&b"/a"[..], b"/b:c", b"/d"]);
    }
}
