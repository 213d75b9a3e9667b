//! Unix domain sockets (unix(7)): stream, datagram and sequenced-packet sockets, bound to paths or abstract names.
//!
//! A [`socket::UnixSocket`] owns its receive queue ([`queue::Rx`]); a sender puts records straight into its peer's queue and
//! pays for them out of its own send budget ([`queue::Budget`]). Open files under way in messages are counted by
//! [`passed::InFlight`], which also finds sockets that only their own messages keep alive.
//!
//! Lock order, all of rank SOCKET: a socket's state, then a receive queue. Files are never dropped under either.
#![forbid(unsafe_code)]

mod connect;
mod dgram;
mod family;
mod ioctl;
mod names;
mod options;
mod passed;
mod queue;
mod socket;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use kernel::registry::Registry;

/// Adds the family to a machine's registry.
pub fn register(registry: &mut Registry) {
    registry.socket_families.insert(abi::net::AF_UNIX, Arc::new(family::Unix::new()));
}
