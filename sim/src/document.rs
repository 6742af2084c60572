//! What a write means, said once more: on `serde_json`'s values and without a thought for
//! speed, to compare the engines' and the store's ways with.

use protocol::SaveMethod;
use serde_json::{Map, Value};

/// Writes `data` at `path`, as OPA would. False if that is refused; then nothing has changed.
pub(crate) fn write(
    root: &mut Value,
    path: &[String],
    save_method: SaveMethod,
    data: &Value,
) -> bool {
    match save_method {
        SaveMethod::Put => put(root, path, data),
        SaveMethod::Patch => patch(root, path, data),
    }
}

fn put(root: &mut Value, path: &[String], data: &Value) -> bool {
    let Some((first, rest)) = path.split_first() else {
        *root = data.clone();
        return true;
    };
    let Value::Object(members) = root else { return false };
    match members.get_mut(first) {
        Some(member) => put(member, rest, data),
        None => {
            let made = rest.iter().rev().fold(data.clone(), |inner, segment| {
                Value::Object(Map::from_iter([(segment.clone(), inner)]))
            });
            members.insert(first.clone(), made);
            true
        }
    }
}

fn patch(root: &mut Value, path: &[String], operations: &Value) -> bool {
    let before = root.clone();
    let operations = operations.as_array().map(Vec::as_slice).unwrap_or_default();
    if operations.iter().all(|operation| change(root, path, operation).is_some()) {
        return true;
    }
    *root = before;
    false
}

/// One operation of RFC 6902, of those that OPA knows.
fn change(root: &mut Value, base: &[String], operation: &Value) -> Option<()> {
    let pointer = operation.get("path")?.as_str()?.split('/').skip(1).map(str::to_owned);
    let path: Vec<String> = base.iter().cloned().chain(pointer).collect();
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(root, |at, segment| member(at, segment))?;
    match operation.get("op")?.as_str()? {
        "remove" => remove(parent, last),
        "replace" => {
            *member(parent, last)? = operation.get("value")?.clone();
            Some(())
        }
        "add" => add(parent, last, operation.get("value")?.clone()),
        _ => None,
    }
}

fn member<'v>(value: &'v mut Value, name: &str) -> Option<&'v mut Value> {
    match value {
        Value::Object(members) => members.get_mut(name),
        Value::Array(elements) => elements.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn add(parent: &mut Value, name: &str, value: Value) -> Option<()> {
    match parent {
        Value::Object(members) => {
            members.insert(name.to_owned(), value);
            Some(())
        }
        Value::Array(elements) => {
            let end = elements.len();
            let at = if name == "-" { end } else { name.parse().ok()? };
            (at <= end).then(|| elements.insert(at, value))
        }
        _ => None,
    }
}

fn remove(parent: &mut Value, name: &str) -> Option<()> {
    match parent {
        Value::Object(members) => members.remove(name).map(drop),
        Value::Array(elements) => {
            let at = name.parse::<usize>().ok().filter(|at| *at < elements.len())?;
            elements.remove(at);
            Some(())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn segments(path: &str) -> Vec<String> {
        path.split('/').skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn a_put_makes_its_parents_and_stops_at_what_has_no_members() {
        let mut root = json!({"l": []});
        assert!(write(&mut root, &segments("/a/b"), SaveMethod::Put, &json!({"x": 1})));
        assert!(!write(&mut root, &segments("/l/b"), SaveMethod::Put, &json!({})));
        assert!(!write(&mut root, &segments("/a/b/x/y/z"), SaveMethod::Put, &json!({})));
        assert_eq!(root, json!({"l": [], "a": {"b": {"x": 1}}}));
    }

    #[test]
    fn a_patch_is_done_as_a_whole_or_not_at_all() {
        let mut root = json!({"a": {"l": [1]}});
        let good = json!([
            {"op": "add", "path": "/l/-", "value": 3},
            {"op": "add", "path": "/l/1", "value": 2},
            {"op": "replace", "path": "/l/0", "value": 0},
            {"op": "add", "path": "/m", "value": {}},
        ]);
        assert!(write(&mut root, &segments("/a"), SaveMethod::Patch, &good));
        let bad = json!([{"op": "remove", "path": "/m"}, {"op": "remove", "path": "/m"}]);
        assert!(!write(&mut root, &segments("/a"), SaveMethod::Patch, &bad));
        assert_eq!(root, json!({"a": {"l": [0, 2, 3], "m": {}}}));
        let whole = json!([{"op": "add", "path": "", "value": 7}]);
        assert!(write(&mut root, &segments("/b"), SaveMethod::Patch, &whole));
        assert_eq!(root["b"], 7);
    }
}
