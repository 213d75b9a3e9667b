//! What runs in the stub processes: their code, and the few steps that make the first of them.

pub(crate) mod code;
pub(crate) mod filter;
pub(crate) mod served;
pub(crate) mod zygote;
