//! The data document as a tree of [`Value`]s, and places in it. Who decides by it has these, in
//! the agent and in the functions alike.
//!
//! Values share their subtrees: a clone is one reference, and a change copies the objects
//! from the root down to the changed place if somebody else still holds them.

//!
//! | question | file |
//! |---|---|
//! | How is text read? | `read.rs` |
//! | How is a JSON Patch written, and what does it do? | `operation.rs`, `patch.rs` |

use std::collections::BTreeMap;

use regorus::Value;

pub mod operation;
mod patch;
mod read;

use operation::index;
pub use patch::{MAX_DEPTH, Patch};
pub use read::{LEVELS, SPLIT_BYTES, read, read_all};

/// What stands in the way of a write; the words are OPA's.
pub type Refused = String;

/// The value at `path`.
pub fn get<'v>(root: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(root, |at, segment| match at {
        Value::Object(object) => object.get(&Value::from(segment.as_str())),
        Value::Array(array) => array.get(index(segment)?),
        _ => None,
    })
}

/// The value at `path`, to be changed.
pub fn get_mut<'v>(root: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(root, |at, segment| match at {
        Value::Object(_) => at.as_object_mut().ok()?.get_mut(&Value::from(segment.as_str())),
        Value::Array(_) => at.as_array_mut().ok()?.get_mut(index(segment)?),
        _ => None,
    })
}

/// The value that a text is when it is put at `path`: a list that is to be the whole document
/// becomes its member `items`, as OPAL's client has it.
///
/// # Errors
/// Those of [`read()`].
pub fn read_for(path: &[String], text: &str) -> Result<Value, Refused> {
    let value = read(text, LEVELS)?;
    if path.is_empty() && matches!(value, Value::Array(_)) {
        return Ok(Value::from(BTreeMap::from([(Value::from("items"), value)])));
    }
    Ok(value)
}

/// Replaces the value at `path`, making the objects that lead there, and returns what was
/// there.
///
/// # Errors
/// Something on the way has no members, or what would be the whole document is no object. The
/// document is as it was.
pub fn put(root: &mut Value, path: &[String], value: Value) -> Result<Option<Value>, Refused> {
    let Some((last, parents)) = path.split_last() else {
        if !matches!(value, Value::Object(_)) {
            return Err("the whole data document can only be an object".to_owned());
        }
        return Ok(Some(std::mem::replace(root, value)));
    };
    let mut at = root;
    for (depth, segment) in parents.iter().enumerate() {
        // Nothing is made before the last refusal: below a made object all is new.
        at = child(at, segment).ok_or_else(|| conflict(path, depth))?;
    }
    let refused = || conflict(path, parents.len());
    match at {
        Value::Object(_) => {
            let object = at.as_object_mut().map_err(|_| refused())?;
            Ok(object.insert(Value::from(last.as_str()), value))
        }
        Value::Array(_) => {
            let array = at.as_array_mut().map_err(|_| refused())?;
            let slot = index(last).and_then(|at| array.get_mut(at)).ok_or_else(refused)?;
            Ok(Some(std::mem::replace(slot, value)))
        }
        _ => Err(refused()),
    }
}

/// The member of that name, made if it is missing; none where there can be no members.
fn child<'v>(parent: &'v mut Value, segment: &str) -> Option<&'v mut Value> {
    match parent {
        Value::Object(_) => {
            let object = parent.as_object_mut().ok()?;
            Some(object.get_or_insert_with(Value::from(segment), Value::new_object))
        }
        Value::Array(_) => parent.as_array_mut().ok()?.get_mut(index(segment)?),
        _ => None,
    }
}

/// Takes a member out of its object, if it is there.
pub fn remove(root: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else { return };
    if let Some(Ok(parent)) = get_mut(root, parents).map(Value::as_object_mut) {
        parent.remove(&Value::from(last.as_str()));
    }
}

fn conflict(path: &[String], depth: usize) -> Refused {
    let parent: String = path.iter().take(depth).map(|segment| format!("/{segment}")).collect();
    let parent = if parent.is_empty() { "/" } else { &parent };
    format!("storage_write_conflict_error: {parent} has no members to write to")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        Value::from_json_str(json).unwrap()
    }

    fn segments(path: &str) -> Vec<String> {
        path.split('/').skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn a_put_makes_its_parents_and_replaces_what_was_there() {
        for (before, path, new, after) in [
            ("{}", "", r#"{"a":1}"#, r#"{"a":1}"#),
            ("{}", "/a/b/c", "1", r#"{"a":{"b":{"c":1}}}"#),
            (r#"{"a":{"x":1}}"#, "/a/b", "[1]", r#"{"a":{"x":1,"b":[1]}}"#),
            (r#"{"a":{"x":1}}"#, "/a", "2", r#"{"a":2}"#),
            (r#"{"a":[1,{"b":2}]}"#, "/a/0", "9", r#"{"a":[9,{"b":2}]}"#),
            (r#"{"a":[1,{"b":2}]}"#, "/a/1/b", "9", r#"{"a":[1,{"b":9}]}"#),
        ] {
            let mut root = value(before);
            let shared = root.clone();
            put(&mut root, &segments(path), value(new)).unwrap();
            assert_eq!(root, value(after), "{before} {path}");
            assert_eq!(shared, value(before), "another holder sees no change");
        }
    }

    #[test]
    fn a_put_below_what_has_no_members_is_refused_and_changes_nothing() {
        for (before, path, words) in [
            (r#"{"a":1}"#, "/a/b", "/a has no members"),
            (r#"{"a":"s"}"#, "/a/b/c", "/a has no members"),
            (r#"{"a":[1]}"#, "/a/1", "/a has no members"),
            (r#"{"a":[1]}"#, "/a/-", "/a has no members"),
            (r#"{"a":[1]}"#, "/a/00", "/a has no members"),
            (r#"{"a":[1]}"#, "/a/x/y", "/a has no members"),
            (r#"{"a":null}"#, "/a/b", "/a has no members"),
            ("{}", "", "can only be an object"),
        ] {
            let mut root = value(before);
            let refused = put(&mut root, &segments(path), value("5")).unwrap_err();
            assert!(refused.contains(words), "{refused}");
            assert_eq!(root, value(before));
        }
    }

    #[test]
    fn a_place_is_found_through_objects_and_arrays() {
        let root = value(r#"{"a":[{"b":1}],"0":2}"#);
        assert_eq!(get(&root, &segments("/a/0/b")), Some(&value("1")));
        assert_eq!(get(&root, &segments("/0")), Some(&value("2")));
        for missing in ["/a/1", "/a/-1", "/a/+0", "/a/b", "/x", "/a/0/b/c"] {
            assert_eq!(get(&root, &segments(missing)), None, "{missing}");
        }
    }
}
