//! The command line of `umlaut`: statuses, streams, options, bad input, signals from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Completion, Trial};
use rustix::process::{Pid, Signal, kill_process};

use crate::guest::expect_untouched;
use crate::lab::{Body, Lab, Place, find_program};
use crate::outcome::{Outcome, end_session, run, session_members};

const LIMIT: Duration = Duration::from_secs(20);

/// One trial per case and machine place.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let cases: &[(&str, Body)] = &[
        ("exit_status", exit_status),
        ("killed_status", killed_status),
        ("streams", streams),
        ("binary_streams", binary_streams),
        ("process_one", process_one),
        ("files_as_streams", files_as_streams),
        ("input_to_write", input_to_write),
        ("closed_input", closed_input),
        ("no_such_command", no_such_command),
        ("not_executable", not_executable),
        ("missing_root", missing_root),
        ("unknown_option", unknown_option),
        ("bad_values", bad_values),
        ("help_and_version", help_and_version),
        ("environment", environment),
        ("working_directory", working_directory),
        ("users", users),
        ("binds", binds),
        ("memory_and_processors", memory_and_processors),
        ("numbers_of_processors", numbers_of_processors),
        ("host_is_untouched", host_is_untouched),
        ("terminated_from_outside", terminated_from_outside),
        ("killed_from_outside", killed_from_outside),
        ("background_processes_end", background_processes_end),
        ("tar_through", tar_through),
        ("alone_in_a_tree", alone_in_a_tree),
    ];
    lab.machine_trials("cmdline", cases)
}

/// Runs a shell command inside.
fn sh(lab: &Lab, place: Place, options: &[&str], script: &str) -> Result<Outcome> {
    run(&mut lab.command(place, options, &["/bin/sh", "-c", script]), b"", LIMIT)
}

fn exit_status(lab: &Lab, place: Place) -> Result<Completion> {
    for code in [0, 1, 2, 77, 125, 126, 127, 128, 255] {
        sh(lab, place, &[], &format!("exit {code}"))?.expect(code)?;
    }
    run(&mut lab.command(place, &[], &["true"]), b"", LIMIT)?.expect(0)?;
    run(&mut lab.command(place, &[], &["false"]), b"", LIMIT)?.expect(1)?;
    Ok(Completion::Completed)
}

fn killed_status(lab: &Lab, place: Place) -> Result<Completion> {
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11), ("HUP", 1)] {
        sh(lab, place, &[], &format!("ulimit -c 0; kill -{name} $$; sleep 5"))?.expect(128 + number)?;
        sh(lab, place, &[], &format!("sh -c 'kill -{name} $$'; exit $?"))?.expect(128 + number)?;
    }
    Ok(Completion::Completed)
}

/// The kernel's own init is a sleeping process with a name, the program is its child.
fn process_one(lab: &Lab, place: Place) -> Result<Completion> {
    let outcome = sh(lab, place, &[], "ps -o pid=,ppid=,stat=,comm= -p 1,$$ | tr -s ' '")?;
    outcome.expect(0)?;
    let out = outcome.out();
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    ensure!(lines == ["1 0 Ss init", "2 1 Ss sh"], outcome.describe("wrong processes"));
    Ok(Completion::Completed)
}

/// Regular files as standard streams: what programs learn of them, and what they do to them, is as on the host.
fn files_as_streams(lab: &Lab, place: Place) -> Result<Completion> {
    let script = "stat -Lc '%F %s' /proc/self/fd/0 /proc/self/fd/1; head -n 2; tail -c 7; wc -c; wc -c </dev/stdin; \
        echo appended >>/dev/stdout; echo said >&2; (exec <&-; cat /dev/null); dd bs=1 skip=3 count=4 2>/dev/null </dev/stdin; \
        for f in '' '</dev/stdin'; do eval \"python3 -c \\\"import mmap; m = mmap.mmap(0, 0, access=mmap.ACCESS_READ); \
        print(len(m), m[6:10])\\\" $f\"; done";
    let dir = lab.scratch("streams")?;
    let mut seen = Vec::new();
    for where_ in [Place::Host, place] {
        let path = dir.join(format!("{where_:?}"));
        let numbers: String = (0..20_000).map(|n| format!("{n}\n")).collect();
        fs::write(dir.join("in"), numbers)?;
        let open = |mode: &str| {
            let mut options = fs::OpenOptions::new();
            options.read(mode == "in").write(mode == "out").create(mode == "out").append(mode == "out");
            options
        };
        let input = open("in").open(dir.join("in"))?;
        let output = open("out").open(&path)?;
        let mut command = lab.command(where_, &[], &["/bin/sh", "-c", script]);
        let status = command
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output))
            .status()?;
        ensure!(status.success(), "{where_:?}: {status}");
        seen.push(fs::read_to_string(path)?);
    }
    ensure!(seen[0] == seen[1], "host:\n{}inside:\n{}", seen[0], seen[1]);
    ensure!(seen[0].contains("regular file 108890") && seen[0].contains("appended"), "{}", seen[0]);
    // A pipe or a device is opened again as itself.
    let outcome = sh(
        lab,
        place,
        &[],
        "echo one >/dev/stdout; echo two >/dev/stderr; cat /dev/stdin | tee /dev/stderr",
    )?;
    outcome.expect(0)?;
    ensure!(outcome.out() == "one\n" && outcome.err() == "two\n", outcome.describe("wrong output"));
    Ok(Completion::Completed)
}

