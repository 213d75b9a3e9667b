//! Starts a machine and waits for its end.

use std::{os::unix::ffi::OsStringExt, sync::Arc, time::Duration};

use abi::{OpenFlags, errno};
use drv_console::{Channel, Consoles, LineConfig, StreamFile};
use fs_overlay::Overlay;
use hal::{Host, Limits};
use host_linux::{LinuxHost, signals};
use kernel::{
    Machine, MachineConfig, MachineParts,
    machine::End,
    registry::Registry,
    task::{
        Cred, FsContext, Task, TaskCx,
        init::{InitKind, new_init},
        run::Dispatch,
    },
    vfs::{self, fdtable::FdTable, inode::FileSystem},
};

use crate::{
    cli::Bind,
    layers::{self, SaveFile, Saved},
    modules::{self, HostMounts},
    tracer::{Output, Stats, Tracer},
    users,
};

/// The root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A host directory seen copy-on-write.
    Overlay(String),
    /// A host directory itself (`rootfstype=hostfs`).
    HostDir { path: String, append: bool },
}

impl Root {
    fn path(&self) -> &str {
        match self {
            Root::Overlay(path) | Root::HostDir { path, .. } => path,
        }
    }

    /// What the command line calls it.
    fn named(&self) -> String {
        match self {
            Root::Overlay(path) => format!("--root {path}"),
            Root::HostDir { path, .. } => format!("rootflags={path}"),
        }
    }
}

/// Where the first program's descriptors 0, 1 and 2 lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// The machine process's own: terminals become the machine's console, anything else is passed through.
    Inherited,
    /// /dev/console.
    Console,
}

/// All that a machine is started from.
pub struct Setup {
    pub root: Root,
    pub read_only: bool,
    pub host_mounts: HostMounts,
    pub binds: Vec<Bind>,
    /// Mount /proc, /dev, /dev/pts, /dev/shm over the tree (else only /dev, as a kernel does before init).
    pub mounts: bool,
    pub init: InitKind,
    /// Programs to try in order; the first that exists is run with `args`.
    pub programs: Vec<Vec<u8>>,
    /// Look the program up in PATH.
    pub search_path: bool,
    pub args: Vec<Vec<u8>>,
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    pub cwd: Vec<u8>,
    /// `--user`.
    pub user: Option<String>,
    pub memory: Option<u64>,
    pub cpus: Option<u32>,
    pub hostname: String,
    pub cmdline: String,
    pub stdio: Stdio,
    pub consoles: Vec<LineConfig>,
    pub console: (bool, u32),
    /// Kernel messages up to this level go to the console.
    pub log_level: u8,
    /// Print every system call.
    pub trace: Option<Output>,
    /// Count them, and report at the end.
    pub stats: bool,
    /// Put this layer back over the tree first, and save what changed at the end.
    pub load: Option<String>,
    pub save: Option<String>,
    /// The process may make only the host calls it needs, once the first program is ready.
    pub confine: Confine,
}

/// What the machine process may still do once it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confine {
    /// Whatever its user may.
    No,
    /// Make the host calls it needs; with `writing` also those that change host files.
    Calls { writing: bool },
}

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub end: End,
    /// Value of /proc/exitcode.
    pub exit_code: i32,
}

/// A failure before the first program ran: one line, and the exit status it deserves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub line: String,
    pub status: i32,
}

impl Failure {
    pub fn new(line: impl Into<String>) -> Failure {
        Failure { line: line.into(), status: 1 }
    }
}

fn text(e: hal::Errno) -> String {
    format!("{e}")
}

/// The host, ready to run guests.
pub fn open_host(cpus: Option<u32>) -> Result<Arc<LinuxHost>, Failure> {
    LinuxHost::new(Limits { cpus: cpus.unwrap_or(0) }).map_err(|e| Failure::new(e.to_string()))
}

/// Starts the machine, waits for its end and cleans up: no process of it is left then.
pub fn run(host: Arc<LinuxHost>, taken: signals::Taken, setup: Setup) -> Result<Outcome, Failure> {
    let result = run_on(&host, taken, setup);
    host.close();
    result
}

