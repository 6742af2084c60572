//! Writes as operations of a JSON Patch of the whole data document, in the form that OPA
//! reads.

use protocol::DataPath;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::engine::EngineError;

/// An operation; members beyond these mean nothing.
#[derive(Serialize, Deserialize)]
struct Operation {
    op: String,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
}

/// The operation that makes `document`, which is JSON, the document at `path`.
pub(super) fn add(path: &DataPath, document: &str) -> String {
    format!(r#"{{"op":"add","path":{},"value":{document}}}"#, quoted(&pointer(path)))
}

/// The operation that removes what is at `path`.
pub(super) fn remove(path: &DataPath) -> String {
    format!(r#"{{"op":"remove","path":{}}}"#, quoted(&pointer(path)))
}

/// The operations of a patch of the document at `path`, a comma between each two.
///
/// # Errors
/// It is no patch.
pub(super) fn below(path: &DataPath, operations: &str) -> Result<String, EngineError> {
    let mut parsed: Vec<Operation> = serde_json::from_str(operations)
        .map_err(|error| EngineError::Rejected(format!("not a JSON Patch: {error}")))?;
    let above = pointer(path);
    for operation in &mut parsed {
        operation.path = format!("{above}{}", escaped(&operation.path));
        // `null` is a value, but to an optional member it is none.
        if operation.value.is_none() && operation.op != "remove" {
            operation.value = Some(RawValue::NULL.to_owned());
        }
    }
    let texts: Result<Vec<String>, _> = parsed.iter().map(serde_json::to_string).collect();
    let texts = texts.map_err(|error| EngineError::Rejected(error.to_string()))?;
    Ok(texts.join(","))
}

/// RFC 6901 §3, and OPA's own escape.
fn pointer(path: &DataPath) -> String {
    let segment = |segment: &String| format!("/{}", segment.replace('~', "~0").replace('/', "~1"));
    escaped(&path.segments().iter().map(segment).collect::<String>())
}

/// OPA percent-decodes an operation's path, which RFC 6902 does not: with this it means what
/// it says.
fn escaped(pointer: &str) -> String {
    pointer.replace('%', "%25")
}

fn quoted(text: &str) -> String {
    // A string always has a JSON form.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_name_places_in_the_whole_document() {
        let path = DataPath::parse("/a b/50%").unwrap();
        assert_eq!(add(&path, "1.0"), r#"{"op":"add","path":"/a b/50%25","value":1.0}"#);
        assert_eq!(remove(&path), r#"{"op":"remove","path":"/a b/50%25"}"#);
        assert_eq!(add(&DataPath::default(), "{}"), r#"{"op":"add","path":"","value":{}}"#);
        let operations = r#"[ {"op":"add","path":"/x~1%","value":{"k":"100%","n":1.0}},{"op":"replace","path":"","value":null},{"op":"remove","path":"/b"}]"#;
        assert_eq!(
            below(&DataPath::parse("/a").unwrap(), operations).unwrap(),
            r#"{"op":"add","path":"/a/x~1%25","value":{"k":"100%","n":1.0}},{"op":"replace","path":"/a","value":null},{"op":"remove","path":"/a/b"}"#
        );
        assert_eq!(below(&path, "[]").unwrap(), "");
        assert!(matches!(below(&path, "{}"), Err(EngineError::Rejected(_))));
    }
}
