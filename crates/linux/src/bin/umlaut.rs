//! `umlaut`: a Linux machine that is an ordinary program.
#![forbid(unsafe_code)]

use std::{
    env,
    fs::File,
    io::{BufWriter, ErrorKind, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    process::exit,
    sync::Mutex,
};

use clap::Parser;
use host_linux::{
    check::{self, Verdict},
    confine::{self, Paths},
};
use kernel::{machine::End, task::init::InitKind};
use umlaut_machine::{
    cli::{Cli, Command, CommitArgs, DiffArgs, RunArgs},
    layers::{self, Saved, Tree},
    machine::{Confine, Failure, Root, Setup, Stdio, open_host, run},
    modules::HostMounts,
    tracer::Output,
};

/// Variables of the user's own that a shell over his own files gets.
const CARRIED: &[&str] =
    &["TERM", "PATH", "HOME", "LANG", "COLORTERM", "EDITOR", "PAGER", "TZ", "SHELL", "USER", "LOGNAME"];

fn main() {
    let cli = Cli::parse();
    if cli.compat_table {
        print!("{}", syscalls::table::compat_table());
        return;
    }
    let (args, shell) = match cli.command {
        Some(Command::Run(args)) => (args, false),
        Some(Command::Diff(args)) => return end(diff(&args).map(|()| 0)),
        Some(Command::Commit(args)) => return end(commit(&args)),
        Some(Command::Check) => return end(check()),
        None => (RunArgs { user: "0".into(), ..RunArgs::default() }, true),
    };
    // While there is one thread.
    let taken = host_linux::signals::block();
    end(start(args, shell, taken));
}

fn end(result: Result<i32, Failure>) {
    match result {
        Ok(status) => exit(status),
        Err(f) => {
            eprintln!("umlaut: {}", f.line);
            exit(f.status);
        }
    }
}

/// The layer of a file, and the tree that the command line or the layer names.
fn layer_and_tree(file: &str, root: Option<&String>) -> Result<(Saved, Vec<u8>), Failure> {
    let saved = Saved::read(file)?;
    let tree = root.map_or_else(|| saved.layer.tree.clone(), |r| r.clone().into_bytes());
    Ok((saved, tree))
}

fn open_tree(path: &[u8]) -> Result<Tree, Failure> {
    Tree::open(path)
        .map_err(|e| Failure::new(format!("{}: {e}", layers::shown(path).trim_start_matches('/'))))
}

/// The table, and whether a machine can run.
fn check() -> Result<i32, Failure> {
    let all = check::check();
    let wide = |f: &dyn Fn(&check::Finding) -> usize| all.iter().map(f).max().unwrap_or(0);
    let (a, b) = (wide(&|f| f.what.len()), wide(&|f| f.found.chars().count()));
    let mut out = std::io::stdout().lock();
    for f in &all {
        let mark = match f.verdict {
            Verdict::Good => "ok  ",
            Verdict::Less => "less",
            Verdict::Fatal => "NO  ",
        };
        let line = format!("{mark} {:a$}  {:b$}  {}", f.what, f.found, f.means);
        writeln!(out, "{}", line.trim_end()).map_err(|e| Failure::new(format!("cannot write: {e}")))?;
    }
    Ok(i32::from(all.iter().any(|f| f.verdict == Verdict::Fatal)))
}

fn diff(args: &DiffArgs) -> Result<(), Failure> {
    let (saved, tree) = layer_and_tree(&args.file, args.root.as_ref())?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let done = if args.patch {
        layers::patch(&saved, &open_tree(&tree)?, &mut out)
    } else {
        layers::list(&saved.layer, &mut out).map(drop)
    };
    // A reader that has seen enough is no failure.
    match done.and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::new(format!("cannot write: {e}"))),
        _ => Ok(()),
    }
}

fn commit(args: &CommitArgs) -> Result<i32, Failure> {
    let (saved, path) = layer_and_tree(&args.file, args.root.as_ref())?;
    let tree = open_tree(&path)?;
    let cannot = |e: std::io::Error| Failure::new(format!("cannot write: {e}"));
    let mut out = std::io::stdout().lock();
    let count = layers::list(&saved.layer, &mut out).map_err(cannot)?;
    let target = format!("/{}", layers::shown(&path).trim_start_matches('/'));
    if !args.yes {
        write!(out, "Apply these {count} changes to {target}? [y/N] ")
            .and_then(|()| out.flush())
            .map_err(cannot)?;
        let mut answer = String::new();
        let _ = std::io::stdin().read_line(&mut answer);
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(Failure::new("nothing was changed"));
        }
    }
    // From here on it is all or nothing.
    let _taken = host_linux::signals::block();
    let (uid, pid) = host_linux::own_ids();
    match layers::commit(&saved, &tree, uid == 0, pid) {
        Ok(done) => {
            if done.owners_kept > 0 {
                eprintln!("umlaut: {} objects are yours now: only root gives files away", done.owners_kept);
            }
            if done.left > 0 {
                eprintln!("umlaut: {} old objects could not be removed (.umlaut-commit-*)", done.left);
            }
            Ok(0)
        }
        Err(lines) => {
            for line in lines {
                eprintln!("umlaut: {line}");
            }
            Err(Failure::new("nothing was changed"))
        }
    }
}

