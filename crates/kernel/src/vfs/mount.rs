//! Mounts and mount namespaces.

/// One mount.
pub struct Mount {}

/// The mounts that a task sees.
pub struct MountNs {}
