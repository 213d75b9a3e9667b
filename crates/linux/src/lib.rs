//! Puts a machine together: the host below, the modules in, the root filesystem, the first process; and waits for its
//! end. Two programs stand on it: `umlaut` and `linux`.
#![forbid(unsafe_code)]

pub mod cli;
pub mod layers;
pub mod machine;
pub mod modules;
pub mod tracer;
pub mod umid;
pub mod uml;
pub mod users;
