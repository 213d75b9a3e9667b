//! A real User Mode Linux (Debian's package user-mode-linux) for the tests of the tools: they have to serve that, too.
//!
//! Its root is a directory with nothing but busybox and the test's script.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

const KERNEL: &str = "/usr/bin/linux.uml";
const BUSYBOX: &str = "/bin/busybox";

/// A running kernel.
pub struct Uml {
    child: Child,
    console: PathBuf,
}

impl Uml {
    /// Boots one that runs a script of busybox's shell; `args` are added to its command line, its directory of machines is
    /// `DIR/uml`. `None`, with the reason printed, where that cannot be.
    pub fn start(dir: &Path, umid: &str, args: &[String], script: &str) -> Option<Uml> {
        if let Some(missing) = [KERNEL, BUSYBOX].iter().find(|program| !Path::new(program).exists()) {
            println!("skipped: {missing} is not installed (packages user-mode-linux and busybox-static)");
            return None;
        }
        let root = dir.join(format!("root-{umid}"));
        for part in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(part)).expect("a root directory");
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox");
        let _ = symlink("busybox", root.join("bin/sh"));
        let prologue = "#!/bin/sh\n/bin/busybox --install -s /bin\nmount -t proc proc /proc\nmount -t devtmpfs dev /dev\n";
        fs::write(root.join("init"), format!("{prologue}{script}\nhalt -f\n")).expect("init");
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).expect("mode");
        let console = dir.join(format!("console-{umid}"));
        let output = fs::File::create(&console).expect("a file for the console");
        let child = Command::new(KERNEL)
            .args(["mem=64M", "rootfstype=hostfs", "rw", "init=/init", "con0=null,fd:1", "con=null"])
            .arg(format!("rootflags={}", root.display()))
            .arg(format!("umid={umid}"))
            .arg(format!("uml_dir={}/", dir.join("uml").display()))
            .args(args)
            .env("PATH", "/bin:/usr/bin")
            .stdin(Stdio::null())
            .stderr(output.try_clone().expect("a second descriptor"))
            .stdout(output)
            .process_group(0)
            .spawn()
            .expect("start linux.uml");
        let mut uml = Uml { child, console };
        if uml.waits_for("Run /init") {
            return Some(uml);
        }
        println!("skipped: {KERNEL} does not run here: {}", uml.says());
        None
    }

    /// What has come from its console.
    pub fn says(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Waits until it has said something.
    pub fn wait_for(&mut self, text: &str) {
        assert!(self.waits_for(text), "the machine never said '{text}': {}", self.says());
    }

    /// Waits until it has ended, and returns what it said.
    pub fn end(mut self) -> String {
        let start = Instant::now();
        while self.child.try_wait().expect("wait").is_none() {
            assert!(start.elapsed() < Duration::from_secs(60), "it does not end: {}", self.says());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.says()
    }

    fn waits_for(&mut self, text: &str) -> bool {
        let start = Instant::now();
        while !self.says().contains(text) {
            if self.child.try_wait().expect("wait").is_some() || start.elapsed() > Duration::from_secs(60) {
                return self.says().contains(text);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

impl Drop for Uml {
    fn drop(&mut self) {
        // It is several processes.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
