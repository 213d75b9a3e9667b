//! Guest programs: `tests/guest/AREA/CASE.c` (or `.go`, `.rs`), each built statically, run natively, then inside.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use libtest_mimic::{Completion, Trial};

use crate::lab::{Lab, Place, find_program};
use crate::outcome::{Outcome, run};

/// Time for one case; every body in it has its own limit.
const LIMIT: Duration = Duration::from_secs(120);

/// Time for an attack: some try thousands of ways.
const ATTACK_LIMIT: Duration = Duration::from_secs(600);

/// What attacks write by a host call, should they get one through.
const ESCAPED: &str = "HOST CALL MADE BY THE GUEST";

/// Exit code of a case whose every body was skipped.
const SKIPPED: i32 = 77;

/// The flags of the C compiler: one static file that needs nothing of the tree it runs in.
const FLAGS: &[&str] = &[
    "-O1",
    "-static",
    "-pthread",
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-Werror",
    // Bad pointers and sizes are what the tests pass.
    "-Wno-clobbered",
    "-Wno-stringop-overflow",
    "-Wno-stringop-overread",
    "-Wno-nonnull",
    "-Wno-array-bounds",
];

/// The same of Rust's.
const RUST_FLAGS: &[&str] =
    &["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-D", "warnings"];

/// The same of Go's. Without cgo the program is static.
const GO_FLAGS: &[&str] = &["build", "-trimpath", "-ldflags=-s -w"];

/// The compiler of a source, by the end of its name, and its flags.
fn compiler(source: &Path) -> Option<(&'static str, &'static [&'static str])> {
    match source.extension()?.to_str()? {
        "c" => Some(("gcc", FLAGS)),
        "rs" => Some(("rustc", RUST_FLAGS)),
        "go" => Some(("go", GO_FLAGS)),
        _ => None,
    }
}

/// One program: built by whoever asks first, or why it could not be.
type Slot = Arc<OnceLock<Result<PathBuf, String>>>;

/// The built programs of this run, each built once.
#[derive(Debug, Default)]
pub struct Builder {
    built: Mutex<HashMap<PathBuf, Slot>>,
}

impl Builder {
    /// The program made of `source`, in a place where any user may execute it.
    pub fn program(&self, lab: &Lab, source: &Path) -> Result<PathBuf> {
        let slot = self
            .built
            .lock()
            .map_err(|_| anyhow::anyhow!("poisoned"))?
            .entry(source.into())
            .or_default()
            .clone();
        let result = slot.get_or_init(|| build(lab, source).map_err(|e| format!("{e:#}")));
        result.clone().map_err(anyhow::Error::msg)
    }
}

fn build(lab: &Lab, source: &Path) -> Result<PathBuf> {
    let (compiler, flags) = compiler(source).context("a source in no known language")?;
    let text = fs::read(source).with_context(|| source.display().to_string())?;
    let mut headers = vec![fs::read(lab.source().join("tests/guest/test.h"))?];
    let area = source.parent().context("a source in no area")?;
    let mut beside: Vec<_> = fs::read_dir(area)?.flatten().map(|e| e.path()).collect();
    beside.retain(|p| p.extension().is_some_and(|e| e == "h"));
    beside.sort();
    for path in beside {
        headers.push(fs::read(path)?);
    }
    let mut hash = DefaultHasher::new();
    (text, headers, flags).hash(&mut hash);
    let name = source.file_stem().context("a source without a name")?.to_string_lossy();
    let area = source.parent().and_then(Path::file_name).context("a source in no area")?.to_string_lossy();
    let keep = lab.cache().join("guest").join(format!("{area}-{name}-{:016x}", hash.finish()));
    if !keep.exists() {
        fs::create_dir_all(lab.cache().join("guest"))?;
        let fresh = keep.with_extension(std::process::id().to_string());
        let mut command = Command::new(find_program(compiler).unwrap_or_else(|| compiler.into()));
        if compiler == "go" {
            command.env("CGO_ENABLED", "0").env("GOCACHE", lab.cache().join("go")).env("GOFLAGS", "-mod=mod");
        }
        let output = command.args(flags).arg("-o").arg(&fresh).arg(source).output().context(compiler)?;
        if !output.status.success() {
            bail!("{compiler}: {}", String::from_utf8_lossy(&output.stderr));
        }
        fs::rename(&fresh, &keep)?;
    }
    // The file's own name is what guests see in /proc/self/comm, so it stays short.
    let dir = lab.stage().join("guest").join(&*area);
    fs::create_dir_all(&dir)?;
    let staged = dir.join(&*name);
    fs::copy(&keep, &staged).with_context(|| staged.display().to_string())?;
    Ok(staged)
}

/// All sources below `tests/guest`, as (area, case, path), sorted.
pub fn sources(lab: &Lab) -> Vec<(String, String, PathBuf)> {
    let mut found = Vec::new();
    let top = lab.source().join("tests/guest");
    for area in fs::read_dir(top).into_iter().flatten().flatten() {
        for file in fs::read_dir(area.path()).into_iter().flatten().flatten() {
            let path = file.path();
            if compiler(&path).is_some() {
                let case = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                found.push((area.file_name().to_string_lossy().into_owned(), case, path));
            }
        }
    }
    found.sort();
    found
}

/// One trial per program and place.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let builder = Arc::new(Builder::default());
    let mut trials = Vec::new();
    for (area, case, path) in sources(lab) {
        for place in lab.work_places() {
            // Hostile programs know what they attack; on the host they only have to survive themselves.
            let builder = Arc::clone(&builder);
            let (path, area_name) = (path.clone(), area.clone());
            trials.push(lab.trial(place, &format!("{area}::{case}"), move |lab, place| {
                let needed = compiler(&path).map(|c| c.0.to_owned());
                if let Some(missing) = lab.missing(needed.as_slice()) {
                    return Ok(Completion::ignored_with(missing));
                }
                let program = builder.program(lab, &path)?;
                if place != Place::Host && area_name == "hostile" {
                    return hostile(lab, place, &program);
                }
                plain(lab, place, &program)
            }));
        }
    }
    trials
}

