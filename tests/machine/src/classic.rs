//! The command line of `linux`: a small tree of busybox whose init is a script, booted as UML boots it.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Completion, Trial};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Body, Lab, Place, find_program};
use crate::outcome::{end_session, run, session_members};

const LIMIT: Duration = Duration::from_secs(20);

/// One trial per case and machine place.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let cases: &[(&str, Body)] = &[
        ("command_line", command_line),
        ("unknown_device", unknown_device),
        ("root_of_the_host", root_of_the_host),
        ("end_of_init", end_of_init),
        ("restart", restart),
        ("signals", signals),
        ("channels", channels),
    ];
    lab.machine_trials("classic", cases)
}

/// A small tree with busybox and an init made of a shell script.
fn busybox_tree(lab: &Lab, init: &str) -> Result<Option<String>> {
    let Some(busybox) = find_program("busybox") else { return Ok(None) };
    let tree = lab.scratch("tree")?;
    for dir in ["bin", "sbin", "proc", "sys", "dev", "tmp", "etc", "root"] {
        fs::create_dir(tree.join(dir))?;
    }
    fs::copy(busybox, tree.join("bin/busybox"))?;
    for name in [
        "sh", "mount", "poweroff", "reboot", "halt", "echo", "cat", "ls", "ps", "sync", "sleep", "mkdir",
        "mv", "ln", "rm", "chmod", "stty",
    ] {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(name))?;
    }
    // A plain user's machine writes there.
    for dir in ["tmp", "root", ""] {
        fs::set_permissions(tree.join(dir), fs::Permissions::from_mode(0o777))?;
    }
    fs::write(tree.join("sbin/init"), init)?;
    fs::set_permissions(tree.join("sbin/init"), fs::Permissions::from_mode(0o755))?;
    Ok(Some(tree.to_string_lossy().into_owned()))
}

fn linux_binary(lab: &Lab) -> Result<Option<String>> {
    let built = lab.binary().with_file_name("linux");
    if !built.exists() {
        return Ok(None);
    }
    let staged = lab.stage().join("linux");
    if !staged.exists() {
        let fresh = lab.scratch("linux")?.join("linux");
        fs::copy(&built, &fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
        fs::rename(&fresh, &staged)?;
    }
    Ok(Some(staged.to_string_lossy().into_owned()))
}

fn command_line(lab: &Lab, place: Place) -> Result<Completion> {
    let Some(linux) = linux_binary(lab)? else { bail!("there is no `linux` beside `umlaut`") };
    let init = "#!/bin/sh\nmount -t proc proc /proc\necho \"init is $$ with $*\"\ncat /proc/cmdline\nread line\n\
                echo \"read $line\"\npoweroff -f\n";
    let Some(tree) = busybox_tree(lab, init)? else {
        return Ok(Completion::ignored_with("no busybox on this host"));
    };
    let flags = format!("rootflags={tree}");
    let words = [
        &linux,
        "mem=64M",
        "root=/dev/root",
        "rootfstype=hostfs",
        &flags,
        "rw",
        "con0=fd:0,fd:1",
        "con=null",
        "quiet",
        "single",
    ];
    let outcome = run(&mut lab.session(place == Place::UserMachine, &words), b"a line\n", LIMIT)?;
    outcome.expect(0)?;
    let out = outcome.out().replace('\r', "");
    ensure!(out.contains("init is 1 with single\n"), outcome.describe("init did not run as process 1"));
    ensure!(out.contains("rootfstype=hostfs"), outcome.describe("the command line is not in /proc/cmdline"));
    ensure!(out.contains("read a line\n"), outcome.describe("the console did not hand its input over"));
    Ok(Completion::Completed)
}

fn unknown_device(lab: &Lab, place: Place) -> Result<Completion> {
    let Some(linux) = linux_binary(lab)? else { bail!("there is no `linux` beside `umlaut`") };
    let hostfs = "rootfstype=hostfs";
    for (options, named) in [
        ([hostfs, "eth0=tuntap,,,1.2.3.4"], "eth0="),
        ([hostfs, "ubd0=/no/such/file"], "ubd0="),
        ([hostfs, "ubdX=3"], "ubdX="),
        ([hostfs, "dsp=/dev/dsp"], "dsp="),
        ([hostfs, "virtio_uml.device=/tmp/x:1"], "virtio_uml.device="),
        ([hostfs, "time-travel"], "time-travel"),
        ([hostfs, "ssl0=port:5000"], "ssl0=port:5000"),
        ([hostfs, "mem=nonsense"], "mem="),
        ([hostfs, "rootflags=/no/such/tree"], "rootflags=/no/such/tree"),
        (["ro", "rootfstype=ext9"], "rootfstype=ext9"),
        (["ro", "root=/dev/nosuchdevice"], "root=/dev/nosuchdevice"),
        // The default is a device, too, and never the host's tree.
        (["ro", "single"], "root=98:0"),
    ] {
        let option = options.join(" ");
        let words = [&linux, "mem=64M", options[0], options[1]];
        let outcome = run(&mut lab.session(place == Place::UserMachine, &words), b"", LIMIT)?;
        ensure!(outcome.code() != 0, outcome.describe(&format!("{option}: ended with success")));
        ensure!(outcome.code() > 0, outcome.describe(&format!("{option}: did not end")));
        outcome.expect_clean()?;
        let said = [outcome.err(), outcome.out()].concat();
        let line = said.lines().find(|l| l.starts_with("linux: ") && l.contains(named));
        ensure!(line.is_some(), outcome.describe(&format!("{option}: no line names it")));
    }
    Ok(Completion::Completed)
}

/// What every boot here says, and the tree to boot from.
struct Boot {
    linux: String,
    flags: String,
    tree: String,
}

impl Boot {
    fn new(lab: &Lab, init: &str) -> Result<Option<Boot>> {
        let Some(linux) = linux_binary(lab)? else { bail!("there is no `linux` beside `umlaut`") };
        let Some(tree) = busybox_tree(lab, init)? else { return Ok(None) };
        Ok(Some(Boot { linux, flags: format!("rootflags={tree}"), tree }))
    }

    fn words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let first =
            [&self.linux, "mem=64M", "rootfstype=hostfs", &self.flags, "rw", "con=null", "ssl=null", "quiet"];
        let console = ["con0=fd:0,fd:1"];
        first.into_iter().chain(console).chain(more.iter().copied()).collect()
    }

    /// Starts the machine and waits for the line "up" of it.
    fn start(
        &self,
        lab: &Lab,
        place: Place,
        more: &[&str],
    ) -> Result<(Child, BufReader<std::process::ChildStdout>)> {
        let mut command = lab.session(place == Place::UserMachine, &self.words(more));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut out = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        while line.trim() != "up" {
            line.clear();
            ensure!(out.read_line(&mut line)? > 0, "the machine ended before it was up");
        }
        Ok((child, out))
    }
}

