//! Terminals: line disciplines, sessions' controlling terminals, ptys.

/// A terminal.
pub struct Tty {}
