//! Many machines: in a row, at once, and what they leave behind on the host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use libtest_mimic::{Completion, Trial};

use crate::lab::{Body, Lab, Place};
use crate::outcome::run;

/// Time for one machine: plenty, as processors may be few, slow and busy with other cases.
const LIMIT: Duration = Duration::from_secs(120);

/// One trial per case and machine place.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let cases: &[(&str, Body)] = &[
        ("a_hundred_in_a_row", in_a_row),
        ("twenty_at_once", at_once),
        ("two_do_not_see_each_other", apart),
    ];
    lab.machine_trials("many", cases)
}

/// Names in the directories where a machine might leave files.
fn traces(lab: &Lab) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let home = std::env::var("HOME").unwrap_or_default();
    let run_dir = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
    for dir in ["/tmp", "/dev/shm", "/run", "/var/tmp", &format!("{home}/.uml"), &home, &run_dir] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            names.insert(entry.path().to_string_lossy().into_owned());
        }
    }
    for entry in fs::read_dir(lab.stage()).into_iter().flatten().flatten() {
        if entry.path().extension().is_none() {
            continue;
        }
        names.insert(entry.path().to_string_lossy().into_owned());
    }
    names
}

/// Names that speak of machines among those that are new.
fn fresh(lab: &Lab, before: &BTreeSet<String>) -> Vec<String> {
    let after = traces(lab);
    after
        .difference(before)
        .filter(|name| {
            let name = Path::new(name).file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            ["umlaut", "uml", "linux", "vm_file", "stub", "memfd"].iter().any(|word| name.contains(word))
        })
        .cloned()
        .collect()
}

fn in_a_row(lab: &Lab, place: Place) -> Result<Completion> {
    let before = traces(lab);
    for i in 0..100 {
        let outcome =
            run(&mut lab.command(place, &[], &["/bin/sh", "-c", &format!("echo {i} | cat")]), b"", LIMIT)?;
        outcome.expect(0)?;
        ensure!(outcome.out() == format!("{i}\n"), outcome.describe("wrong output"));
    }
    let left = fresh(lab, &before);
    ensure!(left.is_empty(), "files left behind: {}", left.join(", "));
    Ok(Completion::Completed)
}

fn at_once(lab: &Lab, place: Place) -> Result<Completion> {
    let before = traces(lab);
    let threads: Vec<_> = (0..20)
        .map(|i| {
            let lab = lab.clone();
            thread::spawn(move || -> Result<()> {
                let script = format!("for i in 1 2 3 4 5; do echo {i} | cat; done; sleep 1; echo $$ end");
                let outcome = run(&mut lab.command(place, &[], &["/bin/sh", "-c", &script]), b"", 2 * LIMIT)?;
                outcome.expect(0)?;
                ensure!(
                    outcome.out().matches(&format!("{i}\n")).count() >= 5,
                    outcome.describe("wrong output")
                );
                Ok(())
            })
        })
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a thread panicked"))??;
    }
    let left = fresh(lab, &before);
    ensure!(left.is_empty(), "files left behind: {}", left.join(", "));
    Ok(Completion::Completed)
}

fn apart(lab: &Lab, place: Place) -> Result<Completion> {
    let scratch = lab.scratch("apart")?;
    let over = scratch.join("over");
    // One looks and kills while the other has its file, and waits for the end of that.
    let other = {
        let (lab, over) = (lab.clone(), over.clone());
        thread::spawn(move || {
            let script = format!(
                "echo mine >/tmp/umlaut-apart; until [ -e {} ]; do sleep 0.1; done; cat /tmp/umlaut-apart",
                over.display()
            );
            run(&mut lab.command(place, &[], &["/bin/sh", "-c", &script]), b"", LIMIT)
        })
    };
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do test -e /tmp/umlaut-apart && echo seen; sleep 0.15; done; kill -9 -1; \
                  ls /proc | grep -c '^[0-9]*$'";
    let outcome = run(&mut lab.command(place, &[], &["/bin/sh", "-c", script]), b"", LIMIT);
    fs::write(&over, "")?;
    let outcome = outcome?;
    outcome.expect(0)?;
    ensure!(!outcome.out().contains("seen"), "one machine sees the other's files");
    let other = other.join().map_err(|_| anyhow!("a thread panicked"))??;
    other.expect(0)?;
    ensure!(other.out() == "mine\n", other.describe("the other machine was disturbed"));
    let _ = fs::remove_dir_all(&scratch);
    Ok(Completion::Completed)
}