/// Standard input opened for reading and writing is just that: written, and mapped shared. A pipe's end has one way.
fn input_to_write(lab: &Lab, place: Place) -> Result<Completion> {
    let script = "import fcntl, mmap, os; m = mmap.mmap(0, 0); m[0:5] = b'HELLO'; m.flush(); os.pwrite(0, b'W', 6)\n\
        print([fcntl.fcntl(fd, fcntl.F_GETFL) & 3 for fd in (0, 1)], os.read(0, 20))";
    let dir = lab.scratch("both")?;
    for where_ in [Place::Host, place] {
        let path = dir.join(format!("{where_:?}"));
        fs::write(&path, "hello, world\n")?;
        let both = fs::OpenOptions::new().read(true).write(true).open(&path)?;
        let mut command = lab.command(where_, &[], &["/usr/bin/python3", "-c", script]);
        let outcome = command.stdin(Stdio::from(both)).output()?;
        let (out, err) = (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
        ensure!(out == "[2, 1] b'HELLO,Wworld\\n'\n", "{where_:?}: {out}{err}");
        ensure!(fs::read_to_string(&path)? == "HELLO,Wworld\n", "{where_:?}: the file is as it was");
    }
    Ok(Completion::Completed)
}

fn streams(lab: &Lab, place: Place) -> Result<Completion> {
    let mut command = lab.command(place, &[], &["/bin/sh", "-c", "cat; echo error >&2; exit 3"]);
    let outcome = run(&mut command, b"input line\nno newline", LIMIT)?;
    outcome.expect(3)?;
    ensure!(outcome.stdout == b"input line\nno newline", outcome.describe("wrong output"));
    ensure!(outcome.stderr == b"error\n", outcome.describe("wrong errors"));
    Ok(Completion::Completed)
}

fn binary_streams(lab: &Lab, place: Place) -> Result<Completion> {
    let data: Vec<u8> =
        (0..3_000_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 8).to_le_bytes()).collect();
    let outcome = run(&mut lab.command(place, &[], &["cat"]), &data, LIMIT)?;
    outcome.expect(0)?;
    ensure!(outcome.stdout == data, "{} bytes came back of {}, or changed", outcome.stdout.len(), data.len());
    Ok(Completion::Completed)
}

fn closed_input(lab: &Lab, place: Place) -> Result<Completion> {
    // `run` without input gives /dev/null.
    let outcome = sh(lab, place, &[], "cat; echo end")?;
    outcome.expect(0)?;
    ensure!(outcome.stdout == b"end\n", outcome.describe("wrong output"));
    // A reader that leaves early.
    let mut command = lab.session(
        place == Place::UserMachine,
        &["bash", "-c", "\"$0\" run -- yes | head -n 3", &lab.staged_binary().to_string_lossy()],
    );
    let outcome = run(&mut command, b"", LIMIT)?;
    outcome.expect(0)?;
    ensure!(outcome.stdout == b"y\ny\ny\n", outcome.describe("wrong output"));
    Ok(Completion::Completed)
}

/// One line of at least a few letters on standard error, nothing on standard output.
fn says_why(outcome: &Outcome, code: Option<i32>) -> Result<()> {
    match code {
        Some(code) => {
            outcome.expect(code)?;
        }
        None => ensure!(outcome.code() > 0 && outcome.code() < 128, outcome.describe("no error status")),
    }
    ensure!(outcome.stdout.is_empty(), outcome.describe("output instead of an error"));
    ensure!(outcome.err().trim().len() > 10, outcome.describe("no reason given"));
    ensure!(!outcome.err().contains("panicked"), outcome.describe("a panic"));
    Ok(())
}

