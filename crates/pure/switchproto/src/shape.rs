//! Rate, loss and delay of a port: the line between the switch and one client, made worse on purpose.
//!
//! The line is serial: a frame of n bytes occupies it for n * 8 / rate seconds, frames that come meanwhile wait, and
//! when more than [`BACKLOG`] is waiting the next is dropped. Then it travels for the delay and a random part of
//! the jitter. Frames never overtake each other.

use std::fmt;
use std::time::Duration;

/// Time's worth of frames that may wait for a rate-limited line.
pub const BACKLOG: Duration = Duration::from_millis(200);

/// Longest delay and jitter that can be set.
pub const DELAY_MAX: Duration = Duration::from_secs(60);

/// The condition of a line. The default changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// Bits per second; `None` is without limit.
    pub rate: Option<u64>,
    /// Frames lost of a million.
    pub loss: u32,
    /// Time every frame travels.
    pub delay: Duration,
    /// Longest time added to that at random.
    pub jitter: Duration,
}

/// One thing to change about a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Bits per second.
    Rate(Option<u64>),
    /// Frames lost of a million.
    Loss(u32),
    /// Delay.
    Delay(Duration),
    /// Jitter.
    Jitter(Duration),
    /// Whether the port reaches only ports that are not isolated.
    Isolated(bool),
}

impl Setting {
    /// Reads `rate=10M`, `loss=0.5%`, `delay=20ms`, `jitter=5ms` or `isolated=on`; `off` unsets.
    ///
    /// Rates are bits per second with k, M or G for powers of 1000; times take us, ms (the default) or s.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn parse(text: &str) -> Result<Setting, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not KEY=VALUE"))?;
        match key {
            "rate" => Ok(Setting::Rate(if value == "off" { None } else { Some(rate(value)?) })),
            "loss" => Ok(Setting::Loss(if value == "off" { 0 } else { loss(value)? })),
            "delay" => Ok(Setting::Delay(time(value)?)),
            "jitter" => Ok(Setting::Jitter(time(value)?)),
            "isolated" => match value {
                "on" => Ok(Setting::Isolated(true)),
                "off" => Ok(Setting::Isolated(false)),
                _ => Err(format!("isolated is on or off, not '{value}'")),
            },
            _ => Err(format!("'{key}' is not one of rate, loss, delay, jitter, isolated")),
        }
    }
}

impl Shape {
    /// Whether frames pass as they come.
    pub fn is_plain(&self) -> bool {
        *self == Shape::default()
    }

    /// Applies a setting; [`Setting::Isolated`] is none of the line's business and changes nothing.
    pub fn apply(&mut self, setting: Setting) {
        match setting {
            Setting::Rate(rate) => self.rate = rate,
            Setting::Loss(loss) => self.loss = loss,
            Setting::Delay(delay) => self.delay = delay,
            Setting::Jitter(jitter) => self.jitter = jitter,
            Setting::Isolated(_) => {}
        }
    }
}

impl fmt::Display for Shape {
    /// Writes the settings that differ from the default, in the form they are read in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        if let Some(rate) = self.rate {
            write!(f, "rate={rate}")?;
            space = " ";
        }
        if self.loss > 0 {
            write!(f, "{space}loss={}.{:04}%", self.loss / 10_000, self.loss % 10_000)?;
            space = " ";
        }
        for (key, time) in [("delay", self.delay), ("jitter", self.jitter)] {
            if time > Duration::ZERO {
                write!(f, "{space}{key}={}us", time.as_micros())?;
                space = " ";
            }
        }
        Ok(())
    }
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is delivered at this time; at once if that is not in the future.
    Deliver(Duration),
    /// It is lost on the line.
    Lost,
    /// It is dropped because too many wait.
    Overrun,
}

/// A line with its condition and what occupies it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// The condition; may be changed at any time.
    pub shape: Shape,
    free_at: Duration,
    last: Duration,
}

impl Line {
    /// Whether a frame sent at `now` would pass at once and untouched.
    pub fn is_idle(&self, now: Duration) -> bool {
        self.shape.is_plain() && self.last <= now
    }

    /// Puts a frame of `len` bytes on the line at `now`; `random` is any 64 random bits.
    pub fn send(&mut self, now: Duration, len: usize, random: u64) -> Fate {
        let chance = (random >> 32) % 1_000_000;
        if chance < u64::from(self.shape.loss) {
            return Fate::Lost;
        }
        let mut at = now;
        if let Some(rate) = self.shape.rate {
            let start = self.free_at.max(now);
            if start - now > BACKLOG {
                return Fate::Overrun;
            }
            let bits = u128::try_from(len).unwrap_or(u128::MAX).saturating_mul(8_000_000_000);
            let nanos = u64::try_from(bits / u128::from(rate.max(1))).unwrap_or(u64::MAX);
            at = start.saturating_add(Duration::from_nanos(nanos));
            self.free_at = at;
        }
        at = at.saturating_add(self.shape.delay);
        let jitter = u64::try_from(self.shape.jitter.as_nanos()).unwrap_or(u64::MAX - 1);
        if jitter > 0 {
            at = at.saturating_add(Duration::from_nanos(
                (random & 0xffff_ffff) * (jitter / 0xffff_ffff)
                    + (random & 0xffff_ffff) * (jitter % 0xffff_ffff) / 0xffff_ffff,
            ));
        }
        self.last = self.last.max(at);
        Fate::Deliver(self.last)
    }
}

