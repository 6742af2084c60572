//! A log in memory, for tests and simulation.

use protocol::{Seq, topic::TopicSet};

use crate::log::{Fingerprint, Log, LogError, Record};

/// Keeps everything, and refuses to write when told to.
#[derive(Debug, Default)]
pub struct MemoryLog {
    /// The log's epoch.
    pub epoch: String,
    /// The records with the size of each body, in order.
    pub records: Vec<(Record, Fingerprint, usize)>,
    /// While true, every call fails.
    pub refuses: bool,
}

impl MemoryLog {
    fn check(&self) -> Result<(), LogError> {
        if self.refuses { Err(LogError("told to refuse".to_owned())) } else { Ok(()) }
    }

    fn matching<'l>(
        &'l self,
        topics: &'l TopicSet,
    ) -> impl DoubleEndedIterator<Item = &'l (Record, Fingerprint, usize)> {
        self.records.iter().filter(|(record, _, _)| !record.entries_for(topics).is_empty())
    }
}

impl Log for MemoryLog {
    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn head(&self) -> Seq {
        self.records.last().map_or(Seq::ZERO, |(record, _, _)| record.seq)
    }

    fn append(
        &mut self,
        record: &Record,
        body: &str,
        fingerprint: &Fingerprint,
    ) -> Result<(), LogError> {
        self.check()?;
        self.records.push((record.clone(), fingerprint.clone(), body.len()));
        Ok(())
    }

    fn find(&self, id: &str) -> Result<Option<(Seq, Fingerprint)>, LogError> {
        self.check()?;
        let found = self.records.iter().find(|(record, _, _)| record.id == id);
        Ok(found.map(|(record, fingerprint, _)| (record.seq, fingerprint.clone())))
    }

    fn last_for(&self, topics: &TopicSet, before: Seq) -> Result<Seq, LogError> {
        self.check()?;
        let mut matching = self.matching(topics).rev();
        Ok(matching
            .find(|(record, _, _)| record.seq < before)
            .map_or(Seq::ZERO, |(record, _, _)| record.seq))
    }

    fn read(
        &self,
        topics: &TopicSet,
        after: Seq,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.check()?;
        let mut batch = vec![];
        let mut bytes = 0;
        for (record, _, size) in self.matching(topics).filter(|(record, _, _)| record.seq > after) {
            bytes += size;
            if bytes > max_bytes && !batch.is_empty() {
                break;
            }
            batch.push(record.clone());
        }
        Ok(batch)
    }
}