fn start(args: RunArgs, shell: bool, taken: host_linux::signals::Taken) -> Result<i32, Failure> {
    let own_tree = args.root.is_none();
    let mut env: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (k, v) in env::vars_os() {
        let name = k.to_string_lossy();
        let carried = CARRIED.contains(&&*name) || name.starts_with("LC_");
        // Another tree has its own users, programs and shells: only what describes the terminal and language is kept.
        let fits = own_tree || !matches!(&*name, "PATH" | "HOME" | "SHELL" | "USER" | "LOGNAME");
        if carried && fits {
            env.push((k.into_vec(), v.into_vec()));
        }
    }
    let who = env.iter().position(|e| e.0 == b"USER");
    if own_tree && args.user == "0" && who.is_some() {
        // Inside he is root.
        env.retain(|e| e.0 != b"USER" && e.0 != b"LOGNAME");
    }
    for (k, v) in &args.env {
        env.retain(|e| e.0 != k.as_bytes());
        env.push((k.as_bytes().to_vec(), v.as_bytes().to_vec()));
    }
    let cwd = match &args.cwd {
        Some(d) => d.as_bytes().to_vec(),
        None if own_tree => env::current_dir().map_or(b"/".to_vec(), |d| d.into_os_string().into_vec()),
        None => b"/".to_vec(),
    };
    let (programs, argv) = if shell {
        let own = env::var_os("SHELL").map(OsStringExt::into_vec).filter(|s| !s.is_empty());
        let list: Vec<Vec<u8>> =
            own.into_iter().chain([b"/bin/bash".to_vec(), b"/bin/sh".to_vec()]).collect();
        (list, Vec::new())
    } else {
        let argv: Vec<Vec<u8>> = args.cmd.iter().map(|a| a.as_bytes().to_vec()).collect();
        (argv[..1].to_vec(), argv)
    };
    let to = match &args.trace {
        Some(Some(file)) => {
            let f = File::create(file).map_err(|e| Failure::new(format!("--trace={file}: {e}")))?;
            Some(Output::File(Mutex::new(f)))
        }
        _ => None,
    };
    let confined = give_up(&args)?;
    let host = open_host(args.cpus)?;
    let trace = match (to, &args.trace) {
        (None, Some(_)) => Some(Output::Error(host.clone())),
        (to, _) => to,
    };
    let setup = Setup {
        root: Root::Overlay(args.root.unwrap_or_else(|| "/".into())),
        read_only: false,
        host_mounts: HostMounts::Never,
        binds: args.bind,
        mounts: true,
        init: InitKind::Builtin,
        programs,
        search_path: true,
        args: argv,
        env,
        cwd,
        user: Some(args.user),
        memory: args.mem,
        cpus: args.cpus,
        hostname: "umlaut".into(),
        cmdline: "umlaut".into(),
        stdio: Stdio::Inherited,
        consoles: Vec::new(),
        console: (false, 0),
        log_level: 0,
        trace,
        stats: args.stats,
        load: args.load,
        save: args.save,
        confine: confined,
    };
    let outcome = run(host, taken, setup)?;
    Ok(match outcome.end {
        End::InitExited(status) => status.shell_status(),
        End::PowerOff | End::Halt | End::Restart => outcome.exit_code,
        End::Panic => 134,
    })
}

/// Gives up what the command line does not need; what is left to be given up after boot.
fn give_up(args: &RunArgs) -> Result<Confine, Failure> {
    if args.unconfined {
        return Ok(Confine::No);
    }
    let mut paths = Paths::default();
    paths.read.push(args.root.clone().unwrap_or_else(|| "/".into()).into());
    // Limits of the machine's own control group.
    paths.read.push("/sys/fs/cgroup".into());
    for b in &args.bind {
        let list = if b.read_only { &mut paths.read } else { &mut paths.write };
        list.push((&b.host).into());
    }
    if let Some(file) = &args.load {
        paths.read.push(file.into());
    }
    if let Some(file) = &args.save {
        paths.write.push(layers::place(file).0);
    }
    let writing = !paths.write.is_empty();
    confine::files(&paths).map_err(|e| Failure::new(format!("cannot confine the machine: {e}")))?;
    Ok(Confine::Calls { writing })
}
