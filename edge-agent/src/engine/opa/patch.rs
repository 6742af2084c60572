//! A JSON Patch in the form that OPA reads.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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

/// OPA percent-decodes an operation's path, which RFC 6902 does not: a `%` in a path is
/// escaped, so that the path means what it says. Anything else goes as it came, also what
/// is no patch: OPA's refusal is the better message.
pub(super) fn for_opa(operations: &str) -> Cow<'_, str> {
    if !operations.contains('%') {
        return Cow::Borrowed(operations);
    }
    let Ok(mut parsed) = serde_json::from_str::<Vec<Operation>>(operations) else {
        return Cow::Borrowed(operations);
    };
    for operation in &mut parsed {
        operation.path = operation.path.replace('%', "%25");
        // `null` is a value, but to an optional member it is none.
        if operation.value.is_none() && operation.op != "remove" {
            operation.value = Some(RawValue::NULL.to_owned());
        }
    }
    serde_json::to_string(&parsed).map_or(Cow::Borrowed(operations), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_percent_sign_in_a_path_changes_anything() {
        let plain = r#"[ {"op":"add","path":"/a~1b","value":1.0} ]"#;
        assert_eq!(for_opa(plain), plain);
        let escaped = for_opa(
            r#"[{"op":"add","path":"/50%","value":{"k":"100%","n":1.0}},{"op":"replace","path":"/a","value":null},{"op":"remove","path":"/b"}]"#,
        );
        assert_eq!(
            escaped,
            r#"[{"op":"add","path":"/50%25","value":{"k":"100%","n":1.0}},{"op":"replace","path":"/a","value":null},{"op":"remove","path":"/b"}]"#
        );
        assert_eq!(for_opa("{\"%\":1}"), "{\"%\":1}");
    }
}
