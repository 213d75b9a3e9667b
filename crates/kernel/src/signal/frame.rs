//! The x86-64 signal frame.
