//! Little-endian accessors for byte images of kernel structures.
//!
//! Offsets are constants of the caller: an offset outside the buffer is a bug of ours and panics.

macro_rules! accessors {
    ($($get:ident $put:ident $ty:ty,)*) => {
        $(
            #[doc = concat!("The `", stringify!($ty), "` at byte `at`.")]
            #[inline]
            pub fn $get(bytes: &[u8], at: usize) -> $ty {
                let mut raw = [0; size_of::<$ty>()];
                raw.copy_from_slice(&bytes[at..at + size_of::<$ty>()]);
                <$ty>::from_le_bytes(raw)
            }

            #[doc = concat!("Stores a `", stringify!($ty), "` at byte `at`.")]
            #[inline]
            pub fn $put(bytes: &mut [u8], at: usize, value: $ty) {
                bytes[at..at + size_of::<$ty>()].copy_from_slice(&value.to_le_bytes());
            }
        )*
    };
}

accessors! {
    get_u16 put_u16 u16,
    get_i16 put_i16 i16,
    get_u32 put_u32 u32,
    get_i32 put_i32 i32,
    get_u64 put_u64 u64,
    get_i64 put_i64 i64,
}

/// The `N` bytes from `at`, as an array.
#[inline]
pub fn get_array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Stores a slice at `at`.
#[inline]
pub fn put_slice(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Declares a kernel structure of plain integers with its `SIZE`, `encode` and `decode` from a list of
/// `field: type @ offset`.
macro_rules! wire_struct {
    ($(#[$meta:meta])* $name:ident [$size:literal] { $($(#[$fmeta:meta])* $field:ident: $ty:ident @ $at:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }

        impl $name {
            /// Size of the structure in guest memory, in bytes.
            pub const SIZE: usize = $size;

            /// The structure as the guest sees it; padding is zero.
            pub fn encode(&self) -> [u8; $size] {
                let mut out = [0u8; $size];
                $($crate::wire::put_slice(&mut out, $at, &self.$field.to_le_bytes());)*
                out
            }

            /// Reads the structure out of guest bytes.
            pub fn decode(bytes: &[u8; $size]) -> Self {
                $name { $($field: $ty::from_le_bytes($crate::wire::get_array(bytes, $at)),)* }
            }
        }
    };
}
pub(crate) use wire_struct;
