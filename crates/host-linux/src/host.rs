//! The host value: [`LinuxHost`].

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use hal::{
    Context, FileChange, Host, HostFacts, HostFile, Limits, Regs, Result, SharedMem, Stream, Watch, errno,
};

use crate::{
    changes::Changes,
    context::LinuxContext,
    engine::Engine,
    facts,
    file::LinuxFile,
    signals::Signals,
    stream::Streams,
    sys::{process, signal::exit_now},
};

/// Why the machine cannot start on this host: one line for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    cause: String,
}

impl StartError {
    pub(crate) fn new(cause: impl Into<String>) -> StartError {
        StartError { cause: cause.into() }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for StartError {}

/// A Linux host. Dropping it ends every stub process that it made.
pub struct LinuxHost {
    engine: Arc<Engine>,
    facts: HostFacts,
    signals: Arc<Signals>,
    streams: Arc<Streams>,
    changes: Changes,
    /// Descriptors that the process may have open: asked once, before it gives up asking.
    files: u64,
}

impl LinuxHost {
    /// Looks at the host, makes the first stub process and lets it trap once, so that what the host refuses is known
    /// before anything else happens.
    pub fn new(limits: Limits) -> core::result::Result<Arc<LinuxHost>, StartError> {
        process::raise_file_limit();
        let engine = Engine::start(limits.cpus)?;
        let signals = Arc::new(Signals::default());
        let streams = Streams::new(signals.clone());
        let facts = facts::collect(limits.cpus, 0);
        let changes = Changes::new(streams.clone());
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let files = files.current.unwrap_or(u64::MAX);
        let mut host = LinuxHost { engine, facts, signals, streams, changes, files };
        let fpu_len = LinuxContext::probe(&host.engine)?;
        host.facts.xstate_size = fpu_len as u32;
        Ok(Arc::new(host))
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Signals that the machine process gets from outside.
    pub fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    /// Ends all processes of guests, and returns when the host has collected them. Nothing runs on it afterwards.
    pub fn close(&self) {
        self.engine.close();
    }

    /// The host's streams and terminals.
    pub fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }
}

impl Drop for LinuxHost {
    fn drop(&mut self) {
        self.engine.close();
    }
}

impl Host for LinuxHost {
    fn facts(&self) -> &HostFacts {
        &self.facts
    }

    fn new_context(&self) -> Result<Box<dyn Context>> {
        Ok(Box::new(LinuxContext::empty(&self.engine, &Regs::default())?))
    }

    fn shared_mem(&self) -> Arc<dyn SharedMem> {
        self.engine.guest_mem.clone()
    }

    fn monotonic_ns(&self) -> u64 {
        process::clock_ns(libc::CLOCK_MONOTONIC)
    }

    fn coarse_ns(&self) -> u64 {
        process::clock_ns(libc::CLOCK_MONOTONIC_COARSE)
    }

    fn recall_files(&self) {
        self.engine.epoch().fetch_add(1, SeqCst);
    }

    fn lending_epoch(&self) -> u64 {
        self.engine.epoch().load(SeqCst)
    }

    fn raise(&self, count: u32) {
        self.engine.count(count).fetch_add(1, SeqCst);
    }

    fn raised(&self, count: u32) -> u64 {
        self.engine.count(count).load(SeqCst)
    }

    fn file_limit(&self) -> u64 {
        self.files
    }

    fn realtime_ns(&self) -> u64 {
        process::clock_ns(libc::CLOCK_REALTIME)
    }

    fn boottime_ns(&self) -> u64 {
        process::clock_ns(libc::CLOCK_BOOTTIME)
    }

    fn entropy(&self, buf: &mut [u8]) {
        process::random(buf);
    }

    fn spawn(&self, name: &str, f: Box<dyn FnOnce() + Send>) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.into()).stack_size(1 << 20);
        thread.spawn(f).map(drop).map_err(|_| errno::EAGAIN)
    }

    fn sleep(&self, d: Duration) {
        std::thread::sleep(d);
    }

    fn open_path(&self, path: &[u8], flags: u32) -> Result<Arc<dyn HostFile>> {
        LinuxFile::open_path(path, flags)
    }

    fn watch_file(
        &self,
        file: &dyn HostFile,
        tell: Box<dyn Fn(&FileChange) + Send + Sync>,
    ) -> Result<Box<dyn Watch>> {
        self.changes.watch(file, Arc::from(tell))
    }

    fn stream(&self, fd: i32) -> Result<Arc<dyn Stream>> {
        self.streams.inherited(fd)
    }

    fn new_pty(&self) -> Result<(Arc<dyn Stream>, String)> {
        self.streams.new_pty()
    }

    fn report(&self, line: &str) {
        use std::io::Write;
        // Nobody is left to tell if this fails.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    fn exit(&self, status: i32) -> ! {
        crate::signals::restore_terminals();
        self.engine.close();
        exit_now(status)
    }
}
