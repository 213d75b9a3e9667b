//! Where tests run: directories, the binary under test, users, and the commands made of them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use libtest_mimic::{Completion, Failed, Trial};

/// User and group that stand for "a plain user" when the suite runs as root: nobody.
pub const PLAIN_USER: u32 = 65534;

/// The path every command gets; the toolchain's own directory is added where a case asks for cargo.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Natively: the oracle.
    Host,
    /// Natively as a plain user: the oracle for cases in which permissions show.
    UserHost,
    /// Inside a machine started by the invoking user.
    Machine,
    /// Inside a machine started by a plain user (who is root in there).
    UserMachine,
    /// Inside a machine started by the invoking user, as a plain user in there.
    PlainUser,
}

impl Place {
    /// Without a machine.
    pub fn is_native(self) -> bool {
        matches!(self, Self::Host | Self::UserHost)
    }

    /// Whether the command itself is started as a plain user.
    fn as_plain_user(self) -> bool {
        matches!(self, Self::UserHost | Self::UserMachine)
    }

    /// The first part of a trial's name.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::UserHost => "hostuser",
            Self::Machine => "machine",
            Self::UserMachine => "user",
            Self::PlainUser => "plain",
        }
    }
}

/// The laboratory: one per run of the suite, cheap to clone.
#[derive(Debug, Clone)]
pub struct Lab {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: PathBuf,
    cache: PathBuf,
    stage: PathBuf,
    binary: PathBuf,
    native_only: bool,
    is_root: bool,
    next: AtomicU32,
}

/// A case that runs in a place.
pub type Body = fn(&Lab, Place) -> Result<Completion>;

