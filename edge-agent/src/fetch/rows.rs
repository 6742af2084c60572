//! Rows become one document, written as they come: nothing is kept per row but its text, and
//! writing stops as soon as the text is longer than a fetch may be.
//!
//! Used by every source that answers with rows of named columns.

use std::collections::HashMap;
use std::ops::Range;

use super::FetchError;
use crate::json::Json;

/// What the rows become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// `[{"column": …}, …]`, in the order that the rows came in.
    #[default]
    List,
    /// The first row alone, as an object. None is an error.
    One,
    /// `{"value of this column": {"column": …}, …}`; of rows with the same value the last one.
    Keyed(String),
}

/// Writes rows into one document of JSON.
pub struct Rows {
    text: String,
    shape: Shape,
    max_bytes: usize,
    /// A column's beginning in each row, `"name":`; `None`: a later column has the same name.
    heads: Vec<Option<String>>,
    /// The column whose value is the row's key, and what the rows so far are under.
    key: Option<usize>,
    places: HashMap<Box<str>, usize>,
    /// Where each row is in the text; only for rows with keys.
    spans: Vec<Option<Range<usize>>>,
    count: usize,
}

// === impl Shape ===

impl Shape {
    /// As OPAL's settings have it: `fetch_one` wins over a key.
    #[must_use]
    pub fn of(fetch_one: bool, key: Option<String>) -> Self {
        match key {
            _ if fetch_one => Self::One,
            Some(column) => Self::Keyed(column),
            None => Self::List,
        }
    }
}

// === impl Rows ===

impl Rows {
    /// Of rows with these columns; of columns with the same name the last one counts.
    ///
    /// # Errors
    /// The column of the keys is not among them.
    pub fn new<'a>(
        shape: Shape,
        columns: impl IntoIterator<Item = &'a str>,
        max_bytes: usize,
    ) -> Result<Self, FetchError> {
        let names: Vec<&str> = columns.into_iter().collect();
        let last = |name: &str| names.iter().rposition(|other| *other == name);
        let key = match &shape {
            Shape::Keyed(column) => Some(last(column).ok_or_else(|| {
                FetchError::permanent(format!(
                    "config.dict_key: the rows have no column `{column}`; they have {}",
                    names.join(", ")
                ))
            })?),
            Shape::List | Shape::One => None,
        };
        let head = |(index, name): (usize, &&str)| {
            (last(name) == Some(index)).then(|| {
                let mut head = String::with_capacity(name.len() + 3);
                write_string(&mut head, name);
                head.push(':');
                head
            })
        };
        let heads = names.iter().enumerate().map(head).collect();
        let text = String::from(if shape == Shape::List { "[" } else { "" });
        let (places, spans) = Default::default();
        Ok(Self { text, shape, max_bytes, heads, key, places, spans, count: 0 })
    }

    /// False when the document is complete, however many rows there are.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        self.shape != Shape::One || self.count == 0
    }

    /// Writes a row. `cell` is asked for the columns in turn, and appends each one's value as
    /// JSON; it is not asked for a column whose name comes again later.
    ///
    /// # Errors
    /// That of a cell; or the text is longer than it may be.
    pub fn push(
        &mut self,
        mut cell: impl FnMut(usize, &mut String) -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        if self.count > 0 && self.shape == Shape::List {
            self.text.push(',');
        }
        let begin = self.text.len();
        let mut key = None;
        self.text.push('{');
        let mut first = true;
        for (index, head) in self.heads.iter().enumerate() {
            let Some(head) = head else { continue };
            if !std::mem::take(&mut first) {
                self.text.push(',');
            }
            self.text.push_str(head);
            let value = self.text.len();
            cell(index, &mut self.text)?;
            if self.key == Some(index) {
                key = self.text.get(value..).map(as_key);
            }
        }
        self.text.push('}');
        self.count += 1;
        if let Some(key) = key {
            let span = Some(begin..self.text.len());
            let index = self.spans.len();
            self.spans.push(span);
            if let Some(earlier) = self.places.insert(key.into_boxed_str(), index)
                && let Some(earlier) = self.spans.get_mut(earlier)
            {
                *earlier = None;
            }
        }
        if self.text.len() > self.max_bytes {
            // Said as permanent: asking again at once would bring as much again.
            return Err(FetchError::permanent(format!(
                "the rows make more than {} bytes of JSON (row {} is past it): ask for fewer, or \
                 raise fetch_max_bytes",
                self.max_bytes, self.count
            )));
        }
        Ok(())
    }

    /// The document.
    ///
    /// # Errors
    /// One row is wanted and there is none.
    pub fn finish(mut self) -> Result<Json, FetchError> {
        match self.shape {
            Shape::List => self.text.push(']'),
            Shape::One if self.count == 0 => {
                return Err(FetchError::new("Fetched data is empty: the query gave no row"));
            }
            Shape::One => {}
            Shape::Keyed(_) => self.text = self.keyed(),
        }
        Ok(Json::known(self.text))
    }

    /// The rows under their keys; those that a later one has replaced are left out.
    fn keyed(&self) -> String {
        let mut rows: Vec<_> = self.places.iter().map(|(key, index)| (*index, key)).collect();
        rows.sort_unstable_by_key(|(index, _)| *index);
        let keys: usize = rows.iter().map(|(_, key)| key.len() + 2).sum();
        let mut text = String::with_capacity(self.text.len() + keys + 2);
        text.push('{');
        for (index, key) in rows {
            let span = self.spans.get(index).cloned().flatten();
            let Some(row) = span.and_then(|span| self.text.get(span)) else { continue };
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(key);
            text.push(':');
            text.push_str(row);
        }
        text.push('}');
        text
    }
}

