//! Stream sockets: bytes in order, with ancillary data at places in the stream.

use abi::{
    errno::{EINVAL, EISCONN, ENOTCONN, EOPNOTSUPP, EPIPE},
    net::{MSG_CTRUNC, MSG_OOB, MSG_PEEK, MSG_WAITALL, UCred},
};
use kernel::{
    Result,
    io::{Sink, Source},
    net::{Control, Received},
    task::Task,
};

use crate::{
    dgram::sender_cred,
    queue::{Mark, Record, Taken},
    socket::{RCV, SND, UnixSocket},
};

/// Most bytes of one record.
const RECORD: usize = 32 << 10;
/// Most bytes looked at by MSG_PEEK between waits.
const PEEK: usize = 1 << 20;

/// Keeps messages of one receive together: the sender, and whether the next record still belongs.
#[derive(Default)]
struct Gathered {
    total: usize,
    cred: Option<UCred>,
}

impl UnixSocket {
    pub fn send_stream(
        &self,
        task: &Task,
        src: &mut dyn Source,
        addr: Option<&[u8]>,
        control: Control,
        nonblocking: bool,
        urgent: bool,
    ) -> Result<usize> {
        let connected = self.state.lock().connected;
        if addr.is_some() {
            return Err(if connected { EISCONN } else { EOPNOTSUPP });
        }
        if !connected {
            return Err(ENOTCONN);
        }
        if self.is_shut(SND) {
            return Err(EPIPE);
        }
        let peer = self.peer().ok_or(EPIPE)?;
        if urgent && src.remaining() == 0 {
            return Err(EOPNOTSUPP);
        }
        let cred = sender_cred(task, &control)?;
        let mut passed = match control.files {
            f if f.is_empty() => None,
            f => Some(self.shared.flight.send(task, f)?),
        };
        let mut done = 0;
        while src.remaining() > 0 {
            // The last byte of an urgent message goes alone.
            let last = urgent && src.remaining() == 1;
            let left = src.remaining() - usize::from(urgent && !last);
            let want = left.min(RECORD).min((self.budget.limit() / 2).max(1));
            let charge = self.wait(task, &self.budget.wait, nonblocking, &self.options.send_timeout, || {
                if self.is_shut(SND) || peer.is_shut(RCV) {
                    return Some(Err(EPIPE));
                }
                self.budget.charge(want).map(Ok)
            });
            let charge = match charge {
                Ok(Ok(c)) => c,
                Ok(Err(e)) | Err(e) => return if done > 0 { Ok(done) } else { Err(e) },
            };
            let mut data = vec![0; want];
            let n = match src.take(&mut data) {
                Ok(n) => n,
                Err(e) => return if done > 0 { Ok(done) } else { Err(e) },
            };
            data.truncate(n);
            let record = Record::new(data, cred, None, passed.take(), charge);
            let refused = peer.fill(|rx| {
                // Looked at again under the lock that shutdown's reader takes: nothing is queued for nobody.
                if self.is_shut(SND) {
                    return Some(record);
                }
                if last {
                    rx.push_urgent(record)
                } else {
                    rx.push_stream(record)
                }
                None
            });
            if refused.is_some() {
                return if done > 0 { Ok(done) } else { Err(EPIPE) };
            }
            if last {
                peer.urge(task);
            }
            peer.data_arrived();
            done += n;
            if n < want {
                break;
            }
        }
        Ok(done)
    }

    pub fn recv_stream(
        &self,
        task: &Task,
        dst: &mut dyn Sink,
        flags: u32,
        nonblocking: bool,
        want_control: bool,
    ) -> Result<Received> {
        if !self.state.lock().connected {
            return Err(EINVAL);
        }
        let mut got = Received::default();
        let mut g = Gathered::default();
        let target = if flags & MSG_WAITALL != 0 { dst.remaining() } else { 1 };
        while dst.remaining() > 0 {
            let step = if flags & MSG_PEEK != 0 {
                self.peek_step(dst, &mut got, &mut g)
            } else {
                self.take_step(dst, &mut got, &mut g)
            };
            match step {
                Ok(Step::More) => continue,
                Ok(Step::Done) => break,
                Ok(Step::Empty) => {}
                Err(e) if g.total == 0 => return Err(e),
                Err(_) => break,
            }
            if g.total >= target || flags & MSG_PEEK != 0 && g.total > 0 {
                break;
            }
            let ready = self.wait(task, &self.read_wait, nonblocking, &self.options.receive_timeout, || {
                let some = || self.rx().has_ordinary(self.options.oob_inline());
                if some() {
                    return Some(Ok(true));
                }
                if let Some(e) = self.take_error() {
                    return Some(Err(e));
                }
                self.is_shut(RCV).then(|| Ok(some()))
            });
            match ready {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => break,
                Ok(Err(_)) | Err(_) if g.total > 0 => break,
                Ok(Err(e)) | Err(e) => return Err(e),
            }
        }
        got.bytes = g.total;
        got.full_len = g.total;
        self.finish_control(&mut got, g.cred, want_control);
        Ok(got)
    }