impl Lab {
    /// Sets up from the environment: `UMLAUT_NATIVE_ONLY=1` leaves the machine out, `UMLAUT_BIN` names another
    /// binary than the release build, `UMLAUT_TEST_CACHE` another directory for what is built or fetched once.
    pub fn new() -> Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .context("the tests stand in no workspace")?
            .to_path_buf();
        let exe = std::env::current_exe()?;
        // .../target/<triple>/<profile>/deps/<this>
        let target = exe.ancestors().nth(3).context("no target directory")?.to_path_buf();
        let binary = match std::env::var_os("UMLAUT_BIN") {
            Some(path) => PathBuf::from(path),
            None => target.join("release/umlaut"),
        };
        let cache = match std::env::var_os("UMLAUT_TEST_CACHE") {
            Some(path) => PathBuf::from(path),
            None => source.join(".cache"),
        };
        fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
        let stage = PathBuf::from(format!("/var/tmp/umlaut-tests-{}", std::process::id()));
        fs::create_dir_all(&stage).with_context(|| stage.display().to_string())?;
        fs::set_permissions(&stage, fs::Permissions::from_mode(0o755))?;
        let native_only = std::env::var_os("UMLAUT_NATIVE_ONLY").is_some_and(|v| v != "0");
        let is_root = rustix::process::geteuid().is_root();
        let lab = Self {
            inner: Arc::new(Inner {
                source,
                cache,
                stage,
                binary,
                native_only,
                is_root,
                next: AtomicU32::new(0),
            }),
        };
        if !native_only && lab.inner.binary.exists() {
            // A copy that any user may execute, and that a rebuild does not change under a running suite.
            fs::copy(&lab.inner.binary, lab.staged_binary())?;
            fs::set_permissions(lab.staged_binary(), fs::Permissions::from_mode(0o755))?;
        }
        Ok(lab)
    }

    /// The workspace.
    pub fn source(&self) -> &Path {
        &self.inner.source
    }

    /// What is built or fetched once and kept between runs.
    pub fn cache(&self) -> &Path {
        &self.inner.cache
    }

    /// A directory that every user may read, gone when the suite ends.
    pub fn stage(&self) -> &Path {
        &self.inner.stage
    }

    /// Whether the suite runs as root.
    pub fn is_root(&self) -> bool {
        self.inner.is_root
    }

    /// The binary under test, where any user may execute it.
    pub fn staged_binary(&self) -> PathBuf {
        self.inner.stage.join("umlaut")
    }

    /// The binary under test, where it was built.
    pub fn binary(&self) -> &Path {
        &self.inner.binary
    }

    /// The places that this run covers.
    pub fn places(&self) -> Vec<Place> {
        let mut places = vec![Place::Host];
        places.extend(self.machine_places());
        places
    }

    /// The places for what must work for everybody: all of [`Self::places`], and a plain user inside.
    pub fn work_places(&self) -> Vec<Place> {
        let mut places = self.places();
        if !self.inner.native_only {
            places.push(Place::PlainUser);
        }
        places
    }

    /// The places of this run that are machines.
    pub fn machine_places(&self) -> Vec<Place> {
        match (self.inner.native_only, self.inner.is_root) {
            (true, _) => vec![],
            (false, false) => vec![Place::Machine],
            (false, true) => vec![Place::Machine, Place::UserMachine],
        }
    }

    /// One trial per case and machine place.
    pub fn machine_trials(&self, area: &str, cases: &[(&str, Body)]) -> Vec<Trial> {
        let of = |(name, body): &(&str, Body)| {
            let name = format!("{area}::{name}");
            self.machine_places().into_iter().map(|place| self.trial(place, &name, *body)).collect::<Vec<_>>()
        };
        cases.iter().flat_map(of).collect()
    }

    /// A trial at a place.
    pub fn trial<F>(&self, place: Place, name: &str, body: F) -> Trial
    where
        F: FnOnce(&Lab, Place) -> Result<Completion> + Send + 'static,
    {
        let lab = self.clone();
        Trial::ignorable_test(format!("{}::{name}", place.prefix()), move || {
            if !place.is_native() && !lab.inner.binary.exists() {
                let missing = lab.inner.binary.display();
                return Err(Failed::from(format!(
                    "{missing} does not exist; build it with `cargo build --release`"
                )));
            }
            body(&lab, place).map_err(|error| Failed::from(format!("{error:#}")))
        })
    }

    /// A fresh empty directory that every user may write, removed with the stage.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let n = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.inner.stage.join(format!("{}-{n}", name.replace([':', '/'], "-")));
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        Ok(dir)
    }

    /// The same, owned by whoever works in it at `place`.
    pub fn scratch_at(&self, place: Place, name: &str) -> Result<PathBuf> {
        let dir = self.scratch(name)?;
        if self.is_root() && matches!(place, Place::UserHost | Place::UserMachine | Place::PlainUser) {
            std::os::unix::fs::chown(&dir, Some(PLAIN_USER), Some(PLAIN_USER))?;
        }
        Ok(dir)
    }

    /// `program` with arguments at `place`, in a session of its own and a clean environment.
    pub fn command<S: AsRef<OsStr>>(&self, place: Place, options: &[&str], program: &[S]) -> Command {
        self.session(place.as_plain_user(), &self.words(place, options, program))
    }

    /// The same, with its standard input as its controlling terminal.
    pub fn terminal<S: AsRef<OsStr>>(&self, place: Place, options: &[&str], program: &[S]) -> Command {
        self.start(place.as_plain_user(), &["setsid", "--ctty"], &self.words(place, options, program))
    }

    fn words<S: AsRef<OsStr>>(&self, place: Place, options: &[&str], program: &[S]) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if !place.is_native() {
            words.push(self.staged_binary().into());
            // Without a program it is the plain `umlaut`: a shell over one's own files.
            if !program.is_empty() {
                words.push("run".into());
                if place == Place::PlainUser {
                    words.extend(["--user".into(), PLAIN_USER.to_string().into()]);
                }
                words.extend(options.iter().map(Into::into));
                words.push("--".into());
            }
        }
        words.extend(program.iter().map(|word| word.as_ref().to_owned()));
        words
    }

    /// The binary under test with these arguments alone.
    pub fn umlaut(&self, place: Place, arguments: &[&str]) -> Command {
        let binary = self.staged_binary();
        let mut words = vec![binary.as_os_str()];
        words.extend(arguments.iter().map(OsStr::new));
        self.session(place == Place::UserMachine, &words)
    }

    /// A command in a session of its own, as a plain user if asked.
    pub fn session<S: AsRef<OsStr>>(&self, plain_user: bool, words: &[S]) -> Command {
        self.start(plain_user, &["setsid"], words)
    }

    fn start<S: AsRef<OsStr>>(&self, plain_user: bool, starter: &[&str], words: &[S]) -> Command {
        let mut command;
        if plain_user && self.inner.is_root {
            let id = PLAIN_USER.to_string();
            command = Command::new("setpriv");
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).args(starter);
        } else {
            command = Command::new(starter[0]);
            command.args(&starter[1..]);
        }
        command.args(words);
        command.env_clear();
        command.env("PATH", PATH).env("LANG", "C.UTF-8").env("TERM", "xterm-256color").env("TZ", "UTC");
        command
    }

    /// Checks that programs are there; the first one that is not, for the reason of a skip.
    pub fn missing(&self, programs: &[String]) -> Option<String> {
        programs
            .iter()
            .find(|program| find_program(program).is_none())
            .map(|p| format!("no {p} on this host"))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.stage);
    }
}

/// The full path of a program, if there is one. A word with a slash stands for itself.
pub fn find_program(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Path::new(program).exists().then(|| program.into());
    }
    let own = std::env::var("PATH").unwrap_or_default();
    PATH.split(':').chain(own.split(':')).map(|dir| Path::new(dir).join(program)).find(|path| path.is_file())
}
