//! Topics and who receives them (`spec/opal-protocol.md` §4.5).
//!
//! On the wire a topic is an opaque string and matches by equality. Hierarchy is the
//! publisher's doing: `users/eu/keys` is published as `users`, `users/eu` and
//! `users/eu/keys`, so that a subscriber to a parent receives its children, not the reverse.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{Problem, limits};

/// Prefixes of topics that belong to the protocol itself.
const RESERVED: [&str; 3] =
    ["__opal_", "__broadcast_session_keepalive__", "__EventNotifier_ALL_TOPICS__"];

/// The topics that `topic` is published to: itself and its parents, shortest first.
///
/// The part up to the last `:` is a prefix that every result keeps.
///
/// ```
/// let expanded: Vec<_> = protocol::topic::expand("s1:data:users/keys").collect();
/// assert_eq!(expanded, ["s1:data:users", "s1:data:users/keys"]);
/// ```
pub fn expand(topic: &str) -> impl Iterator<Item = &str> {
    let rest_at = topic.rfind(':').map_or(0, |colon| colon + 1);
    topic
        .char_indices()
        .filter(move |&(at, character)| at >= rest_at && character == '/')
        .filter_map(|(at, _)| topic.get(..at))
        .chain(std::iter::once(topic))
}

/// What one subscriber asked for. Ordered and without repeats, so that two subscribers
/// with the same topics share everything that is computed for them. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicSet(Arc<BTreeSet<String>>);

impl TopicSet {
    /// Checks a subscription's topics.
    ///
    /// # Errors
    /// 422 if there are none, too many by number or bytes, or one breaks [`check`].
    pub fn new<I: IntoIterator<Item = String>>(topics: I) -> Result<Self, Problem> {
        let set: BTreeSet<String> = topics.into_iter().collect();
        if set.is_empty() {
            return Err(Problem::invalid("topics: name at least one topic to subscribe to"));
        }
        set.iter().try_for_each(|topic| check(topic))?;
        Self::of_any(set)
    }

    /// Topics of any form, and none at all: those of an OPAL client, to which they are opaque.
    ///
    /// # Errors
    /// 422 if there are too many by number or bytes.
    pub fn of_any<I: IntoIterator<Item = String>>(topics: I) -> Result<Self, Problem> {
        let set: BTreeSet<String> = topics.into_iter().collect();
        check_count(set.len())?;
        let (bytes, limit) =
            (set.iter().map(String::len).sum::<usize>(), limits::MAX_SUBSCRIPTION_BYTES);
        if bytes > limit {
            return Err(Problem::invalid(format!(
                "topics: {bytes} bytes together are too many, the limit is {limit}; a parent topic \
                 covers its children"
            )));
        }
        Ok(Self(Arc::new(set)))
    }

    /// True if something published to `topics` (as the publisher wrote them) is for this subscriber.
    pub fn matches<'t, I: IntoIterator<Item = &'t String>>(&self, topics: I) -> bool {
        topics.into_iter().any(|topic| expand(topic).any(|parent| self.0.contains(parent)))
    }

    /// True if it has no topic.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if it has this topic itself.
    #[must_use]
    pub fn contains(&self, topic: &str) -> bool {
        self.0.contains(topic)
    }

    /// The topics, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl serde::Serialize for TopicSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> serde::Deserialize<'de> for TopicSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let topics = Vec::<String>::deserialize(deserializer)?;
        Self::new(topics).map_err(|problem| serde::de::Error::custom(problem.detail))
    }
}

/// Checks the number of topics of an entry or a subscription.
///
/// # Errors
/// 422 above [`limits::MAX_TOPICS`].
pub fn check_count(count: usize) -> Result<(), Problem> {
    let limit = limits::MAX_TOPICS;
    if count > limit {
        return Err(Problem::invalid(format!(
            "topics: {count} are too many, the limit is {limit}; a parent topic covers its children"
        )));
    }
    Ok(())
}

