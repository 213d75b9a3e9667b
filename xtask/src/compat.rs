//! `docs/COMPATIBILITY.md`, generated from the one system-call table.
//!
//! The table lives in the machine; the built binary prints it (`umlaut --compat-table`), so this needs no
//! second description of it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Writes the page, or with `check_only` says whether the one in the tree is current.
pub fn run(root: &Path, check_only: bool) -> Result<bool> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--release", "-p", "linux", "--bin", "umlaut", "--", "--compat-table"])
        .current_dir(root)
        .output()
        .context("cargo run --bin umlaut -- --compat-table")?;
    if !output.status.success() || output.stdout.is_empty() {
        bail!("umlaut --compat-table: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let page = root.join("docs/COMPATIBILITY.md");
    let current = std::fs::read(&page).unwrap_or_default();
    if current == output.stdout {
        println!("docs/COMPATIBILITY.md is current");
        return Ok(true);
    }
    if check_only {
        println!("docs/COMPATIBILITY.md is not what the table says; run `cargo xtask compat`");
        return Ok(false);
    }
    std::fs::create_dir_all(root.join("docs"))?;
    std::fs::write(&page, &output.stdout).with_context(|| page.display().to_string())?;
    println!("docs/COMPATIBILITY.md written");
    Ok(true)
}
