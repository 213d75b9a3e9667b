//! Numbers that are written to files.

use abi::errno;
use kernel::Result;

/// A number written to a file, as the shell writes it.
pub(crate) fn number(data: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(data).map_err(|_| errno::EINVAL)?.trim();
    let (neg, digits) = match text.strip_prefix('-') {
        Some(d) => (true, d),
        None => (false, text),
    };
    let v = match digits.strip_prefix("0x") {
        Some(h) => i64::from_str_radix(h, 16),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(digits, 8),
        None => digits.parse(),
    };
    v.map(|v: i64| if neg { -v } else { v }).map_err(|_| errno::EINVAL)
}