fn no_such_command(lab: &Lab, place: Place) -> Result<Completion> {
    for words in [&["no-such-command-anywhere"][..], &["/no/such/program", "x"]] {
        let outcome = run(&mut lab.command(place, &[], words), b"", LIMIT)?;
        says_why(&outcome, Some(127))?;
        ensure!(outcome.err().trim().lines().count() == 1, outcome.describe("more than one line"));
        ensure!(outcome.err().contains(words[0]), outcome.describe("does not name the command"));
    }
    Ok(Completion::Completed)
}

fn not_executable(lab: &Lab, place: Place) -> Result<Completion> {
    let dir = lab.scratch("plain")?;
    let file = dir.join("plain");
    fs::write(&file, "text")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    for path in [file.to_string_lossy().as_ref(), "/etc"] {
        let outcome = run(&mut lab.command(place, &[], &[path]), b"", LIMIT)?;
        says_why(&outcome, Some(126))?;
    }
    Ok(Completion::Completed)
}

fn missing_root(lab: &Lab, place: Place) -> Result<Completion> {
    for root in ["/no/such/tree", "/etc/passwd"] {
        let outcome = run(&mut lab.command(place, &["--root", root], &["true"]), b"", LIMIT)?;
        says_why(&outcome, None)?;
        let named = format!("--root {root}");
        ensure!(
            outcome.err().contains(&named),
            outcome.describe("does not name the option and the directory")
        );
    }
    // An empty tree has no commands.
    let empty = lab.scratch("empty")?;
    let outcome =
        run(&mut lab.command(place, &["--root", &empty.to_string_lossy()], &["/bin/true"]), b"", LIMIT)?;
    says_why(&outcome, Some(127))?;
    expect_untouched(&empty)?;
    Ok(Completion::Completed)
}

fn unknown_option(lab: &Lab, place: Place) -> Result<Completion> {
    for arguments in [&["run", "--bogus", "--", "true"][..], &["--bogus"], &["frobnicate"], &["run"]] {
        says_why(&run(&mut lab.umlaut(place, arguments), b"", LIMIT)?, None)?;
    }
    Ok(Completion::Completed)
}

fn bad_values(lab: &Lab, place: Place) -> Result<Completion> {
    for options in [
        ["--mem", "lots"],
        ["--mem", "1K"],
        ["--mem", "-5M"],
        ["--cpus", "0"],
        ["--cpus", "many"],
        ["--env", "novalue"],
        ["--env", "=x"],
        ["--user", "no-such-user-here"],
        ["--bind", "/tmp"],
        ["--bind", "/no/such/dir:/mnt"],
        ["--bind", "/tmp:/mnt:rx"],
        ["--cwd", "/no/such/dir"],
        ["--load", "/no/such/file"],
        ["--load", "/etc/passwd"],
        ["--save", "/no/such/dir/file"],
    ] {
        let outcome = run(&mut lab.command(place, &options, &["true"]), b"", LIMIT)?;
        says_why(&outcome, None).with_context(|| options.join(" "))?;
        ensure!(outcome.err().contains(options[0]), outcome.describe("does not name the option"));
    }
    Ok(Completion::Completed)
}

fn help_and_version(lab: &Lab, place: Place) -> Result<Completion> {
    for (argument, word) in [("--help", "run"), ("--version", "umlaut")] {
        let outcome = run(&mut lab.umlaut(place, &[argument]), b"", LIMIT)?;
        outcome.expect(0)?;
        ensure!(outcome.out().contains(word), outcome.describe("says nothing"));
    }
    Ok(Completion::Completed)
}

fn environment(lab: &Lab, place: Place) -> Result<Completion> {
    let options = ["--env", "ONE=1", "--env", "TWO=a=b c", "--env", "EMPTY="];
    let outcome = sh(lab, place, &options, "echo \"$ONE|$TWO|${EMPTY-unset}|$TERM|$LANG\"; echo \"$PATH\"")?;
    outcome.expect(0)?;
    let out = outcome.out();
    ensure!(out.starts_with("1|a=b c||xterm-256color|C.UTF-8\n"), outcome.describe("wrong environment"));
    ensure!(out.contains("/usr/bin"), outcome.describe("no PATH"));
    Ok(Completion::Completed)
}

