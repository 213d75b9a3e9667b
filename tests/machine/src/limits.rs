//! Limits bite in the guest, and what the guest takes is bounded on the host: memory, processes, descriptors.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use libtest_mimic::{Completion, Trial};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Lab, Place};
use crate::outcome::{Outcome, run_watched, session_members};

const LIMIT: Duration = Duration::from_secs(120);

/// Time between two looks at what a machine takes on the host.
const INTERVAL: Duration = Duration::from_millis(40);

/// One trial per case, in every kind of machine.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let mut trials = Vec::new();
    for place in lab.work_places().into_iter().filter(|p| *p != Place::Host) {
        trials.push(lab.trial(place, "limits::memory", memory));
        trials.push(lab.trial(place, "limits::memory_unwatched", memory_unwatched));
        trials.push(lab.trial(place, "limits::files_in_memory", files_in_memory));
        trials.push(lab.trial(place, "limits::processes", processes));
        trials.push(lab.trial(place, "limits::processes_of_the_machine", processes_of_the_machine));
        trials.push(lab.trial(place, "limits::descriptors", descriptors));
    }
    trials
}

/// The most that a machine took on the host while it ran.
#[derive(Debug, Default)]
struct Peak {
    /// Bytes: private memory of all its processes, and its memory objects.
    memory: u64,
    processes: usize,
    /// Open descriptors of the kernel process.
    descriptors: usize,
}

impl Peak {
    fn look(&mut self, session: u32) {
        let members = session_members(session);
        self.processes = self.processes.max(members.len());
        let mut bytes = 0;
        for pid in members.keys() {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            bytes += field(&rollup, "Pss_Anon:") * 1024;
        }
        let mut objects = BTreeSet::new();
        let mut descriptors = 0;
        for entry in fs::read_dir(format!("/proc/{session}/fd")).into_iter().flatten().flatten() {
            descriptors += 1;
            let is_object =
                fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:"));
            if is_object
                && let Ok(facts) = fs::metadata(entry.path())
                && objects.insert(facts.ino())
            {
                bytes += facts.blocks() * 512;
            }
        }
        self.memory = self.memory.max(bytes);
        self.descriptors = self.descriptors.max(descriptors);
    }
}

/// A number after a name at the begin of a line.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Runs a script inside and watches the machine from outside.
fn watched(lab: &Lab, place: Place, options: &[&str], script: &str) -> Result<(Outcome, Peak)> {
    watched_and(lab, place, options, script, &mut |_, _, _| ())
}

/// The same; `also` is called again and again with the number of the machine, its directory and what it took so far.
fn watched_and(
    lab: &Lab,
    place: Place,
    options: &[&str],
    script: &str,
    also: &mut dyn FnMut(u32, &Path, u64),
) -> Result<(Outcome, Peak)> {
    let mut peak = Peak::default();
    let mut next = Instant::now();
    let scratch = lab.scratch("limits")?;
    let mut command = lab.command(place, options, &["bash", "-c", script]);
    let outcome = run_watched(command.current_dir(&scratch), b"", LIMIT, &mut |session| {
        if Instant::now() >= next {
            peak.look(session);
            next = Instant::now() + INTERVAL;
        }
        also(session, &scratch, peak.memory);
    })?;
    let _ = fs::remove_dir_all(&scratch);
    outcome.expect(0)?;
    Ok((outcome, peak))
}

/// Whoever takes all memory is killed; others and the machine go on, and the host gives no more than was said.
fn memory(lab: &Lab, place: Place) -> Result<Completion> {
    let script = r#"
        sleep 1000 & other=$!
        hog() { "$@" >/dev/null 2>&1; echo "hog $?"; }
        hog tail /dev/zero
        (hog tail /dev/zero) & (hog tail /dev/zero) & (hog tail /dev/zero) & wait %2 %3 %4
        kill -0 $other && echo other lives
        echo kills $(sed -n 's/oom_kill //p' /proc/vmstat)
        x=$(head -c 100000000 /dev/zero | tail -c 99999999 | wc -c); echo $x
        kill $other"#;
    let (outcome, peak) = watched(lab, place, &["--mem", "256M"], script)?;
    let out = outcome.out();
    let kills: u64 = field(&out, "kills");
    ensure!(out.matches("hog 137\n").count() == 4, outcome.describe("not every hog was killed"));
    ensure!(kills >= 4, outcome.describe("the machine did not count what it killed"));
    ensure!(out.contains("other lives\n"), outcome.describe("a process of a few pages was killed"));
    ensure!(out.ends_with("\n99999999\n"), outcome.describe("what was taken did not come back"));
    bounded(lab, &peak, 256 << 20)
}

