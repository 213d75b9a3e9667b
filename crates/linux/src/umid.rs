//! The directory by which a machine is found: `<uml_dir>/<umid>/` with a `pid` file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The machine's directory; removed when dropped.
pub struct UmidDir {
    dir: PathBuf,
}

/// `~/.uml/` or what `uml_dir=` says.
fn base(uml_dir: Option<&str>, home: Option<&str>) -> PathBuf {
    let dir = uml_dir.unwrap_or("~/.uml/");
    match (dir.strip_prefix('~'), home) {
        (Some(rest), Some(home)) => PathBuf::from(format!("{home}{rest}")),
        _ => PathBuf::from(dir),
    }
}

fn alive(pid_file: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    host_linux::process_exists(pid).then_some(pid)
}

impl UmidDir {
    /// Takes the directory of `umid`. The error is one line: the umid is in use by a living machine, or the directory
    /// cannot be made.
    pub fn claim(umid: &str, uml_dir: Option<&str>, home: Option<&str>, pid: u32) -> Result<UmidDir, String> {
        let dir = base(uml_dir, home).join(umid);
        let fail = |e: io::Error| format!("umid={umid}: {}: {e}", dir.display());
        let pid_file = dir.join("pid");
        if let Some(other) = alive(&pid_file) {
            return Err(format!("umid={umid}: already in use by pid {other}"));
        }
        fs::create_dir_all(&dir).map_err(fail)?;
        // A dead machine's files: only its own kind of files is in there.
        for e in fs::read_dir(&dir).map_err(fail)?.flatten() {
            let _ = fs::remove_file(e.path());
        }
        fs::write(&pid_file, format!("{pid}\n")).map_err(fail)?;
        Ok(UmidDir { dir })
    }
}

impl Drop for UmidDir {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.dir.join("pid"));
        let _ = fs::remove_dir(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_umid_is_taken_once_and_given_back() {
        let tmp = std::env::temp_dir().join(format!("umid-test-{}", std::process::id()));
        let base = tmp.to_str().unwrap();
        let me = std::process::id();
        let first = UmidDir::claim("a", Some(base), None, me).unwrap();
        let second = UmidDir::claim("a", Some(base), None, me);
        assert!(second.is_err_and(|e| e.contains("already in use")));
        drop(first);
        assert!(!tmp.join("a").exists());
        // A stale directory is taken over.
        fs::create_dir_all(tmp.join("b")).unwrap();
        fs::write(tmp.join("b/pid"), "4194999\n").unwrap();
        drop(UmidDir::claim("b", Some(base), None, me).unwrap());
        fs::remove_dir_all(&tmp).unwrap();
    }
}
