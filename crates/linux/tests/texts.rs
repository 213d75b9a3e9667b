//! Manual pages and completions of `umlaut` and `linux` tell what the programs take.
#![forbid(unsafe_code)]

use std::{fmt::Write, fs, path::Path, process};

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use umlaut_machine::cli::Cli;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(format!("man/{name}.1"))).expect("manual page").replace("\\-", "-")
}

/// The page without fonts and macros: what a reader sees, words apart by single spaces.
fn shown(name: &str) -> String {
    let mut text = String::new();
    for line in page(name).lines() {
        // Alternating fonts join their arguments, the others set spaces.
        let (joined, line) = match line.split_once(' ') {
            Some((".BR" | ".BI" | ".IR" | ".IB" | ".RB" | ".RI", rest)) => (true, rest),
            Some((".B" | ".I", rest)) => (false, rest),
            _ => (false, line),
        };
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ' ' if joined && !quoted => {}
                c => text.push(c),
            }
        }
        text.push(' ');
    }
    for font in ["\\fB", "\\fI", "\\fR"] {
        text = text.replace(font, "");
    }
    text
}

#[test]
fn the_page_of_umlaut_has_every_option() {
    let page = shown("umlaut");
    let command = Cli::command();
    let all = command.get_arguments().chain(command.get_subcommands().flat_map(|c| c.get_arguments()));
    let mut seen = 0;
    for arg in all.filter(|a| !a.is_hide_set()) {
        if let Some(long) = arg.get_long() {
            assert!(page.contains(&format!("--{long}")), "--{long} is missing");
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen} options");
    for sub in command.get_subcommands() {
        assert!(page.contains(&format!("umlaut {}", sub.get_name())), "{}", sub.get_name());
    }
}

/// The options of `linux` as `--help` writes them, one for each.
fn linux_options() -> Vec<String> {
    let help = cmdline::help("0");
    let lines = help.lines().skip(2).filter(|l| !l.is_empty() && !l.starts_with([' ', '\t']));
    let heads = lines.filter(|l| !l.starts_with("Other words"));
    // `ro, rw` are two; a comma without a space belongs to the value.
    heads.flat_map(|l| l.split(", ")).map(str::to_owned).collect()
}

/// What of an option is always typed the same: `ubd` of `ubdN[rsdct]=FILE`, `mem=` of `mem=SIZE`.
fn fixed(option: &str) -> &str {
    let end = option.find(|c: char| c.is_ascii_uppercase() || c == '[' || c == '|');
    option[..end.unwrap_or(option.len())].trim_end()
}

#[test]
fn the_page_of_linux_has_every_option() {
    let page = shown("linux");
    let options = linux_options();
    assert!(options.len() > 25, "{options:?}");
    for option in options {
        assert!(page.contains(fixed(&option)), "{option} is missing");
    }
}

fn linux_completions(shell: Shell) -> String {
    let mut words: Vec<String> = linux_options().iter().map(|o| fixed(o).to_owned()).collect();
    words.push("rootfstype=hostfs".into());
    words.retain(|w| w != "--");
    words.dedup();
    let all = words.join(" ");
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = match shell {
        Shell::Bash => write!(
            out,
            "# bash completion for linux, made by crates/linux/tests/texts.rs\n\
             _uml_linux() {{\n    local cur\n    _get_comp_words_by_ref -n =: cur 2>/dev/null || cur=${{COMP_WORDS[COMP_CWORD]}}\n\
             \x20   mapfile -t COMPREPLY < <(compgen -W \"{all}\" -- \"$cur\")\n\
             \x20   [[ ${{#COMPREPLY[@]}} == 1 && ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace\n\
             \x20   return 0\n}}\ncomplete -o default -F _uml_linux linux\n"
        ),
        Shell::Zsh => write!(
            out,
            "#compdef linux\n# Made by crates/linux/tests/texts.rs\n_alternative 'options:option:compadd -S \"\" -- {all}' 'files:file:_files'\n"
        ),
        _ => words.iter().try_fold((), |(), word| writeln!(out, "complete -c linux -a '{word}'")),
    };
    out
}

/// With `UPDATE=1` in the environment the files are written instead.
#[test]
fn completions_are_current() {
    for (shell, before, after) in
        [(Shell::Bash, "", ".bash"), (Shell::Zsh, "_", ""), (Shell::Fish, "", ".fish")]
    {
        let mut umlaut = Vec::new();
        generate(shell, &mut Cli::command(), "umlaut", &mut umlaut);
        for (name, text) in [("umlaut", umlaut), ("linux", linux_completions(shell).into_bytes())] {
            let file = format!("completions/{before}{name}{after}");
            let path = root().join(&file);
            if std::env::var_os("UPDATE").is_some() {
                fs::write(&path, &text).expect("write");
            }
            let there = fs::read(&path).unwrap_or_default();
            assert!(there == text, "{file} is not current; run this test with UPDATE=1");
        }
    }
}

#[test]
fn bash_completes() {
    let complete = |name: &str, function: &str, words: &str| {
        let file = root().join(format!("completions/{name}.bash"));
        let script = format!(
            "compopt() {{ :; }}; source {}; COMP_WORDS=({name} {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             {function} {name} \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let run = process::Command::new("bash").args(["-c", &script]).output().ok()?;
        assert!(run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
        Some(String::from_utf8_lossy(&run.stdout).trim().to_owned())
    };
    let Some(mem) = complete("linux", "_uml_linux", "mem") else {
        eprintln!("skipped: no bash");
        return;
    };
    assert_eq!(mem, "mem=");
    assert_eq!(complete("umlaut", "_umlaut", "run --ro").as_deref(), Some("--root"));
}

#[test]
fn manual_pages_are_sound() {
    if process::Command::new("man").arg("--version").output().is_err() {
        eprintln!("skipped: no man to format the manual pages with");
        return;
    }
    for entry in fs::read_dir(root().join("man")).expect("man") {
        let path = entry.expect("entry").path();
        let run = process::Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(&path)
            .env("LC_ALL", "C")
            .output()
            .expect("man");
        assert!(run.stderr.is_empty(), "{path:?}: {}", String::from_utf8_lossy(&run.stderr));
    }
}
