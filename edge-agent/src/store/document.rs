//! The data document as far as the agent has written it: places, and the JSON text of each.
//!
//! Text is kept as it came, so that a number keeps its digits, and is taken apart one level
//! at a time, only where a write goes into it. A write means what it means to the engines;
//! it takes effect as a whole, or not at all.

use std::{collections::BTreeMap, fmt::Write as _};

use protocol::DataPath;
use rego::document::operation::index;

use super::text::{Parts, Text};
use crate::json::Json;

/// Why a write cannot be applied.
pub(super) type Refused = String;

/// The documents of all places that were written to.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) root: Node,
    /// Policy and grants, by their own places.
    apart: BTreeMap<DataPath, Text>,
}

/// What is at one place.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// An object that is not ours as a whole: the way to what is, or was.
    Way(BTreeMap<String, Node>),
    /// Nothing: it was removed.
    Gone,
    /// A document, not yet taken apart.
    Text(Text),
    /// A document that is an object.
    Object(BTreeMap<String, Node>),
    /// A document that is an array.
    Array(Vec<Node>),
}

/// The document of one place, as it is to be kept.
#[derive(Debug)]
pub(super) enum Owned {
    /// Nothing may be there.
    Nothing,
    /// A text that is in the store already, with its number there.
    Stored(u64, Json),
    /// Another text.
    New(Json),
}

impl Owned {
    fn of(text: Text) -> Self {
        match text.stored_as() {
            Some(number) => Self::Stored(number, text.into_json()),
            None => Self::New(text.into_json()),
        }
    }

    pub(super) fn into_text(self) -> Option<Json> {
        match self {
            Self::Nothing => None,
            Self::Stored(_, text) | Self::New(text) => Some(text),
        }
    }
}

impl Default for Document {
    fn default() -> Self {
        Self { root: Node::Way(BTreeMap::new()), apart: BTreeMap::new() }
    }
}

impl Document {
    /// Puts back what [`Self::owned`] once returned. No place covers another.
    pub(super) fn insert(&mut self, path: &DataPath, text: Option<Text>) {
        if path.is_apart() {
            self.apart.extend(text.map(|text| (path.clone(), text)));
            return;
        }
        let node = text.map_or(Node::Gone, Node::Text);
        let mut at = &mut self.root;
        for segment in path.segments() {
            let Node::Way(members) = at else { return };
            at = members.entry(segment.clone()).or_insert_with(Node::way);
        }
        *at = node;
    }

    /// Replaces the document at `path`, making the objects that lead there.
    pub(super) fn put(&mut self, path: &DataPath, text: Text) -> Result<(), Refused> {
        if path.is_apart() {
            // A module that is nothing is none, and so is a grant.
            if text.get() == "{}" {
                self.apart.remove(path);
            } else {
                self.apart.insert(path.clone(), text);
            }
            return Ok(());
        }
        let Some((last, parents)) = path.segments().split_last() else {
            self.root = match () {
                () if text.is_object() => Node::Text(text),
                // As the engines do.
                () if text.is_array() => {
                    Node::Object(BTreeMap::from([("items".to_owned(), Node::Text(text))]))
                }
                () => {
                    return Err(
                        "the whole data document can only be an object or an array".to_owned()
                    );
                }
            };
            return Ok(());
        };
        let mut at = &mut self.root;
        for (depth, segment) in parents.iter().enumerate() {
            // Nothing is made before the last refusal: below a made object all is new.
            at = at.make_member(segment)?.ok_or_else(|| no_members(path, depth))?;
        }
        at.split()?;
        match at {
            Node::Way(members) | Node::Object(members) => {
                members.insert(last.clone(), Node::Text(text));
            }
            Node::Array(elements) => {
                let element = index(last).and_then(|at| elements.get_mut(at));
                *element.ok_or_else(|| no_members(path, parents.len()))? = Node::Text(text);
            }
            Node::Text(_) | Node::Gone => return Err(no_members(path, parents.len())),
        }
        Ok(())
    }

    /// The places that were written to, in order; none covers another.
    pub(super) fn owned(self) -> Vec<(DataPath, Owned)> {
        let mut owned = Vec::new();
        collect(self.root, &DataPath::default(), &mut owned);
        owned.extend(self.apart.into_iter().map(|(path, text)| (path, Owned::of(text))));
        owned
    }
}

