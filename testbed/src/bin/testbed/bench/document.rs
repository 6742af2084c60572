//! A document that is large in the way that such documents are: many small objects by key.

use serde_json::{Map, Value, json};

/// Keys of a document of ten million bytes.
pub(super) const TEN_MEGABYTES: usize = 114_000;

/// `{"user-000000": {"name": …, "roles": […], "level": …}, …}`, almost 90 bytes a key.
pub(super) fn large(keys: usize) -> Value {
    let entry = |number: usize| {
        let key = format!("user-{number:06}");
        let name = format!("Somebody with number {number}");
        let roles = ["viewer", if number.is_multiple_of(10) { "editor" } else { "guest" }];
        (key, json!({"name": name, "roles": roles, "level": number % 7}))
    };
    Value::Object((0..keys).map(entry).collect::<Map<_, _>>())
}
