//! Interactive programs at a terminal: shells with job control, full-screen programs, window sizes.
//!
//! Each case runs on the host as well; there it tests the test.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::{Completion, Trial};

use crate::lab::{Lab, Place};
use crate::pty::Terminal;

type Body = fn(&Lab, Place) -> Result<()>;

/// One trial per case and place.
pub fn trials(lab: &Lab) -> Vec<Trial> {
    let cases: &[(&str, &[&str], Body)] = &[
        ("prompt", &["bash"], prompt),
        ("dash", &["dash"], dash),
        ("interrupt", &["bash"], interrupt),
        ("suspend", &["bash"], suspend),
        ("background", &["bash"], background),
        ("quit_and_end_of_file", &["bash"], quit_and_end_of_file),
        ("line_editing", &["bash"], line_editing),
        ("no_echo", &["bash"], no_echo),
        ("resize", &["bash"], resize),
        ("much_output", &["bash"], much_output),
        ("settings_come_back", &["bash"], settings_come_back),
        ("vim", &["vim"], vim),
        ("less", &["less"], less),
        ("top", &["top"], top),
        ("tmux", &["tmux"], tmux),
        ("python", &["/usr/bin/python3"], python),
    ];
    let mut trials = Vec::new();
    for (name, needs, body) in cases {
        for place in lab.places() {
            let needs: Vec<String> = needs.iter().map(|n| (*n).to_owned()).collect();
            let body = *body;
            trials.push(lab.trial(place, &format!("terminal::{name}"), move |lab, place| {
                if let Some(missing) = lab.missing(&needs) {
                    return Ok(Completion::ignored_with(missing));
                }
                body(lab, place)?;
                Ok(Completion::Completed)
            }));
        }
    }
    for place in lab.machine_places() {
        trials.push(lab.trial(place, "terminal::bare_umlaut", |lab, place| {
            bare_umlaut(lab, place)?;
            Ok(Completion::Completed)
        }));
    }
    trials
}

/// A program on a terminal of 24 by 80, in an empty directory.
fn start(lab: &Lab, place: Place, program: &[&str]) -> Result<Terminal> {
    let scratch = lab.scratch("terminal")?;
    let mut words = vec!["env", "PS1=ready> ", "HISTFILE=", "LESSHISTFILE=-"];
    words.extend(program);
    let mut command = lab.terminal(place, &[], &words);
    command.current_dir(&scratch).env("HOME", &scratch);
    Terminal::start(command, 24, 80)
}

fn bash(lab: &Lab, place: Place) -> Result<Terminal> {
    let terminal = start(lab, place, &["bash", "--norc", "--noprofile", "-i"])?;
    terminal.expect("ready>")?;
    Ok(terminal)
}

/// Types a command that stays, and waits until it is running.
fn begin(t: &mut Terminal, command: &str) -> Result<()> {
    t.type_text(&format!("clear; echo be''gun; {command}\r"))?;
    t.until("the beginning", |s| s.lines().any(|l| l.trim() == "begun" || l.trim() == "y"))?;
    thread::sleep(Duration::from_millis(300));
    Ok(())
}

fn prompt(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    t.command("echo $((6 * 7))", "42")?;
    t.command("stty size", "24 80")?;
    t.command("tty >/dev/null && echo at a terminal", "at a terminal")?;
    t.command("echo $TERM $(tput cols)", "xterm-256color 80")?;
    t.command("[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo three", "three")?;
    t.command("echo to the terminal >/dev/tty", "to the terminal")?;
    t.command("clear; echo cleared", "cleared")?;
    t.type_text("exit 3\r")?;
    t.finish(3)
}

fn dash(lab: &Lab, place: Place) -> Result<()> {
    let mut t = start(lab, place, &["dash", "-i"])?;
    t.expect("ready>")?;
    t.command("echo $((6 * 7))", "42")?;
    begin(&mut t, "sleep 100")?;
    t.type_text("\x03")?;
    t.expect_prompt()?;
    t.command("echo code $?", "code 130")?;
    t.type_text("\x04")?;
    t.finish(0)
}

