//! A log in memory, for tests and simulation.

use std::collections::{BTreeMap, BTreeSet};

use protocol::digest::TopicDigests;
use protocol::internal::Revocation;
use protocol::{Claims, Millis, Seq, topic::TopicSet};

use crate::compaction::{
    Footprint, Logged, MAX_OTHER_AUDIENCE, MAX_PATCHES, MAX_SAME_AUDIENCE, Position, by_update,
    footprints,
};
use crate::log::{Fingerprint, Log, LogError, Record, Resealed, Retention};

/// What can be asked of a [`Log`] that storage may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// [`Log::append`].
    Append,
    /// [`Log::find`].
    Find,
    /// [`Log::last_for`].
    LastFor,
    /// [`Log::read`].
    Read,
    /// What compaction and retention ask, and do.
    Compact,
    /// Whatever is about revocations.
    Revoke,
    /// Whatever is about what is kept by name.
    Keep,
}

impl Call {
    /// Storage that is gone.
    pub const ALL: &'static [Self] = &[
        Self::Append,
        Self::Find,
        Self::LastFor,
        Self::Read,
        Self::Compact,
        Self::Revoke,
        Self::Keep,
    ];
}

/// One update and what is known of it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The update, without the entries that were dropped.
    pub record: Record,
    /// Of the update as it was published.
    pub fingerprint: Fingerprint,
    /// Bytes of what is left.
    pub bytes: usize,
}

/// Keeps everything that it may, and refuses what it is told to.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    /// The log's epoch.
    pub epoch: String,
    /// The updates, in order.
    pub records: Vec<Stored>,
    /// The calls that fail, for as long as they are named here.
    pub refuses: &'static [Call],
    /// An update that cannot be opened, as a fact whose key is gone.
    pub unreadable: Option<Seq>,
    /// So many more times something is appended or kept; none for any number.
    pub takes: Option<usize>,
    floor: Seq,
    digests: TopicDigests,
    revoked: Vec<(Revocation, Millis)>,
    documents: BTreeMap<String, String>,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new(epoch: &str) -> Self {
        Self { epoch: epoch.to_owned(), ..Self::default() }
    }

    /// Forgets the ids of all updates of which nothing is left, as storage does after a while.
    pub fn forget_ids(&mut self) {
        let head = self.head();
        self.records.retain(|stored| stored.bytes > 0 || stored.record.seq == head);
    }

    fn check(&self, call: Call) -> Result<(), LogError> {
        if self.refuses.contains(&call) {
            Err(LogError(format!("told to refuse {call:?}")))
        } else {
            Ok(())
        }
    }

    /// The same for what changes something that cannot be done without.
    fn check_change(&mut self, call: Call) -> Result<(), LogError> {
        self.check(call)?;
        match &mut self.takes {
            Some(0) => Err(LogError(format!("told to refuse this {call:?}"))),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn check_opens(&self, stored: &Stored) -> Result<(), LogError> {
        if self.unreadable == Some(stored.record.seq) {
            return Err(LogError("told not to open this".to_owned()));
        }
        Ok(())
    }

    fn matching<'l>(
        &'l self,
        topics: Option<&'l TopicSet>,
    ) -> impl DoubleEndedIterator<Item = &'l Stored> {
        let live = self.records.iter().filter(|stored| !stored.record.places.is_empty());
        live.filter(move |stored| !stored.record.entries_for(topics).0.is_empty())
    }

    fn logged(&self, before: Seq) -> impl Iterator<Item = Logged> {
        let before = self.records.iter().filter(move |stored| stored.record.seq < before);
        before.rev().flat_map(|stored| {
            let seq = stored.record.seq;
            let footprints = footprints(&stored.record).into_iter().rev();
            footprints.map(move |footprint| Logged { seq, footprint })
        })
    }
}

impl Log for MemoryLog {
    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn head(&self) -> Seq {
        self.records.last().map_or(Seq::ZERO, |stored| stored.record.seq)
    }

    fn floor(&self) -> Seq {
        self.floor
    }

    fn append(
        &mut self,
        record: &Record,
        body: &str,
        fingerprint: &Fingerprint,
    ) -> Result<(), LogError> {
        self.check_change(Call::Append)?;
        for topic in record.topics() {
            self.digests.entry(topic.to_owned()).or_default().add(record.seq, &record.id);
        }
        self.records.push(Stored {
            record: record.clone(),
            fingerprint: fingerprint.clone(),
            bytes: body.len(),
        });
        Ok(())
    }

    fn find(&self, id: &str) -> Result<Option<(Seq, Fingerprint)>, LogError> {
        self.check(Call::Find)?;
        let found = self.records.iter().find(|stored| stored.record.id == id);
        Ok(found.map(|stored| (stored.record.seq, stored.fingerprint.clone())))
    }

    fn last_for(&self, topics: &TopicSet, before: Seq) -> Result<Seq, LogError> {
        self.check(Call::LastFor)?;
        let mut matching = self.matching(Some(topics)).rev();
        let last = matching.find(|stored| stored.record.seq < before);
        Ok(last.map_or(Seq::ZERO, |stored| stored.record.seq))
    }

    fn read(
        &self,
        topics: Option<&TopicSet>,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.check(Call::Read)?;
        let mut batch = vec![];
        let mut bytes = 0;
        for stored in self.matching(topics).filter(|stored| stored.record.seq > after) {
            bytes += stored.bytes;
            if !batch.is_empty() && (bytes > max_bytes || self.check_opens(stored).is_err()) {
                break;
            }
            self.check_opens(stored)?;
            batch.push(stored.record.clone());
        }
        Ok(batch)
    }

