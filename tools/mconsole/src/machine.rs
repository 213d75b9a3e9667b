//! Finding machines: their sockets and process ids.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use mconsole::client::socket_places;
use usage::plain;

/// A machine as the user named it, and where its socket is.
#[derive(Debug, Clone)]
pub struct Machine {
    /// As given.
    pub name: OsString,
    /// `None` when nothing was found.
    pub socket: Option<PathBuf>,
}

impl Machine {
    /// Looks for the socket of `name`; each place where it is not gets a warning, as ever.
    pub fn find(name: &OsStr, uml_dir: Option<&Path>) -> Machine {
        let mut places: Vec<PathBuf> =
            uml_dir.map(|dir| dir.join(name).join("mconsole")).into_iter().collect();
        let home = home();
        let known = socket_places(name.as_bytes(), home.as_deref().map(OsStr::as_bytes));
        places.extend(known.into_iter().map(|place| PathBuf::from(OsString::from_vec(place))));
        let mut socket = None;
        for place in places {
            match fs::metadata(&place) {
                Ok(_) => {
                    socket = Some(place);
                    break;
                }
                Err(e) => {
                    let place = printable(&place.to_string_lossy());
                    let text = format!("Warning: couldn't stat file: {place} - {}", plain(&e));
                    let _ = writeln!(io::stderr(), "{text}");
                }
            }
        }
        Machine { name: name.into(), socket }
    }

    /// What the prompt shows.
    pub fn prompt(&self) -> String {
        match &self.socket {
            Some(_) => {
                format!("({}) ", printable(&self.name.to_string_lossy()).chars().take(10).collect::<String>())
            }
            None => "([None]) ".into(),
        }
    }

    /// The process of the machine, from the file beside its socket.
    pub fn pid(&self) -> Option<i32> {
        read_pid(&self.socket.as_ref()?.with_file_name("pid"))
    }
}

/// A machine found in a directory of machines.
#[derive(Debug)]
pub struct Running {
    /// Its name.
    pub umid: String,
    /// Its process, if the file that tells is there.
    pub pid: Option<i32>,
    /// Its socket.
    pub socket: PathBuf,
}

/// The machines that serve their sockets, by name.
pub fn running(uml_dir: Option<&Path>) -> Vec<Running> {
    let mut dirs: Vec<PathBuf> = uml_dir.map(Path::to_path_buf).into_iter().collect();
    dirs.extend(home().map(|home| Path::new(&home).join(".uml")));
    dirs.push("/tmp/uml".into());
    let mut machines: Vec<Running> = Vec::new();
    for dir in dirs {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let socket = entry.path().join("mconsole");
            if is_served(&socket) && !machines.iter().any(|m| m.socket == socket) {
                machines.push(Running {
                    umid: entry.file_name().to_string_lossy().into_owned(),
                    pid: read_pid(&socket.with_file_name("pid")),
                    socket,
                });
            }
        }
    }
    machines.sort_by(|a, b| a.umid.cmp(&b.umid));
    machines
}

/// Whether somebody is at the other end of a socket.
pub fn is_served(socket: &Path) -> bool {
    UnixDatagram::unbound().and_then(|probe| probe.connect(socket)).is_ok()
}

/// Whether a name leads to a socket.
pub fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

/// Text without what a terminal could take for commands; newlines and tabs stay.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '?' } else { c }).collect()
}

fn home() -> Option<OsString> {
    std::env::var_os("HOME").filter(|home| !home.is_empty())
}

fn read_pid(file: &Path) -> Option<i32> {
    fs::read_to_string(file).ok()?.trim().parse().ok().filter(|&pid| pid > 0)
}
