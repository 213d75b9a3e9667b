//! Job-control stops.

use crate::task::{TaskCx, Work};

/// Stands stopped until continued or killed.
pub fn job_stop(cx: &mut TaskCx) {
    cx.task.clear_work(Work::STOP);
}
