//! The prompt: line editing with history and completion on a terminal, plain reading elsewhere.

use std::io::{self, BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mconsole::command::NAMES;
use rustix::process::Signal;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use crate::console::{Console, Outcome, print};
use crate::machine::running;

const LOCAL: [&str; 4] = ["quit", "switch", "mconsole-version", "int"];

/// Reads and carries out lines until the end of input or `quit`.
///
/// # Errors
/// When the input cannot be read.
pub fn interact(console: &mut Console) -> io::Result<()> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() { edit(console) } else { read(console) }
}

/// Without a terminal, prompt and line are printed so that the output can be read alone.
fn read(console: &mut Console) -> io::Result<()> {
    let mut line = Vec::new();
    let mut input = io::stdin().lock();
    loop {
        print(console.machine.prompt().as_bytes());
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            print(b"\n");
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        print(&[&line, &b"\n"[..]].concat());
        if console.run(&line) == Outcome::Quit {
            return Ok(());
        }
    }
}

fn edit(console: &mut Console) -> io::Result<()> {
    let config = Config::builder()
        .auto_add_history(true)
        .history_ignore_space(true)
        // As a shell does: what the candidates share, then what they are.
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::<Words, DefaultHistory>::with_config(config).map_err(io::Error::other)?;
    editor.set_helper(Some(Words { uml_dir: console.options.uml_dir.clone() }));
    // At the prompt Ctrl-C is a key; while an answer is waited for it is a signal.
    signal_hook::flag::register(Signal::INT.as_raw(), Arc::clone(&console.stop))?;
    let history = history_file();
    if let Some(file) = &history {
        // None yet is no trouble.
        let _ = editor.load_history(file);
    }
    loop {
        match editor.readline(&console.machine.prompt()) {
            Ok(line) => {
                // Kept before it is carried out: the terminal may be gone before the answer is there.
                if let Some(file) = &history {
                    keep(&mut editor, file);
                }
                if console.run(line.as_bytes()) == Outcome::Quit {
                    return Ok(());
                }
            }
            // Ctrl-C drops the line.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => {
                print(b"\n");
                return Ok(());
            }
            Err(e) => return Err(io::Error::other(e)),
        }
    }
}

/// Writes the history; where that cannot be, it is no reason to fail.
fn keep(editor: &mut Editor<Words, DefaultHistory>, file: &Path) {
    if let Some(dir) = file.parent() {
        let _ = std::fs::create_dir_all(dir);
    }
    let _ = editor.append_history(file);
}

fn history_file() -> Option<PathBuf> {
    let state = match std::env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").filter(|dir| !dir.is_empty())?).join(".local/state"),
    };
    Some(state.join("uml_mconsole").join("history"))
}

/// Knows the commands, and the machines for `switch`.
struct Words {
    uml_dir: Option<PathBuf>,
}

/// What could stand at the end of `line`, given the machines: start of the last word, and the words.
fn candidates(line: &str, machines: impl FnOnce() -> Vec<String>) -> (usize, Vec<String>) {
    let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
    let (before, word) = (line[..start].trim(), &line[start..]);
    let mut words: Vec<String> = match before {
        "" => NAMES.iter().chain(&LOCAL).map(|&name| name.into()).collect(),
        "switch" => machines(),
        "log" => vec!["-f".into()],
        "config" | "remove" => ["ubd", "con", "ssl", "mem", "vec", "eth"].map(String::from).to_vec(),
        _ => Vec::new(),
    };
    words.retain(|candidate| candidate.starts_with(word));
    words.sort();
    (start, words)
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let machines = || running(self.uml_dir.as_deref()).into_iter().map(|m| m.umid).collect();
        let (start, words) = candidates(&line[..pos], machines);
        let pair = |word: String| Pair { display: word.clone(), replacement: word + " " };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_machines_are_completed() {
        let machines = || vec!["box".to_string(), "bar".into(), "foo".into()];
        assert_eq!(candidates("st", machines), (0, vec!["stack".into(), "stop".into()]));
        assert_eq!(candidates("switch b", machines), (7, vec!["bar".into(), "box".into()]));
        assert_eq!(candidates("  qu", machines), (2, vec!["quit".into()]));
        assert_eq!(candidates("config u", machines), (7, vec!["ubd".into()]));
        assert_eq!(candidates("version x", machines), (8, vec![]));
    }
}
