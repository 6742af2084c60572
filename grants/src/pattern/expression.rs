//! What of a pattern is a regular expression, with limits.
//!
//! The engine takes time in the length of the text, so no expression is a catastrophe in time; the
//! limits are for memory. Its dialect is that of Rust's `regex`, in which Go's expressions mean the
//! same but for classes: there `[` and `&&` in a class mean something. `\d`, `\w`, `\s` and `\b` are
//! made to know ASCII alone, as in Go.

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled expression: enough for each that a person writes.
const MAX_BYTES: usize = 64 << 10;
/// Groups in groups.
const MAX_DEPTH: u32 = 32;
/// What is after a backslash, and what Go understands by it.
const ASCII: [(char, &str); 8] = [
    ('d', "[0-9]"),
    ('D', "[^0-9]"),
    ('w', "[0-9A-Za-z_]"),
    ('W', "[^0-9A-Za-z_]"),
    ('s', r"[\t\n\f\r ]"),
    ('S', r"[^\t\n\f\r ]"),
    ('b', r"(?-u:\b)"),
    ('B', r"(?-u:\B)"),
];

/// Casbin's `keyMatch2`: `/*` and `:name` are replaced, in this order, all else is an expression.
pub(super) fn key_match_2(pattern: &str) -> Result<Box<Regex>, String> {
    let starred = pattern.replace("/*", "/.*");
    let mut named = String::with_capacity(starred.len());
    for (number, segment) in starred.split('/').enumerate() {
        if number > 0 {
            named.push('/');
        }
        match segment.split_once(':') {
            Some((before, name)) if !name.is_empty() => {
                named.push_str(before);
                named.push_str("[^/]+");
            }
            _ => named.push_str(segment),
        }
    }
    compile(&named)
}

/// An expression that matches whole texts.
pub(super) fn compile(expression: &str) -> Result<Box<Regex>, String> {
    let expression = ascii(expression);
    // By itself first, or `a)|(b` would be one.
    let alone = build(&expression)?;
    drop(alone);
    build(&format!(r"\A(?:{expression})\z")).map(Box::new)
}

fn build(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression)
        .size_limit(MAX_BYTES)
        .dfa_size_limit(MAX_BYTES)
        .nest_limit(MAX_DEPTH)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "the expression is too large: repeat less, or write several patterns".to_owned()
            }
            error => {
                let said = error.to_string();
                // What the engine prints before that is the expression, on several lines.
                let why = said.rsplit("error: ").next().unwrap_or_default();
                format!(
                    "it is no regular expression ({}): write a `\\` before a character that is \
                     meant as it is, or say \"path_syntax\":\"safe\"",
                    why.trim()
                )
            }
        })
}

fn ascii(expression: &str) -> String {
    let mut written = String::with_capacity(expression.len());
    let mut rest = expression.chars();
    while let Some(character) = rest.next() {
        let escaped = if character == '\\' { rest.next() } else { None };
        match escaped {
            None => written.push(character),
            Some(escaped) => match ASCII.iter().find(|(known, _)| *known == escaped) {
                Some((_, class)) => written.push_str(class),
                None => written.extend([character, escaped]),
            },
        }
    }
    written
}
