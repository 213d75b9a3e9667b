//! The MAC table: behind which port a station was last heard.
//!
//! Entries not confirmed for a time, [`AGE`] if nobody says otherwise, are gone. The table is bounded, in all and per port, because any client can
//! make up source addresses; a station that finds no room stays unknown and its frames are flooded.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use crate::frame::Mac;

/// How long a station is remembered after its last frame.
pub const AGE: Duration = Duration::from_secs(100);

/// Most stations remembered.
pub const ENTRIES_MAX: usize = 65536;

/// Most stations remembered behind one port.
pub const PORT_ENTRIES_MAX: usize = 8192;

/// What a frame's source address told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned<P> {
    /// Nothing new.
    Known,
    /// A station not known before.
    New,
    /// A station that was behind another port.
    Moved(P),
    /// A station not remembered: a group address, or no room.
    Ignored,
}

#[derive(Debug, Clone, Copy)]
struct Entry<P> {
    port: P,
    seen: Duration,
}

/// Stations and their ports.
#[derive(Debug)]
pub struct MacTable<P> {
    entries: HashMap<Mac, Entry<P>>,
    per_port: HashMap<P, usize>,
    age: Duration,
}

impl<P> Default for MacTable<P> {
    fn default() -> Self {
        MacTable::new(AGE)
    }
}

impl<P> MacTable<P> {
    /// An empty table that forgets stations not heard for `age`.
    pub fn new(age: Duration) -> Self {
        MacTable { entries: HashMap::new(), per_port: HashMap::new(), age }
    }
}

impl<P: Copy + Eq + Hash> MacTable<P> {
    /// Notes that `station` sent a frame through `port` at `now`.
    pub fn learn(&mut self, station: Mac, port: P, now: Duration) -> Learned<P> {
        if station.is_group() {
            return Learned::Ignored;
        }
        let (total, age) = (self.entries.len(), self.age);
        match self.entries.get_mut(&station) {
            Some(entry) if entry.port == port => {
                let expired = is_old(entry.seen, now, age);
                entry.seen = now;
                if expired { Learned::New } else { Learned::Known }
            }
            Some(entry) => {
                let count = self.per_port.entry(port).or_default();
                if *count >= PORT_ENTRIES_MAX {
                    return Learned::Ignored;
                }
                *count += 1;
                let old = std::mem::replace(entry, Entry { port, seen: now });
                self.release(old.port);
                if is_old(old.seen, now, age) { Learned::New } else { Learned::Moved(old.port) }
            }
            None => {
                let count = self.per_port.entry(port).or_default();
                if total >= ENTRIES_MAX || *count >= PORT_ENTRIES_MAX {
                    return Learned::Ignored;
                }
                *count += 1;
                self.entries.insert(station, Entry { port, seen: now });
                Learned::New
            }
        }
    }

    /// The port behind which `station` is, if that is known and not too old at `now`.
    pub fn lookup(&self, station: Mac, now: Duration) -> Option<P> {
        let entry = self.entries.get(&station)?;
        (!is_old(entry.seen, now, self.age)).then_some(entry.port)
    }

    /// Forgets what is too old at `now`.
    pub fn sweep(&mut self, now: Duration) {
        let (per_port, age) = (&mut self.per_port, self.age);
        self.entries.retain(|_, entry| {
            let keep = !is_old(entry.seen, now, age);
            if !keep && let Some(count) = per_port.get_mut(&entry.port) {
                *count -= 1;
            }
            keep
        });
        self.per_port.retain(|_, count| *count > 0);
    }

    /// Forgets every station behind `port`.
    pub fn forget_port(&mut self, port: P) {
        if self.per_port.remove(&port).is_some() {
            self.entries.retain(|_, entry| entry.port != port);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.per_port.clear();
    }

    /// Number of stations, those not yet swept included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no station is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All stations that are not too old at `now`: address, port, time since last heard; ordered by address.
    pub fn list(&self, now: Duration) -> Vec<(Mac, P, Duration)> {
        let mut list: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| !is_old(entry.seen, now, self.age))
            .map(|(&mac, entry)| (mac, entry.port, now.saturating_sub(entry.seen)))
            .collect();
        list.sort_by_key(|&(mac, _, _)| mac);
        list
    }

    fn release(&mut self, port: P) {
        if let Some(count) = self.per_port.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.per_port.remove(&port);
            }
        }
    }
}

fn is_old(seen: Duration, now: Duration, age: Duration) -> bool {
    now.saturating_sub(seen) > age
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac([0xfe, 0xfd, a, b, c, d])
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn stations_are_learned_moved_and_forgotten() {
        let mut table = MacTable::default();
        assert_eq!(table.learn(mac(1), 1, s(0)), Learned::New);
        assert_eq!(table.learn(mac(1), 1, s(1)), Learned::Known);
        assert_eq!(table.learn(mac(1), 2, s(2)), Learned::Moved(1));
        assert_eq!(table.learn(Mac([0xff; 6]), 2, s(2)), Learned::Ignored);
        assert_eq!(table.lookup(mac(1), s(3)), Some(2));
        table.forget_port(1);
        assert_eq!(table.len(), 1);
        table.forget_port(2);
        assert!(table.is_empty());
    }

    #[test]
    fn silence_of_more_than_a_hundred_seconds_is_forgotten() {
        let mut table = MacTable::default();
        table.learn(mac(1), 1, s(0));
        table.learn(mac(2), 1, s(50));
        assert_eq!(table.lookup(mac(1), s(100)), Some(1));
        assert_eq!(table.lookup(mac(1), s(101)), None);
        assert_eq!(table.list(s(101)), vec![(mac(2), 1, s(51))]);
        table.sweep(s(101));
        assert_eq!(table.len(), 1);
        assert_eq!(table.learn(mac(1), 2, s(102)), Learned::New);
    }

    #[test]
    fn the_time_until_then_can_be_set() {
        let mut table = MacTable::new(s(2));
        table.learn(mac(1), 1, s(0));
        assert_eq!(table.lookup(mac(1), s(2)), Some(1));
        assert_eq!(table.lookup(mac(1), s(3)), None);
        assert_eq!(table.learn(mac(1), 2, s(3)), Learned::New);
    }

    #[test]
    fn invented_stations_cannot_fill_the_table() {
        let mut table = MacTable::default();
        for n in 0..100_000 {
            table.learn(mac(n), 1, s(0));
        }
        assert_eq!(table.len(), PORT_ENTRIES_MAX);
        assert_eq!(table.learn(mac(200_000), 2, s(0)), Learned::New);
        assert_eq!(table.learn(mac(200_000), 1, s(0)), Learned::Ignored);
        for port in 3..20 {
            for n in 0..10_000 {
                table.learn(mac(port << 20 | n), port, s(0));
            }
        }
        assert_eq!(table.len(), ENTRIES_MAX);
        table.sweep(s(1000));
        assert!(table.is_empty() && table.per_port.is_empty());
    }
}
