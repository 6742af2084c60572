//! What changes of one call build on, before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use protocol::directory::{Kind, Refusal};
use protocol::{Millis, Problem, limits};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::documents::Document;
use crate::rows::{self, Index};

/// Bytes of one row. Storage takes 2 MB, and what is made of a row has to fit into an update.
const MAX_ROW_BYTES: usize = 1_000_000;
/// Names that are read together.
const PAGE: usize = 500;

/// What is kept by name.
pub trait Store {
    /// The text under a name.
    ///
    /// # Errors
    /// If storage refuses.
    fn document(&self, name: &str) -> Result<Option<String>, Problem>;
    /// The first names that begin so and come after `after`, in order: at most so many.
    ///
    /// # Errors
    /// If storage refuses.
    fn names_after(&self, prefix: &str, after: &str, most: usize) -> Result<Vec<String>, Problem>;
    /// How many names begin so.
    ///
    /// # Errors
    /// If storage refuses.
    fn count(&self, prefix: &str) -> Result<usize, Problem>;
}

/// What is kept, as it will be.
pub(crate) struct Draft<'s> {
    pub(crate) store: &'s dyn Store,
    pub(crate) now: Millis,
    rows: BTreeMap<String, Option<String>>,
    /// What agents are to be told.
    pub(crate) touched: BTreeSet<Document>,
    counts: BTreeMap<&'static str, usize>,
}

impl<'s> Draft<'s> {
    pub(crate) fn new(store: &'s dyn Store, now: Millis) -> Self {
        let (rows, touched, counts) = Default::default();
        Self { store, now, rows, touched, counts }
    }

    /// The rows that change: their new texts, or nothing.
    pub(crate) fn into_rows(self) -> BTreeMap<String, Option<String>> {
        self.rows
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Problem> {
        let text = match self.rows.get(name) {
            Some(text) => text.clone(),
            None => self.store.document(name)?,
        };
        let row = text.map(|text| serde_json::from_str(&text)).transpose();
        row.map_err(|error| Problem::internal(format!("a row cannot be read: {error}")))
    }

    /// A thing that has to be there.
    pub(crate) fn find<T: DeserializeOwned>(&self, kind: Kind, key: &str) -> Result<T, Refusal> {
        let found = self.get(&rows::name(rows::prefix(kind), key))?;
        found.ok_or_else(|| missing(kind, key))
    }

    pub(crate) fn put(&mut self, name: String, row: &impl Serialize) -> Result<(), Refusal> {
        let text =
            serde_json::to_string(row).map_err(|error| Problem::internal(error.to_string()))?;
        if text.len() > MAX_ROW_BYTES {
            return Err(Refusal::Other(Problem::too_large(format!(
                "a user with its roles, or an instance with its relationships, has at most \
                 {MAX_ROW_BYTES} bytes; this one would have {}",
                text.len()
            ))));
        }
        self.rows.insert(name, Some(text));
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: String) {
        self.rows.insert(name, None);
    }

    /// Notes in the index that `of` is to be looked at.
    pub(crate) fn note(&mut self, index: Index<'_>, of: &str) -> Result<(), Problem> {
        let name = index.name(of);
        if self.get::<bool>(&name)?.is_none() {
            self.rows.insert(name, Some("true".to_owned()));
        }
        Ok(())
    }

    /// Takes it out of the index.
    pub(crate) fn unnote(&mut self, index: Index<'_>, of: &str) {
        self.rows.insert(index.name(of), None);
    }

    /// The keys in an index.
    ///
    /// # Errors
    /// 413 if there are more than one update can be about.
    pub(crate) fn noted(&self, index: Index<'_>) -> Result<Vec<String>, Refusal> {
        let prefix = index.prefix();
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut after = String::new();
        loop {
            let page = self.store.names_after(&prefix, &after, PAGE)?;
            let Some(last) = page.last() else { break };
            after.clone_from(last);
            names.extend(page);
            if names.len() > limits::MAX_BULK_OPERATIONS {
                return Err(too_many());
            }
        }
        for (name, row) in self.rows.range(prefix.clone()..) {
            match row {
                _ if !name.starts_with(&prefix) => break,
                Some(_) => names.insert(name.clone()),
                None => names.remove(name),
            };
        }
        let keys = names.iter().filter_map(|name| name.strip_prefix(&prefix));
        Ok(keys.map(rows::unescape).collect())
    }

    /// Counts one thing more of a kind.
    ///
    /// # Errors
    /// 409 if there are too many.
    pub(crate) fn make_room(&mut self, kind: Kind) -> Result<(), Refusal> {
        let prefix = rows::prefix(kind);
        let count = match self.counts.get(prefix) {
            Some(count) => *count,
            None => self.store.count(prefix)?,
        };
        if count >= limits::MAX_DIRECTORY_THINGS {
            return Err(Refusal::Other(Problem::conflict(format!(
                "there are {count} {}s, which is the limit; delete some, or use another scope",
                rows::called(kind)
            ))));
        }
        self.counts.insert(prefix, count + 1);
        Ok(())
    }
}

/// A thing is not there.
pub(crate) fn missing(kind: Kind, key: &str) -> Refusal {
    Refusal::Missing(format!("there is no {} `{key}`", rows::called(kind)))
}

/// A thing is there already.
pub(crate) fn duplicate(kind: Kind, key: &str) -> Refusal {
    Refusal::Duplicate(format!(
        "there is a {} `{key}`; change it with PATCH, or choose another key",
        rows::called(kind)
    ))
}

/// The call is about more than one update can tell.
pub(crate) fn too_many() -> Refusal {
    let limit = limits::MAX_UPDATE_BYTES;
    Refusal::Other(Problem::too_large(format!(
        "the call changes more than one update can tell agents, which is {limit} bytes; send fewer \
         operations at a time, and before a tenant or an instance goes, delete what is in it by bulk calls"
    )))
}
