//! Places in the policy engine's data document.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::plane::grants;
use crate::{Problem, commit, limits};

/// A place under `data`, as segments; none means the root.
///
/// On the wire it is OPAL's `dst_path`: segments joined by `/`, a leading `/` optional,
/// `""` and `/` for the root (`spec/opal-protocol.md` §4.1). Segments are taken as they
/// are: `%2F` is three characters.
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
        let segments: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if segments.len() > limits::MAX_PATH_SEGMENTS {
            return refuse(format!("deeper than {} segments", limits::MAX_PATH_SEGMENTS));
        }
        for segment in &segments {
            match segment.as_str() {
                "" => {
                    return refuse(format!(
                        "`{text}` has an empty segment; write it without trailing or double slashes"
                    ));
                }
                "." | ".." => {
                    return refuse(format!(
                        "`{text}` may not hold `.` or `..`; write the full path"
                    ));
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
    /// With a leading slash per segment; the root is `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

impl Serialize for DataPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DataPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|problem| serde::de::Error::custom(problem.detail))
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
    fn overlap_is_by_segment_not_by_character() {
        assert!(path("").overlaps(&path("/users")));
        assert!(path("/users").overlaps(&path("/users/eu")));
        assert!(!path("/user").overlaps(&path("/users")));
        assert!(path("/users").covers(&path("/users/eu")));
        assert!(!path("/users/eu").covers(&path("/users")));
    }
}
