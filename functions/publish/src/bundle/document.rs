//! The data document of a bundle: text as long as nobody looks into it.
//!
//! A parsed document has many times the size of its text, and most of it is only passed on. So a
//! value is kept as it was written, and taken apart one level at a time where a write goes into
//! it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A JSON value.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// As it was written.
    Text(Box<RawValue>),
    Object(BTreeMap<String, Node>),
    Array(Vec<Node>),
}

/// A JSON object at whose members data is put.
#[derive(Clone, Debug)]
pub(super) struct Document(Node);

/// What an operation of a JSON Patch does.
#[derive(Debug)]
pub(super) enum Change {
    Add(Node),
    Replace(Node),
    Remove,
}

/// What takes a change back.
enum Undo {
    /// The member or element was this.
    Set(Node),
    /// It was not there.
    Remove,
    /// It stood here.
    Insert(Node),
}

impl Default for Document {
    fn default() -> Self {
        Self(Node::Object(BTreeMap::new()))
    }
}

impl Document {
    pub(super) fn root(&self) -> &Node {
        &self.0
    }

    pub(super) fn root_mut(&mut self) -> &mut Node {
        &mut self.0
    }

    /// Puts a value at a place and makes what is above it. False, and nothing has changed, if
    /// something above it has no members, or if it is the root and the value no object.
    pub(super) fn put(&mut self, path: &[String], value: Node) -> bool {
        let Some((last, above)) = path.split_last() else {
            let is_object = value.is_object();
            if is_object {
                self.0 = value;
            }
            return is_object;
        };
        let Some(members) = self.parent(above) else { return false };
        members.insert(last.clone(), value);
        true
    }

    /// Removes what is at a place and makes what is above it, as if something were put there. The
    /// root loses its members.
    pub(super) fn clear(&mut self, path: &[String]) {
        match path.split_last() {
            None => *self = Self::default(),
            Some((last, above)) => {
                if let Some(members) = self.parent(above) {
                    members.remove(last);
                }
            }
        }
    }

    /// The members of an object that is made if need be; none if something on the way, or itself,
    /// is another value, in which case nothing has been made.
    fn parent(&mut self, path: &[String]) -> Option<&mut BTreeMap<String, Node>> {
        let mut at = &mut self.0;
        for segment in path {
            at = at.open_object()?.entry(segment.clone()).or_insert_with(Node::empty);
        }
        at.open_object()
    }

    /// Merges an object into what is at a place; where both have something, the new one counts.
    pub(super) fn merge(&mut self, path: &[String], text: &str) -> Result<(), String> {
        let value: Box<RawValue> =
            serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        let mut value = Node::Text(value);
        if value.open_object().is_none() {
            return Err("is not an object".to_owned());
        }
        let mut at = &mut self.0;
        for segment in path {
            if at.open_object().is_none() {
                *at = Node::empty();
            }
            let Some(members) = at.open_object() else { return Ok(()) };
            at = members.entry(segment.clone()).or_insert_with(Node::empty);
        }
        at.merge(value);
        Ok(())
    }

    /// Applies the operations of a patch, each with its place. False, and nothing has changed, if
    /// one of them cannot be.
    pub(super) fn patch(&mut self, changes: Vec<(Vec<String>, Change)>) -> bool {
        let mut undone = vec![];
        for (path, change) in changes {
            match self.change(&path, change) {
                Some((path, undo)) => undone.push((path, undo)),
                None => {
                    for (path, undo) in undone.into_iter().rev() {
                        self.undo(&path, undo);
                    }
                    return false;
                }
            }
        }
        true
    }

    /// One operation of RFC 6902, with what takes it back, at the place where it took effect.
    fn change(&mut self, path: &[String], change: Change) -> Option<(Vec<String>, Undo)> {
        let (last, above) = path.split_last()?;
        let mut place = path.to_vec();
        let undo = match self.at(above)?.open() {
            Node::Object(members) => {
                let before = match change {
                    Change::Add(value) => members.insert(last.clone(), value),
                    Change::Replace(value) => {
                        Some(std::mem::replace(members.get_mut(last)?, value))
                    }
                    Change::Remove => Some(members.remove(last)?),
                };
                before.map_or(Undo::Remove, Undo::Set)
            }
            Node::Array(elements) => {
                let end = elements.len();
                let at = match change {
                    Change::Add(_) if last == "-" => end,
                    _ => index(last)?,
                };
                if let Some(last) = place.last_mut() {
                    *last = at.to_string();
                }
                match change {
                    Change::Add(value) if at <= end => {
                        elements.insert(at, value);
                        Undo::Remove
                    }
                    Change::Add(_) => return None,
                    Change::Replace(value) => {
                        Undo::Set(std::mem::replace(elements.get_mut(at)?, value))
                    }
                    Change::Remove if at < end => Undo::Insert(elements.remove(at)),
                    Change::Remove => return None,
                }
            }
            Node::Text(_) => return None,
        };
        Some((place, undo))
    }

    fn undo(&mut self, path: &[String], undo: Undo) {
        let Some((last, above)) = path.split_last() else { return };
        match self.at(above).map(Node::open) {
            Some(Node::Object(members)) => {
                match undo {
                    Undo::Set(value) | Undo::Insert(value) => members.insert(last.clone(), value),
                    Undo::Remove => members.remove(last),
                };
            }
            Some(Node::Array(elements)) => {
                let Some(at) = index(last).filter(|at| *at <= elements.len()) else { return };
                match undo {
                    Undo::Insert(value) => elements.insert(at, value),
                    Undo::Set(value) => {
                        elements.get_mut(at).map(|element| std::mem::replace(element, value));
                    }
                    Undo::Remove => {
                        elements.drain(at..(at + 1).min(elements.len()));
                    }
                }
            }
            _ => {}
        }
    }

