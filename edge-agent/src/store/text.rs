//! A piece of JSON text that shares the memory of the text it was cut from.

use std::{collections::BTreeMap, ops::Range};

use serde_json::value::RawValue;

use crate::json::Json;

/// One JSON value as it was written, without space around it.
#[derive(Clone, Debug)]
pub(super) struct Text {
    whole: Json,
    range: Range<usize>,
    /// The number that the whole has in the store, if it is there.
    stored: Option<u64>,
}

/// The members of an object, or the elements of an array, each still as text.
pub(super) enum Parts {
    Members(BTreeMap<String, Text>),
    Elements(Vec<Text>),
}

impl Text {
    pub(super) fn new(whole: Json) -> Self {
        let range = 0..whole.get().len();
        Self { whole, range, stored: None }
    }

    /// A text that is in the store already, with its number there.
    pub(super) fn stored(whole: Json, number: u64) -> Self {
        Self { stored: Some(number), ..Self::new(whole) }
    }

    /// The number of what [`Self::stored`] made, as long as it is whole.
    pub(super) fn stored_as(&self) -> Option<u64> {
        self.stored
    }

    pub(super) fn get(&self) -> &str {
        self.whole.get().get(self.range.clone()).unwrap_or("null")
    }

    pub(super) fn is_object(&self) -> bool {
        self.get().starts_with('{')
    }

    pub(super) fn is_array(&self) -> bool {
        self.get().starts_with('[')
    }

    /// The text on its own: nothing is copied if nothing was cut off.
    pub(super) fn into_json(self) -> Json {
        if self.range.len() == self.whole.get().len() {
            return self.whole;
        }
        // A piece of JSON that was read as a value is one.
        Json::known(self.get().to_owned())
    }

    /// Reads one level; none if it has no parts. Of members with one name the last counts,
    /// as everywhere.
    pub(super) fn split(&self) -> Result<Option<Parts>, String> {
        let refuse = |error: serde_json::Error| format!("the document cannot be read: {error}");
        if self.is_object() {
            let members: BTreeMap<String, &RawValue> =
                serde_json::from_str(self.get()).map_err(refuse)?;
            let cut = members.into_iter().map(|(name, value)| (name, self.cut(value)));
            return Ok(Some(Parts::Members(cut.collect())));
        }
        if self.is_array() {
            let elements: Vec<&RawValue> = serde_json::from_str(self.get()).map_err(refuse)?;
            let cut = elements.into_iter().map(|value| self.cut(value));
            return Ok(Some(Parts::Elements(cut.collect())));
        }
        Ok(None)
    }

    /// `part` as a piece of the same memory; it was borrowed from there.
    fn cut(&self, part: &RawValue) -> Self {
        let start = part.get().as_ptr().addr().wrapping_sub(self.whole.get().as_ptr().addr());
        let range = start..start.wrapping_add(part.get().len());
        Self { whole: self.whole.clone(), range, stored: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Text {
        Text::new(Json::known(json.to_owned()))
    }

    #[test]
    fn parts_are_cut_verbatim_at_every_level() {
        let whole = text(r#"{ "a" : [1.0, {"é\n": "x" }] , "b":2, "a" : [ 1e2 ,{"k" : { } }] }"#);
        let Some(Parts::Members(members)) = whole.split().unwrap() else { panic!() };
        assert_eq!(members.len(), 2);
        assert_eq!(members["b"].get(), "2");
        let Some(Parts::Elements(elements)) = members["a"].split().unwrap() else { panic!() };
        let found: Vec<&str> = elements.iter().map(Text::get).collect();
        assert_eq!(found, ["1e2", r#"{"k" : { } }"#]);
        let Some(Parts::Members(inner)) = elements[1].split().unwrap() else { panic!() };
        assert_eq!(inner["k"].clone().into_json().get(), "{ }");
        assert!(members["b"].split().unwrap().is_none());
    }

    #[test]
    fn a_whole_text_is_not_copied() {
        let whole = Json::known("[1]".to_owned());
        assert!(Text::new(whole.clone()).into_json().is_same(&whole));
    }

    #[test]
    fn a_name_that_is_no_text_is_refused() {
        assert!(text(r#"{"\ud800":1}"#).split().is_err());
    }
}
