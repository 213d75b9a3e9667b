//! Extended attribute names and limits (xattr(7)).

/// Attributes of programs, on files and directories only.
pub const USER_PREFIX: &[u8] = b"user.";
/// Attributes only `CAP_SYS_ADMIN` sees.
pub const TRUSTED_PREFIX: &[u8] = b"trusted.";
/// Attributes of the kernel, such as access control lists.
pub const SYSTEM_PREFIX: &[u8] = b"system.";
/// Attributes of security modules and file capabilities.
pub const SECURITY_PREFIX: &[u8] = b"security.";
/// The access control list of a file (acl(5)).
pub const POSIX_ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// The list new files of a directory inherit.
pub const POSIX_ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
/// File capabilities (capabilities(7)).
pub const SECURITY_CAPABILITY: &[u8] = b"security.capability";

/// Longest name in bytes.
pub const XATTR_NAME_MAX: usize = 255;
/// Largest value in bytes.
pub const XATTR_SIZE_MAX: usize = 65536;
/// Largest list of names in bytes.
pub const XATTR_LIST_MAX: usize = 65536;

/// setxattr(2): fail if the attribute exists.
pub const XATTR_CREATE: u32 = 1;
/// setxattr(2): fail if the attribute does not exist.
pub const XATTR_REPLACE: u32 = 2;
