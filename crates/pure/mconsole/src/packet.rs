//! The datagrams of the management console.
//!
//! | request | | reply | | notification | |
//! | --- | --- | --- | --- | --- | --- |
//! | 0 | magic 0xcafebabe | 0 | error, 0 for success | 0 | magic |
//! | 4 | version 2 | 4 | 1 when more pieces follow | 4 | version 2 |
//! | 8 | length of the text | 8 | length of the text and its NUL | 8 | type |
//! | 12 | 512 bytes of text | 12 | the text and its NUL | 12 | length of the data |
//! | | | | | 16 | the data |

use std::fmt;

/// First word of requests and notifications.
pub const MAGIC: u32 = 0xcafe_babe;

/// The version everybody speaks.
pub const VERSION: u32 = 2;

/// Room for text in every datagram.
pub const DATA_MAX: usize = 512;

/// Longest command, and longest text in a piece of a reply, in bytes: one less than the room, for a NUL.
pub const TEXT_MAX: usize = DATA_MAX - 1;

/// Size of a request as clients send it.
pub const REQUEST_LEN: usize = REQUEST_HEAD + DATA_MAX;

/// Size of the largest reply.
pub const REPLY_MAX: usize = REPLY_HEAD + DATA_MAX;

/// Most text a client takes in one answer; more is cut.
pub const ANSWER_MAX: usize = 16 << 20;

const REQUEST_HEAD: usize = 12;
const REPLY_HEAD: usize = 12;
const NOTIFY_HEAD: usize = 16;
/// Notifications of an old watchdog: the magic takes 8 bytes and there is padding at the end.
const WIDE_NOTIFY_HEAD: usize = 20;

/// Answer to clients from before the first version: bare text.
const VERSION_0_TEXT: &[u8] = b"ERR Version 0 mconsole clients are not supported by this driver";

/// A command on its way to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    text: Vec<u8>,
}

/// Why a datagram is not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No magic: a client of "version 0".
    Version0,
    /// The length field says 512 or more.
    TooLarge,
    /// Another version.
    Version(u32),
    /// Shorter than it says.
    Truncated,
}

impl Refusal {
    /// The datagram that tells the client.
    pub fn reply(self) -> Vec<u8> {
        let text: &[u8] = match self {
            Refusal::Version0 => return VERSION_0_TEXT.to_vec(),
            Refusal::TooLarge => b"Request too large",
            Refusal::Version(_) => b"This driver only supports version 2 clients",
            Refusal::Truncated => b"Request too short",
        };
        Reply { err: 1, more: false, text: text.to_vec() }.emit()
    }
}

impl Request {
    /// A request with this command; `None` when it has more than 511 bytes.
    pub fn new(text: &[u8]) -> Option<Request> {
        (text.len() <= TEXT_MAX).then(|| Request { text: text.to_vec() })
    }

    /// The command.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Reads a datagram. One shorter than 524 bytes is good if it holds the text it announces.
    ///
    /// # Errors
    /// [`Refusal`], checked in the order machines always did: magic, length, version.
    pub fn parse(datagram: &[u8]) -> Result<Request, Refusal> {
        if word(datagram, 0) != Some(MAGIC) {
            return Err(Refusal::Version0);
        }
        let (Some(version), Some(len)) = (word(datagram, 4), word(datagram, 8)) else {
            return Err(Refusal::Truncated);
        };
        let len = usize::try_from(len).map_err(|_| Refusal::TooLarge)?;
        if len >= DATA_MAX {
            return Err(Refusal::TooLarge);
        }
        if version != VERSION {
            return Err(Refusal::Version(version));
        }
        let text = datagram.get(REQUEST_HEAD..REQUEST_HEAD + len).ok_or(Refusal::Truncated)?;
        Ok(Request { text: text.to_vec() })
    }

    /// The datagram, always 524 bytes.
    pub fn emit(&self) -> [u8; REQUEST_LEN] {
        let mut datagram = [0; REQUEST_LEN];
        put(&mut datagram, &[MAGIC, VERSION, to_word(self.text.len())]);
        datagram[REQUEST_HEAD..REQUEST_HEAD + self.text.len()].copy_from_slice(&self.text);
        datagram
    }
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 0 for success, else 1 or a negative errno. Counts in the first piece only.
    pub err: i32,
    /// Whether another piece follows.
    pub more: bool,
    /// The text, without NUL; at most 511 bytes.
    pub text: Vec<u8>,
}

