//! The layer rule: a crate imports only lower layers, and siblings never import each other.
//!
//! The layers are those named at the top of the workspace's `Cargo.toml`. A crate's layer follows from the
//! directory it stands in, so a new crate needs no entry here.

use anyhow::Result;
use cargo_metadata::camino::Utf8Path;
use cargo_metadata::{DependencyKind, Metadata};

use crate::Finding;

/// Where a crate stands in the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// L0: formats and logic, no host, no locks.
    Pure,
    /// L1: the host's traits, and locks.
    Hal,
    /// L2: the one crate that talks to the host.
    Host,
    /// L3: the kernel.
    Kernel,
    /// L4: system calls, filesystems, socket families, drivers.
    Modules,
    /// L5: the machine, its tools, the tests.
    Top,
}

/// The layer of the crate in `dir` (relative to the workspace root), or `None` for an unknown room.
fn layer_of(dir: &str) -> Option<Layer> {
    let parts: Vec<&str> = dir.split('/').collect();
    match parts[..] {
        ["crates", "pure", _] => Some(Layer::Pure),
        ["crates", "hal" | "ksync"] => Some(Layer::Hal),
        ["crates", "host-linux"] => Some(Layer::Host),
        ["crates", "kernel"] => Some(Layer::Kernel),
        ["crates", "syscalls"] | ["crates", "fs" | "net" | "drv", _] => Some(Layer::Modules),
        ["crates", "linux"] | ["tools" | "tests", _] | ["xtask"] => Some(Layer::Top),
        _ => None,
    }
}

/// Whether the crate in `from` may import the crate in `to`; the reason if not.
fn verdict(from: &str, to: &str) -> Result<(), String> {
    let (Some(upper), Some(lower)) = (layer_of(from), layer_of(to)) else {
        return Err("a crate outside the rooms of the house; name its layer in xtask/src/layers.rs".into());
    };
    if to == "crates/pure/abi" {
        return Ok(());
    }
    if lower == Layer::Host && upper != Layer::Top {
        return Err("only binaries and tools may import host-linux".into());
    }
    if from.starts_with("tools/") && lower > Layer::Host {
        return Err("a tool imports pure crates and host-linux, never the kernel".into());
    }
    if lower == Layer::Top {
        return Err("nothing imports a crate of the top layer".into());
    }
    if lower == upper {
        return Err(format!("siblings of layer {upper:?} never import each other"));
    }
    if lower > upper {
        return Err(format!("layer {upper:?} may not import the higher layer {lower:?}"));
    }
    if from == "crates/ksync" {
        return Err("ksync imports nothing of ours".into());
    }
    Ok(())
}

/// Checks every dependency between crates of this workspace.
pub fn check(metadata: &Metadata) -> Result<Vec<Finding>> {
    let root = &metadata.workspace_root;
    let relative = |manifest: &Utf8Path| -> Option<String> {
        Some(manifest.parent()?.strip_prefix(root).ok()?.to_string())
    };
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let Some(from) = relative(&package.manifest_path) else { continue };
        if layer_of(&from).is_none() {
            findings
                .push(Finding::new(format!("{from}/Cargo.toml"), "layer: no layer is named for this crate"));
            continue;
        }
        for dependency in &package.dependencies {
            let Some(path) = &dependency.path else { continue };
            let Ok(to) = path.strip_prefix(root) else { continue };
            // Tests may use a neighbour as a fixture, but not climb: a module's tests may boot tmpfs.
            let fixture = dependency.kind == DependencyKind::Development
                && layer_of(&from)
                    .zip(layer_of(to.as_str()))
                    .is_some_and(|(f, t)| t <= f.max(Layer::Modules));
            if fixture {
                continue;
            }
            if let Err(reason) = verdict(&from, to.as_str()) {
                findings.push(Finding::new(
                    format!("{from}/Cargo.toml"),
                    format!("layer: imports {to}: {reason}"),
                ));
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn lower_layers_are_open() {
        for (from, to) in [
            ("crates/kernel", "crates/hal"),
            ("crates/kernel", "crates/pure/ldisc"),
            ("crates/fs/tmpfs", "crates/kernel"),
            ("crates/drv/console", "crates/pure/abi"),
            ("crates/linux", "crates/host-linux"),
            ("crates/pure/cow", "crates/pure/abi"),
            ("tools/uml-tools", "crates/pure/cow"),
            ("crates/host-linux", "crates/hal"),
        ] {
            assert_eq!(verdict(from, to), Ok(()), "{from} -> {to}");
        }
    }

    #[test]
    fn siblings_and_climbers_are_refused() {
        for (from, to) in [
            ("crates/fs/tmpfs", "crates/fs/overlay"),
            ("crates/syscalls", "crates/fs/proc"),
            ("crates/kernel", "crates/syscalls"),
            ("crates/kernel", "crates/host-linux"),
            ("crates/fs/hostfs", "crates/host-linux"),
            ("crates/hal", "crates/kernel"),
            ("crates/pure/cow", "crates/pure/elf"),
            ("crates/ksync", "crates/pure/cow"),
            ("tools/uml-tools", "crates/kernel"),
            ("crates/linux", "tools/uml-tools"),
            ("crates/attic", "crates/kernel"),
        ] {
            assert!(verdict(from, to).is_err(), "{from} -> {to}");
        }
    }
}
