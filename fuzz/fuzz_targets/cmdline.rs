//! Any words on the command line of `linux`.

#![no_main]

use cmdline::{COMMAND_LINE_MAX, MAX_CPUS, MAX_MEMORY, MIN_MEMORY, Request, UMID_MAX, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // One argument for each line; NUL characters stay in, they have to be refused.
    let args: Vec<&[u8]> = data.split(|&b| b == b'\n').take(64).collect();
    match parse(&args) {
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty());
        }
        Ok(Request::Boot(config)) => {
            assert!(config.command_line.len() < COMMAND_LINE_MAX);
            assert!((MIN_MEMORY..=MAX_MEMORY).contains(&config.memory) && config.memory % 4096 == 0);
            assert!(config.ncpus.is_none_or(|n| (1..=MAX_CPUS).contains(&n)));
            if let Some(umid) = &config.umid {
                assert!(!umid.is_empty() && umid.len() <= UMID_MAX && !umid.contains('/'));
                assert!(umid != "." && umid != "..");
            }
            assert!(config.init_env.iter().all(|e| e.contains(&b'=')));
            assert!(args.iter().all(|arg| !arg.contains(&0)));
        }
        Ok(Request::Help | Request::Version | Request::ShowConfig) => {}
    }
});