fn run_on(host: &Arc<LinuxHost>, taken: signals::Taken, mut setup: Setup) -> Result<Outcome, Failure> {
    host.signals().start(taken).map_err(|e| Failure::new(format!("cannot take signals: {}", text(e))))?;
    let mut registry = Registry::default();
    modules::register(&mut registry, &setup.host_mounts);
    let mut lines = setup.consoles.clone();
    if setup.stdio == Stdio::Inherited {
        lines.retain(|l| l.serial || l.index != 0);
        lines.push(own_terminal(host));
    }
    let consoles = Consoles::register(&mut registry, lines, setup.console);

    let facts = host.facts();
    let cpus = setup.cpus.unwrap_or(facts.cpus).clamp(1, 64);
    let memory = setup.memory.unwrap_or(facts.memory / 4 * 3);
    let config = MachineConfig {
        memory,
        cpus,
        hostname: setup.hostname.clone(),
        cmdline: setup.cmdline.clone(),
        no_reboot: false,
    };
    let table = syscalls::Table::new();
    let tracing = setup.trace.is_some();
    // What the kernel has to say goes among the calls, not into a file of calls.
    let log_too = matches!(setup.trace, Some(Output::Error(_)));
    let stats = setup.stats.then(|| Arc::new(Stats::default()));
    let dispatch: Arc<dyn Dispatch> = if tracing || setup.stats {
        Arc::new(Tracer::new(table, setup.trace.take(), stats.clone()))
    } else {
        Arc::new(table)
    };
    let machine = Machine::new(MachineParts { host: host.clone(), config, dispatch, registry });
    let timers = machine.clone();
    host.spawn("timers", Box::new(move || timers.timers.run(&timers.clock)))
        .map_err(|e| Failure::new(format!("cannot start a thread: {}", text(e))))?;

    kernel::mm::oom::start(&machine)
        .map_err(|e| Failure::new(format!("cannot start a thread: {}", text(e))))?;
    if log_too {
        let host = host.clone();
        machine.log.set_console(Some(Arc::new(move |r| host.report(&r.text))));
    }
    let saving = match &setup.save {
        Some(path) => {
            let tree = std::fs::canonicalize(setup.root.path())
                .map_err(|e| Failure::new(format!("{}: {e}", setup.root.named())))?;
            Some((SaveFile::new(&**host, path)?, tree.into_os_string().into_vec()))
        }
        None => None,
    };
    let result = boot(host, &machine, &consoles, setup);
    if result.is_ok() {
        wait_for_end(&machine);
    }
    machine.end_tasks(Duration::from_secs(5));
    machine.timers.end();
    consoles.drain(&machine, 2000);
    consoles.restore();
    let (overlay, task) = result?;
    if let (Some((mut to, tree)), Some(overlay)) = (saving, overlay) {
        save(&machine, &overlay, &task, &mut to, &tree)?;
    }
    if let Some(s) = stats {
        host.report(&s.report(machine.clock.uptime_ns()));
    }
    let end = machine.end_requested().unwrap_or(End::Panic);
    Ok(Outcome { end, exit_code: machine.exit_code.load(std::sync::atomic::Ordering::Relaxed) })
}

/// Writes what changed over the tree.
fn save(
    machine: &Machine,
    overlay: &Overlay,
    task: &Arc<Task>,
    to: &mut SaveFile,
    tree: &[u8],
) -> Result<(), Failure> {
    let shown = to.shown().to_owned();
    let fail = |e: hal::Errno| Failure::new(format!("--save {shown}: {}", text(e)));
    to.begin(tree, machine.clock.now().sec).map_err(fail)?;
    overlay.save(task, to).map_err(|e| {
        Failure::new(format!("--save {shown}: {}: {}", layers::shown(&e.path), text(e.error)))
    })?;
    to.finish().map_err(fail)
}

fn wait_for_end(machine: &Machine) {
    let waiter = Arc::new(ksync::Waiter::new());
    waiter.attach();
    let token = machine.end_wait.add(waiter.clone());
    loop {
        waiter.clear();
        if machine.end_requested().is_some() {
            break;
        }
        waiter.park(None);
    }
    machine.end_wait.remove(token);
}

/// The user's terminal as console 0, as far as the standard descriptors are one.
fn own_terminal(host: &Arc<LinuxHost>) -> LineConfig {
    let half = |fds: &[i32]| {
        fds.iter()
            .filter_map(|fd| host.stream(*fd).ok())
            .find(|s| s.is_terminal())
            .map_or(Channel::Null, Channel::Stream)
    };
    LineConfig { serial: false, index: 0, input: half(&[0]), output: half(&[1, 2, 0]) }
}

