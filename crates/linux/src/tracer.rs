//! `--trace`: every system call with its raw arguments and result, on the error output.

use std::sync::Arc;

use hal::Host;
use kernel::{
    Result,
    task::{
        TaskCx,
        run::{Dispatch, Restart},
    },
};

/// A table that prints what goes through it.
pub struct Tracer {
    table: syscalls::Table,
    host: Arc<dyn Host>,
}

impl Tracer {
    pub fn new(table: syscalls::Table, host: Arc<dyn Host>) -> Tracer {
        Tracer { table, host }
    }
}

impl Dispatch for Tracer {
    fn call(&self, cx: &mut TaskCx, nr: u64, args: [u64; 6]) -> Result<u64> {
        let tid = cx.task.tid();
        let name = self.table.name(nr);
        let shown: Vec<String> = args.iter().map(|a| format!("{a:#x}")).collect();
        let shown = shown.join(", ");
        let result = self.table.call(cx, nr, args);
        let end = match &result {
            Ok(v) => format!("{v:#x}"),
            Err(e) => format!("-1 {e:?}"),
        };
        self.host.report(&format!("[{tid}] {name}({shown}) = {end}"));
        result
    }
    fn restart_policy(&self, nr: u64) -> Restart {
        self.table.restart_policy(nr)
    }
    fn name(&self, nr: u64) -> &'static str {
        self.table.name(nr)
    }
    fn trace(&self) -> bool {
        true
    }
}
