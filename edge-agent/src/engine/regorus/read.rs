//! JSON text straight into a [`Value`]: what `Value::from_json_str` makes of it, in a third
//! of the time and with one copy of strings that repeat.
//!
//! Most of the time goes into allocations, so a large document is read on two threads, which
//! have an allocator's arena each.

use std::{collections::BTreeMap, fmt, sync::Arc, thread};

use regorus::Value;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::document::Refused;

/// Levels of a document that is written. It is what `Value::from_json_str` reads.
pub(super) const LEVELS: usize = 127;

/// Documents larger than this are read on two threads.
pub(super) const SPLIT_BYTES: usize = 1 << 20;
/// Strings that are remembered, to be used again; a power of two.
const REMEMBERED: usize = 2_048;
/// Longer strings are not remembered.
const REMEMBERED_BYTES: usize = 32;

/// Reads a document of at most so many levels.
///
/// # Errors
/// It has more levels, a number that is too large, or a string that is not Unicode.
pub(super) fn read(text: &RawValue, levels: usize) -> Result<Value, Refused> {
    let text = text.get();
    let read = match split(text) {
        None => read_here(text, levels).map(Parts::into_value),
        Some((first, second)) => read_both(&first, &second, levels),
    };
    read.map_err(|_| "the data is nested too deeply, or not JSON".to_owned())
}

fn read_here(text: &str, levels: usize) -> serde_json::Result<Parts> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // It would count from its own number.
    deserializer.disable_recursion_limit();
    let mut strings = Strings::default();
    let parts = Reader { strings: &mut strings, levels }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(parts)
}

fn read_both(first: &str, second: &str, levels: usize) -> serde_json::Result<Value> {
    let (first, second) = thread::scope(|scope| {
        let second = scope.spawn(|| read_here(second, levels));
        let first = read_here(first, levels);
        (first, second.join())
    });
    let second = second.unwrap_or_else(|_| Err(Error::custom("the reader broke")));
    let parts = match (first?, second?) {
        (Parts::Elements(first), Parts::Elements(second)) => {
            Parts::Elements([first, second].concat())
        }
        (Parts::Members(mut first), Parts::Members(second)) => {
            first.extend(second);
            Parts::Members(first)
        }
        _ => return Err(Error::custom("two halves of one document differ in kind")),
    };
    Ok(parts.into_value())
}

/// What a value is made of: two of them can be made one.
enum Parts {
    Scalar(Value),
    Elements(Vec<Value>),
    Members(Vec<(Value, Value)>),
}

impl Parts {
    fn into_value(self) -> Value {
        match self {
            Self::Scalar(value) => value,
            Self::Elements(mut elements) => {
                elements.shrink_to_fit();
                Value::from(elements)
            }
            // Of members with one name the last stays.
            Self::Members(members) => Value::from(BTreeMap::from_iter(members)),
        }
    }
}

/// Cuts a large array or object in two at a comma between its parts. The text is JSON.
fn split(text: &str) -> Option<(String, String)> {
    if text.len() < SPLIT_BYTES {
        return None;
    }
    // A cut near the end would cost a copy of nearly everything, and save nothing.
    split_from(text, text.len() / 2).filter(|(first, _)| first.len() < text.len() / 4 * 3)
}

/// Cuts at the first such comma from `middle` on.
fn split_from(text: &str, middle: usize) -> Option<(String, String)> {
    let (open, close) = match text.as_bytes().first()? {
        b'{' => ('{', '}'),
        b'[' => ('[', ']'),
        _ => return None,
    };
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let comma = text.bytes().enumerate().find_map(|(at, byte)| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 && at >= middle => return Some(at),
            _ => {}
        }
        None
    })?;
    let (first, second) = (text.get(..comma)?, text.get(comma + 1..)?);
    Some((format!("{first}{close}"), format!("{open}{second}")))
}

/// Reads one value, and leaves it in parts.
struct Reader<'s> {
    strings: &'s mut Strings,
    /// Arrays and objects that may still be entered.
    levels: usize,
}

/// Reads one value.
struct Whole<'s>(Reader<'s>);

