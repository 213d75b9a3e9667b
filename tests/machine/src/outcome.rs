//! Running a command to its end: time limits, output, and what it leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long after the end of a command its processes may take to go. A machine has seen its own go before it ends; what
/// natively a killed process needs is a processor to end on.
pub const GRACE: Duration = Duration::from_secs(10);

/// What a command did.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended; `None` when it had to be killed at its time limit.
    pub status: Option<ExitStatus>,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// Processes of its session that were left after the grace time, one description each.
    pub left: Vec<String>,
    /// From start to end.
    pub took: Duration,
}

impl Outcome {
    /// The exit code, 128+n for a signal, -1 when the time ran out.
    pub fn code(&self) -> i32 {
        match self.status {
            None => -1,
            Some(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        }
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Fails unless the command ended with `code` and left nothing behind.
    pub fn expect(&self, code: i32) -> Result<&Self> {
        if self.code() != code {
            bail!("{}", self.describe(&format!("exit {} instead of {code}", self.code())));
        }
        self.expect_clean()
    }

    /// Fails if processes were left behind, or the machine wanted a host call that it does not allow itself.
    pub fn expect_clean(&self) -> Result<&Self> {
        if self.err().contains("umlaut: refused to make host call") {
            bail!("{}", self.describe("the machine made a host call that is not in its list"));
        }
        if !self.left.is_empty() {
            bail!("{}", self.describe(&format!("left behind: {}", self.left.join(", "))));
        }
        Ok(self)
    }

    /// What happened, with the ends of both outputs.
    pub fn describe(&self, what: &str) -> String {
        let time_out = if self.status.is_none() { " (time ran out)" } else { "" };
        format!(
            "{what}{time_out} (exit {}) after {:.1} s\n--- stdout\n{}\n--- stderr\n{}",
            self.code(),
            self.took.as_secs_f64(),
            tail(&self.out()),
            tail(&self.err())
        )
    }
}

/// The last part of a long text.
pub fn tail(text: &str) -> &str {
    let mut at = text.len().saturating_sub(3000);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    &text[at..]
}

/// Runs a command made by [`crate::lab::Lab`] (which gives it its own session) with `input` on its standard
/// input, for `limit` at most; ends everything in its session afterwards.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Outcome> {
    run_watched(command, input, limit, &mut |_| ())
}

/// The same; `watch` is called with the number of the session again and again while the command runs.
pub fn run_watched(
    command: &mut Command,
    input: &[u8],
    limit: Duration,
    watch: &mut dyn FnMut(u32),
) -> Result<Outcome> {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{:?}", command.get_program()))?;
    let session = child.id();
    if let Some(mut pipe) = child.stdin.take() {
        let input = input.to_vec();
        // A reader that ends early closes the pipe; that is its right.
        thread::spawn(move || pipe.write_all(&input));
    }
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, start + limit, watch)?;
    let took = start.elapsed();
    let grace = if status.is_some() { GRACE } else { Duration::ZERO };
    let left = end_session(session, grace);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let join = |reader: thread::JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
    Ok(Outcome { status, stdout: join(stdout), stderr: join(stderr), left, took })
}

fn collect<R: Read + Send + 'static>(pipe: Option<R>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn wait(child: &mut Child, until: Instant, watch: &mut dyn FnMut(u32)) -> Result<Option<ExitStatus>> {
    let mut nap = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        watch(child.id());
        thread::sleep(nap);
        nap = (nap * 5 / 4).min(Duration::from_millis(10));
    }
}

/// Kills what is left of a session after the grace time and describes it.
pub fn end_session(session: u32, grace: Duration) -> Vec<String> {
    let until = Instant::now() + grace;
    let mut nap = Duration::from_millis(1);
    loop {
        let members = session_members(session);
        if members.is_empty() {
            return vec![];
        }
        if Instant::now() >= until {
            for pid in members.keys() {
                kill(*pid);
            }
            // Once more for what was forked meanwhile.
            thread::sleep(Duration::from_millis(20));
            for pid in session_members(session).keys() {
                kill(*pid);
            }
            return members.into_values().collect();
        }
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(50));
    }
}

fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The living processes of a session (zombies are only waiting for their parent), by number.
pub fn session_members(session: u32) -> BTreeMap<i32, String> {
    let mut members = BTreeMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return members };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if fields.get(3).and_then(|s| s.parse::<u32>().ok()) == Some(session) && fields[0] != "Z" {
            let name = name.split_once('(').map_or("?", |(_, n)| n);
            members.insert(pid, format!("{pid} {name} ({})", fields[0]));
        }
    }
    members
}
