//! JSON Patch (RFC 6902) and JSON Pointer (RFC 6901) as they are written, for whoever applies them:
//! to a tree of values here, to texts in the agent's store.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Refused;

/// An operation as it is written. Which members an [`Op`] needs its reader looks at.
#[derive(Debug, Deserialize)]
pub struct Written<'p> {
    /// What is done.
    pub op: Op,
    /// Where, as a pointer.
    pub path: String,
    /// From where.
    #[serde(default)]
    pub from: Option<String>,
    /// With what; `null` is a value.
    #[serde(borrow, default, deserialize_with = "present")]
    pub value: Option<&'p RawValue>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Adds a member, or an element before the one that is there.
    Add,
    /// Removes what is there.
    Remove,
    /// Replaces what is there.
    Replace,
    /// Removes it from one place and adds it at another.
    Move,
    /// Adds it at another place, too.
    Copy,
    /// Refuses the patch if something else is there.
    Test,
}

/// A member that is `null` is there all the same.
fn present<'p, D: Deserializer<'p>>(deserializer: D) -> Result<Option<&'p RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// The operations of a patch.
///
/// # Errors
/// It is no list of operations.
pub fn operations(text: &str) -> Result<Vec<Written<'_>>, Refused> {
    serde_json::from_str(text)
        .map_err(|error| format!("not a list of JSON Patch operations: {error}"))
}

/// The segments of a pointer.
///
/// # Errors
/// It neither is empty nor begins with a slash.
pub fn segments(pointer: &str) -> Result<Vec<String>, Refused> {
    let mut parts = pointer.split('/');
    if parts.next() != Some("") {
        return Err("a path is empty or begins with /".to_owned());
    }
    Ok(parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

/// The pointer to a place, for people: that to the whole document is `/`.
#[must_use]
pub fn pointer(path: &[String]) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

/// What is said of a place where nothing is.
#[must_use]
pub fn missing(path: &[String]) -> Refused {
    format!("there is nothing at {}", pointer(path))
}

/// The element that a segment names: a number as RFC 6901 writes it.
#[must_use]
pub fn index(segment: &str) -> Option<usize> {
    let canonical = segment == "0" || !segment.starts_with(['0', '+']);
    segment.parse().ok().filter(|_| canonical)
}
