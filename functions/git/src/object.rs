//! Objects of a repository: their ids, and where they are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sha1::{Digest as _, Sha1};

/// Digits of an id.
const DIGITS: usize = 40;

/// The name of an object: the SHA-1 of its kind, its length and its bytes.
///
/// It is always worked out here from the bytes that came, never taken from the server. So an
/// object under an id that we trust is that object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 20]);

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A revision: which folder, and which revisions were before it.
    Commit,
    /// A folder: names, and the ids of what is there.
    Tree,
    /// A file's bytes.
    Blob,
    /// A note on another object.
    Tag,
}

/// An object as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its bytes, without git's header.
    pub data: Vec<u8>,
}

/// The place where objects are kept did not answer. The text is for a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of objects failed: {0}")]
pub struct StoreError(pub String);

/// Where objects are kept, by id.
pub trait Objects {
    /// The object with this id, if it is there.
    ///
    /// # Errors
    /// The store failed.
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError>;

    /// Whether the object is there.
    ///
    /// # Errors
    /// The store failed.
    fn has(&self, id: &ObjectId) -> Result<bool, StoreError>;

    /// Keeps an object; one that is there already may stay as it is. Of a pack that turns out to
    /// be bad some objects have been kept by then: each is what its id says, and whoever calls
    /// removes what nothing [reaches](crate::reachable).
    ///
    /// # Errors
    /// The store failed.
    fn put(&mut self, id: ObjectId, kind: Kind, data: &[u8]) -> Result<(), StoreError>;
}

/// Objects in memory, for a command that looks once, and for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryObjects(BTreeMap<ObjectId, Object>);

// === impl ObjectId ===

impl ObjectId {
    /// The id of these bytes as an object of this kind.
    #[must_use]
    pub fn of(kind: Kind, data: &[u8]) -> Self {
        let header = format!("{} {}\0", kind.name(), data.len());
        Self(Sha1::new().chain_update(header).chain_update(data).finalize().into())
    }

    /// An id by its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    /// 40 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&protocol::hex(&self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not 40 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an object's id: that is 40 hexadecimal digits")]
pub struct NotAnId;

impl FromStr for ObjectId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let digits = text.as_bytes();
        if digits.len() != DIGITS {
            return Err(NotAnId);
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().try_fold(0_u8, |sum, digit| {
                let value = char::from(*digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
                value.map(|value| (sum << 4) | value).ok_or(NotAnId)
            })?;
        }
        Ok(Self(bytes))
    }
}

// === impl Kind ===

impl Kind {
    /// The word that git has for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
        }
    }
}

// === impl MemoryObjects ===

impl MemoryObjects {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all objects but those for which `keep` holds.
    pub fn retain(&mut self, keep: impl Fn(&ObjectId) -> bool) {
        self.0.retain(|id, _| keep(id));
    }
}

impl Objects for MemoryObjects {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        Ok(self.0.get(id).cloned())
    }

    fn has(&self, id: &ObjectId) -> Result<bool, StoreError> {
        Ok(self.0.contains_key(id))
    }

    fn put(&mut self, id: ObjectId, kind: Kind, data: &[u8]) -> Result<(), StoreError> {
        self.0.entry(id).or_insert_with(|| Object { kind, data: data.to_vec() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_git_says_it_is() {
        // `git hash-object --stdin` of nothing, and of "hello\n".
        let empty = ObjectId::of(Kind::Blob, b"");
        assert_eq!(empty.to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        let hello = ObjectId::of(Kind::Blob, b"hello\n");
        assert_eq!(hello.to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(hello.to_string().parse(), Ok(hello));
    }

    #[test]
    fn what_is_not_40_digits_is_no_id() {
        let long = "0".repeat(41);
        let other = "g".repeat(40);
        let sign = format!("+{}", "0".repeat(39));
        for text in ["", "abc", &long, &other, &sign] {
            assert_eq!(text.parse::<ObjectId>(), Err(NotAnId), "{text}");
        }
    }
}
