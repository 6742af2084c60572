//! The store in a file: documents by place, and the records that are not yet folded into
//! them, each in one table of a redb database.
//!
//! A record is one small transaction. Folding reads and computes beside the writers, and
//! holds them up only while it writes what has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use protocol::{DataPath, SaveMethod, Seq};
use redb::{
    Database, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use serde_json::value::RawValue;

use super::{
    Identity, Mark, Opened, Record, State, StoreError, TAIL_BYTES, TAIL_RECORDS, Tag, Written,
    apply,
    document::{Document, Owned},
    opening::{Folder, Obstacle},
    texts,
};

/// What is kept and how; another number is another layout.
const FORMAT: u64 = 1;

/// `format`, `identity`, `mark` and `base_bytes`, each as JSON.
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// The documents: a place as a JSON list of its segments, and its text; empty where nothing
/// may be.
const BASE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("base");
/// The records in the order of writing: seq, place in the update, whether it is a patch,
/// path, bytes of data, whether it is folded.
const HEADS: TableDefinition<'_, u64, Head<'_>> = TableDefinition::new("heads");
/// The data of the records that are not folded.
const TAIL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tail");

type Head<'h> = (u64, u32, bool, &'h str, u64, bool);

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
    /// The number of the next record.
    next: u64,
    heads: BTreeMap<u64, Known>,
    base_bytes: u64,
    tail_bytes: u64,
    tail_records: usize,
}

/// A record's head, as far as it is needed often.
#[derive(Clone, Copy, Debug)]
struct Known {
    tag: Tag,
    bytes: u64,
    folded: bool,
}

