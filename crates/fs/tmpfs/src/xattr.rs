//! Extended attributes of tmpfs.

use std::collections::BTreeMap;

use abi::{
    errno::{EEXIST, ENODATA, ENOSPC, EOPNOTSUPP},
    xattr::{SECURITY_PREFIX, TRUSTED_PREFIX, USER_PREFIX, XATTR_CREATE, XATTR_REPLACE},
};
use kernel::{Result, vfs::inode::XattrOps};

use crate::TmpInode;

/// Bytes of names and values that one inode may hold.
const MAX_BYTES: usize = 128 << 10;

/// The attributes of one inode; most have none.
#[derive(Default)]
// A pointer instead of three words in every inode.
#[expect(clippy::box_collection, reason = "most inodes have none: one word each")]
pub(crate) struct Xattrs(Option<Box<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl XattrOps for TmpInode {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.xattrs.lock().0.as_ref().and_then(|x| x.get(name)).cloned().ok_or(ENODATA)
    }

    fn set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        if ![USER_PREFIX, TRUSTED_PREFIX, SECURITY_PREFIX].iter().any(|p| name.starts_with(p)) {
            return Err(EOPNOTSUPP);
        }
        let mut x = self.xattrs.lock();
        let map = x.0.get_or_insert_default();
        let old = map.get(name);
        if old.is_some() && flags & XATTR_CREATE != 0 {
            return Err(EEXIST);
        }
        if old.is_none() && flags & XATTR_REPLACE != 0 {
            return Err(ENODATA);
        }
        let used: usize = map.iter().filter(|(n, _)| *n != name).map(|(n, v)| n.len() + v.len()).sum();
        if used + name.len() + value.len() > MAX_BYTES {
            return Err(ENOSPC);
        }
        map.insert(name.to_vec(), value.to_vec());
        drop(x);
        self.touch_changed(self.sb.now());
        Ok(())
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        let gone = self.xattrs.lock().0.as_mut().and_then(|x| x.remove(name));
        gone.ok_or(ENODATA)?;
        self.touch_changed(self.sb.now());
        Ok(())
    }

    fn list(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.xattrs.lock().0.as_ref().map(|x| x.keys().cloned().collect()).unwrap_or_default())
    }
}
