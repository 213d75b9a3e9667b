//! Comforts and safety of `umlaut`: confinement, saved layers, tracing, statistics, what the host offers.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Completion, Trial};

use crate::lab::{Body, Lab, Place};
use crate::outcome::{Outcome, end_session, run};

const LIMIT: Duration = Duration::from_secs(30);

/// One trial per case and machine place.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let cases: &[(&str, Body)] = &[
        ("confined", confined),
        ("saved_layer", saved_layer),
        ("layer_conflicts", layer_conflicts),
        ("layer_refusals", layer_refusals),
        ("traced", traced),
        ("statistics", statistics),
        ("host_check", host_check),
    ];
    lab.machine_trials("comfort", cases)
}

/// Every thread of the running machine has given up what it should.
fn confined(lab: &Lab, place: Place) -> Result<Completion> {
    let mut command = lab.command(place, &[], &["/bin/sh", "-c", "echo up; sleep 20"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let session = child.id();
    let look = (|| -> Result<()> {
        let mut up = [0u8; 3];
        child.stdout.as_mut().context("no output")?.read_exact(&mut up).context("no sign of life")?;
        let mut threads = 0;
        // A container may have a filter of its own.
        let own = fs::read_to_string("/proc/self/status")?;
        let own = own.lines().find_map(|l| l.strip_prefix("Seccomp_filters:\t")?.parse::<u32>().ok());
        let filters = format!("Seccomp_filters:\t{}", own.unwrap_or(0) + 1);
        for thread in fs::read_dir(format!("/proc/{session}/task"))? {
            let path = thread?.path();
            // Threads come and go.
            let Ok(status) = fs::read_to_string(path.join("status")) else { continue };
            threads += 1;
            for line in ["NoNewPrivs:\t1", "Seccomp:\t2", &filters] {
                ensure!(
                    status.lines().any(|l| l == line),
                    "{} is not as `{line}`:\n{status}",
                    path.display()
                );
            }
        }
        ensure!(threads >= 4, "only {threads} threads were seen");
        Ok(())
    })();
    end_session(session, Duration::ZERO);
    let _ = child.kill();
    let _ = child.wait();
    look.map(|()| Completion::Completed)
}

/// Runs a shell command inside, in a directory.
fn sh(lab: &Lab, place: Place, options: &[&str], dir: &Path, script: &str) -> Result<Outcome> {
    run(lab.command(place, options, &["/bin/sh", "-ec", script]).current_dir(dir), b"", LIMIT)
}

/// Runs a shell command on the host as the user of the place.
fn host(lab: &Lab, place: Place, dir: &Path, script: &str) -> Result<String> {
    let mut command = lab.session(place == Place::UserMachine, &["/bin/sh", "-ec", script]);
    let outcome = run(command.current_dir(dir), b"", LIMIT)?;
    outcome.expect(0)?;
    Ok(outcome.out())
}

/// `umlaut` itself with these arguments.
fn tool(lab: &Lab, place: Place, dir: &Path, input: &[u8], arguments: &[&str]) -> Result<Outcome> {
    run(lab.umlaut(place, arguments).current_dir(dir), input, LIMIT)
}

/// A tree to change: the directory, and the file for the layer.
fn tree(lab: &Lab, place: Place) -> Result<(PathBuf, String)> {
    let top = lab.scratch("layer")?;
    let dir = top.join("tree");
    host(
        lab,
        place,
        &top,
        "mkdir tree; cd tree; mkdir -p d/deep gone/a/b swap mv/in; echo one >f; echo two >d/g; echo x >gone/a/b/c; \
         echo y >swap/z; seq 1000 >seq; echo m >mode; echo hl >h1; ln h1 h2; echo in >mv/in/file; ln -s f sym; \
         echo t >touched; echo over >over; echo rm >rm",
    )?;
    let file = top.join("saved").to_string_lossy().into_owned();
    Ok((dir, file))
}

const CHANGES: &str = "echo new >>f; sed -i s/500/FIVE/ seq; rm -r gone swap; rm rm; echo file >swap; chmod 600 mode; \
    echo more >>h1; mv mv moved; ln -s ../.. s2; mkfifo fifo; echo a >d/new; ln d/new d/new2; \
    touch -d '2001-02-03 04:05:06.789' touched; mkdir -m 1777 nd; echo q >nd/q; echo t >tmp; mv tmp over; rm sym; \
    chmod u+s d/new; truncate -s 10M sparse; printf end | dd of=sparse bs=1 seek=9000000 conv=notrunc 2>/dev/null; \
    python3 -c \"import os; os.setxattr('f', 'user.k', b'v')\"";

/// What a tree is, as one text. Sizes of directories and change times are the filesystem's business.
const SNAPSHOT: &str = "find . -type d -printf '%p %M %T@\\n' -o -printf '%p %M %n %s %T@ %l\\n' | sort; \
    find . -type f | sort | xargs md5sum; \
    python3 -c \"import os; print(os.getxattr('f', 'user.k') if 'user.k' in os.listxattr('f') else '')\"; \
    test \"$(du -k sparse 2>/dev/null | cut -f1)\" -lt 1000 && echo sparse || true";

fn saved_layer(lab: &Lab, place: Place) -> Result<Completion> {
    if let Some(missing) = lab.missing(&["python3".into()]) {
        return Ok(Completion::ignored_with(missing));
    }
    let (dir, file) = tree(lab, place)?;
    let before = host(lab, place, &dir, SNAPSHOT)?;
    sh(lab, place, &["--save", &file], &dir, CHANGES)?.expect(0)?;
    ensure!(host(lab, place, &dir, SNAPSHOT)? == before, "saving changed the tree");

    let list = tool(lab, place, &dir, b"", &["diff", &file])?;
    list.expect(0)?;
    let base = dir.to_string_lossy();
    for line in [
        "M {}/f",
        "D {}/gone (directory, 3 below)",
        "R {}/swap (file instead of directory, 1 below deleted)",
        "m {}/mode (mode 0644 -> 0600)",
        "A {}/s2 (link to ../..)",
        "A {}/fifo (fifo)",
        "A {}/d/new2 (the same as {}/d/new)",
        "D {}/rm",
        "M {}/over",
        "D {}/mv (directory, 2 below)",
        "A {}/moved/in/file (3 bytes)",
    ] {
        let line = line.replace("{}", &base);
        // Who is not root sees another owner, too.
        let there = list
            .out()
            .lines()
            .any(|l| l == line || l.strip_prefix(&line).is_some_and(|l| l.starts_with(" (")));
        ensure!(there, list.describe(&format!("`{line}` is not listed")));
    }
    ensure!(!list.out().contains("/d/deep"), list.describe("something unchanged is listed"));
    let patch = tool(lab, place, &dir, b"", &["diff", "-p", &file])?;
    patch.expect(0)?;
    let hunk = format!("--- a{base}/f\n+++ b{base}/f\n@@ -1 +1,2 @@\n one\n+new\n");
    ensure!(patch.out().contains(&hunk), patch.describe("no text diff"));
    ensure!(patch.out().contains("-500\n+FIVE\n"), patch.describe("no text diff"));

    // Going on: everything is as it was left, and can be saved again.
    let again = format!("{file}.again");
    let inside = sh(lab, place, &["--load", &file, "--save", &again], &dir, SNAPSHOT)?;
    inside.expect(0)?;
    ensure!(inside.out().contains("sparse\n"), inside.describe("holes were filled"));
    let second = tool(lab, place, &dir, b"", &["diff", &again])?;
    ensure!(second.out() == list.out(), second.describe("a second saving says something else"));

    let asked = tool(lab, place, &dir, b"no\n", &["commit", &file])?;
    asked.expect(1)?;
    ensure!(asked.out().ends_with("? [y/N] "), asked.describe("did not ask"));
    ensure!(host(lab, place, &dir, SNAPSHOT)? == before, "it was not to be applied");
    tool(lab, place, &dir, b"y\n", &["commit", &again])?.expect(0)?;
    let after = host(lab, place, &dir, SNAPSHOT)?;
    // Who is not root cannot give files to root, and then drops the set-user-id bit.
    let expected =
        if place == Place::UserMachine { inside.out().replace("-rwS", "-rw-") } else { inside.out() };
    if after != expected {
        bail!("the tree is not what it was inside\n--- inside\n{expected}\n--- host\n{after}");
    }
    ensure!(fs::read_to_string(dir.join("h2"))? == "hl\nmore\n", "a hard link was cut");
    tool(lab, place, &dir, b"", &["commit", "--yes", &file])?.expect(1)?;
    ensure!(host(lab, place, &dir, SNAPSHOT)? == after, "a second commit changed something");
    Ok(Completion::Completed)
}

fn layer_conflicts(lab: &Lab, place: Place) -> Result<Completion> {
    let (dir, file) = tree(lab, place)?;
    // The host changes a file after the guest did, and before the machine saves.
    let mut command = lab.command(
        place,
        &["--save", &file],
        &[
            "/bin/sh",
            "-c",
            "cd \"$0\"; echo x >>f; rm rm; chmod 600 mode; echo up; read line",
            &dir.to_string_lossy(),
        ],
    );
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let mut up = [0u8; 3];
    child.stdout.as_mut().context("no output")?.read_exact(&mut up).context("no sign of life")?;
    host(lab, place, &dir, "echo theirs >>f; echo theirs >>rm")?;
    drop(child.stdin.take());
    let status = child.wait()?;
    let left = end_session(child.id(), crate::outcome::GRACE);
    ensure!(left.is_empty(), "left behind: {}", left.join(", "));
    ensure!(status.code().is_some() && Path::new(&file).exists(), "nothing was saved: {status}");
    let before = host(lab, place, &dir, "ls -l; cat f rm")?;
    let outcome = tool(lab, place, &dir, b"", &["commit", "--yes", &file])?;
    outcome.expect(1)?;
    for name in ["f", "rm"] {
        let line = format!("umlaut: {}/{name}: has changed since", dir.display());
        ensure!(
            outcome.err().lines().any(|l| l == line),
            outcome.describe(&format!("no conflict of {name}"))
        );
    }
    ensure!(!outcome.err().contains("/mode:"), outcome.describe("a conflict where there is none"));
    ensure!(host(lab, place, &dir, "ls -l; cat f rm")? == before, "half of it was applied");
    let outcome = sh(lab, place, &["--load", &file], &dir, "true")?;
    outcome.expect(1)?;
    ensure!(outcome.err().contains("has changed on the host since"), outcome.describe("loaded all the same"));
    Ok(Completion::Completed)
}

fn layer_refusals(lab: &Lab, place: Place) -> Result<Completion> {
    let top = lab.scratch("bad")?;
    host(lab, place, &top, "echo text >text; mkfifo fifo; : >empty; mkdir dir")?;
    for name in ["text", "fifo", "empty", "dir", "none"] {
        for command in
            [&["diff", name][..], &["commit", "--yes", name], &["run", "--load", name, "--", "true"]]
        {
            let outcome = tool(lab, place, &top, b"", command)?;
            outcome.expect(1)?;
            ensure!(outcome.err().contains(name), outcome.describe("does not name the file"));
            ensure!(outcome.err().lines().count() == 1, outcome.describe("more than one line"));
        }
    }
    for target in ["none/file", "dir", "fifo", "/proc/file"] {
        let outcome = tool(lab, place, &top, b"", &["run", "--save", target, "--", "echo", "ran"])?;
        outcome.expect(1)?;
        ensure!(outcome.out().is_empty(), outcome.describe("the command ran all the same"));
    }
    // A machine whose command fails is saved; one whose command does not exist is not. The status is the command's.
    tool(lab, place, &top, b"", &["run", "--save", "s", "--", "sh", "-c", "echo x >y; exit 7"])?.expect(7)?;
    let list = tool(lab, place, &top, b"", &["diff", "s"])?;
    ensure!(
        list.out() == format!("A {}/y (2 bytes)\n", top.display()),
        list.describe("not what was changed")
    );
    tool(lab, place, &top, b"", &["run", "--save", "n", "--", "no-such-command"])?.expect(127)?;
    ensure!(host(lab, place, &top, "ls -A")? == "dir\nempty\nfifo\ns\ntext\n", "files were left behind");
    Ok(Completion::Completed)
}

fn traced(lab: &Lab, place: Place) -> Result<Completion> {
    let dir = lab.scratch("trace")?;
    host(lab, place, &dir, "printf 'in\\001\\n' >file")?;
    let script = "cat file; cat none; mkdir -m 750 d; kill -s USR1 $$; exit 3";
    let outcome = sh(lab, place, &["--trace"], &dir, &script.replace("cat none", "cat none || true"))?;
    outcome.expect(128 + 10)?;
    ensure!(outcome.out() == "in\u{1}\n", outcome.describe("the output changed"));
    let err = outcome.err();
    let lines: Vec<&str> = err.lines().collect();
    let has = |text: &str| -> Result<()> {
        let there = lines
            .iter()
            .any(|l| l.split_once("] ").is_some_and(|(pid, l)| pid.starts_with('[') && l == text));
        ensure!(there, "`{text}` was not traced in\n{err}");
        Ok(())
    };
    for line in [
        "openat(AT_FDCWD, \"file\", O_RDONLY) = 3",
        "openat(AT_FDCWD, \"none\", O_RDONLY) = -1 ENOENT (no such file or directory)",
        "write(1, \"in\\1\\n\", 4) = 4",
        "mkdir(\"d\", 0750) = 0",
        "kill(2, SIGUSR1) = 0",
    ] {
        has(line)?;
    }
    for part in [
        "execve(\"/bin/cat\", [\"cat\", \"file\"], ",
        "mmap(NULL, ",
        "PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0x0) = 0x",
    ] {
        let execve = part.replace("/bin/cat", "/usr/bin/cat");
        ensure!(err.contains(part) || err.contains(&execve), "`{part}` was not traced in\n{err}");
    }
    // Into a file, the error output is the guest's alone; bad pointers do no harm.
    let file = dir.join("out").to_string_lossy().into_owned();
    let outcome = sh(lab, place, &[&format!("--trace={file}")], &dir, "echo error >&2; exit 4")?;
    outcome.expect(4)?;
    ensure!(outcome.stderr == b"error\n", outcome.describe("not the guest's error output"));
    let text = fs::read_to_string(&file)?;
    ensure!(
        text.contains("] write(1, \"error\\n\", 6) = 6\n") && text.ends_with("exit_group(4) = ?\n"),
        "{text}"
    );
    let outcome = sh(lab, place, &["--trace=/no/such/dir/file"], &dir, "true")?;
    outcome.expect(1)?;
    ensure!(outcome.err().lines().count() == 1, outcome.describe("more than one line"));
    Ok(Completion::Completed)
}

fn statistics(lab: &Lab, place: Place) -> Result<Completion> {
    let dir = lab.scratch("stats")?;
    let script = "i=0; while [ $i -lt 50 ]; do test -e /no/such/file || i=$((i+1)); done; sleep 0.3";
    let outcome = sh(lab, place, &["--stats"], &dir, script)?;
    outcome.expect(0)?;
    let err = outcome.err();
    let row = |name: &str| -> Result<Vec<&str>> {
        let line = err.lines().find(|l| l.split_whitespace().next() == Some(name));
        Ok(line.with_context(|| outcome.describe(&format!("no row of {name}")))?.split_whitespace().collect())
    };
    let looked = ["stat", "newfstatat", "faccessat2", "faccessat", "access"];
    let counts =
        looked.iter().filter_map(|n| row(n).ok()).map(|r| (r[1].parse::<u32>(), r[2].parse::<u32>()));
    let found = counts
        .filter_map(|(a, b)| Some((a.ok()?, b.ok()?)))
        .any(|(count, failed)| count >= 50 && failed >= 50);
    ensure!(found, outcome.describe("fifty failing look-ups were not counted"));
    let slept = row("clock_nanosleep").or_else(|_| row("nanosleep"))?;
    let waited: f64 = slept[slept.len() - 2].parse()?;
    ensure!(
        slept[slept.len() - 1] == "ms" && (290.0..1000.0).contains(&waited),
        outcome.describe("sleeping is not counted as waiting")
    );
    let head = err.lines().next().unwrap_or_default();
    ensure!(head.starts_with("umlaut: ") && head.contains(" system calls in "), outcome.describe("no sum"));
    for name in ["faults:", "waits:"] {
        row(name)?;
    }
    let quiet = sh(lab, place, &[], &dir, "true")?;
    ensure!(quiet.stderr.is_empty(), quiet.describe("reported without being asked"));
    Ok(Completion::Completed)
}

fn host_check(lab: &Lab, place: Place) -> Result<Completion> {
    let outcome = tool(lab, place, lab.stage(), b"", &["check"])?;
    outcome.expect(0)?;
    let out = outcome.out();
    for what in [
        "kernel",
        "processors",
        "memory",
        "/proc",
        "seccomp filters",
        "memfd_create",
        "process_vm_readv",
        "yama",
        "FSGSBASE",
        "vectors",
        "AMX",
        "Landlock",
        "user namespaces",
        "KVM",
        "descriptors",
        "guest code",
    ] {
        let line = out.lines().find(|l| l.get(5..).is_some_and(|l| l.starts_with(what)));
        let line = line.with_context(|| outcome.describe(&format!("nothing about {what}")))?;
        // A machine runs here, as all other cases show.
        ensure!(line.starts_with("ok  ") || line.starts_with("less"), outcome.describe(what));
    }
    let cpus = out
        .lines()
        .find(|l| l.contains("processors"))
        .and_then(|l| l.split_whitespace().nth(2)?.parse().ok());
    ensure!(
        cpus == Some(thread::available_parallelism()?.get()),
        outcome.describe("another number of processors")
    );
    // Inside a machine there is no room for another one, and the reason is told.
    let outcome =
        run(&mut lab.command(place, &[], &[lab.staged_binary().as_os_str(), "check".as_ref()]), b"", LIMIT)?;
    ensure!(
        outcome.code() == 1 && outcome.out().contains("\nNO  "),
        outcome.describe("a machine in the machine")
    );
    Ok(Completion::Completed)
}
