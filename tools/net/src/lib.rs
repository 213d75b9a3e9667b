//! What `uml_net` and `tunctl` are made of.
//!
//! `uml_net` runs set-user-id root where it is installed so, and everything it is given comes from whoever may run
//! it: [`request`] reads the arguments and lets through only what can do no harm by its form, [`policy`] refuses
//! what would take over the host's own traffic. Nothing is executed and no shell is involved: [`netlink`] talks to
//! the kernel, and two switches under /proc/sys are written.

#![forbid(unsafe_code)]

pub mod act;
pub mod netlink;
pub mod policy;
pub mod request;
