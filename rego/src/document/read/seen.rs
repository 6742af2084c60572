//! What was read lately, to be used again: documents repeat names and many values, lists such
//! as roles, the names that their objects have, and whole objects such as grants.
//!
//! Each is looked up in one place only, which a hash gives: what is forgotten costs memory, and
//! nothing else.

use std::{collections::BTreeMap, mem, ops::RangeInclusive, sync::Arc};

use regorus::{
    Value,
    value::{Array, Object},
};

/// Strings, lists, shapes and objects that are remembered, to be used again; powers of two.
const REMEMBERED: RangeInclusive<usize> = 64..=2_048;
/// Bytes of text for each that is: a short text cannot repeat much.
const BYTES_FOR_ONE: usize = 32;
/// Longer strings are not remembered.
const REMEMBERED_BYTES: usize = 32;
/// Lists and objects with more parts are not remembered.
const REMEMBERED_PARTS: usize = 16;

/// What a thread has read lately.
pub(in crate::document) struct Seen {
    /// Strings that came twice, with their hashes.
    strings: Slots<(u64, Arc<str>)>,
    /// The hashes of those that came once.
    once: Slots<u64>,
    lists: Slots<Arc<Array>>,
    shapes: Slots<Shape>,
    objects: Slots<Arc<Object>>,
}

/// So many places, a power of two, of which a hash names one. They are made when one is needed.
struct Slots<T>(usize, Vec<Option<T>>);

/// An object without its values.
struct Shape {
    /// The members' names in the order in which they were read.
    names: Vec<Value>,
    /// All values are null.
    object: Object,
    /// Which name is that of each of the object's members, in its own order: nothing need be
    /// looked for in an object that is filled.
    order: Vec<usize>,
}

impl<T> Slots<T> {
    fn at(&mut self, hash: u64) -> Option<&mut Option<T>> {
        let Self(size, slots) = self;
        if slots.is_empty() {
            slots.resize_with(*size, || None);
        }
        // The upper bits, which all of what is hashed has a part in.
        slots.get_mut(usize::try_from(hash >> 40).unwrap_or_default() & (*size - 1))
    }
}

impl Seen {
    /// For texts of so many bytes together.
    pub(in crate::document) fn new(bytes: usize) -> Self {
        let size = (bytes / BYTES_FOR_ONE).clamp(*REMEMBERED.start(), *REMEMBERED.end());
        let size = size.next_power_of_two();
        let (strings, once) = (Slots(size, vec![]), Slots(size, vec![]));
        let (lists, shapes, objects) =
            (Slots(size, vec![]), Slots(size, vec![]), Slots(size, vec![]));
        Self { strings, once, lists, shapes, objects }
    }

    pub(super) fn string(&mut self, text: &str) -> Arc<str> {
        if text.len() > REMEMBERED_BYTES {
            return Arc::from(text);
        }
        let hash = hash(text.as_bytes());
        let Some(slot) = self.strings.at(hash) else { return Arc::from(text) };
        if let Some((_, known)) = slot.as_ref().filter(|(of, it)| *of == hash && **it == *text) {
            return Arc::clone(known);
        }
        let new = Arc::from(text);
        // Most strings never come back; those are not even touched again.
        let Some(once) = self.once.at(hash) else { return new };
        if once.replace(hash) == Some(hash) {
            *slot = Some((hash, Arc::clone(&new)));
        }
        new
    }

    pub(super) fn list(&mut self, mut elements: Vec<Value>) -> Value {
        let is_string = |element: &Value| matches!(element, Value::String(_));
        if elements.is_empty()
            || elements.len() > REMEMBERED_PARTS
            || !elements.iter().all(is_string)
        {
            elements.shrink_to_fit();
            return Value::from(elements);
        }
        let Some(slot) = self.lists.at(addresses(&elements)) else { return Value::from(elements) };
        if let Some(known) = slot.as_ref().filter(|known| are_same(known.iter(), &elements)) {
            return Value::Array(Arc::clone(known));
        }
        elements.shrink_to_fit();
        let value = Value::from(elements);
        if let Value::Array(list) = &value {
            *slot = Some(Arc::clone(list));
        }
        value
    }

