//! The machine's tests: programs that pass on Linux first, and then inside the machine.
//!
//! Every case is a named trial in one of three places:
//! - `host::…` runs natively. The host is the oracle: a case that fails here is wrong.
//! - `machine::…` runs inside `umlaut run` as the invoking user.
//! - `user::…` runs inside `umlaut run` started by a plain user (when the suite itself runs as root).
//!
//! Guest programs stand in `tests/guest/AREA/CASE.c`, scripts in `tests/scripts/AREA/CASE.sh`; what needs a
//! terminal, several machines or bad input is Rust, here. See `CONTRIBUTING.md` for the commands.

#![forbid(unsafe_code)]

pub mod bench;
pub mod classic;
pub mod cmdline;
pub mod comfort;
pub mod cores;
pub mod guest;
pub mod head;
pub mod lab;
pub mod limits;
pub mod many;
pub mod outcome;
pub mod outside;
pub mod pty;
pub mod scripts;
pub mod stress;
pub mod terminal;

use libtest_mimic::Trial;

use crate::lab::Lab;

/// Every trial of the suite, in the order in which they are listed.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let mut trials = guest::trials(lab);
    trials.extend(cmdline::trials(lab));
    trials.extend(classic::trials(lab));
    trials.extend(comfort::trials(lab));
    trials.extend(cores::trials(lab));
    trials.extend(scripts::trials(lab));
    trials.extend(stress::trials(lab));
    trials.extend(terminal::trials(lab));
    trials.extend(many::trials(lab));
    trials.extend(limits::trials(lab));
    trials.extend(outside::trials(lab));
    trials.into_iter().map(known).collect()
}

/// Reasons by case, from `tests/known_failures.txt`.
const KNOWN: &str = include_str!("../../known_failures.txt");

/// A case that is known to fail inside is not run there; its reason is printed instead.
fn known(trial: Trial) -> Trial {
    let name = trial.name().to_string();
    let Some((place, case)) = name.split_once("::").filter(|n| n.0 != "host") else { return trial };
    let listed = |name: &str| {
        KNOWN.lines().filter(|l| !l.starts_with('#')).find_map(|l| l.strip_prefix(name)?.strip_prefix("  "))
    };
    let reason = listed(case).or_else(|| listed(&name));
    match reason {
        Some(reason) => {
            eprintln!("known failure {place}::{case}: {reason}");
            Trial::ignorable_test(name, move || Ok(libtest_mimic::Completion::ignored_with(reason)))
        }
        None => trial,
    }
}