/// The root, and again if it is an overlay.
type RootFs = (Arc<dyn FileSystem>, Option<Arc<Overlay>>);

fn root_fs(machine: &Arc<Machine>, setup: &Setup) -> Result<RootFs, Failure> {
    let fail = |e: hal::Errno| Failure::new(format!("{}: {}", setup.root.named(), text(e)));
    let open = |path: &str, options: fs_hostfs::Options| {
        fs_hostfs::HostFs::open(machine, path.as_bytes(), options).map_err(fail)
    };
    match &setup.root {
        Root::HostDir { path, append } => {
            let options = fs_hostfs::Options { append: *append, shown: path.clone(), ..Default::default() };
            Ok((open(path, options)?, None))
        }
        Root::Overlay(path) => {
            let lower = open(path, fs_hostfs::Options { shown: path.clone(), ..Default::default() })?;
            let upper = fs_tmpfs::TmpFs::new(machine, Default::default());
            let fs = Overlay::new(machine, lower, upper).map_err(fail)?;
            if setup.save.is_some() {
                fs.keep_bases();
            }
            Ok((fs.clone(), Some(fs)))
        }
    }
}

/// Puts a saved layer back.
fn load(path: &str, overlay: &Overlay, task: &Arc<Task>) -> Result<(), Failure> {
    let saved = Saved::read(path).map_err(|f| Failure::new(format!("--load {}", f.line)))?;
    overlay.restore(task, &saved.layer, &mut |at, buf| saved.read_at(at, buf)).map_err(|e| {
        let at = layers::shown(&e.path);
        Failure::new(match e.error {
            errno::ESTALE => format!("--load {path}: {at} has changed on the host since"),
            e => format!("--load {path}: {at}: {}", text(e)),
        })
    })
}

/// Mounts, first process, descriptors, exec, start.
fn boot(
    host: &Arc<LinuxHost>,
    machine: &Arc<Machine>,
    consoles: &Arc<Consoles>,
    setup: Setup,
) -> Result<(Option<Arc<Overlay>>, Arc<Task>), Failure> {
    let say = |level: u8, line: String| machine.log.print(level, machine.clock.uptime_ns(), line);
    let fail = |what: &str, e: hal::Errno| Failure::new(format!("{what}: {}", text(e)));
    say(5, format!("Linux version {} {}", kernel::machine::RELEASE, kernel::machine::VERSION));
    say(5, format!("Kernel command line: {}", setup.cmdline));
    consoles.start(machine).map_err(|e| fail("console", e))?;
    if setup.stdio == Stdio::Console
        && let Some(tty) = consoles.console()
    {
        let level = setup.log_level;
        machine.log.set_console(Some(Arc::new(move |r| {
            if r.level < level {
                tty.print(format!("{}\n", r.text).as_bytes());
            }
        })));
    }

    let (fs, overlay) = root_fs(machine, &setup)?;
    let type_name = fs.type_name();
    let flags = if setup.read_only { abi::fs::MS_RDONLY } else { 0 };
    let ns = machine.vfs.set_root(fs, "/dev/root", flags);
    say(6, format!("VFS: Mounted root ({type_name} filesystem)."));
    let root = ns.root();
    let context = FsContext::new(root.clone(), root, 0o022, ns);
    let files = Arc::new(FdTable::default());
    let mut cx = new_init(machine, setup.init, Cred::root(), context, files)
        .map_err(|e| fail("cannot make the first process", e))?;

    let first = cx.task.clone();
    if let (Some(path), Some(overlay)) = (&setup.load, &overlay) {
        load(path, overlay, &first)?;
    }

    mount_standard(machine, &cx, setup.mounts);
    for b in &setup.binds {
        bind(machine, &cx, b)?;
    }
    open_stdio(host, &mut cx, setup.stdio).map_err(|e| fail("standard descriptors", e))?;
    let who = become_user(&mut cx, &setup)?;
    let mut env = setup.env.clone();
    fill_env(&mut env, who.as_ref(), setup.init);
    change_dir(&cx, &setup)?;

    let path = find_program(&cx, &setup, &env)?;
    let mut args = setup.args.clone();
    if args.is_empty() {
        args.push(path.clone());
    }
    let env: Vec<Vec<u8>> = env.into_iter().map(|(k, v)| [&k[..], b"=", &v[..]].concat()).collect();
    say(6, format!("Run {} as init process", String::from_utf8_lossy(&path)));
    {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let env: Vec<&[u8]> = env.iter().map(Vec::as_slice).collect();
        kernel::task::exec::load_init(&mut cx, &path, &args, &env)
    }
    .map_err(|e| {
        let name = String::from_utf8_lossy(&path).into_owned();
        let status = if e == errno::ENOENT { 127 } else { 126 };
        match setup.init {
            InitKind::Builtin => Failure { line: format!("{name}: {}", text(e)), status },
            InitKind::Program => Failure {
                line: format!(
                    "Kernel panic - not syncing: Requested init {name} failed (error -{}).",
                    e.raw()
                ),
                status: 134,
            },
        }
    })?;
    if let Confine::Calls { writing } = setup.confine {
        host_linux::confine::calls(writing).map_err(|e| fail("cannot confine the machine", e))?;
    }
    cx.start().map_err(|e| fail("cannot start the first process", e))?;
    Ok((overlay, first))
}