fn rate(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is not a rate; examples are 56k, 2.5M, 1G (bits per second)");
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    match decimal(number, unit) {
        Some(rate) if rate > 0 => Ok(rate),
        _ => Err(bad()),
    }
}

fn loss(text: &str) -> Result<u32, String> {
    let bad = || format!("'{text}' is not a loss between 0% and 100%");
    let number = text.strip_suffix('%').unwrap_or(text);
    let millionths = decimal(number, 10_000).filter(|&m| m <= 1_000_000).ok_or_else(bad)?;
    u32::try_from(millionths).map_err(|_| bad())
}

fn time(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is not a time up to 60s; examples are 20ms, 500us, 1.5s");
    if text == "off" {
        return Ok(Duration::ZERO);
    }
    let (number, unit) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1_000_000)
    } else if let Some(number) = text.strip_suffix("us") {
        (number, 1_000)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1_000_000_000)
    } else {
        (text, 1_000_000)
    };
    let time = Duration::from_nanos(decimal(number, unit).ok_or_else(bad)?);
    if time <= DELAY_MAX { Ok(time) } else { Err(bad()) }
}

/// Reads a decimal number with an optional fraction, times `unit`.
fn decimal(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let scale = 10u64.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) / u128::from(scale);
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn settings_are_read() {
        assert_eq!(Setting::parse("rate=2.5M"), Ok(Setting::Rate(Some(2_500_000))));
        assert_eq!(Setting::parse("rate=off"), Ok(Setting::Rate(None)));
        assert_eq!(Setting::parse("loss=0.5%"), Ok(Setting::Loss(5_000)));
        assert_eq!(Setting::parse("loss=100"), Ok(Setting::Loss(1_000_000)));
        assert_eq!(Setting::parse("delay=20"), Ok(Setting::Delay(20 * MS)));
        assert_eq!(Setting::parse("jitter=1.5s"), Ok(Setting::Jitter(1500 * MS)));
        assert_eq!(Setting::parse("isolated=on"), Ok(Setting::Isolated(true)));
        for bad in [
            "rate=0",
            "rate=-1",
            "rate=",
            "rate=9999999999999999999G",
            "rate=1.0000000001",
            "loss=101",
            "loss=x",
            "delay=61s",
            "delay=1h",
            "delay=.5",
            "isolated=1",
            "colour=red",
            "rate",
            "rate=1é",
        ] {
            assert!(Setting::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shape_reads_back_what_it_prints() {
        let mut shape = Shape::default();
        for text in ["rate=56k", "loss=0.0305%", "delay=1.5ms", "jitter=20us"] {
            shape.apply(Setting::parse(text).unwrap());
        }
        let printed = shape.to_string();
        assert_eq!(printed, "rate=56000 loss=0.0305% delay=1500us jitter=20us");
        let mut again = Shape::default();
        printed.split(' ').for_each(|text| again.apply(Setting::parse(text).unwrap()));
        assert_eq!(again, shape);
        assert!(Shape::default().is_plain() && Shape::default().to_string().is_empty());
    }

    #[test]
    fn a_rate_spaces_frames_and_bounds_the_queue() {
        let mut line = Line::default();
        line.shape.rate = Some(1_000_000);
        let now = Duration::from_secs(5);
        assert_eq!(line.send(now, 125, 0), Fate::Deliver(now + MS));
        assert_eq!(line.send(now, 125, 0), Fate::Deliver(now + 2 * MS));
        let delivered = (0..1000).filter(|_| line.send(now, 125, 0) != Fate::Overrun).count();
        assert_eq!(delivered, 199);
        assert_eq!(line.send(now + 201 * MS, 125, 0), Fate::Deliver(now + 202 * MS));
    }

    #[test]
    fn loss_is_a_share_and_delay_keeps_the_order() {
        let mut line = Line::default();
        line.shape.loss = 500_000;
        assert_eq!(line.send(MS, 60, 499_999 << 32), Fate::Lost);
        assert_eq!(line.send(MS, 60, 500_000 << 32), Fate::Deliver(MS));
        line.shape = Shape { delay: 10 * MS, jitter: 4 * MS, ..Shape::default() };
        assert_eq!(line.send(MS, 60, 0xffff_ffff), Fate::Deliver(15 * MS));
        assert_eq!(line.send(2 * MS, 60, 0), Fate::Deliver(15 * MS));
        line.shape.loss = 1_000_000;
        assert_eq!(line.send(MS, 60, u64::MAX), Fate::Lost);
    }
}
