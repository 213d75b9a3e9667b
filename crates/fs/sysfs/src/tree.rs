//! The tree of one mount.

use std::collections::BTreeMap;

use kernel::Machine;

/// Makes the text of a file.
pub(crate) type Make = Box<dyn Fn(&Machine) -> String + Send + Sync>;

pub(crate) enum Kind {
    Dir(BTreeMap<String, usize>),
    File(Make),
    Link(String),
}

/// Directories, files and links by number; 0 is the root.
pub(crate) struct Entries {
    entries: Vec<Kind>,
}

impl Default for Entries {
    fn default() -> Self {
        Entries { entries: vec![Kind::Dir(BTreeMap::new())] }
    }
}

impl Entries {
    pub(crate) fn get(&self, n: usize) -> Option<&Kind> {
        self.entries.get(n)
    }

    /// The directory of a path, made with all above it.
    fn place(&mut self, path: &str) -> usize {
        let mut at = 0;
        for name in path.split('/').filter(|n| !n.is_empty()) {
            let next = self.entries.len();
            let Some(Kind::Dir(names)) = self.entries.get_mut(at) else { return at };
            match names.get(name) {
                Some(n) => at = *n,
                None => {
                    names.insert(name.into(), next);
                    self.entries.push(Kind::Dir(BTreeMap::new()));
                    at = next;
                }
            }
        }
        at
    }

    fn put(&mut self, path: &str, kind: Kind) {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.place(dir);
        let next = self.entries.len();
        if let Some(Kind::Dir(names)) = self.entries.get_mut(dir) {
            names.insert(name.into(), next);
            self.entries.push(kind);
        }
    }

    /// A directory.
    pub(crate) fn dir(&mut self, path: &str) {
        self.place(path);
    }
    /// A file that always has the same line.
    pub(crate) fn line(&mut self, path: &str, text: impl Into<String>) {
        let text = text.into() + "\n";
        self.put(path, Kind::File(Box::new(move |_| text.clone())));
    }
    /// A file whose text is made when it is read.
    pub(crate) fn file(&mut self, path: &str, make: impl Fn(&Machine) -> String + Send + Sync + 'static) {
        self.put(path, Kind::File(Box::new(make)));
    }
    /// A symbolic link to another path of the tree.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        let up = "../".repeat(path.matches('/').count());
        self.put(path, Kind::Link(format!("{up}{target}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_directories() {
        let mut t = Entries::default();
        t.line("a/b/c", "1");
        t.link("x/y", "a/b");
        t.dir("a/b/d");
        let child = |t: &Entries, n: usize, name: &str| match t.get(n) {
            Some(Kind::Dir(names)) => names.get(name).copied(),
            _ => None,
        };
        let b = child(&t, child(&t, 0, "a").unwrap(), "b").unwrap();
        assert!(matches!(t.get(child(&t, b, "c").unwrap()), Some(Kind::File(_))));
        assert!(matches!(t.get(child(&t, b, "d").unwrap()), Some(Kind::Dir(_))));
        let y = child(&t, child(&t, 0, "x").unwrap(), "y").unwrap();
        assert!(matches!(t.get(y), Some(Kind::Link(l)) if l == "../a/b"));
    }
}