/// /dev always; with `all` also /proc, /dev/pts, /dev/shm and /sys. A tree without the directory goes without.
fn mount_standard(machine: &Arc<Machine>, cx: &TaskCx, all: bool) {
    let mut list: Vec<(&str, &str, &[u8])> = vec![("devtmpfs", "/dev", b"mode=755")];
    if all {
        list.push(("proc", "/proc", b""));
        list.push(("sysfs", "/sys", b""));
        list.push(("devpts", "/dev/pts", b"gid=5,mode=620"));
        list.push(("tmpfs", "/dev/shm", b"mode=1777"));
    }
    for (kind, at, options) in list {
        let Some(ty) = machine.registry.filesystems.get(kind) else { continue };
        if all && at.starts_with("/dev/") {
            // Fails only if it is there already.
            let _ = vfs::mkdir(&cx.task, abi::fs::AT_FDCWD, at.as_bytes(), 0o755);
        }
        let done = ty
            .mount(machine, kind.as_bytes(), options, false, None)
            .and_then(|fs| machine.vfs.mount_at(&cx.task, at.as_bytes(), fs, kind, 0));
        let line = match done {
            Ok(_) => format!("{kind}: mounted on {at}"),
            Err(e) => format!("{kind}: not mounted on {at}: {}", text(e)),
        };
        machine.log.print(6, machine.clock.uptime_ns(), line);
    }
}

fn bind(machine: &Arc<Machine>, cx: &TaskCx, b: &Bind) -> Result<(), Failure> {
    let fail = |e| Failure::new(format!("--bind {}:{}: {}", b.host, b.guest, text(e)));
    let options = fs_hostfs::Options { shown: b.host.clone(), ..Default::default() };
    let fs = fs_hostfs::HostFs::open(machine, b.host.as_bytes(), options).map_err(fail)?;
    let flags = if b.read_only { abi::fs::MS_RDONLY } else { 0 };
    machine.vfs.mount_at(&cx.task, b.guest.as_bytes(), fs, &b.host, flags).map_err(fail)?;
    Ok(())
}

fn open_stdio(host: &Arc<LinuxHost>, cx: &mut TaskCx, how: Stdio) -> kernel::Result<()> {
    let console = |cx: &TaskCx| {
        vfs::open(&cx.task, abi::fs::AT_FDCWD, b"/dev/tty0", OpenFlags::RDWR, 0)
            .or_else(|_| vfs::open(&cx.task, abi::fs::AT_FDCWD, b"/dev/console", OpenFlags::RDWR, 0))
    };
    let task = cx.task.clone();
    if how == Stdio::Console {
        match console(cx) {
            Ok(f) => {
                for _ in 0..3 {
                    cx.files.install(&task, f.clone(), false)?;
                }
            }
            Err(_) => {
                let line = "Warning: unable to open an initial console.";
                cx.machine().log.print(4, cx.machine().clock.uptime_ns(), line);
            }
        }
        return Ok(());
    }
    let mut terminal = None;
    for fd in 0..3 {
        let Ok(stream) = host.stream(fd) else {
            // Closed outside is closed inside; a later open may take the number, as on the host.
            continue;
        };
        let file = if stream.is_terminal() {
            match &terminal {
                Some(f) => Arc::clone(f),
                None => {
                    let f = console(cx)?;
                    terminal = Some(f.clone());
                    f
                }
            }
        } else {
            let access = OpenFlags::from_bits_truncate(stream.access());
            cx.machine().vfs.inherited_file(cx.machine(), StreamFile::new(stream), access)?
        };
        cx.files.set(fd, u64::MAX, file, false)?;
    }
    Ok(())
}

