//! A reply as JSON.
//!
//! Maps are objects, lists and sets are arrays, numbers keep their digits, strings are strings;
//! bytes that are no text are base64. A reply that is one string must hold a JSON object or
//! array, and becomes it.

use base64ct::{Base64, Encoding as _};
use redis::Value;
use serde_json::value::RawValue;

use crate::json::Json;

/// Why a reply is no data.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("answered nil: Fetched data is empty")]
    Empty,
    #[error("answered a bare value; data is an object or an array, or a string that holds one")]
    Bare,
    #[error("answered a map whose keys are no strings")]
    Keys,
    #[error("answered with an error in the middle of its reply")]
    Error,
    #[error("answered more than the limit of {0} bytes")]
    TooLarge(usize),
}

/// The data of a reply, not longer than `limit`; with `json_values`, strings inside it that are
/// JSON become that JSON.
///
/// # Errors
/// It is none.
pub(super) fn data(reply: Value, json_values: bool, limit: usize) -> Result<Json, Unfit> {
    match reply {
        Value::Nil => Err(Unfit::Empty),
        Value::BulkString(bytes) => document(bytes, limit),
        Value::VerbatimString { text, .. } => document(text.into_bytes(), limit),
        Value::Array(_) | Value::Set(_) | Value::Map(_) => {
            let mut writer = Writer { text: String::new(), json_values, limit };
            writer.value(reply)?;
            Ok(Json::known(writer.text))
        }
        Value::Attribute { data: inner, .. } => data(*inner, json_values, limit),
        _ => Err(Unfit::Bare),
    }
}

fn document(bytes: Vec<u8>, limit: usize) -> Result<Json, Unfit> {
    let value = json(bytes).map_err(|_| Unfit::Bare)?;
    match value.get().as_bytes().first() {
        _ if value.get().len() > limit => Err(Unfit::TooLarge(limit)),
        Some(b'{' | b'[') => Ok(value.into()),
        Some(b'n') => Err(Unfit::Empty),
        _ => Err(Unfit::Bare),
    }
}

/// Text that is JSON, or the bytes back.
fn json(bytes: Vec<u8>) -> Result<Box<RawValue>, Vec<u8>> {
    match serde_json::from_slice::<&RawValue>(&bytes) {
        Ok(value) => Ok(value.to_owned()),
        Err(_) => Err(bytes),
    }
}

struct Writer {
    text: String,
    json_values: bool,
    limit: usize,
}

// === impl Writer ===

impl Writer {
    fn value(&mut self, value: Value) -> Result<(), Unfit> {
        match value {
            Value::Nil => self.text.push_str("null"),
            Value::Int(number) => self.text.push_str(&number.to_string()),
            Value::Boolean(flag) => self.text.push_str(if flag { "true" } else { "false" }),
            Value::Double(number) => self.double(number),
            Value::BigNumber(digits) => self.big(digits),
            Value::BulkString(bytes) => self.bytes(bytes),
            Value::SimpleString(text) | Value::VerbatimString { text, .. } => self.string(&text),
            Value::Okay => self.string("OK"),
            Value::Attribute { data, .. } => self.value(*data)?,
            Value::Array(members) | Value::Set(members) => self.list(members)?,
            Value::Map(members) => self.map(members)?,
            _ => return Err(Unfit::Error),
        }
        if self.text.len() > self.limit { Err(Unfit::TooLarge(self.limit)) } else { Ok(()) }
    }

    fn list(&mut self, members: Vec<Value>) -> Result<(), Unfit> {
        self.text.push('[');
        for (place, member) in members.into_iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            self.value(member)?;
        }
        self.text.push(']');
        Ok(())
    }

    fn map(&mut self, members: Vec<(Value, Value)>) -> Result<(), Unfit> {
        self.text.push('{');
        for (place, (key, member)) in members.into_iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            match key {
                Value::BulkString(bytes) => self.string(&readable(&bytes)),
                Value::SimpleString(text) => self.string(&text),
                Value::Int(number) => self.string(&number.to_string()),
                _ => return Err(Unfit::Keys),
            }
            self.text.push(':');
            self.value(member)?;
        }
        self.text.push('}');
        Ok(())
    }

    fn bytes(&mut self, bytes: Vec<u8>) {
        if self.json_values {
            match json(bytes) {
                Ok(value) => self.text.push_str(value.get()),
                Err(bytes) => self.string(&readable(&bytes)),
            }
        } else {
            self.string(&readable(&bytes));
        }
    }

    /// JSON has no infinity, which scores have.
    fn double(&mut self, number: f64) {
        match serde_json::Number::from_f64(number) {
            Some(number) => self.text.push_str(&number.to_string()),
            None => self.string(&number.to_string()),
        }
    }

    fn big(&mut self, digits: Vec<u8>) {
        match json(digits) {
            Ok(number) => self.text.push_str(number.get()),
            Err(digits) => self.string(&readable(&digits)),
        }
    }

    fn string(&mut self, text: &str) {
        // A string is always JSON.
        self.text.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => Base64::encode_string(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn read(reply: Value, json_values: bool) -> Result<String, Unfit> {
        data(reply, json_values, 100).map(|json| json.get().to_owned())
    }

    #[test]
    fn replies_become_the_json_they_look_like() {
        let list = Value::Array(vec![
            string("a \"b\""),
            Value::Int(-3),
            Value::Nil,
            Value::Double(0.5),
            Value::Double(f64::INFINITY),
            Value::BigNumber(b"123456789012345678901234567890".to_vec()),
            Value::Boolean(true),
            Value::BulkString(vec![0xff, 0]),
        ]);
        let expected =
            r#"["a \"b\"",-3,null,0.5,"inf",123456789012345678901234567890,true,"/wA="]"#;
        assert_eq!(read(list, false), Ok(expected.to_owned()));
        let map = Value::Map(vec![
            (string("k"), string("1")),
            (Value::Int(2), Value::Set(vec![string("m")])),
        ]);
        assert_eq!(read(map.clone(), false), Ok(r#"{"k":"1","2":["m"]}"#.to_owned()));
        assert_eq!(read(map, true), Ok(r#"{"k":1,"2":["m"]}"#.to_owned()));
    }

    #[test]
    fn a_string_is_data_if_it_holds_an_object_or_an_array() {
        assert_eq!(read(string(r#" {"a": 1.50} "#), false), Ok(r#"{"a": 1.50}"#.to_owned()));
        assert_eq!(read(string("[]"), false), Ok("[]".to_owned()));
        for (reply, expected) in [
            (string("12"), Unfit::Bare),
            (string("text"), Unfit::Bare),
            (Value::Int(1), Unfit::Bare),
            (Value::Okay, Unfit::Bare),
            (string("null"), Unfit::Empty),
            (Value::Nil, Unfit::Empty),
        ] {
            assert_eq!(read(reply, true), Err(expected));
        }
    }

    #[test]
    fn more_than_the_limit_is_no_data() {
        let long = || string(&"x".repeat(60));
        let list = Value::Array(vec![long(), long()]);
        assert_eq!(read(list, false), Err(Unfit::TooLarge(100)));
        let text = format!("[\"{}\"]", "x".repeat(100));
        assert_eq!(read(string(&text), false), Err(Unfit::TooLarge(100)));
    }
}
