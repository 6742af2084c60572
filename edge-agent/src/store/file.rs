//! The store in a file: documents by place, and the records that are not yet folded into
//! them, in the [tables](super::tables) of a redb database.
//!
//! A record is one small transaction. Folding reads and computes beside the writers, and
//! holds them up only while it writes what has changed; a document that came as one record is
//! not written again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use protocol::{DataPath, Seq};
use redb::{Database, WriteTransaction};

use crate::json::Json;
use crate::policy::PolicySet;

use super::{
    Identity, Mark, Opened, Record, State, StoreError, TAIL_BYTES, TAIL_RECORDS, Tag, Written,
    apart,
    document::Owned,
    opening::{Folder, Obstacle},
    tables::{self, Base, Computed, Known, key, len},
    texts,
};

#[derive(Debug)]
pub(super) struct FileStore {
    shared: Arc<Shared>,
    folding: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    folder: Folder,
    identity: Identity,
    writer: Mutex<Writer>,
}

/// What is known without reading the file.
#[derive(Debug, Default)]
struct Writer {
    /// None after a failure: redb takes nothing more until the file is opened again.
    database: Option<Arc<Database>>,
    cursor: Seq,
    generation: u64,
    /// The number of the next record, or of the next text of a document.
    next: u64,
    heads: BTreeMap<u64, Known>,
    base_bytes: u64,
    tail_bytes: u64,
    tail_records: usize,
}

/// What a database holds that can be used.
struct Found {
    writer: Writer,
    mark: Mark,
    written: Vec<Written>,
    policies: Option<PolicySet>,
    grants: Vec<(DataPath, Json)>,
}

impl FileStore {
    pub(super) fn open(
        dir: &std::path::Path,
        identity: &Identity,
    ) -> Result<(Self, Opened), StoreError> {
        let folder = Folder::open(dir)?;
        let (found, fresh) = match read(&folder, identity) {
            Ok(found) => (found, None),
            Err(Obstacle::Error(error)) => return Err(error),
            Err(Obstacle::Unusable(why)) => {
                let fresh = folder.move_aside(&why)?;
                match read(&folder, identity) {
                    Ok(found) => (found, Some(fresh)),
                    Err(Obstacle::Error(error)) => return Err(error),
                    Err(Obstacle::Unusable(why)) => {
                        let why = format!("{} cannot keep a file: a new one {why}", dir.display());
                        return Err(StoreError::Folder(why));
                    }
                }
            }
        };
        let Found { writer, mark, written, policies, grants } = found;
        let writer = Mutex::new(writer);
        let shared = Arc::new(Shared { folder, identity: identity.clone(), writer });
        Ok((
            Self { shared, folding: Mutex::default() },
            Opened { mark, written, policies, grants, fresh },
        ))
    }

