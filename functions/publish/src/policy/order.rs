//! In which order the files of a policy stand: as git walks its tree, and as its manifests say.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use protocol::opal::filter::MANIFEST;
use protocol::opal::policy::Files;

/// The files of a folder before those of its folders, each in the order of git's trees, where a
/// folder's name ends with `/`.
pub(super) fn walk(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        match (left.split_once('/'), right.split_once('/')) {
            (None, None) => return left.cmp(right),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some((here, below)), Some((there, beside))) if here == there => {
                (left, right) = (below, beside);
            }
            (Some((here, _)), Some((there, _))) => {
                return here.bytes().chain([b'/']).cmp(there.bytes().chain([b'/']));
            }
        }
    }
}

/// The places of the files that manifests name, from the root's on. A line that names a folder is
/// what that folder's manifest says, once. What leads out of its folder or nowhere is passed over.
pub(super) fn named(files: &Files) -> BTreeMap<&str, usize> {
    let mut places = BTreeMap::new();
    let mut followed = BTreeSet::from([String::new()]);
    // The manifests that are being read, each with the lines that are left: a chain of folders
    // may be long, and one may name itself.
    let root = files.get(MANIFEST).map(|text| (String::new(), text.lines()));
    let mut reading: Vec<_> = root.into_iter().collect();
    while let Some((folder, lines)) = reading.last_mut() {
        let Some(line) = lines.next() else {
            reading.pop();
            continue;
        };
        let Some(path) = below(folder, line.trim()) else { continue };
        if let Some((path, _)) = files.get_key_value(&path) {
            let next = places.len();
            places.entry(path.as_str()).or_insert(next);
        } else if followed.insert(path.clone())
            && let Some(text) = files.get(&format!("{path}/{MANIFEST}"))
        {
            reading.push((path, text.lines()));
        }
    }
    places
}

/// The path that a line of a folder's manifest means; none if it is absolute or climbs.
fn below(folder: &str, line: &str) -> Option<String> {
    if line.is_empty() || line.starts_with('/') || line.split('/').any(|segment| segment == "..") {
        return None;
    }
    let segments = folder.split('/').chain(line.split('/'));
    let plain = segments.filter(|segment| !matches!(*segment, "" | "."));
    Some(plain.collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_in_the_order_of_gits_trees() {
        let mut paths = vec![
            "c/d/e.rego",
            "c/d.rego",
            "c.d/k.rego",
            "c-d/k.rego",
            "b/x.rego",
            "b.rego",
            "b/a/x.rego",
            "B/up.rego",
            ".dir/h.rego",
            "data.json",
        ];
        paths.sort_by(|left, right| walk(left, right));
        assert_eq!(
            paths,
            [
                "b.rego",
                "data.json",
                ".dir/h.rego",
                "B/up.rego",
                "b/x.rego",
                "b/a/x.rego",
                "c-d/k.rego",
                "c.d/k.rego",
                "c/d.rego",
                "c/d/e.rego",
            ]
        );
    }

    #[test]
    fn manifests_are_followed_once_and_never_out_of_their_folder() {
        let all = [
            (".manifest", "q/s.rego\nb/\n/c.rego\n../a.rego\n./c/./d.rego\nc/../a.rego\n\n# no\n"),
            ("a.rego", ""),
            ("b/.manifest", "y\n../a.rego\n.\nb\n  x.rego\r\nx.rego\n"),
            ("b/x.rego", ""),
            ("b/y/.manifest", "..\n.\nz.rego\n.manifest\n"),
            ("b/y/z.rego", ""),
            ("c.rego", ""),
            ("c/d.rego", ""),
            ("q/.manifest", "r.rego"),
            ("q/r.rego", ""),
            ("q/s.rego", ""),
        ];
        let files: Files = all.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        let places = named(&files);
        let mut paths: Vec<&str> = places.keys().copied().collect();
        paths.sort_by_key(|path| places[path]);
        assert_eq!(paths, ["q/s.rego", "b/y/z.rego", "b/y/.manifest", "b/x.rego", "c/d.rego"]);
    }

    #[test]
    fn a_long_chain_of_manifests_is_followed() {
        let mut files = Files::new();
        let mut folder = String::new();
        for _ in 0..500 {
            files.insert(format!("{folder}.manifest"), "a\n".to_owned());
            folder.push_str("a/");
        }
        files.insert(format!("{folder}.manifest"), "x.rego\n".to_owned());
        files.insert(format!("{folder}x.rego"), String::new());
        assert_eq!(named(&files).len(), 1);
    }
}