fn working_directory(lab: &Lab, place: Place) -> Result<Completion> {
    let dir = lab.scratch("cwd")?;
    let mut command = lab.command(place, &[], &["/bin/pwd"]);
    let outcome = run(command.current_dir(&dir), b"", LIMIT)?;
    outcome.expect(0)?;
    ensure!(
        outcome.out().trim() == dir.to_string_lossy(),
        outcome.describe("not the directory of the caller")
    );
    let outcome = sh(lab, place, &["--cwd", "/usr/lib"], "pwd; ls -d /proc/self/cwd/.")?;
    outcome.expect(0)?;
    ensure!(outcome.out().starts_with("/usr/lib\n"), outcome.describe("not the directory asked for"));
    Ok(Completion::Completed)
}

fn users(lab: &Lab, place: Place) -> Result<Completion> {
    for (user, answer) in [("0", "0 0"), ("nobody", "65534 65534"), ("1234:2345", "1234 2345")] {
        let outcome = sh(lab, place, &["--user", user], "echo $(id -u) $(id -g)")?;
        outcome.expect(0)?;
        ensure!(outcome.out().trim() == answer, outcome.describe(&format!("--user {user}")));
    }
    let outcome = sh(lab, place, &[], "id -u; touch /etc/proof && rm /etc/proof && echo root")?;
    outcome.expect(0)?;
    ensure!(outcome.out() == "0\nroot\n", outcome.describe("not root inside"));
    let outcome =
        sh(lab, place, &["--user", "nobody"], "touch /etc/proof 2>/dev/null && echo wrote; id -un")?;
    outcome.expect(0)?;
    ensure!(outcome.out() == "nobody\n", outcome.describe("nobody has root's rights"));
    Ok(Completion::Completed)
}

fn binds(lab: &Lab, place: Place) -> Result<Completion> {
    let dir = lab.scratch("bound")?;
    fs::write(dir.join("from-host"), "host")?;
    fs::set_permissions(dir.join("from-host"), fs::Permissions::from_mode(0o666))?;
    let path = dir.to_string_lossy().into_owned();
    let outcome =
        sh(lab, place, &["--bind", &format!("{path}:/mnt")], "cat /mnt/from-host; echo in >/mnt/from-guest")?;
    outcome.expect(0)?;
    ensure!(outcome.out() == "host", outcome.describe("the host's file is not seen"));
    ensure!(fs::read_to_string(dir.join("from-guest"))? == "in\n", "the guest's file is not on the host");
    let script = "cat /mnt/from-host; echo x 2>/dev/null >/mnt/another && echo wrote; rm -f /mnt/from-host 2>/dev/null; \
                  ls /mnt";
    let outcome = sh(lab, place, &["--bind", &format!("{path}:/mnt:ro")], script)?;
    outcome.expect(0)?;
    ensure!(outcome.out() == "hostfrom-guest\nfrom-host\n", outcome.describe("a read-only bind was written"));
    ensure!(!dir.join("another").exists(), "a read-only bind was written");
    Ok(Completion::Completed)
}

/// Programs hear the machine's numbers where they are not the host's: with more processors than the host has, and on
/// others than the host's first.
fn numbers_of_processors(lab: &Lab, place: Place) -> Result<Completion> {
    let source = lab.source().join("tests/guest/process/affinity.c");
    // Of its own: the suite's may be running just now.
    let program = lab.scratch_at(place, "processors")?.join("affinity");
    let built =
        Command::new("gcc").args(["-static", "-pthread", "-O1", "-o"]).arg(&program).arg(&source).status()?;
    ensure!(built.success(), "gcc: {built}");
    let script = "cd $(mktemp -d) && exec \"$0\"";
    let words = ["/bin/sh".as_ref(), "-c".as_ref(), script.as_ref(), program.as_os_str()];
    run(&mut lab.command(place, &["--cpus", "5"], &words), b"", LIMIT)?.expect(0)?;
    let last = thread::available_parallelism()?.get() - 1;
    let inner = lab.command(place, &[], &words);
    let mut confined = Command::new("taskset");
    confined.arg("-c").arg(last.to_string()).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        confined.env(name, value.unwrap_or_default());
    }
    run(&mut confined, b"", LIMIT)?.expect(0)?;
    Ok(Completion::Completed)
}