/// What a database holds that can be used.
struct Found {
    writer: Writer,
    mark: Mark,
    written: Vec<Written>,
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
        let Found { writer, mark, written } = found;
        let writer = Mutex::new(writer);
        let shared = Arc::new(Shared { folder, identity: identity.clone(), writer });
        Ok((Self { shared, folding: Mutex::default() }, Opened { mark, written, fresh }))
    }

    pub(super) fn append(&self, record: &Record, mark: &Mark) -> Result<(), StoreError> {
        self.catch_up(mark)?;
        let data = record.data.get();
        let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let mut writer = self.shared.writer()?;
        let is_current = mark.generation >= writer.generation;
        let (at, tag) = (writer.next, if is_current { record.tag } else { Tag::default() });
        let is_patch = record.save_method == SaveMethod::Patch;
        let path = key(&record.path);
        self.shared.write(&mut writer, |transaction| {
            let head = (tag.seq.0, tag.place, is_patch, path.as_str(), bytes, false);
            transaction.open_table(HEADS)?.insert(at, head)?;
            transaction.open_table(TAIL)?.insert(at, data.as_bytes())?;
            if is_current { set_mark(transaction, mark) } else { Ok(()) }
        })?;
        if is_current {
            writer.cursor = mark.cursor;
        }
        writer.know(at, Known { tag, bytes, folded: false });
        let due = writer.tail_bytes > writer.base_bytes.saturating_add(TAIL_BYTES)
            || writer.tail_records > TAIL_RECORDS;
        drop(writer);
        if due {
            self.fold_beside(at);
        }
        Ok(())
    }

    pub(super) fn discard(&self, tag: Tag) -> Result<(), StoreError> {
        let mut writer = self.shared.writer()?;
        let last = writer.heads.last_key_value().map(|(at, known)| (*at, *known));
        let Some((at, known)) = last.filter(|(_, known)| known.tag == tag && !known.folded) else {
            return Ok(());
        };
        self.shared.write(&mut writer, |transaction| drop_records(transaction, &[at]))?;
        writer.drop_record(at, known);
        Ok(())
    }

    pub(super) fn save(&self, mark: &Mark) -> Result<(), StoreError> {
        self.catch_up(mark)?;
        let mut writer = self.shared.writer()?;
        if mark.generation < writer.generation {
            return Ok(());
        }
        self.shared.write(&mut writer, |transaction| set_mark(transaction, mark))?;
        writer.cursor = mark.cursor;
        Ok(())
    }

    /// Begins again if that failed when it was asked for.
    fn catch_up(&self, mark: &Mark) -> Result<(), StoreError> {
        let generation = self.shared.writer()?.generation;
        if mark.generation > generation { self.begin_again(mark) } else { Ok(()) }
    }

    pub(super) fn begin_again(&self, mark: &Mark) -> Result<(), StoreError> {
        self.wait_for_folding();
        let mut writer = self.shared.writer()?;
        let heads: Vec<(u64, Known)> =
            writer.heads.iter().map(|(at, known)| (*at, *known)).collect();
        self.shared.write(&mut writer, |transaction| {
            let mut table = transaction.open_table(HEADS)?;
            for (at, known) in &heads {
                let head = table.remove(at)?.filter(|_| !known.folded).map(|head| {
                    let (_, _, is_patch, path, bytes, folded) = head.value();
                    (is_patch, path.to_owned(), bytes, folded)
                });
                if let Some((is_patch, path, bytes, folded)) = head {
                    table.insert(at, (0, 0, is_patch, path.as_str(), bytes, folded))?;
                }
            }
            drop(table);
            set_mark(transaction, mark)
        })?;
        for (at, known) in heads {
            if known.folded {
                writer.heads.remove(&at);
            } else {
                writer.heads.insert(at, Known { tag: Tag::default(), ..known });
            }
        }
        (writer.cursor, writer.generation) = (mark.cursor, mark.generation);
        Ok(())
    }

    pub(super) fn state(&self) -> Result<State, StoreError> {
        // Nothing is written meanwhile.
        let mut writer = self.shared.writer()?;
        let database = self.shared.database(&writer)?;
        let failed = |error| self.shared.folder.failed(error);
        let (document, _, refused) = compute(&database, u64::MAX).map_err(failed)?;
        if !refused.is_empty() {
            let at: Vec<u64> = refused.iter().map(|(at, ..)| *at).collect();
            self.shared.write(&mut writer, |transaction| drop_records(transaction, &at))?;
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
        let (document, places, refused) =
            compute(&database, end).map_err(|error| self.folder.failed(error))?;
        drop(database);
        for (_, tag, why) in refused {
            tracing::warn!(seq = %tag.seq, place = tag.place, %why, "a record cannot be applied");
        }
        let (mut stale, mut changed, mut base_bytes) = (places, Vec::new(), 0_u64);
        for (path, owned) in document.owned() {
            let place = key(&path);
            stale.remove(&place);
            let text = match owned {
                Owned::Same(text) => {
                    base_bytes = base_bytes.saturating_add(len(&text));
                    continue;
                }
                Owned::New(text) => Some(text),
                Owned::Nothing => None,
            };
            base_bytes = base_bytes.saturating_add(text.as_ref().map_or(0, len));
            changed.push((place, text));
        }

        let mut writer = self.writer()?;
        let folded: Vec<(u64, Known)> =
            writer.heads.range(..end).map(|(at, known)| (*at, *known)).collect();
        let cursor = writer.cursor;
        self.write(&mut writer, |transaction| {
            let mut base = transaction.open_table(BASE)?;
            for place in &stale {
                base.remove(place.as_str())?;
            }
            for (place, text) in &changed {
                let text = text.as_ref().map_or("", |text| text.get());
                base.insert(place.as_str(), text.as_bytes())?;
            }
            let (mut heads, mut tail) =
                (transaction.open_table(HEADS)?, transaction.open_table(TAIL)?);
            for (at, known) in &folded {
                tail.remove(at)?;
                let kept = known.tag.seq > cursor;
                let head = heads.remove(at)?.filter(|_| kept).map(|head| {
                    let (seq, place, is_patch, path, bytes, _) = head.value();
                    (seq, place, is_patch, path.to_owned(), bytes)
                });
                if let Some((seq, place, is_patch, path, bytes)) = head {
                    heads.insert(at, (seq, place, is_patch, path.as_str(), bytes, true))?;
                }
            }
            let mut meta = transaction.open_table(META)?;
            meta.insert("base_bytes", base_bytes.to_string().as_str())?;
            Ok(())
        })?;
        writer.base_bytes = base_bytes;
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

// === the tables ===

/// Opens the database and reads what is needed of it; makes it if it is missing.
fn read(folder: &Folder, identity: &Identity) -> Result<Found, Obstacle> {
    let (database, existed) = folder.database()?;
    let text = json(identity);
    if !existed {
        let failed = |error| Obstacle::Error(folder.failed(error));
        let transaction = database.begin_write().map_err(|error| failed(error.into()))?;
        start(&transaction, &text).map_err(failed)?;
        transaction.commit().map_err(|error| failed(error.into()))?;
    }
    let mut found = look(&database, identity)?;
    found.writer.database = Some(Arc::new(database));
    Ok(found)
}

fn look(database: &Database, identity: &Identity) -> Result<Found, Obstacle> {
    let unusable = |why: &str| Obstacle::Unusable(why.to_owned());
    let damaged = |error: redb::Error| match error {
        redb::Error::Io(error) => Obstacle::Error(StoreError::Folder(error.to_string())),
        _ => unusable("was written by another version, or is damaged"),
    };
    let reading = database.begin_read().map_err(|error| damaged(error.into()))?;
    let meta = reading.open_table(META).map_err(|error| match error {
        // The agent was killed before it could begin the file.
        TableError::TableDoesNotExist(_) => unusable("holds nothing"),
        other => damaged(other.into()),
    })?;
    let value = |name: &str| -> Result<String, Obstacle> {
        let found = meta.get(name).map_err(|error| damaged(error.into()))?;
        found.map(|text| text.value().to_owned()).ok_or_else(|| unusable("is not complete"))
    };
    let format: u64 = value("format")?.parse().map_err(|_| unusable("is damaged"))?;
    match format.cmp(&FORMAT) {
        std::cmp::Ordering::Less => return Err(unusable("was written by an older version")),
        std::cmp::Ordering::Greater => return Err(unusable("was written by a newer version")),
        std::cmp::Ordering::Equal => {}
    }
    if serde_json::from_str::<Identity>(&value("identity")?).ok().as_ref() != Some(identity) {
        return Err(unusable("belongs to another scope, server or set of topics"));
    }
    let mark: Mark = serde_json::from_str(&value("mark")?).map_err(|_| unusable("is damaged"))?;
    let base_bytes = value("base_bytes")?.parse().map_err(|_| unusable("is damaged"))?;
    let (cursor, generation) = (mark.cursor, mark.generation);
    let mut writer = Writer { cursor, generation, base_bytes, ..Writer::default() };
    let mut written = Vec::new();
    let heads = reading.open_table(HEADS).map_err(|error| damaged(error.into()))?;
    for head in heads.iter().map_err(|error| damaged(error.into()))? {
        let (at, head) = head.map_err(|error| damaged(error.into()))?;
        let (seq, place, is_patch, path, bytes, folded) = head.value();
        let tag = Tag { seq: Seq(seq), place };
        if tag.seq > mark.cursor {
            let save_method = if is_patch { SaveMethod::Patch } else { SaveMethod::Put };
            let path = unkey(path).ok_or_else(|| unusable("is damaged"))?;
            written.push(Written { tag, path, save_method });
        }
        writer.know(at.value(), Known { tag, bytes, folded });
    }
    Ok(Found { writer, mark, written })
}

/// Begins a file, or begins it again.
fn start(transaction: &WriteTransaction, identity: &str) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert("format", FORMAT.to_string().as_str())?;
    meta.insert("identity", identity)?;
    meta.insert("base_bytes", "0")?;
    drop(meta);
    transaction.open_table(BASE)?;
    transaction.open_table(HEADS)?;
    transaction.open_table(TAIL)?;
    set_mark(transaction, &Mark::default())
}

fn set_mark(transaction: &WriteTransaction, mark: &Mark) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert("mark", json(mark).as_str())?;
    Ok(())
}

