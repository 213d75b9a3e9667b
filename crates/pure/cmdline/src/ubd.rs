//! Disks: `ubdN[flags]=FILE[,BACKING][,SERIAL]`.

use crate::{Config, lossy, number};

/// Units: 0 to 15, or a to p.
const UNITS: u64 = 16;
/// Most flag letters.
const MAX_FLAGS: usize = 6;

/// One disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UbdSpec {
    /// 0 to 15.
    pub unit: u8,
    /// `r`
    pub read_only: bool,
    /// `s`: open with O_SYNC.
    pub sync: bool,
    /// `d`: never a COW file.
    pub data: bool,
    /// `c`: take no lock.
    pub shared: bool,
    /// `t`: no discard.
    pub no_trim: bool,
    pub file: Vec<u8>,
    /// With a backing file the first is a COW file, made if it does not exist.
    pub backing: Option<Vec<u8>>,
    pub serial: Option<Vec<u8>>,
}

impl UbdSpec {
    /// Reads what follows `ubd`; the error is the driver's reason. Also the form that `config` of the management
    /// console takes.
    pub fn parse(rest: &[u8]) -> Result<UbdSpec, String> {
        let (unit, mut after) = match rest {
            [letter @ b'a'..=b'z', after @ ..] => (u64::from(letter - b'a'), after),
            _ => number(rest).ok_or("Couldn't parse device number")?,
        };
        let unit =
            u8::try_from(unit).ok().filter(|u| u64::from(*u) < UNITS).ok_or("Device number out of range")?;
        let mut spec = UbdSpec { unit, ..UbdSpec::default() };
        let mut flags = 0;
        loop {
            let Some((&letter, tail)) = after.split_first() else { return Err("Missing '='".into()) };
            after = tail;
            match letter {
                b'=' => break,
                _ if flags == MAX_FLAGS => return Err("Too many flags specified".into()),
                b'r' => spec.read_only = true,
                b's' => spec.sync = true,
                b'd' => spec.data = true,
                b'c' => spec.shared = true,
                b't' => spec.no_trim = true,
                _ => return Err("Expected '=' or flag letter (r, s, c, t or d)".into()),
            }
            flags += 1;
        }
        let mut parts = after.splitn(3, |&b| b == b',' || b == b':');
        let mut part = || parts.next().filter(|p| !p.is_empty()).map(<[u8]>::to_vec);
        spec.file = part().ok_or("Missing file name")?;
        spec.backing = part();
        spec.serial = part();
        if spec.data && spec.backing.is_some() {
            return Err("Can't specify both 'd' and a cow file".into());
        }
        Ok(spec)
    }
}

/// Takes over an option that begins with `ubd`.
pub(crate) fn option(config: &mut Config, rest: &[u8]) {
    match rest {
        b"=sync" => config.ubd_sync = true,
        [b'=', ..] => {
            config.problems.push(format!("ubd{}: a fake major number is no longer supported", lossy(rest)));
        }
        _ => {
            let added = UbdSpec::parse(rest).and_then(|spec| {
                if config.ubd.iter().any(|u| u.unit == spec.unit) {
                    return Err("Device is already configured".into());
                }
                config.ubd.push(spec);
                Ok(())
            });
            if let Err(why) = added {
                let rest = lossy(rest);
                config.problems.push(format!("Failed to initialize device with \"{rest}\" : {why}"));
            }
        }
    }
}
