//! A part of the log, and who is connected, for people.

use protocol::commit::is_policy_topic;
use protocol::digest::TopicDigests;
use protocol::internal::{LogPage, Peers};
use protocol::{Claims, Problem, Seq, topic::TopicSet};

use super::{Machine, delivery, unanswered};
use crate::log::Log;

/// A page of the log, of about so many bytes, of what the bearer may see.
pub(super) fn page(
    log: &dyn Log,
    claims: &Claims,
    topics: Option<TopicSet>,
    after: Seq,
    bytes: usize,
) -> Result<LogPage, Problem> {
    let topics = visible(claims, topics, |topic| topic)?;
    let topics = topics.as_ref();
    let records = log.read(topics, after, bytes).map_err(unanswered)?;
    let reached = records.last().map(|record| record.seq);
    let more = match reached {
        // One that cannot be read is for the next page to say.
        Some(reached) => log.read(topics, reached, 0).map_or(true, |next| !next.is_empty()),
        None => false,
    };
    let mut prev = after;
    let updates = records.iter().filter_map(|record| {
        let (entries, places) = record.entries_for(topics);
        if entries.is_empty() {
            return None;
        }
        let entries = entries.into_iter().cloned().collect();
        let delivery = delivery(record, prev, entries, places);
        prev = record.seq;
        Some(delivery)
    });
    let updates = updates.collect();
    let digests = match topics {
        Some(topics) => log.digests(topics).map_err(unanswered)?,
        None => TopicDigests::new(),
    };
    let (epoch, head, floor) = (log.epoch().to_owned(), log.head(), log.floor());
    Ok(LogPage { epoch, head, floor, updates, next: reached.filter(|_| more), digests })
}

/// The topics of which the bearer may see what is published: those that are asked for, or all
/// that are permitted; none for every topic. `named` gives a permitted topic the log's name.
pub(super) fn visible(
    claims: &Claims,
    topics: Option<TopicSet>,
    named: impl Fn(&str) -> &str,
) -> Result<Option<TopicSet>, Problem> {
    match (topics, &claims.permitted_topics) {
        (Some(topics), _) => {
            for topic in topics.iter().filter(|topic| !is_policy_topic(named(topic))) {
                require_topic(claims, topic, named(topic))?;
            }
            TopicSet::of_any(topics.iter().map(|topic| named(topic).to_owned())).map(Some)
        }
        (None, Some(permitted)) => {
            let permitted = permitted.iter().map(|topic| named(topic).to_owned());
            TopicSet::of_any(permitted).map(Some)
        }
        (None, None) => Ok(None),
    }
}

/// Checks that the bearer may use a topic, as it is written or as the hub calls it.
pub(super) fn require_topic(claims: &Claims, topic: &str, named: &str) -> Result<(), Problem> {
    let as_written = claims.require_topics([topic]);
    as_written.or_else(|refused| claims.require_topics([named]).map_err(|_| refused))
}

impl Machine {
    /// Who is connected.
    pub(super) fn peers(&self) -> Peers {
        Peers { since: self.since.unwrap_or_default(), peers: self.sockets.peers() }
    }
}
