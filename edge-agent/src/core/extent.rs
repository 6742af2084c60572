//! What an entry depends on besides the place that it writes to.

use protocol::planted::{Bug, planted};
use protocol::{DataPath, Entry, SaveMethod};
use serde::Deserialize;

/// The place that must be as the log says when an entry is written. That is its path; but a
/// patch of the path itself (an operation with the path `""`, RFC 6902) has an effect only
/// if the parent is there, and what a fetched patch will say nobody knows yet.
pub(super) fn of(entry: &Entry) -> DataPath {
    let path = &entry.dst_path;
    let is_patch = entry.save_method == SaveMethod::Patch && !planted(Bug::ExtentIgnored);
    if is_patch && entry.inline().is_none_or(|data| changes_whole(data.get())) {
        let parents = path.segments().split_last().map_or(&[][..], |(_, parents)| parents);
        return DataPath::default().below(parents.iter().cloned());
    }
    path.clone()
}

fn changes_whole(operations: &str) -> bool {
    #[derive(Deserialize)]
    struct Operation {
        path: String,
    }
    let operations = serde_json::from_str::<Vec<Operation>>(operations);
    operations.is_ok_and(|operations| operations.iter().any(|it| it.path.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_of_the_whole_needs_the_parent() {
        let patch = |path: &str| json!([{"op": "remove", "path": path}]);
        for (save_method, data, extent) in [
            ("PUT", json!({}), "/a/b"),
            ("PATCH", patch("/c"), "/a/b"),
            ("PATCH", patch(""), "/a"),
            ("PATCH", json!(null), "/a"),
        ] {
            let entry = json!({"url": "http://h", "topics": ["t"], "dst_path": "/a/b",
                "save_method": save_method, "data": data});
            let entry: Entry = serde_json::from_value(entry).unwrap();
            assert_eq!(of(&entry), DataPath::parse(extent).unwrap(), "{save_method} {data}");
        }
    }
}
