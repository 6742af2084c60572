//! What the hub needs from storage.

use protocol::{Entry, Millis, Seq, Update, topic::TopicSet};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// One update in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// The publisher's id of it.
    pub id: String,
    /// When the hub accepted it.
    pub at: Millis,
    /// What was published.
    pub update: Update,
}

impl Record {
    /// Every topic the update is published to, parents included, without repeats.
    #[must_use]
    pub fn topics(&self) -> std::collections::BTreeSet<&str> {
        self.update.topics()
    }

    /// The entries that are for a subscriber, in the publisher's order.
    #[must_use]
    pub fn entries_for(&self, topics: &TopicSet) -> Vec<&Entry> {
        self.update.entries.iter().filter(|entry| topics.matches(&entry.topics)).collect()
    }
}

/// Tells two updates with the same id apart: SHA-256 of the update as it is stored, in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// The fingerprint of a stored body.
    #[must_use]
    pub fn of(body: &str) -> Self {
        use std::fmt::Write as _;
        let mut hex = String::with_capacity(64);
        for byte in Sha256::digest(body.as_bytes()) {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self(hex)
    }
}

/// Storage could not do it. The text is for the operator's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storage: {0}")]
pub struct LogError(pub String);

/// The durable list of a scope's updates.
///
/// It is passed to each step of the [`machine`](crate::machine), never kept by it. Calls
/// are synchronous, as SQLite in a Durable Object is; what they wrote is durable before
/// anything the step decided leaves the object (the platform's output gate).
pub trait Log {
    /// Which life of the log this is; a new one if the log was ever emptied.
    fn epoch(&self) -> &str;
    /// The last number given.
    fn head(&self) -> Seq;
    /// Appends a record. All of it or nothing.
    ///
    /// # Errors
    /// If storage refuses; then the log is unchanged.
    fn append(
        &mut self,
        record: &Record,
        body: &str,
        fingerprint: &Fingerprint,
    ) -> Result<(), LogError>;
    /// The number and fingerprint that an id has, if it is in the log.
    ///
    /// # Errors
    /// If storage refuses.
    fn find(&self, id: &str) -> Result<Option<(Seq, Fingerprint)>, LogError>;
    /// The number of the last update for `topics` before `before`, 0 if there is none.
    ///
    /// # Errors
    /// If storage refuses.
    fn last_for(&self, topics: &TopicSet, before: Seq) -> Result<Seq, LogError>;
    /// The updates for `topics` after `after`, in order: as many as fit in `max_bytes`,
    /// but at least one if there is one.
    ///
    /// # Errors
    /// If storage refuses.
    fn read(
        &self,
        topics: &TopicSet,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError>;
}
