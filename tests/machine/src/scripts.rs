//! Scripts: `tests/scripts/AREA/CASE.sh`, real programs at real work.
//!
//! A script runs in an empty directory of its own, first on the host, then inside; both must exit 0 and print
//! the same. Comments at its head say what it needs and how it is compared: see [`crate::head`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Result, anyhow, bail};
use libtest_mimic::{Completion, Trial};

use crate::guest::expect_untouched;
use crate::head::{Compare, Script};
use crate::lab::{Lab, PATH, Place, find_program};
use crate::outcome::{Outcome, run};

impl Script {
    /// Why this script cannot run here, if so.
    fn obstacle(&self, lab: &Lab, place: Place) -> Option<String> {
        if let Some(missing) = lab.missing(&self.needs) {
            return Some(missing);
        }
        for item in self.fixture.iter().chain(&self.root) {
            if !lab.cache().join(item).exists() {
                return Some(format!("{} was not set up; see .ci/setup", lab.cache().join(item).display()));
            }
        }
        if self.root.is_some() && place.is_native() && !lab.is_root() {
            return Some("chroot needs root".into());
        }
        if self.needs.iter().any(|n| n == "cargo")
            && matches!(place, Place::UserMachine | Place::PlainUser)
            && !lab.cache().join(TOOLCHAIN).exists()
            && toolchain_is_private()
        {
            return Some("the toolchain is root's own".into());
        }
        None
    }

    fn run(&self, lab: &Lab, place: Place) -> Result<Outcome> {
        let scratch = lab.scratch_at(place, "script")?;
        let staged = scratch.with_extension("sh");
        fs::copy(&self.path, &staged)?;
        let mut env = self.environment(lab, &scratch);
        let mut command;
        if let Some(root) = &self.root {
            let tree = lab.cache().join(root);
            let body = fs::read_to_string(&self.path)?;
            env.push(("HOME".into(), "/tmp".into()));
            if place.is_native() {
                command = lab.command(
                    place,
                    &[],
                    &[
                        "chroot".as_ref(),
                        tree.as_os_str(),
                        "/bin/bash".as_ref(),
                        "-c".as_ref(),
                        body.as_ref(),
                    ],
                );
            } else {
                let tree = tree.to_string_lossy().into_owned();
                let mut first = vec!["--root", &tree, "--cwd", "/tmp"];
                let bind =
                    self.fixture.as_ref().map(|f| format!("{}:/mnt:ro", lab.cache().join(f).display()));
                if let Some(bind) = &bind {
                    env.push(("FIXTURE".into(), "/mnt".into()));
                    first.extend(["--bind", bind]);
                }
                let options = options(&first, &env);
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                command = lab.command(place, &options, &["/bin/bash", "-c", &body]);
            }
        } else {
            let options = options(&[], &env);
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let mut words = vec!["bash".as_ref(), staged.as_os_str()];
            words.extend(self.word.as_deref().map(OsStr::new));
            command = lab.command(place, &options, &words);
        }
        if place.is_native() {
            set(&mut command, &env);
        }
        let outcome = run(command.current_dir(&scratch), b"", self.limit)?;
        if !place.is_native() {
            expect_untouched(&scratch)?;
        }
        let _ = fs::remove_dir_all(&scratch);
        let _ = fs::remove_file(&staged);
        Ok(outcome)
    }

    fn environment(&self, lab: &Lab, scratch: &Path) -> Vec<(String, String)> {
        let mut env = vec![("HOME".to_owned(), scratch.to_string_lossy().into_owned())];
        if let (Some(fixture), None) = (&self.fixture, &self.root) {
            env.push(("FIXTURE".into(), lab.cache().join(fixture).to_string_lossy().into_owned()));
        }
        let toolchain = lab.cache().join(TOOLCHAIN);
        let needs_cargo = self.needs.iter().any(|need| need == "cargo");
        if needs_cargo && toolchain.exists() {
            env.push(("PATH".into(), format!("{}:{PATH}", toolchain.to_string_lossy())));
        } else if needs_cargo {
            // rustup's proxies find their toolchain by these, whatever HOME is.
            let home = std::env::var("HOME").unwrap_or_default();
            let keep = |key: &str, or: String| (key.to_owned(), std::env::var(key).unwrap_or(or));
            env.push(keep("RUSTUP_HOME", format!("{home}/.rustup")));
            let bin = find_program("cargo").and_then(|p| Some(p.parent()?.to_string_lossy().into_owned()));
            env.push(("PATH".into(), format!("{}:{PATH}", bin.unwrap_or_default())));
            if let Ok(chain) = std::env::var("RUSTUP_TOOLCHAIN") {
                env.push(("RUSTUP_TOOLCHAIN".into(), chain));
            }
        }
        env
    }
}

