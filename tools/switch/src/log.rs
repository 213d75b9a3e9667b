//! Messages to the terminal, which must never hold up the switch.
//!
//! A thread writes them; when it cannot keep up, messages are dropped. Lock order: none, a channel alone.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

const QUEUED: usize = 256;

/// A handle on the writing thread.
pub struct Log {
    lines: Option<SyncSender<Line>>,
    done: Receiver<()>,
    quiet: bool,
}

enum Line {
    Out(String),
    Err(String),
}

impl Log {
    /// Starts the thread. `quiet` drops what [`say`](Log::say) says.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(quiet: bool) -> io::Result<Log> {
        let (lines, queue) = sync_channel::<Line>(QUEUED);
        let (finish, done) = sync_channel(1);
        std::thread::Builder::new().name("log".into()).spawn(move || {
            for line in queue {
                // A closed terminal is no reason to stop switching.
                let _ = match line {
                    Line::Out(text) => {
                        let mut out = io::stdout().lock();
                        writeln!(out, "{text}").and_then(|()| out.flush())
                    }
                    Line::Err(text) => writeln!(io::stderr(), "{text}"),
                };
            }
            let _ = finish.send(());
        })?;
        Ok(Log { lines: Some(lines), done, quiet })
    }

    /// Reports an everyday event on standard output.
    pub fn say(&self, text: impl Into<String>) {
        if !self.quiet
            && let Some(lines) = &self.lines
        {
            let _ = lines.try_send(Line::Out(text.into()));
        }
    }

    /// Reports the beginning or the end on standard output, quiet or not.
    pub fn announce(&self, text: impl Into<String>) {
        if let Some(lines) = &self.lines {
            let _ = lines.try_send(Line::Out(text.into()));
        }
    }

    /// Reports trouble on standard error.
    pub fn warn(&self, text: impl Into<String>) {
        if let Some(lines) = &self.lines {
            let _ = lines.try_send(Line::Err(usage::plain(text.into())));
        }
    }
}

impl Drop for Log {
    /// Waits for the last messages, but not for a terminal that takes none.
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.done.recv_timeout(Duration::from_millis(500));
    }
}
