//! The store of an agent without a data folder: as long as its process.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Record, State, TAIL_BYTES, TAIL_RECORDS, Tag, apply, document::Document, text::Text, texts,
};

#[derive(Debug, Default)]
pub(super) struct MemoryStore(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    base: Document,
    /// Not yet in the base, in the order of writing.
    tail: Vec<Record>,
    tail_bytes: u64,
    /// How many of the tail's were appended together, last of all.
    last: usize,
    /// Found out while folding; told at the next question for the state.
    refused: Vec<(Tag, String)>,
}

impl MemoryStore {
    pub(super) fn append(&self, records: &[Record]) {
        let mut inner = self.lock();
        // All but the last ones have taken effect; the new ones may still be refused.
        if inner.tail_bytes > TAIL_BYTES || inner.tail.len() >= TAIL_RECORDS {
            inner.fold();
        }
        inner.last = records.len();
        inner.push(records.to_vec());
    }

    pub(super) fn discard(&self, tags: &[Tag]) {
        let mut inner = self.lock();
        let last = inner.take_last();
        if !last.iter().map(|record| &record.tag).eq(tags) {
            inner.last = last.len();
            inner.push(last);
        }
    }

    pub(super) fn state(&self) -> State {
        let mut inner = self.lock();
        // The last ones stay ones that can be discarded.
        let last = inner.take_last();
        inner.fold();
        let mut document = inner.base.clone();
        for record in last {
            let text = Text::new(record.data.clone());
            match apply(&mut document, &record.path, record.save_method, text) {
                Ok(()) => {
                    inner.last += 1;
                    inner.push(vec![record]);
                }
                Err(why) => inner.refused.push((record.tag, why)),
            }
        }
        let refused = mem::take(&mut inner.refused);
        drop(inner);
        State { owned: texts(document), refused }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, records: Vec<Record>) {
        self.tail_bytes += records.iter().map(size).sum::<u64>();
        self.tail.extend(records);
    }

    /// Takes out what was appended last.
    fn take_last(&mut self) -> Vec<Record> {
        let last = self.tail.split_off(self.tail.len().saturating_sub(mem::take(&mut self.last)));
        self.tail_bytes -= last.iter().map(size).sum::<u64>();
        last
    }

    /// Costs as much as the records, not as the documents.
    fn fold(&mut self) {
        (self.tail_bytes, self.last) = (0, 0);
        for record in mem::take(&mut self.tail) {
            let done = apply(
                &mut self.base,
                &record.path,
                record.save_method,
                Text::new(record.data.clone()),
            );
            if let Err(why) = done {
                self.refused.push((record.tag, why));
            }
        }
    }
}

fn size(record: &Record) -> u64 {
    u64::try_from(record.data.get().len()).unwrap_or(u64::MAX)
}
