//! Any datagram as a request, a reply and a notification: what parses is written back as it was meant.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mconsole::packet::{REPLY_MAX, Reply, TEXT_MAX, pieces};
use mconsole::{Assembler, Command, Notification, Request, command, device};

const TYPES: [&str; 5] = ["ubd", "con", "ssl", "mem", "vec"];

fuzz_target!(|data: &[u8]| {
    match Request::parse(data) {
        Ok(request) => {
            assert!(request.text().len() <= TEXT_MAX);
            assert_eq!(Request::parse(&request.emit()).as_ref(), Ok(&request));
            if let Some(Command::Config(argument) | Command::Remove(argument)) =
                Command::parse(request.text())
                && let Some((index, _)) = device::config(argument, &TYPES)
            {
                assert!(argument.starts_with(TYPES[index].as_bytes()));
            }
        }
        Err(refusal) => assert!(refusal.reply().len() <= REPLY_MAX),
    }
    if let Some(command) = Command::parse(data) {
        assert!(command::NAMES.iter().any(|name| data.starts_with(name.as_bytes())), "{command:?}");
    }
    if let Some(reply) = Reply::parse(data)
        && reply.text.len() <= TEXT_MAX
    {
        assert_eq!(Reply::parse(&reply.emit()), Some(reply));
    }
    if let Some(notification) = Notification::parse(data) {
        assert_eq!(Notification::parse(&notification.emit()), Some(notification));
    }
    let mut assembler = Assembler::default();
    for datagram in pieces(-5, data, false) {
        assembler.push(&datagram).expect("a reply of ours");
    }
    // A NUL at the end of a piece is taken for the one that ends it.
    if !data.contains(&0) {
        assert_eq!(assembler.finish(), (-5, data.to_vec()));
    }
});
