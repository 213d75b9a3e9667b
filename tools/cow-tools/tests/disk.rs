//! A COW file as a machine's disk: killed with SIGKILL at any moment, and locked as UML locks it.
//!
//! The machines are processes of this program itself, told by [`ROLE`] what to be.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its part of the module")]
mod common;
mod disk_parts {
    pub mod kill;
    pub mod locks;
}

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use disk_parts::{kill, locks};
use libtest_mimic::{Arguments, Trial};

/// Environment variable with the part a process plays: `write`, `hold` or `try`, the COW file, and what the part needs.
const ROLE: &str = "COW_TEST_ROLE";

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        let words: Vec<&str> = role.split('\n').collect();
        match words[..] {
            ["write", cow, seed] => kill::write(Path::new(cow), seed.parse().expect("seed")),
            ["hold", file, how] => locks::hold(Path::new(file), how),
            ["try", cow] => locks::attempt_to_write(Path::new(cow)),
            _ => panic!("{role}"),
        }
        return ExitCode::SUCCESS;
    }
    let test = |name: &str, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    };
    let trials = vec![
        test("kill_minus_nine_leaves_each_sector_old_or_new", kill::each_sector_is_old_or_new),
        test("there_is_one_writer_or_any_number_of_readers", locks::one_writer_or_many_readers),
        test("backing_files_are_shared_by_readers_alone", locks::backing_files_are_shared),
        test("one_process_does_not_exclude_itself", locks::one_process_does_not_exclude_itself),
        test("a_disk_that_may_not_be_written_is_read_only", locks::read_only_where_writing_is_not_allowed),
        test("another_backing_file_is_taken_if_it_fits", locks::another_backing_file),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A process with a part.
fn part(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env(ROLE, words.join("\n")).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Starts a process with a part.
fn start(words: &[&str]) -> Child {
    let program = std::env::current_exe().expect("this program");
    part(&program, words).spawn().expect("start")
}

/// Tells whoever started this process something, at once.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("tell");
}
