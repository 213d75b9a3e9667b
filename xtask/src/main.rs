//! House rules as commands: `cargo xtask check` and `cargo xtask compat [--check]`.
//!
//! `check` reads the workspace (through `cargo metadata`) and its sources and says, one line each, what
//! breaks a rule of the house: layers, `unsafe`, host access from kernel-side crates, file length, licences.
//! `compat` writes `docs/COMPATIBILITY.md` from the system-call table of the built binary.

#![forbid(unsafe_code)]

mod compat;
mod layers;
mod licences;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};

/// One broken rule: where, and what.
#[derive(Debug)]
pub struct Finding {
    /// File or manifest, relative to the workspace root, with a line where there is one.
    pub place: String,
    /// The rule and how it is broken.
    pub what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["check"] => check(),
        ["compat"] => compat::run(&root()?, false),
        ["compat", "--check"] => compat::run(&root()?, true),
        _ => bail!("usage: cargo xtask check | compat [--check]"),
    }
}

/// The workspace root: the directory above this crate.
fn root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest.parent().context("xtask has no parent directory")?.to_path_buf())
}

fn check() -> Result<bool> {
    let root = root()?;
    let metadata: Metadata =
        MetadataCommand::new().manifest_path(root.join("Cargo.toml")).exec().context("cargo metadata")?;
    let mut findings = layers::check(&metadata)?;
    findings.extend(source::check(&root, &metadata)?);
    findings.extend(licences::check(&metadata));
    for finding in &findings {
        println!("{}: {}", finding.place, finding.what);
    }
    println!("xtask check: {} packages, {} findings", metadata.workspace_members.len(), findings.len());
    Ok(findings.is_empty())
}
