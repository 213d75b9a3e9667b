//! What happens to files, told to who watches them (inotify(7)).

use std::sync::Arc;

use abi::fs::{
    IN_ACCESS, IN_ATTRIB, IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_ISDIR,
    IN_MODIFY, IN_MOVE_SELF, IN_MOVED_FROM, IN_MOVED_TO, IN_OPEN,
};

use super::{dentry::Dentry, file::File, inode::Inode, notify};

fn dir_bit(is_dir: bool) -> u32 {
    if is_dir { IN_ISDIR } else { 0 }
}

fn tell(dentry: &Dentry, mask: u32, cookie: u32, name: Option<&[u8]>) {
    if let Some(i) = dentry.inode_ref() {
        tell_inode(&**i, mask, cookie, name);
    }
}

fn tell_inode(inode: &dyn Inode, mask: u32, cookie: u32, name: Option<&[u8]>) {
    if let Some(parts) = inode.common().made() {
        parts.watches.event(mask, cookie, name);
    }
}

/// An event of a file, told to its own watches and, with its name, to those of its directory.
fn both(dentry: &Dentry, mask: u32) {
    let Some(inode) = dentry.inode_ref() else { return };
    let mask = mask | dir_bit(inode.dir().is_some());
    if let Some((name, p)) = dentry.watched_place() {
        let unlinked = if dentry.is_removed() { notify::UNLINKED } else { 0 };
        tell(&p, mask | unlinked, 0, Some(&name));
    }
    tell_inode(&**inode, mask, 0, None);
}

/// A name was made in `dir`.
pub(super) fn created(dir: &Dentry, name: &[u8], is_dir: bool) {
    tell(dir, IN_CREATE | dir_bit(is_dir), 0, Some(name));
}

/// A name is gone from `dir`; `last` if it was the last one of its inode.
pub(super) fn deleted(dir: &Dentry, name: &[u8], inode: &dyn Inode, last: bool) {
    let is_dir = inode.dir().is_some();
    lost_name(inode, last);
    tell(dir, IN_DELETE | dir_bit(is_dir), 0, Some(name));
}

/// A name was moved; `cookie` ties what both directories hear together.
pub(super) fn moved(cookie: u32, from: &Dentry, old: &[u8], to: &Dentry, new: &[u8], inode: &Arc<dyn Inode>) {
    let is_dir = dir_bit(inode.dir().is_some());
    tell(from, IN_MOVED_FROM | is_dir, cookie, Some(old));
    tell(to, IN_MOVED_TO | is_dir, cookie, Some(new));
    tell_inode(&**inode, IN_MOVE_SELF, 0, None);
}

/// Attributes changed.
pub fn attributes(dentry: &Dentry) {
    both(dentry, IN_ATTRIB);
}

/// A file was opened.
pub fn opened(file: &File) {
    both(&file.path.dentry, IN_OPEN);
}

/// The last descriptor is gone.
pub(super) fn closed(file: &File) {
    both(&file.path.dentry, if file.writable() { IN_CLOSE_WRITE } else { IN_CLOSE_NOWRITE });
}

/// A file was cut when it was opened.
pub(super) fn emptied(dentry: &Dentry) {
    both(dentry, IN_MODIFY);
}

/// Bytes or entries were read.
pub fn accessed(file: &File) {
    both(&file.path.dentry, IN_ACCESS);
}

/// Bytes were written, or the file was cut.
pub fn modified(file: &File) {
    both(&file.path.dentry, IN_MODIFY);
}

/// A rename took an inode's name.
pub(super) fn replaced(inode: &dyn Inode, last: bool) {
    lost_name(inode, last);
}

/// An inode has a name less: of all but directories the link count is an attribute.
fn lost_name(inode: &dyn Inode, last: bool) {
    if inode.dir().is_none() {
        tell_inode(inode, IN_ATTRIB, 0, None);
    }
    if last {
        tell_inode(inode, IN_DELETE_SELF, 0, None);
    }
}
