//! Places in the policy engine's data document.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::plane::grants;
use crate::{Problem, commit, limits};

/// A place under `data`, as segments; none means the root.
///
/// On the wire it is OPAL's `dst_path`: segments joined by `/`, a leading `/` optional,
/// `""` and `/` for the root (`spec/opal-protocol.md` §4.1). Segments are taken as they
/// are: `%2F` is three characters. A place with a `/` in a segment is a list of its segments,
/// `["users", "a/b"]`, so that nothing nests that should not.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataPath(Vec<String>);

impl DataPath {
    /// Parses a `dst_path`.
    ///
    /// # Errors
    /// 422 for an empty segment, `.` or `..`, a control character, or over the limits.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = |reason: String| Err(Problem::invalid(format!("dst_path: {reason}")));
        let inner = text.strip_prefix('/').unwrap_or(text);
        if inner.is_empty() {
            return Ok(Self::default());
        }
        if text.len() > limits::MAX_PATH_BYTES {
            return refuse(format!("longer than {} bytes", limits::MAX_PATH_BYTES));
        }
        let segments = inner.split('/').map(str::to_owned).collect();
        Self::of(segments).map_err(|problem| match text.contains("//") || text.ends_with('/') {
            true => Problem::invalid(format!(
                "dst_path: `{text}` has an empty segment; write it without trailing or double slashes"
            )),
            false => problem,
        })
    }

    /// The place of these segments, which may hold a `/`.
    ///
    /// # Errors
    /// 422 for an empty segment, `.` or `..`, a control character, or over the limits.
    pub fn of(segments: Vec<String>) -> Result<Self, Problem> {
        let refuse = |reason: String| Err(Problem::invalid(format!("dst_path: {reason}")));
        let bytes: usize = segments.iter().map(|segment| segment.len() + 1).sum();
        if bytes > limits::MAX_PATH_BYTES + 1 {
            return refuse(format!("longer than {} bytes", limits::MAX_PATH_BYTES));
        }
        if segments.len() > limits::MAX_PATH_SEGMENTS {
            return refuse(format!("deeper than {} segments", limits::MAX_PATH_SEGMENTS));
        }
        for segment in &segments {
            match segment.as_str() {
                "" => return refuse("it has an empty segment".to_owned()),
                "." | ".." => {
                    return refuse("it may not hold `.` or `..`; write the full path".to_owned());
                }
                other if other.chars().any(char::is_control) => {
                    return refuse("it may not hold control characters".to_owned());
                }
                _ => {}
            }
        }
        Ok(Self(segments))
    }

    /// The segments, from the root down.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The place that is reached from here by these segments. They may hold what
    /// [`Self::parse`] refuses: a JSON Pointer can name any member.
    #[must_use]
    pub fn below<I: IntoIterator<Item = String>>(&self, segments: I) -> Self {
        Self(self.0.iter().cloned().chain(segments).collect())
    }

    /// Where policies read for how many seconds their data has not been the newest:
    /// `data.girasol.lag_seconds`.
    #[must_use]
    pub fn lag_seconds() -> Self {
        Self([commit::RESERVED, "lag_seconds"].map(str::to_owned).to_vec())
    }

    /// True if this is the whole data document.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// True if policy is kept here, and not data ([`crate::commit`]).
    #[must_use]
    pub fn is_policy(&self) -> bool {
        commit::is_policy_place(&self.0)
    }

    /// True if what is here is kept beside the data, and no engine is given it: policy, or grants
    /// ([`crate::plane::grants`]).
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.is_policy() || self.is_grant()
    }

    /// True if a grant is kept here.
    #[must_use]
    pub fn is_grant(&self) -> bool {
        grants::is_grant_place(&self.0)
    }

    /// True if `other` is this place or below it: replacing this replaces `other`. What is
    /// kept beside the data is in no document of it, not even in that of the root.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0) && self.is_apart() == other.is_apart()
    }

    /// True if one of the two covers the other: their order matters.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl fmt::Display for DataPath {
    /// With a leading slash per segment, and `%2F` for one that is in a segment; the root is `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|segment| write!(f, "/{}", segment.replace('/', "%2F")))
    }
}

impl Serialize for DataPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.iter().any(|segment| segment.contains('/')) {
            return self.0.serialize(serializer);
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DataPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Reads either form.
struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = DataPath;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, or a list of its segments")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<DataPath, E> {
        DataPath::parse(text).map_err(|problem| E::custom(problem.detail))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<DataPath, A::Error> {
        let mut segments = vec![];
        while let Some(segment) = list.next_element()? {
            segments.push(segment);
        }
        DataPath::of(segments).map_err(|problem| serde::de::Error::custom(problem.detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DataPath {
        DataPath::parse(text).unwrap()
    }

    #[test]
    fn the_leading_slash_is_optional_and_the_root_has_two_names() {
        assert_eq!(path("/a/b"), path("a/b"));
        assert!(path("").is_root() && path("/").is_root());
        assert_eq!(path("a/b").to_string(), "/a/b");
        assert_eq!(path("").to_string(), "/");
    }

    #[test]
    fn a_place_below_is_named_segment_by_segment() {
        assert_eq!(path("a").below(["b".to_owned()]), path("/a/b"));
        assert_eq!(path("").below(["a/b".to_owned()]).segments(), ["a/b"]);
        assert_eq!(path("a").below([]), path("a"));
    }

    #[test]
    fn dots_and_empty_segments_are_refused() {
        for text in ["/a//b", "//", "/a/", "..", "/a/../b", "a/./b", "a\u{0}b"] {
            assert!(DataPath::parse(text).is_err(), "{text:?}");
        }
        assert!(DataPath::parse("/a/..b").is_ok());
    }

    #[test]
    fn a_slash_in_a_segment_makes_no_place_below() {
        let place = path("users").below(["a/b".to_owned()]);
        let wire = serde_json::to_string(&place).unwrap();
        assert_eq!((wire.as_str(), &*place.to_string()), (r#"["users","a/b"]"#, "/users/a%2Fb"));
        assert_eq!(serde_json::from_str::<DataPath>(&wire).unwrap(), place);
        assert!(!path("users/a").covers(&place) && path("users").covers(&place));
        for wrong in [r#"["a",""]"#, r#"["a",".."]"#, r#"["a\u0000"]"#, r#"["a",1]"#, "7"] {
            assert!(serde_json::from_str::<DataPath>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn overlap_is_by_segment_not_by_character() {
        assert!(path("").overlaps(&path("/users")));
        assert!(path("/users").overlaps(&path("/users/eu")));
        assert!(!path("/user").overlaps(&path("/users")));
        assert!(path("/users").covers(&path("/users/eu")));
        assert!(!path("/users/eu").covers(&path("/users")));
    }
}
