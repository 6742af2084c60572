//! A part of the log, for people.

use protocol::digest::TopicDigests;
use protocol::internal::LogPage;
use protocol::{Claims, Problem, Seq, limits, topic::TopicSet};

use super::delivery;
use crate::log::{Log, LogError};

/// A page of the log, of what the bearer may see.
pub(super) fn page(
    log: &dyn Log,
    claims: &Claims,
    topics: Option<TopicSet>,
    after: Seq,
) -> Result<LogPage, Problem> {
    let refused = |_: LogError| Problem::unavailable("the hub's storage did not answer; try again");
    let topics = match (topics, &claims.permitted_topics) {
        (Some(topics), _) => {
            claims.require_topics(topics.iter())?;
            Some(topics)
        }
        (None, Some(permitted)) => Some(TopicSet::new(permitted.iter().cloned())?),
        (None, None) => None,
    };
    let topics = topics.as_ref();
    let records = log.read(topics, after, limits::REPLAY_BATCH_BYTES).map_err(refused)?;
    let reached = records.last().map(|record| record.seq);
    let more = match reached {
        Some(reached) => !log.read(topics, reached, 0).map_err(refused)?.is_empty(),
        None => false,
    };
    let mut prev = after;
    let updates = records.iter().map(|record| {
        let (entries, places) = record.entries_for(topics);
        let entries = entries.into_iter().cloned().collect();
        let delivery = delivery(record, prev, entries, places);
        prev = record.seq;
        delivery
    });
    let updates = updates.collect();
    let digests = match topics {
        Some(topics) => log.digests(topics).map_err(refused)?,
        None => TopicDigests::new(),
    };
    let (epoch, head, floor) = (log.epoch().to_owned(), log.head(), log.floor());
    Ok(LogPage { epoch, head, floor, updates, next: reached.filter(|_| more), digests })
}
