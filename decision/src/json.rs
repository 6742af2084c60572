//! Values as OPA writes them. The engine's own order of things is not OPA's: there, members are in
//! the order of their names as texts, and objects come before sets.

use std::borrow::Cow;
use std::io;

use regorus::Value;
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::MAX_ANSWER_BYTES;
use crate::reply::{Style, escape_as_go};

/// A value, to be written as OPA writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsOpa<'v>(pub(crate) &'v Value);

/// The text of a value, as OPA writes it, without a final newline. None for what is too large.
#[must_use]
pub fn to_json(value: &Value) -> Option<String> {
    written(&AsOpa(value), Style::Compact, MAX_ANSWER_BYTES)
}

/// JSON as OPA has it, without a final newline. None if that is more than so many bytes: it is not
/// made then.
pub(crate) fn written(
    body: &(impl Serialize + ?Sized),
    style: Style,
    most: usize,
) -> Option<String> {
    let mut text = Limited { text: Vec::new(), most };
    let done = match style {
        Style::Compact => serde_json::to_writer(&mut text, body),
        Style::Pretty => serde_json::to_writer_pretty(&mut text, body),
    };
    done.ok()?;
    String::from_utf8(text.text).ok().map(escape_as_go)
}

/// A text that has an end.
struct Limited {
    text: Vec<u8>,
    most: usize,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len().saturating_add(bytes.len()) > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_has_others_many_times_over_is_not_written_out() {
        // A text of 2^40 elements, of forty values.
        let doubled =
            (0..40).fold(Value::from(1), |value, _| Value::from(vec![value.clone(), value]));
        assert_eq!(written(&AsOpa(&doubled), Style::Compact, 1_000), None);
        let pair = Value::from(vec![Value::from(1), Value::from("<")]);
        let text = r#"[1,"\u003c"]"#;
        assert_eq!(written(&AsOpa(&pair), Style::Compact, 7).as_deref(), Some(text));
        assert_eq!(written(&AsOpa(&pair), Style::Compact, 6), None);
    }
}
