//! Reading JSON so that an error says where it is.

use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::Problem;

/// Parses a request body, which is an object. Malformed JSON and wrong types are both 422, as in OPAL
/// (`spec/opal-protocol.md` §2), with the place and the reason.
///
/// # Errors
/// 422 with the path of the member that is wrong, for example
/// `entries[0].save_method: unknown variant …`.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    read(body, serde_json::Error::to_string)
}

/// The same for a body that may hold what nobody is to read: no error repeats what was read.
///
/// # Errors
/// 422 with the path of the member that is wrong, for example `value: something else than a string …`.
pub fn parse_confidential<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    read(body, reason)
}

fn read<T: DeserializeOwned>(
    body: &[u8],
    said: impl Fn(&serde_json::Error) -> String,
) -> Result<T, Problem> {
    // serde would also fill a struct from an array, by position.
    if body.trim_ascii_start().first().is_some_and(|&byte| byte != b'{') {
        return Err(Problem::invalid("the body is not valid JSON, or not an object: give {…}"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            Category::Data if path == "." => Problem::invalid(said(&inner)),
            Category::Data => Problem::invalid(format!("{path}: {}", said(&inner))),
            Category::Io | Category::Syntax | Category::Eof => not_json(&inner),
        }
    })?;
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// What is wrong with a text, for a log: without what was read, which may be a credential.
#[must_use]
pub fn reason(error: &serde_json::Error) -> String {
    let said = error.to_string();
    if error.classify() != Category::Data {
        return said;
    }
    // serde quotes a value that it did not expect before it says what it did.
    let expected = said.rsplit_once(", expected ").map(|(_, expected)| expected);
    match expected {
        Some(expected) => format!("something else than {expected}"),
        None if said.starts_with("missing field") || said.starts_with("duplicate field") => said,
        None => format!("it has the wrong form at line {} column {}", error.line(), error.column()),
    }
}

/// Levels of arrays and objects in a JSON text.
#[must_use]
pub fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::invalid(format!("the body is not valid JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Outer {
        #[expect(dead_code, reason = "only its type matters here")]
        inner: Vec<u8>,
    }

    #[test]
    fn an_error_names_the_place() {
        let problem = parse::<Outer>(br#"{"inner":[1,"x"]}"#).unwrap_err();
        assert_eq!(problem.status, 422);
        assert!(problem.detail.starts_with("inner[1]: invalid type: string"), "{problem}");
    }

    #[test]
    fn an_error_about_a_confidential_body_names_the_place_and_repeats_nothing() {
        for body in [&br#"{"inner":[1,"s3cret"]}"#[..], br#"{"inner":[1,531531]}"#] {
            let problem = parse_confidential::<Outer>(body).unwrap_err();
            assert!(problem.detail.starts_with("inner[1]: something else than u8"), "{problem}");
            assert!(!problem.detail.contains("s3cret") && !problem.detail.contains("531"));
        }
        let problem = parse_confidential::<Outer>(br#"{"s3cret":1}"#).unwrap_err();
        assert_eq!(problem.detail, "missing field `inner` at line 1 column 12");
    }

    #[test]
    fn a_reason_for_a_log_has_nothing_of_what_was_read() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only its type matters here")]
        struct Read {
            list: Vec<u8>,
            method: crate::SaveMethod,
        }
        for (text, words) in [
            (r#"{"list":"s3cret, expected it"}"#, "something else than a sequence at line 1"),
            (r#"{"list":[],"method":"s3cret"}"#, "something else than `PUT` or `PATCH`"),
            (r#"{"list":[531531]}"#, "something else than u8"),
            (r#"{"list":[]}"#, "missing field `method`"),
            (r#"{"list":"s3cret"#, "EOF"),
        ] {
            let reason = reason(&serde_json::from_str::<Read>(text).unwrap_err());
            assert!(reason.contains(words), "{text}: {reason}");
            assert!(!reason.contains("s3cret") && !reason.contains("531"), "{reason}");
        }
    }

    #[test]
    fn depth_counts_levels_and_not_what_strings_hold() {
        for (text, levels) in
            [("1", 0), ("[]", 1), (r#"{"a":[{}],"b":[]}"#, 3), (r#"["[{\"["]"#, 1)]
        {
            assert_eq!(depth(text), levels, "{text}");
        }
    }

    #[test]
    fn malformed_json_and_trailing_text_are_refused() {
        for body in [&b"{"[..], b"", b"{\"inner\":[]} x", b"\xff"] {
            let problem = parse::<Outer>(body).unwrap_err();
            assert!(problem.detail.starts_with("the body is not valid JSON"), "{problem}");
        }
    }
}
