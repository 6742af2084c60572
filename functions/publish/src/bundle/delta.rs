//! A delta: what is now at each place that was touched (`spec/opa-and-grants.md` §2.3).
//!
//! What was there before nobody knows, and need not: a place gets its value, or is emptied. OPA
//! refuses the removal of what is not there, and would then ask for the same delta for ever. So
//! a removal is told as a value and its removal.

use protocol::Problem;
use serde_json::Value;

use super::document::{Document, Node};
use super::{canonical, snapshot};

/// Operations of a delta as JSON.
pub(super) type Changes = Vec<String>;

/// What is to be done at the places that were touched. `None` if that is the whole document,
/// which a delta cannot replace.
pub(super) fn changes(data: &mut Document, mut places: Vec<&[String]>) -> Option<Changes> {
    places.sort_unstable();
    let mut changes = vec![];
    // A place is followed by all that is below it.
    let mut last: Option<&[String]> = None;
    for place in places {
        if last.is_some_and(|last| place.starts_with(last)) {
            continue;
        }
        let (place, node) = find(data.root_mut(), place);
        if place.is_empty() {
            // Also for a member of the root that has no name.
            return None;
        }
        if last.is_some_and(|last| place.starts_with(last)) {
            continue;
        }
        last = Some(place);
        let path = pointer(place);
        let upsert = |value: &str| format!(r#"{{"op":"upsert","path":{path},"value":{value}}}"#);
        match node {
            Some(node) => {
                let mut value = String::new();
                canonical::write(node, &mut value);
                changes.push(upsert(&value));
            }
            None => {
                changes.push(upsert("null"));
                changes.push(format!(r#"{{"op":"remove","path":{path}}}"#));
            }
        }
    }
    Some(changes)
}

/// What is at a place; or at the first place on the way to it where nothing is, or something that
/// has no members: an element of an array is told with the array. A member without a name is told
/// with its object, since OPA trims the slashes at the ends of a path.
fn find<'n, 'p>(root: &'n mut Node, place: &'p [String]) -> (&'p [String], Option<&'n Node>) {
    let nameless = place.iter().position(String::is_empty).unwrap_or(place.len());
    let place = place.get(..nameless).unwrap_or_default();
    let mut at = root;
    for (depth, segment) in place.iter().enumerate() {
        at = match at.open() {
            Node::Object(members) => match members.get_mut(segment) {
                Some(member) => member,
                None => return (place.get(..=depth).unwrap_or_default(), None),
            },
            other => return (place.get(..depth).unwrap_or_default(), Some(other)),
        };
    }
    (place, Some(at))
}

/// A JSON Pointer as a JSON string.
fn pointer(place: &[String]) -> String {
    let segments = place.iter().map(|it| format!("/{}", it.replace('~', "~0").replace('/', "~1")));
    Value::from(segments.collect::<String>()).to_string()
}

/// The archive.
pub(super) fn write(manifest: &Value, changes: &Changes) -> Result<Vec<u8>, Problem> {
    let manifest = snapshot::manifest_text(manifest);
    let patch = format!(r#"{{"data":[{}]}}"#, changes.join(","));
    let files = [(".manifest", manifest.as_bytes()), ("patch.json", patch.as_bytes())];
    Ok(archive::write(files)?)
}