/// Where the set-up puts a toolchain that all users can reach, if root's is its own.
const TOOLCHAIN: &str = "toolchain/bin";

fn toolchain_is_private() -> bool {
    use std::os::unix::fs::PermissionsExt;
    find_program("cargo").is_none_or(|path| {
        path.ancestors()
            .any(|dir| fs::metadata(dir).is_ok_and(|m| m.is_dir() && m.permissions().mode() & 1 == 0))
    })
}

fn options(first: &[&str], env: &[(String, String)]) -> Vec<String> {
    let mut options: Vec<String> = first.iter().map(|s| (*s).to_owned()).collect();
    for (key, value) in env {
        options.push("--env".into());
        options.push(format!("{key}={value}"));
    }
    options
}

fn set(command: &mut Command, env: &[(String, String)]) {
    for (key, value) in env {
        command.env(key, value);
    }
}

/// What the host answered, kept for the comparison.
type Answers = Arc<Mutex<HashMap<(String, Place), Arc<OnceLock<Result<Vec<u8>, String>>>>>>;

fn oracle(lab: &Lab, script: &Script, place: Place, answers: &Answers) -> Result<Vec<u8>> {
    let host = match place {
        Place::UserMachine | Place::PlainUser if script.same_user && lab.is_root() => Place::UserHost,
        _ => Place::Host,
    };
    let key = (script.name.clone(), host);
    let slot = answers.lock().map_err(|_| anyhow!("poisoned"))?.entry(key).or_default().clone();
    let answer = slot.get_or_init(|| {
        let run = || -> Result<Vec<u8>> {
            let outcome = script.run(lab, host)?;
            outcome.expect(0)?;
            Ok(outcome.stdout)
        };
        run().map_err(|error| format!("on the host: {error:#}"))
    });
    answer.clone().map_err(anyhow::Error::msg)
}

fn check(lab: &Lab, place: Place, script: &Script, answers: &Answers) -> Result<Completion> {
    if let Some(reason) = script.obstacle(lab, place) {
        return Ok(Completion::ignored_with(reason));
    }
    if place == Place::Host {
        oracle(lab, script, place, answers)?;
        return Ok(Completion::Completed);
    }
    let outcome = script.run(lab, place)?;
    outcome.expect(0)?;
    let on_host = script.places.is_empty() || script.places.iter().any(|p| p == "host");
    if script.compare != Compare::No && on_host && script.obstacle(lab, Place::Host).is_none() {
        let expected = oracle(lab, script, place, answers)?;
        let expected = String::from_utf8_lossy(&expected);
        if script.compare == Compare::Passed {
            script.expect_passed(&expected, &outcome)?;
        } else if expected != outcome.out() {
            bail!("{}", difference(&expected, &outcome.out()));
        }
    }
    Ok(Completion::Completed)
}

fn difference(host: &str, inside: &str) -> String {
    let mut line = 1;
    let (mut a, mut b) = (host.lines(), inside.lines());
    loop {
        match (a.next(), b.next()) {
            (None, None) => return "the outputs differ in their line ends".into(),
            (left, right) if left != right => {
                return format!(
                    "line {line} differs\n  host:   {}\n  inside: {}",
                    left.unwrap_or("(no more)"),
                    right.unwrap_or("(no more)")
                );
            }
            _ => line += 1,
        }
    }
}

/// One trial per script and place.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let answers = Answers::default();
    let mut files = Vec::new();
    for area in fs::read_dir(lab.source().join("tests/scripts")).into_iter().flatten().flatten() {
        for file in fs::read_dir(area.path()).into_iter().flatten().flatten() {
            if file.path().extension().is_some_and(|e| e == "sh") {
                files.push((area.file_name().to_string_lossy().into_owned(), file.path()));
            }
        }
    }
    files.sort();
    let mut trials = Vec::new();
    for (area, path) in files {
        let cases = match Script::read(&area, &path) {
            Ok(script) => script.cases(),
            Err(error) => {
                let name = format!("host::{area}::{}", path.display());
                trials.push(Trial::test(name, move || Err(format!("{error:#}").into())));
                continue;
            }
        };
        for script in cases {
            for place in lab.work_places() {
                if !script.places.is_empty() && !script.places.iter().any(|p| p == place.prefix()) {
                    continue;
                }
                let (script, answers) = (script.clone(), answers.clone());
                let name = script.name.clone();
                trials.push(lab.trial(place, &name, move |lab, place| check(lab, place, &script, &answers)));
            }
        }
    }
    trials
}