const NO_BUSYBOX: &str = "no busybox on this host";

/// The confined machine changes its tree in every way, and mounts others of the host below `hostfs=` only.
fn root_of_the_host(lab: &Lab, place: Place) -> Result<Completion> {
    let init = "#!/bin/sh\ncd /root; mkdir a b; echo text >a/f; mv a/f b/g; ln b/g a/h; ln -s g b/l; chmod 640 a/h\n\
                rm b/g; mkdir m; mount -t hostfs none m -o $place && echo mounted; echo x >m/from-mount\n\
                mount -t hostfs none m -o /no-such-thing && echo wrong; poweroff -f\n";
    let Some(boot) = Boot::new(lab, init)? else { return Ok(Completion::ignored_with(NO_BUSYBOX)) };
    let outside = lab.scratch("mounted")?;
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777))?;
    let (open, jail) = (format!("place={}", outside.display()), format!("hostfs={}", boot.tree));
    for jailed in [false, true] {
        // In a jail all paths begin there, that of the root too.
        let mut words = boot.words(&[]);
        if jailed {
            words.retain(|w| *w != boot.flags);
            words.extend([&*jail, "rootflags=/", "place=/tmp"]);
        } else {
            words.push(&open);
        }
        let outcome = run(&mut lab.session(place == Place::UserMachine, &words), b"", LIMIT)?;
        outcome.expect(0)?;
        outcome.expect_clean()?;
        let out = outcome.out();
        ensure!(out.contains("mounted") && !out.contains("wrong"), outcome.describe("host mounts"));
        ensure!(!outcome.err().contains("refused"), outcome.describe("a host call was refused"));
        let root = Path::new(&boot.tree).join("root");
        ensure!(fs::read_to_string(root.join("a/h"))? == "text\n" && !root.join("b/g").exists());
        ensure!(fs::metadata(root.join("a/h"))?.permissions().mode() & 0o777 == 0o640);
        ensure!(fs::read_link(root.join("b/l"))?.as_os_str() == "g");
        let written = if jailed { Path::new(&boot.tree).join("tmp") } else { outside.clone() };
        ensure!(
            fs::remove_file(written.join("from-mount")).is_ok(),
            outcome.describe("nothing was written there")
        );
        for dir in ["a", "b", "m"] {
            fs::remove_dir_all(root.join(dir))?;
        }
    }
    Ok(Completion::Completed)
}

/// The end of init is a panic, and tells its wait status; a signal without a handler does not reach it.
fn end_of_init(lab: &Lab, place: Place) -> Result<Completion> {
    for (init, code) in [("exit 3", "0x00000300"), ("kill -USR1 $$; exit 0", "0x00000000")] {
        let Some(boot) = Boot::new(lab, &format!("#!/bin/sh\n{init}\n"))? else {
            return Ok(Completion::ignored_with(NO_BUSYBOX));
        };
        let outcome = run(&mut lab.session(place == Place::UserMachine, &boot.words(&[])), b"", LIMIT)?;
        let said = format!("Kernel panic - not syncing: Attempted to kill init! exitcode={code}");
        ensure!(outcome.err().contains(&said), outcome.describe("no word of init's end"));
        ensure!(outcome.code() == 134, outcome.describe("not the status of a panic"));
    }
    Ok(Completion::Completed)
}

