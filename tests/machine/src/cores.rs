//! Core dumps of the machine, read by the host's debugger.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Completion, Trial};

use crate::lab::{Lab, Place};
use crate::outcome::run;

const LIMIT: Duration = Duration::from_secs(60);

/// Two threads, a fault some calls deep, and a variable that changed.
const SOURCE: &str = r"
#include <pthread.h>
#include <unistd.h>
int changed = 1;
static void *waits(void *at) { pause(); return at; }
static void inner(int *p) { *p = 7; }
static void outer(int n) { if (n > 0) outer(n - 1); else inner((int *)16); }
int main(void)
{
    pthread_t t;
    pthread_create(&t, 0, waits, 0);
    changed = 4711;
    usleep(50000);
    outer(2);
    return 0;
}
";

/// One trial per machine place.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let read = |place| lab.trial(place, "cores::read_by_the_hosts_debugger", by_the_host);
    lab.machine_places().into_iter().map(read).collect()
}

fn by_the_host(lab: &Lab, place: Place) -> Result<Completion> {
    if let Some(missing) = lab.missing(&["gdb".into(), "gcc".into()]) {
        return Ok(Completion::ignored_with(missing));
    }
    let dir = lab.scratch("cores")?;
    let (source, program, core) = (dir.join("crash.c"), dir.join("crash"), dir.join("core"));
    fs::write(&source, SOURCE)?;
    let built =
        Command::new("gcc").args(["-g", "-O0", "-pthread", "-o"]).arg(&program).arg(&source).status()?;
    ensure!(built.success(), "gcc: {built}");
    let script = "cd /tmp && ulimit -c unlimited && { \"$0\"; cat core; }";
    let words = ["/bin/bash".as_ref(), "-c".as_ref(), script.as_ref(), program.as_os_str()];
    let outcome = run(&mut lab.command(place, &[], &words), b"", LIMIT)?;
    outcome.expect(0)?;
    ensure!(outcome.err().contains("core dumped"), "{}", outcome.describe("no dump is told of"));
    fs::write(&core, &outcome.stdout)?;
    let gdb = Command::new("gdb")
        .args(["-batch", "-nx", "-ex", "thread apply all bt", "-ex", "print changed"])
        .args([&program, &core])
        .output()
        .context("gdb")?;
    let text = String::from_utf8_lossy(&gdb.stdout).into_owned();
    for part in ["SIGSEGV", "inner (p=0x10)", "outer (n=2)", "main ()", "waits (at=0x0)", "= 4711"] {
        ensure!(text.contains(part), "{part:?} is not in what the debugger says:\n{text}");
    }
    let _ = fs::remove_dir_all(&dir);
    Ok(Completion::Completed)
}
