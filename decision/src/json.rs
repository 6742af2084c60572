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

/// The text of a value, as OPA writes it, without a final newline. None for what is too large, or
/// has no JSON form.
#[must_use]
pub fn to_json(value: &Value) -> Option<String> {
    written(&AsOpa(value), Style::Compact, MAX_ANSWER_BYTES).ok()
}

/// JSON as OPA has it, without a final newline.
///
/// # Errors
/// It would have more than so many bytes, or has no JSON form, as a number without end.
pub(crate) fn written(
    body: &(impl Serialize + ?Sized),
    style: Style,
    most: usize,
) -> Result<String, String> {
    let mut text = Limited { text: Vec::new(), most };
    let done = match style {
        Style::Compact => serde_json::to_writer(&mut text, body),
        Style::Pretty => serde_json::to_writer_pretty(&mut text, body),
    };
    done.map_err(|error| match error.is_io() {
        true => format!("the answer has more than {most} bytes"),
        false => format!("the answer has no JSON form: {error}"),
    })?;
    let text = String::from_utf8(text.text).map_err(|error| error.to_string())?;
    Ok(escape_as_go(text))
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
        let refused = written(&AsOpa(&doubled), Style::Compact, 1_000).unwrap_err();
        assert_eq!(refused, "the answer has more than 1000 bytes");
        let pair = Value::from(vec![Value::from(1), Value::from("<")]);
        let text = r#"[1,"\u003c"]"#;
        assert_eq!(written(&AsOpa(&pair), Style::Compact, 7).as_deref(), Ok(text));
        assert!(written(&AsOpa(&pair), Style::Compact, 6).is_err());
    }
}
