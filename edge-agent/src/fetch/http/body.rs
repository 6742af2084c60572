//! What came, as JSON: a document, one document a line, or text.

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use serde_json::value::RawValue;

use super::ask::header;
use crate::json::Json;

/// What separates documents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// Nothing: there is one.
    Document,
    /// A line break.
    Lines,
    /// The record separator of RFC 7464; a document may have line breaks.
    Records,
}

/// Content types of several documents.
const SEVERAL: [(&str, Form); 11] = [
    ("application/x-ndjson", Form::Lines),
    ("application/ndjson", Form::Lines),
    ("application/jsonl", Form::Lines),
    ("application/x-jsonl", Form::Lines),
    ("application/jsonlines", Form::Lines),
    ("application/x-jsonlines", Form::Lines),
    ("application/json-lines", Form::Lines),
    ("application/x-json-lines", Form::Lines),
    ("application/stream+json", Form::Lines),
    ("text/x-ndjson", Form::Lines),
    ("application/json-seq", Form::Records),
];

/// Names of what is read.
const UTF_8: [&str; 4] = ["utf-8", "utf8", "us-ascii", "ascii"];

/// Bytes of a server's own words that an error repeats.
const MAX_SHOWN: usize = 60;

/// What a server says of its body.
pub(super) struct Kind {
    /// The content type without parameters, for people, too.
    essence: String,
    charset: Option<String>,
}

impl Kind {
    /// # Errors
    /// The body is compressed in a way that was not asked for.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, String> {
        // What the client has decompressed says so no longer.
        if let Some(encoding) = header(headers, CONTENT_ENCODING).map(str::trim)
            && !encoding.is_empty()
            && !encoding.eq_ignore_ascii_case("identity")
        {
            let encoding = shown(encoding);
            return Err(format!("answered compressed with {encoding}; gzip and zstd are read"));
        }
        let text = header(headers, CONTENT_TYPE).unwrap_or("");
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().filter(|essence| !essence.is_empty());
        let charset = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            let value = value.trim().trim_matches('"').to_ascii_lowercase();
            name.trim().eq_ignore_ascii_case("charset").then_some(value)
        });
        let essence = essence.map_or_else(|| "no content type".to_owned(), shown);
        Ok(Self { essence, charset })
    }

    fn form(&self) -> Form {
        let found = SEVERAL.iter().find(|(kind, _)| kind.eq_ignore_ascii_case(&self.essence));
        found.map_or(Form::Document, |(_, form)| *form)
    }
}

/// A server's own words, shortened.
fn shown(text: &str) -> String {
    let line: String = text.chars().filter(|it| !it.is_control()).collect();
    crate::secrets::shortened(&line, MAX_SHOWN)
}

/// The answer as it came, so that numbers stay as they were written.
pub(super) fn json(body: Vec<u8>, kind: &Kind) -> Result<Json, String> {
    let mut text = decoded(body, kind)?;
    // Without white space around it, the text is taken over as it is.
    text.truncate(text.trim_end().len());
    if text.is_empty() {
        return match kind.form() {
            Form::Document => Err("answered without a body".to_owned()),
            Form::Lines | Form::Records => Ok(Json::known("[]".to_owned())),
        };
    }
    let kind_shown = &kind.essence;
    match kind.form() {
        Form::Lines => return several(&text, '\n', "line", kind_shown),
        Form::Records => return several(&text, '\u{1e}', "record", kind_shown),
        Form::Document => {}
    }
    text.shrink_to_fit();
    let looks_like_markup = text.trim_start().starts_with('<');
    let value = RawValue::from_string(text).map_err(|error| {
        let hint = if looks_like_markup {
            " but HTML or XML; is url an API's, and does it want a login?".to_owned()
        } else {
            format!(": {error}")
        };
        format!("answered {kind_shown} that is not JSON{hint}")
    })?;
    match value.get().as_bytes().first() {
        Some(b'{' | b'[') => Ok(value.into()),
        Some(b'n') => Err("answered null: Fetched data is empty".to_owned()),
        _ => Err("answered a bare JSON value; data is an object or an array".to_owned()),
    }
}

/// A list of the documents, each as it came.
fn several(text: &str, separator: char, what: &str, kind: &str) -> Result<Json, String> {
    let mut list = String::with_capacity(text.len() + 2);
    list.push('[');
    for (at, part) in text.split(separator).enumerate() {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        serde_json::from_str::<&RawValue>(part).map_err(|error| {
            let words = error.to_string();
            let words = words.split(" at line").next().unwrap_or("");
            // Before the first separator of records there is nothing.
            let at = if separator == '\n' { at + 1 } else { at.max(1) };
            format!("answered {kind} whose {what} {at} is not JSON: {words}")
        })?;
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(part);
    }
    list.push(']');
    Ok(Json::known(list))
}

