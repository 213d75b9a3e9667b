//! `--trace` and `--stats`: a table of system calls that looks at what goes through it. Without either option it is not
//! there at all, and the kernel's own meter is off.

mod calls;
mod show;
mod stats;

use std::{
    fs::File,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use hal::Host;
use kernel::{
    Result,
    error::ERESTART,
    meter::Meter,
    task::{
        TaskCx,
        run::{Dispatch, Restart},
    },
};

pub use stats::Stats;

/// Where traced calls go.
pub enum Output {
    /// The error output.
    Error(Arc<dyn Host>),
    File(Mutex<File>),
}

impl Output {
    fn line(&self, line: &str) {
        match self {
            Output::Error(host) => host.report(line),
            Output::File(f) => {
                let mut f = f.lock().unwrap_or_else(PoisonError::into_inner);
                // A full disk does not stop the guest.
                let _ = f.write_all(format!("{line}\n").as_bytes());
            }
        }
    }
}

/// A table that shows or counts what goes through it.
pub struct Tracer {
    table: syscalls::Table,
    output: Option<Output>,
    stats: Option<Arc<Stats>>,
}

impl Tracer {
    pub fn new(table: syscalls::Table, output: Option<Output>, stats: Option<Arc<Stats>>) -> Tracer {
        Tracer { table, output, stats }
    }

    fn traced(&self, out: &Output, cx: &mut TaskCx, nr: u64, args: [u64; 6]) -> Result<u64> {
        let tid = cx.task.tid();
        let name = self.table.name(nr);
        let name = if name == "?" { format!("syscall_{nr}") } else { name.to_owned() };
        let spec = calls::spec(&name);
        let before = show::before(cx, spec, args);
        if matches!(name.as_str(), "exit" | "exit_group") {
            // They do not come back.
            out.line(&format!("[{tid}] {name}({}) = ?", before.join(", ")));
            return self.counted(cx, nr, args);
        }
        let result = self.counted(cx, nr, args);
        let shown = show::after(cx, spec, args, before, &result).join(", ");
        let end = match result {
            Ok(v) => show::result(spec, v),
            Err(ERESTART) => "? (interrupted, to be begun again)".into(),
            Err(e) => format!("-1 {e}"),
        };
        out.line(&format!("[{tid}] {name}({shown}) = {end}"));
        result
    }

    fn counted(&self, cx: &mut TaskCx, nr: u64, args: [u64; 6]) -> Result<u64> {
        let Some(stats) = &self.stats else { return self.table.call(cx, nr, args) };
        let machine = cx.machine().clone();
        let waited = |cx: &TaskCx| cx.task.stats.waited_ns.load(std::sync::atomic::Ordering::Relaxed);
        let (start, waited_before) = (machine.clock.monotonic_ns(), waited(cx));
        let result = self.table.call(cx, nr, args);
        let took = machine.clock.monotonic_ns().saturating_sub(start);
        stats.call(nr, took, waited(cx).saturating_sub(waited_before), result.is_err());
        result
    }
}

impl Dispatch for Tracer {
    fn call(&self, cx: &mut TaskCx, nr: u64, args: [u64; 6]) -> Result<u64> {
        match &self.output {
            Some(out) => self.traced(out, cx, nr, args),
            None => self.counted(cx, nr, args),
        }
    }
    fn restart_policy(&self, nr: u64) -> Restart {
        self.table.restart_policy(nr)
    }
    fn name(&self, nr: u64) -> &'static str {
        self.table.name(nr)
    }
    /// Nothing is answered in the stub: what is to be shown or counted must come here.
    fn trace(&self) -> bool {
        true
    }
    fn meter(&self) -> Option<&Meter> {
        self.stats.as_ref().map(|s| &s.meter)
    }
}
