//! A terminal for tests: a pty whose other side is a screen that can be read and a keyboard that can be typed on.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::outcome::{end_session, tail};

/// How long one expectation may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the program wrote, drawn and raw.
struct Display {
    parser: vt100::Parser,
    raw: Vec<u8>,
}

/// A program at a terminal.
pub struct Terminal {
    master: File,
    slave: File,
    child: Child,
    display: Arc<Mutex<Display>>,
    reader: Option<JoinHandle<()>>,
    ended: bool,
}

impl Terminal {
    /// Starts a command made by [`crate::lab::Lab::terminal`] on a terminal of this many rows and columns.
    pub fn start(mut command: Command, rows: u16, cols: u16) -> Result<Self> {
        let fd: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&fd)?;
        unlockpt(&fd)?;
        let name = ptsname(&fd, Vec::new())?;
        let noctty = i32::try_from(OFlags::NOCTTY.bits())?;
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(noctty)
            .open(name.to_str().context("the name of a terminal")?)?;
        let master = File::from(fd);
        tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 })?;
        command
            .stdin(Stdio::from(slave.try_clone()?))
            .stdout(Stdio::from(slave.try_clone()?))
            .stderr(Stdio::from(slave.try_clone()?));
        let child = command.spawn().with_context(|| format!("{:?}", command.get_program()))?;
        drop(command);
        let display = Arc::new(Mutex::new(Display { parser: new_parser(rows, cols)?, raw: Vec::new() }));
        let reader = {
            let mut master = master.try_clone()?;
            let display = Arc::clone(&display);
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                loop {
                    match master.read(&mut bytes) {
                        Ok(0) => break,
                        Ok(n) => {
                            let mut display = display.lock().unwrap_or_else(PoisonError::into_inner);
                            display.parser.process(&bytes[..n]);
                            display.raw.extend_from_slice(&bytes[..n]);
                        }
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(_) => break,
                    }
                }
            })
        };
        Ok(Self { master, slave, child, display, reader: Some(reader), ended: false })
    }

    /// Types text, as it is.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.master.write_all(text.as_bytes()).context("typing")
    }

    /// What the screen shows.
    pub fn screen(&self) -> String {
        self.display.lock().unwrap_or_else(PoisonError::into_inner).parser.screen().contents()
    }

    /// All that was written so far, as text.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.display.lock().unwrap_or_else(PoisonError::into_inner).raw).into_owned()
    }

    /// Waits until the screen is as wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!(
                    "waited in vain for {what}\n--- screen\n{screen}\n--- written\n{:?}",
                    tail(&self.written())
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the text is on the screen.
    pub fn expect(&self, text: &str) -> Result<()> {
        self.until(&format!("{text:?}"), |screen| screen.contains(text))
    }

    /// Waits until a line of the screen is exactly this.
    pub fn expect_line(&self, line: &str) -> Result<()> {
        self.until(&format!("the line {line:?}"), |screen| screen.lines().any(|l| l.trim_end() == line))
    }

    /// Waits until the last line of the screen is a shell's fresh prompt.
    pub fn expect_prompt(&self) -> Result<()> {
        self.until("a prompt", |screen| screen.trim_end().ends_with("ready>"))
    }

    /// Types a line and waits for text to appear that was not on the cleared screen.
    pub fn command(&mut self, line: &str, answer: &str) -> Result<()> {
        self.type_text(line)?;
        self.type_text("\r")?;
        self.expect_line(answer)
    }

    /// Another size of the window.
    pub fn resize(&mut self, rows: u16, cols: u16) -> Result<()> {
        {
            let mut display = self.display.lock().unwrap_or_else(PoisonError::into_inner);
            let mut parser = new_parser(rows, cols)?;
            parser.process(&display.raw);
            display.parser = parser;
        }
        tcsetwinsize(&self.master, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 })?;
        Ok(())
    }

    /// The settings of the terminal, as its owner outside sees them.
    pub fn settings(&self) -> Result<Termios> {
        Ok(tcgetattr(&self.slave)?)
    }

    /// Whether the program has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for the end of the program, checks its exit code and that nothing is left.
    pub fn finish(mut self, code: i32) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                bail!("the program did not end\n--- screen\n{}", self.screen());
            }
            thread::sleep(Duration::from_millis(5));
        };
        self.ended = true;
        let left = end_session(self.child.id(), crate::outcome::GRACE);
        let got = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        if got != code {
            bail!("exit {got} instead of {code}\n--- screen\n{}", self.screen());
        }
        if !left.is_empty() {
            bail!("left behind: {}", left.join(", "));
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if !self.ended {
            end_session(self.child.id(), Duration::ZERO);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // The reader ends when the last slave is closed, which is the one held here: it need not be joined.
        self.reader.take();
    }
}

fn new_parser(rows: u16, cols: u16) -> Result<vt100::Parser> {
    let size = |n: u16| std::num::NonZeroU16::new(n).context("a terminal without size");
    Ok(vt100::Parser::new(size(rows)?, size(cols)?, 0))
}
