//! Datagrams exchanged with a real UML kernel, read and written by this crate.
//!
//! They were recorded on a little-endian machine, and the protocol is in host byte order.

#![forbid(unsafe_code)]
#![cfg(target_endian = "little")]

use mconsole::command::HELP;
use mconsole::packet::{Event, pieces};
use mconsole::{Assembler, Command, Notification, Refusal, Request};

/// One recorded exchange: its title, the request, the replies.
struct Exchange {
    title: String,
    request: Vec<u8>,
    replies: Vec<Vec<u8>>,
}

fn exchanges() -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    for line in include_str!("../testdata/exchange.txt").lines() {
        if let Some(title) = line.strip_prefix("== ") {
            all.push(Exchange { title: title.into(), request: Vec::new(), replies: Vec::new() });
            continue;
        }
        let Some(last) = all.last_mut() else { continue };
        let trimmed = line.trim_start();
        if trimmed.starts_with("< ") {
            last.replies.push(Vec::new());
        }
        let bytes = last.replies.last_mut().unwrap_or(&mut last.request);
        if trimmed == "*" {
            // A repeated line: the next offset says how often. Only requests have them.
            bytes.push(0xee);
            continue;
        }
        let Some((offset, rest)) = trimmed.split_at_checked(4).filter(|_| line.starts_with("      ")) else {
            continue;
        };
        let offset = usize::from_str_radix(offset, 16).expect("offset");
        if bytes.last() == Some(&0xee) && bytes.len() % 16 == 1 {
            bytes.pop();
            let row = bytes[bytes.len() - 16..].to_vec();
            while bytes.len() < offset {
                bytes.extend_from_slice(&row);
            }
        }
        assert_eq!(bytes.len(), offset, "{}", last.title);
        let hex = &rest[2..rest.len().min(2 + 48)];
        bytes.extend(hex.split_whitespace().map(|b| u8::from_str_radix(b, 16).expect("hex byte")));
    }
    assert!(all.len() > 10);
    all
}

fn find(title: &str) -> Exchange {
    exchanges()
        .into_iter()
        .find(|e| e.title.starts_with(title))
        .unwrap_or_else(|| panic!("no exchange {title}"))
}

fn answer(exchange: &Exchange) -> (i32, Vec<u8>) {
    let mut assembler = Assembler::default();
    for (i, reply) in exchange.replies.iter().enumerate() {
        let last = assembler.push(reply).expect("reply");
        assert_eq!(last, i + 1 == exchange.replies.len(), "{}", exchange.title);
    }
    assembler.finish()
}

#[test]
fn requests_are_read_and_written_alike() {
    let mut seen = 0;
    for exchange in exchanges().iter().filter(|e| e.request.len() == 524 && !e.title.starts_with("over-long"))
    {
        let request = Request::parse(&exchange.request).expect(&exchange.title);
        assert_eq!(&request.emit()[..], &exchange.request[..], "{}", exchange.title);
        seen += 1;
    }
    assert!(seen > 8);
}

#[test]
fn the_help_is_that_of_the_kernel_byte_for_byte() {
    let exchange = find("help");
    let request = Request::parse(&exchange.request).expect("request");
    assert_eq!(Command::parse(request.text()), Some(Command::Help));
    assert_eq!(answer(&exchange), (0, HELP.as_bytes().to_vec()));
    assert_eq!(pieces(0, HELP.as_bytes(), false).collect::<Vec<_>>(), exchange.replies);
}

#[test]
fn replies_are_read_and_written_alike() {
    for (title, err, text) in [
        ("unknown command", 1, "Unknown command"),
        ("config query", 0, "/tmp/g/b0.img"),
        ("config failure", -2, "Couldn't determine size of device's file"),
        ("query of an unconfigured", 0, ""),
        ("proc uptime", 0, "\n4.63 3.50\n"),
        ("stop", 0, "stopped"),
        ("go", 0, ""),
    ] {
        let exchange = find(title);
        assert_eq!(answer(&exchange), (err, text.as_bytes().to_vec()), "{title}");
        if exchange.replies.len() == 1 {
            assert_eq!(pieces(err, text.as_bytes(), false).collect::<Vec<_>>(), exchange.replies, "{title}");
        }
    }
    let proc: Vec<Vec<u8>> = [(&b"\n"[..], true), (b"4.63 3.50\n", true), (b"", false)]
        .into_iter()
        .flat_map(|(text, more)| pieces(0, text, more).collect::<Vec<_>>())
        .collect();
    assert_eq!(proc, find("proc uptime").replies);
}

#[test]
fn refusals_are_those_of_the_kernel() {
    for (title, refusal) in [("unversioned", Refusal::Version0), ("over-long", Refusal::TooLarge)] {
        let exchange = find(title);
        assert_eq!(Request::parse(&exchange.request), Err(refusal), "{title}");
        assert_eq!(exchange.replies, [refusal.reply()], "{title}");
    }
}

#[test]
fn notifications_are_read_and_written_alike() {
    let hex = include_str!("../testdata/notify.txt").lines().filter_map(|l| l.trim().strip_prefix("hex "));
    let datagrams: Vec<Vec<u8>> = hex
        .map(|h| {
            (0..h.len()).step_by(2).map(|i| u8::from_str_radix(&h[i..i + 2], 16).expect("hex")).collect()
        })
        .collect();
    let expected = [
        (Event::Socket, &b"/tmp/g/uml/box/mconsole\0"[..]),
        (Event::User, b"hello-from-guest\n"),
        (Event::Panic, b"sysrq triggered crash\0"),
    ];
    assert_eq!(datagrams.len(), expected.len());
    for (datagram, (event, data)) in datagrams.iter().zip(expected) {
        let notification = Notification::parse(datagram).expect("notification");
        assert_eq!((notification.event, &notification.data[..]), (event, data));
        assert_eq!(&notification.emit(), datagram);
    }
}
