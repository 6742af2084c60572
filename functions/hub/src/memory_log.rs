//! A log in memory, for tests and simulation.

use protocol::{Seq, topic::TopicSet};

use crate::log::{Fingerprint, Log, LogError, Record};

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
}

impl Call {
    /// Storage that is gone.
    pub const ALL: &'static [Self] = &[Self::Append, Self::Find, Self::LastFor, Self::Read];
}

/// Keeps everything, and refuses what it is told to.
#[derive(Debug, Default)]
pub struct MemoryLog {
    /// The log's epoch.
    pub epoch: String,
    /// The records with the size of each body, in order.
    pub records: Vec<(Record, Fingerprint, usize)>,
    /// The calls that fail, for as long as they are named here.
    pub refuses: &'static [Call],
}

impl MemoryLog {
    fn check(&self, call: Call) -> Result<(), LogError> {
        if self.refuses.contains(&call) {
            Err(LogError(format!("told to refuse {call:?}")))
        } else {
            Ok(())
        }
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
        self.check(Call::Append)?;
        self.records.push((record.clone(), fingerprint.clone(), body.len()));
        Ok(())
    }

    fn find(&self, id: &str) -> Result<Option<(Seq, Fingerprint)>, LogError> {
        self.check(Call::Find)?;
        let found = self.records.iter().find(|(record, _, _)| record.id == id);
        Ok(found.map(|(record, fingerprint, _)| (record.seq, fingerprint.clone())))
    }

    fn last_for(&self, topics: &TopicSet, before: Seq) -> Result<Seq, LogError> {
        self.check(Call::LastFor)?;
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
        self.check(Call::Read)?;
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
