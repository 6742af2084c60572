//! JSON in the one form over which OPA computes hashes: members sorted, no spaces, no escape that
//! is not necessary (`spec/opa-and-grants.md` §2.4).
//!
//! Numbers stay as they were written. So a text that is written here is its own canonical form,
//! and the same data is the same bytes however it came to be.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::document::Node;

/// Writes a value.
pub(super) fn write(node: &Node, out: &mut String) {
    match node {
        Node::Text(text) => write_text(text.get(), out),
        Node::Object(members) => write_object(members, out, write),
        Node::Array(elements) => write_array(elements, out, write),
    }
}

fn write_text(text: &str, out: &mut String) {
    let raw = |value: &&RawValue, out: &mut String| write_text(value.get(), out);
    // What a stranger wrote may hold half of a character, which cannot be read: it stays as it is.
    match text.as_bytes().first() {
        Some(b'{') => match serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
            Ok(members) => write_object(&members, out, raw),
            Err(_) => out.push_str(text),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(elements) => write_array(&elements, out, raw),
            Err(_) => out.push_str(text),
        },
        Some(b'"') if text.contains('\\') => match serde_json::from_str::<String>(text) {
            Ok(plain) => write_string(&plain, out),
            Err(_) => out.push_str(text),
        },
        Some(b'"') => write_quoted(text, out),
        _ => out.push_str(text),
    }
}

fn write_object<N>(
    members: &BTreeMap<String, N>,
    out: &mut String,
    write: impl Fn(&N, &mut String),
) {
    out.push('{');
    for (number, (name, value)) in members.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        write_string(name, out);
        out.push(':');
        write(value, out);
    }
    out.push('}');
}

fn write_array<N>(elements: &[N], out: &mut String, write: impl Fn(&N, &mut String)) {
    out.push('[');
    for (number, value) in elements.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        write(value, out);
    }
    out.push(']');
}

fn write_string(text: &str, out: &mut String) {
    // A string cannot fail to be written.
    write_quoted(&serde_json::to_string(text).unwrap_or_default(), out);
}

/// A string as JSON. Go writes two characters as escapes that JSON allows as they are.
fn write_quoted(text: &str, out: &mut String) {
    if text.contains(['\u{2028}', '\u{2029}']) {
        out.push_str(&text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"));
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        let mut out = String::new();
        write(&Node::Text(serde_json::from_str(text).unwrap()), &mut out);
        out
    }

    #[test]
    fn members_are_sorted_and_nothing_is_there_that_need_not_be() {
        assert_eq!(
            canonical(" { \"b\" : [ 1 , { } , [ ] ] , \"a\" : null, \"\\u0061b\":\"<&>\" } "),
            r#"{"a":null,"ab":"<&>","b":[1,{},[]]}"#
        );
        assert_eq!(canonical(r#"{"a":1,"a":2}"#), r#"{"a":2}"#);
    }

    #[test]
    fn numbers_stay_as_they_were_written() {
        let text = "[1.0,1e3,-0,123456789012345678901234567890,0.1]";
        assert_eq!(canonical(text), text);
    }

    #[test]
    fn strings_have_the_escapes_that_go_writes() {
        assert_eq!(
            canonical(r#""\u00e9\/\"\\\b\f\n\r\t\u0001\u007f""#),
            "\"é/\\\"\\\\\\b\\f\\n\\r\\t\\u0001\u{7f}\""
        );
        assert_eq!(canonical("\"\u{2028}\""), r#""\u2028""#);
        assert_eq!(canonical(r#"{"\u2029":"\u2028x\n"}"#), r#"{"\u2029":"\u2028x\n"}"#);
    }
}