/// A guest that reboots finds a new machine, in the process that the user knows; the pid file says so all the while.
fn restart(lab: &Lab, place: Place) -> Result<Completion> {
    let init = "#!/bin/sh\nread n </root/n || n=0; n=$((n + 1)); echo $n >/root/n; echo boot $n; echo up\n\
                while ! [ -e /root/go$n ]; do sleep 0.05; done\n\
                [ $n = 3 ] && poweroff -f; reboot -f\n";
    let Some(boot) = Boot::new(lab, init)? else { return Ok(Completion::ignored_with(NO_BUSYBOX)) };
    let umid_dir = format!("uml_dir={}/tmp/", boot.tree);
    let (mut child, mut out) = boot.start(lab, place, &["umid=again", &umid_dir])?;
    let pid_file = Path::new(&boot.tree).join("tmp/again/pid");
    let done = (|| {
        for n in 1..=3 {
            let pid = fs::read_to_string(&pid_file)?;
            ensure!(pid.trim() == child.id().to_string(), "boot {n}: pid file says {pid}");
            fs::write(Path::new(&boot.tree).join(format!("root/go{n}")), "")?;
            let mut line = String::new();
            while n < 3 && line.trim() != "up" {
                line.clear();
                ensure!(out.read_line(&mut line)? > 0, "the machine ended at its restart {n}");
            }
        }
        let status = child.wait()?;
        ensure!(status.code() == Some(0), "{status}");
        ensure!(fs::read_to_string(Path::new(&boot.tree).join("root/n"))? == "3\n");
        ensure!(!pid_file.exists(), "the pid file is left behind");
        Ok(Completion::Completed)
    })();
    end_session(child.id(), Duration::from_secs(2));
    done
}

/// Signals to the process that the user knows end the machine, which gave up what it may do on the host.
fn signals(lab: &Lab, place: Place) -> Result<Completion> {
    let init = "#!/bin/sh\necho up\nsleep 1000 & sleep 1000\n";
    let Some(boot) = Boot::new(lab, init)? else { return Ok(Completion::ignored_with(NO_BUSYBOX)) };
    let umid_dir = format!("uml_dir={}/tmp/", boot.tree);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::KILL] {
        let (mut child, _out) = boot.start(lab, place, &["umid=ended", &umid_dir])?;
        let pid = child.id();
        let done = (|| {
            let machine = session_members(pid)
                .into_keys()
                .find(|p| {
                    let stat = fs::read_to_string(format!("/proc/{p}/stat")).unwrap_or_default();
                    stat.contains("(linux)") && stat.contains(&format!(") S {pid} "))
                })
                .context("no child that is the machine")?;
            let status = fs::read_to_string(format!("/proc/{machine}/status"))?;
            for word in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
                ensure!(status.contains(word), "not confined: {status}");
            }
            kill_process(Pid::from_raw(pid.cast_signed()).context("pid")?, signal)?;
            let status = child.wait()?;
            ensure!(!status.success(), "{signal:?}: {status}");
            let pid_file = Path::new(&boot.tree).join("tmp/ended/pid");
            ensure!(pid_file.exists() == (signal == Signal::KILL), "{signal:?}: the pid file");
            Ok(())
        })();
        let left = end_session(pid, Duration::from_secs(2));
        done?;
        ensure!(left.is_empty(), "{signal:?}: left behind: {}", left.join(", "));
    }
    Ok(Completion::Completed)
}

/// Channels of the command line are opened by a machine that is confined already: a pty that the guest's opening makes,
/// and an inherited descriptor.
fn channels(lab: &Lab, place: Place) -> Result<Completion> {
    let init = "#!/bin/sh\necho to the pty >/dev/tty1; echo again >/dev/ttyS0; echo error line >/dev/tty2; poweroff -f\n";
    let Some(boot) = Boot::new(lab, init)? else { return Ok(Completion::ignored_with(NO_BUSYBOX)) };
    let mut words = boot.words(&["con1=pts", "ssl0=pts", "con2=null,fd:2", "loglevel=7"]);
    words.retain(|w| *w != "quiet");
    let outcome = run(&mut lab.session(place == Place::UserMachine, &words), b"", LIMIT)?;
    outcome.expect(0)?;
    let out = outcome.out();
    ensure!(
        out.contains("Virtual console 1 assigned device '/dev/pts/"),
        outcome.describe("no pty for con1")
    );
    ensure!(out.contains("Serial line 0 assigned device '/dev/pts/"), outcome.describe("no pty for ssl0"));
    ensure!(outcome.err().contains("error line"), outcome.describe("nothing came by fd:2"));
    ensure!(!out.contains("can't create"), outcome.describe("a channel could not be opened"));
    ensure!(!outcome.err().contains("refused"), outcome.describe("a host call was refused"));
    Ok(Completion::Completed)
}