fn memory_and_processors(lab: &Lab, place: Place) -> Result<Completion> {
    let outcome = sh(
        lab,
        place,
        &["--mem", "256M", "--cpus", "1"],
        "grep MemTotal /proc/meminfo | tr -dc 0-9; echo; nproc",
    )?;
    outcome.expect(0)?;
    let out = outcome.out();
    let mut lines = out.lines();
    let kib: u64 = lines.next().unwrap_or_default().parse().unwrap_or(0);
    ensure!((200_000..=262_144).contains(&kib), outcome.describe("MemTotal is not what --mem said"));
    ensure!(lines.next() == Some("1"), outcome.describe("nproc is not what --cpus said"));
    // A guest that takes more than it has is refused or killed; the machine says how it ended.
    let hog = "head -c 600000000 /dev/zero | tail -c 599999999 | wc -c; echo after";
    let outcome = sh(lab, place, &["--mem", "128M"], hog)?;
    outcome.expect_clean()?;
    ensure!(
        outcome.out().contains("after"),
        outcome.describe("the machine did not survive its memory limit")
    );
    Ok(Completion::Completed)
}

fn host_is_untouched(lab: &Lab, place: Place) -> Result<Completion> {
    let dir = lab.scratch("host")?;
    fs::create_dir(dir.join("sub"))?;
    fs::write(dir.join("sub/file"), "before")?;
    fs::write(dir.join("other"), "other")?;
    for name in ["sub", "sub/file", "other"] {
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o777))?;
    }
    let script = "echo after >sub/file && cat sub/file && rm -r sub other && mkdir sub && echo new >sub/new && \
                  ls -A . sub && rm -rf /etc/passwd /usr/bin/env && ! test -e /usr/bin/env && echo gone";
    let mut command = lab.command(place, &[], &["/bin/sh", "-c", script]);
    let outcome = run(command.current_dir(&dir), b"", LIMIT)?;
    outcome.expect(0)?;
    ensure!(
        outcome.out() == "after\n.:\nsub\n\nsub:\nnew\ngone\n",
        outcome.describe("not what the guest did")
    );
    ensure!(fs::read_to_string(dir.join("sub/file"))? == "before", "the guest wrote the host's file");
    ensure!(fs::read_to_string(dir.join("other"))? == "other", "the guest removed the host's file");
    ensure!(
        !dir.join("sub/new").exists() && find_program("/usr/bin/env").is_some(),
        "the guest changed the host"
    );
    Ok(Completion::Completed)
}

/// Starts a machine that says "up" and waits, and hands its process number over.
fn with_running(
    lab: &Lab,
    place: Place,
    script: &str,
    act: impl FnOnce(u32) -> Result<()>,
) -> Result<Option<i32>> {
    let mut command = lab.command(place, &[], &["/bin/sh", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let session = child.id();
    let result = (|| {
        let mut up = [0u8; 3];
        std::io::Read::read_exact(child.stdout.as_mut().context("no output")?, &mut up)
            .context("no sign of life")?;
        thread::sleep(Duration::from_millis(100));
        act(session)?;
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code());
            }
            ensure!(Instant::now() < until, "the machine did not end");
            thread::sleep(Duration::from_millis(5));
        }
    })();
    let left = end_session(session, crate::outcome::GRACE);
    let _ = child.wait();
    ensure!(result.is_err() || left.is_empty(), "left behind: {}", left.join(", "));
    result
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process number")?;
    kill_process(pid, signal).context("kill")
}

fn terminated_from_outside(lab: &Lab, place: Place) -> Result<Completion> {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let code =
            with_running(lab, place, "echo up; sleep 1000 & sleep 1000; wait", |pid| send(pid, signal))?;
        ensure!(code != Some(0), "{signal:?}: ended with success");
    }
    Ok(Completion::Completed)
}

/// Whether a living process of the host has this number and runs guest code.
fn is_stub(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.contains("(umlaut-stub)") && !stat.contains(") Z "))
}

fn killed_from_outside(lab: &Lab, place: Place) -> Result<Completion> {
    // With the machine gone without a word, its processes go with it. They are of its session.
    let script =
        "echo up; for i in 1 2 3 4 5; do sleep 1000 & done; (trap '' TERM HUP; while :; do :; done) & wait";
    let mut guests = Vec::new();
    let code = with_running(lab, place, script, |pid| {
        let until = Instant::now() + LIMIT;
        loop {
            guests = session_members(pid).into_keys().filter(|p| p.cast_unsigned() != pid).collect();
            // The shells, the sleepers and the spinner; each is a process of the host.
            if guests.len() >= 7 {
                break;
            }
            ensure!(Instant::now() < until, "where are the guests' processes? seen: {guests:?}");
            thread::sleep(Duration::from_millis(5));
        }
        send(pid, Signal::KILL)
    })?;
    ensure!(code.is_none(), "exit {code:?} after SIGKILL");
    let left: Vec<i32> = guests.into_iter().filter(|p| is_stub(*p)).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(Completion::Completed)
}

