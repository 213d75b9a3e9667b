//! A small process that starts the machine as its child, and starts it again when it asks for that.
//!
//! The machine gives up so much ([`crate::confine`]) that it could not execute itself anew. So the process that the user
//! started stays what it was and waits: it hands signals on to the machine, ends as the machine ends, and splits off
//! the next one, which begins with the memory of a process that has run nothing. It reads nothing from the machine but
//! its status and one byte.
//!
//! The machine is killed when its parent ends. Both are of one process group, so what a terminal sends reaches both. A
//! SIGSTOP that is sent to the parent alone stops the parent alone; SIGTSTP stops both.

use std::io::{PipeWriter, Read, Write, pipe};

use hal::{Result, errno};

use crate::{
    signals::Taken,
    sys::{
        parent::{self as sys, Child},
        process,
        signal::{self, SignalSet},
    },
};

/// How a machine's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It asked to be started again.
    Restart,
}

/// Which process returns from [`start`].
pub enum Side {
    /// The machine's.
    Machine(Again),
    /// The parent, when the machine has ended.
    Parent(Ended),
}

/// The machine's way to ask for its restart.
pub struct Again(PipeWriter);

impl Again {
    /// Asks to be started again once this process has ended.
    pub fn ask(mut self) {
        // A parent that is gone takes this process with it.
        let _ = self.0.write(b"r");
    }
}

/// Splits off the machine's process, and waits for its end in the other. Call while there is one thread, with the
/// machine's signals blocked.
pub fn start(taken: &Taken) -> Result<Side> {
    let (mut reader, writer) = pipe().map_err(|_| errno::EMFILE)?;
    // Where SIGCHLD is ignored the host keeps no status.
    signal::set_default(libc::SIGCHLD);
    let mut handled = vec![libc::SIGCHLD];
    if !signal::is_ignored(libc::SIGTSTP) {
        handled.push(libc::SIGTSTP);
    }
    let set = taken.set().with(&handled);
    let before = set.block();
    let parent = process::own_pid();
    let child = match sys::fork() {
        Ok(None) => {
            drop(reader);
            before.set_mask();
            sys::end_with_parent(parent);
            return Ok(Side::Machine(Again(writer)));
        }
        Ok(Some(child)) => child,
        Err(e) => {
            before.set_mask();
            return Err(e);
        }
    };
    drop(writer);
    let ended = wait(&child, &set);
    before.set_mask();
    let asked = reader.read(&mut [0]).is_ok_and(|n| n == 1);
    Ok(Side::Parent(match ended {
        Ended::Exited(_) if asked => Ended::Restart,
        ended => ended,
    }))
}

/// Hands signals on until the machine has ended.
fn wait(child: &Child, set: &SignalSet) -> Ended {
    loop {
        match set.wait() {
            libc::SIGCHLD => match child.ended() {
                Some((true, status)) => return Ended::Exited(status),
                Some((false, signo)) => return Ended::Killed(signo),
                None => {}
            },
            libc::SIGTSTP => {
                child.signal(libc::SIGTSTP);
                sys::stop_self();
            }
            signo => child.signal(signo),
        }
    }
}

/// Ends this process as the machine was ended.
pub fn die_of(signo: i32) -> ! {
    sys::die_of(signo)
}
