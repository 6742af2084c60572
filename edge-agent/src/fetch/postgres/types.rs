//! A value as PostgreSQL writes it becomes JSON by its type, in one way for everything that reads
//! from PostgreSQL: what the server's own `to_jsonb` makes of it, with every digit kept.
//!
//! | type | JSON |
//! |---|---|
//! | integers, `float`, `numeric` | the number with the digits it has; `NaN` and `Infinity` as text |
//! | `bool` | `true`, `false` |
//! | `json`, `jsonb` | the document itself |
//! | `timestamp`, `timestamptz` | ISO 8601: `2024-05-01T12:30:00.5`, `2024-05-01T12:30:00.5+00:00` |
//! | `date`, `time`, `timetz`, `interval` | text: `2024-05-01`, `12:30:00`, `12:30:00+00`, `1 day 02:00:00` |
//! | `bytea` | text in hexadecimal digits after `\x` |
//! | arrays | arrays, nested as theirs are |
//! | rows and composite types | objects by field name |
//! | domains | as the type they are made of |
//! | everything else (`text`, `uuid`, enums, ranges, `inet`, …) | text as PostgreSQL writes it |
//!
//! It holds for the text of a session with `DateStyle` ISO, `bytea_output` hex and
//! `extra_float_digits` 1 ([`SETTINGS`]).

use serde::de::IgnoredAny;
use tokio_postgres::types::{Kind, Type};

use crate::fetch::rows::{write_number, write_string};

/// What a session must have set for its text to be read here; `TimeZone` so that one moment is
/// always the same text.
pub const SETTINGS: [(&str, &str); 5] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
];

/// Text that does not have the form of its type; a server that is none wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not have the form of its type")]
pub struct Malformed;

/// How the text of a type is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Digits.
    Number,
    /// `t` or `f`.
    Bool,
    /// JSON.
    Json,
    /// A date and a time, perhaps with an offset.
    Timestamp,
    /// `{…}` of elements of this form, parted by this character.
    Array(Box<Form>, char),
    /// `(…)` of fields of these names and forms.
    Composite(Vec<(String, Form)>),
    /// Anything else.
    Text,
}

impl Form {
    /// The form of a type's text.
    #[must_use]
    pub fn of(kind: &Type) -> Self {
        match kind.kind() {
            Kind::Array(element) if *element == Type::BOX => Self::Array(Self::Text.into(), ';'),
            Kind::Array(element) => Self::Array(Self::of(element).into(), ','),
            Kind::Domain(base) => Self::of(base),
            Kind::Composite(fields) => Self::Composite(
                fields
                    .iter()
                    .map(|field| (field.name().to_owned(), Self::of(field.type_())))
                    .collect(),
            ),
            _ => Self::of_simple(kind),
        }
    }

    fn of_simple(kind: &Type) -> Self {
        match *kind {
            Type::INT2 | Type::INT4 | Type::INT8 => Self::Number,
            Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => Self::Number,
            Type::BOOL => Self::Bool,
            Type::JSON | Type::JSONB => Self::Json,
            Type::TIMESTAMP | Type::TIMESTAMPTZ => Self::Timestamp,
            _ => Self::Text,
        }
    }

    /// Appends a value, `None` for NULL, to a JSON text.
    ///
    /// # Errors
    /// The value does not have this form.
    pub fn write(&self, text: &mut String, value: Option<&str>) -> Result<(), Malformed> {
        let Some(value) = value else {
            text.push_str("null");
            return Ok(());
        };
        match self {
            Self::Number => write_number(text, value),
            Self::Bool => text.push_str(match value {
                "t" => "true",
                "f" => "false",
                _ => return Err(Malformed),
            }),
            Self::Json => {
                // What is not JSON here would not stay inside of this value.
                serde_json::from_str::<IgnoredAny>(value).map_err(|_| Malformed)?;
                text.push_str(value);
            }
            Self::Timestamp => write_timestamp(text, value),
            Self::Array(element, separator) => write_array(text, element, *separator, value)?,
            Self::Composite(fields) => write_composite(text, fields, value)?,
            Self::Text => write_string(text, value),
        }
        Ok(())
    }
}

/// `2024-05-01 12:30:00.5+02 BC` as `2024-05-01T12:30:00.5+02:00 BC`; `infinity` as it is.
fn write_timestamp(text: &mut String, value: &str) {
    let Some((date, time)) = value.split_once(' ') else { return write_string(text, value) };
    let (time, era) = time.split_once(' ').map_or((time, ""), |(time, era)| (time, era));
    let mut iso = String::with_capacity(value.len() + 3);
    iso.push_str(date);
    iso.push('T');
    iso.push_str(time);
    // An offset of whole hours is written without its minutes.
    let offset = time.rsplit_once(['+', '-']).map(|(_, offset)| offset);
    if offset.is_some_and(|offset| !offset.contains(':')) {
        iso.push_str(":00");
    }
    if !era.is_empty() {
        iso.push(' ');
        iso.push_str(era);
    }
    write_string(text, &iso);
}

