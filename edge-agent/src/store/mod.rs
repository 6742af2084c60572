//! What the agent keeps: in a file of its data folder, or in memory if it has none.
//!
//! Everything that is written into an engine is written here first. So an engine never
//! knows more than the store, whatever is killed and whenever, and a restart needs neither
//! the hub nor a source: the engine is made to hold what the store has.
//!
//! | question | file |
//! |---|---|
//! | What can be asked of a store? | this one |
//! | How is it kept in a file, and what if the file is no good? | `file.rs`, `tables.rs`, `opening.rs` |
//! | How is it kept without one? | `memory.rs` |
//! | What do all writes together make? | `document.rs`, `patch.rs`, `text.rs` |
//!
//! Policy is kept like data, at its own places ([`protocol::commit`]), and beside it: no write of
//! data touches it, and no engine is given it as data. So are grants ([`protocol::plane::grants`]).

use std::collections::BTreeMap;
use std::path::Path;

use protocol::commit::Part;
use protocol::{DataPath, SaveMethod, Seq, topic::TopicSet};
use serde::{Deserialize, Serialize};

mod document;
mod file;
mod memory;
mod opening;
mod patch;
mod tables;
mod text;

use document::Document;
use file::FileStore;
use memory::MemoryStore;
use text::Text;

use crate::json::Json;
use crate::policy::PolicySet;

/// Bytes of records, beyond the bytes of the documents, above which records are folded into
/// documents. So a byte is folded a bounded number of times on average, however large the
/// documents are.
const TAIL_BYTES: u64 = 1 << 20;
/// Records above which they are folded.
const TAIL_RECORDS: usize = 4_096;

/// What tells one entry from every other: its update's number, and its index in the update
/// as it was published.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Tag {
    /// The update.
    pub seq: Seq,
    /// The entry's index in it.
    pub place: u32,
}

/// One write into the engine.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which entry it comes from.
    pub tag: Tag,
    /// Where it goes.
    pub path: DataPath,
    /// Replace, or patch.
    pub save_method: SaveMethod,
    /// The document, or the list of operations.
    pub data: Json,
}

/// Where the agent stands in the hub's log. What is kept may lag behind: a record above the
/// cursor has been written all the same, see [`Opened::written`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Up to here everything that was delivered has taken effect.
    pub cursor: Seq,
    /// Up to here nothing is missing that a later update makes up for: at most the cursor,
    /// and less while a replay has not wholly taken effect.
    pub settled: Seq,
    /// The life of the log that the cursor belongs to, once a hub has named it.
    pub epoch: Option<String>,
    /// Everything that was missed had taken effect once, so that decisions may be asked
    /// for without the hub.
    pub complete: bool,
    /// How often the log has begun anew: tags and marks of an earlier generation mean
    /// nothing in this one.
    pub generation: u64,
}

/// Whose state it is. The state of another scope, server or subscription is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The tenant whose log is followed, as far as the settings say.
    pub scope: String,
    /// The hub's address.
    pub server: Option<String>,
    /// What is subscribed to.
    pub topics: TopicSet,
}

/// What was found at the start.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// The mark of the last append or save; the default of it on a fresh start.
    pub mark: Mark,
    /// The records above the mark's cursor, in the order they were written.
    pub written: Vec<Written>,
    /// The policies that all commits in it make; none without one.
    pub policies: Option<PolicySet>,
    /// The grants that it has, by their places, as the hub wrote them.
    pub grants: Vec<(DataPath, Json)>,
    /// Why what was there could not be used, in one sentence for the log and `/status`;
    /// none if it could, or if there was nothing.
    pub fresh: Option<String>,
}

/// A record without its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Which entry.
    pub tag: Tag,
    /// Where it went.
    pub path: DataPath,
    /// How.
    pub save_method: SaveMethod,
}

/// What the engine must hold.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The places that were written to, none of which covers another, and the document of
    /// each; none where nothing may be, since a patch removed it.
    pub owned: Vec<(DataPath, Option<Json>)>,
    /// Records that cannot be applied, such as a patch of what is not there, and why. They
    /// are out of the store.
    pub refused: Vec<(Tag, String)>,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder cannot be used at all.
    #[error("--data-dir {0}")]
    Folder(String),
    /// Something could not be written or read: what was to be kept is not. The next call
    /// tries again.
    #[error("--data-dir {0}")]
    Failed(String),
}

impl StoreError {
    /// The same about one call.
    fn again(self) -> Self {
        match self {
            Self::Folder(words) | Self::Failed(words) => Self::Failed(words),
        }
    }
}

/// The agent's memory. Calls block, briefly but for [`Store::open`] and [`Store::state`].
#[derive(Debug)]
pub struct Store(Kept);

#[derive(Debug)]
enum Kept {
    File(FileStore),
    Memory(MemoryStore),
}

