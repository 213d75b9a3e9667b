//! The table.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::errno::ENOSYS;
use kernel::{
    Result,
    task::{
        TaskCx,
        run::{Dispatch, Restart},
    },
};

use crate::args::Args;

/// How complete a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// All that its manual page says.
    Full,
    /// Without what the note names; that is refused with Linux's errno.
    Partial(&'static str),
}

/// A handler.
pub type Handler = fn(&mut TaskCx, Args) -> Result<u64>;

/// One system call.
#[derive(Clone, Copy)]
pub struct Row {
    pub nr: u32,
    pub name: &'static str,
    pub handler: Handler,
    pub restart: Restart,
    pub support: Support,
}

impl Row {
    /// A call that is begun again after SA_RESTART handlers, fully supported.
    pub const fn new(nr: u32, name: &'static str, handler: Handler) -> Row {
        Row { nr, name, handler, restart: Restart::IfAllowed, support: Support::Full }
    }
    /// A call that gives EINTR whenever a handler ran (signal(7)).
    pub const fn no_restart(mut self) -> Row {
        self.restart = Restart::NoHandler;
        self
    }
    /// A call that is always begun again (fork).
    pub const fn always(mut self) -> Row {
        self.restart = Restart::Always;
        self
    }
    pub const fn partial(mut self, note: &'static str) -> Row {
        self.support = Support::Partial(note);
        self
    }
}

/// All families.
pub const FAMILIES: &[(&str, &[Row])] = &[
    ("clone", crate::clone::ROWS),
    ("cred", crate::cred::ROWS),
    ("dir", crate::dir::ROWS),
    ("epoll", crate::epoll::ROWS),
    ("event", crate::event::ROWS),
    ("exec", crate::exec::ROWS),
    ("exit", crate::exit::ROWS),
    ("fdops", crate::fdops::ROWS),
    ("futex", crate::futex::ROWS),
    ("ids", crate::ids::ROWS),
    ("inotify", crate::inotify::ROWS),
    ("misc", crate::misc::ROWS),
    ("mmap", crate::mmap::ROWS),
    ("mount", crate::mount::ROWS),
    ("mqueue", crate::mqueue::ROWS),
    ("open", crate::open::ROWS),
    ("path", crate::path::ROWS),
    ("pidfd", crate::pidfd::ROWS),
    ("pipe", crate::pipe::ROWS),
    ("poll", crate::poll::ROWS),
    ("prctl", crate::prctl::ROWS),
    ("ptrace", crate::ptrace::ROWS),
    ("rlimit", crate::rlimit::ROWS),
    ("rw", crate::rw::ROWS),
    ("sched", crate::sched::ROWS),
    ("seccomp", crate::seccomp::ROWS),
    ("signal", crate::signal::ROWS),
    ("sockmsg", crate::sockmsg::ROWS),
    ("socket", crate::socket::ROWS),
    ("splice", crate::splice::ROWS),
    ("stat", crate::stat::ROWS),
    ("sysv", crate::sysv::ROWS),
    ("time", crate::time::ROWS),
    ("timer", crate::timer::ROWS),
    ("uname", crate::uname::ROWS),
    ("unshare", crate::unshare::ROWS),
    ("wait", crate::wait::ROWS),
    ("handle", crate::handle::ROWS),
    ("xattr", crate::xattr::ROWS),
];

/// Numbers below this are looked up.
const SIZE: usize = 512;

/// The table, ready for the run loop.
pub struct Table {
    rows: Box<[Option<Row>; SIZE]>,
    /// Calls to numbers that are not there, for the log and statistics.
    missing: Box<[AtomicU64; SIZE]>,
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

impl Table {
    pub fn new() -> Table {
        let mut rows = Box::new([None; SIZE]);
        for row in FAMILIES.iter().flat_map(|f| f.1) {
            rows[row.nr as usize] = Some(*row);
        }
        Table { rows, missing: Box::new([const { AtomicU64::new(0) }; SIZE]) }
    }

    /// Counts of calls to what is missing, by number.
    pub fn missing(&self) -> Vec<(u32, u64)> {
        let counts = self.missing.iter().enumerate().map(|(i, c)| (i as u32, c.load(Ordering::Relaxed)));
        counts.filter(|c| c.1 > 0).collect()
    }

    #[cold]
    fn not_there(&self, cx: &TaskCx, nr: u64) -> Result<u64> {
        if let Some(c) = usize::try_from(nr).ok().and_then(|n| self.missing.get(n))
            && c.fetch_add(1, Ordering::Relaxed) == 0
        {
            let name = abi::nr::name(nr as u32).unwrap_or("?");
            let m = cx.machine();
            m.log.print(6, m.clock.uptime_ns(), format!("system call {nr} ({name}) is not supported"));
        }
        Err(ENOSYS)
    }
}

impl Dispatch for Table {
    #[inline]
    fn call(&self, cx: &mut TaskCx, nr: u64, args: [u64; 6]) -> Result<u64> {
        match self.rows.get(nr as usize) {
            Some(Some(row)) => (row.handler)(cx, Args(args)),
            _ => self.not_there(cx, nr),
        }
    }
    fn restart_policy(&self, nr: u64) -> Restart {
        match self.rows.get(nr as usize) {
            Some(Some(row)) => row.restart,
            _ => Restart::IfAllowed,
        }
    }
    fn name(&self, nr: u64) -> &'static str {
        abi::nr::name(nr as u32).unwrap_or("?")
    }
}

/// `docs/COMPATIBILITY.md`: every x86-64 system call and how far it goes.
pub fn compat_table() -> String {
    let mut out = String::from(
        "# System calls\n\nGenerated from the system-call table (`cargo xtask compat`). A call that is not listed answers ENOSYS \
         and is counted.\n\n| nr | call | support | family |\n|---|---|---|---|\n",
    );
    let mut rows: Vec<_> = FAMILIES.iter().flat_map(|(f, rows)| rows.iter().map(move |r| (r, *f))).collect();
    rows.sort_by_key(|(r, _)| r.nr);
    for (r, family) in rows {
        let support = match r.support {
            Support::Full => "full".to_string(),
            Support::Partial(note) => format!("partly: {note}"),
        };
        out.push_str(&format!("| {} | {} | {} | {} |\n", r.nr, r.name, support, family));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one_row_with_its_own_name() {
        let mut seen = std::collections::BTreeMap::new();
        for row in FAMILIES.iter().flat_map(|f| f.1) {
            assert!(seen.insert(row.nr, row.name).is_none(), "two rows for {}", row.name);
            assert_eq!(abi::nr::name(row.nr), Some(row.name));
        }
    }
}
