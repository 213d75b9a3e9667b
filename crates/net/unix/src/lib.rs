//! Unix domain sockets (unix(7)).
#![forbid(unsafe_code)]

use kernel::registry::Registry;

/// Adds the family to a machine's registry.
pub fn register(_registry: &mut Registry) {}
