//! What the hub needs from storage.

use std::collections::BTreeMap;

use protocol::commit::is_part;
use protocol::digest::TopicDigests;
use protocol::internal::Revocation;
use protocol::plane;
use protocol::{Claims, Entry, Millis, Seq, Update, hex, topic::TopicSet};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::compaction::{Footprint, Logged, Position};

/// One update in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// The publisher's id of it.
    pub id: String,
    /// When the hub accepted it.
    pub at: Millis,
    /// What was published, without the entries that are unnecessary now.
    pub update: Update,
    /// The place of each entry in the update as it was published.
    pub places: Vec<u32>,
}

impl Record {
    /// An update as it was published.
    #[must_use]
    pub fn new(seq: Seq, id: String, at: Millis, update: Update) -> Self {
        let places = (0..).take(update.entries.len()).collect();
        Self { seq, id, at, update, places }
    }

    /// Every topic the update is published to, parents included, without repeats.
    #[must_use]
    pub fn topics(&self) -> std::collections::BTreeSet<&str> {
        self.update.topics()
    }

    /// The entries that are for a subscriber, in the publisher's order, with their places.
    /// Without topics all of them but facts and grants, which are for who names their topics.
    #[must_use]
    pub fn entries_for(&self, topics: Option<&TopicSet>) -> (Vec<&Entry>, Vec<u32>) {
        let entries = self.update.entries.iter().zip(&self.places);
        let is_for = |entry: &Entry| match topics {
            Some(topics) => topics.matches(&entry.topics),
            None => !plane::is_for_named_topics(entry),
        };
        entries.filter(|(entry, _)| is_for(entry)).unzip()
    }

    /// The same without what is policy or a grant: clients of the OPAL dialect get the one in
    /// bundles, and have no use for the other.
    #[must_use]
    pub fn data_for(&self, topics: Option<&TopicSet>) -> (Vec<&Entry>, Vec<u32>) {
        let (entries, places) = self.entries_for(topics);
        let is_data = |entry: &Entry| !is_part(entry) && !entry.dst_path.is_grant();
        entries.into_iter().zip(places).filter(|(entry, _)| is_data(entry)).unzip()
    }

    /// Leaves out the entries at these places.
    pub fn drop_places(&mut self, dropped: &std::collections::BTreeSet<u32>) {
        let entries = std::mem::take(&mut self.update.entries);
        let places = std::mem::take(&mut self.places);
        let kept = entries.into_iter().zip(places).filter(|(_, place)| !dropped.contains(place));
        (self.update.entries, self.places) = kept.unzip();
    }
}

/// Tells two updates with the same id apart: SHA-256 of the update as it is stored, in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    /// The fingerprint of a stored body.
    #[must_use]
    pub fn of(body: &str) -> Self {
        Self(hex(&Sha256::digest(body)))
    }
}

/// Storage could not do it. The text is for the operator's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storage: {0}")]
pub struct LogError(pub String);

/// How much of the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of all updates together.
    pub max_bytes: u64,
    /// Milliseconds since an update was accepted; none for ever.
    pub max_age: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, max_age: None }
    }
}