fn background_processes_end(lab: &Lab, place: Place) -> Result<Completion> {
    let start = Instant::now();
    let script = "for i in 1 2 3; do setsid sleep 1000 >/dev/null 2>&1 </dev/null & done; \
                  (trap '' TERM HUP INT; while :; do :; done) & exit 9";
    sh(lab, place, &[], script)?.expect(9)?;
    ensure!(start.elapsed() < Duration::from_secs(60), "the machine waited for its background processes");
    Ok(Completion::Completed)
}

fn tar_through(lab: &Lab, place: Place) -> Result<Completion> {
    let dir = lab.scratch("tar")?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
    let umlaut = lab.staged_binary().to_string_lossy().into_owned();
    let script = "cd /usr/share/perl5 2>/dev/null || cd /usr/share/perl; tar c . | \"$0\" run -- sh -c \
                  'cd \"$(mktemp -d)\" && tar x && find . -type f | wc -l && tar c .' >\"$1/back\"; \
                  echo ${PIPESTATUS[@]}";
    let mut command =
        lab.session(place == Place::UserMachine, &["bash", "-c", script, &umlaut, &dir.to_string_lossy()]);
    let outcome = run(&mut command, b"", Duration::from_secs(60))?;
    outcome.expect(0)?;
    ensure!(outcome.out().trim() == "0 0", outcome.describe("a part of the pipe failed"));
    let back = fs::metadata(dir.join("back"))?.len();
    ensure!(back > 100_000, "only {back} bytes came back");
    Ok(Completion::Completed)
}

/// The binary by itself in a tree with nothing else, not even /proc: one static file is enough.
fn alone_in_a_tree(lab: &Lab, place: Place) -> Result<Completion> {
    if !lab.is_root() {
        return Ok(Completion::ignored_with("chroot needs root"));
    }
    let tree = lab.scratch("alone")?;
    fs::copy(lab.staged_binary(), tree.join("umlaut"))?;
    fs::set_permissions(tree.join("umlaut"), fs::Permissions::from_mode(0o755))?;
    let path = tree.to_string_lossy().into_owned();
    let mut chroot = vec!["chroot"];
    if place == Place::UserMachine {
        chroot.push("--userspec=65534:65534");
    }
    chroot.push(&path);
    let inside = |first: &[&str], words: &[&str]| {
        let words: Vec<&str> = first.iter().chain(&chroot).chain(words).copied().collect();
        run(&mut lab.session(false, &words), b"", LIMIT)
    };
    inside(&[], &["/umlaut", "--version"])?.expect(0)?;
    let Some(busybox) = find_program("busybox") else {
        return Ok(Completion::ignored_with("no busybox on this host"));
    };
    fs::copy(busybox, tree.join("busybox"))?;
    // Processes, pipes, files, many calls from one site, the clock, two at once.
    let script = "b=/busybox; echo $((6 * 7)); $b seq 3000 | $b wc -l; echo text >f; $b chmod 600 f; $b ln f g; \
                  $b touch -t 200001010000 f; $b cat g; $b rm f g; $b date +%Y | $b grep -c '^20'; \
                  ($b seq 20000 | $b md5sum) & $b seq 20000 | $b md5sum | $b wc -c; wait; exit 5";
    let expected = "42\n3000\ntext\n1\n";
    let words = ["/umlaut", "run", "--", "/busybox", "sh", "-c", script];
    let check = |outcome: &Outcome, how: &str| {
        outcome.expect(5)?;
        ensure!(outcome.out().starts_with(expected), outcome.describe(how));
        Ok(())
    };
    check(&inside(&[], &words)?, "wrong output")?;
    inside(&[], &["/umlaut", "run", "--cpus", "1", "--", "/busybox", "true"])?.expect(0)?;
    // And as process 1 there.
    let first = ["unshare", "--pid", "--fork"];
    let probe = run(&mut lab.session(false, &[&first[..], &["true"]].concat()), b"", LIMIT);
    if !probe.is_ok_and(|outcome| outcome.code() == 0) {
        return Ok(Completion::ignored_with("passed but for process 1: no process namespaces on this host"));
    }
    check(&inside(&first, &words)?, "wrong output as process 1")?;
    Ok(Completion::Completed)
}
