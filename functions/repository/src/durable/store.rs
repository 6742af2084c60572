//! What the object keeps in SQLite: git's objects by their ids, and texts by name.

use std::collections::BTreeSet;

use git::{Kind, Object, ObjectId, Objects, StoreError};
use serde::Deserialize;
use worker::{SqlStorage, SqlStorageValue};

/// The tables. An object is in as many parts as it needs.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS document (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS object (
        id TEXT NOT NULL,
        part INTEGER NOT NULL,
        kind TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (id, part)) WITHOUT ROWID",
];
/// Bytes of a part; the platform takes rows of at most 2 MB.
const PART_BYTES: usize = 1_900_000;
/// Ids in one statement; the platform binds at most 100 values.
const AT_ONCE: usize = 100;
const KINDS: [Kind; 4] = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag];

/// The object's storage. A clone is the same storage.
#[derive(Clone)]
pub(super) struct Store(SqlStorage);

#[derive(Deserialize)]
struct Text {
    value: String,
}

impl Store {
    /// # Errors
    /// Storage refuses.
    pub(super) fn open(sql: SqlStorage) -> Result<Self, StoreError> {
        let store = Self(sql);
        for table in TABLES {
            store.run(table, vec![])?;
        }
        Ok(store)
    }

    /// The text that is kept under a name.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, StoreError> {
        let statement = "SELECT body AS value FROM document WHERE name = ?";
        Ok(self.texts(statement, vec![name.into()])?.pop())
    }

    /// Keeps a text under a name.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let statement = "INSERT OR REPLACE INTO document (name, body) VALUES (?, ?)";
        self.run(statement, vec![name.into(), text.into()]).map(drop)
    }

    /// Deletes every object.
    pub(super) fn forget_objects(&self) -> Result<(), StoreError> {
        self.run("DELETE FROM object", vec![]).map(drop)
    }

    /// Deletes every object but these.
    pub(super) fn keep_only(&self, wanted: &BTreeSet<ObjectId>) -> Result<(), StoreError> {
        let ids = self.texts("SELECT id AS value FROM object WHERE part = 0", vec![])?;
        let is_wanted = |id: &String| id.parse().is_ok_and(|id| wanted.contains(&id));
        let gone: Vec<String> = ids.into_iter().filter(|id| !is_wanted(id)).collect();
        for some in gone.chunks(AT_ONCE) {
            let places = vec!["?"; some.len()].join(", ");
            let ids = some.iter().map(|id| id.as_str().into()).collect();
            self.run(&format!("DELETE FROM object WHERE id IN ({places})"), ids)?;
        }
        Ok(())
    }

    fn texts(
        &self,
        statement: &str,
        values: Vec<SqlStorageValue>,
    ) -> Result<Vec<String>, StoreError> {
        let rows = self.run(statement, values)?.to_array::<Text>().map_err(refused)?;
        Ok(rows.into_iter().map(|row| row.value).collect())
    }

    fn run(
        &self,
        statement: &str,
        values: Vec<SqlStorageValue>,
    ) -> Result<worker::SqlCursor, StoreError> {
        self.0.exec(statement, values).map_err(refused)
    }
}

impl Objects for Store {
    fn get(&self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        let statement = "SELECT kind, data FROM object WHERE id = ? ORDER BY part";
        let mut found: Option<Object> = None;
        for row in self.run(statement, vec![id.to_string().into()])?.raw() {
            let mut values = row.map_err(refused)?.into_iter();
            let (Some(SqlStorageValue::String(kind)), Some(SqlStorageValue::Blob(part))) =
                (values.next(), values.next())
            else {
                return Err(StoreError(format!("object {id} cannot be read")));
            };
            match &mut found {
                Some(object) => object.data.extend_from_slice(&part),
                None => {
                    let kind = KINDS.into_iter().find(|it| it.name() == kind);
                    let kind = kind.ok_or_else(|| StoreError(format!("object {id} is of no kind")));
                    found = Some(Object { kind: kind?, data: part });
                }
            }
        }
        Ok(found)
    }

    fn has(&self, id: &ObjectId) -> Result<bool, StoreError> {
        let statement = "SELECT id AS value FROM object WHERE id = ? AND part = 0";
        Ok(!self.texts(statement, vec![id.to_string().into()])?.is_empty())
    }

    /// Part 0 is written last: what is there is there as a whole.
    fn put(&mut self, id: ObjectId, kind: Kind, data: &[u8]) -> Result<(), StoreError> {
        let name = id.to_string();
        let mut parts: Vec<&[u8]> = data.chunks(PART_BYTES).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        for (place, part) in parts.into_iter().enumerate().rev() {
            let place = i64::try_from(place).map_err(|error| StoreError(error.to_string()))?;
            self.run(
                "INSERT OR IGNORE INTO object (id, part, kind, data) VALUES (?, ?, ?, ?)",
                vec![name.as_str().into(), place.into(), kind.name().into(), part.to_vec().into()],
            )?;
        }
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn refused(error: worker::Error) -> StoreError {
    StoreError(error.to_string())
}
