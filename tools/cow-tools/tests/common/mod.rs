//! What the tests of the tools share: a scratch directory, running programs, images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// The modification time backing files get.
pub const MTIME: i64 = 1_000_000_000;

/// A directory of its own for a test, removed with it.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new(name: &str) -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cow-tools-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir(path.canonicalize().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Writes a backing file with the usual time.
    pub fn backing(&self, name: &str, bytes: &[u8]) {
        self.write(name, bytes);
        self.stamp(name);
    }

    /// Gives a file the usual time.
    pub fn stamp(&self, name: &str) {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(MTIME as u64);
        let file = fs::File::options().write(true).open(self.path(name)).unwrap();
        file.set_modified(time).unwrap();
    }

    /// Copies the golden data of the COW format here.
    pub fn golden(&self) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/pure/cow/tests/data");
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), self.0.join(entry.file_name())).unwrap();
        }
        self.stamp("backing64k.img");
    }

    /// The names of all files here.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs a program in this directory.
    pub fn run(&self, program: impl AsRef<Path>, args: &[&str]) -> Run {
        Run(self.command(program).args(args).output().unwrap())
    }

    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(&self.0).env("LC_ALL", "C");
        command
    }

    pub fn moo(&self, args: &[&str]) -> Run {
        self.run(MOO, args)
    }

    pub fn mkcow(&self, args: &[&str]) -> Run {
        self.run(MKCOW, args)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub const MOO: &str = env!("CARGO_BIN_EXE_uml_moo");
pub const MKCOW: &str = env!("CARGO_BIN_EXE_uml_mkcow");

/// What a program did.
#[derive(Debug)]
pub struct Run(pub Output);

impl Run {
    pub fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    /// Asserts success without a word.
    #[track_caller]
    pub fn silent(&self) {
        assert!(self.code() == Some(0) && self.0.stdout.is_empty() && self.0.stderr.is_empty(), "{self:?}");
    }

    /// Asserts success.
    #[track_caller]
    pub fn ok(&self) {
        assert_eq!(self.code(), Some(0), "{self:?}");
    }

    /// Asserts a failure with one line on standard error that has these words.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        let text = self.stderr();
        assert_eq!(self.code(), Some(code), "{self:?}");
        assert_eq!(text.trim_end().lines().count(), 1, "not one line: {text}");
        assert!(self.0.stdout.is_empty(), "{self:?}");
        for word in words {
            assert!(text.contains(word), "'{word}' is not in: {text}");
        }
    }
}

/// A small generator of bytes; the tests must not differ from run to run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// An image in which some pages are zeros.
    pub fn image(&mut self, len: usize) -> Vec<u8> {
        let mut image = self.bytes(len);
        for page in image.chunks_mut(4096) {
            if self.below(3) == 0 {
                page.fill(0);
            }
        }
        image
    }
}

/// Changes random sectors of a COW file, as a machine would, and returns what its disk then holds.
/// `base` is the content of the backing file.
pub fn scribble(cow_file: &Path, base: &[u8], writes: usize, random: &mut Random) -> Vec<u8> {
    use cow_tools::file::HostFile;
    let file = HostFile::open_rw(cow_file).unwrap();
    let header = cow::device::read_header(&&file).unwrap();
    let backing = HostFile::open(cow_tools::file::path_from_bytes(header.backing())).unwrap();
    let mtime = backing.mtime().unwrap();
    let mut device = cow::Device::open(file, backing, mtime, cow::Access::ReadWrite).unwrap();
    let mut disk = base.to_vec();
    disk.resize(device.size() as usize, 0);
    let sectors = device.size() / 512;
    for _ in 0..writes {
        let first = random.below(sectors);
        let count = 1 + random.below((sectors - first).min(40));
        let (at, len) = (first as usize * 512, count as usize * 512);
        let new = if random.below(4) == 0 { vec![0; len] } else { random.bytes(len) };
        device.write_at(&new, at as u64).unwrap();
        disk[at..at + len].copy_from_slice(&new);
    }
    device.flush().unwrap();
    disk.truncate(base.len());
    disk
}
