//! ioctl_tty(2).

use std::sync::Arc;

use abi::{Signal, Termios, Winsize, errno, ioctl::*};

use super::Tty;
use crate::{
    error::Result,
    task::{Pid, TaskCx},
    vfs::file::File,
};

impl Tty {
    /// Requests common to both sides of a pty and to consoles.
    pub(crate) fn ioctl(self: Arc<Self>, file: &File, cx: &mut TaskCx, cmd: u32, arg: u64) -> Result<u64> {
        if self.is_hung_up() {
            return Err(errno::EIO);
        }
        match cmd {
            TCGETS => cx.copy_out(arg, &self.termios().encode())?,
            TCGETS2 => cx.copy_out(arg, &self.termios().encode2())?,
            TCSETS | TCSETSW | TCSETSF => {
                let raw: [u8; 36] = cx.read_array(arg)?;
                self.change_settings(cx, cmd - TCSETS, |old| old.updated(&raw))?;
            }
            TCSETS2 | TCSETSW2 | TCSETSF2 => {
                let raw: [u8; 44] = cx.read_array(arg)?;
                self.change_settings(cx, cmd - TCSETS2, |_| Termios::decode2(&raw))?;
            }
            TCSBRK | TCSBRKP => {
                self.check_background(&cx.task, Signal::SIGTTOU)?;
                self.drain(cx)?;
            }
            TCXONC => {
                self.check_background(&cx.task, Signal::SIGTTOU)?;
                match arg {
                    TCOOFF => self.state.lock().ld.set_stopped(true),
                    TCOON => {
                        self.state.lock().ld.set_stopped(false);
                        self.output_ready();
                    }
                    TCIOFF | TCION => {
                        let t = self.termios();
                        let c = t.cc[if arg == TCIOFF { VSTOP } else { VSTART }];
                        if c != 0 {
                            self.state.lock().ld.set_stopped(false);
                            self.print(&[c]);
                        }
                    }
                    _ => return Err(errno::EINVAL),
                }
            }
            TCFLSH => {
                self.check_background(&cx.task, Signal::SIGTTOU)?;
                self.flush(arg)?;
            }
            TIOCINQ => {
                let n = self.state.lock().ld.available();
                cx.write_u32(arg, n as u32)?;
            }
            TIOCOUTQ => cx.write_u32(arg, self.output_queued() as u32)?,
            TIOCGWINSZ => cx.copy_out(arg, &self.win_size().encode())?,
            TIOCSWINSZ => {
                let raw: [u8; 8] = cx.read_array(arg)?;
                self.set_win_size(Winsize::decode(&raw));
            }
            TIOCSCTTY => {
                let steal = arg == 1 && cx.cred().has(abi::cap::CAP_SYS_ADMIN);
                self.set_controlling(&cx.task, steal)?;
            }
            TIOCNOTTY => {
                if !self.is_controlling(&cx.task.process) {
                    return Err(errno::ENOTTY);
                }
                super::release_ctty(cx.machine(), &cx.task.process);
            }
            TIOCGPGRP => {
                if !self.is_controlling(&cx.task.process) {
                    return Err(errno::ENOTTY);
                }
                let fg = self.job.lock().foreground;
                cx.write_u32(arg, fg as u32)?;
            }
            TIOCSPGRP => {
                if !self.is_controlling(&cx.task.process) {
                    return Err(errno::ENOTTY);
                }
                self.check_background(&cx.task, Signal::SIGTTOU)?;
                let pgid = cx.read_u32(arg)? as Pid;
                self.set_foreground(&cx.task, pgid)?;
            }
            TIOCGSID => {
                if !self.is_controlling(&cx.task.process) {
                    return Err(errno::ENOTTY);
                }
                let sid = self.job.lock().session;
                cx.write_u32(arg, sid as u32)?;
            }
            TIOCEXCL => self.state.lock().exclusive = true,
            TIOCNXCL => self.state.lock().exclusive = false,
            TIOCGEXCL => {
                let e = self.state.lock().exclusive;
                cx.write_u32(arg, u32::from(e))?;
            }
            TIOCGETD => cx.write_u32(arg, 0)?,
            TIOCSETD => {
                // N_TTY is the only discipline.
                if cx.read_u32(arg)? != 0 {
                    return Err(errno::EINVAL);
                }
            }
            TIOCSTI => {
                if !cx.cred().has(abi::cap::CAP_SYS_ADMIN) && !self.is_controlling(&cx.task.process) {
                    return Err(errno::EPERM);
                }
                let b: [u8; 1] = cx.read_array(arg)?;
                self.receive(&b);
            }
            TIOCGDEV => cx.write_u32(arg, self.rdev as u32)?,
            TIOCVHANGUP => {
                if !cx.cred().has(abi::cap::CAP_SYS_ADMIN) {
                    return Err(errno::EPERM);
                }
                self.hangup();
            }
            TIOCGPTPEER | TIOCGPTN | TIOCSPTLCK | TIOCPKT => return Err(errno::ENOTTY),
            _ => return Err(errno::ENOTTY),
        }
        let _ = file;
        Ok(0)
    }

    /// `when`: 0 now, 1 after output has drained, 2 also throwing input away.
    fn change_settings(
        self: &Arc<Self>,
        cx: &mut TaskCx,
        when: u32,
        f: impl FnOnce(&Termios) -> Termios,
    ) -> Result<()> {
        self.check_background(&cx.task, Signal::SIGTTOU)?;
        if when > 0 {
            self.drain(cx)?;
        }
        if when == 2 {
            self.flush(TCIFLUSH)?;
        }
        let new = f(&self.termios());
        self.set_termios(new);
        Ok(())
    }

    /// Waits until all output is on the wire.
    fn drain(&self, cx: &TaskCx) -> Result<()> {
        cx.task.wait_on(&[&self.write_wait], None, || {
            (self.output_queued() == 0 || self.is_hung_up() || self.driver.pty_index().is_some())
                .then_some(())
        })
    }

    pub(crate) fn flush(&self, which: u64) -> Result<()> {
        if which > TCIOFLUSH {
            return Err(errno::EINVAL);
        }
        {
            let mut s = self.state.lock();
            if which != TCOFLUSH {
                s.ld.flush_input();
            }
            if which != TCIFLUSH {
                s.pending.clear();
                self.driver.flush_output();
            }
        }
        self.driver.unthrottle();
        self.output_ready();
        Ok(())
    }
}
