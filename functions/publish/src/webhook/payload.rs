//! What of a webhook's body is looked at: a body is large, a stranger may have sent it, and little
//! of it matters.

use std::fmt;

use protocol::Problem;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Bytes of a member that is looked into. As values it is many times as large.
const MAX_MEMBER_BYTES: usize = 256 << 10;

/// The members of a body that have one of these names.
///
/// # Errors
/// 400 for what is no JSON object.
pub(super) fn read(body: &[u8], names: &[&str]) -> Result<Value, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read =
        json.deserialize_map(Members(names)).and_then(|members| json.end().map(|()| members));
    read.map(Value::Object).map_err(|_| {
        Problem::new(400, "the body is no JSON object; have the webhook send application/json")
    })
}

struct Members<'n>(&'n [&'n str]);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if !self.0.contains(&name.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let text = map.next_value::<Box<RawValue>>()?;
            if text.get().len() <= MAX_MEMBER_BYTES {
                let value = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
                members.insert(name, value);
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_body_only_what_is_named_is_kept() {
        let body = br#"{"ref":"refs/heads/main","commits":[{"id":1}],"repository":{"url":"u"}}"#;
        let read = read(body, &["ref", "repository"]).unwrap();
        assert_eq!(read, json!({"ref": "refs/heads/main", "repository": {"url": "u"}}));
    }

    #[test]
    fn a_member_that_is_large_is_left_out_and_what_is_no_object_is_refused() {
        let body = format!(r#"{{"ref":[{}0],"repository":{{}}}}"#, "0,".repeat(MAX_MEMBER_BYTES));
        assert_eq!(
            read(body.as_bytes(), &["ref", "repository"]).unwrap(),
            json!({"repository": {}})
        );
        for body in ["", "[]", "1", "{\"ref\":}", "{} {}", "<html>"] {
            assert_eq!(read(body.as_bytes(), &["ref"]).unwrap_err().status, 400, "{body}");
        }
    }
}
