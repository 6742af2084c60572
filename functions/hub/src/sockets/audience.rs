//! Subscribers that everything is worked out for once: same dialect, same topics, same names.

use protocol::Entry;
use protocol::internal::Session;
use protocol::opal::topics::internal;
use protocol::topic::{TopicSet, expand};

/// What live subscribers have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Audience {
    /// As they wrote them.
    topics: TopicSet,
    /// How they are spoken to, if in the OPAL dialect.
    opal: Option<OpalAudience>,
}

/// What clients of the OPAL dialect have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpalAudience {
    /// Whose names of topics they know.
    pub(crate) scope: String,
    /// Where references lead.
    pub(crate) origin: String,
}

impl Audience {
    /// The audience of a socket with these topics.
    pub(crate) fn new(session: &Session, topics: TopicSet) -> Self {
        let opal = session
            .opal
            .as_ref()
            .map(|peer| OpalAudience { scope: session.scope.clone(), origin: peer.origin.clone() });
        Self { topics, opal }
    }

    /// How they are spoken to, if in the OPAL dialect.
    pub(crate) fn opal(&self) -> Option<&OpalAudience> {
        self.opal.as_ref()
    }

    /// The topics as the log names them.
    pub(crate) fn log_topics(&self) -> TopicSet {
        let Some(OpalAudience { scope, .. }) = &self.opal else { return self.topics.clone() };
        let named = self.topics.iter().map(|topic| internal(scope, topic).to_owned());
        // What was taken from a client is within the limits, and no name becomes longer.
        TopicSet::of_any(named).unwrap_or_default()
    }

    /// The first of its topics that something for these entries was published to, as the
    /// clients wrote it.
    pub(crate) fn topic_of(&self, entries: &[&Entry]) -> Option<&str> {
        let published = entries.iter().flat_map(|entry| &entry.topics);
        self.topic_among(published.flat_map(|topic| expand(topic)))
    }

    /// The first of `topics`, as the log names them, that they subscribed to, as they wrote it.
    pub(crate) fn topic_among<'t>(
        &self,
        topics: impl IntoIterator<Item = &'t str>,
    ) -> Option<&str> {
        let scope = self.opal.as_ref().map(|it| it.scope.as_str()).unwrap_or_default();
        let mut topics = topics.into_iter();
        topics
            .find_map(|topic| self.topics.iter().find(|written| internal(scope, written) == topic))
    }
}
