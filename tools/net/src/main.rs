//! `uml_net`: makes and connects a tap for a machine, where that needs privilege.
//!
//! A machine runs it with a socket as standard output, over which the answer goes. With a tap made ready by
//! `tunctl` and `ip` it is not needed at all.

#![forbid(unsafe_code)]

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use host_linux::tap::Tap;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use uml_net::act::{self, Report};
use uml_net::request::{Refusal, Request, VERSION, parse};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let bytes: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    let done = match parse(&bytes) {
        Ok(request) => run(&request),
        Err(refusal) => refuse(&refusal).map(|()| false),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            let _ = writeln!(io::stderr(), "uml_net: cannot answer: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(request: &Request) -> io::Result<bool> {
    // Whoever runs us, even where we are set-user-id.
    let caller = rustix::process::getuid().as_raw();
    let mut report = Report::default();
    match request {
        Request::TuntapUp(addr) => {
            let tap = act::tuntap_up(*addr, caller, &mut report);
            pass(tap.as_ref(), &report.0)?;
            Ok(tap.is_some())
        }
        Request::Address { change, device, addr, netmask } => {
            let good = act::address(*change, device, *addr, *netmask, caller, &mut report);
            tell(&report.0)?;
            Ok(good)
        }
    }
}

/// One datagram: with a tap its name in 16 bytes, the text, and the descriptor; without one the text alone.
fn pass(tap: Option<&Tap>, text: &str) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let mut name = [0; 16];
    let descriptors;
    let mut parts = vec![IoSlice::new(text.as_bytes()), IoSlice::new(&[0])];
    if let Some(tap) = tap {
        name[..tap.name().len()].copy_from_slice(tap.name().as_bytes());
        parts.insert(0, IoSlice::new(&name));
        descriptors = [tap.as_fd()];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
    }
    rustix::net::sendmsg(io::stdout(), &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Text for the machine's console: its length with a NUL, then it and the NUL.
fn tell(text: &str) -> io::Result<()> {
    let len = u32::try_from(text.len() + 1).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut out = io::stdout().lock();
    out.write_all(&[&len.to_ne_bytes(), text.as_bytes(), &[0]].concat())?;
    out.flush()
}

fn refuse(refusal: &Refusal) -> io::Result<()> {
    match refusal {
        Refusal::ByHand => {
            let _ = writeln!(
                io::stderr(),
                "uml_net : bad argument list - if you're running uml_net by\nhand, don't bother.  \
                 uml_net is run automatically by UML when\nnecessary."
            );
        }
        Refusal::Version(version) => {
            let _ = writeln!(
                io::stderr(),
                "Version mismatch - requested version {version}, uml_net supports up to version {VERSION}"
            );
        }
        Refusal::Transport(name) => writeln!(io::stdout(), "Unknown transport : '{name}'")?,
        Refusal::Handler(version, name) => {
            writeln!(io::stdout(), "No version #{version} handler for '{name}'")?;
        }
        Refusal::Told(text) => tell(&format!("{text}\n"))?,
        Refusal::Ethertap => {
            io::stdout().write_all(&[0])?;
            tell("uml_net : no Linux of today has ethertap; use tuntap\n")?;
        }
    }
    Ok(())
}
