//! Any arguments (separated by NULs) and any routing tables for the set-user-id helper.

#![no_main]

use libfuzzer_sys::fuzz_target;
use uml_net::policy::{own_addresses, proxies, routes};
use uml_net::request::{NAME_MAX, Refusal, Request, parse};

fuzz_target!(|data: &[u8]| {
    let args: Vec<&[u8]> = data.split(|&b| b == 0).collect();
    match parse(&args) {
        Ok(Request::Address { device, addr, .. }) => {
            let name = device.name();
            assert!((1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric()));
            assert!(
                !addr.is_loopback() && !addr.is_multicast() && !addr.is_unspecified() && !addr.is_broadcast()
            );
        }
        Err(Refusal::Told(text) | Refusal::Transport(text) | Refusal::Handler(_, text)) => {
            assert!(text.chars().count() < 200 && !text.chars().any(char::is_control), "{text:?}");
        }
        _ => {}
    }
    let text = String::from_utf8_lossy(data);
    let table = routes(&text);
    let own = own_addresses(&text);
    if let Some(&addr) = own.first() {
        assert!(proxies(addr, Some(addr), "tap0", &table).len() <= table.len());
    }
});