fn plain(lab: &Lab, place: Place, program: &Path) -> Result<Completion> {
    let scratch = lab.scratch_at(place, "guest")?;
    let mut command = lab.command(place, &[], &[program]);
    let outcome = run(command.current_dir(&scratch), b"", LIMIT)?;
    if place != Place::Host {
        expect_untouched(&scratch)?;
    }
    let _ = fs::remove_dir_all(&scratch);
    verdict(&outcome)
}

/// Runs an attack and then, in the same machine, a plain command: the machine goes on and ends as it should.
fn hostile(lab: &Lab, place: Place, program: &Path) -> Result<Completion> {
    let scratch = lab.scratch("hostile")?;
    let script = "\"$0\"; code=$?; echo still $(echo alive | cat) >&2; exit $code";
    let words = ["/bin/sh".as_ref(), "-c".as_ref(), script.as_ref(), program.as_os_str()];
    let mut command = lab.command(place, &["--env", "UMLAUT_INSIDE=1"], &words);
    let outcome = run(command.current_dir(&scratch), b"", ATTACK_LIMIT)?;
    expect_untouched(&scratch)?;
    if outcome.out().contains(ESCAPED) || outcome.err().contains(ESCAPED) {
        bail!("{}", outcome.describe("the guest made a host call"));
    }
    if !outcome.err().contains("still alive") {
        bail!("{}", outcome.describe("the machine did not go on"));
    }
    verdict(&outcome)
}

fn verdict(outcome: &Outcome) -> Result<Completion> {
    if outcome.code() == SKIPPED {
        outcome.expect_clean()?;
        let reason = outcome.err().lines().next().unwrap_or_default().trim().to_owned();
        return Ok(Completion::ignored_with(reason));
    }
    outcome.expect(0)?;
    Ok(Completion::Completed)
}

/// Fails if a machine changed a directory of the host.
pub fn expect_untouched(dir: &Path) -> Result<()> {
    if let Some(entry) = fs::read_dir(dir)?.next() {
        bail!("the machine wrote {} on the host", entry?.path().display());
    }
    Ok(())
}
