//! What documents become: a list, one of them, one made of all, or an object of them.

use std::collections::BTreeMap;

use mongodb::bson::RawDocument;

use super::json::{write_document, write_string, write_value};
use crate::fetch::FetchError;
use crate::json::Json;

/// The published provider's `transform`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// All documents, in the order that they came in.
    List,
    /// The first alone; none is an empty object.
    First,
    /// One object of the members of all; of those with the same name the last one.
    Merged,
    /// Each under what it has in this member; of those with the same the last one.
    Keyed(String),
}

/// Documents on their way to be one.
pub(super) struct Shaped {
    shape: Shape,
    max_bytes: usize,
    /// The text so far, for a list and the first.
    text: String,
    count: usize,
    /// What is under which name, for the others, and the bytes of it.
    members: BTreeMap<String, String>,
    bytes: usize,
}

impl Shape {
    /// Begins with no documents; all together are at most `max_bytes` of JSON.
    pub(super) fn begin(self, max_bytes: usize) -> Shaped {
        let text = String::from(if self == Self::List { "[" } else { "" });
        Shaped { shape: self, max_bytes, text, count: 0, members: BTreeMap::new(), bytes: 2 }
    }
}

impl Shaped {
    /// False when more documents would change nothing.
    pub(super) fn wants_more(&self) -> bool {
        self.shape != Shape::First || self.count == 0
    }

    /// Adds a document.
    ///
    /// # Errors
    /// It is none, has no key, or all together are too large.
    pub(super) fn push(&mut self, document: &RawDocument) -> Result<(), FetchError> {
        match &self.shape {
            Shape::List | Shape::First => {
                if self.count > 0 {
                    self.text.push(',');
                }
                write_document(&mut self.text, document)?;
                self.bytes = self.text.len().saturating_add(1);
            }
            Shape::Merged => {
                for member in document {
                    let (name, value) = member.map_err(|_| {
                        FetchError::new("answered something that is not a document")
                    })?;
                    let mut text = String::new();
                    write_value(&mut text, value)?;
                    self.put(name.as_str().to_owned(), text);
                }
            }
            Shape::Keyed(member) => {
                let key = key_of(document, member)?;
                let mut text = String::new();
                write_document(&mut text, document)?;
                self.put(key, text);
            }
        }
        self.count += 1;
        if self.bytes > self.max_bytes {
            // Asking again at once would bring as much again.
            return Err(FetchError::permanent(format!(
                "the documents make more than {} bytes of JSON (document {} is past it): ask for \
                 fewer, or raise fetch_max_bytes",
                self.max_bytes, self.count
            )));
        }
        Ok(())
    }

    /// The data.
    pub(super) fn end(mut self) -> Json {
        match self.shape {
            Shape::List => self.text.push(']'),
            Shape::First if self.count == 0 => self.text.push_str("{}"),
            Shape::First => {}
            Shape::Merged | Shape::Keyed(_) => {
                self.text.reserve(self.bytes);
                self.text.push('{');
                for (index, (name, value)) in self.members.iter().enumerate() {
                    if index > 0 {
                        self.text.push(',');
                    }
                    write_string(&mut self.text, name);
                    self.text.push(':');
                    self.text.push_str(value);
                }
                self.text.push('}');
            }
        }
        Json::known(self.text)
    }

    /// Puts a member, in place of one of the same name.
    fn put(&mut self, name: String, text: String) {
        // Two quotes, a colon and a comma come along.
        let weight = |text: &str| text.len().saturating_add(4);
        let name_bytes = name.len();
        self.bytes = self.bytes.saturating_add(name_bytes).saturating_add(weight(&text));
        if let Some(replaced) = self.members.insert(name, text) {
            let gone = name_bytes.saturating_add(weight(&replaced));
            self.bytes = self.bytes.saturating_sub(gone);
        }
    }
}

/// The text of a member: of a string itself, of a number its digits.
fn key_of(document: &RawDocument, member: &str) -> Result<String, FetchError> {
    let refused = |what: &str| {
        FetchError::new(format!("config.transform.mapKey: a document {what} `{member}`"))
    };
    let value = document.get(member).map_err(|_| refused("cannot be asked for"))?;
    let value = value.ok_or_else(|| refused("has no"))?;
    let mut text = String::new();
    write_value(&mut text, value)?;
    match text.as_bytes().first() {
        Some(b'{' | b'[') => Err(refused("has an object or a list as its")),
        Some(b'"') => serde_json::from_str(&text).map_err(|_| refused("cannot be asked for")),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, RawDocumentBuf, doc};

    use super::*;

    fn shaped(shape: Shape, max: usize, documents: &[Document]) -> Result<String, FetchError> {
        let mut shaped = shape.begin(max);
        for document in documents {
            if shaped.wants_more() {
                shaped.push(&RawDocumentBuf::try_from(document).unwrap())?;
            }
        }
        Ok(shaped.end().get().to_owned())
    }

    #[test]
    fn documents_become_what_the_settings_say() {
        let all = [doc! { "k": "b", "v": 1 }, doc! { "k": 7 }, doc! { "k": "b", "w": 2 }];
        let keyed = Shape::Keyed("k".to_owned());
        for (shape, documents, expected) in [
            (Shape::List, &all[..], r#"[{"k":"b","v":1},{"k":7},{"k":"b","w":2}]"#),
            (Shape::List, &[], "[]"),
            (Shape::First, &all, r#"{"k":"b","v":1}"#),
            (Shape::First, &[], "{}"),
            (Shape::Merged, &all, r#"{"k":"b","v":1,"w":2}"#),
            (Shape::Merged, &[], "{}"),
            (keyed.clone(), &all, r#"{"7":{"k":7},"b":{"k":"b","w":2}}"#),
            (keyed, &[], "{}"),
        ] {
            // Exactly the limit is no more than it, but for where what was replaced weighed.
            assert_eq!(shaped(shape, 1_000, documents).unwrap(), expected);
        }
    }

    #[test]
    fn a_document_without_its_key_is_an_error() {
        for document in [doc! { "a": 1 }, doc! { "k": {} }, doc! { "k": [1] }] {
            let error = shaped(Shape::Keyed("k".to_owned()), 1_000, &[document]).unwrap_err();
            assert!(
                error.to_string().starts_with("config.transform.mapKey: a document"),
                "{error}"
            );
        }
    }

    #[test]
    fn too_many_documents_are_an_error_as_soon_as_they_are_too_many() {
        let list = [doc! { "a": 1 }, doc! { "a": 2 }];
        assert!(shaped(Shape::List, 17, &list).is_ok());
        for (shape, limit) in
            [(Shape::List, 16), (Shape::Merged, 7), (Shape::Keyed("a".to_owned()), 16)]
        {
            let error = shaped(shape, limit, &list).unwrap_err();
            assert!(
                error.is_permanent() && error.to_string().contains("fetch_max_bytes"),
                "{error}"
            );
        }
        // What is replaced does not count.
        let same: Vec<_> = (0..1_000).map(|_| doc! { "a": 1 }).collect();
        assert_eq!(shaped(Shape::Merged, 20, &same).unwrap(), r#"{"a":1}"#);
    }
}
