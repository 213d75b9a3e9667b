//! The protocol of `uml_switch` and the logic of an Ethernet switch, without I/O.
//!
//! - [`request`]: what a client sends on the control socket, versions 0, 1 and 3, and the answer;
//! - [`addr`]: socket addresses, which travel verbatim in 110 bytes;
//! - [`frame`]: the head of an Ethernet frame;
//! - [`table`]: which station is behind which port, with ageing and bounds;
//! - [`shape`]: rate, loss and delay of a port, for network labs;
//! - [`command`]: the line protocol of the management socket;
//! - [`pcap`]: capture files.
//!
//! Times are [`Duration`](std::time::Duration)s since some start the caller chooses. Integers on the wire are in
//! host byte order: both ends are on one machine. Nothing here panics on bad input.

#![forbid(unsafe_code)]

pub mod addr;
pub mod command;
pub mod frame;
pub mod pcap;
pub mod request;
pub mod shape;
pub mod table;

pub use addr::SockAddr;
pub use frame::Mac;
pub use request::{Progress, Request, RequestError, Version};