/// Checks one topic.
///
/// # Errors
/// 422 for an empty or overlong topic, an empty segment or too many of them, a control
/// character, or a name that belongs to the protocol.
pub fn check(topic: &str) -> Result<(), Problem> {
    let limit = limits::MAX_TOPIC_BYTES;
    let segments = || topic.rsplit(':').next().unwrap_or_default().split('/');
    let reason = if topic.trim().is_empty() {
        "a topic may not be empty".to_owned()
    } else if topic.len() > limit {
        format!("a topic of {} bytes is too long, the limit is {limit}", topic.len())
    } else if topic.chars().any(char::is_control) {
        "a topic may not hold control characters".to_owned()
    } else if segments().any(str::is_empty) {
        format!(
            "`{topic}` has an empty segment; write it without leading, trailing or double slashes"
        )
    } else if segments().count() > limits::MAX_TOPIC_SEGMENTS {
        format!(
            "`{topic}` has {} segments, the limit is {}",
            segments().count(),
            limits::MAX_TOPIC_SEGMENTS
        )
    } else if RESERVED.iter().any(|prefix| topic.starts_with(prefix)) || topic == "webhook" {
        format!("`{topic}` is reserved; choose another name")
    } else {
        return Ok(());
    };
    Err(Problem::invalid(format!("topics: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(topic: &str) -> Vec<&str> {
        expand(topic).collect()
    }

    fn set(topics: &[&str]) -> TopicSet {
        TopicSet::new(topics.iter().map(ToString::to_string)).unwrap()
    }

    #[test]
    fn a_topic_expands_to_its_parents_after_the_last_colon() {
        assert_eq!(
            expanded("policy_data/users/keys"),
            ["policy_data", "policy_data/users", "policy_data/users/keys"]
        );
        assert_eq!(expanded("a:b:c/d"), ["a:b:c", "a:b:c/d"]);
        assert_eq!(expanded("a/b:c"), ["a/b:c"]);
        assert_eq!(expanded("users"), ["users"]);
    }

    #[test]
    fn a_parent_receives_its_children_and_not_the_reverse() {
        let published = ["users/eu".to_owned()];
        assert!(set(&["users"]).matches(&published));
        assert!(set(&["users/eu"]).matches(&published));
        assert!(!set(&["users/eu/keys"]).matches(&published));
        assert!(!set(&["user"]).matches(&published));
    }

    #[test]
    fn bad_topics_are_named() {
        for (topic, word) in [
            ("", "empty"),
            ("  ", "empty"),
            ("a//b", "empty segment"),
            ("a/", "empty segment"),
            ("s1:data:", "empty segment"),
            ("a\nb", "control"),
            ("__opal_stats_add", "reserved"),
            ("webhook", "reserved"),
        ] {
            let problem = check(topic).unwrap_err();
            assert!(problem.detail.contains(word), "{topic:?}: {problem}");
        }
        assert!(check(&"x".repeat(257)).is_err());
        assert!(check("policy:.").is_ok());
    }

    #[test]
    fn a_topic_has_as_many_segments_as_the_limit_says_and_its_prefix_does_not_count() {
        let deepest = vec!["x"; limits::MAX_TOPIC_SEGMENTS].join("/");
        assert!(check(&deepest).is_ok());
        assert!(check(&format!("a/b:{deepest}")).is_ok());
        let problem = check(&format!("{deepest}/x")).unwrap_err();
        assert_eq!(problem.status, 422);
        assert!(problem.detail.contains("17 segments, the limit is 16"), "{problem}");
    }

    #[test]
    fn a_subscription_needs_between_one_and_the_limit() {
        assert!(TopicSet::new([]).is_err());
        assert!(TopicSet::new((0..=limits::MAX_TOPICS).map(|n| format!("t{n}"))).is_err());
        assert!(TopicSet::new((0..limits::MAX_TOPICS).map(|n| format!("t{n}"))).is_ok());
        assert!(TopicSet::new((0..100).map(|n| format!("{n:0100}"))).is_err());
        assert!(TopicSet::new((0..16).map(|n| format!("{n:0256}"))).is_ok());
    }
}
