//! Frames, time and leaving ports against the plainest model of a MAC table; and frames on a bad line.
//!
//! Each operation is 4 bytes: what, station, port, time.

#![no_main]

use std::collections::HashMap;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use switchproto::Mac;
use switchproto::shape::{Fate, Line, Shape};
use switchproto::table::{AGE, MacTable};

fuzz_target!(|data: &[u8]| {
    let mut table = MacTable::default();
    let mut model: HashMap<u8, (u8, Duration)> = HashMap::new();
    let mut line = Line::default();
    let mut last = Duration::ZERO;
    let mut now = Duration::ZERO;
    for op in data.chunks_exact(4) {
        let [what, station, port, time] = [op[0], op[1], op[2], op[3]];
        now += Duration::from_millis(u64::from(time) * 97);
        let mac = Mac([0xfe, 0xfd, 0, 0, 0, station]);
        match what % 5 {
            0 => {
                table.learn(mac, port, now);
                model.insert(station, (port, now));
            }
            1 => {
                table.forget_port(port);
                model.retain(|_, (p, _)| *p != port);
            }
            2 => table.sweep(now),
            3 => {
                line.shape = Shape {
                    rate: (station > 9).then(|| u64::from(station) * 1000),
                    loss: u32::from(port) * 4000,
                    delay: Duration::from_micros(u64::from(time)),
                    jitter: Duration::from_micros(u64::from(port)),
                };
            }
            _ => {
                let random = u64::from_le_bytes([what, station, port, time, port, what, time, station]);
                if let Fate::Deliver(at) = line.send(now, usize::from(port) * 8, random) {
                    assert!(at >= now && at >= last);
                    last = at;
                }
            }
        }
        let expected = model.get(&station).filter(|(_, seen)| now - *seen <= AGE).map(|(port, _)| *port);
        assert_eq!(table.lookup(mac, now), expected);
    }
    let live = model.values().filter(|(_, seen)| now - *seen <= AGE).count();
    assert_eq!(table.list(now).len(), live);
    table.sweep(now);
    assert_eq!(table.len(), live);
});
