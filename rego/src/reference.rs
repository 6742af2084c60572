//! Paths of documents as Rego writes them.

use std::fmt::Write as _;

use regorus::Value;
use regorus::unstable::Expr;

/// `data["a"]["b"][0]`: what to ask an engine for the document at a path.
#[must_use]
pub fn query(path: &[String]) -> String {
    let mut query = String::from("data");
    for segment in path {
        let written = match segment.parse::<i64>() {
            Ok(number) => write!(query, "[{number}]"),
            Err(_) => write!(query, "[{}]", serde_json::Value::from(segment.as_str())),
        };
        // Writing to a string does not fail.
        let _ = written;
    }
    query
}

/// The leading segments of a reference that are known without evaluating it, and whether
/// they are all of it. Empty if it does not begin with a name.
pub(crate) fn fixed_path(refr: &Expr) -> (Vec<String>, bool) {
    let (parent, segment) = match refr {
        Expr::Var { value, .. } => return (text(value).into_iter().collect(), true),
        Expr::RefDot { refr, field: (_, value), .. } => (refr, text(value)),
        Expr::RefBrack { refr, index, .. } => match index.as_ref() {
            Expr::String { value, .. } | Expr::RawString { value, .. } => (refr, text(value)),
            _ => (refr, None),
        },
        _ => return (Vec::new(), false),
    };
    let (mut path, whole) = fixed_path(parent);
    match segment {
        Some(segment) if whole => {
            path.push(segment);
            (path, true)
        }
        _ => (path, false),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_string().ok().map(ToString::to_string)
}
