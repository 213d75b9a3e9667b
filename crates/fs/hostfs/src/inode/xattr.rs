//! Extended attributes of hostfs, for reading.

use abi::{errno, fs as flags};
use hal::HostFile;
use kernel::{Result, vfs::inode::XattrOps};

use super::HostInode;
use crate::Key;

/// Only what means the same inside is shown: user attributes and file capabilities. No ACLs: the guest does not check
/// them.
impl XattrOps for HostInode {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        if !is_shown(name) {
            let acl = name.starts_with(b"system.");
            return Err(if acl { errno::EOPNOTSUPP } else { errno::ENODATA });
        }
        self.with_file(|f| f.get_xattr(name))
    }
    fn set(&self, _name: &[u8], _value: &[u8], _flags: u32) -> Result<()> {
        Err(errno::EOPNOTSUPP)
    }
    fn remove(&self, _name: &[u8]) -> Result<()> {
        Err(errno::EOPNOTSUPP)
    }
    fn list(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = self.with_file(|f| f.list_xattr())?;
        names.retain(|n| is_shown(n));
        Ok(names)
    }
}

fn is_shown(name: &[u8]) -> bool {
    name.starts_with(abi::xattr::USER_PREFIX) || name == abi::xattr::SECURITY_CAPABILITY
}

impl HostInode {
    /// Runs `f` with some handle of this file.
    fn with_file<T>(&self, f: impl Fn(&dyn HostFile) -> Result<T>) -> Result<T> {
        if let Some(opened) = self.live() {
            return f(&*opened.file);
        }
        let file = match self.place()? {
            (None, _) => self.fs.root_file.clone(),
            _ => {
                self.fs.with_descriptors(|| self.at_place(|dir, name| dir.open_at(name, flags::O_PATH, 0)))?
            }
        };
        if Key::of(&file.stat()?) != self.key {
            return Err(errno::ENOENT);
        }
        f(&*file)
    }
}
