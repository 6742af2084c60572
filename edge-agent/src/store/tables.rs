//! The tables of a state file: documents by place, the records that are not yet folded into
//! them, and the text of both, in pieces.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use protocol::{DataPath, SaveMethod, Seq};
use redb::{
    Database, Error, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError,
    WriteTransaction,
};

use super::{
    Identity, Mark, Record, StoreError, Tag, Written, apply, document::Document, opening::Obstacle,
    text::Text,
};
use crate::json::Json;

/// What is kept and how; another number is another layout.
const FORMAT: u64 = 2;
/// Bytes of a text in one row. redb keeps a row in one page, of a size that is a power of two,
/// and reads and writes it as one: a piece and what surrounds it fit into 64 KiB.
const PIECE_BYTES: usize = (64 << 10) - 512;

/// `format`, `identity`, `mark` and `base_bytes`, each as JSON.
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
/// The documents: a place as a JSON list of its segments, and the number and bytes of the text
/// there; number 0 where nothing may be.
const BASE: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("base");
/// The records in the order of writing: seq, place in the update, whether it is a patch,
/// path, bytes of data, whether it is folded. A record that is not has its data under its
/// own number.
const HEADS: TableDefinition<'_, u64, Head<'_>> = TableDefinition::new("heads");
/// The texts: a number, and which piece of it.
const TEXTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("texts");

type Head<'h> = (u64, u32, bool, &'h str, u64, bool);

/// A record's head, as far as it is needed often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) tag: Tag,
    /// Of its data.
    pub(super) bytes: u64,
    pub(super) folded: bool,
}

/// What a file has, without the texts.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) mark: Mark,
    /// Of all documents.
    pub(super) base_bytes: u64,
    /// All records, in the order of writing.
    pub(super) heads: BTreeMap<u64, Known>,
    /// Those above the mark's cursor.
    pub(super) written: Vec<Written>,
    /// A number that neither a record nor a text has, and none after it.
    pub(super) next: u64,
}

/// What the documents and some records make.
pub(super) struct Computed {
    pub(super) document: Document,
    /// The places that have a row, and the number of the text there.
    pub(super) places: BTreeMap<String, u64>,
    /// Records that cannot be applied, and why.
    pub(super) refused: Vec<(u64, Tag, String)>,
}

/// The documents as they are to be, by place: the number and bytes of the text of each. Number 0
/// is nothing.
pub(super) type Base = BTreeMap<String, (u64, u64)>;

/// Reads what is in a file, and judges whether it can be used.
pub(super) fn look(database: &Database, identity: &Identity) -> Result<Contents, Obstacle> {
    let unusable = |why: &str| Obstacle::Unusable(why.to_owned());
    let damaged = |error: Error| match error {
        Error::Io(error) => Obstacle::Error(StoreError::Folder(error.to_string())),
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
        Ordering::Less => return Err(unusable("was written by an older version")),
        Ordering::Greater => return Err(unusable("was written by a newer version")),
        Ordering::Equal => {}
    }
    if serde_json::from_str::<Identity>(&value("identity")?).ok().as_ref() != Some(identity) {
        return Err(unusable("belongs to another scope, server or set of topics"));
    }
    let mark: Mark = serde_json::from_str(&value("mark")?).map_err(|_| unusable("is damaged"))?;
    let base_bytes = value("base_bytes")?.parse().map_err(|_| unusable("is damaged"))?;
    let (mut heads, mut written) = (BTreeMap::new(), Vec::new());
    let table = reading.open_table(HEADS).map_err(|error| damaged(error.into()))?;
    for head in table.iter().map_err(|error| damaged(error.into()))? {
        let (at, head) = head.map_err(|error| damaged(error.into()))?;
        let (seq, place, is_patch, path, bytes, folded) = head.value();
        let tag = Tag { seq: Seq(seq), place };
        if tag.seq > mark.cursor {
            let save_method = if is_patch { SaveMethod::Patch } else { SaveMethod::Put };
            let path = unkey(path).ok_or_else(|| unusable("is damaged"))?;
            written.push(Written { tag, path, save_method });
        }
        heads.insert(at.value(), Known { tag, bytes, folded });
    }
    let texts = reading.open_table(TEXTS).map_err(|error| damaged(error.into()))?;
    let last = texts.last().map_err(|error| damaged(error.into()))?;
    let last = last.map_or(0, |(key, _)| key.value().0);
    let last = heads.last_key_value().map_or(last, |(at, _)| last.max(*at));
    Ok(Contents { mark, base_bytes, heads, written, next: last.saturating_add(1) })
}

/// Begins a file, or begins it again.
pub(super) fn start(transaction: &WriteTransaction, identity: &Identity) -> Result<(), Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert("format", FORMAT.to_string().as_str())?;
    meta.insert("identity", json(identity).as_str())?;
    meta.insert("base_bytes", "0")?;
    drop(meta);
    transaction.open_table(BASE)?;
    transaction.open_table(HEADS)?;
    transaction.open_table(TEXTS)?;
    set_mark(transaction, &Mark::default())
}

