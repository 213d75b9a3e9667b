//! Pages of a file in the machine's shared memory: read, write and mapped by guests alike.

/// The cached contents of one file.
pub struct PageCache {}
