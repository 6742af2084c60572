//! The log as a client of the OPAL dialect fetches it: it has no cursor, so it gets what is
//! left of the log, in order, whenever it connects (`spec/opal-protocol.md` §0.1 item 11).

use protocol::internal::Snapshot;
use protocol::opal::data::WireEntry;
use protocol::opal::topics::internal;
use protocol::topic::TopicSet;
use protocol::{Claims, Problem, Seq};
use serde_json::value::{RawValue, to_raw_value};

use super::{base, reading, unanswered};
use crate::log::Log;
use crate::reference;

/// Bytes of the log that are looked at for one part.
const BATCH_BYTES: usize = 2 << 20;

/// What of the log is wanted, and how.
pub(super) struct Wanted {
    pub(super) topics: Option<TopicSet>,
    pub(super) after: Seq,
    pub(super) inline_bytes: usize,
    pub(super) origin: String,
}

/// A part of the log, of what the bearer may see.
pub(super) fn take(
    log: &dyn Log,
    scope: &str,
    claims: &Claims,
    wanted: Wanted,
) -> Result<Snapshot, Problem> {
    let Wanted { topics, after, inline_bytes: budget, origin } = wanted;
    let topics = reading::visible(claims, topics, |topic| internal(scope, topic))?;
    let records = log.read(topics.as_ref(), after, BATCH_BYTES).map_err(unanswered)?;
    let reached = records.last().map(|record| record.seq);
    let next = match reached {
        // One that cannot be read is for the next part to say.
        Some(reached) if log.read(topics.as_ref(), reached, 0).is_ok_and(|it| it.is_empty()) => {
            None
        }
        reached => reached,
    };
    let (mut entries, mut inline_bytes) = (vec![], 0_usize);
    // Base sources are listed by themselves, with what else a client does with them.
    for record in records.iter().filter(|record| !base::is_source(&record.id)) {
        let (of_it, places) = record.data_for(topics.as_ref());
        for (entry, place) in of_it.into_iter().zip(places) {
            let mut entry = WireEntry::new(scope, entry);
            let bytes = entry.inline_bytes();
            if bytes > 0 && inline_bytes.saturating_add(bytes) > budget {
                reference::refer(log, scope, &origin, (record.seq, place), &mut entry);
            } else {
                inline_bytes = inline_bytes.saturating_add(bytes);
            }
            let entry = to_raw_value(&entry);
            entries.push(entry.map_err(|error| Problem::internal(error.to_string()))?);
        }
    }
    Ok(Snapshot { entries, inline_bytes, next })
}

/// The inline data of an entry.
pub(super) fn fetch(
    log: &dyn Log,
    seq: Seq,
    place: u32,
    key: &str,
) -> Result<Box<RawValue>, Problem> {
    if !reference::is_key_for(log, seq, place, key) {
        return Err(Problem::unauthorized(
            "this is not the key of this entry; send the headers that came with its address",
        ));
    }
    let record = log.record(seq).map_err(unanswered)?;
    let found = record.as_ref().and_then(|record| {
        let entries = record.update.entries.iter().zip(&record.places);
        entries.into_iter().find(|(_, at)| **at == place)?.0.inline()
    });
    found
        .map(ToOwned::to_owned)
        .ok_or_else(|| Problem::not_found("a later update has taken the place of this entry"))
}