    fn record(&self, seq: Seq) -> Result<Option<Record>, LogError> {
        self.check(Call::Read)?;
        let mut live = self.records.iter().filter(|stored| !stored.record.places.is_empty());
        let found = live.find(|stored| stored.record.seq == seq);
        found.map_or(Ok(()), |stored| self.check_opens(stored))?;
        Ok(found.map(|stored| stored.record.clone()))
    }

    fn digests(&self, topics: &TopicSet) -> Result<TopicDigests, LogError> {
        self.check(Call::Read)?;
        let digest = |topic: &str| Some((topic.to_owned(), *self.digests.get(topic)?));
        Ok(topics.iter().filter_map(digest).collect())
    }

    fn entries_below(&self, document: &Footprint, before: Seq) -> Result<Vec<Logged>, LogError> {
        self.check(Call::Compact)?;
        let below =
            || self.logged(before).filter(|it| it.footprint.touches.starts_with(&document.touches));
        let is_same = |it: &Logged| it.footprint.audience == document.audience;
        let same = below().filter(is_same).take(MAX_SAME_AUDIENCE);
        Ok(same.chain(below().filter(|it| !is_same(it)).take(MAX_OTHER_AUDIENCE)).collect())
    }

    fn patches_that_need(&self, key: &str, before: Seq) -> Result<Vec<Logged>, LogError> {
        self.check(Call::Compact)?;
        let patches = self.logged(before).filter(|it| it.footprint.may_need(key));
        Ok(patches.take(MAX_PATCHES).collect())
    }

    fn drop_entries(&mut self, entries: &BTreeSet<Position>) -> Result<(), LogError> {
        self.check(Call::Compact)?;
        let updates = by_update(entries);
        for stored in &mut self.records {
            if let Some(places) = updates.get(&stored.record.seq) {
                stored.record.drop_places(places);
                stored.bytes = match stored.record.places.len() {
                    0 => 0,
                    _ => serde_json::to_string(&stored.record.update)
                        .map_err(|error| LogError(error.to_string()))?
                        .len(),
                };
            }
        }
        Ok(())
    }

    fn retain(&mut self, now: Millis, retention: Retention) -> Result<(), LogError> {
        self.check(Call::Compact)?;
        let bytes = |log: &Self| log.records.iter().map(|stored| stored.bytes as u64).sum::<u64>();
        let (mut total, head) = (bytes(self), self.head());
        let older = self.records.iter_mut().filter(|it| it.bytes > 0 && it.record.seq < head);
        for stored in older {
            let is_old = retention.max_age.is_some_and(|limit| now.since(stored.record.at) > limit);
            if total <= retention.max_bytes && !is_old {
                break;
            }
            total = total.saturating_sub(stored.bytes as u64);
            self.floor = stored.record.seq;
            stored.record.update.entries.clear();
            stored.record.places.clear();
            stored.bytes = 0;
        }
        Ok(())
    }

    fn revoke(&mut self, now: Millis, revocation: &Revocation) -> Result<(), LogError> {
        self.check(Call::Revoke)?;
        self.revoked.push((revocation.clone(), now));
        Ok(())
    }

    fn is_revoked(&self, claims: &Claims) -> Result<bool, LogError> {
        self.check(Call::Revoke)?;
        Ok(self.revoked.iter().any(|(revocation, at)| match revocation {
            Revocation::Jti(jti) => claims.jti.as_ref() == Some(jti),
            Revocation::Sub(sub) => {
                claims.sub == *sub && claims.iat.is_none_or(|iat| iat.saturating_mul(1_000) <= at.0)
            }
        }))
    }

    fn revocations(&self) -> Result<Vec<(Revocation, Millis)>, LogError> {
        self.check(Call::Revoke)?;
        Ok(self.revoked.clone())
    }

    fn secret(&self) -> &str {
        "a secret of this log"
    }

    fn document(&self, name: &str) -> Result<Option<String>, LogError> {
        self.check(Call::Keep)?;
        Ok(self.documents.get(name).cloned())
    }

    fn documents(&self, prefix: &str) -> Result<BTreeMap<String, String>, LogError> {
        self.check(Call::Keep)?;
        let found = self.documents.range(prefix.to_owned()..);
        let found = found.take_while(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, text)| (name.clone(), text.clone())).collect())
    }

    fn names(&self, prefix: &str) -> Result<Vec<String>, LogError> {
        self.documents(prefix).map(|found| found.into_keys().collect())
    }

    fn names_after(&self, prefix: &str, after: &str, most: usize) -> Result<Vec<String>, LogError> {
        self.check(Call::Keep)?;
        let found = self.documents.range(prefix.max(after).to_owned()..);
        let found = found.map(|(name, _)| name).take_while(|name| name.starts_with(prefix));
        Ok(found.filter(|name| name.as_str() > after).take(most).cloned().collect())
    }

    fn count(&self, prefix: &str) -> Result<usize, LogError> {
        Ok(self.names(prefix)?.len())
    }

    fn keep(&mut self, name: &str, text: Option<&str>) -> Result<(), LogError> {
        self.check_change(Call::Keep)?;
        match text {
            Some(text) => self.documents.insert(name.to_owned(), text.to_owned()),
            None => self.documents.remove(name),
        };
        Ok(())
    }

    /// Nothing is sealed in memory.
    fn reseal(&mut self, _: usize) -> Result<Resealed, LogError> {
        Ok(Resealed::default())
    }

    fn clear(&mut self) -> Result<(), LogError> {
        self.check_change(Call::Keep)?;
        let epoch = format!("{}'", self.epoch);
        let revoked = std::mem::take(&mut self.revoked);
        *self = Self { epoch, revoked, refuses: self.refuses, ..Self::default() };
        Ok(())
    }
}
