//! Sets of places in the data.

use std::collections::BTreeMap;

/// Places of one parent that are told apart; where there are more, all of the parent is one.
const MOST: usize = 1_000;

/// Places, none of which covers another.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// All of it is one place.
    whole: bool,
    below: BTreeMap<String, Places>,
}

impl Places {
    pub(super) fn add(&mut self, path: &[String]) {
        let mut at = self;
        for segment in path {
            if at.whole {
                return;
            }
            if at.below.len() >= MOST && !at.below.contains_key(segment) {
                break;
            }
            at = at.below.entry(segment.clone()).or_default();
        }
        *at = Self { whole: true, below: BTreeMap::new() };
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.whole && self.below.is_empty()
    }

    /// True if the place at the root is all.
    pub(super) fn is_all(&self) -> bool {
        self.whole
    }

    /// True if one of them is at `path`, above it, or below it.
    pub(super) fn overlap(&self, path: &[String]) -> bool {
        let mut at = self;
        for segment in path {
            if at.whole {
                return true;
            }
            match at.below.get(segment) {
                Some(below) => at = below,
                None => return false,
            }
        }
        !at.is_empty()
    }

    /// Takes out those that are at `path`, above it, or below it.
    pub(super) fn take(&mut self, path: &[String]) -> Vec<Vec<String>> {
        let mut taken = Vec::new();
        self.take_into(path, &mut Vec::new(), &mut taken);
        taken
    }

    fn take_into(&mut self, path: &[String], at: &mut Vec<String>, taken: &mut Vec<Vec<String>>) {
        if std::mem::take(&mut self.whole) {
            taken.push(at.clone());
            return;
        }
        let names: Vec<String> = match path.first() {
            Some(first) => vec![first.clone()],
            None => self.below.keys().cloned().collect(),
        };
        let rest = path.get(1..).unwrap_or_default();
        for name in names {
            let Some(below) = self.below.get_mut(&name) else { continue };
            at.push(name.clone());
            below.take_into(rest, at, taken);
            at.pop();
            if below.is_empty() {
                self.below.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> Vec<String> {
        path.split('/').skip(1).map(str::to_owned).collect()
    }

    fn places(paths: &[&str]) -> Places {
        let mut places = Places::default();
        paths.iter().for_each(|it| places.add(&path(it)));
        places
    }

    #[test]
    fn a_place_overlaps_what_is_above_and_below_it_and_nothing_beside_it() {
        let places = places(&["/a/b", "/c"]);
        for (at, overlaps) in [
            ("", true),
            ("/a", true),
            ("/a/b", true),
            ("/a/b/c", true),
            ("/a/x", false),
            ("/c/d/e", true),
            ("/x", false),
        ] {
            assert_eq!(places.overlap(&path(at)), overlaps, "{at}");
        }
        assert!(!Places::default().overlap(&[]));
    }

    #[test]
    fn what_overlaps_is_taken_and_the_rest_stays() {
        for (at, taken, left) in [
            ("/a/b/c", &["/a/b"][..], &["/a/x/y", "/c"][..]),
            ("/a", &["/a/b", "/a/x/y"], &["/c"]),
            ("", &["/a/b", "/a/x/y", "/c"], &[]),
            ("/a/z", &[], &["/a/b", "/a/x/y", "/c"]),
        ] {
            let mut places = places(&["/a/b", "/a/x/y", "/c"]);
            let expected: Vec<_> = taken.iter().map(|it| path(it)).collect();
            assert_eq!(places.take(&path(at)), expected, "{at}");
            let rest: Vec<_> = left.iter().map(|it| path(it)).collect();
            assert_eq!(places.take(&[]), rest, "{at}");
            assert!(places.is_empty());
        }
    }

    #[test]
    fn places_that_are_many_become_their_parent() {
        let mut places = Places::default();
        (0..=MOST).for_each(|number| places.add(&["users".to_owned(), number.to_string()]));
        assert!(places.overlap(&path("/users/nobody")));
        assert!(!places.overlap(&path("/roles")));
        assert!(places.below["users"].below.is_empty());
    }
}