impl Store {
    /// Opens the store of a data folder, making both if they are missing; without a folder
    /// the store is in memory and ends with the process.
    ///
    /// What is there and cannot be used is moved aside and named in [`Opened::fresh`].
    ///
    /// # Errors
    /// The folder cannot be written to, or another agent uses it.
    pub fn open(dir: Option<&Path>, identity: &Identity) -> Result<(Self, Opened), StoreError> {
        let Some(dir) = dir else {
            return Ok((Self(Kept::Memory(MemoryStore::default())), Opened::default()));
        };
        let (file, opened) = FileStore::open(dir, identity)?;
        Ok((Self(Kept::File(file)), opened))
    }

    /// Keeps records, all of them or none, and the mark as it is with them. Durable when it
    /// returns. A mark of an earlier generation was under way when the log began anew: the
    /// records are kept without their tags, policy is not, and the mark is not.
    ///
    /// # Errors
    /// It could not be written: nothing is kept.
    pub fn append(&self, records: &[Record], mark: &Mark) -> Result<(), StoreError> {
        match &self.0 {
            Kept::File(file) => file.append(records, mark),
            Kept::Memory(memory) => {
                memory.append(records);
                Ok(())
            }
        }
    }

    /// Drops the records that were appended last, which are these, since the engine refused
    /// them. Any other ones are effects already, and stay.
    ///
    /// # Errors
    /// It could not be written: the records are still there.
    pub fn discard(&self, tags: &[Tag]) -> Result<(), StoreError> {
        match &self.0 {
            Kept::File(file) => file.discard(tags),
            Kept::Memory(memory) => {
                memory.discard(tags);
                Ok(())
            }
        }
    }

    /// Keeps the mark, unless it is of an earlier generation. Durable when it returns.
    ///
    /// # Errors
    /// It could not be written.
    pub fn save(&self, mark: &Mark) -> Result<(), StoreError> {
        match &self.0 {
            Kept::File(file) => file.save(mark),
            Kept::Memory(_) => Ok(()),
        }
    }

    /// The log begins anew: another one, or the same once more from its start. Documents
    /// stay, policy and tags are forgotten, and the mark, of a new generation, is kept.
    ///
    /// # Errors
    /// It could not be written: nothing has changed.
    pub fn begin_again(&self, mark: &Mark) -> Result<(), StoreError> {
        match &self.0 {
            Kept::File(file) => file.begin_again(mark),
            // It does not live long enough for anybody to ask for a tag.
            Kept::Memory(_) => Ok(()),
        }
    }

    /// What the engine must hold.
    ///
    /// # Errors
    /// It could not be read, or what cannot be applied could not be dropped.
    pub fn state(&self) -> Result<State, StoreError> {
        match &self.0 {
            Kept::File(file) => file.state(),
            Kept::Memory(memory) => Ok(memory.state()),
        }
    }
}

/// Applies a record to the documents: all of it, or nothing.
fn apply(
    document: &mut Document,
    path: &DataPath,
    save_method: SaveMethod,
    data: Text,
) -> Result<(), String> {
    match save_method {
        SaveMethod::Put => document.put(path, data),
        SaveMethod::Patch => document.patch(path, data.get()),
    }
}

/// The documents of data.
fn texts(document: Document) -> Vec<(DataPath, Option<Json>)> {
    let owned = document.owned().into_iter().filter(|(path, _)| !path.is_apart());
    owned.map(|(path, owned)| (path, owned.into_text())).collect()
}

/// The policies that the parts of commits make, and the grants.
fn apart(document: Document) -> (Option<PolicySet>, Vec<(DataPath, Json)>) {
    let (mut revision, mut modules, mut grants) = (None, BTreeMap::new(), vec![]);
    for (path, owned) in document.owned().into_iter().filter(|(path, _)| path.is_apart()) {
        let Some(text) = owned.into_text() else { continue };
        if path.is_grant() {
            grants.push((path, text));
            continue;
        }
        match Part::read(&path, text.get()) {
            Ok(Part::Module(id, rego)) => drop(modules.insert(id, rego)),
            Ok(Part::Marker(marker)) => revision = Some(marker.hash),
            Ok(Part::Data) | Err(_) => {}
        }
    }
    (revision.map(|revision| PolicySet::default().changed(revision, modules)), grants)
}

/// What the data among these records makes, none of which depends on what was there before: the
/// places, none of which covers another, and the document of each, none where nothing may be.
///
/// # Errors
/// They cannot be applied; why.
pub fn merged(records: &[Record]) -> Result<Vec<(DataPath, Option<Json>)>, String> {
    let mut document = Document::default();
    for Record { path, save_method, data, .. } in records.iter().filter(|it| !it.path.is_apart()) {
        apply(&mut document, path, *save_method, Text::new(data.clone()))?;
    }
    Ok(texts(document))
}

#[cfg(test)]
#[path = "damage_tests.rs"]
mod damage_tests;
#[cfg(test)]
mod tests;
