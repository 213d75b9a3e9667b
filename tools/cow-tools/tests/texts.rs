//! Manual pages and completions tell what the option tables say.

#![forbid(unsafe_code)]

use cow_tools::options::{MKCOW, MOO};
use std::fs;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn manual_pages_have_every_option() {
    for program in [MKCOW, MOO] {
        let page = fs::read_to_string(root().join(format!("man/{}.1", program.name))).unwrap();
        for opt in program.options {
            for name in opt
                .short
                .map(|c| format!("\\-{c}"))
                .into_iter()
                .chain(opt.long.map(|w| format!("\\-\\-{}", w.replace('-', "\\-"))))
            {
                assert!(page.contains(&name), "{}: no {name} in the manual page", program.name);
            }
        }
    }
}

#[test]
fn manual_pages_are_sound() {
    if Command::new("man").arg("--version").output().is_err() {
        eprintln!("skipped: no man to format the manual pages with");
        return;
    }
    for program in [MKCOW, MOO] {
        let page = root().join(format!("man/{}.1", program.name));
        let run = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(&page)
            .env("MANROFFSEQ", "")
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        assert!(run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
    }
}

/// With `UPDATE=1` in the environment the files are written instead.
#[test]
fn completions_are_current() {
    for program in [MKCOW, MOO] {
        let name = program.name;
        for (shell, file) in
            [("bash", format!("{name}.bash")), ("zsh", format!("_{name}")), ("fish", format!("{name}.fish"))]
        {
            let path = root().join("completions").join(&file);
            let text = program.completions(shell).unwrap();
            if std::env::var_os("UPDATE").is_some() {
                fs::write(&path, &text).unwrap();
            }
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(there == text, "completions/{file} is not current; run this test with UPDATE=1");
        }
    }
}

#[test]
fn completions_are_sound() {
    for (shell, ending) in [("bash", ".bash"), ("zsh", ""), ("fish", ".fish")] {
        if Command::new(shell).arg("--version").output().is_err() {
            eprintln!("skipped: no {shell} to read the completions with");
            continue;
        }
        for program in [MKCOW, MOO] {
            let prefix = if shell == "zsh" { "_" } else { "" };
            let file = root().join(format!("completions/{prefix}{}{ending}", program.name));
            let run = Command::new(shell).arg("-n").arg(&file).output().unwrap();
            assert!(run.status.success() && run.stderr.is_empty(), "{file:?}: {run:?}");
        }
    }
}

#[test]
fn bash_completes_options_and_words() {
    let complete = |words: &str| {
        let file = root().join("completions/uml_moo.bash");
        let script = format!(
            "source {}; COMP_WORDS=(uml_moo {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _uml_moo; echo \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let run = Command::new("bash").args(["-c", &script]).output();
        run.map(|r| String::from_utf8_lossy(&r.stdout).trim().to_string())
    };
    let Ok(options) = complete("--in") else {
        eprintln!("skipped: no bash");
        return;
    };
    assert_eq!(options, "--in-place --info");
    assert_eq!(complete("--to q").unwrap(), "qcow2");
}
