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
    /// Found out while folding; told at the next question for the state.
    refused: Vec<(Tag, String)>,
}

impl MemoryStore {
    pub(super) fn append(&self, record: &Record) {
        let mut inner = self.lock();
        // All but the last record have taken effect; the new one may still be refused.
        if inner.tail_bytes > TAIL_BYTES || inner.tail.len() >= TAIL_RECORDS {
            inner.fold();
        }
        inner.tail_bytes += size(record);
        inner.tail.push(record.clone());
    }

    pub(super) fn discard(&self, tag: Tag) {
        let mut inner = self.lock();
        if let Some(record) = inner.tail.pop_if(|last| last.tag == tag) {
            inner.tail_bytes -= size(&record);
        }
    }

    pub(super) fn state(&self) -> State {
        let mut inner = self.lock();
        // The last record stays one that can be discarded.
        let last = inner.tail.pop();
        inner.fold();
        let mut document = inner.base.clone();
        if let Some(last) = last {
            match apply(&mut document, &last.path, last.save_method, Text::new(last.data.clone())) {
                Ok(()) => {
                    inner.tail_bytes = size(&last);
                    inner.tail.push(last);
                }
                Err(why) => inner.refused.push((last.tag, why)),
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
    /// Costs as much as the records, not as the documents.
    fn fold(&mut self) {
        self.tail_bytes = 0;
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