pub(super) fn set_mark(transaction: &WriteTransaction, mark: &Mark) -> Result<(), Error> {
    transaction.open_table(META)?.insert("mark", json(mark).as_str())?;
    Ok(())
}

/// Keeps records, each under a number.
pub(super) fn insert_records(
    transaction: &WriteTransaction,
    records: &[(u64, Tag, &Record)],
) -> Result<(), Error> {
    let mut heads = transaction.open_table(HEADS)?;
    let mut texts = transaction.open_table(TEXTS)?;
    for (at, tag, record) in records {
        let is_patch = record.save_method == SaveMethod::Patch;
        let (path, bytes) = (key(&record.path), len(&record.data));
        let head = (tag.seq.0, tag.place, is_patch, path.as_str(), bytes, false);
        heads.insert(at, head)?;
        insert_text(&mut texts, *at, &record.data)?;
    }
    Ok(())
}

/// Drops all policy: the documents, and the records that are not folded, whose numbers are
/// returned. The bytes of the documents become less.
pub(super) fn forget_apart(
    transaction: &WriteTransaction,
    base_bytes: &mut u64,
) -> Result<Vec<u64>, Error> {
    let mut texts = transaction.open_table(TEXTS)?;
    let mut base = transaction.open_table(BASE)?;
    let rows = base.iter()?.filter_map(|row| {
        let read = row.map(|(place, text)| {
            is_apart(place.value()).then(|| (place.value().to_owned(), text.value()))
        });
        read.transpose()
    });
    for (place, (number, bytes)) in rows.collect::<Result<Vec<_>, _>>()? {
        base.remove(place.as_str())?;
        drop_text(&mut texts, number)?;
        *base_bytes = base_bytes.saturating_sub(bytes);
    }
    let mut heads = transaction.open_table(HEADS)?;
    let rows = heads.iter()?.filter_map(|row| {
        let read = row.map(|(at, head)| {
            let (_, _, _, path, _, folded) = head.value();
            (is_apart(path) && !folded).then(|| at.value())
        });
        read.transpose()
    });
    let records = rows.collect::<Result<Vec<u64>, _>>()?;
    for at in &records {
        heads.remove(at)?;
        drop_text(&mut texts, *at)?;
    }
    transaction.open_table(META)?.insert("base_bytes", base_bytes.to_string().as_str())?;
    Ok(records)
}

/// Drops records that are not folded.
pub(super) fn drop_records(transaction: &WriteTransaction, records: &[u64]) -> Result<(), Error> {
    let mut heads = transaction.open_table(HEADS)?;
    let mut texts = transaction.open_table(TEXTS)?;
    for at in records {
        heads.remove(at)?;
        drop_text(&mut texts, *at)?;
    }
    Ok(())
}

/// Takes the tags of records away, and drops those that are there only for their tags.
pub(super) fn forget_tags(
    transaction: &WriteTransaction,
    heads: &BTreeMap<u64, Known>,
) -> Result<(), Error> {
    let mut table = transaction.open_table(HEADS)?;
    for (at, known) in heads {
        let head = table.remove(at)?.filter(|_| !known.folded).map(|head| {
            let (_, _, is_patch, path, bytes, folded) = head.value();
            (is_patch, path.to_owned(), bytes, folded)
        });
        if let Some((is_patch, path, bytes, folded)) = head {
            table.insert(at, (0, 0, is_patch, path.as_str(), bytes, folded))?;
        }
    }
    Ok(())
}

/// Makes the documents be `base`, with `new` texts, and the records before `end` folded into
/// them. Of those the heads above `cursor` stay.
pub(super) fn fold(
    transaction: &WriteTransaction,
    end: u64,
    cursor: Seq,
    places: &BTreeMap<String, u64>,
    base: &Base,
    new: &BTreeMap<u64, Json>,
) -> Result<(), Error> {
    let mut texts = transaction.open_table(TEXTS)?;
    for (number, text) in new {
        insert_text(&mut texts, *number, text)?;
    }
    let mut table = transaction.open_table(BASE)?;
    for place in places.keys().filter(|place| !base.contains_key(*place)) {
        table.remove(place.as_str())?;
    }
    for (place, entry) in base.iter().filter(|(place, entry)| places.get(*place) != Some(&entry.0))
    {
        table.insert(place.as_str(), entry)?;
    }
    let used: BTreeSet<u64> = base.values().map(|(number, _)| *number).collect();
    let is_unused = |number: &u64| *number > 0 && !used.contains(number);
    for number in places.values().filter(|number| is_unused(number)) {
        drop_text(&mut texts, *number)?;
    }
    let mut heads = transaction.open_table(HEADS)?;
    let folded = heads.range(..end)?.map(|row| Ok(row?.0.value()));
    let folded: Vec<u64> = folded.collect::<Result<_, redb::StorageError>>()?;
    for at in folded {
        if is_unused(&at) {
            drop_text(&mut texts, at)?;
        }
        let kept = heads.remove(at)?.filter(|head| head.value().0 > cursor.0).map(|head| {
            let (seq, place, is_patch, path, bytes, _) = head.value();
            (seq, place, is_patch, path.to_owned(), bytes)
        });
        if let Some((seq, place, is_patch, path, bytes)) = kept {
            heads.insert(at, (seq, place, is_patch, path.as_str(), bytes, true))?;
        }
    }
    transaction.open_table(META)?.insert("base_bytes", bytes_of(base).to_string().as_str())?;
    Ok(())
}

