//! What a scope's topics are called. Our hub of a scope knows `users`; an OPAL client of the
//! scope `s1` subscribes to `s1:data:users` and looks for that in every entry's topics, where
//! OPAL's own server writes `data:users` (`spec/opal-protocol.md` §4.6).

use std::borrow::Cow;

use crate::DEFAULT_SCOPE;

/// What our hub of `scope` calls a topic that came from OPAL's side.
#[must_use]
pub fn internal<'t>(scope: &str, topic: &'t str) -> &'t str {
    if scope == DEFAULT_SCOPE {
        return topic;
    }
    let own = topic.strip_prefix(scope).and_then(|rest| rest.strip_prefix(':')).unwrap_or(topic);
    own.strip_prefix("data:").unwrap_or(own)
}

/// Every name under which an OPAL client of `scope` may look for a topic of our hub.
pub fn names<'t>(scope: &str, topic: &'t str) -> impl Iterator<Item = Cow<'t, str>> {
    let scoped = (scope != DEFAULT_SCOPE)
        .then(|| [Cow::from(format!("data:{topic}")), format!("{scope}:data:{topic}").into()]);
    std::iter::once(Cow::from(topic)).chain(scoped.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scopes_topic_has_three_names_and_they_are_one_topic() {
        let all: Vec<_> = names("s1", "users/eu").collect();
        assert_eq!(all, ["users/eu", "data:users/eu", "s1:data:users/eu"]);
        assert!(all.iter().all(|name| internal("s1", name) == "users/eu"));
    }

    #[test]
    fn the_default_scope_takes_every_topic_as_it_is() {
        assert_eq!(names(DEFAULT_SCOPE, "data:x").collect::<Vec<_>>(), ["data:x"]);
        assert_eq!(internal(DEFAULT_SCOPE, "default:data:x"), "default:data:x");
    }

    #[test]
    fn policy_topics_and_those_of_other_scopes_stay() {
        assert_eq!(internal("s1", "s1:policy:."), "policy:.");
        assert_eq!(internal("s1", "s2:data:x"), "s2:data:x");
        assert_eq!(internal("s1", "s1x:data:x"), "s1x:data:x");
    }
}