impl Reply {
    /// Reads a datagram; `None` when it is no reply.
    pub fn parse(datagram: &[u8]) -> Option<Reply> {
        let (err, more, len) = (word(datagram, 0)?, word(datagram, 4)?, word(datagram, 8)?);
        let len = usize::try_from(len).ok().filter(|&len| len <= DATA_MAX)?;
        let data = datagram.get(REPLY_HEAD..REPLY_HEAD + len)?;
        let text = data.strip_suffix(&[0]).unwrap_or(data);
        Some(Reply { err: i32::from_ne_bytes(err.to_ne_bytes()), more: more != 0, text: text.to_vec() })
    }

    /// The datagram; text behind the 511th byte is left out.
    pub fn emit(&self) -> Vec<u8> {
        let text = &self.text[..self.text.len().min(TEXT_MAX)];
        let mut datagram = vec![0; REPLY_HEAD + text.len() + 1];
        let err = u32::from_ne_bytes(self.err.to_ne_bytes());
        put(&mut datagram, &[err, u32::from(self.more), to_word(text.len() + 1)]);
        datagram[REPLY_HEAD..REPLY_HEAD + text.len()].copy_from_slice(text);
        datagram
    }
}

/// Cuts an answer into the datagrams to send, in order: at least one. With `more` the last of them also announces
/// more, for answers whose text is not known at once.
pub fn pieces(err: i32, text: &[u8], more: bool) -> impl Iterator<Item = Vec<u8>> {
    let count = text.len().div_ceil(TEXT_MAX).max(1);
    (0..count).map(move |i| {
        let end = text.len().min((i + 1) * TEXT_MAX);
        let reply = Reply {
            err: if i == 0 { err } else { 0 },
            more: more || i + 1 < count,
            text: text[i * TEXT_MAX..end].to_vec(),
        };
        reply.emit()
    })
}

/// Puts an answer together from its pieces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assembler {
    err: Option<i32>,
    text: Vec<u8>,
    cut: bool,
}

impl Assembler {
    /// Takes a datagram; true when it was the last.
    ///
    /// # Errors
    /// A datagram that is no reply.
    pub fn push(&mut self, datagram: &[u8]) -> Result<bool, BadReply> {
        let reply = Reply::parse(datagram).ok_or(BadReply)?;
        self.err.get_or_insert(reply.err);
        if self.text.len() + reply.text.len() <= ANSWER_MAX {
            self.text.extend_from_slice(&reply.text);
        } else {
            self.cut = true;
        }
        Ok(!reply.more)
    }

    /// Whether any piece has come.
    pub fn has_begun(&self) -> bool {
        self.err.is_some()
    }

    /// Whether text was left out because there was too much.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// What has come so far: error and text.
    pub fn finish(self) -> (i32, Vec<u8>) {
        (self.err.unwrap_or(0), self.text)
    }
}

/// A datagram that is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadReply;

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a datagram that is no reply of a management console")
    }
}

impl std::error::Error for BadReply {}

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The console is ready; the data is the socket's path with its NUL.
    Socket,
    /// The machine panics; the data is the message with its NUL.
    Panic,
    /// The watchdog found the machine hanging; no data.
    Hang,
    /// A program in the machine wrote the data to /proc/mconsole.
    User,
    /// Something unknown.
    Other(u32),
}

impl Event {
    fn from_word(word: u32) -> Event {
        match word {
            0 => Event::Socket,
            1 => Event::Panic,
            2 => Event::Hang,
            3 => Event::User,
            other => Event::Other(other),
        }
    }

    fn to_word(self) -> u32 {
        match self {
            Event::Socket => 0,
            Event::Panic => 1,
            Event::Hang => 2,
            Event::User => 3,
            Event::Other(word) => word,
        }
    }
}

/// What a machine sends of its own accord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What it is about.
    pub event: Event,
    /// Text, as sent: with a NUL for [`Event::Socket`] and [`Event::Panic`].
    pub data: Vec<u8>,
}