    pub(super) fn object(&mut self, mut members: Vec<(Value, Value)>) -> Value {
        let make = |members: Vec<(Value, Value)>| Value::from(BTreeMap::from_iter(members));
        if members.is_empty() || members.len() > REMEMBERED_PARTS {
            return make(members);
        }
        let hash = addresses(members.iter().map(|(name, _)| name));
        let Some(slot) = self.shapes.at(hash) else { return make(members) };
        let is_same = |shape: &&Shape| are_same(members.iter().map(|(name, _)| name), &shape.names);
        if let Some(shape) = slot.as_ref().filter(is_same) {
            let whole = members.iter().try_fold(hash, |hash, (_, value)| place(hash, value));
            let mut known = whole.and_then(|hash| self.objects.at(hash));
            if let Some(Some(known)) = &known
                && shape.makes(known, &members)
            {
                return Value::Object(Arc::clone(known));
            }
            let mut object = shape.object.clone();
            for ((_, member), at) in object.iter_mut().zip(&shape.order) {
                if let Some((_, value)) = members.get_mut(*at) {
                    *member = mem::replace(value, Value::Null);
                }
            }
            let value = object.into_value();
            if let (Some(slot), Value::Object(object)) = (&mut known, &value) {
                **slot = Some(Arc::clone(object));
            }
            return value;
        }
        let names: Vec<Value> = members.iter().map(|(name, _)| name.clone()).collect();
        let empty = make(names.iter().map(|name| (name.clone(), Value::Null)).collect());
        if let Value::Object(object) = empty
            && object.len() == names.len()
        {
            let mut object = Object::clone(&object);
            let number = |name: &Value| names.iter().position(|other| other == name);
            let order = object.iter_mut().map_while(|(name, _)| number(name)).collect();
            *slot = Some(Shape { names, object, order });
        }
        // Of members with one name the last stays.
        make(members)
    }
}

impl Shape {
    /// True if `object` is what these members, which have this shape, would become.
    fn makes(&self, object: &Object, members: &[(Value, Value)]) -> bool {
        let mut known = object.iter_sorted();
        let mut places = self.order.iter();
        loop {
            match (known.next(), places.next()) {
                (None, None) => return true,
                (Some((name, value)), Some(at)) => match members.get(*at) {
                    Some((read, new)) if is_same(name, read) && is_same(value, new) => {}
                    _ => return false,
                },
                _ => return false,
            }
        }
    }
}

/// True if both are one place in memory, or equal where there is no such place.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => Arc::ptr_eq(one, other),
        (Value::Array(one), Value::Array(other)) => Arc::ptr_eq(one, other),
        (Value::Object(one), Value::Object(other)) => Arc::ptr_eq(one, other),
        _ => one == other,
    }
}

/// A hash of where a value is in memory, or of the value where it has no such place. None for
/// what hardly ever comes back.
fn place(hash: u64, value: &Value) -> Option<u64> {
    let word = match value {
        Value::Null => 1,
        Value::Bool(value) => 2 + u64::from(*value),
        Value::Number(number) => number.as_i64()?.cast_unsigned(),
        Value::String(text) => text.as_ptr().addr() as u64,
        Value::Array(list) => Arc::as_ptr(list).addr() as u64,
        Value::Object(object) => Arc::as_ptr(object).addr() as u64,
        Value::Set(_) | Value::Undefined => return None,
    };
    Some(mixed(hash, word))
}

/// True if these are the same strings in memory.
fn are_same<'v>(mut one: impl Iterator<Item = &'v Value>, other: &[Value]) -> bool {
    let mut other = other.iter();
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(Value::String(one)), Some(Value::String(other))) if Arc::ptr_eq(one, other) => {}
            _ => return false,
        }
    }
}

/// A hash of strings by where they are in memory.
fn addresses<'v>(strings: impl IntoIterator<Item = &'v Value>) -> u64 {
    strings.into_iter().fold(0, |hash, string| match string {
        Value::String(text) => mixed(hash, text.as_ptr().addr() as u64),
        _ => hash,
    })
}

/// A hash that nothing depends on but time.
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0, |hash, word| mixed(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| mixed(hash, u64::from(*byte)))
}

fn mixed(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}
