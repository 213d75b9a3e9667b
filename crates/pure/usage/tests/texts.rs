//! Manual pages and completions of the tools tell what the tables say.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;
use std::process::Command;

use usage::Value;
use usage::programs::{ALL, MCONSOLE, SWITCH};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.."))
}

/// A manual page as a reader sees it, more or less: no escapes, no fonts.
fn page(name: &str) -> String {
    let text = fs::read_to_string(root().join(format!("man/{name}.1"))).expect("manual page");
    let text = text.replace("\\-", "-");
    ["\\fB", "\\fI", "\\fR"].iter().fold(text, |text, font| text.replace(font, ""))
}

/// Whether `word` stands in `text` for itself, not within a longer word.
fn stands(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '-';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

#[test]
fn manual_pages_have_every_option() {
    for program in ALL {
        let page = page(program.name);
        for name in program.options.iter().flat_map(|opt| opt.names(program.dash)) {
            assert!(stands(&page, &name), "{}: no {name} in the manual page", program.name);
        }
        assert!(stands(&page, program.name));
    }
}

#[test]
fn manual_pages_have_no_other_options() {
    for program in ALL {
        let page = page(program.name);
        // Where options are described: the paragraphs with a tag between OPTIONS and the next heading.
        let Some((_, options)) = page.split_once(".SH OPTIONS") else { continue };
        let options = options.split(".SH").next().unwrap_or_default();
        let all: Vec<String> = program.options.iter().flat_map(|opt| opt.names(program.dash)).collect();
        let mut lines = options.lines();
        while let Some(line) = lines.next() {
            if line != ".TP" {
                continue;
            }
            let tag = lines.next().unwrap_or_default();
            for word in
                tag.split(|c: char| c.is_whitespace() || ",\"".contains(c)).filter(|w| w.starts_with('-'))
            {
                assert!(all.iter().any(|name| name == word), "{}: {word} is no option", program.name);
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
    for program in ALL {
        let page = root().join(format!("man/{}.1", program.name));
        let run = Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"])
            .arg(&page)
            .env("MANROFFSEQ", "")
            .env("LC_ALL", "C")
            .output()
            .expect("man");
        assert!(run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn command_words_are_those_of_the_protocols() {
    let [_, Value::Word(words), _] = MCONSOLE.operands else { panic!("{:?}", MCONSOLE.operands) };
    for name in mconsole::command::NAMES {
        assert!(words.contains(&name), "{name}");
    }
    let [Value::Word(words)] = SWITCH.operands else { panic!("{:?}", SWITCH.operands) };
    let help = switchproto::command::HELP.lines().filter_map(|line| line.split(' ').next());
    for name in help.filter(|name| !name.starts_with('\t')) {
        assert!(words.contains(&name), "{name}");
    }
}

/// With `UPDATE=1` in the environment the files are written instead.
#[test]
fn errors_lose_their_numbers_alone() {
    let error = std::io::Error::from_raw_os_error(2);
    assert_eq!(
        usage::plain(format!("'x': {error}; it is left out")),
        "'x': No such file or directory; it is left out"
    );
    for text in ["", "no (os error here)", "cut (os error 2", "(os error 2)"] {
        assert_eq!(usage::plain(text), text);
    }
}

#[test]
fn completions_are_current() {
    for program in ALL {
        let name = program.name;
        for (shell, file) in
            [("bash", format!("{name}.bash")), ("zsh", format!("_{name}")), ("fish", format!("{name}.fish"))]
        {
            let path = root().join("completions").join(&file);
            let text = program.completions(shell).expect("a shell we know");
            if std::env::var_os("UPDATE").is_some() {
                fs::write(&path, &text).expect("write");
            }
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(there == text, "completions/{file} is not current; run this test with UPDATE=1");
        }
    }
}

#[test]
fn completions_are_sound() {
    for (shell, prefix, ending) in [("bash", "", ".bash"), ("zsh", "_", ""), ("fish", "", ".fish")] {
        if Command::new(shell).arg("--version").output().is_err() {
            eprintln!("skipped: no {shell} to read the completions with");
            continue;
        }
        for program in ALL {
            let file = root().join(format!("completions/{prefix}{}{ending}", program.name));
            let run = Command::new(shell).arg("-n").arg(&file).output().expect("shell");
            assert!(run.status.success() && run.stderr.is_empty(), "{file:?}: {run:?}");
        }
    }
}

/// What bash offers for the last of `words`.
fn bash(program: &str, words: &[&str]) -> Option<String> {
    let file = root().join(format!("completions/{program}.bash"));
    let words: String = words.iter().map(|word| format!(" '{word}'")).collect();
    let script = format!(
        "compopt() {{ :; }}; source {}; COMP_WORDS=({program}{words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         _{program}; echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let run = Command::new("bash").args(["-c", &script]).output().ok()?;
    assert!(run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(String::from_utf8_lossy(&run.stdout).trim().to_string())
}

#[test]
fn bash_completes_options_values_and_operands() {
    let Some(options) = bash("uml_moo", &["--in"]) else {
        eprintln!("skipped: no bash");
        return;
    };
    assert_eq!(options, "--in-place --info");
    for (program, words, offered) in [
        ("uml_moo", &["--to", "q"][..], "qcow2"),
        ("uml_switch", &["-po"], "-port-isolation -port"),
        ("uml_switch", &["-hub", "-port", "ra"], "rate="),
        ("uml_switch", &["-ask", "/sock", "st"], "stats"),
        ("uml_mconsole", &["box", "st"], "stop stack"),
        ("uml_mconsole", &["--timeout", "3", "box", "sy"], "sysrq"),
        ("uml_mconsole", &["--timeout", ""], ""),
        ("uml_mconsole", &["--ti"], "--timeout"),
        ("uml_net", &["4", "tunt"], "tuntap"),
        ("uml_net", &["4", "tuntap", ""], "up add del"),
        ("tunctl", &["-u", "roo"], "root"),
        ("tunctl", &["-d", "l"], "lo"),
    ] {
        let got = bash(program, words).unwrap_or_default();
        assert_eq!(got, offered, "{program} {words:?}");
    }
}

/// What fish offers for the last word of a line.
fn fish(program: &str, line: &str) -> Option<Vec<String>> {
    let file = root().join(format!("completions/{program}.fish"));
    let script = format!("source {}; complete -C '{program} {line}'", file.display());
    let run = Command::new("fish").args(["--no-config", "-c", &script]).output().ok()?;
    assert!(run.status.success() && run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    Some(text.lines().filter_map(|line| line.split('\t').next()).map(str::to_string).collect())
}

#[test]
fn fish_completes_options_values_and_operands() {
    for (program, line, offered) in [
        ("uml_moo", "--in", &["--info", "--in-place"][..]),
        ("uml_moo", "--to q", &["qcow2"]),
        ("uml_switch", "-po", &["-port", "-port-isolation"]),
        ("uml_switch", "-ask /sock st", &["stats"]),
        ("uml_mconsole", "box st", &["stack", "stop"]),
        ("uml_net", "4 tunt", &["tuntap"]),
        ("tunctl", "-u roo", &["root"]),
    ] {
        let Some(got) = fish(program, line) else {
            eprintln!("skipped: no fish");
            return;
        };
        assert_eq!(got, offered, "{program} {line}");
    }
}

/// The content of all sources below a directory.
fn sources(dir: &Path, out: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn the_tests_that_the_page_of_the_tools_names_are_there() {
    let mut code = String::new();
    for dir in ["crates/pure", "tools", "fuzz/fuzz_targets"] {
        sources(&root().join(dir), &mut code);
    }
    let page = fs::read_to_string(root().join("docs/TOOLS.md")).expect("the page");
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with('|')) {
        for name in row.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() > 2) {
            named += 1;
            let found = code.contains(&format!("fn {name}(")) || code.contains(&format!("\"{name}\""));
            assert!(found, "no test '{name}'");
        }
    }
    assert!(named > 80, "{named} names");
}