fn interrupt(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    for (n, program) in
        ["sleep 100", "cat", "while :; do :; done", "yes >/dev/null", "sh -c 'sleep 100 | cat'"]
            .iter()
            .enumerate()
    {
        begin(&mut t, program)?;
        t.type_text("\x03")?;
        t.expect_prompt()?;
        t.command(&format!("echo status {n} $?"), &format!("status {n} 130"))?;
    }
    t.type_text("half a line")?;
    t.expect("half a line")?;
    t.type_text("\x03")?;
    t.expect_prompt()?;
    t.command("echo fresh", "fresh")?;
    t.type_text("exit\r")?;
    t.finish(0)
}

fn suspend(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    begin(&mut t, "sleep 100")?;
    t.type_text("\x1a")?;
    t.expect("Stopped")?;
    t.command("clear; jobs | wc -l", "1")?;
    begin(&mut t, "cat")?;
    t.type_text("\x1a")?;
    t.expect("Stopped")?;
    t.type_text("clear; fg\r")?;
    t.expect_line("cat")?;
    t.type_text("through cat\r")?;
    t.until("the echo and the line", |s| s.lines().filter(|l| l.trim() == "through cat").count() == 2)?;
    t.type_text("\x04")?;
    t.expect_prompt()?;
    t.command("clear; bg %1 >/dev/null; jobs -r | wc -l", "1")?;
    t.command("clear; kill %1; wait; echo gone", "gone")?;
    t.type_text("exit\r")?;
    t.finish(0)
}

fn background(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    t.type_text("(sleep 0.3; echo from behind) &\r")?;
    t.until("the late line", |s| s.matches("from behind").count() == 2)?;
    t.type_text("clear; cat &\r")?;
    t.expect("[")?;
    thread::sleep(Duration::from_millis(200));
    t.type_text("\r")?;
    t.expect("Stopped")?;
    t.type_text("clear; fg\r")?;
    t.expect_line("cat")?;
    t.type_text("x\x04\x04")?;
    t.expect("xx")?;
    t.type_text("\r")?;
    t.expect_prompt()?;
    t.type_text("exit\r")?;
    t.finish(0)
}

fn quit_and_end_of_file(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    begin(&mut t, "ulimit -c 0; sleep 100")?;
    t.type_text("\x1c")?;
    t.expect("Quit")?;
    t.expect_prompt()?;
    t.command("echo code $?", "code 131")?;
    begin(&mut t, "wc -c")?;
    t.type_text("abc\r")?;
    thread::sleep(Duration::from_millis(100));
    t.type_text("\x04")?;
    t.expect_line("4")?;
    t.expect_prompt()?;
    t.type_text("false\r\x04")?;
    t.finish(1)
}

fn line_editing(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    t.command("echo wromg\x1b[D\x7fn\x05", "wrong")?;
    t.command("\x1b[A\x17right", "right")?;
    t.command("touch a-long-name; clear; echo made", "made")?;
    t.type_text("ls a-l\t\r")?;
    t.expect_line("a-long-name")?;
    t.type_text("clear\r")?;
    // Canonical mode, edited by the line discipline.
    begin(&mut t, "cat")?;
    t.type_text("one twx\x7fo three\x17four\r")?;
    t.until("the edited line twice", |s| s.lines().filter(|l| l.trim() == "one two four").count() == 2)?;
    t.type_text("gone\x15kept\r")?;
    t.until("the kept line twice", |s| s.lines().filter(|l| l.trim() == "kept").count() == 2)?;
    t.type_text("\x04")?;
    t.expect_prompt()?;
    t.type_text("exit\r")?;
    t.finish(0)
}

