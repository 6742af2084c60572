//! What stands before an object in a pack: its kind, its size, and the base if it is a change.

use crate::error::GitError;
use crate::object::{Kind, ObjectId};

/// An object of a pack, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it begins.
    pub(super) start: u64,
    /// Bytes that follow, inflated.
    pub(super) size: usize,
    pub(super) content: Content,
}

/// What the bytes of an object are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The object.
    Whole(Kind),
    /// A change of the object that begins here in the pack.
    ChangeOfPlace(u64),
    /// A change of the object with this id, which may be none of the pack.
    ChangeOf(ObjectId),
}

// === impl Entry ===

impl Entry {
    /// Reads it; none if it goes on after these bytes, which it does for some 30 at most: longer
    /// numbers are refused.
    pub(super) fn parse(start: u64, bytes: &[u8]) -> Result<Option<Self>, GitError> {
        let wrong = |reason: &str| Err(wrong_at(start, reason));
        let mut rest = bytes.iter();
        let Some(first) = rest.next() else { return Ok(None) };
        let (code, mut size, mut byte) = ((first >> 4) & 7, u64::from(first & 15), *first);
        let mut shift = 4;
        while byte & 0x80 != 0 {
            let Some(next) = rest.next() else { return Ok(None) };
            let digits = u64::from(next & 0x7f);
            if shift > 60 || digits > (u64::MAX >> shift) {
                return wrong("its size is no number of 64 bits");
            }
            size |= digits << shift;
            (shift, byte) = (shift + 7, *next);
        }
        let content = match code {
            1 => Content::Whole(Kind::Commit),
            2 => Content::Whole(Kind::Tree),
            3 => Content::Whole(Kind::Blob),
            4 => Content::Whole(Kind::Tag),
            6 => match distance(rest.as_slice()) {
                Distance::Unfinished => return Ok(None),
                Distance::Is(back) if back > 0 && back <= start => {
                    Content::ChangeOfPlace(start - back)
                }
                _ => return wrong("its base is not before it in the pack"),
            },
            7 => match rest.as_slice().first_chunk() {
                Some(id) => Content::ChangeOf(ObjectId::from_bytes(*id)),
                None => return Ok(None),
            },
            other => return wrong(&format!("its kind is {other}, which is none")),
        };
        // What is larger than memory can be is over every limit.
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Ok(Some(Self { start, size, content }))
    }

    /// An error of this object.
    pub(super) fn wrong(&self, reason: impl Into<String>) -> GitError {
        wrong_at(self.start, reason)
    }
}

/// An error of the object that begins here.
pub(super) fn wrong_at(start: u64, reason: impl Into<String>) -> GitError {
    GitError::object(&format_args!("at byte {start} of the pack"), reason)
}

enum Distance {
    Unfinished,
    TooFar,
    Is(u64),
}

/// How far back the base begins: seven bits a byte, and each byte more adds what the shorter ones
/// could already say.
fn distance(bytes: &[u8]) -> Distance {
    let mut back = 0_u64;
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            back += 1;
        }
        if back > u64::MAX >> 8 {
            return Distance::TooFar;
        }
        back = (back << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Distance::Is(back);
        }
    }
    Distance::Unfinished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_distances_are_read_as_git_writes_them() {
        let parse = |bytes: &[u8]| Entry::parse(500, bytes).unwrap();
        let whole = |size| Entry { start: 500, size, content: Content::Whole(Kind::Blob) };
        assert_eq!(parse(&[0x35]), Some(whole(5)));
        assert_eq!(parse(&[0xb5]), None);
        assert_eq!(parse(&[0xb5, 0x01]), Some(whole(21)));
        let change =
            |back: u64| Entry { start: 500, size: 5, content: Content::ChangeOfPlace(500 - back) };
        assert_eq!(parse(&[0x65, 0x7f]), Some(change(127)));
        assert_eq!(parse(&[0x65, 0x80, 0x00]), Some(change(128)));
        assert_eq!(parse(&[0x65, 0x80]), None);
        assert_eq!(parse(&[0x75, 1, 2]), None);
    }

    #[test]
    fn what_no_object_can_have_is_refused_by_its_place() {
        for (bytes, why) in [
            (&[0x05][..], "its kind is 0"),
            (&[0x55], "its kind is 5"),
            (&[0x65, 0x00], "not before it"),
            (&[0x65, 0xff, 0x7f], "not before it"),
            (&[0x65, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "not before it"),
            (&[0xb5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "no number"),
        ] {
            let error = Entry::parse(500, bytes).unwrap_err().to_string();
            assert!(error.starts_with("object at byte 500 of the pack: "), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }
}