fn drop_records(transaction: &WriteTransaction, records: &[u64]) -> Result<(), redb::Error> {
    let (mut heads, mut tail) = (transaction.open_table(HEADS)?, transaction.open_table(TAIL)?);
    for at in records {
        heads.remove(at)?;
        tail.remove(at)?;
    }
    Ok(())
}

type Computed = (Document, BTreeSet<String>, Vec<(u64, Tag, String)>);

/// The documents with the records before `end`, the places that have a row, and the records
/// that cannot be applied.
fn compute(database: &Database, end: u64) -> Result<Computed, redb::Error> {
    let reading = database.begin_read()?;
    let (mut document, mut places, mut refused) = (Document::default(), BTreeSet::new(), vec![]);
    for row in reading.open_table(BASE)?.iter()? {
        let (place, text) = row?;
        let path = unkey(place.value()).ok_or_else(|| damaged("a place"))?;
        places.insert(place.value().to_owned());
        let text = text.value();
        let text = if text.is_empty() { None } else { Some(raw(text)?) };
        document.insert(&path, text);
    }
    let heads = reading.open_table(HEADS)?;
    for row in reading.open_table(TAIL)?.range(..end)? {
        let (at, data) = row?;
        let head = heads.get(at.value())?.ok_or_else(|| damaged("a record"))?;
        let (seq, place, is_patch, path, ..) = head.value();
        let tag = Tag { seq: Seq(seq), place };
        let path = unkey(path).ok_or_else(|| damaged("a path"))?;
        let save_method = if is_patch { SaveMethod::Patch } else { SaveMethod::Put };
        if let Err(why) = apply(&mut document, &path, save_method, &raw(data.value())?) {
            refused.push((at.value(), tag, why));
        }
    }
    Ok((document, places, refused))
}

fn raw(text: &[u8]) -> Result<Arc<RawValue>, redb::Error> {
    let read = serde_json::from_slice::<Box<RawValue>>(text);
    read.map(Arc::from).map_err(|_| damaged("a document"))
}

fn damaged(what: &str) -> redb::Error {
    redb::Error::Corrupted(format!("{what} cannot be read"))
}

/// A place as a key: segments may hold anything.
fn key(path: &DataPath) -> String {
    json(path.segments())
}

fn unkey(key: &str) -> Option<DataPath> {
    serde_json::from_str::<Vec<String>>(key).ok().map(|path| DataPath::default().below(path))
}

/// Strings, numbers and lists of them always have a JSON form.
fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn len(text: &Arc<RawValue>) -> u64 {
    u64::try_from(text.get().len()).unwrap_or(u64::MAX)
}
