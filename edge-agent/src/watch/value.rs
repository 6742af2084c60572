//! A value's text, as PostgreSQL sends it, becomes JSON.
//!
//! Numbers keep all their digits; what JSON has no number for (`NaN`, `Infinity`) is a string.
//! `json` and `jsonb` are what they are, arrays are arrays, everything else is a string as
//! PostgreSQL writes it.

use tokio_postgres::types::{Kind, Type};

use super::chunk::quoted;

/// How a type's values look as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `t` or `f`.
    Truth,
    /// Digits.
    Number,
    /// JSON already.
    Json,
    /// A list of such values, between which there are commas.
    List(Box<Shape>),
    /// Text.
    Text,
}

impl Shape {
    /// The shape of a type that every PostgreSQL has; none if this is not one.
    pub(crate) fn of(kind: u32) -> Option<Self> {
        Type::from_oid(kind).map(|kind| Self::known(&kind))
    }

    fn known(kind: &Type) -> Self {
        match kind.kind() {
            Kind::Array(element) if *element != Type::BOX => {
                Self::List(Box::new(Self::known(element)))
            }
            _ => match *kind {
                Type::BOOL => Self::Truth,
                Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => Self::Number,
                Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => Self::Number,
                Type::JSON | Type::JSONB => Self::Json,
                _ => Self::Text,
            },
        }
    }

    /// Adds the JSON of a value.
    pub(crate) fn write(&self, text: &str, out: &mut String) {
        match self {
            Self::Truth => out.push_str(if text.starts_with('t') { "true" } else { "false" }),
            Self::Number if is_number(text) => out.push_str(text),
            Self::Json if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() => {
                out.push_str(text.trim());
            }
            Self::List(element) => {
                let mut list = String::new();
                match array(&mut Array(text), element, &mut list) {
                    Some(()) => out.push_str(&list),
                    None => out.push_str(&quoted(text)),
                }
            }
            Self::Number | Self::Json | Self::Text => out.push_str(&quoted(text)),
        }
    }
}

/// True if JSON reads the text as a number. PostgreSQL writes no `+`, no leading zeros and no
/// bare dots.
fn is_number(text: &str) -> bool {
    text.ends_with(|last: char| last.is_ascii_digit())
        && text.trim_start_matches('-').starts_with(|first: char| first.is_ascii_digit())
}

/// What is left of an array's text.
struct Array<'t>(&'t str);

impl Array<'_> {
    fn eat(&mut self, character: char) -> bool {
        self.0.strip_prefix(character).map(|rest| self.0 = rest).is_some()
    }
}

/// Reads `{…}` with what is in it; none if that is not the text of an array.
fn array(text: &mut Array<'_>, element: &Shape, out: &mut String) -> Option<()> {
    // `[0:2]={…}`: where the first index is another one than usual.
    if text.0.starts_with('[') {
        text.0 = text.0.split_once('=')?.1;
    }
    if !text.eat('{') {
        return None;
    }
    out.push('[');
    let mut is_first = true;
    while !text.eat('}') {
        if !is_first {
            out.push(',');
            if !text.eat(',') {
                return None;
            }
        }
        is_first = false;
        if text.0.starts_with('{') {
            array(text, element, out)?;
        } else if text.eat('"') {
            element.write(&in_quotes(text)?, out);
        } else {
            let (bare, _) = text.0.split_once([',', '}'])?;
            text.0 = text.0.strip_prefix(bare)?;
            if bare == "NULL" { out.push_str("null") } else { element.write(bare, out) }
        }
    }
    out.push(']');
    Some(())
}

/// The rest of a quoted element.
fn in_quotes(text: &mut Array<'_>) -> Option<String> {
    let (mut inside, mut characters) = (String::new(), text.0.chars());
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => inside.push(characters.next()?),
            other => inside.push(other),
        }
    }
    text.0 = characters.as_str();
    Some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json() {
        for (kind, text, expected) in [
            (Type::BOOL, "t", "true"),
            (Type::BOOL, "f", "false"),
            (Type::INT4, "-7", "-7"),
            (Type::NUMERIC, "12345678901234567890.10", "12345678901234567890.10"),
            (Type::NUMERIC, "NaN", r#""NaN""#),
            (Type::FLOAT8, "-Infinity", r#""-Infinity""#),
            (Type::FLOAT8, "1e+20", "1e+20"),
            (Type::TEXT, "a\"b\n", r#""a\"b\n""#),
            (Type::TEXT, "7", r#""7""#),
            (Type::JSONB, r#"{"a": [1.0]}"#, r#"{"a": [1.0]}"#),
            (Type::TIMESTAMPTZ, "2024-01-02 03:04:05+00", r#""2024-01-02 03:04:05+00""#),
            (
                Type::UUID,
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#,
            ),
            (Type::INT4_ARRAY, "{1,NULL,3}", "[1,null,3]"),
            (Type::INT4_ARRAY, "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
            (Type::INT4_ARRAY, "[0:1]={1,2}", "[1,2]"),
            (Type::TEXT_ARRAY, "{}", "[]"),
            (Type::TEXT_ARRAY, r#"{a,"NULL","b\"c\\","d,e}"}"#, r#"["a","NULL","b\"c\\","d,e}"]"#),
            (Type::BOOL_ARRAY, "{t,f}", "[true,false]"),
            (Type::JSONB_ARRAY, r#"{"{\"a\": 1}"}"#, r#"[{"a": 1}]"#),
            (Type::TEXT_ARRAY, "{a", r#""{a""#),
        ] {
            let mut out = String::new();
            Shape::of(kind.oid()).unwrap().write(text, &mut out);
            assert_eq!(out, expected, "{kind} {text}");
            assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
        }
        assert_eq!(Shape::of(999_999), None);
    }
}