/// The answer as a JSON string.
pub(super) fn text(body: Vec<u8>, kind: &Kind) -> Result<Json, String> {
    let text = decoded(body, kind)?;
    serde_json::to_string(&text).map(Json::known).map_err(|error| error.to_string())
}

/// The body as text, without a byte order mark.
fn decoded(mut body: Vec<u8>, kind: &Kind) -> Result<String, String> {
    if let Some(charset) = &kind.charset
        && !UTF_8.contains(&charset.as_str())
        && !body.is_ascii()
    {
        return Err(format!("answered in charset {}; only UTF-8 is read", shown(charset)));
    }
    // Two of four bytes are zero where JSON, which begins with ASCII, is in another encoding.
    if matches!(body.as_slice(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..]) {
        return Err("answered in UTF-16 or UTF-32; only UTF-8 is read".to_owned());
    }
    if body.starts_with(b"\xef\xbb\xbf") {
        body.drain(..3);
    }
    String::from_utf8(body).map_err(|_| format!("answered {} that is not UTF-8", kind.essence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, text.parse().unwrap());
        Kind::of(&headers).unwrap()
    }

    fn read(kind_text: &str, body: &[u8]) -> Result<String, String> {
        json(body.to_vec(), &kind(kind_text)).map(|json| json.get().to_owned())
    }

    #[test]
    fn lines_and_records_become_a_list_of_what_they_were() {
        for (kind, body, list) in [
            ("application/x-ndjson", "{\"a\":1.0}\n[2]\r\n\n \"x\" \n", "[{\"a\":1.0},[2],\"x\"]"),
            ("Application/JSONL; charset=UTF-8", "{}", "[{}]"),
            ("application/x-json-lines", "", "[]"),
            ("application/jsonlines", "\n\n", "[]"),
            ("application/json-seq", "\u{1e}{\n\"a\":1}\n\u{1e}2\n", "[{\n\"a\":1},2]"),
            ("application/json", " {\"a\":1} \n", "{\"a\":1}"),
        ] {
            assert_eq!(read(kind, body.as_bytes()).as_deref(), Ok(list), "{kind}");
        }
    }

    #[test]
    fn the_line_or_record_that_is_wrong_is_counted_and_not_shown() {
        for (kind, body, words) in [
            ("application/x-ndjson", "{}\n\n{\"secret\":}\n", "whose line 3 is not JSON: expected"),
            ("application/x-ndjson", "{}{\"secret\":1}", "whose line 1 is not JSON: trailing"),
            ("application/json-seq", "\u{1e}{}\n\u{1e}\"secret\n", "whose record 2 is not JSON"),
            ("application/json-seq", "secret", "whose record 1 is not JSON"),
        ] {
            let error = read(kind, body.as_bytes()).unwrap_err();
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn other_encodings_are_named() {
        for (kind, body, expected) in [
            ("application/json", &b"\xef\xbb\xbf{\"a\":\"\xc3\xa9\"}"[..], Ok("{\"a\":\"é\"}")),
            ("application/json;charset=\"utf-8\"", b"[]", Ok("[]")),
            ("application/json; charset=iso-8859-1", b"[1]", Ok("[1]")),
            (
                "application/json; charset=ISO-8859-1",
                b"[\"\xe9\"]",
                Err("answered in charset iso-8859-1; only UTF-8 is read"),
            ),
            ("application/json", b"[\"\xe9\"]", Err("answered application/json that is not UTF-8")),
            (
                "application/json",
                b"\xff\xfe[\0]\0",
                Err("answered in UTF-16 or UTF-32; only UTF-8 is read"),
            ),
            (
                "application/json",
                b"\0[\0]",
                Err("answered in UTF-16 or UTF-32; only UTF-8 is read"),
            ),
        ] {
            let got = read(kind, body);
            assert_eq!(got.as_deref().map_err(String::as_str), expected, "{kind} {body:?}");
        }
    }

    #[test]
    fn what_is_compressed_in_another_way_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, "br".parse().unwrap());
        let error = Kind::of(&headers).err().unwrap();
        assert_eq!(error, "answered compressed with br; gzip and zstd are read");
        headers.insert(CONTENT_ENCODING, "identity".parse().unwrap());
        assert_eq!(Kind::of(&headers).unwrap().essence, "no content type");
    }

    #[test]
    fn markup_is_called_so() {
        let error = read("text/html", b"\n<!doctype html><p>secret").unwrap_err();
        assert!(error.starts_with("answered text/html that is not JSON but HTML"), "{error}");
        assert!(!error.contains("secret"));
    }
}
