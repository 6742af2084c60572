//! JSON text straight into a [`Value`]: what `Value::from_json_str` makes of it, in a third
//! of the time, and with one copy of strings, lists and names that repeat.
//!
//! Most of the time goes into memory: each page of it that is touched for the first time costs
//! as much as reading a hundred bytes. So nothing is copied that need not be, and a large
//! document is read on two threads: one takes it apart, and both read the parts. That needs the
//! feature `std`; where functions run there is one thread.

use std::{
    collections::BTreeMap,
    fmt, hint, mem,
    panic::resume_unwind,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, ScopedJoinHandle},
};

use regorus::{Value, value::Object};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{MAX_DEPTH, Refused};

mod seen;

pub(super) use seen::Seen;

/// Levels of a document that is written. It is what `Value::from_json_str` reads.
pub const LEVELS: usize = 127;

/// Arrays and objects of so many bytes are read on two threads.
pub const SPLIT_BYTES: usize = 1 << 20;
/// How often the greatest part of what is read on two threads is read like that, too.
const SPLITS: usize = 4;
/// Bytes that values take for each byte of their text, about.
const VALUE_BYTES: usize = 5;
/// Bytes of the parts that a thread takes at one time.
const BATCH_BYTES: usize = 32 << 10;

/// Reads a document of at most so many levels.
///
/// # Errors
/// It has more levels, a number that is too large, or a string that is not Unicode.
pub fn read(text: &str, levels: usize) -> Result<Value, Refused> {
    read_next(text, &mut Seen::new(text.len()), levels)
}

/// Reads one of several documents, with what was seen in those before.
///
/// # Errors
/// As [`read`].
pub(super) fn read_next(text: &str, seen: &mut Seen, levels: usize) -> Result<Value, Refused> {
    let read = match can_be_split(text) {
        true => read_apart(text, levels, SPLITS),
        false => read_whole(text, seen, levels),
    };
    read.map_err(|error| format!("the data cannot be read: {error}"))
}

/// Reads all texts, which may be as deep as a patched document: a large one on two threads, and
/// the others in two halves.
#[must_use]
pub fn read_all(texts: &[&str]) -> Vec<Result<Value, Refused>> {
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let largest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    if !cfg!(feature = "std") || bytes < SPLIT_BYTES || largest > bytes / 2 {
        return read_here(texts, bytes);
    }
    let mut before = 0;
    let first = texts.iter().take_while(|text| {
        before += text.len();
        before < bytes / 2
    });
    let middle = first.count();
    let (first, second) = texts.split_at(middle);
    let half = |texts| move || read_here(texts, bytes / 2);
    let (mut all, other) = on_two_threads(bytes, half(second), half(first));
    all.append(&mut other.unwrap_or_else(half(second)));
    all
}

/// Reads texts of so many bytes together on this thread.
fn read_here(texts: &[&str], bytes: usize) -> Vec<Result<Value, Refused>> {
    let mut seen = Seen::new(bytes);
    texts.iter().map(|text| read_next(text, &mut seen, MAX_DEPTH)).collect()
}

fn can_be_split(text: &str) -> bool {
    cfg!(feature = "std") && text.len() >= SPLIT_BYTES && text.starts_with(['{', '['])
}

fn read_whole(text: &str, seen: &mut Seen, levels: usize) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // It would count from its own number.
    deserializer.disable_recursion_limit();
    let value = Reader { seen, levels }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

// === two threads ===

/// Some parts of an array or object as text, and the number of the first.
type Batch<'t> = (usize, Vec<&'t RawValue>);

/// The same as values.
type Values = Vec<(usize, Vec<Value>)>;

/// Reads an array or object: this thread takes it apart, and both read the parts. A part that is
/// most of it is read in the same way, up to `splits` times.
fn read_apart(text: &str, levels: usize, splits: usize) -> serde_json::Result<Value> {
    let levels = levels.checked_sub(1).ok_or_else(|| Error::custom("nested too deeply"))?;
    let read_part = |part: &str, seen: &mut Seen| match splits.checked_sub(1) {
        Some(splits) if can_be_split(part) && part.len() > text.len() / 2 => {
            read_apart(part, levels, splits)
        }
        _ => read_whole(part, seen, levels),
    };
    let (sender, receiver) = mpsc::channel();
    let batches = Mutex::new(receiver);
    let read_parts = || read_batches(&batches, Seen::new(text.len() / 2), read_part);
    let ((names, mine), theirs) = on_two_threads(text.len(), read_parts, || {
        let names = take_apart(text, sender);
        (names, read_parts())
    });
    // Without another thread all was read here.
    let theirs = theirs.unwrap_or_else(|| Ok(Values::new()));
    let (names, mut read) = (names?, mine?);
    read.append(&mut theirs?);
    read.sort_unstable_by_key(|(first, _)| *first);
    let values = read.into_iter().flat_map(|(_, values)| values);
    let Some(mut members) = names else {
        return Ok(Value::from(values.collect::<Vec<Value>>()));
    };
    // If the names are in order, as they mostly are, so are the numbers.
    if members.values().zip(0_u64..).all(|(number, at)| *number == Value::from(at)) {
        members.values_mut().zip(values).for_each(|(member, value)| *member = value);
    } else {
        let mut values: Vec<Value> = values.collect();
        for member in members.values_mut() {
            let number = member.as_u64().ok().and_then(|number| usize::try_from(number).ok());
            if let Some(value) = number.and_then(|number| values.get_mut(number)) {
                *member = mem::replace(value, Value::Null);
            }
        }
    }
    // As it is: made compact it would be written once more, and again for the next new member.
    Ok(Value::Object(Arc::new(Object::from(members))))
}