    /// The writer, with an open database. A fold that reads still holds the file of a write that
    /// failed, which cannot be opened again before that has ended.
    fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        if self.shared.is_closed() {
            self.wait_for_folding();
        }
        self.shared.writer()
    }

    pub(super) fn append(&self, records: &[Record], mark: &Mark) -> Result<(), StoreError> {
        self.catch_up(mark)?;
        let mut writer = self.writer()?;
        let is_current = mark.generation >= writer.generation;
        let first = writer.next;
        let records = records.iter().filter(|record| is_current || !record.path.is_apart());
        let tag = |record: &Record| if is_current { record.tag } else { Tag::default() };
        let records: Vec<(u64, Tag, &Record)> =
            (first..).zip(records).map(|(at, record)| (at, tag(record), record)).collect();
        self.shared.write(&mut writer, |transaction| {
            tables::insert_records(transaction, &records)?;
            if is_current { tables::set_mark(transaction, mark) } else { Ok(()) }
        })?;
        if is_current {
            writer.cursor = mark.cursor;
        }
        for (at, tag, record) in records {
            writer.know(at, Known { tag, bytes: len(&record.data), folded: false });
        }
        let due = writer.tail_bytes > writer.base_bytes.saturating_add(TAIL_BYTES)
            || writer.tail_records > TAIL_RECORDS;
        drop(writer);
        if due {
            // What was appended now may still be refused.
            self.fold_beside(first);
        }
        Ok(())
    }

    pub(super) fn discard(&self, tags: &[Tag]) -> Result<(), StoreError> {
        let mut writer = self.writer()?;
        let last = writer.heads.iter().rev().take(tags.len());
        let last: Vec<(u64, Known)> = last.map(|(at, known)| (*at, *known)).collect();
        let is_last = last.iter().map(|(_, known)| &known.tag).eq(tags.iter().rev());
        if !is_last || last.iter().any(|(_, known)| known.folded) {
            return Ok(());
        }
        let at: Vec<u64> = last.iter().map(|(at, _)| *at).collect();
        self.shared.write(&mut writer, |transaction| tables::drop_records(transaction, &at))?;
        for (at, known) in last {
            writer.drop_record(at, known);
        }
        Ok(())
    }

    pub(super) fn save(&self, mark: &Mark) -> Result<(), StoreError> {
        self.catch_up(mark)?;
        let mut writer = self.writer()?;
        if mark.generation < writer.generation {
            return Ok(());
        }
        self.shared.write(&mut writer, |transaction| tables::set_mark(transaction, mark))?;
        writer.cursor = mark.cursor;
        Ok(())
    }

    /// Begins again if that failed when it was asked for.
    fn catch_up(&self, mark: &Mark) -> Result<(), StoreError> {
        let generation = self.writer()?.generation;
        if mark.generation > generation { self.begin_again(mark) } else { Ok(()) }
    }

    pub(super) fn begin_again(&self, mark: &Mark) -> Result<(), StoreError> {
        self.wait_for_folding();
        let mut writer = self.writer()?;
        let heads = writer.heads.clone();
        let (mut policy, mut base_bytes) = (vec![], writer.base_bytes);
        self.shared.write(&mut writer, |transaction| {
            policy = tables::forget_apart(transaction, &mut base_bytes)?;
            tables::forget_tags(transaction, &heads)?;
            tables::set_mark(transaction, mark)
        })?;
        writer.base_bytes = base_bytes;
        for (at, known) in heads {
            if known.folded {
                writer.heads.remove(&at);
            } else if policy.contains(&at) {
                writer.drop_record(at, known);
            } else {
                writer.heads.insert(at, Known { tag: Tag::default(), ..known });
            }
        }
        (writer.cursor, writer.generation) = (mark.cursor, mark.generation);
        Ok(())
    }

    pub(super) fn state(&self) -> Result<State, StoreError> {
        // Nothing is written meanwhile.
        let mut writer = self.writer()?;
        let database = self.shared.database(&writer)?;
        let failed = |error| self.shared.folder.failed(error);
        let Computed { document, refused, .. } =
            tables::compute(&database, u64::MAX).map_err(failed)?;
        if !refused.is_empty() {
            let at: Vec<u64> = refused.iter().map(|(at, ..)| *at).collect();
            self.shared.write(&mut writer, |transaction| tables::drop_records(transaction, &at))?;
            for (at, ..) in &refused {
                if let Some(known) = writer.heads.get(at).copied() {
                    writer.drop_record(*at, known);
                }
            }
        }
        drop(writer);
        let refused = refused.into_iter().map(|(_, tag, why)| (tag, why)).collect();
        Ok(State { owned: texts(document), refused })
    }

    /// Folds the records before `end` on a thread of its own, one at a time.
    fn fold_beside(&self, end: u64) {
        let mut folding = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
        if folding.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let work = move || {
            if let Err(error) = shared.fold(end) {
                // Nothing is lost: the records stay, and the next append tries again.
                tracing::warn!(%error, "records could not be folded");
            }
        };
        let spawned = thread::Builder::new().name("fold".to_owned()).spawn(work);
        *folding = spawned.inspect_err(|error| tracing::warn!(%error, "no thread to fold")).ok();
    }

    #[cfg(test)]
    pub(super) fn tail_records(&self) -> usize {
        self.shared.writer().unwrap().tail_records
    }

    #[cfg(test)]
    pub(super) fn is_folding(&self) -> bool {
        let folding = self.folding.lock().unwrap();
        folding.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    pub(super) fn wait_for_folding(&self) {
        let mut folding = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = folding.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for FileStore {
    /// The file is free for the next one when this returns.
    fn drop(&mut self) {
        self.wait_for_folding();
    }
}

// === impl Shared ===

impl Shared {
    /// The writer, with an open database. After a failure the file is opened again.
    fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.database.is_none() {
            match read(&self.folder, &self.identity) {
                Ok(found) => *writer = found.writer,
                Err(Obstacle::Error(error)) => return Err(error.again()),
                Err(Obstacle::Unusable(why)) => {
                    return Err(StoreError::Failed(format!("the state file {why}; restart")));
                }
            }
        }
        Ok(writer)
    }

    /// True after a failure, until the file is opened again.
    fn is_closed(&self) -> bool {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).database.is_none()
    }

    fn database(&self, writer: &Writer) -> Result<Arc<Database>, StoreError> {
        writer.database.clone().ok_or_else(|| StoreError::Failed("is closed".to_owned()))
    }

    /// One transaction: durable when this returns, or without any effect.
    fn write(
        &self,
        writer: &mut Writer,
        work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let database = self.database(writer)?;
        let done = (|| {
            let transaction = database.begin_write()?;
            work(&transaction)?;
            Ok(transaction.commit()?)
        })();
        done.map_err(|error| {
            writer.database = None;
            self.folder.failed(error)
        })
    }

    /// Folds the records before `end` into the documents.
    fn fold(&self, end: u64) -> Result<(), StoreError> {
        let database = self.database(&*self.writer()?)?;
        let Computed { document, places, refused } =
            tables::compute(&database, end).map_err(|error| self.folder.failed(error))?;
        drop(database);
        for (_, tag, why) in refused {
            tracing::warn!(seq = %tag.seq, place = tag.place, %why, "a record cannot be applied");
        }
        let owned = document.owned();
        let mut writer = self.writer()?;
        let (mut base, mut new) = (Base::new(), BTreeMap::new());
        for (path, owned) in owned {
            let entry = match owned {
                Owned::Nothing => (0, 0),
                Owned::Stored(number, text) => (number, len(&text)),
                Owned::New(text) => {
                    let (number, bytes) = (writer.take_number(), len(&text));
                    new.insert(number, text);
                    (number, bytes)
                }
            };
            base.insert(key(&path), entry);
        }
        let cursor = writer.cursor;
        self.write(&mut writer, |transaction| {
            tables::fold(transaction, end, cursor, &places, &base, &new)
        })?;
        writer.base_bytes = tables::bytes_of(&base);
        let folded: Vec<(u64, Known)> =
            writer.heads.range(..end).map(|(at, known)| (*at, *known)).collect();
        for (at, known) in folded {
            writer.drop_record(at, known);
            if known.tag.seq > cursor {
                writer.heads.insert(at, Known { folded: true, ..known });
            }
        }
        Ok(())
    }
}

