//! Paths: a place in the mount tree, and walks to it.

use std::sync::Arc;

use super::{dentry::Dentry, mount::Mount};

/// A place: a dentry as seen through a mount.
#[derive(Clone)]
pub struct Path {
    pub mount: Arc<Mount>,
    pub dentry: Arc<Dentry>,
}