impl Reader<'_> {
    fn below<E: Error>(&mut self) -> Result<Reader<'_>, E> {
        let Some(levels) = self.levels.checked_sub(1) else {
            return Err(E::custom("nested too deeply"));
        };
        Ok(Reader { strings: self.strings, levels })
    }

    /// The reader of the next part at this level.
    fn next(&mut self) -> Whole<'_> {
        Whole(Reader { strings: self.strings, levels: self.levels })
    }
}

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.deserialize(deserializer).map(Parts::into_value)
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Parts;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parts, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Parts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Parts, E> {
        Ok(Parts::Scalar(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Parts, E> {
        Ok(Parts::Scalar(Value::Bool(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Parts, E> {
        Ok(Parts::Scalar(Value::from(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Parts, E> {
        Ok(Parts::Scalar(Value::from(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Parts, E> {
        Ok(Parts::Scalar(Value::from(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Parts, E> {
        Ok(Parts::Scalar(Value::String(self.strings.get(value))))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Parts, A::Error> {
        let mut below = self.below()?;
        let mut all = Vec::new();
        while let Some(element) = elements.next_element_seed(below.next())? {
            all.push(element);
        }
        Ok(Parts::Elements(all))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Parts, A::Error> {
        let mut below = self.below()?;
        let mut all = Vec::new();
        while let Some(name) = members.next_key_seed(Name(below.strings))? {
            all.push((Value::String(name), members.next_value_seed(below.next())?));
        }
        Ok(Parts::Members(all))
    }
}

/// Reads the name of a member.
struct Name<'s>(&'s mut Strings);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Arc<str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Arc<str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Arc<str>, E> {
        Ok(self.0.get(name))
    }
}

/// The short strings that were read lately: names repeat, and many values do.
#[derive(Default)]
struct Strings(Vec<Option<Arc<str>>>);

impl Strings {
    fn get(&mut self, text: &str) -> Arc<str> {
        if text.len() > REMEMBERED_BYTES {
            return Arc::from(text);
        }
        if self.0.is_empty() {
            self.0.resize(REMEMBERED, None);
        }
        let Some(slot) = self.0.get_mut(slot(text)) else { return Arc::from(text) };
        match slot {
            Some(known) if **known == *text => Arc::clone(known),
            _ => Arc::clone(slot.insert(Arc::from(text))),
        }
    }
}

/// Where a string is remembered: a hash that nothing depends on but time.
fn slot(text: &str) -> usize {
    let mut hash = 0_u64;
    for part in text.as_bytes().chunks(8) {
        let word = part.iter().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
        hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    usize::try_from(hash >> 40).unwrap_or_default() & (REMEMBERED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    /// Both readers, one thread and two: the same value, or a refusal.
    fn compare(text: &str) -> Option<Value> {
        let expected = Value::from_json_str(text).ok();
        assert_eq!(read(&raw(text), LEVELS).ok(), expected, "{text}");
        if let Some((first, second)) = split_from(text, 0) {
            assert_eq!(read_both(&first, &second, LEVELS).ok(), expected, "{first} {second}");
        }
        expected
    }

    #[test]
    fn what_is_read_is_what_regorus_reads() {
        for text in [
            "null",
            "true",
            "0",
            "-0",
            "-1",
            "1.0",
            "0.1",
            "1e2",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775809",
            "1.7976931348623157e308",
            r#""""#,
            r#""\u00e9\n\ud83d\ude00""#,
            "[]",
            "{}",
            "[1,[2,[]],{}]",
            r#"{"b":1,"a":2}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"a,\"":[",}"],"\\":{"k":",","l":[1,2]}}"#,
            r#"{"a":{"x":1,"y":[1,2,{"z":null}]},"b":[{"x":1},{"x":1}],"c":"x"}"#,
            r#"[{"same":"text"},{"same":"text"},{"text":"same"}]"#,
        ] {
            assert!(compare(text).is_some(), "{text}");
        }
        let wide: Vec<String> = (0..300).map(|n| format!(r#""k{}":{n}"#, n % 200)).collect();
        assert_eq!(
            compare(&format!("{{{}}}", wide.join(","))).unwrap().as_object().unwrap().len(),
            200
        );
    }

    #[test]
    fn what_is_refused_is_what_regorus_refuses() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(compare(&deep(LEVELS)).is_some());
        for text in [
            deep(LEVELS + 1),
            "1e999".to_owned(),
            r#"["\ud800"]"#.to_owned(),
            r#"{"\udc00":1}"#.to_owned(),
        ] {
            assert_eq!(compare(&text), None);
        }
        // What was patched together can be deeper, and is read again.
        assert!(read(&raw(&deep(160)), 160).is_ok());
        assert!(read(&raw(&deep(161)), 160).is_err());
        let refused = read(&raw("[1e999]"), LEVELS).unwrap_err();
        assert_eq!(refused, "the data is nested too deeply, or not JSON");
    }

    #[test]
    fn strings_that_repeat_are_one() {
        let value = read(&raw(r#"[{"name":"x"},{"name":"x"}]"#), LEVELS).unwrap();
        let string = |at: usize| {
            let (name, text) =
                value.as_array().unwrap()[at].as_object().unwrap().iter().next().unwrap();
            (Arc::clone(name.as_string().unwrap()), Arc::clone(text.as_string().unwrap()))
        };
        assert!(Arc::ptr_eq(&string(0).0, &string(1).0));
        assert!(Arc::ptr_eq(&string(0).1, &string(1).1));
    }

    #[test]
    fn a_large_document_is_cut_in_the_middle() {
        let members: Vec<String> = (0..40_000)
            .map(|n| format!(r#""user{n}":{{"name":"{n},]}}","tags":[{n}]}}"#))
            .collect();
        for text in [format!("{{{}}}", members.join(",")), format!("[{{{}}},1]", members.join(","))]
        {
            let cut = split(&text);
            assert_eq!(cut.is_some(), text.starts_with('{'));
            if let Some((first, second)) = cut {
                assert!(first.len().abs_diff(second.len()) < 1_000);
            }
            assert!(compare(&text).is_some());
        }
    }
}
