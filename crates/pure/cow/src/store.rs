//! What the device view needs of the files below it.
//!
//! The backing file is only ever a [`ReadStore`]: the type system keeps it from being written.

/// A file that can be read at any offset.
pub trait ReadStore {
    /// The error of the file's operations.
    type Error;

    /// Fills the whole buffer from `offset` (bytes). Past the end of the file there are zeros.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Self::Error>;

    /// Length of the file in bytes.
    fn len(&self) -> Result<u64, Self::Error>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> Result<bool, Self::Error> {
        Ok(self.len()? == 0)
    }
}

/// A file that can be written, too.
pub trait Store: ReadStore {
    /// Writes the whole buffer at `offset` (bytes); the file grows when need be.
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), Self::Error>;

    /// Returns once all that was written before is safe from a crash of the host (fdatasync(2)).
    fn sync(&self) -> Result<(), Self::Error>;

    /// Makes a range read as zeros and frees its space, the file's length unchanged (fallocate(2) with
    /// FALLOC_FL_PUNCH_HOLE). `Ok(false)` when the file cannot do so; then nothing has changed.
    fn punch_hole(&self, offset: u64, len: u64) -> Result<bool, Self::Error>;
}

impl<T: ReadStore + ?Sized> ReadStore for &T {
    type Error = T::Error;

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Self::Error> {
        (**self).read_at(buf, offset)
    }

    fn len(&self) -> Result<u64, Self::Error> {
        (**self).len()
    }
}

impl<T: Store + ?Sized> Store for &T {
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<(), Self::Error> {
        (**self).write_at(buf, offset)
    }

    fn sync(&self) -> Result<(), Self::Error> {
        (**self).sync()
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<bool, Self::Error> {
        (**self).punch_hole(offset, len)
    }
}
