//! Capture files in the classic pcap format, with microseconds (pcap-savefile(5)).

use std::time::Duration;

/// Largest part of a frame that is kept: all of it.
pub const SNAP_LEN: u32 = 65535;

const MAGIC: u32 = 0xa1b2_c3d4;
const LINKTYPE_ETHERNET: u32 = 1;

/// The head of the file.
pub fn file_header() -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&MAGIC.to_ne_bytes());
    header[4..6].copy_from_slice(&2u16.to_ne_bytes());
    header[6..8].copy_from_slice(&4u16.to_ne_bytes());
    header[16..20].copy_from_slice(&SNAP_LEN.to_ne_bytes());
    header[20..].copy_from_slice(&LINKTYPE_ETHERNET.to_ne_bytes());
    header
}

/// What precedes a frame of `len` bytes seen at `time` since 1970; the frame follows, cut to [`SNAP_LEN`].
pub fn record_header(time: Duration, len: usize) -> [u8; 16] {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let mut header = [0; 16];
    // The format has 32 bits for seconds, unsigned: enough until 2106.
    let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    header[..4].copy_from_slice(&seconds.to_ne_bytes());
    header[4..8].copy_from_slice(&time.subsec_micros().to_ne_bytes());
    header[8..12].copy_from_slice(&len.min(SNAP_LEN).to_ne_bytes());
    header[12..].copy_from_slice(&len.to_ne_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_layout_is_that_of_the_manual() {
        assert_eq!(
            file_header(),
            [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0]
        );
        let header = record_header(Duration::new(0x0102_0304, 5_000), 70_000);
        assert_eq!(header, [4, 3, 2, 1, 5, 0, 0, 0, 0xff, 0xff, 0, 0, 0x70, 0x11, 1, 0]);
    }
}
