//! Comforts and safety of `umlaut`: confinement, saved layers, tracing, statistics, what the host offers.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Completion, Trial};

use crate::lab::{Lab, Place};
use crate::outcome::end_session;

type Body = fn(&Lab, Place) -> Result<Completion>;

/// One trial per case and machine place.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let cases: &[(&str, Body)] = &[("confined", confined)];
    let mut trials = Vec::new();
    for (name, body) in cases {
        for place in lab.machine_places() {
            trials.push(lab.trial(place, &format!("comfort::{name}"), *body));
        }
    }
    trials
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
