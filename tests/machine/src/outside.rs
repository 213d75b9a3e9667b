//! Host files that change while a machine runs: what inotify(7) tells inside.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Completion, Trial};

use crate::lab::{Lab, Place, find_program};
use crate::outcome::end_session;

/// Watches the directory of its argument, changes a file of its own if it has a second argument, and prints what it is
/// told until a file `stop` appears.
const WATCHER: &str = r#"
import ctypes, os, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
names = {2: "MODIFY", 4: "ATTRIB", 8: "CLOSE_WRITE", 64: "MOVED_FROM", 128: "MOVED_TO", 256: "CREATE", 512: "DELETE",
         1024: "DELETE_SELF", 2048: "MOVE_SELF", 32768: "IGNORED"}
os.chdir(sys.argv[1])
fd = libc.inotify_init1(0)
assert libc.inotify_add_watch(fd, b".", 0xfce) == 1
assert libc.inotify_add_watch(fd, b"old", 0xfce) == 2
if len(sys.argv) > 2:
    with open("own", "w") as f: f.write("text")
    os.rename("own", "mine")
    os.unlink("mine")
    time.sleep(0.5)
print("ready", flush=True)
done = False
while not done:
    data = os.read(fd, 4096)
    while data:
        wd, mask, cookie, length = struct.unpack("iIII", data[:16])
        name = data[16:16 + length].rstrip(b"\0").decode()
        data = data[16 + length:]
        print(wd, names.get(mask, hex(mask)), name, flush=True)
        done = done or name == "stop"
print(os.path.exists("new"), os.path.exists("moved"), open("old").read(), flush=True)
"#;

/// Everything that follows "ready", after the changes were made on the host.
fn watch(lab: &Lab, place: Place, options: &[&str], dir: &Path, own: bool) -> Result<String> {
    let at = dir.to_string_lossy().into_owned();
    let mut words = vec!["/usr/bin/python3", "-c", WATCHER, &at];
    words.extend(own.then_some("own"));
    fs::write(dir.join("old"), "old")?;
    let mut command = lab.command(place, options, &words);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut out = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = String::new();
    out.read_line(&mut line)?;
    ensure!(line == "ready\n", "the watcher began with {line:?}");
    fs::write(dir.join("new"), "text")?;
    fs::rename(dir.join("new"), dir.join("moved"))?;
    fs::remove_file(dir.join("moved"))?;
    fs::write(dir.join("old"), "changed")?;
    fs::write(dir.join("stop"), "")?;
    let mut text = String::new();
    out.read_to_string(&mut text)?;
    end_session(child.id(), crate::outcome::GRACE);
    child.wait()?;
    Ok(text)
}

/// What is told of the host's own changes, `stop` left out.
const TOLD: &str = "1 CREATE new\n1 MODIFY new\n1 CLOSE_WRITE new\n1 MOVED_FROM new\n1 MOVED_TO moved\n\
    1 DELETE moved\n1 MODIFY old\n2 MODIFY \n1 MODIFY old\n2 MODIFY \n1 CLOSE_WRITE old\n2 CLOSE_WRITE \n\
    1 CREATE stop\n";

/// What the watcher did to files of its own.
const OWN: &str =
    "1 CREATE own\n1 MODIFY own\n1 CLOSE_WRITE own\n1 MOVED_FROM own\n1 MOVED_TO mine\n1 DELETE mine\n";

fn told(lab: &Lab, place: Place) -> Result<Completion> {
    if find_program("/usr/bin/python3").is_none() {
        return Ok(Completion::ignored_with("no python3 on this host"));
    }
    let end = "False False changed\n";
    // Through the overlay over one's own tree, and below a directory that is the host's.
    let dir = lab.scratch_at(place, "outside")?;
    let bind = format!("{0}:{0}", dir.display());
    for (options, own) in [(vec![], false), (vec!["--bind", &bind], false), (vec!["--bind", &bind], true)] {
        let text = watch(lab, place, &options, &dir, own)?;
        let wanted = format!("{}{TOLD}", if own { OWN } else { "" });
        let (events, rest) = text.split_at(text.len().min(wanted.len()));
        ensure!(events == wanted && rest.ends_with(end), "told (own: {own}, {options:?}):\n{text}");
        fs::remove_file(dir.join("stop"))?;
    }
    Ok(Completion::Completed)
}

/// One trial per place; on the host the options say nothing.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    lab.places().into_iter().map(|p| lab.trial(p, "outside::told", told)).collect()
}
