//! Words of the kernel command line: blanks separate, double quotes hold together.

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Where it begins in the line.
    pub(crate) start: usize,
    pub(crate) name: Vec<u8>,
    /// What stands behind the first `=`, without its quotes.
    pub(crate) value: Option<Vec<u8>>,
}

impl Word {
    /// The word without quotes.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let mut out = self.name.clone();
        if let Some(v) = &self.value {
            out.push(b'=');
            out.extend_from_slice(v);
        }
        out
    }

    pub(crate) fn is_dashes(&self) -> bool {
        self.name == b"--" && self.value.is_none()
    }

    /// True if this is the kernel parameter `name`; dashes and underscores are the same in those.
    pub(crate) fn is(&self, name: &str) -> bool {
        let same = |b: u8| if b == b'-' { b'_' } else { b };
        self.name.len() == name.len() && self.name.iter().zip(name.bytes()).all(|(a, b)| same(*a) == same(b))
    }
}

/// Splits a line. Quotes may stand around a whole word or around a value, and are taken off there.
pub(crate) fn split(line: &[u8]) -> impl Iterator<Item = Word> + '_ {
    let mut pos = 0;
    std::iter::from_fn(move || {
        pos += line[pos..].iter().take_while(|b| b.is_ascii_whitespace()).count();
        let start = pos;
        if start == line.len() {
            return None;
        }
        let mut quoted = false;
        let mut equals = None;
        while let Some(&b) = line.get(pos) {
            match b {
                b'"' => quoted = !quoted,
                b'=' if equals.is_none() => equals = Some(pos),
                b if b.is_ascii_whitespace() && !quoted => break,
                _ => {}
            }
            pos += 1;
        }
        Some(word(start, &line[start..pos], equals.map(|e| e - start)))
    })
}

fn word(start: usize, raw: &[u8], equals: Option<usize>) -> Word {
    // A quote at the very beginning belongs to the whole word.
    let (raw, equals) = match raw {
        [b'"', rest @ ..] => (rest.strip_suffix(b"\"").unwrap_or(rest), equals.map(|e| e - 1)),
        _ => (raw, equals),
    };
    match equals {
        None => Word { start, name: raw.to_vec(), value: None },
        Some(at) => {
            let value = &raw[at + 1..];
            let value = match value {
                [b'"', rest @ ..] => rest.strip_suffix(b"\"").unwrap_or(rest),
                _ => value,
            };
            Word { start, name: raw[..at].to_vec(), value: Some(value.to_vec()) }
        }
    }
}
