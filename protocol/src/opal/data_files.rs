//! The `data.json` files of a policy as writes (`spec/opal-protocol.md` §2.1, §5.5): each file
//! is the document of its folder, and the members of the root's file are documents of their own,
//! where one document would replace all data there is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use crate::DataPath;

/// The one name of a file that becomes data.
const NAME: &str = "data.json";

/// By folder: the text of its `data.json`, which is an object.
pub type DataFiles = BTreeMap<DataPath, String>;

/// One place that a change of the files touches.
#[derive(Clone, Debug)]
pub struct Change {
    /// The folder of the file.
    pub folder: DataPath,
    /// Where the data goes.
    pub place: DataPath,
    /// The document there from now on; none if there is none any more.
    pub data: Option<Box<RawValue>>,
}

/// The folder of a `data.json`, `.` for the root; none for another file.
#[must_use]
pub fn folder_of(path: &str) -> Option<&str> {
    match path.strip_suffix(NAME) {
        Some("") => Some("."),
        Some(folder) => folder.strip_suffix('/'),
        None => None,
    }
}

/// The place that a folder's `data.json` writes to.
///
/// # Errors
/// Why no data can be there.
pub fn place_of(folder: &str) -> Result<DataPath, String> {
    let folder = if folder == "." { "" } else { folder };
    DataPath::parse(folder).map_err(|problem| problem.detail)
}

/// The object that a file is.
///
/// # Errors
/// It is none.
pub fn object(text: &str) -> Result<String, String> {
    let value: Box<RawValue> =
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    if value.get().starts_with('{') {
        Ok(value.get().to_owned())
    } else {
        Err("not an object".to_owned())
    }
}

/// The writes of one file.
#[must_use]
pub fn writes(folder: &DataPath, text: &str) -> Vec<Change> {
    let write = |place, data| Change { folder: folder.clone(), place, data: Some(data) };
    if !folder.is_root() {
        let data = RawValue::from_string(text.to_owned()).ok();
        return data.map(|data| write(folder.clone(), data)).into_iter().collect();
    }
    members(text).into_iter().map(|(name, data)| write(folder.below([name]), data)).collect()
}

/// From one state of the files to another, or with `all` to the whole of it. What is gone comes
/// first, and folders before what is in them, since a document replaces all that is below it.
#[must_use]
pub fn changes(before: &DataFiles, after: &DataFiles, all: bool) -> Vec<Change> {
    let gone: Vec<(&DataPath, DataPath)> = before
        .iter()
        .flat_map(|(folder, text)| {
            let now = after.get(folder).map(|text| places(folder, text)).unwrap_or_default();
            let gone = places(folder, text).into_iter().filter(move |it| !now.contains(it));
            gone.map(move |place| (folder, place))
        })
        .collect();
    let is_new = |folder: &DataPath, text: &String| all || before.get(folder) != Some(text);
    let written: Vec<&DataPath> =
        after.iter().filter(|(folder, text)| is_new(folder, text)).map(|(it, _)| it).collect();
    // What is inside something that is written or removed is written again.
    let again = |folder: &DataPath| {
        let is_above = |it: &DataPath| !it.is_root() && it.covers(folder);
        written.iter().any(|it| is_above(it)) || gone.iter().any(|(_, place)| is_above(place))
    };
    let writes = after
        .iter()
        .filter(|(folder, text)| is_new(folder, text) || again(folder))
        .flat_map(|(folder, text)| writes(folder, text));
    // What is inside something that is removed goes with it.
    let is_inside = |it: &DataPath| gone.iter().any(|(_, above)| above != it && above.covers(it));
    let removals = gone.iter().filter(|(_, place)| !is_inside(place));
    let removals = removals.map(|(folder, place)| Change {
        folder: (*folder).clone(),
        place: place.clone(),
        data: None,
    });
    removals.chain(writes).collect()
}

fn places(folder: &DataPath, text: &str) -> BTreeSet<DataPath> {
    if !folder.is_root() {
        return BTreeSet::from([folder.clone()]);
    }
    members(text).into_keys().map(|name| folder.below([name])).collect()
}

fn members(text: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> DataFiles {
        all.iter().map(|(at, text)| (place_of(at).unwrap(), (*text).to_owned())).collect()
    }

    fn told(before: &[(&str, &str)], after: &[(&str, &str)], all: bool) -> Vec<String> {
        let changes = changes(&files(before), &files(after), all);
        let tell = |it: Change| match it.data {
            Some(data) => format!("{}={}", it.place, data.get()),
            None => format!("-{}", it.place),
        };
        changes.into_iter().map(tell).collect()
    }

    #[test]
    fn a_file_is_data_by_its_name_alone() {
        assert_eq!(folder_of("data.json"), Some("."));
        assert_eq!(folder_of("a/b/data.json"), Some("a/b"));
        assert_eq!(folder_of("a/mydata.json"), None);
        assert_eq!(folder_of("a/data.json5"), None);
    }

    #[test]
    fn what_changed_is_written_and_what_is_gone_is_removed_first() {
        let (one, two) = (r#"{"x":1,"y":2}"#, r#"{"y":2,"z":3}"#);
        assert_eq!(told(&[(".", one)], &[(".", two)], false), ["-/x", "/y=2", "/z=3"]);
        assert_eq!(told(&[("a", "{}"), ("b", "{}")], &[("b", "{}")], false), ["-/a"]);
        assert_eq!(told(&[("b", "{}")], &[("b", "{}")], true), ["/b={}"]);
        assert_eq!(told(&[("b", "{}")], &[("b", "{}")], false), [""; 0]);
    }

    #[test]
    fn what_is_inside_a_place_that_changes_is_written_again() {
        let (old, new) = ([("a", "{}"), ("a/b", "{}")], [("a", r#"{"k":1}"#), ("a/b", "{}")]);
        assert_eq!(told(&old, &new, false), [r#"/a={"k":1}"#, "/a/b={}"]);
        assert_eq!(told(&old, &[("a/b", "{}")], false), ["-/a", "/a/b={}"]);
        assert_eq!(told(&old, &[], false), ["-/a"]);
    }
}
