//! The management console of a machine: its datagrams and its grammar, without I/O.
//!
//! - [`packet`]: requests, replies in pieces, notifications;
//! - [`command`]: what a machine understands, and its help text;
//! - [`device`]: the argument of `config` and `remove`;
//! - [`client`]: what a client does with a line before it is sent.
//!
//! The driver in the machine and the program `uml_mconsole` share it. Integers on the wire are in host byte order:
//! both ends are on one machine. Nothing here panics on bad input.

#![forbid(unsafe_code)]

pub mod client;
pub mod command;
pub mod device;
pub mod packet;

pub use command::Command;
pub use packet::{Assembler, Notification, Refusal, Reply, Request};
