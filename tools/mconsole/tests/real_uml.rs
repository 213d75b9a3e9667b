//! A real User Mode Linux kernel under the client's commands.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
#[path = "../../../tests/uml/mod.rs"]
mod uml;

use std::path::Path;
use std::process::Command;

use uml::Uml;

/// Exit status, standard output and standard error of the client.
fn ask(dir: &Path, words: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_uml_mconsole"))
        .env("HOME", dir)
        .current_dir(dir)
        .arg("--uml-dir")
        .arg(dir.join("uml"))
        .args(words)
        .output()
        .expect("run the client");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

#[test]
fn a_real_kernel_obeys_and_answers() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let dir = dir.path();
    let script = "echo ready; while sleep 1; do :; done";
    let Some(mut uml) = Uml::start(dir, "real", &[], script) else { return };
    uml.wait_for("ready");
    let say = |command: &str| ask(dir, &[&["real"], &command.split(' ').collect::<Vec<_>>()[..]].concat());

    let (status, list, _) = ask(dir, &["--list"]);
    assert!(status == 0 && list.contains("real ") && list.contains("uml/real/mconsole"), "{list}");
    let (status, text, _) = say("version");
    assert!(status == 0 && text.starts_with("OK Linux ") && text.contains("x86_64"), "{text}");
    // More than one packet.
    let (status, text, _) = say("help");
    assert!(status == 0 && text.contains("stack <pid>") && text.contains("Additional local"), "{text}");
    let (status, text, _) = say("proc meminfo");
    assert!(status == 0 && text.contains("MemTotal:") && text.contains("Committed_AS:"), "{text}");
    let (status, text, _) = say("proc no/such/file");
    assert!((status, text.as_str()) == (1, "ERR Failed to open file\n"), "{status} {text}");
    let (status, text, _) = say("stack 1");
    // Not all of them manage more than a word.
    assert!(status == 0 && text.starts_with("OK ") && text.len() > 10, "{text}");
    let (status, text, _) = say("frobnicate");
    assert!((status, text.as_str()) == (1, "ERR Unknown command\n"), "{status} {text}");

    // A name relative to the client's directory, which is not the machine's.
    std::fs::write(dir.join("disk"), [7; 1 << 16]).expect("image");
    assert_eq!(say("config ubd3=disk").0, 0);
    let (_, text, _) = say("config ubd3");
    assert_eq!(text, format!("OK {}\n", dir.join("disk").canonicalize().expect("path").display()));
    assert_eq!(say("config ubd3=disk").0, 256 - 16, "it is configured");
    assert_eq!(say("config ubd3=/no/such/file").0, 256 - 16);
    assert_eq!(say("config ubd4=/no/such/file").0, 256 - 2);

    assert_eq!((say("stop").0, say("stop").1), (0, "ERR Already stopped\n".into()));
    assert_eq!((say("go").0, say("go").1), (0, "ERR Not stopped\n".into()));
    let long = "w".repeat(1200);
    assert_eq!(say(&format!("log {long}")).0, 0);

    let (status, text, _) = say("halt");
    assert_eq!((status, text.as_str()), (0, "OK \n"));
    uml.end();
    let (status, _, error) = say("version");
    assert!(status == 2 && error.contains("no such machine"), "{status} {error}");
    assert_eq!(ask(dir, &["--list"]).1, "");
}