/// `{1,NULL,"a\"b",{…}}`, with bounds before it where they are not the usual ones.
fn write_array(
    text: &mut String,
    element: &Form,
    separator: char,
    value: &str,
) -> Result<(), Malformed> {
    let value = match value.split_once('=') {
        Some((bounds, array)) if bounds.starts_with('[') => array,
        _ => value,
    };
    if !value.starts_with('{') {
        // `int2vector` and its like are arrays that are not written as ones.
        write_string(text, value);
        return Ok(());
    }
    let mut rest = Cursor { rest: value };
    let mut item = String::new();
    let mut depth = 0_usize;
    // True where a value may come: after `{` and after a separator.
    let mut expected = true;
    loop {
        match rest.peek().ok_or(Malformed)? {
            '{' if expected => {
                rest.take();
                text.push('[');
                depth += 1;
                continue;
            }
            '}' if text.ends_with(',') => return Err(Malformed),
            '}' => {
                rest.take();
                text.push(']');
                depth = depth.checked_sub(1).ok_or(Malformed)?;
                expected = false;
                if depth == 0 {
                    return if rest.peek().is_none() { Ok(()) } else { Err(Malformed) };
                }
                continue;
            }
            found if found == separator && !expected => {
                rest.take();
                text.push(',');
                expected = true;
                continue;
            }
            _ if !expected => return Err(Malformed),
            _ => {}
        }
        let quoted = rest.item(&mut item, &[separator, '}'])?;
        let is_null = !quoted && item == "NULL";
        element.write(text, (!is_null).then_some(item.as_str()))?;
        expected = false;
    }
}

/// `(1,,"a b","""")`: NULL is nothing at all.
fn write_composite(
    text: &mut String,
    fields: &[(String, Form)],
    value: &str,
) -> Result<(), Malformed> {
    let mut rest = Cursor { rest: value };
    let mut item = String::new();
    if rest.take() != Some('(') {
        return Err(Malformed);
    }
    text.push('{');
    for (index, (name, form)) in fields.iter().enumerate() {
        if index > 0 {
            if rest.take() != Some(',') {
                return Err(Malformed);
            }
            text.push(',');
        }
        write_string(text, name);
        text.push(':');
        let quoted = rest.item(&mut item, &[',', ')'])?;
        let is_null = !quoted && item.is_empty();
        form.write(text, (!is_null).then_some(item.as_str()))?;
    }
    text.push('}');
    if rest.take() == Some(')') && rest.peek().is_none() { Ok(()) } else { Err(Malformed) }
}