/// Reads batches until there are no more.
fn read_batches(
    batches: &Mutex<mpsc::Receiver<Batch<'_>>>,
    mut seen: Seen,
    read_part: impl Fn(&str, &mut Seen) -> serde_json::Result<Value>,
) -> serde_json::Result<Values> {
    let mut read = Values::new();
    loop {
        let next = batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((first, parts)) = next else { return Ok(read) };
        let values = parts.into_iter().map(|part| read_part(part.get(), &mut seen));
        read.push((first, values.collect::<serde_json::Result<_>>()?));
    }
}

/// Sends the parts of an array or object. Of an object, returns each name with the number of
/// the part that is its value.
fn take_apart<'t>(
    text: &'t str,
    batches: mpsc::Sender<Batch<'t>>,
) -> serde_json::Result<Option<BTreeMap<Value, Value>>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let text_bytes = text.len();
    let mut parts = Parts { batches, batch: vec![], bytes: 0, taken: 0, text_bytes };
    let names = deserializer.deserialize_any(&mut parts)?;
    deserializer.end()?;
    parts.send();
    drop(parts);
    // Of members with one name the last stays.
    Ok(names.map(BTreeMap::from_iter))
}

/// Collects parts, and sends them.
struct Parts<'t> {
    batches: mpsc::Sender<Batch<'t>>,
    batch: Vec<&'t RawValue>,
    bytes: usize,
    taken: usize,
    /// Of all that is taken apart.
    text_bytes: usize,
}

impl<'t> Parts<'t> {
    fn take(&mut self, part: &'t RawValue) {
        self.bytes += part.get().len();
        self.batch.push(part);
        self.taken += 1;
        if self.bytes >= BATCH_BYTES {
            self.send();
        }
    }

    fn send(&mut self) {
        let batch = mem::take(&mut self.batch);
        self.bytes = 0;
        // Who receives is there as long as the sender.
        let _ = self.batches.send((self.taken - batch.len(), batch));
    }
}

impl<'t> Visitor<'t> for &mut Parts<'t> {
    /// An object's names, with the numbers of their values.
    type Value = Option<Vec<(Value, Value)>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while let Some(element) = elements.next_element()? {
            self.take(element);
        }
        Ok(None)
    }

    fn visit_map<A: MapAccess<'t>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut seen, mut names) = (Seen::new(self.text_bytes), vec![]);
        while let Some(name) = members.next_key_seed(Name(&mut seen))? {
            names.push((Value::String(name), Value::from(names.len())));
            self.take(members.next_value()?);
        }
        Ok(Some(names))
    }
}

/// Does both at the same time, where so many bytes of text are read; none of `there` if no other
/// thread can be had. A panic of either is one here.
fn on_two_threads<T: Send, U>(
    text: usize,
    there: impl FnOnce() -> T + Send,
    here: impl FnOnce() -> U,
) -> (U, Option<T>) {
    thread::scope(|scope| {
        let other = thread::Builder::new().spawn_scoped(scope, || {
            grow_heap(text);
            there()
        });
        grow_heap(text);
        let done = here();
        let joined = |other: ScopedJoinHandle<'_, T>| {
            other.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        (done, other.ok().map(joined))
    })
}

/// Has this thread's heap grow in large steps to what its share of so many bytes of text will
/// need. By itself glibc grows the heap of a thread that is not the first page by page, and each of
/// these system calls holds up the other thread's first touch of a page. Of what is reserved one
/// page a step is touched.
fn grow_heap(text: usize) {
    const STEP_BYTES: usize = 64 << 10;
    // A heap of glibc has at most 64 MiB.
    const MOST_BYTES: usize = 48 << 20;
    let needed = (text.saturating_mul(VALUE_BYTES) / 2).min(MOST_BYTES);
    let steps: Vec<Vec<u8>> =
        (0..needed / STEP_BYTES).map(|_| Vec::with_capacity(STEP_BYTES)).collect();
    hint::black_box(&steps);
}

// === one thread ===

/// Reads one value.
struct Reader<'s> {
    seen: &'s mut Seen,
    /// Arrays and objects that may still be entered.
    levels: usize,
}

impl Reader<'_> {
    /// The reader of one part of this value.
    fn part<E: Error>(&mut self) -> Result<Reader<'_>, E> {
        let levels = self.levels.checked_sub(1);
        let levels = levels.ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Reader { seen: self.seen, levels })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(self.seen.string(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Value, A::Error> {
        // Also what has no part is a level.
        self.part::<A::Error>()?;
        let mut all = vec![];
        while let Some(element) = elements.next_element_seed(self.part()?)? {
            all.push(element);
        }
        Ok(self.seen.list(all))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        self.part::<A::Error>()?;
        let mut all = vec![];
        while let Some(name) = members.next_key_seed(Name(self.seen))? {
            all.push((Value::String(name), members.next_value_seed(self.part()?)?));
        }
        Ok(self.seen.object(all))
    }
}

/// Reads the name of a member.
struct Name<'s>(&'s mut Seen);

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
        Ok(self.0.string(name))
    }
}

#[cfg(test)]
mod tests;