impl Notification {
    /// Reads a datagram, also in the form with a 64-bit magic that old watchdogs send; `None` when it is neither.
    pub fn parse(datagram: &[u8]) -> Option<Notification> {
        if word(datagram, 0)? != MAGIC {
            return None;
        }
        let head = match (word(datagram, 4)?, word(datagram, 8)) {
            (VERSION, _) => NOTIFY_HEAD,
            (0, Some(VERSION)) => WIDE_NOTIFY_HEAD,
            _ => return None,
        };
        let event = Event::from_word(word(datagram, head - 8)?);
        let len = usize::try_from(word(datagram, head - 4)?).ok().filter(|&len| len <= DATA_MAX)?;
        let data = datagram.get(head..head + len)?;
        Some(Notification { event, data: data.to_vec() })
    }

    /// The datagram; data behind the 512th byte is left out.
    pub fn emit(&self) -> Vec<u8> {
        let data = &self.data[..self.data.len().min(DATA_MAX)];
        let mut datagram = vec![0; NOTIFY_HEAD];
        put(&mut datagram, &[MAGIC, VERSION, self.event.to_word(), to_word(data.len())]);
        datagram.extend_from_slice(data);
        datagram
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
}

fn put(bytes: &mut [u8], words: &[u32]) {
    for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
}

/// A length that is known to be at most [`DATA_MAX`].
fn to_word(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_round_trip() {
        for text in [&b""[..], b"version", &[0xff; TEXT_MAX]] {
            let request = Request::new(text).unwrap();
            assert_eq!(Request::parse(&request.emit()), Ok(request.clone()));
            assert_eq!(Request::parse(&request.emit()[..12 + text.len()]), Ok(request));
        }
        assert_eq!(Request::new(&[b'x'; DATA_MAX]), None);
    }

    #[test]
    fn refusals_come_in_the_old_order() {
        let with = |words: &[u32]| {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
            Request::parse(&bytes).unwrap_err()
        };
        assert_eq!(with(&[]), Refusal::Version0);
        assert_eq!(with(&[7, 9, 9999]), Refusal::Version0);
        assert_eq!(with(&[MAGIC, 9, 512]), Refusal::TooLarge);
        assert_eq!(with(&[MAGIC, 9, u32::MAX]), Refusal::TooLarge);
        assert_eq!(with(&[MAGIC, 9, 511]), Refusal::Version(9));
        assert_eq!(with(&[MAGIC, 2, 1]), Refusal::Truncated);
        assert_eq!(with(&[MAGIC, 2]), Refusal::Truncated);
        let reply = Reply::parse(&Refusal::Version(9).reply()).unwrap();
        assert_eq!((reply.err, reply.more), (1, false));
    }

    #[test]
    fn long_answers_are_cut_and_put_together() {
        for len in [0, 1, 511, 512, 1022, 1023, 5000] {
            let text: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut assembler = Assembler::default();
            let datagrams: Vec<_> = pieces(-22, &text, false).collect();
            for (i, datagram) in datagrams.iter().enumerate() {
                assert!(datagram.len() <= REPLY_MAX);
                assert_eq!(assembler.push(datagram), Ok(i + 1 == datagrams.len()), "{len}");
            }
            assert_eq!(assembler.finish(), (-22, text));
        }
        assert!(pieces(0, b"x", true).all(|d| Reply::parse(&d).unwrap().more));
    }

    #[test]
    fn bad_replies_are_errors() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(b"ERR Version 0"), Err(BadReply));
        assert_eq!(assembler.push(&[0; 11]), Err(BadReply));
        let mut lying = Reply { err: 0, more: false, text: b"abc".to_vec() }.emit();
        lying[8] = 200;
        assert_eq!(assembler.push(&lying), Err(BadReply));
        assert!(!assembler.has_begun());
    }

    #[test]
    fn both_forms_of_a_watchdogs_notification_are_read() {
        let hang = Notification { event: Event::Hang, data: Vec::new() };
        assert_eq!(Notification::parse(&hang.emit()), Some(hang.clone()));
        let wide: Vec<u8> = [MAGIC, 0, VERSION, 2, 0, 0].iter().flat_map(|w| w.to_ne_bytes()).collect();
        assert_eq!(wide.len(), 24);
        assert_eq!(Notification::parse(&wide), Some(hang));
        assert_eq!(Notification::parse(&wide[..19]), None);
        let user = Notification { event: Event::User, data: vec![b'x'; 512] };
        assert_eq!(Notification::parse(&user.emit()), Some(user));
    }
}