fn collect(node: Node, path: &DataPath, owned: &mut Vec<(DataPath, Owned)>) {
    let found = match node {
        Node::Way(members) => {
            for (name, member) in members {
                collect(member, &path.below([name]), owned);
            }
            return;
        }
        Node::Gone => Owned::Nothing,
        Node::Text(text) => Owned::of(text),
        Node::Object(_) | Node::Array(_) => Owned::New(node.to_json()),
    };
    owned.push((path.clone(), found));
}

impl Node {
    pub(super) fn way() -> Self {
        Self::Way(BTreeMap::new())
    }

    /// Takes one level apart, if it is a text of something that has parts.
    pub(super) fn split(&mut self) -> Result<(), Refused> {
        let Self::Text(text) = self else { return Ok(()) };
        match text.split()? {
            None => {}
            Some(Parts::Members(members)) => {
                let members = members.into_iter().map(|(name, text)| (name, Self::Text(text)));
                *self = Self::Object(members.collect());
            }
            Some(Parts::Elements(elements)) => {
                *self = Self::Array(elements.into_iter().map(Self::Text).collect());
            }
        }
        Ok(())
    }

    /// The place `path` below this one, if there is something.
    pub(super) fn at(&mut self, path: &[String]) -> Result<Option<&mut Self>, Refused> {
        let mut at = self;
        for segment in path {
            at.split()?;
            let member = match at {
                Self::Way(members) | Self::Object(members) => members.get_mut(segment),
                Self::Array(elements) => index(segment).and_then(|at| elements.get_mut(at)),
                Self::Text(_) | Self::Gone => None,
            };
            match member {
                None | Some(Self::Gone) => return Ok(None),
                Some(member) => at = member,
            }
        }
        Ok(Some(at))
    }

    /// The member of that name, made if it is missing; none where there can be no members.
    fn make_member(&mut self, segment: &str) -> Result<Option<&mut Self>, Refused> {
        self.split()?;
        let member = match self {
            Self::Way(members) => {
                let member = members.entry(segment.to_owned()).or_insert_with(Self::way);
                if matches!(member, Self::Gone) {
                    // Nothing but what is written from here on may be there.
                    *member = Self::Object(BTreeMap::new());
                }
                Some(member)
            }
            Self::Object(members) => {
                let made = || Self::Object(BTreeMap::new());
                Some(members.entry(segment.to_owned()).or_insert_with(made))
            }
            Self::Array(elements) => index(segment).and_then(|at| elements.get_mut(at)),
            Self::Text(_) | Self::Gone => None,
        };
        Ok(member)
    }

    /// The same, as a document of its own: what is known of an object that is not ours.
    pub(super) fn into_document(self) -> Self {
        let Self::Way(members) = self else { return self };
        let there = members.into_iter().filter(|(_, member)| !matches!(member, Self::Gone));
        Self::Object(there.map(|(name, member)| (name, member.into_document())).collect())
    }

    pub(super) fn is_object(&self) -> bool {
        match self {
            Self::Way(_) | Self::Object(_) => true,
            Self::Text(text) => text.is_object(),
            Self::Gone | Self::Array(_) => false,
        }
    }

    pub(super) fn to_json(&self) -> Json {
        let mut text = String::new();
        self.write(&mut text);
        // Texts put together as JSON wants it are JSON.
        Json::known(text)
    }

    fn write(&self, to: &mut String) {
        match self {
            Self::Text(text) => to.push_str(text.get()),
            Self::Gone => to.push_str("null"),
            Self::Array(elements) => {
                to.push('[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        to.push(',');
                    }
                    element.write(to);
                }
                to.push(']');
            }
            Self::Way(members) | Self::Object(members) => {
                to.push('{');
                let there = members.iter().filter(|(_, member)| !matches!(member, Self::Gone));
                for (at, (name, member)) in there.enumerate() {
                    let comma = if at > 0 { "," } else { "" };
                    // Writing to a string does not fail.
                    let _ = write!(to, "{comma}{}:", serde_json::Value::from(name.as_str()));
                    member.write(to);
                }
                to.push('}');
            }
        }
    }
}

fn no_members(path: &DataPath, depth: usize) -> Refused {
    let parent: String =
        path.segments().iter().take(depth).map(|segment| format!("/{segment}")).collect();
    let parent = if parent.is_empty() { "/" } else { &parent };
    format!("storage_write_conflict_error: {parent} has no members to write to")
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
