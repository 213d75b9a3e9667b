//! The progress bar, and stopping in good order on a signal.

use crate::{Failure, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Work below this many bytes is over before a bar could be read.
const WORTH_A_BAR: u64 = 16 << 20;

/// Counts bytes done, shows them on a terminal, and watches for signals.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    signal: Arc<AtomicUsize>,
}

impl Progress {
    /// Begins work of so many bytes. From here on SIGINT, SIGTERM and SIGHUP end it at the next
    /// [`Progress::advance`] instead of at once.
    pub fn new(total: u64) -> Result<Progress> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [2, 15, 1] {
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize)
                .map_err(|e| Failure::new(format!("signal {number}: {e}")))?;
        }
        let bar = if total >= WORTH_A_BAR && std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
            bar.set_style(
                ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        } else {
            ProgressBar::hidden()
        };
        Ok(Progress { bar, signal })
    }

    /// Notes that so many bytes more are done. Fails when a signal asks to stop, with a shell's
    /// exit status for it.
    pub fn advance(&self, bytes: u64) -> Result<()> {
        self.bar.inc(bytes);
        match self.signal.load(Ordering::Relaxed) {
            0 => Ok(()),
            number => {
                self.bar.finish_and_clear();
                Err(Failure { text: format!("interrupted by signal {number}"), code: 128 + number as u8 })
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