/// What is still to be read of an array or a row.
struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    /// Reads an item up to one of `ends`, without the quotes and backslashes that keep its own
    /// ones apart; says whether any of it was quoted.
    fn item(&mut self, item: &mut String, ends: &[char]) -> Result<bool, Malformed> {
        item.clear();
        let (mut inside, mut quoted) = (false, false);
        loop {
            let next = self.peek().ok_or(Malformed)?;
            if !inside && ends.contains(&next) {
                return Ok(quoted);
            }
            self.take();
            match next {
                '\\' => item.push(self.take().ok_or(Malformed)?),
                // Rows double a quote instead of escaping it.
                '"' if inside && self.peek() == Some('"') => {
                    self.take();
                    item.push('"');
                }
                '"' => {
                    inside = !inside;
                    quoted = true;
                }
                other => item.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(kind: &Type, value: &str) -> Result<String, Malformed> {
        written(&Form::of(kind), value)
    }

    fn written(form: &Form, value: &str) -> Result<String, Malformed> {
        let mut text = String::new();
        form.write(&mut text, Some(value))?;
        serde_json::from_str::<IgnoredAny>(&text).unwrap_or_else(|_| panic!("{text}"));
        Ok(text)
    }

    #[test]
    fn a_value_becomes_json_by_its_type() {
        for (kind, value, expected) in [
            (Type::INT8, "-9223372036854775808", "-9223372036854775808"),
            (Type::NUMERIC, "0.10000000000000000000001", "0.10000000000000000000001"),
            (Type::NUMERIC, "NaN", "\"NaN\""),
            (Type::FLOAT8, "1e+20", "1e+20"),
            (Type::FLOAT8, "-Infinity", "\"-Infinity\""),
            (Type::BOOL, "t", "true"),
            (Type::JSONB, r#"{"a": [1.0]}"#, r#"{"a": [1.0]}"#),
            (Type::TEXT, "a\"b", r#""a\"b""#),
            (Type::BYTEA, r"\xdead", r#""\\xdead""#),
            (
                Type::UUID,
                "00000000-0000-0000-0000-000000000001",
                "\"00000000-0000-0000-0000-000000000001\"",
            ),
            (Type::TIMESTAMP, "2024-05-01 12:30:00.5", "\"2024-05-01T12:30:00.5\""),
            (Type::TIMESTAMPTZ, "2024-05-01 12:30:00+00", "\"2024-05-01T12:30:00+00:00\""),
            (Type::TIMESTAMPTZ, "2024-05-01 12:30:00+05:30", "\"2024-05-01T12:30:00+05:30\""),
            (Type::TIMESTAMPTZ, "0044-03-15 12:00:00-01 BC", "\"0044-03-15T12:00:00-01:00 BC\""),
            (Type::TIMESTAMP, "infinity", "\"infinity\""),
        ] {
            assert_eq!(json(&kind, value).as_deref(), Ok(expected), "{kind} {value}");
        }
    }

    #[test]
    fn arrays_are_arrays_with_nulls_quotes_bounds_and_dimensions() {
        for (kind, value, expected) in [
            (Type::INT4_ARRAY, "{}", "[]"),
            (Type::INT4_ARRAY, "{1,NULL,3}", "[1,null,3]"),
            (Type::INT4_ARRAY, "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
            (Type::INT4_ARRAY, "[0:1]={1,2}", "[1,2]"),
            (Type::BOOL_ARRAY, "{t,f}", "[true,false]"),
            (
                Type::TEXT_ARRAY,
                r#"{a,"b c","NULL","","x\"y\\z","{","a=b"}"#,
                r#"["a","b c","NULL","","x\"y\\z","{","a=b"]"#,
            ),
            (Type::TEXT_ARRAY, "{null,NULL}", r#"["null",null]"#),
            (Type::JSONB_ARRAY, r#"{"{\"a\": [1, 2]}",NULL,3}"#, r#"[{"a": [1, 2]},null,3]"#),
            (Type::TIMESTAMP_ARRAY, r#"{"2024-05-01 00:00:00"}"#, r#"["2024-05-01T00:00:00"]"#),
            (Type::BOX_ARRAY, "{(1,1),(0,0);(2,2),(1,1)}", r#"["(1,1),(0,0)","(2,2),(1,1)"]"#),
            (Type::INT2_VECTOR, "1 2", r#""1 2""#),
        ] {
            assert_eq!(json(&kind, value).as_deref(), Ok(expected), "{kind} {value}");
        }
    }

    #[test]
    fn a_row_is_an_object_by_field_name() {
        let inner = Form::Composite(vec![("n".to_owned(), Form::Number)]);
        let form = Form::Composite(vec![
            ("id".to_owned(), Form::Number),
            ("name".to_owned(), Form::Text),
            ("tags".to_owned(), Form::Array(Form::Text.into(), ',')),
            ("inner".to_owned(), inner.clone()),
        ]);
        for (value, expected) in [
            (r#"(1,x,"{a,b}",)"#, r#"{"id":1,"name":"x","tags":["a","b"],"inner":null}"#),
            (r#"(,"",,"(2)")"#, r#"{"id":null,"name":"","tags":null,"inner":{"n":2}}"#),
            (
                r#"(1,"a ""b"" \\ (c)","{""a b""}","(7)")"#,
                r#"{"id":1,"name":"a \"b\" \\ (c)","tags":["a b"],"inner":{"n":7}}"#,
            ),
        ] {
            assert_eq!(written(&form, value).as_deref(), Ok(expected), "{value}");
        }
        // A server always quotes a row inside of a row.
        assert_eq!(written(&form, "(1,x,,(2))"), Err(Malformed));
        let rows = Form::Array(inner.into(), ',');
        assert_eq!(written(&rows, r#"{"(1)",NULL}"#).as_deref(), Ok(r#"[{"n":1},null]"#));
    }

    #[test]
    fn text_of_another_form_is_an_error_and_never_ends_the_value_early() {
        for (kind, value) in [
            (Type::BOOL, "true"),
            (Type::JSON, "1],[2"),
            (Type::JSON, ""),
            (Type::INT4_ARRAY, "{1"),
            (Type::INT4_ARRAY, "{1}}"),
            (Type::INT4_ARRAY, "{1,}"),
            (Type::INT4_ARRAY, "{{1}2}"),
            (Type::INT4_ARRAY, "{\"1"),
            (Type::INT4_ARRAY, "{1\\"),
        ] {
            assert_eq!(json(&kind, value), Err(Malformed), "{kind} {value}");
        }
        // No number in JSON stays a string.
        assert_eq!(json(&Type::INT4, "1,2").as_deref(), Ok("\"1,2\""));
    }
}
