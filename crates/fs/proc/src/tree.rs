//! Directories made of tables whose rows name whole paths.

use std::collections::BTreeSet;

/// What stands at a place: a row, or a directory (any row below it, and the depth of its names).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Row(usize),
    Dir { row: usize, depth: usize },
}

/// Entries of the directory that row `row` has at `depth`, in the order of the table.
pub(crate) fn list(paths: &[&'static str], row: usize, depth: usize) -> Vec<(&'static str, Place)> {
    let above: Vec<&str> = paths.get(row).into_iter().flat_map(|p| p.split('/').take(depth)).collect();
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for (i, path) in paths.iter().enumerate() {
        let mut parts = path.split('/');
        if !parts.by_ref().take(depth).eq(above.iter().copied()) {
            continue;
        }
        let Some(name) = parts.next() else { continue };
        if seen.insert(name) {
            let is_row = parts.next().is_none();
            out.push((name, if is_row { Place::Row(i) } else { Place::Dir { row: i, depth: depth + 1 } }));
        }
    }
    out
}

pub(crate) fn find(paths: &[&'static str], row: usize, depth: usize, name: &[u8]) -> Option<Place> {
    list(paths, row, depth).into_iter().find(|c| c.0.as_bytes() == name).map(|c| c.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_found_and_listed() {
        let paths = ["a/x", "a/y/z", "b", "a/y/w"];
        let top: Vec<_> = list(&paths, 0, 0).into_iter().map(|x| x.0).collect();
        assert_eq!(top, ["a", "b"]);
        let Some(Place::Dir { row, depth: 1 }) = find(&paths, 0, 0, b"a") else { panic!("no a") };
        assert_eq!(find(&paths, row, 1, b"x"), Some(Place::Row(0)));
        assert_eq!(find(&paths, row, 1, b"y"), Some(Place::Dir { row: 1, depth: 2 }));
        assert_eq!(list(&paths, 1, 2).len(), 2);
        assert_eq!(find(&paths, row, 1, b"b"), None);
    }
}