fn read_text(cx: &TaskCx, path: &[u8]) -> String {
    let Ok(file) = vfs::open(&cx.task, abi::fs::AT_FDCWD, path, OpenFlags::empty(), 0) else {
        return String::new();
    };
    let mut out = Vec::new();
    let mut buf = [0; 4096];
    while out.len() < 1 << 20 {
        let mut sink = kernel::io::BufSink::new(&mut buf);
        match file.ops.read(&file, &cx.task, &mut sink, out.len() as u64) {
            Ok(0) | Err(_) => break,
            Ok(n) => out.extend_from_slice(&buf[..n]),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn become_user(cx: &mut TaskCx, setup: &Setup) -> Result<Option<users::User>, Failure> {
    let Some(spec) = &setup.user else { return Ok(None) };
    let user = users::resolve(spec, &read_text(cx, b"/etc/passwd"), &read_text(cx, b"/etc/group"))
        .map_err(Failure::new)?;
    if user.uid != 0 || user.gid != 0 {
        *cx.task.cred.write() = Arc::new(Cred::user(user.uid, user.gid, user.groups.clone()));
    }
    Ok(Some(user))
}

/// HOME, USER, LOGNAME, SHELL of another user than root over one's own files; PATH where there is none.
fn fill_env(env: &mut Vec<(Vec<u8>, Vec<u8>)>, user: Option<&users::User>, init: InitKind) {
    let mut default = |k: &str, v: &str| {
        if !env.iter().any(|e| e.0 == k.as_bytes()) {
            env.push((k.into(), v.into()));
        }
    };
    if let Some(u) = user {
        if let Some(h) = &u.home {
            default("HOME", h);
        }
        if let Some(n) = &u.name {
            default("USER", n);
            default("LOGNAME", n);
        }
    }
    default("HOME", "/");
    default("TERM", "linux");
    if init == InitKind::Builtin {
        default("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    }
}

fn change_dir(cx: &TaskCx, setup: &Setup) -> Result<(), Failure> {
    let to = vfs::resolve(
        &cx.task,
        abi::fs::AT_FDCWD,
        &setup.cwd,
        vfs::LookupFlags::FOLLOW | vfs::LookupFlags::DIRECTORY,
    )
    .map_err(|e| Failure::new(format!("--cwd {}: {}", String::from_utf8_lossy(&setup.cwd), text(e))))?;
    cx.task.fs().set_cwd(to);
    Ok(())
}

/// The program's path: the first of the candidates that exists.
fn find_program(cx: &TaskCx, setup: &Setup, env: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<u8>, Failure> {
    let exists = |p: &[u8]| vfs::resolve(&cx.task, abi::fs::AT_FDCWD, p, vfs::LookupFlags::FOLLOW).is_ok();
    for p in &setup.programs {
        if p.contains(&b'/') || !setup.search_path {
            if setup.programs.len() == 1 || exists(p) {
                return Ok(p.clone());
            }
            continue;
        }
        let path = env.iter().find(|e| e.0 == b"PATH").map(|e| e.1.clone()).unwrap_or_default();
        for dir in path.split(|b| *b == b':') {
            let dir = if dir.is_empty() { b"." } else { dir };
            let full = [dir, b"/", p].concat();
            let x = vfs::resolve(&cx.task, abi::fs::AT_FDCWD, &full, vfs::LookupFlags::FOLLOW);
            if x.is_ok_and(|at| !at.is_dir()) {
                return Ok(full);
            }
        }
    }
    let names: Vec<_> = setup.programs.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect();
    Err(match setup.init {
        InitKind::Builtin => {
            Failure { line: format!("{}: command not found", names.join(", ")), status: 127 }
        }
        InitKind::Program => Failure {
            line: "Kernel panic - not syncing: No working init found. Try passing init= option to kernel."
                .into(),
            status: 134,
        },
    })
}
