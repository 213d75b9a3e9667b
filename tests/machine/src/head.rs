//! What the head of a script says: comments of the form `# key: value`.
//!
//! - `# needs: git python3` programs without which it is skipped;
//! - `# limit: 60` seconds for one run (30 if not said);
//! - `# oracle: same user` to compare what a plain user saw inside with what one sees on the host;
//! - `# compare: no` when what it prints is not the same twice;
//! - `# compare: passed` when it prints a line `ok TEST` for each test that passed: what passes on the host must pass
//!   inside, except
//! - `# except: TEST  REASON` tests whose names begin with this (two blanks before the reason);
//! - `# each: WORD WORD` one case for each word, which is the script's argument;
//! - `# fixture: zlib` a directory of the cache, found in `$FIXTURE` (see `.ci/setup`);
//! - `# root: bookworm` run in this tree of the cache (`--root` inside, chroot on the host);
//! - `# places: machine` only there (of `host`, `machine`, `user`, `plain`).

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::outcome::{Outcome, tail};

/// How what a script prints inside is compared with what it prints on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Not at all.
    No,
    /// It is the same.
    Same,
    /// Tests that passed there passed here.
    Passed,
}

/// A script and what its head says.
#[derive(Debug, Clone)]
pub struct Script {
    /// AREA::CASE, and ::WORD if it is one of several.
    pub name: String,
    /// Where it stands.
    pub path: PathBuf,
    /// Programs it needs.
    pub needs: Vec<String>,
    /// Time for one run.
    pub limit: Duration,
    /// How the outputs are compared.
    pub compare: Compare,
    /// A plain user inside is compared with one on the host.
    pub same_user: bool,
    /// Directory of the cache it uses.
    pub fixture: Option<String>,
    /// Tree of the cache it runs in.
    pub root: Option<String>,
    /// What its head lists after `each`.
    pub words: Vec<String>,
    /// Its argument, of those words.
    pub word: Option<String>,
    /// Tests that may fail inside, with the reason.
    pub except: Vec<(String, String)>,
    /// Where it runs; everywhere if empty.
    pub places: Vec<String>,
}

impl Script {
    /// Reads the head of a script.
    pub fn read(area: &str, path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut script = Self {
            name: format!("{area}::{}", path.file_stem().unwrap_or_default().to_string_lossy()),
            path: path.into(),
            needs: vec!["bash".into()],
            limit: Duration::from_secs(30),
            compare: Compare::Same,
            same_user: false,
            fixture: None,
            root: None,
            words: vec![],
            word: None,
            except: vec![],
            places: vec![],
        };
        for line in text.lines().take_while(|line| line.starts_with('#')) {
            let Some((key, value)) = line.trim_start_matches(['#', ' ']).split_once(": ") else { continue };
            match key {
                "needs" => script.needs.extend(value.split_whitespace().map(Into::into)),
                "limit" => {
                    script.limit = Duration::from_secs(value.parse().with_context(|| line.to_owned())?)
                }
                "compare" => {
                    script.compare = match value {
                        "no" => Compare::No,
                        "passed" => Compare::Passed,
                        _ => bail!("{line}"),
                    }
                }
                "each" => script.words = words(value),
                "except" => {
                    let (test, reason) = value.split_once("  ").with_context(|| line.to_owned())?;
                    script.except.push((test.into(), reason.into()));
                }
                "oracle" => script.same_user = value == "same user",
                "fixture" => script.fixture = Some(value.into()),
                "root" => script.root = Some(value.into()),
                "places" => script.places = words(value),
                _ => {}
            }
        }
        Ok(script)
    }

    /// One case, or one for each word.
    pub fn cases(self) -> Vec<Self> {
        if self.words.is_empty() {
            return vec![self];
        }
        let case = |word: &String| Self {
            name: format!("{}::{word}", self.name),
            word: Some(word.clone()),
            ..self.clone()
        };
        self.words.iter().map(case).collect()
    }

    /// Fails unless every line of the host that begins with `ok ` is there inside too, but for the exceptions, whose
    /// reasons are printed.
    pub fn expect_passed(&self, host: &str, inside: &Outcome) -> Result<()> {
        let out = inside.out();
        let passed: HashSet<&str> = out.lines().filter_map(|l| l.strip_prefix("ok ")).collect();
        let mut missing = Vec::new();
        for test in host.lines().filter_map(|l| l.strip_prefix("ok ")).filter(|t| !passed.contains(t)) {
            match self.except.iter().find(|(name, _)| test.starts_with(name.as_str())) {
                Some((_, reason)) => eprintln!("{}: not inside: {test}: {reason}", self.name),
                None => missing.push(test),
            }
        }
        if passed.is_empty() {
            bail!("{}", inside.describe("nothing passed"));
        }
        if !missing.is_empty() {
            let list = missing.join("\n  ");
            bail!("passed on the host, but not inside:\n  {list}\n--- stderr\n{}", tail(&inside.err()));
        }
        Ok(())
    }
}

fn words(value: &str) -> Vec<String> {
    value.split_whitespace().map(Into::into).collect()
}