impl Writer {
    fn take_number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }

    fn know(&mut self, at: u64, known: Known) {
        self.heads.insert(at, known);
        self.next = at.saturating_add(1);
        if !known.folded {
            self.tail_bytes = self.tail_bytes.saturating_add(known.bytes);
            self.tail_records += 1;
        }
    }

    fn drop_record(&mut self, at: u64, known: Known) {
        self.heads.remove(&at);
        if !known.folded {
            self.tail_bytes = self.tail_bytes.saturating_sub(known.bytes);
            self.tail_records = self.tail_records.saturating_sub(1);
        }
    }
}

/// Opens the database and reads what is needed of it; makes it if it is missing.
fn read(folder: &Folder, identity: &Identity) -> Result<Found, Obstacle> {
    let (database, existed) = folder.database()?;
    if !existed {
        let failed = |error| Obstacle::Error(folder.failed(error));
        let transaction = database.begin_write().map_err(|error| failed(error.into()))?;
        tables::start(&transaction, identity).map_err(failed)?;
        transaction.commit().map_err(|error| failed(error.into()))?;
    }
    let found = tables::look(&database, identity)?;
    let beside = tables::compute_apart(&database);
    let beside = beside.map_err(|error| Obstacle::Unusable(error.to_string()))?;
    let (policies, grants) = apart(beside);
    let (mark, written, base_bytes) = (found.mark, found.written, found.base_bytes);
    let (cursor, generation) = (mark.cursor, mark.generation);
    let database = Some(Arc::new(database));
    let mut writer = Writer { database, cursor, generation, base_bytes, ..Writer::default() };
    for (at, known) in found.heads {
        writer.know(at, known);
    }
    writer.next = found.next;
    Ok(Found { writer, mark, written, policies, grants })
}