/// The thread that watches memory may be as late as the host likes, here for ever: the host gives no more for that.
fn memory_unwatched(lab: &Lab, place: Place) -> Result<Completion> {
    // The last hogs store to what they mapped long before: by themselves, and through the machine.
    let script = r#"
        until [ -e go ]; do sleep 0.05; done
        sleep 1000 & other=$!
        hog() { "$@" >/dev/null 2>&1; echo "hog $?"; }
        hog tail /dev/zero
        (hog tail /dev/zero) & (hog tail /dev/zero) & (hog tail /dev/zero) & wait %2 %3 %4
        hog perl -e '@a = map { "x" x 50000000 } 1..40'
        perl -e '$x = "y" x 100000000; for (1..8) { fork or do { substr($x, $_ * 4096, 1) = "z" for 0..24000;
            sleep 1; exit } } 1 while wait > 0' >/dev/null 2>&1
        hog perl -e '$m = syscall(9, 0, 1 << 32, 3, 0x4022, -1, 0); open Z, "</dev/zero"; select undef, undef, undef, 0.2;
            syscall(0, fileno(Z), $m + ($_ << 20), 1 << 20) for 0..4095'
        kill -0 $other && echo other lives
        echo kills $(sed -n 's/oom_kill //p' /proc/vmstat)
        kill $other"#;
    const SIZE: u64 = 256 << 20;
    let mut tracer: Option<Child> = None;
    let mut refused = false;
    let (outcome, peak) =
        watched_and(lab, place, &["--mem", "256M"], script, &mut |machine, directory, taken| {
            if tracer.is_none()
                && !refused
                && let Some(tid) = thread_of(machine, "oom")
            {
                tracer = hold(tid);
                refused = tracer.is_none();
                let _ = fs::write(directory.join("go"), "");
            }
            if taken > 8 * SIZE
                && let Some(pid) = i32::try_from(machine).ok().and_then(Pid::from_raw)
            {
                // The host is not to suffer from a machine that fails this.
                let _ = kill_process(pid, Signal::KILL);
            }
        })?;
    if let Some(mut t) = tracer {
        let _ = t.kill();
        let _ = t.wait();
    }
    let out = outcome.out();
    ensure!(out.matches("hog 137\n").count() >= 6, outcome.describe("not every hog was killed"));
    ensure!(out.contains("other lives\n"), outcome.describe("a process of a few pages was killed"));
    if refused {
        return Ok(Completion::ignored_with("the host refuses to stop a thread (ptrace(2))"));
    }
    bounded(lab, &peak, SIZE)
}