/// Bytes of the documents' texts. One text can be at several places.
pub(super) fn bytes_of(base: &Base) -> u64 {
    let texts: BTreeMap<u64, u64> = base.values().copied().collect();
    texts.values().sum()
}

/// The documents with the records before `end`.
pub(super) fn compute(database: &Database, end: u64) -> Result<Computed, Error> {
    compute_of(database, end, |_| true)
}

/// All there is of policy and grants, without reading anything else.
pub(super) fn compute_apart(database: &Database) -> Result<Document, Error> {
    compute_of(database, u64::MAX, is_apart).map(|computed| computed.document)
}

/// The same for the places whose key is `wanted`.
fn compute_of(
    database: &Database,
    end: u64,
    wanted: impl Fn(&str) -> bool,
) -> Result<Computed, Error> {
    let reading = database.begin_read()?;
    let (mut document, mut places, mut refused) = (Document::default(), BTreeMap::new(), vec![]);
    let texts = reading.open_table(TEXTS)?;
    for row in reading.open_table(BASE)?.iter()? {
        let (place, text) = row?;
        if !wanted(place.value()) {
            continue;
        }
        let path = unkey(place.value()).ok_or_else(|| damaged("a place"))?;
        let (number, bytes) = text.value();
        places.insert(place.value().to_owned(), number);
        let text = if number == 0 { None } else { Some(read_text(&texts, number, bytes)?) };
        document.insert(&path, text);
    }
    for row in reading.open_table(HEADS)?.range(..end)? {
        let (at, head) = row?;
        let (seq, place, is_patch, path, bytes, folded) = head.value();
        if folded || !wanted(path) {
            continue;
        }
        let tag = Tag { seq: Seq(seq), place };
        let path = unkey(path).ok_or_else(|| damaged("a path"))?;
        let save_method = if is_patch { SaveMethod::Patch } else { SaveMethod::Put };
        let text = read_text(&texts, at.value(), bytes)?;
        if let Err(why) = apply(&mut document, &path, save_method, text) {
            refused.push((at.value(), tag, why));
        }
    }
    Ok(Computed { document, places, refused })
}

// === texts ===

fn insert_text(
    table: &mut Table<'_, (u64, u32), &'static [u8]>,
    number: u64,
    text: &Json,
) -> Result<(), Error> {
    for (piece, bytes) in (0..).zip(text.get().as_bytes().chunks(PIECE_BYTES)) {
        table.insert((number, piece), bytes)?;
    }
    Ok(())
}

fn drop_text(table: &mut Table<'_, (u64, u32), &'static [u8]>, number: u64) -> Result<(), Error> {
    table.retain_in((number, 0)..=(number, u32::MAX), |_, _| false)?;
    Ok(())
}

fn read_text(
    table: &impl ReadableTable<(u64, u32), &'static [u8]>,
    number: u64,
    bytes: u64,
) -> Result<Text, Error> {
    let expected = usize::try_from(bytes).map_err(|_| damaged("a document"))?;
    let mut pieces = table.range((number, 0)..=(number, u32::MAX))?.peekable();
    // A number is believed only as far as there are pieces.
    let mut text = vec![];
    while let Some(piece) = pieces.next() {
        let (_, piece) = piece?;
        if text.is_empty() && pieces.peek().is_some() {
            text.try_reserve_exact(expected).map_err(|_| damaged("a document"))?;
        }
        text.extend_from_slice(piece.value());
    }
    let text = String::from_utf8(text).map_err(|_| damaged("a document"))?;
    if text.len() != expected {
        return Err(damaged("a document"));
    }
    Ok(Text::stored(Json::known(text), number))
}

fn damaged(what: &str) -> Error {
    Error::Corrupted(format!("{what} cannot be read"))
}

/// A place as a key: segments may hold anything.
pub(super) fn key(path: &DataPath) -> String {
    json(path.segments())
}

/// True for the key of a place that is beside the data.
fn is_apart(key: &str) -> bool {
    // The first segment has nothing to escape.
    key.starts_with("[\"girasol\",") && unkey(key).is_some_and(|it| it.is_apart())
}

fn unkey(key: &str) -> Option<DataPath> {
    serde_json::from_str::<Vec<String>>(key).ok().map(|path| DataPath::default().below(path))
}

/// Strings, numbers and lists of them always have a JSON form.
fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn len(text: &Json) -> u64 {
    u64::try_from(text.get().len()).unwrap_or(u64::MAX)
}
