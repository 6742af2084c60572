//! Who wants to know what became of an update: the hub, for a publisher that waits, and the
//! addresses in the update's `callback` (`spec/opal-protocol.md` §4.2, §4.3).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use protocol::Seq;
use protocol::planted::{Bug, planted};
use protocol::socket::{Delivery, Receipt};
use serde_json::value::RawValue;

use super::queue::{Finished, Queue};
use super::subscription::Subscription;
use crate::json::Json;
use crate::store::Tag;

/// Failures that are remembered, for receipts that are asked for later.
const MAX_FAILURES: usize = 1_000;
/// Receipts owed at one time. A hub that asks for more gets none for the oldest.
const MAX_OWED: usize = 10_000;

/// What became of the updates that somebody wants to hear of.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// The hub waits for receipts of these.
    owed: BTreeSet<Seq>,
    failures: BTreeMap<Seq, String>,
    reports: BTreeMap<Seq, UpdateReport>,
}

/// What is told to an update's callbacks.
#[derive(Clone)]
pub struct UpdateReport {
    /// The update's id.
    pub update_id: String,
    /// OPAL's `callback` member, as it was published.
    pub callback: Box<RawValue>,
    /// One for each entry that was for us, in the publisher's order.
    pub entries: Vec<EntryReport>,
}

/// What became of one entry.
#[derive(Clone, Debug)]
pub struct EntryReport {
    /// The entry's place in the update as it was published.
    pub place: u32,
    /// The entry, as it was delivered.
    pub entry: protocol::Entry,
    /// Its data, if it was there: inline, or fetched.
    pub data: Option<Json>,
    /// True if it took effect.
    pub saved: bool,
}

impl fmt::Debug for UpdateReport {
    /// Without its callbacks, which may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { update_id, callback: _, entries } = self;
        let mut shown = f.debug_struct("UpdateReport");
        shown.field("update_id", update_id).field("entries", entries).finish_non_exhaustive()
    }
}

impl Results {
    /// An update arrived. `report` is false for one that is from before our time.
    pub(super) fn arrived(&mut self, update: &Delivery, report: bool) {
        let Some(callback) = update.callback.clone().filter(|_| report) else { return };
        let entries = update.entries.iter().zip(&update.places).map(|(entry, &place)| {
            EntryReport { place, entry: entry.clone(), data: None, saved: false }
        });
        let report =
            UpdateReport { update_id: update.id.clone(), callback, entries: entries.collect() };
        self.reports.insert(update.seq, report);
    }

    /// The hub wants a receipt.
    pub(super) fn confirm(&mut self, seq: Seq) {
        self.owed.insert(seq);
        if self.owed.len() > MAX_OWED {
            self.owed.pop_first();
        }
    }

    /// The connection is gone, and with it who asked on it.
    pub(super) fn disconnected(&mut self) {
        self.owed.clear();
    }

    /// The log begins anew: its numbers mean other updates.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// An entry ended.
    pub(super) fn ended(&mut self, finished: &Finished, error: Option<&str>) {
        let Tag { seq, place } = finished.tag;
        if let Some(error) = error {
            self.failed(seq, error);
        }
        let entries = self.reports.get_mut(&seq).map(|report| report.entries.iter_mut());
        if let Some(entry) = entries.and_then(|mut it| it.find(|entry| entry.place == place)) {
            entry.data.clone_from(&finished.data);
            entry.saved = error.is_none();
        }
    }

    /// An update failed, or a part of it.
    pub(super) fn failed(&mut self, seq: Seq, error: &str) {
        self.failures.entry(seq).or_insert_with(|| error.to_owned());
        if self.failures.len() > MAX_FAILURES {
            self.failures.pop_first();
        }
    }

    /// An update that had failed took effect later, with another one.
    pub(super) fn mended(&mut self, seq: Seq) {
        self.failures.remove(&seq);
    }

    /// The receipt of an update that has ended.
    pub(super) fn receipt(&self, seq: Seq) -> Receipt {
        let error = self.failures.get(&seq).cloned();
        Receipt { seq, applied: error.is_none(), error }
    }

    /// The receipts and reports that can be given now.
    pub(super) fn due(
        &mut self,
        subscription: &Subscription,
        queue: &Queue,
    ) -> (Vec<Receipt>, Vec<UpdateReport>) {
        let has_ended = |seq: &Seq| !queue.has(*seq) || planted(Bug::ReceiptEarly);
        let owed = self.owed.iter().copied().filter(|seq| subscription.has_all_of(*seq));
        let done: Vec<Seq> = owed.filter(has_ended).collect();
        let receipts = done.into_iter().map(|seq| {
            self.owed.remove(&seq);
            self.receipt(seq)
        });
        let receipts = receipts.collect();
        let done: Vec<Seq> = self.reports.keys().copied().filter(has_ended).collect();
        let reports = done.into_iter().filter_map(|seq| self.reports.remove(&seq)).collect();
        (receipts, reports)
    }
}