fn no_echo(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    t.type_text("read -s -p 'Word: ' word\r")?;
    t.expect("Word:")?;
    thread::sleep(Duration::from_millis(100));
    t.type_text("secret\r")?;
    t.command("echo; echo ${#word} ${word:0:2}", "6 se")?;
    ensure!(!t.screen().contains("secret"), "the word was echoed");
    t.type_text("exit\r")?;
    t.finish(0)
}

fn resize(lab: &Lab, place: Place) -> Result<()> {
    let script = "trap 'echo now $(stty size)' WINCH; echo up; while :; do sleep 0.05; done";
    let mut t = start(lab, place, &["bash", "-c", script])?;
    t.expect("up")?;
    t.resize(40, 100)?;
    t.expect_line("now 40 100")?;
    t.resize(10, 20)?;
    t.expect_line("now 10 20")?;
    t.type_text("\x03")?;
    t.finish(130)
}

fn much_output(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    t.type_text("seq 200000; echo all done\r")?;
    t.expect_line("all done")?;
    let written = t.written();
    for n in [2, 77_777, 123_456, 199_999, 200_000] {
        ensure!(written.contains(&format!("\n{n}\r\n")), "line {n} is missing");
    }
    // Stopped by ^S, let go by ^Q, ended by ^C.
    begin(&mut t, "yes")?;
    t.type_text("\x03")?;
    t.expect_prompt()?;
    t.command("clear; echo over", "over")?;
    t.type_text("exit\r")?;
    t.finish(0)
}

fn settings_come_back(lab: &Lab, place: Place) -> Result<()> {
    let mut t = start(lab, place, &["bash", "-c", "stty raw -echo; read -n1 x; exit 4"])?;
    let before = format!("{:?}", t.settings()?.local_modes);
    thread::sleep(Duration::from_millis(500));
    t.type_text("x")?;
    if place == Place::Host {
        // Nobody puts them back there.
        return t.finish(4);
    }
    let settings = loop {
        thread::sleep(Duration::from_millis(100));
        let settings = format!("{:?}", t.settings()?.local_modes);
        if settings == before || t.has_ended()? {
            break settings;
        }
    };
    t.finish(4)?;
    ensure!(settings == before, "the terminal was left as {settings}, it was {before}");
    Ok(())
}

fn vim(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    t.type_text("vim -u NONE -N -n text\r")?;
    t.until("an empty buffer", |s| s.lines().filter(|l| l.trim() == "~").count() > 15)?;
    t.type_text("ihello from vim\rsecond line\x1b")?;
    t.expect_line("hello from vim")?;
    t.type_text("yy5p:%s/line/LINE/g\r")?;
    t.until("six lines", |s| s.lines().filter(|l| l.trim() == "second LINE").count() == 6)?;
    t.resize(30, 60)?;
    t.until("a taller window", |s| s.lines().filter(|l| l.trim() == "~").count() >= 22)?;
    // Not what the command line shows: the shell's own words.
    t.type_text(":!echo fr''om a shell\r")?;
    t.expect("from a shell")?;
    t.type_text("\r")?;
    t.expect_line("hello from vim")?;
    t.type_text("\x1a")?;
    t.expect("Stopped")?;
    t.type_text("clear; fg\r")?;
    t.expect_line("hello from vim")?;
    t.type_text(":wq\r")?;
    t.expect("ready>")?;
    t.command("clear; wc -l <text", "7")?;
    t.type_text("exit\r")?;
    t.finish(0)
}

fn less(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    t.type_text("seq -f 'line %g' 1000 >text; less text\r")?;
    t.expect_line("line 23")?;
    t.type_text(" ")?;
    t.expect_line("line 46")?;
    t.type_text("G")?;
    t.expect_line("line 1000")?;
    t.type_text("?line 500\r")?;
    t.expect_line("line 500")?;
    t.type_text("g")?;
    t.expect_line("line 1")?;
    t.resize(40, 80)?;
    t.expect_line("line 39")?;
    t.type_text("q")?;
    t.type_text("seq 3 | less\r")?;
    t.expect("(END)")?;
    t.type_text("qclear\r")?;
    t.command("echo after", "after")?;
    t.type_text("exit\r")?;
    t.finish(0)
}

