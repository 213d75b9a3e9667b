//! UML copy-on-write ("COW") disk images.
//!
//! A COW file holds the changed sectors of one *backing file*: a header naming the backing file, a
//! bitmap with one bit per sector, and a sparse data area that mirrors the backing file one to one.
//! Sector *n* is read from the data area when its bit is set, else from the backing file, which is
//! never written.
//!
//! - [`header`]: the header versions 1, 2 and 3 (and the broken 64-bit layout of version 3), the places
//!   of bitmap and data, the check of the backing file.
//! - [`bitmap`]: the bitmap in memory, with runs and dirty tracking.
//! - [`store`]: the two small traits through which the device view reaches its files.
//! - [`device`]: the block device: `read_at`, `write_at`, `flush`, `discard`.
//! - [`mem`]: files in memory, which can also replay a crash after any write.
//!
//! The crate itself does no I/O and knows no clock; the machine's ubd driver and the tools
//! `uml_mkcow` and `uml_moo` bring their own [`store::Store`].

#![forbid(unsafe_code)]

pub mod bitmap;
pub mod device;
pub mod header;
pub mod mem;
pub mod store;

pub use bitmap::Bitmap;
pub use device::{Access, Device, Error};
pub use header::{Format, Header, HeaderError, Mismatch};
pub use store::{ReadStore, Store};
