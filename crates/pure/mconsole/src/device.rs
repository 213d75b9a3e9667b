//! The argument of `config` and `remove`: a device type, a unit, and perhaps a configuration.

/// What a `config` wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Config<'a> {
    /// Add or change: what follows the type name, as on the command line (`0=disk`, `0:transport=tap`).
    Set(&'a [u8]),
    /// Tell: what follows the type name, mostly a number.
    Query(&'a [u8]),
}

/// The answer to a `config` of no known type, with error 1.
pub const BAD_CONFIG: &str = "Bad configuration option";

/// The answer to a `remove` of no known type, with error 1.
pub const BAD_REMOVE: &str = "Bad remove option";

/// Finds the first of `types` that `argument` starts with; returns its index and the rest.
pub fn find_type<'a>(argument: &'a [u8], types: &[&str]) -> Option<(usize, &'a [u8])> {
    types.iter().enumerate().find_map(|(i, name)| Some((i, argument.strip_prefix(name.as_bytes())?)))
}

/// Reads the argument of `config`: index of the type and what is wanted. It is a configuration when a `=` stands
/// anywhere behind the type. `None` is answered with [`BAD_CONFIG`].
pub fn config<'a>(argument: &'a [u8], types: &[&str]) -> Option<(usize, Config<'a>)> {
    let (index, rest) = find_type(argument, types)?;
    Some((index, if rest.contains(&b'=') { Config::Set(rest) } else { Config::Query(rest) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [&str; 5] = ["ubd", "con", "ssl", "mem", "vec"];

    #[test]
    fn an_equals_sign_makes_a_configuration() {
        assert_eq!(config(b"ubd0=a", &TYPES), Some((0, Config::Set(b"0=a"))));
        assert_eq!(config(b"ubd0", &TYPES), Some((0, Config::Query(b"0"))));
        assert_eq!(config(b"vec1:transport=tap", &TYPES), Some((4, Config::Set(b"1:transport=tap"))));
        assert_eq!(config(b"vec1:transport", &TYPES), Some((4, Config::Query(b"1:transport"))));
        assert_eq!(config(b"mem", &TYPES), Some((3, Config::Query(b""))));
        assert_eq!(config(b"xyz", &TYPES), None);
        assert_eq!(config(b"", &TYPES), None);
    }

    #[test]
    fn the_first_type_that_fits_is_taken() {
        assert_eq!(find_type(b"vector0", &["vec", "vector"]), Some((0, &b"tor0"[..])));
    }
}
