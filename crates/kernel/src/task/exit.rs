//! How tasks and processes end.
use super::TaskCx;

/// Ends the running task: called once, on its own thread, after its run loop.
pub fn finish(cx: TaskCx) {
    drop(cx);
}
