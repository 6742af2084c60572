//! Puts secrets into an address and into settings, and everything else leaves as it is written:
//! no number loses a digit, no member its place.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;

use super::Names;
use super::mask::percent_encoded;
use super::reference::{self, Piece};
use crate::fetch::{FetchError, Source};
use crate::settings::Secret;

/// The member that shapes what was fetched. What is in it ends up in the data.
const TRANSFORM: &str = "config.transform";

type Values = BTreeMap<String, Secret>;

/// The secrets that a source names.
pub(super) fn names(source: &Source) -> Result<Names, FetchError> {
    let mut names = Names::new();
    let mut note = |text: &str, path: &str| -> Result<(), FetchError> {
        for piece in pieces(text, path)? {
            if let Piece::Secret(name) = piece {
                names.insert(name.to_owned());
            }
        }
        Ok(())
    };
    note(&source.url, "url")?;
    if !reference::is_plain(&source.url) {
        address(&source.url)?;
    }
    if let Some(config) = &source.config {
        for Text { decoded, path, .. } in texts(config.get()) {
            note(&decoded, &path)?;
        }
    }
    Ok(names)
}

/// The source with these secrets in it.
pub(super) fn fill(source: &Source, values: &Values) -> Result<Source, FetchError> {
    let url = if reference::is_plain(&source.url) {
        source.url.clone()
    } else {
        let fill = |value: &str| percent_encoded(value);
        filled(&source.url, "url", values, fill)?
    };
    let config = source.config.as_deref().map(|text| config(text, values)).transpose()?;
    Ok(Source { url, config })
}

fn config(text: &RawValue, values: &Values) -> Result<Box<RawValue>, FetchError> {
    let text = text.get();
    let mut written = String::with_capacity(text.len());
    let mut done = 0;
    for Text { range, decoded, path } in texts(text) {
        let filled = filled(&decoded, &path, values, str::to_owned)?;
        written.push_str(text.get(done..range.start).unwrap_or_default());
        written.push_str(&serde_json::to_string(&filled).unwrap_or_default());
        done = range.end;
    }
    written.push_str(text.get(done..).unwrap_or_default());
    RawValue::from_string(written).map_err(|_| FetchError::permanent("config: give an object"))
}

fn pieces<'t>(text: &'t str, path: &str) -> Result<Vec<Piece<'t>>, FetchError> {
    let named = |_| FetchError::permanent(format!("{path}: {}", reference::ADVICE));
    reference::pieces(text).map_err(named)
}

fn filled(
    text: &str,
    path: &str,
    values: &Values,
    encode: impl Fn(&str) -> String,
) -> Result<String, FetchError> {
    let fill = |piece| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Secret(name) => values.get(name).map(|it| encode(it.expose())).unwrap_or_default(),
    };
    Ok(pieces(text, path)?.into_iter().map(fill).collect())
}

/// Checks that an address names secrets only where they cannot decide where it leads to.
fn address(url: &str) -> Result<(), FetchError> {
    let refuse = |reason: &str| Err(FetchError::permanent(format!("url: {reason}")));
    // Readers of addresses do not agree on what these mean.
    if url.contains(|it: char| it.is_control() || it == '\\') {
        return refuse("with a secret in it, it may hold no backslash and no control character");
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return refuse("with a secret in it, it has to begin with a scheme and ://");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if !reference::is_plain(scheme) || !reference::is_plain(host) {
        return refuse(
            "a secret may be the user, the password, or a part of the path or the query, not of \
             the host",
        );
    }
    Ok(())
}

/// A string of a JSON text that is a value and may name a secret.
struct Text {
    range: Range<usize>,
    decoded: String,
    path: String,
}

/// Where in a JSON text we are.
enum Level {
    Object(String),
    Array(usize),
}

/// The strings in a JSON text that are not the same when they are filled in.
fn texts(json: &str) -> Vec<Text> {
    let mut found = vec![];
    let mut levels: Vec<Level> = vec![];
    let mut at = 0;
    let bytes = json.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' => levels.push(Level::Object(String::new())),
            b'[' => levels.push(Level::Array(0)),
            b'}' | b']' => drop(levels.pop()),
            b',' => {
                if let Some(Level::Array(index)) = levels.last_mut() {
                    *index = index.saturating_add(1);
                }
            }
            b'"' => {
                let range = at..string_end(bytes, at);
                at = range.end;
                let decoded = json.get(range.clone()).and_then(|it| serde_json::from_str(it).ok());
                let decoded: String = decoded.unwrap_or_default();
                let rest = json.get(at..).unwrap_or_default();
                let is_name = rest.trim_start().starts_with(':');
                match levels.last_mut() {
                    Some(Level::Object(name)) if is_name => *name = decoded,
                    _ if reference::is_plain(&decoded) => {}
                    _ => {
                        let path = path(&levels);
                        if path != TRANSFORM {
                            found.push(Text { range, decoded, path });
                        }
                    }
                }
                continue;
            }
            _ => {}
        }
        at = at.saturating_add(1);
    }
    found
}

/// The end of the string that begins at `start`, quotes included.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut escaped = false;
    let rest = bytes.iter().enumerate().skip(start.saturating_add(1));
    for (at, byte) in rest {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at.saturating_add(1),
            _ => {}
        }
    }
    bytes.len()
}

