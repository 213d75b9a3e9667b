//! stress-ng's own checks (`--verify`), class by class: the stressor that gives the class its name alone, then
//! all of the class at once.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::{Completion, Trial};

use crate::lab::{Lab, Place};
use crate::outcome::run;

/// Seconds of each run, as stress-ng takes them.
const SECONDS: &str = "5";

/// Time for one run with what follows its end: many processes that are told, and tidy up.
const LIMIT: Duration = Duration::from_secs(60);

/// Classes: what runs alone first, and what runs at once then.
const CLASSES: &[(&str, &str, &[&str])] = &[
    (
        "cpu",
        "cpu",
        &[
            "matrix",
            "fp",
            "vecmath",
            "qsort",
            "hash",
            "zlib",
            "str",
            "context",
            "longjmp",
            "getrandom",
            "regs",
        ],
    ),
    (
        "vm",
        "vm",
        &[
            "vm-addr",
            "vm-rw",
            "vm-segv",
            "vm-splice",
            "madvise",
            "malloc",
            "brk",
            "stack",
            "shm",
            "shm-sysv",
            "memfd",
            "msync",
            "bad-altstack",
        ],
    ),
    ("pipe", "pipe", &["pipeherd", "fifo", "ring-pipe", "splice", "tee", "sendfile"]),
    ("futex", "futex", &["mutex", "sem", "sem-sysv", "membarrier", "pthread", "sleep"]),
    (
        "signal",
        "signal",
        &[
            "sigabrt",
            "sigchld",
            "sigfd",
            "sigfpe",
            "sigio",
            "signest",
            "sigpending",
            "sigpipe",
            "sigq",
            "sigrt",
            "sigsegv",
            "sigsuspend",
            "sigtrap",
            "kill",
            "alarm",
            "itimer",
            "timer",
            "timerfd",
        ],
    ),
    ("fork", "fork", &["vfork", "daemon", "zombie", "wait", "exit-group", "session"]),
    ("clone", "clone", &["pthread", "vfork", "resched", "close", "pidfd"]),
    (
        "mmap",
        "mmap",
        &["mmapaddr", "mmapfixed", "mmapfork", "mmapmany", "mprotect", "mremap", "munmap", "mincore"],
    ),
    (
        "filesystem",
        "hdd",
        &[
            "access",
            "chdir",
            "chmod",
            "chown",
            "copy-file",
            "dentry",
            "dir",
            "dirdeep",
            "dup",
            "eventfd",
            "fallocate",
            "fcntl",
            "filename",
            "flock",
            "fpunch",
            "fsize",
            "fstat",
            "getdent",
            "inotify",
            "io",
            "iomix",
            "lease",
            "link",
            "locka",
            "lockf",
            "lockofd",
            "open",
            "procfs",
            "rename",
            "symlink",
            "sync-file",
            "touch",
            "utime",
            "xattr",
        ],
    ),
    (
        "scheduler",
        "switch",
        &[
            "affinity",
            "loadavg",
            "nice",
            "yield",
            "schedpolicy",
            "poll",
            "nanosleep",
            "hrtimers",
            "mq",
            "msg",
            "resched",
            "kill",
            "session",
            "vfork",
        ],
    ),
];

/// One trial per class and place.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (class, first, others) in CLASSES {
        // The machine of a plain user differs from that of root in what the host lets it do, which none of these asks for.
        for place in lab.work_places().into_iter().filter(|p| *p != Place::UserMachine) {
            trials.push(lab.trial(place, &format!("stress::{class}"), move |lab, place| {
                if let Some(missing) = lab.missing(&["stress-ng".to_owned()]) {
                    return Ok(Completion::ignored_with(missing));
                }
                let scratch = lab.scratch("stress")?;
                verify(lab, place, &scratch, &[first])?;
                verify(lab, place, &scratch, others)?;
                let _ = std::fs::remove_dir_all(&scratch);
                Ok(Completion::Completed)
            }));
        }
    }
    trials
}

/// One worker of each stressor, all at once.
fn verify(lab: &Lab, place: Place, scratch: &Path, stressors: &[&str]) -> Result<()> {
    let mut words = vec!["stress-ng".to_owned(), "--verify".into(), "--timeout".into(), SECONDS.into()];
    for stressor in stressors {
        words.extend([format!("--{stressor}"), "1".into()]);
    }
    let outcome = run(lab.command(place, &[], &words).current_dir(scratch), b"", LIMIT)?;
    outcome.expect(0)?;
    // What is skipped is told, and ends with 0 if anything else ran.
    ensure!(!outcome.err().contains("skipp"), outcome.describe("a stressor was skipped"));
    Ok(())
}