    /// recv(2) with MSG_OOB: the byte out of band. EINVAL if there is none, or it comes in line.
    pub fn recv_urgent(&self, dst: &mut dyn Sink, flags: u32) -> Result<Received> {
        let mut got = Received { flags: MSG_OOB, ..Received::default() };
        let byte = {
            let mut rx = self.rx();
            let record = rx.urgent().filter(|_| !self.options.oob_inline()).ok_or(EINVAL)?;
            let byte = record.bytes().first().copied().ok_or(EINVAL)?;
            if flags & MSG_PEEK == 0 {
                rx.take_urgent();
            }
            byte
        };
        got.full_len = 1;
        got.bytes = if dst.remaining() > 0 { dst.put(&[byte])? } else { 0 };
        Ok(got)
    }

    /// Puts credentials into what was received if the socket asks for them; drops what the caller has no room for.
    pub fn finish_control(&self, got: &mut Received, cred: Option<UCred>, want_control: bool) {
        if self.options.passcred()
            && let Some(c) = cred
        {
            got.control.cred = Some((c.pid, c.uid, c.gid));
        }
        if !want_control && (got.control.cred.is_some() || !got.control.files.is_empty()) {
            got.control = Control::default();
            got.flags |= MSG_CTRUNC;
        }
    }

    fn other_sender(&self, g: &Gathered, cred: &UCred) -> bool {
        self.options.passcred() && g.cred.is_some_and(|c| c != *cred)
    }

    fn take_step(&self, dst: &mut dyn Sink, got: &mut Received, g: &mut Gathered) -> Result<Step> {
        let mut skipped = Vec::new();
        let taken = {
            let mut rx = self.rx();
            if !rx.pass_mark(g.total > 0, self.options.oob_inline(), &mut skipped) {
                return Ok(Step::Done);
            }
            let Some(first) = rx.records.front() else { return Ok(Step::Empty) };
            if self.other_sender(g, &first.cred) {
                return Ok(Step::Done);
            }
            g.cred = Some(first.cred);
            rx.take(dst.remaining())
        };
        let mut files = Vec::new();
        let (n, len, result) = match taken {
            None => return Ok(Step::Empty),
            Some(Taken::Whole(mut r)) => {
                let len = r.bytes().len();
                let result = dst.put(r.bytes());
                let n = *result.as_ref().unwrap_or(&0);
                if n == len || n > 0 {
                    files = r.passed.take().map_or_else(Vec::new, |p| p.take());
                }
                if n < len {
                    self.fill(|rx| rx.unread(r, n));
                }
                (n, len, result)
            }
            Some(Taken::Part(data, passed)) => {
                let result = dst.put(&data);
                let n = *result.as_ref().unwrap_or(&0);
                files = passed.map_or_else(Vec::new, |p| p.take());
                if n < data.len() {
                    self.fill(|rx| rx.unread_part(&data[n..]));
                }
                (n, data.len(), result)
            }
        };
        g.total += n;
        let ancillary = !files.is_empty();
        got.control.files.extend(files);
        result?;
        Ok(if n < len || ancillary { Step::Done } else { Step::More })
    }

    fn peek_step(&self, dst: &mut dyn Sink, got: &mut Received, g: &mut Gathered) -> Result<Step> {
        let mut data = Vec::new();
        {
            let rx = self.rx();
            let mut skip = g.total;
            for r in &rx.records {
                let begun = g.total > 0 || !data.is_empty();
                if self.other_sender(g, &r.cred) || begun && r.mark != Mark::None {
                    break;
                }
                if r.mark != Mark::None && !self.options.oob_inline() {
                    continue;
                }
                let bytes = r.bytes();
                if skip >= bytes.len() && !bytes.is_empty() {
                    skip -= bytes.len();
                    continue;
                }
                g.cred = Some(r.cred);
                let n = (bytes.len() - skip).min(dst.remaining() - data.len()).min(PEEK - data.len());
                data.extend_from_slice(&bytes[skip..skip + n]);
                skip = 0;
                if let Some(p) = &r.passed {
                    got.control.files = p.peek();
                    break;
                }
                if data.len() == dst.remaining() || data.len() == PEEK {
                    break;
                }
            }
        }
        if data.is_empty() {
            return Ok(Step::Empty);
        }
        let n = dst.put(&data)?;
        g.total += n;
        Ok(if n < data.len() || !got.control.files.is_empty() { Step::Done } else { Step::More })
    }
}

enum Step {
    More,
    Done,
    Empty,
}
