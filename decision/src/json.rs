//! Values as OPA writes them. The engine's own order of things is not OPA's: there, members are in
//! the order of their names as texts, and objects come before sets.

use std::borrow::Cow;

use regorus::Value;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::reply::escape_as_go;

/// A value, to be written as OPA writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsOpa<'v>(pub(crate) &'v Value);

/// The text of a value, as OPA writes it, without a final newline. None for what has no JSON form.
#[must_use]
pub fn to_json(value: &Value) -> Option<String> {
    serde_json::to_string(&AsOpa(value)).ok().map(escape_as_go)
}

impl Serialize for AsOpa<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(AsOpa)),
            Value::Set(items) => {
                let (sets, others): (Vec<_>, Vec<_>) =
                    items.iter().partition(|item| matches!(item, Value::Set(_)));
                serializer.collect_seq(others.into_iter().chain(sets).map(AsOpa))
            }
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                if members.keys().all(|name| matches!(name, Value::String(_))) {
                    for (name, member) in members.iter() {
                        map.serialize_entry(name, &AsOpa(member))?;
                    }
                    return map.end();
                }
                let mut named: Vec<_> = members.iter().map(|(key, it)| (name(key), it)).collect();
                named.sort_by(|left, right| left.0.cmp(&right.0));
                for (name, member) in named {
                    map.serialize_entry(&name, &AsOpa(member))?;
                }
                map.end()
            }
            other => other.serialize(serializer),
        }
    }
}

/// The name of a member whose key is no text.
fn name(key: &Value) -> Cow<'_, str> {
    match key {
        Value::String(name) => Cow::Borrowed(name),
        other => Cow::Owned(serde_json::to_string(&AsOpa(other)).unwrap_or_default()),
    }
}