fn path(levels: &[Level]) -> String {
    levels.iter().fold("config".to_owned(), |path, level| match level {
        Level::Object(name) => format!("{path}.{name}"),
        Level::Array(index) => format!("{path}[{index}]"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str, config: Option<&str>) -> Source {
        let config = config.map(|text| RawValue::from_string(text.to_owned()).unwrap());
        Source { url: url.to_owned(), config }
    }

    fn values() -> Values {
        let values = [("A", "se\"cret"), ("B", "p@ss/wö?rd"), ("n.1", "1")];
        let secret = |text: &str| Secret::new(text.to_owned());
        values.into_iter().map(|(name, value)| (name.to_owned(), secret(value))).collect()
    }

    fn filled_config(config: &str) -> String {
        fill(&source("http://h", Some(config)), &values()).unwrap().config.unwrap().get().to_owned()
    }

    #[test]
    fn strings_at_any_depth_are_filled_in_and_everything_else_stays() {
        for (config, expected) in [
            (r#"{"a":"${secret:A}"}"#, r#"{"a":"se\"cret"}"#),
            (
                r#"{ "a" : [1.0, {"b":"x ${secret:B} y"}] }"#,
                r#"{ "a" : [1.0, {"b":"x p@ss/wö?rd y"}] }"#,
            ),
            (
                r#"{"n":12345678901234567890123,"n":1e400,"s":"\u0024{secret:n.1}"}"#,
                r#"{"n":12345678901234567890123,"n":1e400,"s":"1"}"#,
            ),
            (r#"{"a":"$${secret:A}"}"#, r#"{"a":"${secret:A}"}"#),
            (r#"{"${secret:A}":"\\\"${secret:n.1}\\"}"#, r#"{"${secret:A}":"\\\"1\\"}"#),
            (r#"["${secret:A}","\ud83d\ude00","${x}"]"#, r#"["se\"cret","\ud83d\ude00","${x}"]"#),
            (
                r#"{"transform":"\"${secret:A}\"","x":{"transform":"${secret:n.1}"}}"#,
                r#"{"transform":"\"${secret:A}\"","x":{"transform":"1"}}"#,
            ),
        ] {
            assert_eq!(filled_config(config), expected, "{config}");
        }
    }

    #[test]
    fn what_was_filled_in_is_not_filled_in_again() {
        let secret = Secret::new("${secret:B}".to_owned());
        let values = Values::from([("A".to_owned(), secret)]);
        let source = source("http://h/${secret:A}", Some(r#"{"a":"${secret:A}"}"#));
        let filled = fill(&source, &values).unwrap();
        assert_eq!(filled.url, "http://h/%24%7Bsecret%3AB%7D");
        assert_eq!(filled.config.unwrap().get(), r#"{"a":"${secret:B}"}"#);
    }

    #[test]
    fn in_an_address_a_secret_means_nothing_but_itself() {
        for (url, expected) in [
            ("http://h:1/a?b=c#d", "http://h:1/a?b=c#d"),
            ("postgresql://u:${secret:B}@h/d", "postgresql://u:p%40ss%2Fw%C3%B6%3Frd@h/d"),
            ("http://${secret:A}:${secret:B}@h", "http://se%22cret:p%40ss%2Fw%C3%B6%3Frd@h"),
            (
                "http://h/${secret:B}/x?k=${secret:A}",
                "http://h/p%40ss%2Fw%C3%B6%3Frd/x?k=se%22cret",
            ),
            ("http://h/$${secret:A}", "http://h/${secret:A}"),
        ] {
            let source = source(url, None);
            names(&source).unwrap();
            assert_eq!(fill(&source, &values()).unwrap().url, expected, "{url}");
        }
    }

    #[test]
    fn a_secret_never_decides_where_an_address_leads_to() {
        for url in [
            "http://${secret:A}/x",
            "http://${secret:A}.evil.example/x",
            "http://h:${secret:A}/x",
            "http://u@${secret:A}@${secret:A}",
            "${secret:A}://h",
            "${secret:A}",
            "mailto:${secret:A}",
            "http://evil\\@${secret:A}@h/",
            "http://${secret:A}\\@h/",
            "http://${secret:A}\t@h/",
        ] {
            let error = names(&source(url, None)).unwrap_err();
            assert!(error.is_permanent() && error.to_string().starts_with("url: "), "{url}");
        }
    }

    #[test]
    fn every_name_is_found_and_a_malformed_one_is_refused_with_its_place() {
        let named = source(
            "http://${secret:A}@h/",
            Some(
                r#"{"${secret:K}":["${secret:B}","${secret:B} ${secret:C}"],"transform":"${secret:T}"}"#,
            ),
        );
        assert_eq!(names(&named).unwrap().into_iter().collect::<Vec<_>>(), ["A", "B", "C"]);
        for (url, config, path) in [
            ("http://h/${secret:", "{}", "url: "),
            ("http://h/", r#"{"a":{"b":[1,{"c":"x"},"${secret:A B}"]}}"#, "config.a.b[2]: "),
            ("http://h/", r#"{"a":[[],{}],"headers":{"x":"${secret:A"}}"#, "config.headers.x: "),
        ] {
            let error = names(&source(url, Some(config))).unwrap_err();
            assert!(error.is_permanent(), "{config}");
            let error = error.to_string();
            assert!(error.starts_with(path) && error.contains("$${secret:"), "{error}");
        }
    }
}
