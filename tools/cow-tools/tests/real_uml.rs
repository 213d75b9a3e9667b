//! COW files between the tools and a real User Mode Linux kernel.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;
#[allow(dead_code, reason = "each test program uses its part of the module")]
#[path = "../../../tests/uml/mod.rs"]
mod uml;

use common::Dir;
use uml::Uml;

const SIZE: usize = 20 << 20;

/// A backing file whose sectors all differ.
fn backing(dir: &Dir) -> Vec<u8> {
    let bytes: Vec<u8> = (0..SIZE / 8).flat_map(|n| (n as u64).to_le_bytes()).collect();
    dir.backing("base", &bytes);
    bytes
}

/// What the machine does to its disk: 3000 bytes at 5000, and a sector at the very end. The kernel has the files open,
/// and locked, while somebody has the disk open.
const WRITE: &str = "exec 3</dev/ubda
yes new | dd of=/dev/ubda bs=1000 seek=5 count=3 iflag=fullblock conv=notrunc
yes end | dd of=/dev/ubda bs=512 seek=40959 count=1 iflag=fullblock conv=notrunc
sync; echo written; while [ ! -e /go ]; do sleep 0.1; done";

/// The image after that.
fn written(mut image: Vec<u8>) -> Vec<u8> {
    image[5000..8000].copy_from_slice(&b"new\n".repeat(750));
    image[SIZE - 512..].copy_from_slice(&b"end\n".repeat(128));
    image
}

/// Boots a machine on `cow`, lets it write, and while it runs tries what must be refused.
fn boot(dir: &Dir, cow: &str) -> bool {
    let disk = format!("ubd0={},{}", dir.path(cow).display(), dir.path("base").display());
    let Some(mut uml) = Uml::start(&dir.path(""), "disk", &[disk], WRITE) else { return false };
    uml.wait_for("written");
    for run in [dir.moo(&["-d", cow]), dir.mkcow(&["-f", cow, "base"])] {
        run.fails(1, &["is in use by process "]);
    }
    std::fs::write(dir.path("root-disk/go"), "").unwrap();
    uml.end();
    true
}

#[test]
fn a_real_kernel_writes_into_our_cow_files() {
    // With the alignment that uml_mkcow chooses, and with the kernel's own.
    for align in [&[][..], &["--align", "4K"]] {
        let dir = Dir::new("real");
        let image = written(backing(&dir));
        dir.mkcow(&[align, &["cow", "base"]].concat()).silent();
        if !boot(&dir, "cow") {
            return;
        }
        dir.moo(&["cow", "new"]).silent();
        assert!(dir.read("new") == image, "{align:?}");
        assert!(dir.read("base") != image);
        dir.moo(&["-d", "cow"]).silent();
        assert!(dir.read("base") == image, "{align:?}");
    }
}

#[test]
fn we_merge_what_a_real_kernel_made() {
    let dir = Dir::new("real");
    let image = written(backing(&dir));
    if !boot(&dir, "made") {
        return;
    }
    let info = dir.moo(&["--info", "made"]).stdout();
    assert!(info.contains("COW version 3") && info.contains("(matches)"), "{info}");
    dir.moo(&["made", "new"]).silent();
    assert!(dir.read("new") == image);
}