    fn at(&mut self, path: &[String]) -> Option<&mut Node> {
        let mut at = &mut self.0;
        for segment in path {
            at = match at.open() {
                Node::Object(members) => members.get_mut(segment)?,
                Node::Array(elements) => elements.get_mut(index(segment)?)?,
                Node::Text(_) => return None,
            };
        }
        Some(at)
    }
}

impl Node {
    fn empty() -> Self {
        Self::Object(BTreeMap::new())
    }

    fn is_object(&self) -> bool {
        match self {
            Self::Text(text) => text.get().starts_with('{'),
            Self::Object(_) => true,
            Self::Array(_) => false,
        }
    }

    /// The value, taken apart if it has parts.
    pub(super) fn open(&mut self) -> &mut Self {
        if let Self::Text(text) = self {
            let text = text.get();
            let opened = match text.as_bytes().first() {
                Some(b'{') => serde_json::from_str(text).ok().map(|members: BTreeMap<_, _>| {
                    let members = members.into_iter();
                    Self::Object(members.map(|(name, value)| (name, Self::Text(value))).collect())
                }),
                Some(b'[') => serde_json::from_str(text).ok().map(|elements: Vec<_>| {
                    Self::Array(elements.into_iter().map(Self::Text).collect())
                }),
                _ => None,
            };
            if let Some(opened) = opened {
                *self = opened;
            }
        }
        self
    }

    fn open_object(&mut self) -> Option<&mut BTreeMap<String, Self>> {
        match self.open() {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    fn merge(&mut self, mut over: Self) {
        let (Some(members), Some(new)) = (self.open_object(), over.open_object()) else {
            *self = over;
            return;
        };
        for (name, value) in std::mem::take(new) {
            match members.get_mut(&name) {
                Some(member) => member.merge(value),
                None => {
                    members.insert(name, value);
                }
            }
        }
    }
}

/// An element's number, as RFC 6901 writes it.
fn index(segment: &str) -> Option<usize> {
    let is_plain = segment == "0" || !segment.starts_with(['0', '+']);
    segment.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::canonical;
    use super::*;

    fn segments(path: &str) -> Vec<String> {
        path.split('/').skip(1).map(str::to_owned).collect()
    }

    fn node(value: &Value) -> Node {
        Node::Text(serde_json::value::to_raw_value(value).unwrap())
    }

    fn document(value: &Value) -> Document {
        let mut document = Document::default();
        assert!(document.put(&[], node(value)));
        document
    }

    fn value(document: &Document) -> Value {
        let mut text = String::new();
        canonical::write(document.root(), &mut text);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_put_makes_its_parents_and_stops_at_what_has_no_members() {
        let mut it = document(&json!({"l": [1], "n": 5}));
        assert!(it.put(&segments("/a/b"), node(&json!({"x": 1}))));
        for path in ["/l/0", "/l/b", "/n/b", "/a/b/x/y/z"] {
            assert!(!it.put(&segments(path), node(&json!({}))), "{path}");
        }
        assert!(!it.put(&[], node(&json!([]))), "the root is an object");
        assert_eq!(value(&it), json!({"l": [1], "n": 5, "a": {"b": {"x": 1}}}));
        it.clear(&segments("/a/b"));
        it.clear(&segments("/new/b"));
        assert_eq!(value(&it), json!({"l": [1], "n": 5, "a": {}, "new": {}}));
        it.clear(&[]);
        assert_eq!(value(&it), json!({}));
    }

    #[test]
    fn a_patch_is_done_as_a_whole_or_not_at_all() {
        let before = json!({"a": {"l": [1, 2], "k": {"x": 1}, "gone": true}});
        let mut it = document(&before);
        let changes = |bad: bool| {
            let mut all = vec![
                (segments("/a/l/-"), Change::Add(node(&json!(3)))),
                (segments("/a/l/0"), Change::Add(node(&json!(0)))),
                (segments("/a/l/1"), Change::Replace(node(&json!("one")))),
                (segments("/a/l/2"), Change::Remove),
                (segments("/a/k"), Change::Add(node(&json!({"y": 2})))),
                (segments("/a/k/z"), Change::Add(node(&json!([])))),
                (segments("/a/gone"), Change::Remove),
            ];
            if bad {
                all.push((segments("/a/gone"), Change::Remove));
            }
            all
        };
        assert!(!it.patch(changes(true)));
        assert_eq!(value(&it), before);
        assert!(it.patch(changes(false)));
        assert_eq!(value(&it), json!({"a": {"l": [0, "one", 3], "k": {"y": 2, "z": []}}}));
        for (path, change) in [
            ("/a/l/4", Change::Add(node(&json!(1)))),
            ("/a/l/3", Change::Remove),
            ("/a/l/01", Change::Remove),
            ("/a/l/-", Change::Remove),
            ("/a/x/y", Change::Add(node(&json!(1)))),
            ("/a/l/0/x", Change::Add(node(&json!(1)))),
            ("", Change::Add(node(&json!({})))),
        ] {
            assert!(!it.patch(vec![(segments(path), change)]), "{path}");
        }
    }

    #[test]
    fn what_is_deeper_counts_where_two_files_meet() {
        let mut it = document(&json!({"a": {"x": 1, "b": 5}, "n": 1}));
        it.merge(&segments("/a"), r#"{"y":{"z":1}}"#).unwrap();
        it.merge(&segments("/a/b"), r#"{"k":1}"#).unwrap();
        it.merge(&segments("/n/m"), "{}").unwrap();
        assert_eq!(
            value(&it),
            json!({"a": {"x": 1, "y": {"z": 1}, "b": {"k": 1}}, "n": {"m": {}}})
        );
        assert!(it.merge(&[], "5").is_err());
    }
}