/// A value as the name of a member, quoted: text as it is, anything else as its JSON.
fn as_key(value: &str) -> String {
    if value.starts_with('"') {
        return value.to_owned();
    }
    let mut key = String::with_capacity(value.len() + 2);
    write_string(&mut key, value);
    key
}

/// Appends `value` as a JSON string.
pub fn write_string(text: &mut String, value: &str) {
    text.push('"');
    let mut plain = 0;
    for (at, byte) in value.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        // Bytes below 0x80 are whole characters, so that neither end is inside of one.
        text.push_str(value.get(plain..at).unwrap_or_default());
        if escape.is_empty() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let digit = |value: u8| HEX.get(usize::from(value)).copied().map_or('0', char::from);
            text.push_str("\\u00");
            text.push(digit(byte >> 4));
            text.push(digit(byte & 15));
        } else {
            text.push_str(escape);
        }
        plain = at + 1;
    }
    text.push_str(value.get(plain..).unwrap_or_default());
    text.push('"');
}

/// Appends a number that is written as text, digit by digit as it came; what JSON has no number
/// for, such as `NaN`, becomes a string.
pub fn write_number(text: &mut String, value: &str) {
    if is_number(value.as_bytes()) { text.push_str(value) } else { write_string(text, value) }
}

/// Whether this is a number in JSON's notation.
fn is_number(value: &[u8]) -> bool {
    fn digits(value: &[u8]) -> Option<&[u8]> {
        let count = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 { None } else { value.get(count..) }
    }
    let value = value.strip_prefix(b"-").unwrap_or(value);
    if value.starts_with(b"0") && value.get(1).is_some_and(u8::is_ascii_digit) {
        return false;
    }
    let Some(mut rest) = digits(value) else { return false };
    if let Some(fraction) = rest.strip_prefix(b".") {
        let Some(after) = digits(fraction) else { return false };
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let unsigned = match exponent {
            [b'+' | b'-', unsigned @ ..] => unsigned,
            unsigned => unsigned,
        };
        let Some(after) = digits(unsigned) else { return false };
        rest = after;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row<'a> = &'a [&'a str];

    fn made(shape: Shape, columns: Row<'_>, rows: &[Row<'_>]) -> Result<String, FetchError> {
        made_within(usize::MAX, shape, columns, rows)
    }

    fn made_within(
        max_bytes: usize,
        shape: Shape,
        columns: Row<'_>,
        rows: &[Row<'_>],
    ) -> Result<String, FetchError> {
        let mut writer = Rows::new(shape, columns.iter().copied(), max_bytes)?;
        for row in rows {
            if !writer.wants_more() {
                break;
            }
            writer.push(|index, text| {
                text.push_str(row[index]);
                Ok(())
            })?;
        }
        writer.finish().map(|json| json.get().to_owned())
    }

    fn keyed(column: &str) -> Shape {
        Shape::Keyed(column.to_owned())
    }

    #[test]
    fn rows_become_a_list_one_object_or_an_object_of_objects() {
        let rows: [Row<'_>; 2] = [&["1", r#""x""#], &["2", "null"]];
        for (shape, expected) in [
            (Shape::List, r#"[{"id":1,"name":"x"},{"id":2,"name":null}]"#),
            (Shape::One, r#"{"id":1,"name":"x"}"#),
            (keyed("id"), r#"{"1":{"id":1,"name":"x"},"2":{"id":2,"name":null}}"#),
            (keyed("name"), r#"{"x":{"id":1,"name":"x"},"null":{"id":2,"name":null}}"#),
        ] {
            assert_eq!(made(shape, &["id", "name"], &rows).unwrap(), expected);
        }
    }

    #[test]
    fn no_row_is_an_empty_list_or_object_but_never_one_row() {
        assert_eq!(made(Shape::List, &["a"], &[]).unwrap(), "[]");
        assert_eq!(made(keyed("a"), &["a"], &[]).unwrap(), "{}");
        let error = made(Shape::One, &["a"], &[]).unwrap_err();
        assert!(error.to_string().starts_with("Fetched data is empty"), "{error}");
        assert!(!error.is_permanent(), "the row may come");
    }

    #[test]
    fn of_rows_with_the_same_key_and_columns_of_the_same_name_the_last_one_counts() {
        let rows: [Row<'_>; 3] =
            [&["1", "1", r#""a""#], &["2", "2", r#""b""#], &["3", "1", r#""c""#]];
        let text = made(keyed("id"), &["n", "id", "n"], &rows).unwrap();
        assert_eq!(text, r#"{"2":{"id":2,"n":"b"},"1":{"id":1,"n":"c"}}"#);
    }

    #[test]
    fn a_key_that_is_no_column_is_named_with_the_columns_there_are() {
        let error = made(keyed("uid"), &["id", "name"], &[]).unwrap_err();
        let expected = "config.dict_key: the rows have no column `uid`; they have id, name";
        assert_eq!(error, FetchError::permanent(expected));
    }

    #[test]
    fn writing_stops_at_the_first_row_past_the_limit() {
        let rows: [Row<'_>; 4] = [&["1"]; 4];
        assert_eq!(made_within(17, Shape::List, &["a"], &rows[..2]).unwrap().len(), 17);
        let error = made_within(17, Shape::List, &["a"], &rows).unwrap_err();
        assert!(error.to_string().contains("17 bytes of JSON (row 3 is past it)"), "{error}");
    }

    #[test]
    fn strings_and_column_names_are_escaped_as_a_reader_of_json_expects() {
        let every: String = (0..0x100_u32).filter_map(char::from_u32).collect();
        for value in [every.as_str(), "", "plain", "\"", "\\\"\\", "ünï ☃ \u{1F600}"] {
            let mut text = String::new();
            write_string(&mut text, value);
            assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value, "{text}");
        }
        assert_eq!(made(Shape::List, &["a\"b"], &[&["1"]]).unwrap(), r#"[{"a\"b":1}]"#);
    }

    #[test]
    fn a_number_is_one_in_json_or_a_string() {
        for number in ["0", "-0", "12.50", "1e+20", "-1.5E-7", "123456789012345678901234567890"] {
            assert!(is_number(number.as_bytes()), "{number}");
            serde_json::from_str::<serde_json::Value>(number).unwrap();
        }
        for other in ["", "-", "01", "1.", ".5", "1e", "1e+", "NaN", "-Infinity", "1 ", "+1"] {
            assert!(!is_number(other.as_bytes()), "{other}");
        }
        let mut text = String::new();
        write_number(&mut text, "NaN");
        assert_eq!(text, "\"NaN\"");
    }
}
