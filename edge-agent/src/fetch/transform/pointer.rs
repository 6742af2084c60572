//! JSON pointers (RFC 6901) into text: the part they lead to is taken as it is written.

use std::fmt;

use rego::document::operation::index;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::NOT_DATA;
use crate::json::Json;

/// Checks the escapes of a pointer.
pub(super) fn check(pointer: &str) -> Result<(), String> {
    let is_escape = |rest: &str| rest.starts_with(['0', '1']);
    if pointer.split('~').skip(1).all(is_escape) {
        Ok(())
    } else {
        Err("a JSON pointer writes ~ as ~0, and / in a name as ~1".to_owned())
    }
}

/// The object or array at the pointer.
pub(super) fn at(data: &Json, pointer: &str) -> Result<Json, String> {
    let mut text = data.get().trim();
    let mut walked = String::new();
    for segment in pointer.split('/').skip(1) {
        walked = format!("{walked}/{segment}");
        let name = segment.replace("~1", "/").replace("~0", "~");
        let found = match text.as_bytes().first() {
            Some(b'{') => Member(&name).find(text),
            Some(b'[') => index(segment).and_then(|index| Item(index).find(text)),
            _ => None,
        };
        text = found.ok_or_else(|| format!("nothing is at {walked} of what was fetched"))?;
    }
    match text.as_bytes().first() {
        Some(b'{' | b'[') => Ok(Json::known(text.to_owned())),
        _ => Err(NOT_DATA.to_owned()),
    }
}

/// Looks for the last member of this name.
struct Member<'n>(&'n str);

/// Looks for the item at this place.
struct Item(usize);

impl Member<'_> {
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        serde_json::Deserializer::from_str(text).deserialize_map(self).ok().flatten()
    }
}

impl Item {
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        serde_json::Deserializer::from_str(text).deserialize_seq(self).ok().flatten()
    }
}

impl<'t> Visitor<'t> for &Member<'_> {
    type Value = Option<&'t str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = members.next_key_seed(Is(self.0))? {
            if is_it {
                found = Some(members.next_value::<&RawValue>()?.get());
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

impl<'t> Visitor<'t> for &Item {
    type Value = Option<&'t str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut at = 0_usize;
        while let Some(item) = items.next_element::<&RawValue>()? {
            if at == self.0 {
                found = Some(item.get());
            }
            at = at.saturating_add(1);
        }
        Ok(found)
    }
}

/// Compares a name without keeping it.
struct Is<'n>(&'n str);

impl<'t> DeserializeSeed<'t> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'t>>(self, name: D) -> Result<bool, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}
