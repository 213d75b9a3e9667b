//! Control connections and sessions of the management: accepted, heard, closed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use host_linux::dgram::Addr;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use switchproto::request::{DESCRIPTION_MAX, REQUEST_MAX};
use switchproto::{Progress, Request, Version};

use super::{OWN, Server, is_for_later};
use crate::manage::Session;

/// A control connection has so long to make its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who has connected.
pub(super) enum Connection {
    /// Has not yet asked for a port.
    Waiting { stream: UnixStream, bytes: Vec<u8>, since: Duration },
    /// Keeps a port open.
    Port { stream: UnixStream, number: u32 },
    /// Talks to the management.
    Session(Session),
}

impl Server {
    /// Closes connections that have not asked for a port in time.
    pub(super) fn close_silent(&mut self, now: Duration) {
        let late: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, c)| matches!(c, Connection::Waiting { since, .. } if now - *since > PATIENCE))
            .map(|(&id, _)| id)
            .collect();
        for id in late {
            self.fabric.stats.bad_requests += 1;
            self.close(id);
        }
    }

    /// Takes who waits at a listening socket.
    pub(super) fn accept(&mut self, manage: bool) {
        // No more than the listen backlog at a time, so that frames get their turn.
        for _ in 0..128 {
            let listener = if manage { self.manage.as_ref() } else { Some(&self.control) };
            let Some(listener) = listener else { return };
            match listener.accept() {
                Ok((stream, _)) => {
                    if let Err(e) = self.adopt(stream, manage) {
                        self.log.warn(format!("cannot serve a client: {e}"));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    if matches!(Errno::from_io_error(&e), Some(Errno::MFILE | Errno::NFILE)) {
                        // Turn the client away with the spare descriptor rather than leave it waiting.
                        self.spare = None;
                        let turned_away = listener.accept().is_ok();
                        self.spare = File::open("/dev/null").ok();
                        self.log.warn("too many open files: a client is turned away");
                        if turned_away {
                            continue;
                        }
                    } else if e.kind() == io::ErrorKind::Interrupted {
                        continue;
                    }
                    return;
                }
            }
        }
    }

    fn adopt(&mut self, stream: UnixStream, manage: bool) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let id = self.next;
        let flags = EventFlags::IN | EventFlags::RDHUP;
        self.watch(stream.as_fd(), id, flags)?;
        self.next += 1;
        let connection = if manage {
            Connection::Session(Session::new(stream))
        } else {
            Connection::Waiting { stream, bytes: Vec::new(), since: self.now() }
        };
        self.connections.insert(id, connection);
        Ok(())
    }

    /// Hears what came over a connection.
    pub(super) fn serve(&mut self, id: u64, flags: EventFlags) {
        let keep = match self.connections.get_mut(&id) {
            None => return,
            Some(Connection::Waiting { .. }) => self.read_request(id),
            Some(Connection::Port { stream, .. }) => {
                let mut byte = [0; 1];
                match stream.read(&mut byte) {
                    Ok(0) => self.log.say("Disconnect"),
                    Ok(_) => {
                        self.fabric.stats.bad_requests += 1;
                        self.log.say("Bad request");
                    }
                    Err(e) if is_for_later(&e) => return,
                    Err(_) => self.log.say("Disconnect"),
                }
                false
            }
            Some(Connection::Session(session)) => {
                let now = self.start.elapsed();
                let keep = session.serve(&mut self.fabric, now);
                for connection in session.take_kicked() {
                    self.close(connection);
                }
                if keep {
                    self.watch_session(id);
                }
                keep && !flags.contains(EventFlags::ERR)
            }
        };
        if !keep {
            self.close(id);
        }
    }

    /// Waits for room when a session has more to say, for commands otherwise.
    fn watch_session(&mut self, id: u64) {
        if let Some(Connection::Session(session)) = self.connections.get(&id) {
            let flags =
                if session.has_output() { EventFlags::OUT } else { EventFlags::IN | EventFlags::RDHUP };
            let changed = epoll::modify(&self.epoll, session.stream(), EventData::new_u64(id), flags);
            if changed.is_err() {
                self.close(id);
            }
        }
    }

    /// Reads what a client sent and gives it its port when the request is complete; false closes.
    fn read_request(&mut self, id: u64) -> bool {
        let Some(Connection::Waiting { stream, bytes, .. }) = self.connections.get_mut(&id) else {
            return false;
        };
        let mut piece = [0; REQUEST_MAX + 1];
        match stream.read(&mut piece) {
            Ok(0) => return false,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(e) if is_for_later(&e) => return true,
            Err(_) => return false,
        }
        let (request, used) = match Request::parse(bytes) {
            Ok(Progress::Partial) => return true,
            Ok(Progress::Complete(request, used)) => (request, used),
            Err(e) => {
                self.fabric.stats.bad_requests += 1;
                self.log.say(e.to_string());
                return false;
            }
        };
        // What follows a version 3 request in the same breath is a description, as vde clients send it.
        let rest = bytes.len() - used;
        if rest > if request.version == Version::V3 { DESCRIPTION_MAX } else { 0 } {
            self.fabric.stats.bad_requests += 1;
            self.log.say("Bad request");
            return false;
        }
        let Some(addr) = Addr::new(request.addr.kernel_bytes()) else { return false };
        // Who gets no reply knows the shared socket by its name.
        let own = if request.wants_reply() { self.fabric.own_socket(&request.addr) } else { None };
        let (own, reply) = match own {
            Some((own, reply)) => (Some(own), reply),
            None => (None, self.reply.clone()),
        };
        if request.wants_reply() && !matches!(stream.write(&reply.emit()), Ok(110)) {
            return false;
        }
        let number = self.fabric.add_client(addr, id, request.wanted, own);
        if let Some(own) = self.fabric.port(number).and_then(|port| port.own.as_ref()) {
            let token = OWN | u64::from(number);
            if let Err(e) = self.watch(own.socket.as_fd(), token, EventFlags::IN | EventFlags::ET) {
                self.log.warn(format!("cannot serve a client: {e}"));
                self.fabric.remove(number);
                return false;
            }
        }
        if let Some(Connection::Waiting { stream, .. }) = self.connections.remove(&id) {
            self.connections.insert(id, Connection::Port { stream, number });
        }
        self.log.say("New connection");
        true
    }

    /// Ends a connection and what it kept open.
    pub(super) fn close(&mut self, id: u64) {
        match self.connections.remove(&id) {
            Some(Connection::Port { stream, number }) => {
                self.fabric.remove(number);
                let _ = epoll::delete(&self.epoll, &stream);
            }
            Some(Connection::Waiting { stream, .. }) => drop(epoll::delete(&self.epoll, &stream)),
            Some(Connection::Session(session)) => drop(epoll::delete(&self.epoll, session.stream())),
            None => {}
        }
    }
}
