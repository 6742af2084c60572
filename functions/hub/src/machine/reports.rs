//! What OPAs without an agent report: the last status of each, and the newest decisions
//! (`spec/opa-and-grants.md` §2.6). Both are bounded: what is oldest goes.
//!
//! A list of what is kept says what is oldest and how much there is, so that a report costs
//! two or three rows, however many there are.

use std::collections::{BTreeMap, VecDeque};

use protocol::bundle::{Report, Reported, Shown};
use protocol::{Millis, Problem, limits};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::policy::{get, put};
use super::unstored;
use crate::log::Log;

/// The list of the statuses.
const STATUSES: &str = "reports/statuses";
/// The last status of an OPA, by what [`key`] gives.
const STATUS: &str = "reports/status/";
/// The list of the batches of decisions.
const BATCHES: &str = "reports/batches";
/// A batch of decisions, by its number.
const BATCH: &str = "reports/batch/";
/// Bytes of decisions that are shown at one time.
const MAX_SHOWN_BYTES: usize = 4 << 20;

/// A status in the list.
#[derive(Serialize, Deserialize)]
struct Listed {
    at: Millis,
    bytes: usize,
}

/// The batches that are there, the oldest first.
#[derive(Default, Serialize, Deserialize)]
struct Batches {
    next: u64,
    kept: VecDeque<Counted>,
}

/// A batch in the list.
#[derive(Serialize, Deserialize)]
struct Counted {
    number: u64,
    events: usize,
    bytes: usize,
}

/// Decisions that came together.
#[derive(Serialize, Deserialize)]
struct Batch {
    at: Millis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
    events: Vec<Box<RawValue>>,
}

/// Keeps a report.
pub(super) fn take(log: &mut dyn Log, at: Millis, report: &Report) -> Result<(), Problem> {
    match report {
        Report::Status { instance, partition, body } => {
            let key = key(partition.as_deref(), instance);
            status(log, &key, &Shown { at, partition: partition.clone(), report: body.clone() })
        }
        Report::Decisions { events, .. } if events.is_empty() => Ok(()),
        Report::Decisions { partition, events } => {
            decisions(log, &Batch { at, partition: partition.clone(), events: events.clone() })
        }
    }
}

/// What tells one OPA from another. A partition is a segment of a path, so it has no slash.
fn key(partition: Option<&str>, instance: &str) -> String {
    format!("{}/{instance}", partition.unwrap_or_default())
}

fn status(log: &mut dyn Log, key: &str, shown: &Shown) -> Result<(), Problem> {
    let mut list: BTreeMap<String, Listed> = get(log, STATUSES)?.unwrap_or_default();
    put(log, &format!("{STATUS}{key}"), shown)?;
    list.insert(key.to_owned(), Listed { at: shown.at, bytes: shown.report.get().len() });
    loop {
        let bytes: usize = list.values().map(|listed| listed.bytes).sum();
        if list.len() <= limits::MAX_STATUSES && bytes <= limits::MAX_STATUSES_BYTES {
            break;
        }
        let others = list.iter().filter(|(other, _)| *other != key);
        let Some(oldest) = others.min_by_key(|(_, it)| it.at).map(|(oldest, _)| oldest.clone())
        else {
            break;
        };
        list.remove(&oldest);
        log.keep(&format!("{STATUS}{oldest}"), None).map_err(unstored)?;
    }
    put(log, STATUSES, &list)
}

fn decisions(log: &mut dyn Log, batch: &Batch) -> Result<(), Problem> {
    let mut list: Batches = get(log, BATCHES)?.unwrap_or_default();
    let number = list.next;
    put(log, &format!("{BATCH}{number}"), batch)?;
    list.next = number.saturating_add(1);
    let bytes = batch.events.iter().map(|event| event.get().len()).sum();
    list.kept.push_back(Counted { number, events: batch.events.len(), bytes });
    let mut events: usize = list.kept.iter().map(|kept| kept.events).sum();
    let mut bytes: usize = list.kept.iter().map(|kept| kept.bytes).sum();
    while list.kept.len() > 1
        && (events > limits::MAX_DECISIONS
            || bytes > limits::MAX_DECISIONS_BYTES
            || list.kept.len() > limits::MAX_DECISION_REPORTS)
        && let Some(oldest) = list.kept.pop_front()
    {
        events = events.saturating_sub(oldest.events);
        bytes = bytes.saturating_sub(oldest.bytes);
        log.keep(&format!("{BATCH}{}", oldest.number), None).map_err(unstored)?;
    }
    put(log, BATCHES, &list)
}

/// What was reported.
pub(super) fn show(log: &dyn Log, which: Reported) -> Result<Vec<Shown>, Problem> {
    match which {
        Reported::Statuses => {
            let list: BTreeMap<String, Listed> = get(log, STATUSES)?.unwrap_or_default();
            let shown = list.keys().map(|key| get(log, &format!("{STATUS}{key}")));
            Ok(shown.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
        Reported::Decisions(most) => newest(log, most),
    }
}

fn newest(log: &dyn Log, most: usize) -> Result<Vec<Shown>, Problem> {
    let list: Batches = get(log, BATCHES)?.unwrap_or_default();
    let (mut shown, mut bytes) = (vec![], 0_usize);
    for Counted { number, .. } in list.kept.iter().rev() {
        let Some(batch) = get::<Batch>(log, &format!("{BATCH}{number}"))? else { continue };
        let Batch { at, partition, events } = batch;
        for event in events.into_iter().rev() {
            bytes = bytes.saturating_add(event.get().len());
            if shown.len() >= most || bytes > MAX_SHOWN_BYTES && !shown.is_empty() {
                return Ok(shown);
            }
            shown.push(Shown { at, partition: partition.clone(), report: event });
        }
    }
    Ok(shown)
}
