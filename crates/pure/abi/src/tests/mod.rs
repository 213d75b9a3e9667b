//! Values and layouts against bindings generated from the kernel's own headers, and round trips.

mod layouts;
mod round_trips;
mod values;