/// The thread of a process that has a name.
fn thread_of(process: u32, name: &str) -> Option<u32> {
    fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten().find_map(|entry| {
        let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
        (comm.trim_end() == name).then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

/// Stops one thread until the returned process ends, or the thread.
fn hold(tid: u32) -> Option<Child> {
    // PTRACE_SEIZE, PTRACE_INTERRUPT, wait4 with __WALL.
    let program = r#"$| = 1; $t = shift() + 0; syscall(101, 0x4206, $t, 0, 0) == 0 or exit 1;
        syscall(101, 0x4207, $t, 0, 0) == 0 or exit 1; syscall(61, -1, 0, 0x40000000, 0) == $t or exit 1;
        print "held\n"; 1 while syscall(61, -1, 0, 0x40000000, 0) > 0"#;
    let mut child = Command::new("perl")
        .args(["-e", program, &tid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut line = String::new();
    let _ = BufReader::new(child.stdout.take()?).read_line(&mut line);
    if line == "held\n" {
        return Some(child);
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Files of the guest are memory too: they end with an error, and can be removed again.
fn files_in_memory(lab: &Lab, place: Place) -> Result<Completion> {
    let script = r#"
        dd if=/dev/zero of=big bs=1M count=1000 2>&1 | grep -o 'No space left.*'
        [ "$(stat -c %s big)" -lt 270000000 ] && echo bounded
        rm big; echo again >small; cat small; head -c 50000000 /dev/zero >some && stat -c %s some"#;
    let (outcome, peak) = watched(lab, place, &["--mem", "256M"], script)?;
    ensure!(
        outcome.out() == "No space left on device\nbounded\nagain\n50000000\n",
        outcome.describe("not what a full machine does")
    );
    bounded(lab, &peak, 256 << 20)
}

/// The samples saw the memory go, and never more than the machine has, with room for its kernel and for the time
/// between two looks of its own.
fn bounded(lab: &Lab, peak: &Peak, size: u64) -> Result<Completion> {
    let reach = 2 * size + (64 << 20);
    ensure!(peak.memory <= reach, "the machine took {} MiB of the host", peak.memory >> 20);
    ensure!(!lab.is_root() || peak.memory > size / 4, "only {} MiB were seen on the host", peak.memory >> 20);
    Ok(Completion::Completed)
}

/// Forks until it is refused, says after how many and why, and ends them again.
const FORKS: &str = r#"perl -e '$SIG{TERM} = "DEFAULT"; while (@p < 3000) { my $p = fork;
    if (!defined $p) { $why = $!{EAGAIN} ? "EAGAIN" : $!; last } if (!$p) { sleep 1000; exit } push @p, $p }
    print "forked ", scalar @p, " $why\n"; select undef, undef, undef, 0.3; kill 9, @p; 1 while wait > 0'"#;

/// A user's limit of processes.
fn processes(lab: &Lab, place: Place) -> Result<Completion> {
    let user =
        if place == Place::PlainUser { "" } else { "setpriv --reuid 54323 --regid 54323 --clear-groups -- " };
    let script = format!(
        "ulimit -u 60; cat >forks <<'END'\n{FORKS}\nEND\nchmod 755 . forks; {user}bash forks; seq 100 | wc -l"
    );
    let (outcome, peak) = watched(lab, place, &[], &script)?;
    let out = outcome.out();
    let forked = field(&out, "forked");
    ensure!((50..60).contains(&forked), outcome.describe("not 60 processes"));
    ensure!(
        out.contains(" EAGAIN\n") && out.ends_with("\n100\n"),
        outcome.describe("not refused, or not alive after")
    );
    ensure!(peak.processes < 100, "{} processes on the host", peak.processes);
    Ok(Completion::Completed)
}

/// Nobody set a limit: the machine has one of its own, by its memory.
fn processes_of_the_machine(lab: &Lab, place: Place) -> Result<Completion> {
    let script = format!("cat /proc/sys/kernel/threads-max; {FORKS}; seq 100 | wc -l");
    let (outcome, peak) = watched(lab, place, &["--mem", "64M"], &script)?;
    let out = outcome.out();
    let most: usize = out.lines().next().unwrap_or_default().parse()?;
    let forked = usize::try_from(field(&out, "forked"))?;
    ensure!(most <= 1024 && forked <= most && forked > 100, outcome.describe("not bounded"));
    ensure!(
        out.contains(" EAGAIN\n") && out.ends_with("\n100\n"),
        outcome.describe("not refused, or not alive after")
    );
    ensure!(peak.processes <= most + 50, "{} processes on the host", peak.processes);
    Ok(Completion::Completed)
}

/// Descriptors: the soft limit, and then as many as there are, of files that are open on the host as well.
fn descriptors(lab: &Lab, place: Place) -> Result<Completion> {
    let open = r#"perl -e 'open my $list, "<", "names"; while (<$list>) { chomp; open my $f, "<", $_ or do {
        next if $!{EACCES}; $why = $!{EMFILE} ? "EMFILE" : $!{ENFILE} ? "ENFILE" : $!; last }; push @f, $f }
        print "opened ", scalar @f, " $why\n"'"#;
    let script = format!(
        "find /usr /etc -xdev -type f 2>/dev/null | head -n 60000 >names; (ulimit -n 50; {open}); ulimit -n 70000; {open}; \
         for i in 1 2; do {open} & done; wait; cat /etc/passwd | grep -c root:; seq 100 | wc -l"
    );
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let (outcome, peak) = watched(lab, place, &[], &script)?;
    let out = outcome.out();
    let first = field(&out, "opened");
    ensure!((40..50).contains(&first) && out.contains("EMFILE\n"), outcome.describe("not 50 descriptors"));
    let counts =
        out.lines().filter_map(|l| l.strip_prefix("opened ")?.split(' ').next()?.parse::<u64>().ok());
    let counts: Vec<u64> = counts.collect();
    ensure!(
        counts.len() == 4 && counts[1] > 1000,
        outcome.describe("not opened, or not refused with an error")
    );
    ensure!(out.ends_with("\n1\n100\n"), outcome.describe("the machine did not go on"));
    ensure!(peak.descriptors as u64 <= most, "{} descriptors on the host", peak.descriptors);
    Ok(Completion::Completed)
}
