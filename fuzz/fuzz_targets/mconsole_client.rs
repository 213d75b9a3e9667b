//! Any line typed to uml_mconsole: nothing it sends is longer than a request, and names become absolute.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mconsole::client::{Line, absolute_names, addressed, fits, log_requests, socket_places};

fuzz_target!(|data: &[u8]| {
    match Line::parse(data) {
        Line::Log(text) => {
            let requests = log_requests(text);
            assert!(requests.iter().all(|request| fits(request)));
            let sent: Vec<u8> = requests.iter().flat_map(|r| r[4..].to_vec()).collect();
            assert!(sent.starts_with(text) && sent.ends_with(b"\n"));
        }
        Line::Send(command) => {
            if let Some((name, rest)) = addressed(command) {
                assert!(!name.is_empty() && !rest.is_empty());
            }
            let fixed = absolute_names(command, b"/w");
            assert_eq!(absolute_names(&fixed, b"/w"), fixed);
            assert!(fixed.len() >= command.len());
        }
        Line::Switch(name) => assert!(!socket_places(name, Some(b"/h")).is_empty()),
        _ => {}
    }
});