/// What became of texts that were sealed with another key than the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Sealed with it now.
    pub done: usize,
    /// Still sealed with others.
    pub left: usize,
}

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
    /// The highest number that was given up to retention though nothing made up for it; 0 if
    /// none was. Who has not had it cannot go on from where he is.
    fn floor(&self) -> Seq;
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
    /// The number and fingerprint that an id has, if it is known.
    ///
    /// # Errors
    /// If storage refuses.
    fn find(&self, id: &str) -> Result<Option<(Seq, Fingerprint)>, LogError>;
    /// The number of the last update for `topics` before `before`, 0 if there is none.
    ///
    /// # Errors
    /// If storage refuses.
    fn last_for(&self, topics: &TopicSet, before: Seq) -> Result<Seq, LogError>;
    /// The updates for `topics`, or all but those that carry facts, after `after`, in order: as
    /// many as fit in `max_bytes`, but at least one if there is one. Those without any entry left
    /// are not there. It ends before a fact that cannot be opened.
    ///
    /// # Errors
    /// If storage refuses, or the first one cannot be opened.
    fn read(
        &self,
        topics: Option<&TopicSet>,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError>;
    /// The update with this number, if anything is left of it.
    ///
    /// # Errors
    /// If storage refuses, or it carries a fact that cannot be opened.
    fn record(&self, seq: Seq) -> Result<Option<Record>, LogError>;
    /// What was ever published to each of `topics`.
    ///
    /// # Errors
    /// If storage refuses.
    fn digests(&self, topics: &TopicSet) -> Result<TopicDigests, LogError>;

    /// Entries before `before` that touch nothing outside of what `document` replaces, the
    /// newest first of those with its audience, and of some others.
    ///
    /// # Errors
    /// If storage refuses.
    fn entries_below(&self, document: &Footprint, before: Seq) -> Result<Vec<Logged>, LogError>;
    /// The newest patches before `before` that need something at, above or below the path
    /// of this [key](crate::compaction::key).
    ///
    /// # Errors
    /// If storage refuses.
    fn patches_that_need(&self, key: &str, before: Seq) -> Result<Vec<Logged>, LogError>;
    /// Drops entries that are unnecessary. Their updates' ids stay known.
    ///
    /// # Errors
    /// If storage refuses.
    fn drop_entries(
        &mut self,
        entries: &std::collections::BTreeSet<Position>,
    ) -> Result<(), LogError>;
    /// Gives up what is beyond retention: more of it at a time than comes at a time. The newest
    /// update stays, however large or old.
    ///
    /// # Errors
    /// If storage refuses.
    fn retain(&mut self, now: Millis, retention: Retention) -> Result<(), LogError>;

    /// Remembers a revocation made at this moment, or the later of two.
    ///
    /// # Errors
    /// If storage refuses.
    fn revoke(&mut self, now: Millis, revocation: &Revocation) -> Result<(), LogError>;
    /// True if a token with these claims was revoked.
    ///
    /// # Errors
    /// If storage refuses.
    fn is_revoked(&self, claims: &Claims) -> Result<bool, LogError>;
    /// Everything that was ever revoked.
    ///
    /// # Errors
    /// If storage refuses.
    fn revocations(&self) -> Result<Vec<(Revocation, Millis)>, LogError>;

    /// A random text that was made with the log and never leaves the hub.
    fn secret(&self) -> &str;
    /// The text kept under a name.
    ///
    /// # Errors
    /// If storage refuses.
    fn document(&self, name: &str) -> Result<Option<String>, LogError>;
    /// The texts kept under all names that begin so.
    ///
    /// # Errors
    /// If storage refuses.
    fn documents(&self, prefix: &str) -> Result<BTreeMap<String, String>, LogError>;
    /// The names that begin so, of what is kept.
    ///
    /// # Errors
    /// If storage refuses.
    fn names(&self, prefix: &str) -> Result<Vec<String>, LogError>;
    /// The first names that begin so and come after `after`, in order: at most so many.
    ///
    /// # Errors
    /// If storage refuses.
    fn names_after(&self, prefix: &str, after: &str, most: usize) -> Result<Vec<String>, LogError>;
    /// How many names begin so.
    ///
    /// # Errors
    /// If storage refuses.
    fn count(&self, prefix: &str) -> Result<usize, LogError>;
    /// Keeps a text of at most 2 MB under a name, or forgets it.
    ///
    /// # Errors
    /// If storage refuses.
    fn keep(&mut self, name: &str, text: Option<&str>) -> Result<(), LogError>;
    /// Seals what facts the log has anew, of those that are not sealed with the first key: at most
    /// so many.
    ///
    /// # Errors
    /// If storage refuses, or there is no key.
    fn reseal(&mut self, most: usize) -> Result<Resealed, LogError>;
    /// Forgets everything but what was revoked: the log begins anew, with another epoch.
    ///
    /// # Errors
    /// If storage refuses.
    fn clear(&mut self) -> Result<(), LogError>;
}