fn top(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    t.type_text("sleep 1000 & top -d 0.5 -p $$,$!\r")?;
    t.expect("load average")?;
    t.expect("Tasks:")?;
    t.expect("PID")?;
    t.expect("sleep")?;
    t.expect("bash")?;
    t.type_text("1")?;
    t.expect("%Cpu0")?;
    thread::sleep(Duration::from_millis(1200));
    t.type_text("q")?;
    t.expect_prompt()?;
    t.type_text("clear; kill %1; wait; exit 0\r")?;
    t.finish(0)
}

fn tmux(lab: &Lab, place: Place) -> Result<()> {
    let mut t = bash(lab, place)?;
    t.type_text("export TMUX_TMPDIR=$PWD SHELL=/bin/sh; tmux -f /dev/null new 'PS1=\"pane1 \" sh -i'\r")?;
    t.expect_line("pane1")?;
    t.command("echo in $((1 + 1))-nd", "in 2-nd")?;
    // A second pane below, by command and by key.
    t.type_text("tmux split-window 'PS1=\"pane2 \" sh -i'\r")?;
    t.expect_line("pane2")?;
    t.until("a border", |s| s.contains("────") || s.contains("----"))?;
    t.command("echo size $(stty size)", "size 11 80")?;
    t.type_text("\x02o")?;
    t.type_text("echo back up\r")?;
    t.expect_line("back up")?;
    t.type_text("\x02d")?;
    t.expect("[detached")?;
    t.expect_prompt()?;
    t.command("clear; tmux ls | wc -l", "1")?;
    t.type_text("tmux attach\r")?;
    t.expect_line("back up")?;
    t.type_text("tmux kill-server\r")?;
    t.expect_prompt()?;
    t.command("clear; tmux ls 2>&1 | grep -c 'no server'", "1")?;
    t.type_text("exit\r")?;
    t.finish(0)
}

fn python(lab: &Lab, place: Place) -> Result<()> {
    let mut t = start(lab, place, &["/usr/bin/python3", "-q"])?;
    t.expect(">>>")?;
    t.command("print(6 * 7)", "42")?;
    t.type_text("import time; time.sleep(100)\r")?;
    thread::sleep(Duration::from_millis(400));
    t.type_text("\x03")?;
    t.expect("KeyboardInterrupt")?;
    t.command("import os; print(os.get_terminal_size().columns)", "80")?;
    t.type_text("\x04")?;
    t.finish(0)
}

/// `umlaut` alone: a shell over one's own files, in the same directory.
fn bare_umlaut(lab: &Lab, place: Place) -> Result<()> {
    let scratch = lab.scratch("own")?;
    std::fs::write(scratch.join("mine"), "my own file")?;
    let mut command = lab.terminal::<&str>(place, &[], &[]);
    command.current_dir(&scratch).env("HOME", &scratch).env("SHELL", "/bin/bash").env("EXTRA", "kept");
    let mut t = Terminal::start(command, 24, 200)?;
    t.until("a prompt", |s| s.contains('#') || s.contains('$'))?;
    t.command("cat mine; echo", "my own file")?;
    t.command("id -u", "0")?;
    t.type_text("pwd\r")?;
    t.expect_line(&scratch.to_string_lossy())?;
    t.command("rm mine; ls | wc -l; clear; ls | wc -l", "0")?;
    t.command("clear; echo $TERM $LANG", "xterm-256color C.UTF-8")?;
    begin(&mut t, "sleep 100")?;
    t.type_text("\x03")?;
    t.command("s=$?; clear; echo still $s", "still 130")?;
    t.type_text("exit 7\r")?;
    t.finish(7)?;
    ensure!(std::fs::read_to_string(scratch.join("mine"))? == "my own file", "the host's file is gone");
    Ok(())
}
