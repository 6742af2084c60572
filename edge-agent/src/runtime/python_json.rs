//! JSON text as Python's `json.dumps` writes it: what OPAL hashes.

use std::fmt::Write as _;

/// Writes `json`, which is valid JSON, with `, ` and `: ` and in ASCII. Numbers stay as they
/// are; Python would write some of them in another way (`1e2` as `100.0`).
pub(super) fn dumps(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    let (mut in_string, mut escaped) = (false, false);
    for character in json.chars() {
        if !in_string {
            match character {
                ' ' | '\n' | '\r' | '\t' => {}
                ',' => out.push_str(", "),
                ':' => out.push_str(": "),
                other => {
                    in_string = other == '"';
                    out.push(other);
                }
            }
            continue;
        }
        match character {
            _ if escaped => {
                escaped = false;
                out.push(character);
            }
            '\\' => {
                escaped = true;
                out.push(character);
            }
            '"' => {
                in_string = false;
                out.push(character);
            }
            // DEL is ASCII to Python.
            ascii if ascii.is_ascii() => out.push(ascii),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_as_python_writes_it() {
        for (json, python) in [
            ("{}", "{}"),
            ("[ ]", "[]"),
            ("{\"a\":1,\"b\":[1,2.50]}", "{\"a\": 1, \"b\": [1, 2.50]}"),
            ("{\n  \"a , : b\": \"x\\\",:\" }", "{\"a , : b\": \"x\\\",:\"}"),
            ("[\"é世🌻\"]", "[\"\\u00e9\\u4e16\\ud83c\\udf3b\"]"),
        ] {
            assert_eq!(dumps(json), python);
        }
    }
}
